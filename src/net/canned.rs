//! For tests: a real HTTP server on loopback that answers as it is told, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What came in.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With the query string.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    /// One field of the form in the body, or of the query string where there is no body.
    pub fn field(&self, name: &str) -> Option<String> {
        let form = if self.body.is_empty() { self.target.split_once('?')?.1 } else { &self.body };
        url::form_urlencoded::parse(form.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// What goes out.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
    /// Never answered: the connection stays open.
    pub silent: bool,
    /// Promise this many bytes more than are sent, and close.
    pub cut: usize,
}

impl Reply {
    pub fn json(body: impl Into<String>) -> Self {
        Reply::of(200, "application/json", body.into())
    }

    pub fn of(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, content_type: Some(content_type.to_owned()), body: body.into(), silent: false, cut: 0 }
    }

    pub fn silent() -> Self {
        Reply { silent: true, ..Reply::of(200, "", "") }
    }
}

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Canned {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    running: tokio::task::JoinHandle<()>,
}

impl Canned {
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answer, list) = (Arc::new(answer), Arc::clone(&asked));
        let running = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, list) = (Arc::clone(&answer), Arc::clone(&list));
                tokio::spawn(async move {
                    let _ = serve(stream, &*answer, &list).await;
                });
            }
        });
        Canned { address, asked, running }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(impl Fn(&Asked) -> Reply + Sync),
    list: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default().to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    let body = String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned();
    let asked = Asked { method, target, headers, body };
    list.lock().unwrap().push(asked.clone());
    let reply = answer(&asked);
    if reply.silent {
        return std::future::pending().await;
    }
    let content_type = reply.content_type.map_or(String::new(), |value| format!("content-type: {value}\r\n"));
    let length = reply.body.len() + reply.cut;
    let head =
        format!("HTTP/1.1 {} X\r\n{content_type}content-length: {length}\r\nconnection: close\r\n\r\n", reply.status);
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&reply.body).await?;
    stream.shutdown().await
}
