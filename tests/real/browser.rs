//! `browser`: a real Chromium, driven by Debian's chromedriver, at pages of a real nginx.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use houston::evidence::{Ask, Setup, Tools};
use houston::files::kept::Kept;
use houston::model::observation::{Observation, Phase, Seen, UnknownKind};
use houston::model::secret::Environment;
use houston::net::guard::{Entry, Guard};

use super::looking::{ask, example, example_within, look, number, text};
use crate::lab::nginx::Nginx;
use crate::lab::{place, program, until};

/// The shop of the example: its own script does the work.
const SHOP: &str = r#"<!doctype html><html><head><meta charset="utf-8"><title>Bookshop</title></head><body>
<h1>Bookshop</h1>
<label>Account <input id="account"></label> <label>Card <input name="card"></label>
<label>Password <input id="password"></label>
<select id="size"><option value="s">small</option><option value="l">large</option></select>
<button id="pay" disabled><span>Pay now</span></button>
<div class="spinner" hidden>…</div><p id="receipt" hidden></p>
<script>
const find = selector => document.querySelector(selector);
find('input[name=card]').addEventListener('input', () => setTimeout(() => find('#pay').disabled = false, 100));
find('#pay').addEventListener('click', () => {
  if (PROBLEM === 'ask' && !confirm('really?')) return;
  find('.spinner').hidden = false;
  setTimeout(() => {
    find('.spinner').hidden = true;
    find('#receipt').hidden = false;
    const who = find('#account').value + (find('#size').value === 'l' ? ', large' : '');
    const said = { decline: 'Sorry, declined', echo: 'Thank you, ' + find('#password').value }[PROBLEM];
    find('#receipt').textContent = said || 'Thank you, ' + who;
  }, 150);
});
</script></body></html>"#;

fn shop(problem: &str) -> String {
    let without = if problem == "no-button" { "<button" } else { "<never" };
    SHOP.replace("PROBLEM", &format!("'{problem}'")).replace(without, "<div hidden").replace("</never", "</div")
}

/// An nginx with pages, in a directory that is the tools' for evidence.
struct Lab {
    nginx: Nginx,
    kept: tempfile::TempDir,
}

impl Lab {
    fn start() -> Lab {
        let nginx = Nginx::start(
            "default_type text/html;
             location /broken { return 500 '<h1>out of order</h1>'; }
             location /inward { return 302 http://169.254.169.254/latest/meta-data/; }
             location /file.bin { add_header Content-Disposition attachment; default_type application/octet-stream; }",
        );
        Lab { nginx, kept: place::new() }
    }

    fn page(&self, name: &str, html: &str) -> String {
        std::fs::write(self.nginx.html().join(name), html).unwrap();
        self.nginx.url(&format!("/{name}"))
    }

    fn evidence(&self) -> PathBuf {
        self.kept.path().join("evidence")
    }

    fn ask(&self, seconds: u64, guard: Guard) -> Ask {
        let environment = Environment::new([("SHOP_PASSWORD".to_owned(), "correct-horse-battery".to_owned())]);
        let mut ask = ask();
        let kept = Some(Kept::new(self.evidence()));
        ask.tools = Arc::new(Tools::new(Setup { environment, kept, guard, ..Setup::default() }));
        ask.deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
        ask.params.set("account", "acme", true);
        ask
    }

    /// Looks with these steps, and sees to it that no process and no directory of it is left.
    async fn take(&self, steps: &str, seconds: u64) -> Observation {
        self.take_guarded(steps, seconds, Guard::default()).await
    }

    async fn take_guarded(&self, steps: &str, seconds: u64, guard: Guard) -> Observation {
        let settings = format!("sandbox: {}\nsteps:\n{steps}", !is_root());
        look("browser", &settings, &self.ask(seconds, guard)).await
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Processes of browsers that this test binary started: they have a directory of ours as their home. Zombies, which
/// only their host's init can take, hold nothing any more.
fn left_behind() -> Vec<String> {
    let ours = format!("{}/houston-", std::env::temp_dir().display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let (line, environ) = (read("cmdline"), read("environ"));
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let home = environ.split(|&byte| byte == 0).any(|word| word.starts_with(format!("HOME={ours}").as_bytes()));
        if line.contains("chrom") && (home || line.contains(&format!("--user-data-dir={ours}"))) {
            found.push(format!("{:?} {}", entry.file_name(), line.chars().take(200).collect::<String>()));
        }
    }
    found
}

fn blind(seen: &Observation) -> (UnknownKind, &str) {
    let Seen::Blind(unknown) = &seen.seen else { panic!("{seen:?}") };
    (unknown.kind, &unknown.why)
}

/// The screenshot that a finding names: it is there, a PNG, and within its bound.
fn picture(seen: &Observation) -> Vec<u8> {
    let path = seen.picture.as_deref().unwrap_or_else(|| panic!("no picture: {seen:?}"));
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 1000 && bytes.len() <= 1024 * 1024, "{}", bytes.len());
    bytes
}

fn pay(url: &str) -> String {
    format!(
        r##"- go: "{url}?who={{{{ account }}}}"
- fill: "#account"
  with: "{{{{ account }}}}"
- select: "#size"
  option: large
- fill: "input[name=card]"
  with: "4111 1111"
- click: "text=Pay now"
  timeout: 2s
- gone: .spinner
- name: the receipt
  see: "#receipt"
  timeout: 2s
  expect: [ 'element == "Thank you, acme, large"', 'url.endsWith("?who=acme")' ]
"##
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_case_passes_or_fails_at_its_own_line_with_a_picture() {
    let lab = Lab::start();
    let healthy = lab.take(&pay(&lab.page("shop.html", &shop(""))), 30).await;
    assert_eq!((&healthy.seen, healthy.broken.len()), (&Seen::Answered, 0), "{healthy:?}");
    assert_eq!((number(&healthy, "steps"), text(&healthy, "failed_step").as_str()), (7.0, ""), "{healthy:?}");
    assert!(healthy.picture.is_none() && !lab.evidence().exists(), "{healthy:?}");

    let declined = lab.take(&pay(&lab.page("declined.html", &shop("decline"))), 30).await;
    let [broken] = &declined.broken[..] else { panic!("{declined:?}") };
    assert_eq!(text(&declined, "failed_step"), "the receipt", "{declined:?}");
    assert!(broken.actual.contains("Sorry, declined"), "{broken:?}");
    assert_eq!(broken.at, "check.yaml:16:13", "{broken:?}");
    assert!(declined.excerpt.as_deref().unwrap_or_default().contains("Sorry, declined"), "{declined:?}");
    picture(&declined);

    let missing = lab.take(&pay(&lab.page("missing.html", &shop("no-button"))), 30).await;
    let [broken] = &missing.broken[..] else { panic!("{missing:?}") };
    assert_eq!((broken.that.as_str(), broken.at.as_str()), ("click: text=Pay now", "check.yaml:10:10"), "{missing:?}");
    assert_eq!((number(&missing, "steps"), number(&missing, "status")), (4.0, 200.0), "{missing:?}");
    picture(&missing);

    let broken = lab.take(&pay(&lab.nginx.url("/broken")), 30).await;
    let [expectation] = &broken.broken[..] else { panic!("{broken:?}") };
    assert_eq!((expectation.that.as_str(), expectation.actual.as_str()), ("status < 400", "status is 500"));
    assert_eq!(expectation.at, "check.yaml:3:7");
    picture(&broken);

    // Dialogs: answered by a step, or dismissed and told.
    let asking = pay(&lab.page("asking.html", &shop("ask")));
    let answered = asking.replace("- gone: .spinner\n", "- dialog: accept\n- gone: .spinner\n");
    let answered = lab.take(&answered, 30).await;
    assert!(answered.seen == Seen::Answered && answered.broken.is_empty(), "{answered:?}");
    let dismissed = lab.take(&asking, 30).await;
    assert!(dismissed.notes.iter().any(|note| note.contains("really?")), "{dismissed:?}");
    assert_eq!(dismissed.broken.len(), 1, "{dismissed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_evidence() {
    let lab = Lab::start();
    let steps = |url: &str| {
        format!(
            "- go: {url}\n- fill: \"#password\"\n  with: {{ env: SHOP_PASSWORD }}\n\
             - fill: \"input[name=card]\"\n  with: 1\n- click: \"#pay\"\n\
             - see: \"#receipt\"\n  timeout: 1s\n  expect: [ 'element == \"something else\"' ]\n"
        )
    };
    let hidden = lab.take(&steps(&lab.page("shop.html", &shop(""))), 30).await;
    assert_eq!(hidden.broken.len(), 1, "{hidden:?}");
    picture(&hidden);
    let echoed = lab.take(&steps(&lab.page("echo.html", &shop("echo"))), 30).await;
    assert!(echoed.broken[0].actual.contains("secret") && echoed.picture.is_none(), "{echoed:?}");
    assert!(echoed.notes.iter().any(|note| note.contains("the page shows a secret")), "{echoed:?}");
    for seen in [&hidden, &echoed] {
        assert!(!format!("{seen:?}").contains("correct-horse"), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_to_be_asked_is_told_from_what_may_not_be_asked() {
    let lab = Lab::start();
    let to = |url: &str| format!("- go: \"{url}\"\n- see: h1\n  timeout: 1s\n");
    let port = crate::lab::free_port();
    for scheme in ["http", "https"] {
        let refused = lab.take(&to(&format!("{scheme}://127.0.0.1:{port}/")), 30).await;
        let Seen::Failed(fault) = &refused.seen else { panic!("{refused:?}") };
        assert!(fault.phase == Phase::Connect && fault.what.contains("connection refused"), "{refused:?}");
    }
    let untrusted = lab.take(&to(&format!("https://127.0.0.1:{}/shop.html", lab.nginx.tls_port)), 30).await;
    assert!(matches!(&untrusted.seen, Seen::Failed(fault) if fault.phase == Phase::Tls), "{untrusted:?}");

    // The browser's own error page has a heading, too.
    let gone = format!("<h2 onclick=\"location = 'http://127.0.0.1:{port}/'\">x</h2>");
    let gone = lab.page("gone.html", &gone);
    let gone = lab.take(&format!("- go: {gone}\n- click: h2\n- gone: h2\n  timeout: 2s\n- see: h1\n"), 30).await;
    assert_eq!(gone.broken.len(), 1, "{gone:?}");
    assert!(gone.notes.iter().any(|note| note.contains("connection refused")), "{gone:?}");

    let here = Guard::new(vec![Entry::parse("127.0.0.0/8").unwrap()], Vec::new());
    let url = lab.page("shop.html", &shop(""));
    let denied = lab.take_guarded(&to(&url), 30, here).await;
    assert!(matches!(blind(&denied), (UnknownKind::Refused, why) if why.contains("deny list")), "{denied:?}");
    let metadata = lab.take(&to("http://169.254.169.254/latest/meta-data/"), 30).await;
    assert!(matches!(blind(&metadata), (UnknownKind::Refused, why) if why.contains("metadata")), "{metadata:?}");
    let inward = lab.take(&to(&lab.nginx.url("/inward")), 30).await;
    assert!(matches!(blind(&inward), (UnknownKind::Refused, why) if why.contains("metadata")), "{inward:?}");
    // A page that holds together without what the guard kept from it passes, and one that doesn't proves nothing.
    let image = "<h1>hello</h1><img src=http://169.254.169.254/x.png>";
    let fine = lab.take(&to(&lab.page("image.html", image)), 30).await;
    assert!(fine.seen == Seen::Answered && fine.broken.is_empty(), "{fine:?}");
    let lost = lab.page("lost.html", "<script src=http://169.254.169.254/x.js></script><p>nothing</p>");
    let lost = lab.take(&to(&lost), 30).await;
    assert!(matches!(blind(&lost), (UnknownKind::Refused, why) if why.contains("kept the page from")), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_pages_are_bounded_and_leave_nothing() {
    let lab = Lab::start();
    let huge = format!("<h1>x</h1>{}", format!("<p>{}</p>", "so much text ".repeat(100)).repeat(300));
    std::fs::write(lab.nginx.html().join("file.bin"), vec![7_u8; 3 << 20]).unwrap();
    let see = "- see: h1\n  timeout: 1s\n  expect: [ 'text.contains(\"never\")' ]\n";
    for (name, html, more) in [
        ("spin.html", "<h1>x</h1><script>setTimeout(() => { while (true); }, 0)</script>", see),
        ("alerts.html", "<h1>x</h1><script>setTimeout(() => { while (true) alert('me again'); }, 0)</script>", see),
        ("huge.html", huge.as_str(), see),
        (
            "windows.html",
            "<h1 onclick='for (let i = 0; i < 100; i++) open(\"/shop.html\")'>x</h1>",
            "- click: h1\n- see: .none\n  timeout: 1s\n",
        ),
        ("download.html", "<h1>x</h1><a href=/file.bin>get it</a>", "- click: a\n- see: .none\n  timeout: 1s\n"),
        (
            "file.html",
            "<h1>x</h1><a href=file:///etc/passwd>go</a>",
            "- click: a\n- expect: [ 'text.contains(\"root:\")' ]\n  timeout: 1s\n",
        ),
        ("upload.html", "<h1>x</h1><input type=file>", "- fill: input\n  with: /etc/passwd\n"),
    ] {
        let started = Instant::now();
        let url = lab.page(name, html);
        let seen = lab.take(&format!("- go: {url}\n  timeout: 2s\n{more}"), 20).await;
        assert!(started.elapsed() < Duration::from_secs(30), "{name}");
        let good = seen.seen == Seen::Answered && seen.broken.is_empty();
        assert!(!good, "{name}: {seen:?}");
        assert!(!format!("{seen:?}").contains("root:x:0"), "{name}: {seen:?}");
        match name {
            "huge.html" => assert!(matches!(blind(&seen), (UnknownKind::Incomplete, _)), "{seen:?}"),
            "upload.html" => assert!(matches!(blind(&seen), (UnknownKind::Refused, _)), "{seen:?}"),
            "alerts.html" => assert!(format!("{seen:?}").contains("me again"), "{seen:?}"),
            _ => {}
        }
    }
    // The check's time is over in the middle, and a look that its caller gives up.
    let spin = lab.page("spin.html", "<h1>x</h1><script>while (true);</script>");
    let steps = format!("- go: {spin}\n  timeout: 60s\n- see: h1\n");
    let late = lab.take(&steps, 4).await;
    assert!(!(late.seen == Seen::Answered && late.broken.is_empty()), "{late:?}");
    let given_up = tokio::time::timeout(Duration::from_secs(2), lab.take(&steps, 60)).await;
    assert!(given_up.is_err());
    until("no process is left", Duration::from_secs(20), || left_behind().is_empty());
}

#[test]
fn the_example_pays_in_a_real_browser() {
    let lab = Lab::start();
    let here = format!("127.0.0.1:{}", lab.nginx.port);
    let mut replaced = vec![("127.0.0.1:8472", here.as_str())];
    let as_root = example("browser", &replaced, "{}");
    if is_root() {
        assert!(as_root["outcome"] == "unknown" && as_root.to_string().contains("sandbox: false"), "{as_root}");
        replaced.push(("# sandbox: false", "sandbox: false"));
    }
    lab.page("shop.html", &shop(""));
    let finding = example("browser", &replaced, "{}");
    assert_eq!(finding["outcome"], "good", "{finding}");
    lab.page("shop.html", &shop("decline"));
    let finding = example("browser", &replaced, "{}");
    assert_eq!(finding["outcome"], "bad", "{finding}");
    let picture = finding["picture"].as_str().unwrap_or_default();
    assert!(Path::new(picture).is_file(), "{finding}");
    std::fs::remove_file(picture).unwrap();

    // A host without the driver: its file is hidden in a namespace of the command's own.
    let driver = program("chromedriver");
    let script = format!("mount --bind /dev/null {} && exec \"$@\"", driver.display());
    let unshare = program("unshare");
    let hidden = [unshare.to_str().unwrap(), "--mount", "--map-root-user", "sh", "-c", &script, "sh"];
    let hidden = if is_root() { [&hidden[..2], &hidden[3..]].concat() } else { hidden.to_vec() };
    let finding = example_within(&hidden, "browser", &replaced, "{}");
    assert!(finding["outcome"] == "unknown" && finding.to_string().contains("chromium-driver"), "{finding}");
}
