//! WebDriver, the protocol by which a browser is driven: commands as JSON over HTTP, to a driver on the loopback.
//!
//! <https://www.w3.org/TR/webdriver2/>. Nothing here goes through the guarded client: the other end is a program that
//! we started ourselves ([`chromium`]), and where the *browser* connects is judged by the proxy that it is given.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub mod chromium;

/// The key under which an element is named in JSON (§12.1 of the standard).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The most of an ordinary answer, in bytes.
const ANSWER: usize = 2 * 1024 * 1024;
/// The most elements of one search that are looked at.
const ELEMENTS: usize = 20;
/// The longest message of the driver that is kept, in characters.
const MESSAGE: usize = 300;

/// Why a command did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebDriverError {
    /// The driver says so. `error` is the standard's code, `message` its own words, from outside.
    #[error("{error}: {message}")]
    Said { error: String, message: String, dialog: Option<String> },
    /// No answer before the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// The driver is gone, or doesn't speak the protocol.
    #[error("{0}")]
    Broken(String),
    /// The answer is longer than is read.
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
}

impl WebDriverError {
    /// The standard's code (§6.6), where the driver gave one.
    pub fn code(&self) -> &str {
        match self {
            WebDriverError::Said { error, .. } => error,
            _ => "",
        }
    }
}

/// An element of the page, by the driver's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element(String);

/// How an element is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    Css(String),
    XPath(String),
}

/// A session with a browser. The browser belongs to whoever started the driver.
pub struct Session {
    port: u16,
    /// `/secret/session/id`
    path: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session(port {})", self.port)
    }
}

impl Session {
    /// Starts a browser with these capabilities (§7). `base` is what all paths of the driver begin with.
    ///
    /// # Errors
    /// The driver refuses, or the browser doesn't start.
    pub async fn open(port: u16, base: &str, capabilities: Value, deadline: Instant) -> Result<Self, WebDriverError> {
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let value = send(port, "POST", &format!("{base}/session"), Some(body), ANSWER, deadline).await?;
        let id = value.get("sessionId").and_then(Value::as_str).unwrap_or_default();
        if id.is_empty() || id.len() > 128 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(WebDriverError::Broken("the driver names no session".to_owned()));
        }
        Ok(Session { port, path: format!("{base}/session/{id}") })
    }

    async fn get(&self, path: &str, limit: usize, deadline: Instant) -> Result<Value, WebDriverError> {
        send(self.port, "GET", &format!("{}/{path}", self.path), None, limit, deadline).await
    }

    async fn post(&self, path: &str, body: Value, deadline: Instant) -> Result<Value, WebDriverError> {
        send(self.port, "POST", &format!("{}/{path}", self.path), Some(body), ANSWER, deadline).await
    }

    /// Ends the browser as its user would.
    ///
    /// # Errors
    /// As every command.
    pub async fn close(self, deadline: Instant) -> Result<(), WebDriverError> {
        send(self.port, "DELETE", &self.path, None, ANSWER, deadline).await.map(drop)
    }

    /// From now on commands wait until this time at the most for a page and for a script.
    ///
    /// # Errors
    /// As every command.
    pub async fn wait_until(&self, until: Instant, deadline: Instant) -> Result<(), WebDriverError> {
        let left = until.saturating_duration_since(Instant::now()).as_millis().max(1) as u64;
        self.post("timeouts", json!({ "pageLoad": left, "script": left, "implicit": 0 }), deadline).await.map(drop)
    }

    /// Goes to a page, and waits until it is there.
    ///
    /// # Errors
    /// As every command; `unknown error` with the browser's `net::ERR_…` where there is no page.
    pub async fn go(&self, url: &str, deadline: Instant) -> Result<(), WebDriverError> {
        self.post("url", json!({ "url": url }), deadline).await.map(drop)
    }

    /// Where the browser is, as its address line would say.
    ///
    /// # Errors
    /// As every command.
    pub async fn url(&self, deadline: Instant) -> Result<String, WebDriverError> {
        let url = self.get("url", ANSWER, deadline).await?;
        Ok(url.as_str().unwrap_or_default().to_owned())
    }

    /// The first elements that fit, in the page's order, seen or not.
    ///
    /// # Errors
    /// As every command; `invalid selector`.
    pub async fn find(&self, locator: &Locator, deadline: Instant) -> Result<Vec<Element>, WebDriverError> {
        let (using, value) = match locator {
            Locator::Css(selector) => ("css selector", selector),
            Locator::XPath(path) => ("xpath", path),
        };
        let found = self.post("elements", json!({ "using": using, "value": value }), deadline).await?;
        let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
        found.iter().take(ELEMENTS).map(element).collect()
    }

    /// # Errors
    /// As every command.
    pub async fn is_displayed(&self, element: &Element, deadline: Instant) -> Result<bool, WebDriverError> {
        let shown = self.get(&format!("element/{}/displayed", element.0), ANSWER, deadline).await?;
        Ok(shown.as_bool().unwrap_or(false))
    }

    /// A property of the element's object, such as `type`; empty where it has none that is text.
    ///
    /// # Errors
    /// As every command.
    pub async fn property(&self, of: &Element, name: &str, deadline: Instant) -> Result<String, WebDriverError> {
        let value = self.get(&format!("element/{}/property/{name}", of.0), ANSWER, deadline).await?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    /// Clicks it where a person would; `element click intercepted` where something else lies there.
    ///
    /// # Errors
    /// As every command.
    pub async fn click(&self, element: &Element, deadline: Instant) -> Result<(), WebDriverError> {
        self.post(&format!("element/{}/click", element.0), json!({}), deadline).await.map(drop)
    }

    /// # Errors
    /// As every command.
    pub async fn clear(&self, element: &Element, deadline: Instant) -> Result<(), WebDriverError> {
        self.post(&format!("element/{}/clear", element.0), json!({}), deadline).await.map(drop)
    }

    /// Types a text, key by key. In it U+E000 to U+E05D are special keys (§17.4.2); whoever types foreign text keeps these out.
    ///
    /// # Errors
    /// As every command.
    pub async fn type_text(&self, element: &Element, text: &str, deadline: Instant) -> Result<(), WebDriverError> {
        self.post(&format!("element/{}/value", element.0), json!({ "text": text }), deadline).await.map(drop)
    }

    /// What has the keyboard's focus.
    ///
    /// # Errors
    /// As every command.
    pub async fn active(&self, deadline: Instant) -> Result<Element, WebDriverError> {
        element(&self.get("element/active", ANSWER, deadline).await?)
    }

    /// Runs a function's body in the page; elements stand in `arguments` after the values.
    ///
    /// # Errors
    /// As every command; `javascript error`, `script timeout`.
    pub async fn run(
        &self,
        body: &str,
        values: &[Value],
        elements: &[Element],
        deadline: Instant,
    ) -> Result<Value, WebDriverError> {
        let elements = elements.iter().map(|element| json!({ ELEMENT: element.0 }));
        let arguments: Vec<Value> = values.iter().cloned().chain(elements).collect();
        self.post("execute/sync", json!({ "script": body, "args": arguments }), deadline).await
    }

    /// The text of the dialog that is open.
    ///
    /// # Errors
    /// As every command; `no such alert`.
    pub async fn dialog(&self, deadline: Instant) -> Result<String, WebDriverError> {
        let text = self.get("alert/text", ANSWER, deadline).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Answers the dialog that is open.
    ///
    /// # Errors
    /// As every command; `no such alert`.
    pub async fn answer_dialog(&self, accept: bool, deadline: Instant) -> Result<(), WebDriverError> {
        let path = if accept { "alert/accept" } else { "alert/dismiss" };
        self.post(path, json!({}), deadline).await.map(drop)
    }

    /// What the window shows, as PNG of at most `limit` bytes.
    ///
    /// # Errors
    /// As every command; [`WebDriverError::TooLong`].
    pub async fn screenshot(&self, limit: usize, deadline: Instant) -> Result<Vec<u8>, WebDriverError> {
        use base64::Engine as _;
        // Base64 takes four characters for three bytes.
        let value = self.get("screenshot", limit / 3 * 4 + 1024, deadline).await?;
        let picture = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
        let picture = picture.map_err(|_| WebDriverError::Broken("the screenshot is no base64".to_owned()))?;
        if !picture.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Err(WebDriverError::Broken("the screenshot is no PNG".to_owned()));
        }
        if picture.len() > limit { Err(WebDriverError::TooLong(limit)) } else { Ok(picture) }
    }
}

fn element(value: &Value) -> Result<Element, WebDriverError> {
    let name = value.get(ELEMENT).and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() || name.len() > 256 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(WebDriverError::Broken("the driver names no element".to_owned()));
    }
    Ok(Element(name.to_owned()))
}

/// One command, on a connection of its own.
async fn send(
    port: u16,
    method: &str,
    path: &str,
    body: Option<Value>,
    limit: usize,
    deadline: Instant,
) -> Result<Value, WebDriverError> {
    let exchange = exchange(port, method, path, body, limit);
    timeout_at(deadline, exchange).await.unwrap_or(Err(WebDriverError::TimedOut))
}

async fn exchange(
    port: u16,
    method: &str,
    path: &str,
    body: Option<Value>,
    limit: usize,
) -> Result<Value, WebDriverError> {
    let broken = |what: &dyn fmt::Display| WebDriverError::Broken(format!("the driver is gone: {what}"));
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(|e| broken(&e))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, format!("127.0.0.1:{port}"))
        .header(http::header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header(http::header::CONNECTION, "close")
        .body(Full::new(body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()))))
        .map_err(|error| WebDriverError::Broken(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    let body = match Limited::new(answer.into_body(), limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(WebDriverError::TooLong(limit)),
        Err(error) => return Err(broken(&error)),
    };
    read(status.is_success(), &body)
}

/// The value of an answer, or the error that it is (§6.6).
fn read(success: bool, body: &[u8]) -> Result<Value, WebDriverError> {
    let unfit = || WebDriverError::Broken("the driver's answer is not WebDriver's".to_owned());
    let mut answer: Value = serde_json::from_slice(body).map_err(|_| unfit())?;
    let value = answer.get_mut("value").map(Value::take).ok_or_else(unfit)?;
    if success {
        return Ok(value);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let error = text("error").ok_or_else(unfit)?;
    // Behind the first line chromedriver tells its own session and stack.
    let first = text("message").unwrap_or_default().lines().next().unwrap_or_default();
    let dialog = value.pointer("/data/text").and_then(Value::as_str);
    Err(WebDriverError::Said {
        error: error.chars().take(MESSAGE).collect(),
        message: first.chars().take(MESSAGE).collect(),
        dialog: dialog.map(|text| text.chars().take(MESSAGE).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_errors_are_told_apart() {
        let said = |error: &str, message: &str, dialog: Option<&str>| {
            let dialog = dialog.map(str::to_owned);
            Err(WebDriverError::Said { error: error.to_owned(), message: message.to_owned(), dialog })
        };
        for (success, body, expected) in [
            (true, r#"{"value":null}"#, Ok(Value::Null)),
            (true, r#"{"value":{"a":1}}"#, Ok(json!({ "a": 1 }))),
            (
                false,
                r##"{"value":{"error":"no such element","message":"no such element: #a\n  (Session info)","stacktrace":"x"}}"##,
                said("no such element", "no such element: #a", None),
            ),
            (
                false,
                r#"{"value":{"error":"unexpected alert open","message":"","data":{"text":"really?"}}}"#,
                said("unexpected alert open", "", Some("really?")),
            ),
        ] {
            assert_eq!(read(success, body.as_bytes()), expected, "{body}");
        }
        for (success, body) in
            [(true, "{}"), (true, "<html>"), (false, r#"{"value":"gone"}"#), (false, ""), (true, "[]")]
        {
            assert!(matches!(read(success, body.as_bytes()), Err(WebDriverError::Broken(_))), "{body}");
        }
    }

    /// A driver that answers each connection with this.
    async fn driver(answer: impl Into<Vec<u8>>) -> u16 {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = answer.into();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0_u8; 4096];
                let _ = stream.read(&mut buffer).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(&answer).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn a_driver_that_misbehaves_is_bounded() {
        let soon = || Instant::now() + std::time::Duration::from_millis(200);
        let later = || Instant::now() + std::time::Duration::from_secs(20);
        let asked = |port, deadline| async move { send(port, "GET", "/status", None, 1000, deadline).await };
        let port = driver("").await;
        assert_eq!(asked(port, soon()).await, Err(WebDriverError::TimedOut));
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5000));
        assert_eq!(asked(driver(long).await, later()).await, Err(WebDriverError::TooLong(1000)));
        for garbage in [
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            "SSH-2.0\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            let seen = asked(driver(garbage).await, later()).await;
            assert!(matches!(seen, Err(WebDriverError::Broken(_))), "{garbage}: {seen:?}");
        }
        let hostile =
            "HTTP/1.1 200 OK\r\ncontent-length: 44\r\n\r\n{\"value\":{\"sessionId\":\"../../../etc/passwd\"}}";
        let opened = Session::open(driver(hostile).await, "", json!({}), later()).await;
        assert!(matches!(opened, Err(WebDriverError::Broken(_))), "{opened:?}");
    }
}
