//! One request as a proxy's own log tells it: HAProxy, AWS load balancers, Envoy.

use crate::files::fields::end_of_string;
use crate::files::scan::Entry;

use super::json::without_origin;
use super::request::{Request, Took, decimal, quoted, status, target, whole};

/// HAProxy's HTTP log: `… client:port [accepted] frontend backend/server Tq/Tw/Tc/Tr/Tt status bytes … "request"`
/// (HAProxy Configuration Manual, 8.2.3).
pub fn haproxy(line: &[u8]) -> Option<Request<'_>> {
    let (_, behind) = around_the_time(line)?;
    let mut words = behind.split(|byte| *byte == b' ');
    let (_frontend, _backend) = (words.next()?, words.next()?);
    let total = words.next()?.rsplit(|byte| *byte == b'/').next()?;
    let status = status(words.next()?)?;
    let bytes = words.next()?;
    let bytes = whole(bytes.strip_prefix(b"+").unwrap_or(bytes))?;
    let milliseconds = whole(total.strip_prefix(b"+").unwrap_or(total))?;
    let request = quoted(behind, 0).map(target).unwrap_or_default();
    let seconds = Took::of(milliseconds as f64 / 1e3).seconds().ok()?;
    Some(Request { status, target: request, bytes: Some(bytes), seconds })
}

/// `remote_addr`, `frontend`, `backend`, `server`.
pub fn haproxy_field<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (client, behind) = around_the_time(line)?;
    let mut words = behind.split(|byte| *byte == b' ');
    let (frontend, upstream) = (words.next()?, words.next()?);
    let slash = memchr::memchr(b'/', upstream)?;
    match name {
        "remote_addr" => Some(without_port(client)),
        "frontend" => Some(frontend),
        "backend" => upstream.get(..slash),
        "server" => upstream.get(slash + 1..),
        _ => None,
    }
}

/// The word before the time in brackets, and what stands behind it.
fn around_the_time(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // A syslog header may have brackets of its own (`haproxy[14389]:`), but none with a blank before it.
    let open = memchr::memmem::find(line, b" [")?;
    let close = open + memchr::memchr(b']', line.get(open..)?)?;
    let client = line.get(..open)?.rsplit(|byte| *byte == b' ').next()?;
    Some((client, line.get(close + 2..)?))
}

/// An AWS load balancer's log: `[type] time elb client:port target:port t t t elb_status target_status received sent
/// "request" "agent" …` (Elastic Load Balancing, "Access log entries"); a classic one's has no type before the time.
pub fn alb<'a>(entry: &Entry<'a>) -> Option<Request<'a>> {
    let rest = behind_the_time(entry)?;
    let mut words = rest.split(|byte| *byte == b' ');
    let (_balancer, client, _target) = (words.next()?, words.next()?, words.next()?);
    memchr::memchr(b':', client)?;
    let mut seconds = Some(0.0);
    for _ in 0..3 {
        // -1: the request never came to that.
        let word = words.next()?;
        let part = if word == b"-1" { None } else { Some(decimal(word)?) };
        seconds = seconds.zip(part).map(|(sum, part): (f64, f64)| sum + part);
    }
    let status = status(words.next()?)?;
    let (_target_status, _received, sent) = (words.next()?, whole_of(words.next()?)?, whole_of(words.next()?)?);
    let request = quoted(rest, 0)?;
    let seconds = seconds.map_or(Took::Absent, Took::of).seconds().ok()?;
    Some(Request { status, target: without_origin(target(request)), bytes: Some(sent), seconds })
}

/// `remote_addr`, `upstream_addr`, `elb`, `http_user_agent`.
pub fn alb_field<'a>(entry: &Entry<'a>, name: &str) -> Option<&'a [u8]> {
    // Many a log begins with its time: only a whole line tells.
    alb(entry)?;
    let rest = behind_the_time(entry)?;
    let mut words = rest.split(|byte| *byte == b' ');
    let (balancer, client, upstream) = (words.next()?, words.next()?, words.next()?);
    match name {
        "elb" => Some(balancer),
        "remote_addr" => Some(without_port(client)),
        "upstream_addr" => Some(upstream),
        "http_user_agent" => quoted(rest, 1),
        _ => None,
    }
}

fn behind_the_time<'a>(entry: &Entry<'a>) -> Option<&'a [u8]> {
    let stamp = entry.stamp?;
    let before = entry.line.get(..stamp.start)?;
    let kinds: [&[u8]; 7] = [b"", b"http ", b"https ", b"h2 ", b"grpcs ", b"ws ", b"wss "];
    if !kinds.contains(&before) {
        return None;
    }
    entry.line.get(stamp.end..)?.strip_prefix(b" ")
}

/// Envoy's default log, and Istio's: `[time] "METHOD path PROTOCOL" status flags … received sent duration …` (Envoy,
/// "Default Format String"). Between the flags and the counts Istio has more words; the counts are the first three whole
/// numbers in a row, and the duration is in milliseconds.
pub fn envoy<'a>(entry: &Entry<'a>) -> Option<Request<'a>> {
    let stamp = entry.stamp?;
    if stamp.start > 1 || entry.line.first() != Some(&b'[') {
        return None;
    }
    let rest = entry.line.get(stamp.end..)?;
    let rest = rest.strip_prefix(b"]").unwrap_or(rest).strip_prefix(b" ")?;
    if rest.first() != Some(&b'"') {
        return None;
    }
    let close = end_of_string(rest, 0)?;
    let target = target(rest.get(1..close)?);
    let mut rest = rest.get(close + 1..)?.strip_prefix(b" ")?;
    let status = status(next_word(&mut rest)?)?;
    let _flags = next_word(&mut rest)?;
    let mut counts = [0; 3];
    let mut found = 0;
    while found < 3 {
        match whole(next_word(&mut rest)?) {
            Some(count) => {
                counts[found] = count;
                found += 1;
            }
            None => found = 0,
        }
    }
    let [_received, sent, milliseconds] = counts;
    let seconds = Took::of(milliseconds as f64 / 1e3).seconds().ok()?;
    Some(Request { status, target, bytes: Some(sent), seconds })
}

/// The next word or quoted text, its quotes included.
fn next_word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let text = rest.trim_ascii_start();
    let end = match text.first()? {
        b'"' => end_of_string(text, 0)? + 1,
        _ => memchr::memchr(b' ', text).unwrap_or(text.len()),
    };
    *rest = text.get(end..)?;
    text.get(..end)
}

fn whole_of(text: &[u8]) -> Option<u64> {
    if text == b"-" { Some(0) } else { whole(text) }
}

fn without_port(address: &[u8]) -> &[u8] {
    memchr::memrchr(b':', address).map_or(address, |colon| &address[..colon])
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::evidence::traffic::access_log::json::Names;
    use crate::evidence::traffic::access_log::request::Form;
    use crate::files::timestamp::Clock;

    fn with<'a, T>(line: &'a str, read: impl FnOnce(&Entry<'a>) -> T) -> T {
        let clock = Clock::new(TimeZone::UTC, None, "2026-11-22T12:00:00Z".parse().unwrap());
        let stamp = clock.recogniser(line.as_bytes()).stamp(line.as_bytes());
        read(&Entry { line: line.as_bytes(), at: 0, stamp, cut: false, ended: true })
    }

    /// As their manuals show them.
    const HAPROXY: &str = r#"Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1""#;
    const HAPROXY_DOWN: &str = r#"Nov 22 10:00:00 h haproxy[1]: ::1:5 [22/Nov/2026:10:00:00.123] fe be/<NOSRV> 0/-1/-1/-1/+3 503 +212 - - SC-- 1/1/0/0/0 0/0 "GET /x HTTP/1.1""#;
    const ALB: &str = r#"https 2018-07-02T22:23:00.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "GET https://www.example.com:443/cart?a=b HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "Root=1-58337281-1d84f3d73c47ec4e58577259" "www.example.com" "arn:aws:acm:us-east-2:123456789012:certificate/12345678-1234-1234-1234-123456789012" 1 2018-07-02T22:22:48.364000Z "authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-""#;
    const ALB_DOWN: &str = r#"http 2018-11-30T22:23:00.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 - -1 -1 -1 502 - 34 366 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.46.0" - - arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "Root=1-58337364-23a8c76965a2ef7629b185e3" "-" "-" 0 2018-11-30T22:22:48.364000Z "forward" "-" "LambdaInvalidResponse" "-" "-" "-" "-""#;
    const CLASSIC: &str = r#"2015-05-13T23:39:43.945958Z my-loadbalancer 192.168.131.39:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.38.0" - -"#;
    const ENVOY: &str = r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80""#;
    const ISTIO: &str = r#"[2020-11-25T21:26:18.409Z] "GET /status/503 HTTP/1.1" 503 UF upstream_reset - "-" 0 135 4 - "-" "curl/7.73.0-DEV" "84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "127.0.0.1:80" inbound|8000|| 127.0.0.1:41854 10.44.1.27:80 10.44.1.23:37652 outbound_.8000_._.httpbin.foo.svc.cluster.local default"#;

    #[test]
    fn the_lines_of_their_manuals_are_read_also_unasked() {
        for (line, form, expected) in [
            (HAPROXY, Form::Haproxy, (200, "/index.html", 2_750, Some(0.109))),
            (HAPROXY_DOWN, Form::Haproxy, (503, "/x", 212, Some(0.003))),
            (ALB, Form::Alb, (200, "/cart?a=b", 57, Some(0.171))),
            (ALB_DOWN, Form::Alb, (502, "/", 366, None)),
            (CLASSIC, Form::Alb, (200, "/", 29, Some(0.001_178))),
            (ENVOY, Form::Envoy, (204, "/api/v1/locations", 0, Some(0.226))),
            (ISTIO, Form::Envoy, (503, "/status/503", 135, Some(0.004))),
        ] {
            for form in [form, Form::Auto(Names::default())] {
                let request = with(line, |entry| form.read(entry)).unwrap_or_else(|| panic!("{form:?}: {line}"));
                let (status, target, bytes, seconds) = expected;
                assert_eq!((request.status, request.bytes), (status, Some(bytes)), "{line}");
                assert_eq!(String::from_utf8_lossy(request.target), target, "{line}");
                let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
                assert!(request.seconds.zip(seconds).map_or(request.seconds == seconds, |(a, b)| near(a, b)), "{line}");
            }
        }
    }

    #[test]
    fn fields_have_their_names() {
        for (line, name, expected) in [
            (HAPROXY, "remote_addr", Some("10.0.1.2")),
            (HAPROXY, "backend", Some("static")),
            (HAPROXY_DOWN, "server", Some("<NOSRV>")),
            (HAPROXY_DOWN, "remote_addr", Some("::1")),
            (ALB, "remote_addr", Some("192.168.131.39")),
            (ALB, "http_user_agent", Some("curl/7.46.0")),
            (CLASSIC, "elb", Some("my-loadbalancer")),
            (ALB, "frontend", None),
        ] {
            let field = with(line, |entry| {
                let field = Form::Auto(Names::default()).field(entry, &[name.to_owned()]);
                field.map(|field| String::from_utf8(field.into_owned()).unwrap())
            });
            assert_eq!(field.as_deref(), expected, "{name}: {line}");
        }
    }

    #[test]
    fn what_cannot_be_is_not_read() {
        for (line, form) in [
            (ALB.replace("0.086", "NaN"), Form::Alb),
            (ALB.replace(" 200 200 ", " 2000 200 "), Form::Alb),
            (ALB.replace("https 2018", "gopher 2018"), Form::Alb),
            (ALB.split(" HTTP/1.1").next().unwrap().to_owned(), Form::Alb),
            (ENVOY.replace(" 204 ", " 0 "), Form::Envoy),
            (ENVOY.replace("226", "inf"), Form::Envoy),
            (HAPROXY.replace("/109", "/-5"), Form::Haproxy),
            (HAPROXY.replace(" 200 ", " -1 "), Form::Haproxy),
        ] {
            assert!(with(&line, |entry| form.read(entry)).is_none(), "{line}");
        }
    }
}
