//! How far the clock is off, as chrony knows it: a clock can't tell by itself.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use crate::net::process::{self, Bounds, Ended, Program};

/// Debian's package chrony puts it there.
pub(super) const CHRONYC: &str = "/usr/bin/chronyc";

/// Seconds ahead of chrony's sources; `None` where there is no chrony or it has no source.
pub(super) async fn offset(chronyc: &Path, deadline: Instant) -> Option<f64> {
    let list = [PathBuf::from(chronyc)];
    let path = process::allowed(chronyc, &list).ok()?;
    let args = ["-n", "-c", "tracking"].map(str::to_owned).to_vec();
    let program = Program { path, called: None, args, env: Vec::new() };
    let ran = process::run(&program, Bounds::default(), deadline).await.ok()?;
    match ran.ended {
        Ended::Exit(0) if !ran.truncated => tracking(&String::from_utf8_lossy(&ran.stdout)),
        _ => None,
    }
}

/// `chronyc -c tracking`: reference, its name, stratum, when, how far the system's clock is *behind* in seconds …, and
/// last whether all is normal.
fn tracking(line: &str) -> Option<f64> {
    let fields: Vec<&str> = line.trim().split(',').collect();
    let (stratum, behind, leap) = (fields.get(2)?, fields.get(4)?, fields.last()?);
    // Without a source it is not synchronised, and says so as a stratum of 0.
    if fields.len() < 14 || *stratum == "0" || leap.contains("Not synchronised") {
        return None;
    }
    behind.parse::<f64>().ok().filter(|seconds| seconds.is_finite()).map(|behind| -behind)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    const SYNCHRONISED: &str = "C0A80001,192.168.0.1,3,1763804400.123456789,-0.000012345,0.000001,0.00002,-12.3,0.01,0.02,0.03,0.004,64.5,Normal";

    #[test]
    fn only_a_clock_with_a_source_has_an_offset() {
        for (line, offset) in [
            (SYNCHRONISED, Some(0.000_012_345)),
            ("00000000,,0,0.000000000,0.000000000,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised", None),
            ("506 Cannot talk to daemon", None),
            ("", None),
            ("a,b,3,c,NaN,f,g,h,i,j,k,l,m,Normal", None),
        ] {
            assert_eq!(tracking(line), offset, "{line}");
        }
    }

    #[tokio::test]
    async fn what_the_program_says_is_read_and_its_failure_is_no_offset() {
        let place = tempfile::tempdir().unwrap();
        let soon = || Instant::now() + Duration::from_secs(20);
        let chronyc = place.path().join("chronyc");
        assert_eq!(offset(&chronyc, soon()).await, None);
        for (script, expected) in
            [(format!("#!/bin/sh\necho '{SYNCHRONISED}'\n"), Some(0.000_012_345)), ("#!/bin/sh\nexit 1\n".into(), None)]
        {
            std::fs::write(&chronyc, script).unwrap();
            // Not writable for whoever runs this, or it would not be run.
            std::fs::set_permissions(&chronyc, std::fs::Permissions::from_mode(0o555)).unwrap();
            assert_eq!(offset(&chronyc, soon()).await, expected);
            std::fs::remove_file(&chronyc).unwrap();
        }
    }
}
