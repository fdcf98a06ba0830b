//! Files that may not be run, places where values may stand, and what hurl prints, without hurl.

use super::file::{Use, fits, hosts, inspect};
use super::report::{Report, Told};
use super::*;

#[test]
fn options_that_lead_past_the_guard_are_refused_at_their_line() {
    for (text, expected) in [
        ("GET http://a/\n[Options]\nproxy: http://b:1\n", Some((3, 1, "proxy"))),
        ("GET http://a/\n  [Options] # why not\n\n# more\n  resolve : a:80:1.2.3.4\n", Some((5, 3, "resolve"))),
        ("GET http://a/\r\n[Options]\r\nlocation: true\r\nunix-socket: /run/x\r\n", Some((4, 1, "unix-socket"))),
        ("GET http://a/\n[Options]\noutput: /etc/cron.d/x\n", Some((3, 1, "output"))),
        ("GET http://a/\n[Options]\nconnect-to: a:80:b:80\n", Some((3, 1, "connect-to"))),
        ("GET http://a/\n[Options]\nnetrc-file: /root/.netrc\n", Some((3, 1, "netrc-file"))),
        ("GET http://a/\n[Options]\nipv6: true\n", Some((3, 1, "ipv6"))),
        ("GET http://a/\n[Options]\nsomething-new: 1\n", Some((3, 1, "something-new"))),
        ("GET http://a/\n[Options]\nretry: 1\rproxy: x\n", Some((3, 1, "carriage return"))),
        ("GET http://a/\n[Query]\nx: 1\n[Options]\ncert: a.pem\n", Some((5, 1, "cert"))),
        // The same words elsewhere are somebody's own.
        ("GET http://a/\nproxy: 1\n[Query]\noutput: x\n[Options]\nretry: 2\n{\n  \"proxy\": 1,\n}\nHTTP 200\n", None),
        ("GET http://a/\n[Options]\nlocation: true\nHTTP 200\nkey: value\n[Asserts]\nstatus == 200\n", None),
        ("POST http://a/\n[Options]\nretry: 2\n```\nproxy: x\n```\n", None),
        ("", None),
    ] {
        match (inspect(text, &[]), expected) {
            (Ok(_), None) => {}
            (Err(wrong), Some((line, column, word))) => {
                assert_eq!((wrong.line, wrong.column), (line, column), "{text}: {wrong:?}");
                assert!(wrong.what.contains(word), "{text}: {wrong:?}");
            }
            (got, _) => panic!("{text}: {got:?}"),
        }
    }
}

#[test]
fn a_ticket_s_value_chooses_neither_host_nor_option() {
    let fed = ["c"];
    for (text, expected) in [
        ("GET http://a/x/{{c}}", Ok(vec![Use::Path])),
        ("GET http://a?x={{c}}", Ok(vec![Use::Path])),
        ("GET {{base}}/x/{{ c }}?y={{c}}", Ok(vec![Use::Path, Use::Path])),
        ("POST http://a/\nX: {{c}}\n{ \"a\": \"{{c}}\" }", Ok(vec![Use::Text, Use::Text])),
        ("POST http://a/\nfile,{{c}};", Ok(vec![Use::Path])),
        ("GET http://a/\n[Options]\nheader: X: {{c}}\nuser: {{c}}:{{token}}", Ok(vec![Use::Text, Use::Text])),
        ("GET http://a/\n# {{c}}\n{{cc}} {{other}} {{c-d}}", Ok(vec![Use::Text])),
        ("GET http://{{c}}/x", Err((1, 12))),
        ("GET {{c}}", Err((1, 5))),
        ("GET {{base}}{{c}}/", Err((1, 13))),
        ("GET http://a:{{c}}/", Err((1, 14))),
        ("GET\thttps://a@{{c}}/", Err((1, 15))),
        ("GET http://a/\n[Options]\nvariable: h={{c}}", Err((3, 13))),
        ("GET http://a/\n[Options]\nretry: {{c}}", Err((3, 8))),
    ] {
        let got = inspect(text, &fed).map(|uses| uses.into_iter().map(|(_, place)| place).collect::<Vec<_>>());
        assert_eq!(got.map_err(|wrong| (wrong.line, wrong.column)), expected, "{text}");
    }
    for (value, path, plain) in [
        ("acme-1.x_y~z", true, true),
        ("O.Brien & Sons", false, false),
        ("two words", false, true),
        ("a/b", false, true),
        ("..", false, true),
        ("", false, true),
        ("a%2fb", false, true),
        ("ünï", false, true),
        ("a\"b", false, false),
        ("{{x}}", false, false),
        ("a\u{1b}[2J", false, false),
    ] {
        assert_eq!((fits(value, Use::Path).is_ok(), fits(value, Use::Text).is_ok()), (path, plain), "{value:?}");
    }
}

#[test]
fn hosts_are_those_that_somebody_wrote() {
    let text = "GET http://shop.example/x\nPOST https://SHOP.example:8443/{{x}}\nGET {{base}}/y\nGET http://{{h}}/\nHTTP 200\n";
    let shown = |values: &[&str]| {
        let hosts = hosts(text, values.iter().copied());
        hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]), ["shop.example:80", "shop.example:8443"]);
    assert_eq!(
        shown(&["http://10.0.0.1:81", "plain", "http://shop.example/z"]),
        ["shop.example:80", "shop.example:8443", "10.0.0.1:81"]
    );
}

#[test]
fn errors_are_read_with_their_places() {
    let failure = "error: Assert failure\n  --> case.hurl:15:0\n   |\n   | GET http://a/\n   | ...\n15 | jsonpath \"$.x\" == 3\n   |   actual:   none\n   |   expected: integer <3>\n   |   >>> types between actual and expected are not consistent\n   |\n";
    let status = "error: Assert status code\n  --> case.hurl:13:6\n   |\n   | GET http://a/\n13 | HTTP 200\n   |      ^^^ actual value is <404>\n   |\n";
    let connection = "warning: something is old\nerror: HTTP connection\n  --> case.hurl:1:5\n   |\n 1 | GET http://127.0.0.1:1/\n   |     ^^^^^^ (7) Failed to connect to 127.0.0.1\n   |\n\nerror: Other\n  --> case.hurl:2:1\n";
    let told = |text| Told::first(text).unwrap();
    let first = told(failure);
    assert_eq!((first.line, first.column, first.expected.as_deref()), (15, 0, Some("integer <3>")));
    assert_eq!(first.actual, "none (types between actual and expected are not consistent)");
    assert_eq!((told(status).actual.as_str(), told(status).curl_code()), ("404", None));
    let third = told(connection);
    assert_eq!((third.title.as_str(), third.curl_code(), third.line), ("HTTP connection", Some(7), 1));
    for text in ["", "error: x", "error: x\nno place", "error: x\n --> a:b:c", "no error at all\n\n"] {
        assert_eq!(Told::first(text), None, "{text}");
    }
    assert!(told(&status.replace("404", &"4".repeat(10_000))).actual.len() < 1_000);
}

#[test]
fn a_report_is_read_strictly() {
    let entry = |index: usize, status: u16| {
        format!(
            "{{\"index\":{index},\"line\":{index},\"time\":2,\"asserts\":[],\"captures\":[],\"curl_cmd\":\"\",\"calls\":[{{\"request\":{{}},\"timings\":{{}},\
             \"response\":{{\"status\":{status},\"headers\":[{{\"name\":\"Proxy-Status\",\"value\":\"houston; error=x\"}}]}}}}]}}"
        )
    };
    let report = |entries: &[String]| {
        format!(
            "{{\"success\":true,\"time\":7,\"filename\":\"x\",\"cookies\":[],\"entries\":[{}]}}\n",
            entries.join(",")
        )
    };
    let read = Report::read(report(&[entry(1, 503), entry(1, 200), entry(2, 201)]).as_bytes()).unwrap();
    let steps: Vec<_> = read.steps().iter().map(|(entry, tries, time)| (entry.status(), *tries, *time)).collect();
    assert_eq!(steps, [(Some(200), 2, 4), (Some(201), 1, 2)]);
    assert!(read.entries[0].is_unanswered() && read.entries[0].held());
    for wrong in [
        String::new(),
        "[]".to_owned(),
        "{\"success\":true,\"time\":7}".to_owned(),
        format!("{0}{0}", report(&[])),
        report(&[entry(2, 200), entry(1, 200)]),
        report(&[entry(0, 200)]),
        report(&[entry(1, 200).replace("\"asserts\":[],", "")]),
    ] {
        assert!(Report::read(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/bad.hurl"), "GET http://a/\n[Options]\nproxy: http://b\n").unwrap();
    std::fs::write(folder.path().join("host.hurl"), "GET http://{{c}}/\n").unwrap();
    let check = folder.path().join("test.yaml");
    let read = |text: &str| read(&crate::yaml::parse(check.to_str().unwrap(), text).unwrap());
    for (text, place, message) in [
        ("file: /etc/x.hurl", "test.yaml:1:7", "not the name"),
        ("file: ../x.hurl", "test.yaml:1:7", "not the name"),
        ("file: a/../x.hurl", "test.yaml:1:7", "not the name"),
        ("file: x.yaml", "test.yaml:1:7", "not the name"),
        ("file: \"{{ x }}.hurl\"", "test.yaml:1:7", "not the name"),
        ("{ file: x.hurl, ca: y.pem }", "test.yaml:1:21", "not absolute"),
        ("{ file: x.hurl, variables: { a-b: c } }", "test.yaml:1:28", "a-b"),
        ("{ file: x.hurl, variables: { a: \"{{ b\" } }", "test.yaml:1:28", "not closed"),
        ("{}", "test.yaml:1:1", "file"),
        ("file: sub/bad.hurl", "sub/bad.hurl:3:1", "proxy"),
        ("{ file: host.hurl, variables: { c: \"{{ x }}\" } }", "host.hurl:1:12", "host"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.at.to_string().ends_with(place), "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
    }
    // A file that is still to come; a host that the check itself names.
    assert_eq!(read("{ file: later.hurl, variables: { a: \"{{ x }}-{{ y }}\" } }").unwrap().params(), ["x", "y"]);
    assert!(read("{ file: host.hurl, variables: { c: shop.example } }").is_ok());
}

#[test]
fn a_file_is_read_within_its_folder_and_its_size() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("good.hurl"), "GET http://a/\n").unwrap();
    std::fs::write(other.path().join("x.hurl"), "GET http://a/\n").unwrap();
    std::fs::write(at("long.hurl"), vec![b'#'; 300_000]).unwrap();
    std::fs::write(at("odd.hurl"), [0xff, 0xfe]).unwrap();
    std::fs::create_dir(at("folder.hurl")).unwrap();
    std::os::unix::fs::symlink("good.hurl", at("inside.hurl")).unwrap();
    std::os::unix::fs::symlink(other.path().join("x.hurl"), at("outside.hurl")).unwrap();
    for (name, expected) in [
        ("good.hurl", None),
        ("inside.hurl", None),
        ("outside.hurl", Some("leads out")),
        ("long.hurl", Some("longer than")),
        ("odd.hurl", Some("UTF-8")),
        ("folder.hurl", Some("no regular file")),
        ("none.hurl", Some("no such file")),
    ] {
        match (file::read(&at(name), folder.path()), expected) {
            (Ok(text), None) => assert!(text.starts_with("GET"), "{name}"),
            (Err(why), Some(word)) => assert!(why.contains(word), "{name}: {why}"),
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}
