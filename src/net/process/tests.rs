//! Programs that behave and programs that don't, as real processes.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A script in a directory of its own that only its owner can write.
struct Script {
    directory: tempfile::TempDir,
    path: PathBuf,
}

fn script(body: &str) -> Script {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plugin");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
    Script { directory, path }
}

async fn run_for(script: &Script, args: &[&str], time: Duration) -> Result<Ran, NotRun> {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let program = Program { path: script.path.clone(), called: None, args, env: Vec::new() };
    // A file that was just written can't be run while another thread's fork still holds it open.
    loop {
        match run(&program, Bounds::default(), Instant::now() + time).await {
            Err(NotRun::Failed { why, .. }) if why.contains("Text file busy") => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

async fn ran(body: &str) -> Ran {
    run_for(&script(body), &[], Duration::from_secs(10)).await.unwrap()
}

/// How long the sleepers of one case sleep: a number that no other process on this machine has, by which they are found.
fn word(case: u32) -> String {
    format!("38{:07}{case:03}", std::process::id())
}

/// Waits, up to a bound, until no process has this word in its command line.
async fn nobody_has(word: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let living = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let path = entry.path();
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            line.windows(word.len()).any(|part| part == word.as_bytes())
        });
        if !living || Instant::now() > end {
            return !living;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_file_that_is_given_lies_in_the_directory_and_goes_with_it() {
    let script = script("cat case && pwd");
    let program = Program { path: script.path.clone(), called: None, args: Vec::new(), env: Vec::new() };
    let ran = loop {
        let until = Instant::now() + Duration::from_secs(10);
        match run_with_file(&program, Bounds::default(), until, "case", b"given\n").await {
            Err(NotRun::Failed { why, .. }) if why.contains("Text file busy") => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    };
    let said = String::from_utf8(ran.stdout).unwrap();
    let directory = said.strip_prefix("given\n").unwrap().trim();
    assert!(directory.contains("houston-") && !Path::new(directory).exists(), "{said}");
}

#[tokio::test]
async fn exit_codes_signals_and_both_outputs_come_back() {
    for (body, expected, stdout, stderr) in [
        ("echo fine; exit 0", Ended::Exit(0), "fine\n", ""),
        ("echo a; echo b >&2; exit 2", Ended::Exit(2), "a\n", "b\n"),
        ("exit 255", Ended::Exit(255), "", ""),
        ("exec >&-; exec 2>&-; exit 7", Ended::Exit(7), "", ""),
        ("kill -9 $$", Ended::Signal(9), "", ""),
        ("cat; echo end", Ended::Exit(0), "end\n", ""),
    ] {
        let ran = ran(body).await;
        assert_eq!(ran.ended, expected, "{body}");
        assert_eq!(String::from_utf8_lossy(&ran.stdout), stdout, "{body}");
        assert_eq!(String::from_utf8_lossy(&ran.stderr), stderr, "{body}");
        assert!(!ran.truncated, "{body}");
    }
}

#[tokio::test]
async fn arguments_are_passed_as_they_are_and_the_environment_is_bare() {
    let script = script("printf '<%s>' \"$@\"; echo; env | cut -d= -f1 | sort | tr '\\n' ' '");
    let ran = run_for(&script, &["a b", "$(id)", "; rm x", "*", ""], Duration::from_secs(10)).await.unwrap();
    let out = String::from_utf8(ran.stdout).unwrap();
    let (args, env) = out.split_once('\n').unwrap();
    assert_eq!(args, "<a b><$(id)><; rm x><*><>");
    assert_eq!(env.trim(), "HOUSTON_RUN LANG PATH PWD"); // PWD is the shell's own
}

#[tokio::test]
async fn it_runs_in_an_empty_directory_that_goes_with_it() {
    let ran = ran("pwd; ls -A; echo left > behind; mkdir -p a/b; exit 0").await;
    let directory = PathBuf::from(String::from_utf8(ran.stdout).unwrap().trim());
    assert!(directory.is_absolute() && !directory.exists(), "{directory:?}");
}

#[tokio::test]
async fn an_endless_writer_is_cut_and_soon_over() {
    let started = Instant::now();
    for body in ["while :; do echo yyyyyyyyyyyyyyyyyyyyyyyy; done", "while :; do echo y >&2; done", "exec yes"] {
        let ran = run_for(&script(body), &[], Duration::from_secs(20)).await.unwrap();
        assert!(ran.truncated, "{body}");
        assert!(ran.stdout.len().max(ran.stderr.len()) == Bounds::default().output, "{body}");
    }
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn at_the_deadline_the_whole_family_dies_whatever_it_does() {
    for (body, case) in [
        ("sleep WORD", 1),
        ("trap '' TERM HUP INT; sleep WORD; sleep WORD", 2),
        ("sleep WORD & sleep WORD & wait", 3),
        ("setsid sleep WORD & wait", 4),
        ("(setsid sh -c 'sleep WORD; :' & ) ; sleep WORD", 5),
        ("env -i /usr/bin/setsid /bin/sh -c 'cd /; sleep WORD; :' ; :", 6),
    ] {
        let started = Instant::now();
        let word = word(case);
        let ran = run_for(&script(&body.replace("WORD", &word)), &[], Duration::from_millis(400)).await.unwrap();
        assert_eq!(ran.ended, Ended::TimedOut, "{body}");
        assert!(started.elapsed() < Duration::from_secs(4), "{body}: {:?}", started.elapsed());
        assert!(nobody_has(&word).await, "{body}");
    }
}

#[tokio::test]
async fn what_it_leaves_behind_neither_holds_us_nor_lives_on() {
    for (body, case) in [
        ("sleep WORD & echo done; exit 1", 11),
        ("setsid sleep WORD & echo done; exit 1", 12),
        ("(setsid sh -c 'cd /; sleep WORD; :' &); echo done; exit 1", 13),
        ("(env -i setsid sh -c 'sleep WORD; :' &); echo done; exit 1", 14),
    ] {
        let started = Instant::now();
        let word = word(case);
        let ran = run_for(&script(&body.replace("WORD", &word)), &[], Duration::from_secs(30)).await.unwrap();
        assert_eq!((ran.ended, ran.stdout.as_slice()), (Ended::Exit(1), b"done\n".as_slice()), "{body}");
        assert!(started.elapsed() < Duration::from_secs(10), "{body}");
        assert!(nobody_has(&word).await, "{body}");
    }
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing() {
    let word = word(21);
    let line = format!("sleep\0{word}\0").into_bytes();
    let script = script(&format!("setsid sleep {word} & sleep {word}"));
    let marker = script.directory.path().join("plugin");
    let run = run_for(&script, &[], Duration::from_secs(60));
    // Dropped as soon as the program has started its children.
    let started = async {
        loop {
            let both = std::fs::read_dir("/proc")
                .unwrap()
                .flatten()
                .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|found| found == line));
            if both.count() == 2 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ran = run => panic!("it ended by itself: {ran:?}"),
        done = timeout(Duration::from_secs(10), started) => done.unwrap(),
    }
    assert!(nobody_has(&word).await);
    assert!(nobody_has(marker.to_str().unwrap()).await);
}

#[tokio::test]
async fn limits_and_no_new_privileges_hold() {
    let limits = |ran: Ran| String::from_utf8(ran.stdout).unwrap();
    // The limits are put on right after the start, so the script looks until they are there (bounded by the deadline).
    let body = "while [ \"$(ulimit -n)\" != 64 ]; do :; done; ulimit -t; ulimit -c; ulimit -v; ulimit -f; grep NoNewPrivs /proc/self/status";
    assert_eq!(limits(ran(body).await), "10\n0\n524288\n2048\nNoNewPrivs:\t1\n");
}

#[tokio::test]
async fn what_can_not_start_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let no_interpreter = directory.path().join("plugin");
    std::fs::write(&no_interpreter, "#!/nowhere/interpreter\n").unwrap();
    std::fs::set_permissions(&no_interpreter, std::fs::Permissions::from_mode(0o555)).unwrap();
    for path in [no_interpreter, PathBuf::from("/nowhere/plugin")] {
        let program = Program { path: path.clone(), called: None, args: Vec::new(), env: Vec::new() };
        let error = run(&program, Bounds::default(), Instant::now() + Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().contains("interpreter is missing"), "{path:?}: {error}");
    }
}

#[test]
fn only_listed_and_safe_programs_are_allowed() {
    let mode = |mode: u32| {
        let script = script("exit 0");
        std::fs::set_permissions(&script.path, std::fs::Permissions::from_mode(mode)).unwrap();
        script
    };
    let why = |path: &Path, list: &[PathBuf]| allowed(path, list).unwrap_err().to_string();
    let good = mode(0o555);
    assert_eq!(allowed(&good.path, std::slice::from_ref(&good.path)), Ok(good.path.canonicalize().unwrap()));
    assert!(why(&good.path, &[]).contains("not in the list"));
    assert!(why(Path::new("bin/plugin"), &[PathBuf::from("bin/plugin")]).contains("not an absolute path"));
    let dotted = good.directory.path().join("./x/../plugin");
    assert!(why(&dotted, std::slice::from_ref(&good.path)).contains("not in the list"));
    for (bits, part) in [
        (0o4755, "another user's rights"),
        (0o2755, "another user's rights"),
        (0o444, "not executable"),
        (0o575, "written by others"),
        (0o557, "written by others"),
    ] {
        let script = mode(bits);
        assert!(why(&script.path, std::slice::from_ref(&script.path)).contains(part), "{bits:o}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_path_buf();
    assert!(why(&path, std::slice::from_ref(&path)).contains("not a file"));
    let gone = directory.path().join("gone");
    assert!(why(&gone, std::slice::from_ref(&gone)).contains("can't be read"));
    let open = mode(0o555);
    std::fs::set_permissions(open.directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(why(&open.path, std::slice::from_ref(&open.path)).contains("directory that others can write"));
}

#[tokio::test]
async fn a_file_that_was_left_behind_is_taken_and_nothing_else_is() {
    for (body, expected) in [
        ("printf '<a/>' >out", Left::Bytes(b"<a/>".to_vec())),
        ("printf '<a/>' >out; exit 3", Left::Bytes(b"<a/>".to_vec())),
        ("true", Left::Nothing),
        ("mkdir out", Left::Nothing),
        ("mkfifo out", Left::Nothing),
        ("ln -s /etc/passwd out", Left::Nothing),
        ("head -c 100 /dev/zero >out", Left::TooLong),
        ("head -c 5000 /dev/zero >out", Left::TooLong),
        ("head -c 99 /dev/zero >out", Left::Bytes(vec![0; 99])),
    ] {
        let script = script(body);
        let program = Program { path: script.path.clone(), called: None, args: Vec::new(), env: Vec::new() };
        let bounds = Bounds { file: 100, ..Bounds::default() };
        let left = loop {
            match run_for_file(&program, bounds, Instant::now() + Duration::from_secs(10), "out").await {
                Err(NotRun::Failed { why, .. }) if why.contains("Text file busy") => tokio::task::yield_now().await,
                other => break other.unwrap().1,
            }
        };
        assert_eq!(left, expected, "{body}");
    }
}

#[tokio::test]
async fn a_program_has_one_capability_at_the_most_where_it_is_given_one() {
    let sets = |text: &str| -> Vec<u64> {
        let lines = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"]
            .map(|name| text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of proc(5)"));
        lines.map(|value| u64::from_str_radix(value.trim(), 16).unwrap()).to_vec()
    };
    let ours = sets(&std::fs::read_to_string("/proc/self/status").unwrap());
    let raw = ours[1] & 1 << 13; // CAP_NET_RAW, where this test has it
    let program = Program {
        path: PathBuf::from("/bin/cat"),
        called: None,
        args: vec!["/proc/self/status".to_owned()],
        env: Vec::new(),
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let ran = run_with(Privileges::RawSockets, &program, Bounds::default(), deadline).await.unwrap();
    assert_eq!(sets(&String::from_utf8(ran.stdout).unwrap()), [raw; 4]);
    let ran = run(&program, Bounds::default(), deadline).await.unwrap();
    let theirs = sets(&String::from_utf8(ran.stdout).unwrap());
    assert_eq!((theirs[3], theirs[1] & !ours[1]), (0, 0), "none is handed on, and none is new");
    // What was given away for one program isn't gone for this process.
    assert_eq!(sets(&std::fs::read_to_string("/proc/self/status").unwrap()), ours);
}
