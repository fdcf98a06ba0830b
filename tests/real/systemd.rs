//! `systemd` with the real systemctl: an answer where systemd is this host's manager, and unknown where it isn't.

use houston::model::observation::{Seen, UnknownKind};

use super::looking::{ask, example, look, text};
use crate::lab::program;

/// True where systemd is the service manager: sd_booted(3).
fn is_booted() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_systemctl_is_asked() {
    program("systemctl");
    let root = look("systemd", "unit: -.mount", &ask()).await;
    let missing = look("systemd", "unit: no-such-unit-here", &ask()).await;
    let Seen::Blind(unknown) = &missing.seen else { panic!("{missing:?}") };
    if is_booted() {
        assert_eq!((root.seen.clone(), text(&root, "state").as_str()), (Seen::Answered, "active"), "{root:?}");
        assert!(unknown.why.contains("there is no unit no-such-unit-here.service"), "{unknown:?}");
    } else {
        let Seen::Blind(root) = &root.seen else { panic!("{root:?}") };
        for unknown in [root, unknown] {
            assert!(unknown.kind == UnknownKind::Unreachable && unknown.why.contains("systemd"), "{unknown:?}");
        }
    }
}

#[test]
fn the_example_is_never_good_where_the_unit_isn_t() {
    let finding = example("systemd", &[], "{}\n");
    assert_eq!(finding["outcome"], "unknown", "{finding}");
    assert!(finding["unknown"]["why"].as_str().is_some_and(|why| !why.is_empty()), "{finding}");
    let mount = example(
        "systemd",
        &[("unit: shop.service", "unit: -.mount"), ("state_seconds > 60 || restarts == 0", "active")],
        "{}\n",
    );
    assert_eq!(mount["outcome"], if is_booted() { "good" } else { "unknown" }, "{mount}");
}
