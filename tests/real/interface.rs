//! `interface` at this host's loopback, with traffic that the test makes, and a listener that really overflows.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use houston::model::observation::{Seen, UnknownKind};
use houston::model::value::Value;

use super::looking::{ask, example, look, number};
use crate::lab::free_port;

/// Something that goes on until it is dropped.
struct Going {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Going {
    fn new() -> Going {
        Going { stop: Arc::default(), done: Arc::default(), threads: Vec::new() }
    }

    /// Does this again and again; it says how much it has done.
    fn and(mut self, mut act: impl FnMut() -> u64 + Send + 'static) -> Going {
        let (stop, done) = (Arc::clone(&self.stop), Arc::clone(&self.done));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                done.fetch_add(act(), Ordering::Relaxed);
            }
        }));
        self
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A connection over the loopback, over which bytes go for as long as the value lives.
fn stream() -> (u16, Going) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    }
    let (mut block, sent) = ([0; 64 * 1024], [7; 64 * 1024]);
    let going = Going::new().and(move || client.write(&sent).unwrap_or_default() as u64).and(move || {
        let _keeps_it_open = &listener;
        let _ = server.read(&mut block);
        0
    });
    (port, going)
}

/// A listener that nobody serves and whose queue has room for one, and somebody who keeps knocking.
fn overflowing() -> (u16, Going) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let silent = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&silent, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listen(&silent, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&silent).unwrap()).unwrap();
    let mut held = Vec::new();
    let going = Going::new().and(move || {
        let _keeps_it_open = &silent;
        match TcpStream::connect_timeout(&address, Duration::from_millis(20)) {
            Ok(stream) => held.push(stream),
            Err(_) => return 1,
        }
        0
    });
    (address.port(), going)
}

/// A test binary's tests share one kernel: what must not overflow comes before what does.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_seen_and_so_is_a_queue_that_overflows() {
    let (port, going) = stream();
    let settings = format!("interfaces: [lo]\nport: {port}\ninterval: 1s");
    let before = going.done.load(Ordering::Relaxed);
    let seen = look("interface", &settings, &ask()).await;
    let sent = (going.done.load(Ordering::Relaxed) - before) as f64;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    let seconds = number(&seen, "interval_seconds");
    assert!(seconds >= 1.0, "{seconds}");
    // The look takes longer than its interval, so more was sent around it than in it.
    let received = number(&seen, "receive_bytes_per_second") * seconds;
    assert!(sent > 1e6 && received > 1e5, "{sent} were sent, {received} seen: {seen:?}");
    let Some(Value::Map(each)) = seen.measures.get("each") else { panic!("{seen:?}") };
    assert_eq!(each.keys().collect::<Vec<_>>(), ["lo"]);
    assert!(number(&seen, "segments_sent_per_second") > 0.0 && number(&seen, "retransmit_ratio") < 1.0, "{seen:?}");
    let counts = ["listeners", "listen_queue", "established"].map(|name| number(&seen, name));
    assert_eq!(counts, [1.0, 0.0, 1.0], "{seen:?}");

    let listens = format!("port: {port}");
    let finding = example("interface", &[("port: 8470", &listens)], "{}\n");
    assert_eq!(finding["outcome"], "good", "{finding}");
    drop(going);
    let finding = example("interface", &[("port: 8470", &listens)], "{}\n");
    assert_eq!(
        (&finding["outcome"], &finding["failed"][0]["that"]),
        (&"bad".into(), &"listeners > 0".into()),
        "{finding}"
    );

    let (port, knocking) = overflowing();
    let settings = format!("interfaces: [lo]\nport: {port}\ninterval: 1s");
    crate::lab::until("the queue is full", crate::lab::READY, || knocking.done.load(Ordering::Relaxed) > 2);
    let seen = look("interface", &settings, &ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert!(number(&seen, "listen_overflows_per_second") > 0.0 && number(&seen, "listen_queue") >= 1.0, "{seen:?}");
    let finding = example("interface", &[("port: 8470", &format!("port: {port}"))], "{}\n");
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert_eq!(finding["failed"][0]["that"], "listen_overflows_per_second == 0", "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_are_counted_and_an_interface_that_isn_t_there_is_unknown() {
    let nobody = free_port();
    let refused = Going::new().and(move || {
        // Each is answered with a reset.
        u64::from(TcpStream::connect((Ipv4Addr::LOCALHOST, nobody)).is_err())
    });
    let seen = look("interface", "interfaces: [lo]\ninterval: 500ms", &ask()).await;
    assert!(refused.done.load(Ordering::Relaxed) > 0);
    assert!(
        number(&seen, "resets_sent_per_second") > 0.0 && number(&seen, "connect_failures_per_second") > 0.0,
        "{seen:?}"
    );
    let finding = example("interface", &[("interfaces: [ lo ]", "interfaces: [ nowhere0 ]")], "{}\n");
    assert_eq!(finding["outcome"], "unknown", "{finding}");
    let seen = look("interface", "interfaces: [nowhere0]", &ask()).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Incomplete), "{seen:?}");
}
