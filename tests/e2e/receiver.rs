//! A receiver of webhooks that remembers every delivery, with a switch for being out of order.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Delivery {
    pub key: String,
    pub body: Value,
}

#[derive(Debug)]
pub struct Receiver {
    pub url: String,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    broken: Arc<AtomicBool>,
}

impl Receiver {
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("a bound socket has an address"));
        let deliveries: Arc<Mutex<Vec<Delivery>>> = Arc::default();
        let broken: Arc<AtomicBool> = Arc::default();
        let (noted, out_of_order) = (Arc::clone(&deliveries), Arc::clone(&broken));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, out_of_order) = (Arc::clone(&noted), Arc::clone(&out_of_order));
                std::thread::spawn(move || take(stream, &noted, &out_of_order));
            }
        });
        Receiver { url, deliveries, broken }
    }

    /// 503 to everybody from now on, or not any more.
    pub fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// How often each key came.
    pub fn keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for delivery in self.deliveries() {
            *keys.entry(delivery.key).or_default() += 1;
        }
        keys
    }
}

fn take(stream: TcpStream, noted: &Mutex<Vec<Delivery>>, broken: &AtomicBool) {
    let Ok(mut answering) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    loop {
        let (mut key, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.to_ascii_lowercase().as_str() {
                "x-houston-key" => key = value.trim().to_owned(),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let status = if broken.load(Ordering::SeqCst) {
            503
        } else {
            let body = serde_json::from_slice(&body).expect("a delivery is JSON");
            noted.lock().unwrap().push(Delivery { key, body });
            200
        };
        if write!(answering, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}
