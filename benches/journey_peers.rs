//! Journeys of five requests with captures and ten asserts, per CPU-second, beside hurl, which runs the same ones.
//!
//! Goal: 2.5 times as many as hurl. Both keep their connection for a whole journey.
//!
//! `cargo bench --bench journey_peers`
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::exit, clippy::disallowed_methods, reason = "a bench starts its own server and its peer")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use houston::evidence::{self, Ask, Probe, Setup, Tools};
use houston::model::memory::Memory;
use houston::model::observation::Seen;
use houston::model::params::Params;
use houston::model::window::Moment;
use houston::net::budget::{Limit, Limits};
use houston::yaml;
use tokio::time::Instant;

mod beside;
mod day;
mod served;

use beside::{by_turns, peer, tell, work};
use served::{Server, serve};

const JOURNEYS: u32 = 1_000;

const OURS: &str = r#"
- post: "http://127.0.0.1:PORT/api/cart"
  json: { account: acme }
  expect: [ status == 201, json.account == "acme" ]
  capture: { cart: json.id }
- post: "http://127.0.0.1:PORT/api/cart/{{ cart }}/items"
  json: { sku: book-1 }
  expect: [ status == 200, '"book-1" in json.items' ]
- get: "http://127.0.0.1:PORT/api/cart/{{ cart }}"
  expect: [ status == 200, json.state == "open" ]
- post: "http://127.0.0.1:PORT/api/cart/{{ cart }}/pay"
  expect: [ status == 200, json.state == "authorized" ]
- delete: "http://127.0.0.1:PORT/api/cart/{{ cart }}"
  expect: [ status == 200, json.state == "dropped" ]
"#;

const HURL: &str = r#"
POST http://127.0.0.1:PORT/api/cart
{ "account": "acme" }
HTTP 201
[Captures]
cart: jsonpath "$.id"
[Asserts]
jsonpath "$.account" == "acme"

POST http://127.0.0.1:PORT/api/cart/{{cart}}/items
{ "sku": "book-1" }
HTTP 200
[Asserts]
jsonpath "$.items" includes "book-1"

GET http://127.0.0.1:PORT/api/cart/{{cart}}
HTTP 200
[Asserts]
jsonpath "$.state" == "open"

POST http://127.0.0.1:PORT/api/cart/{{cart}}/pay
HTTP 200
[Asserts]
jsonpath "$.state" == "authorized"

DELETE http://127.0.0.1:PORT/api/cart/{{cart}}
HTTP 200
[Asserts]
jsonpath "$.state" == "dropped"
"#;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(),
        _ => measure(),
    }
}

fn measure() {
    let hurl = peer("hurl", "cargo install hurl --version 8.0.1 --locked");
    let server = Server::start();
    let with_port = |text: &str| text.replace("PORT", &server.plain.to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journey.hurl");
    std::fs::write(&file, with_port(HURL)).unwrap();
    let kind = evidence::kind("journey").unwrap();
    let probe = (kind.read)(&yaml::parse("bench.yaml", &with_port(OURS)).unwrap()).unwrap();
    let free = Limit { at_once: 10_000, per_second: None };
    let limits = Limits { service: free, ..Limits::default() };
    let tools = Arc::new(Tools::new(Setup { limits, ..Setup::default() }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let mut works = [
        work("the journey kind", 1, || {
            runtime.block_on(async {
                for _ in 0..JOURNEYS {
                    journey(probe.as_ref(), &tools).await;
                }
            });
            u64::from(JOURNEYS)
        }),
        work("hurl, one job", 1, || with_hurl(&hurl, &file, 1)),
        work("hurl, eight jobs", 1, || with_hurl(&hurl, &file, 8)),
    ];
    let costs = by_turns(5, &mut works, || ());
    println!("{JOURNEYS} journeys of five requests");
    tell(&works, &costs, 1);
    for (work, (cost, journeys)) in works.iter().zip(&costs) {
        println!("{:24} {:6.0} journeys a CPU-second", work.name, *journeys as f64 / cost.cpu);
    }
}

async fn journey(probe: &dyn Probe, tools: &Arc<Tools>) {
    let window = day::last_15_minutes();
    let ask = Ask {
        now: day::now(),
        window,
        since: window.from,
        moment: Moment::Now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(60),
        memory: Arc::new(Memory::default()),
        check: "bench".into(),
        tools: Arc::clone(tools),
    };
    let seen = probe.observe(&ask).await;
    assert_eq!((seen.seen, seen.measures.number("steps")), (Seen::Answered, Some(5.0)));
}

fn with_hurl(hurl: &Path, file: &Path, jobs: u64) -> u64 {
    let mut command = Command::new(hurl);
    command.args(["--test", "--no-color", "--jobs", &jobs.to_string(), "--repeat", &JOURNEYS.to_string()]);
    let output = command.arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    u64::from(JOURNEYS)
}
