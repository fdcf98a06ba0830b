//! Chromium, started by chromedriver: which programs, which switches, what they may use, and their end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Session, WebDriverError};
use crate::net::process::{self, Bounds, NotRun, Program, Service};

/// Where distributions put the driver. A fixed list: what a check says chooses no program.
const DRIVERS: [&str; 2] = ["/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver"];
/// Debian's browser itself; its wrapper in `/usr/bin` adds switches and keys of its own.
const BROWSER: &str = "/usr/lib/chromium/chromium";
/// Memory of all its processes together, in bytes: ordinary pages take 300 MiB, heavy ones 1 GiB.
const MEMORY: u64 = 1536 * 1024 * 1024;
/// Bytes of each file that it writes: its shared memory lies in files, too.
const FILE: u64 = 256 * 1024 * 1024;
const OPEN_FILES: u64 = 4096;
/// So many processors may be busy all the time that it has.
const PROCESSORS: u32 = 4;
/// How often the driver is started, where somebody else has its port.
const DRIVER_TRIES: u32 = 5;
/// How long the browser may take to end by itself before it is killed.
const FAREWELL: Duration = Duration::from_millis(700);

/// No traffic but the page's own, and nothing kept: with all of these, Debian's Chromium 156 connected nowhere by itself.
const QUIET: &[&str] = &[
    "--headless",
    "--incognito",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--dns-prefetch-disable",
    "--metrics-recording-only",
    "--mute-audio",
    "--allow-browser-signin=false",
    "--component-updater=url-source=about:blank",
    // A port that Chromium itself refuses to connect to: it asks nobody whether somebody is signed in.
    "--gaia-url=https://localhost:1",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-features=AutofillServerCommunication,CertificateTransparencyComponentUpdater,DialMediaRouteProvider,\
     DnsOverHttps,HttpsFirstBalancedModeAutoEnable,HttpsUpgrades,MediaRouter,NetworkTimeServiceQuerying,\
     OptimizationHints,Translate",
    "--js-flags=--max-old-space-size=512",
];

/// How the browser is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Everything that it connects to goes through this one, loopback included.
    pub proxy: SocketAddr,
    /// Chromium's own sandbox, which it doesn't run as root.
    pub sandbox: bool,
    /// Certificates aren't verified.
    pub insecure: bool,
    /// Width and height of the window in pixels.
    pub window: (u32, u32),
    pub deadline: Instant,
}

/// Why there is no browser.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    #[error("{0}")]
    Missing(String),
    #[error("Chromium doesn't run its sandbox as root")]
    Root,
    #[error("{0}")]
    Failed(String),
    #[error("the browser wasn't ready in time")]
    TimedOut,
}

/// A running browser. Dropped, it is killed with all that it started, and its profile is removed.
#[derive(Debug)]
pub struct Browser {
    pub session: Session,
    service: Service,
}

impl Browser {
    /// Starts driver and browser.
    ///
    /// # Errors
    /// [`NotStarted`]; nothing is left behind.
    pub async fn start(settings: Settings) -> Result<Browser, NotStarted> {
        let driver = driver(&DRIVERS)?;
        if settings.sandbox && rustix::process::geteuid().is_root() {
            return Err(NotStarted::Root);
        }
        let random = |error: getrandom::Error| NotStarted::Failed(error.to_string());
        let mut secret = [0_u8; 16];
        getrandom::fill(&mut secret).map_err(random)?;
        // A page in the browser that finds the driver's port doesn't find its paths.
        let base: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let base = format!("/{base}");
        let left = settings.deadline.saturating_duration_since(Instant::now());
        let bounds = Bounds {
            output: 0,
            cpu: left.saturating_mul(PROCESSORS),
            // Chromium reserves hundreds of GiB of addresses and uses few of them; `MEMORY` is what counts.
            memory: u64::MAX,
            file: FILE,
            open_files: OPEN_FILES,
        };
        let args = vec!["--port=0".to_owned(), format!("--url-base={base}")];
        let program = Program { path: driver, called: None, args, env: Vec::new() };
        let (service, port) = serve(&program, bounds, settings.deadline).await?;
        let opened = Session::open(port, &base, capabilities(&settings), settings.deadline).await;
        match opened {
            Ok(session) => Ok(Browser { session, service }),
            Err(error) => {
                let was_too_large = service.was_too_large();
                service.end().await;
                Err(match error {
                    WebDriverError::TimedOut => NotStarted::TimedOut,
                    WebDriverError::Said { message, .. } if message.contains("cannot find Chrome binary") => {
                        NotStarted::Missing("there is no Chromium here; Debian's package chromium brings it".to_owned())
                    }
                    _ if was_too_large => NotStarted::Failed(too_large()),
                    WebDriverError::Said { message, .. } => NotStarted::Failed(format!("Chromium: {message}")),
                    other => NotStarted::Failed(other.to_string()),
                })
            }
        }
    }

    /// Why it is gone, where that was our doing.
    pub fn ended_by_us(&self) -> Option<String> {
        self.service.was_too_large().then(too_large)
    }

    /// Ends it: as its user would where there is time, then by force. Returns when nothing of it is left.
    pub async fn end(self, deadline: Instant) {
        let Browser { session, service } = self;
        let _ = session.close(deadline.min(Instant::now() + FAREWELL)).await;
        service.end().await;
    }
}

fn too_large() -> String {
    format!("the browser took more than {} MiB of memory and was ended", MEMORY / 1024 / 1024)
}

fn driver(places: &[&str]) -> Result<PathBuf, NotStarted> {
    let found = places.iter().map(Path::new).find(|path| path.is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        NotStarted::Missing("chromedriver isn't installed here; Debian's package chromium-driver brings it".to_owned())
    })
}

/// Starts the driver. It picks a port that is free on 127.0.0.1 and then wants the same on ::1, where somebody else may
/// have it: then it gives up, and is started again.
async fn serve(program: &Program, bounds: Bounds, deadline: Instant) -> Result<(Service, u16), NotStarted> {
    let mut tries = 0;
    loop {
        tries += 1;
        match process::serve(program, bounds, MEMORY, deadline, port).await {
            Ok(started) => return Ok(started),
            Err(NotRun::Refused { why, .. } | NotRun::Failed { why, .. }) => {
                if tries == DRIVER_TRIES || !why.contains("Address already in use") {
                    return Err(NotStarted::Failed(format!("chromedriver: {why}")));
                }
            }
        }
    }
}

/// The port in chromedriver's greeting: "ChromeDriver was started successfully on port 36235."
fn port(printed: &str) -> Option<u16> {
    let (_, rest) = printed.split_once("started successfully on port ")?;
    rest.split_once('.')?.0.parse().ok()
}

fn capabilities(settings: &Settings) -> serde_json::Value {
    let (width, height) = settings.window;
    let mut args: Vec<String> = QUIET.iter().map(|switch| (*switch).to_owned()).collect();
    // Its own control goes through a pipe, not through a port that others could connect to.
    args.push("--remote-debugging-pipe".to_owned());
    args.push(format!("--proxy-server=http://{}", settings.proxy));
    args.push("--proxy-bypass-list=<-loopback>".to_owned());
    args.push(format!("--window-size={width},{height}"));
    if !settings.sandbox {
        args.push("--no-sandbox".to_owned());
    }
    let mut options = json!({
        "args": args,
        // The driver switches these off; a page may open a window only where somebody clicked.
        "excludeSwitches": ["disable-popup-blocking"],
        "prefs": {
            "download_restrictions": 3,
            "credentials_enable_service": false,
            "profile.password_manager_leak_detection": false,
        },
    });
    if Path::new(BROWSER).is_file() {
        options["binary"] = json!(BROWSER);
    }
    json!({
        "browserName": "chrome",
        "acceptInsecureCerts": settings.insecure,
        // Pictures and what else comes late needn't be there.
        "pageLoadStrategy": "eager",
        "unhandledPromptBehavior": "dismiss and notify",
        "strictFileInteractability": true,
        "goog:chromeOptions": options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_s_greeting_tells_its_port() {
        let greeting =
            "Starting ChromeDriver 156.0.8078.79 (a21ce95c) on port 0\nOnly local connections are allowed.\n";
        let done = format!("{greeting}ChromeDriver was started successfully on port 36235.\n");
        for (printed, expected) in [
            (done.as_str(), Some(36235)),
            (greeting, None),
            ("ChromeDriver was started successfully on port 362", None),
            ("ChromeDriver was started successfully on port 99999.\n", None),
        ] {
            assert_eq!(port(printed), expected, "{printed}");
        }
    }

    #[test]
    fn a_missing_driver_names_its_package() {
        let Err(NotStarted::Missing(why)) = driver(&["/nowhere/chromedriver"]) else { panic!("found") };
        assert!(why.contains("chromium-driver"), "{why}");
    }

    #[test]
    fn everything_goes_through_the_proxy_and_the_sandbox_stays_on() {
        let settings = Settings {
            proxy: "127.0.0.1:4000".parse().unwrap(),
            sandbox: true,
            insecure: false,
            window: (1280, 800),
            deadline: Instant::now(),
        };
        let args = |settings: &Settings| capabilities(settings)["goog:chromeOptions"]["args"].to_string();
        let sandboxed = args(&settings);
        assert!(sandboxed.contains("--proxy-server=http://127.0.0.1:4000") && sandboxed.contains("<-loopback>"));
        assert!(!sandboxed.contains("--no-sandbox"));
        assert!(args(&Settings { sandbox: false, ..settings }).contains("--no-sandbox"));
    }
}
