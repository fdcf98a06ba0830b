//! A service on loopback that remembers what it was asked, and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::model::action::{Action, ActionKind};
use crate::model::delivery::{Message, Outcome};
use crate::ticketing::Desk;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub line: String,
    /// With names in lower case.
    pub head: String,
    pub body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// Answers each request with the next of its answers (a status, further header lines, a body), then with 500.
#[derive(Debug)]
pub(crate) struct Service {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    pub(crate) async fn start(answers: &[(u16, &str, &str)]) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = answers.iter().map(|(status, head, body)| {
            format!("HTTP/1.1 {status} X\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        });
        let mut answers: VecDeque<String> = answers.collect();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = request(&mut stream).await else { continue };
                noted.lock().unwrap().push(request);
                let answer = answers
                    .pop_front()
                    .unwrap_or_else(|| "HTTP/1.1 500 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Service { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn request(stream: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (line, rest) = head.split_once("\r\n").unwrap_or((head, ""));
            let lines = rest.lines().map(|line| match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
                None => line.to_owned(),
            });
            let head = lines.collect::<Vec<_>>().join("\n");
            let asked = Asked { line: line.to_owned(), head, body: body.to_owned() };
            let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Some(asked);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
}

/// An action about T-7 whose ticket has this title.
pub(crate) fn action(kind: ActionKind, recipient: &str, title: &str) -> Action {
    let facts = serde_json::json!({ "verdict": "doubtful", "ticket": { "number": "T-7", "title": title } });
    Action::new(7, 1, kind, "ticketing:desk", recipient, facts, jiff::Timestamp::UNIX_EPOCH)
}

/// How it went, after this many tries.
pub(crate) async fn annotate(desk: &Desk, action: &Action, tries: u32) -> Outcome {
    let now = jiff::Timestamp::from_second(1_795_000_000).unwrap();
    desk.system.annotate(Message { action, previous: None, tries, now, links: None }, &super::wires()).await
}
