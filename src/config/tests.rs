//! A whole configuration is read, and each mistake is shown at its own token.

use std::time::Duration;

use super::*;
use crate::model::secret::SecretRef;
use crate::response::playbook::Target;

const WHOLE: &str = "\
services:
  checkout: { owner: team-shop, depends_on: [payments], aliases: [the till], patterns: ['(?i)pay(ment)? page'], public_name: Shop }
  payments: { owner: team-shop }
teams:
  team-shop: { members: [ada, grace], channels: [desk] }
customers:
  acme: { identifiers: [ACME Ltd, c-17] }
  zenith: {}
channels:
  desk:
    webhook: { url: 'https://desk.example.com/houston', secret: { env: DESK } }
escalation: { channels: [log], team: team-shop }
announce: { channels: [desk] }
triage: { deadline: 45s, now_window: 10m, default_window: 20m, costs: { prior: 0.4, c_miss: 30 } }
store: { path: /var/lib/houston }
listen:
  tcp: 0.0.0.0:8460
  unix: /run/houston/houston.sock
  allowed_hosts: [Houston.example.com]
  behind_proxy: true
  tickets_per_minute: 100
  tokens:
    - name: desk
      scope: report
      secret: { file: /etc/houston/desk.token }
      from: [ 10.1.0.0/16 ]
      expires: 2027-01-31T00:00:00Z
programs: [ /usr/lib/nagios/plugins/check_disk ]
heartbeat: { url: \"https://watch.example.com/ping/1\", every: 30s }
budgets:
  system: { concurrent: 16 }
  hosts: { 'prometheus:9090': { concurrent: 4, per_second: 20 } }
egress: { deny: [ 10.1.0.0/16, '*.internal.example' ] }
";

#[test]
fn a_channel_runs_only_what_may_be_run() {
    for (programs, taken) in [("[]", false), ("[ /bin/false ]", false), ("[ /bin/true ]", true)] {
        let text = format!("channels: {{ m: {{ command: [ /bin/true ] }} }}\nprograms: {programs}\n");
        assert_eq!(read("houston.yaml", text.as_bytes()).is_ok(), taken, "{programs}");
    }
}

#[test]
fn everything_is_read() {
    let config = read("houston.yaml", WHOLE.as_bytes()).unwrap();
    assert_eq!(config.warnings, []);
    let checkout = &config.catalog.services["checkout"];
    assert_eq!(checkout.owner.as_deref(), Some("team-shop"));
    assert_eq!(
        (checkout.depends_on.as_slice(), checkout.aliases.as_slice()),
        (&["payments".to_owned()][..], &["the till".to_owned()][..])
    );
    assert!(checkout.patterns[0].is_match("the PAY page"));
    assert_eq!(config.catalog.customer("acme LTD"), Some("acme"));
    assert_eq!(config.channels.names().collect::<Vec<_>>(), ["desk", "log"]);
    let target = |channel: &str, recipient: &str| Target { channel: channel.into(), recipient: recipient.into() };
    assert_eq!(config.policy.escalate, [target("log", "operators"), target("desk", "team-shop")]);
    assert_eq!(config.policy.announce, [target("desk", "operators")]);
    assert_eq!(config.triage.deadline, Duration::from_secs(45));
    let heartbeat = config.heartbeat.as_ref().unwrap();
    let beat = (heartbeat.url.as_str(), heartbeat.every);
    assert_eq!(beat, ("https://watch.example.com/ping/1", Duration::from_secs(30)));
    assert_eq!((config.triage.costs.prior, config.triage.costs.c_miss, config.triage.costs.c_page), (0.4, 30.0, 5.0));
    assert_eq!(config.store.path, Path::new("/var/lib/houston"));
    assert_eq!(config.listen.tcp, Some("0.0.0.0:8460".parse().unwrap()));
    assert_eq!(config.listen.allowed_hosts, ["houston.example.com"]);
    let token = Token {
        name: "desk".into(),
        scope: Scope::Report,
        secret: SecretRef::File("/etc/houston/desk.token".into()),
        from: vec!["10.1.0.0/16".into()],
        expires: Some("2027-01-31T00:00:00Z".parse().unwrap()),
    };
    assert_eq!((config.listen.tokens, config.listen.tickets_per_minute), (vec![token], 100));
    assert_eq!(config.budgets.system, Budget { concurrent: 16, per_second: None });
    assert_eq!(config.budgets.hosts["prometheus:9090"], Budget { concurrent: 4, per_second: Some(20.0) });
    assert_eq!(config.deny.len(), 2);
}

const PEOPLE: &str = "\
people:
  ana:
    time_zone: Europe/Berlin
    reach:
      - { over: chat, to: '@ana', from: '08:00', until: '20:00', days: [mon, fri] }
      - { over: log }
  kim: { reach: [{ over: chat, to: '@kim' }] }
teams:
  shop:
    members: [ana, kim]
    on_call:
      rotation: { start: 2026-01-05 09:00, every: 1w, time_zone: Europe/Berlin, members: [ana, kim] }
      overrides:
        - { from: 2026-12-24 18:00, until: '2026-12-27T09:00:00+01:00', who: kim }
    ladder:
      - { notify: on_call, wait: 3m }
      - { notify: [ana, kim] }
      - { notify: team, wait: 10m }
    repeat: 2
    acknowledge_for: 1h
  calls: { on_call: { overrides: [] }, channels: [chat] }
  plain: { channels: [chat] }
channels:
  chat:
    webhook: { url: 'https://chat.example.com/', secret: { env: CHAT } }
escalation: { team: shop }
";

#[test]
fn people_rotations_and_ladders_are_read() {
    use crate::model::people::{Ladder, Step, Whom};
    let config = read("houston.yaml", PEOPLE.as_bytes()).unwrap();
    let ana = &config.catalog.people["ana"];
    assert_eq!((ana.reach[0].to.as_str(), ana.reach[1].to.as_str()), ("@ana", "ana"));
    assert_eq!(ana.reach[0].hours.as_ref().unwrap().days.len(), 2);
    assert_eq!(ana.reach[1].hours, None);
    let shop = &config.catalog.teams["shop"];
    let step = |notify, minutes: u64| Step { notify, wait: Duration::from_secs(minutes * 60) };
    let people = Whom::People(vec!["ana".into(), "kim".into()]);
    let steps = vec![step(Whom::OnCall, 3), step(people, 5), step(Whom::Team, 10)];
    assert_eq!(shop.ladder, Some(Ladder { steps, repeat: 2, acknowledge_for: Duration::from_secs(3_600) }));
    let over = &shop.on_call.as_ref().unwrap().overrides[0];
    assert_eq!(over.from, "2026-12-24T17:00:00Z".parse().unwrap(), "by the clock on the wall of the rotation");
    let calls = config.catalog.teams["calls"].ladder.as_ref().unwrap();
    assert_eq!(calls.steps.iter().map(|step| &step.notify).collect::<Vec<_>>(), [&Whom::OnCall, &Whom::Team]);
    assert_eq!(config.catalog.teams["plain"].ladder, None);
    assert_eq!((config.policy.page.as_deref(), config.policy.escalate), (Some("shop"), vec![]));
}

#[test]
fn with_nothing_written_there_are_defaults() {
    for text in ["", "# nothing yet\n", "{}"] {
        let config = read("houston.yaml", text.as_bytes()).unwrap();
        assert_eq!(config.triage, TriageSettings::default());
        assert_eq!(config.listen.tcp, Some("127.0.0.1:8460".parse().unwrap()));
        assert_eq!(config.policy, Policy::default());
    }
    assert!(load(Path::new("/nonexistent/houston.yaml")).unwrap_err()[0].message.contains("can't be read"));
}

#[test]
fn each_mistake_is_shown_at_its_own_token_with_a_hint() {
    for (text, line, column, message, hint) in [
        ("servcies: {}", 1, 1, "unknown key `servcies`", "did you mean `services`?"),
        ("services:\n  a: { ownr: x }", 2, 8, "unknown key `ownr`", "did you mean `owner`?"),
        (
            "services:\n  a: { depends_on: [payments] }",
            2,
            21,
            "there is no service `payments`",
            "declare it under `services`",
        ),
        ("teams: { shop: {} }\nservices: { a: { owner: shpo } }", 2, 25, "there is no team `shpo`", "`shop`"),
        ("services: { a: { patterns: ['x*'] } }", 1, 29, "matches every ticket", "name the service"),
        ("services: { a: { patterns: ['('] } }", 1, 29, "not a regular expression: unclosed group", "searched"),
        ("services: [a]", 1, 11, "expected a map from names to services, found a list", "name"),
        (
            "customers: { acme: {}, b: { identifiers: [ACME] } }",
            1,
            43,
            "names the customer `acme`, too",
            "one customer",
        ),
        ("channels: { desk: { webhok: {} } }", 1, 21, "no such kind of channel", "did you mean `webhook`?"),
        ("teams: { a: { channels: [desk] } }", 1, 26, "there is no channel `desk`", "channels"),
        ("people: { ana: {} }", 1, 11, "nothing reaches `ana`", "reach"),
        ("people: { ana: { reach: [] } }", 1, 25, "nothing reaches `ana`", "over"),
        ("people: { ana: { reach: [{ over: sms }] } }", 1, 34, "there is no channel `sms`", "channels"),
        ("people: { ana: { reach: [{ over: log, from: 8 }] } }", 1, 45, "not a time of day", "08:00"),
        ("people: { ana: { reach: [{ over: log, days: [moonday] }] } }", 1, 46, "not a day of the week", "mon"),
        ("people: { ana: { time_zone: Mars, reach: [{ over: log }] } }", 1, 29, "no time zone `Mars`", "IANA"),
        ("teams: { a: { ladder: [] } }", 1, 23, "1 to 20 steps", "notify"),
        ("teams: { a: { ladder: [{ notify: on_call }] } }", 1, 34, "nobody of this team is on call", "on_call"),
        ("teams: { a: { ladder: [{ notify: team }] } }", 1, 34, "nobody of this team can be reached", "people"),
        ("teams: { a: { ladder: [{ notify: [ana] }] } }", 1, 35, "there is no person `ana`", "`people`"),
        ("teams: { a: { ladder: [{ wait: 5m }] } }", 1, 24, "a step tells nobody", "notify"),
        ("teams: { a: { channels: [log], ladder: [{ notify: team, wait: 0s }] } }", 1, 63, "a step waits", "30m"),
        ("teams: { a: { repeat: 99 } }", 1, 23, "at most 10 times", "10"),
        (
            "people: { ana: { reach: [{ over: log }] } }\nteams: { a: { on_call: { rotation: { start: soon, every: 1w, members: [ana] } } } }",
            2,
            45,
            "not a date and time",
            "2026-01-05 09:00",
        ),
        (
            "people: { ana: { reach: [{ over: log }] } }\nteams: { a: { on_call: { rotation: { start: 2026-01-05 09:00, every: 1m, members: [ana] } } } }",
            2,
            70,
            "an hour at least",
            "1w",
        ),
        (
            "people: { ana: { reach: [{ over: log }] } }\nteams: { a: { on_call: { rotation: { start: 2026-01-05 09:00, every: 1w, members: [anna] } } } }",
            2,
            84,
            "there is no person `anna`",
            "did you mean `ana`?",
        ),
        (
            "people: { ana: { reach: [{ over: log }] } }\nteams: { a: { on_call: { overrides: [{ from: 2026-01-05 09:00, until: 2026-01-05 08:00, who: ana }] } } }",
            2,
            71,
            "ends before it begins",
            "later",
        ),
        ("escalation: { channels: [lgo] }", 1, 26, "there is no channel `lgo`", "did you mean `log`?"),
        ("teams: { a: {} }\nescalation: { team: a }", 2, 21, "has no channel", "add `channels"),
        ("escalation: { channels: [] }", 1, 15, "names nobody", "remove the key"),
        ("triage: { deadline: 60 }", 1, 21, "`60` has no unit", "`60s`"),
        ("triage: { deadline: 1h }", 1, 21, "lies between 1.0 s and 10 m", "1 m"),
        ("triage: { deadline: 1 m }\ntriage: {}", 2, 1, "duplicate key `triage`", "line 1"),
        ("triage: { costs: { c_miss: 2 } }", 1, 28, "no issue unseen", "c_miss must be above 2.8571"),
        ("triage: { costs: { c_page: 1.2 } }", 1, 28, "an issue unseen", "c_page must be above 1.5385"),
        ("triage: { costs: { c_human: 10 } }", 1, 29, "no issue unseen", "c_miss must be above"),
        ("triage: { costs: { c_human: 0 } }", 1, 29, "above 0", "asking a human"),
        ("triage: { costs: { prior: 35 } }", 1, 27, "between 0 and 1", "0.35"),
        ("listen: { tcp: 8460 }", 1, 16, "no address and port", "127.0.0.1:8460"),
        ("listen: { tcp: '0.0.0.0:8460' }", 1, 16, "a token and a proxy", "behind_proxy"),
        ("listen: { allowed_hosts: ['https://x'] }", 1, 27, "no host name", "without scheme"),
        ("listen: { tickets_per_minute: 0 }", 1, 31, "this is no rate", "1 to 1000000"),
        (
            "listen: { tokens: [ { name: a, scope: read, secret: { env: X }, from: [ nowhere ] } ] }",
            1,
            73,
            "neither an address nor a net",
            "10.1.0.0/16",
        ),
        (
            "listen: { tokens: [ { name: a, scope: read, secret: { env: X }, expires: tomorrow } ] }",
            1,
            74,
            "no point in time",
            "2027-01-31",
        ),
        ("listen: { tokens: [ { name: a, scope: rpeort, secret: { env: X } } ] }", 1, 39, "unknown value", "`report`"),
        (
            "listen: { tokens: [ { name: a, scope: read, secret: hou_1 } ] }",
            1,
            53,
            "a secret is not written here",
            "env",
        ),
        ("heartbeat: { every: 1m }", 1, 12, "no `url`", "https://watch"),
        ("heartbeat: { url: \"watch\" }", 1, 19, "begins with http", ""),
        ("heartbeat: { url: \"https://watch/\", every: 1d }", 1, 44, "between 1s and 1h", "1m"),
        ("channels: { a: { command: [/bin/false] } }", 1, 28, "isn't in the list", "programs"),
        ("programs: [check_disk]", 1, 12, "absolute path", "/usr/lib"),
        ("budgets: { system: { concurrent: 0 } }", 1, 34, "between 1 and 1000", "8"),
        ("budgets: { hosts: { 'a b': {} } }", 1, 21, "no host", "prometheus:9090"),
        ("egress: { deny: ['10.0.0.0/40'] }", 1, 18, "neither an address", "10.1.0.0/16"),
    ] {
        let Err(errors) = read("houston.yaml", text.as_bytes()) else { panic!("{text} was read") };
        let error = errors.first().unwrap();
        assert_eq!((error.at.line, error.at.column), (line, column), "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{text}: {:?}", error.hint);
        assert!(!error.source_line.is_empty() && !error.source_line.contains("hou_1"));
    }
}

#[test]
fn all_errors_come_at_once_and_a_prior_outside_of_its_bounds_is_a_warning() {
    let errors = read("h.yaml", b"triage: { deadline: 5 }\nstore: 7\nnonsense: 1\n").unwrap_err();
    assert_eq!(errors.iter().map(|error| error.at.line).collect::<Vec<_>>(), [1, 2, 3]);
    let config = read("h.yaml", b"triage: { costs: { prior: 0.05 } }").unwrap();
    assert!(config.warnings[0].message.contains("taken as 0.1"), "{:?}", config.warnings);
}
