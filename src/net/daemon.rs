//! Houston's own API, spoken by the command line: over TCP with a token, or over the local socket.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::case::Event;
use crate::model::secret::Secret;
use crate::model::ticket::Report;
use crate::model::verdict::Verdict;

/// The largest answer that is read.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(130);

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `http://host:port`
    Url(String),
    /// `unix:PATH`
    Socket(PathBuf),
}

impl Address {
    /// Reads `http://…`, `https://…` or `unix:PATH`.
    ///
    /// # Errors
    /// Says which forms there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Address::Socket(path.into()));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Address::Url(text.trim_end_matches('/').to_owned()));
        }
        Err(format!("not a server: `{text}` (http://HOST:PORT or unix:PATH)"))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Url(url) => f.write_str(url),
            Address::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What became of something that was handed over as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// It is on disk there; what was answered.
    Taken(Value),
    /// It would not be taken the next time either.
    Refused(String),
    /// Nobody took it: to be tried again.
    Later(String),
}

/// A daemon that is asked.
#[derive(Debug, Clone)]
pub struct Daemon {
    client: reqwest::Client,
    base: String,
    token: Option<Secret>,
    address: Address,
}

impl Daemon {
    /// Nothing is sent before the first question.
    ///
    /// # Errors
    /// The client can't be made (no roots of trust at all).
    #[allow(clippy::disallowed_methods)] // net is where clients are made
    pub fn new(address: Address, token: Option<Secret>) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("houston/", env!("CARGO_PKG_VERSION")));
        let base = match &address {
            Address::Url(url) => url.clone(),
            Address::Socket(path) => {
                builder = builder.unix_socket(path.clone());
                "http://localhost".to_owned()
            }
        };
        // The provider can be installed once per process; a second time it stands already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder.build().map_err(|error| error.without_url().to_string())?;
        Ok(Daemon { client, base, token, address })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).header("X-Houston", "1");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        request
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, String> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = bounded(response).await?;
        if !status.is_success() {
            let what = serde_json::from_slice::<Value>(&bytes).ok();
            let what = what.as_ref().and_then(|value| value["error"]["what"].as_str()).unwrap_or("no reason given");
            let hint = if status.as_u16() == 401 { " (--token-file)" } else { "" };
            return Err(format!("{}: {what} ({}){hint}", self.address, status.as_u16()));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} answered something unreadable: {error}", self.address))
    }

    fn unreachable(&self, error: &reqwest::Error) -> String {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        format!("no daemon at {} ({cause}); start one with `houston serve`", self.address)
    }

    /// `GET`
    ///
    /// # Errors
    /// No daemon there, or what it says is wrong.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, String> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    /// Hands this over to a desk, as it is.
    pub async fn hand_over(&self, desk: &str, bytes: Vec<u8>) -> Handed {
        let path = format!("/hooks/{}", crate::model::encode::url_segment(desk));
        let mut request = self.client.request(Method::POST, format!("{}{path}", self.base)).body(bytes);
        if let Some(token) = &self.token {
            request = request.header("X-Houston-Token", token.expose());
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Handed::Later(self.unreachable(&error)),
        };
        let status = response.status();
        let answer = match bounded(response).await {
            Ok(bytes) => serde_json::from_slice::<Value>(&bytes).unwrap_or_default(),
            Err(why) => return Handed::Later(why),
        };
        if status.is_success() {
            return Handed::Taken(answer);
        }
        let what = answer["error"]["what"].as_str().unwrap_or("no reason given");
        let why = format!("{}: {what} ({})", self.address, status.as_u16());
        // Everything else is a fault of a daemon or of its configuration, and passes.
        if status.as_u16() == 400 { Handed::Refused(why) } else { Handed::Later(why) }
    }

    /// Files a ticket; returns its number.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub async fn file(&self, report: &Report) -> Result<String, String> {
        let answer: Value = self.post("/api/v1/tickets", report).await?;
        let number = answer["ticket"].as_str();
        number.map(str::to_owned).ok_or_else(|| format!("{} accepted the ticket without a number", self.address))
    }

    /// Follows a ticket's events until its final verdict.
    ///
    /// # Errors
    /// The stream broke off without a verdict.
    pub async fn follow(&self, ticket: &str, mut tell: impl FnMut(&Event)) -> Result<Verdict, String> {
        let request = self.request(Method::GET, &format!("/api/v1/tickets/{ticket}/events"));
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("{}: its events can't be read ({})", self.address, status.as_u16()));
        }
        let mut stream = response.bytes_stream();
        let mut buffer = Vec::new();
        while let Some(chunk) = stream.next().await {
            buffer.extend_from_slice(&chunk.map_err(|error| self.unreachable(&error))?);
            if buffer.len() > ANSWER_LIMIT {
                return Err("an event is too large".to_owned());
            }
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                let Ok(event) = serde_json::from_slice::<Event>(data) else { continue };
                tell(&event);
                if let Event::Verdict { verdict } = event
                    && verdict.phase == crate::model::verdict::Phase::Final
                {
                    return Ok(*verdict);
                }
            }
        }
        Err(format!("the events of {ticket} ended without a verdict"))
    }
}

async fn bounded(response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| error.without_url().to_string())?);
        if bytes.len() > ANSWER_LIMIT {
            return Err("the answer is larger than 64 MiB".to_owned());
        }
    }
    Ok(bytes)
}
