//! What the checks of these tests look at: a small server whose pages are well, broken, silent, or as one likes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

/// A server on a port of its own; its threads end with their connections.
#[derive(Debug)]
pub struct World {
    pub address: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// What `/switch` answers.
    switch: AtomicU16,
    hanging: AtomicUsize,
}

impl World {
    pub fn start() -> World {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let state = State { switch: AtomicU16::new(200), hanging: AtomicUsize::new(0) };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        World { address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `/switch` answers with this status from now on.
    pub fn switch(&self, status: u16) {
        self.state.switch.store(status, Ordering::SeqCst);
    }

    /// How many wait at `/hang` at this moment.
    pub fn hanging(&self) -> usize {
        self.state.hanging.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, state: &State) {
    let mut head = Vec::new();
    let mut byte = [0_u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) if head.len() < 64 * 1024 => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
    let (status, body) = match path {
        _ if path.starts_with("/hang") => {
            state.hanging.fetch_add(1, Ordering::SeqCst);
            // Silent until the other side gives up.
            while stream.read(&mut byte).is_ok_and(|read| read > 0) {}
            state.hanging.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        "/switch" => (state.switch.load(Ordering::SeqCst), "all is well"),
        "/broken" => (503, "upstream is away"),
        // What a hostile or a broken service may say.
        "/escapes" => (500, "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}txt\u{200b}\rgone"),
        _ => (200, "all is well"),
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}

/// Checks for the service `shop` with which a ticket can be *no issue*: four looks at `path`, in as many groups.
pub fn four_looks(world: &World, path: &str) -> String {
    let url = world.url(path);
    format!(
        "service: shop\n\
         defaults: {{ timeout: 5s, attempts: 1 }}\n\
         checks:\n\
         - {{ name: front, class: strong, http: {{ url: '{url}' }}, expect: [status == 200, 'body.contains(\"well\")'] }}\n\
         - {{ name: inside, look: internal, group: inside, class: strong, http: {{ url: '{url}?inside' }} }}\n\
         - {{ name: lines, look: logs, group: lines, class: strong, http: {{ url: '{url}?lines' }} }}\n\
         - name: buy\n  \
           class: strong\n  \
           group: buy\n  \
           journey:\n  \
           - {{ get: '{url}?buy', expect: [status == 200, 'body.contains(\"well\")'] }}\n"
    )
}

/// One check that is needed and never gets an answer: a system that we ask says nothing.
pub fn a_hanging_look(world: &World) -> String {
    let url = world.url("/hang");
    format!(
        "service: shop\nchecks:\n\
         - {{ name: silent, timeout: 60s, attempts: 1, group: silent, prometheus: {{ url: '{url}', query: up }}, expect: [value == 1] }}\n"
    )
}
