//! Who may do what: tokens, the local socket, sessions of the pages. There is no mode without authentication.
//!
//! Everything here is a function of a request's head, its peer and the time; the routes and their answers are elsewhere.
//! One function, [`Access::admit`], decides, in this order:
//!
//! 1. Over TCP the `Host` must be one of ours (else 421): a page elsewhere can point a name of its own at 127.0.0.1, but
//!    it can't make the browser send another name.
//! 2. Who it is (else 401): the local socket's peer as the kernel names it, a bearer token, or a session cookie. Only
//!    these: no token in a URL. A wrong one is never overlooked because another one is right.
//! 3. A write must be `application/json` (else 415), which no form of a foreign page can send without asking first,
//!    and we never say yes (no CORS). Where a cookie is the credential, which a browser attaches by itself, it must
//!    also carry `X-Houston: 1` and come from our own origin (else 403). A bearer token needs no more: a browser never
//!    attaches it by itself, so whoever sends it knows it.
//! 4. The scope must suffice (else 403).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, Method};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::secret::Secret;

mod host;
mod limiter;
mod peer;
mod rates;
mod sessions;
mod tokens;

pub use host::Hosts;
pub use peer::Peer;
pub use tokens::{Declared, Tokens};

use limiter::Limiter;
use rates::Rates;
use sessions::Sessions;

/// What somebody may do; each includes those before it, but for [`Scope::Report`]'s limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// File tickets, and wait for their verdicts.
    Report,
    /// See all tickets with their evidence, the checks, `/metrics`.
    Read,
    /// Triage again, run a check, answer call-backs, record outcomes, acknowledge.
    Operate,
    /// Issue and revoke tokens, reload the configuration.
    Admin,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::Report => "report",
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
        }
    }
}

/// How somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Socket,
    Token,
    Session,
}

/// Who asks; the name is for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A token's name, `uid 1000`, or who the login link was made for.
    pub name: String,
    pub scope: Scope,
    pub via: Via,
}

/// The time, as the daemon sees it: the wall clock for what is on disk, the steady one for what is in memory.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub wall: Timestamp,
    pub steady: Instant,
}

/// What of a request decides whether it is let in.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// The authority of an absolute-form target (`GET http://host/path`), where the request has one.
    pub authority: Option<&'a str>,
    pub peer: &'a Peer,
}

/// Why a request is not let in. What it says is the same whatever is behind the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this server doesn't answer under that name; use localhost, 127.0.0.1 or a configured `Host`")]
    Misdirected,
    #[error("a valid token is needed: `Authorization: Bearer hou_…`")]
    Unauthenticated,
    #[error("too many wrong tokens from there; try again in {} s", retry_after.as_secs())]
    TooMany { retry_after: Duration },
    #[error("too many tickets in a minute; try again in {} s", retry_after.as_secs())]
    TooFast { retry_after: Duration },
    #[error("a write needs `Content-Type: application/json`")]
    NotJson,
    #[error("a write from a page needs `X-Houston: 1` and our own origin")]
    Foreign,
    #[error("this needs a token with the scope `{}`", needs.name())]
    Insufficient { needs: Scope },
    /// Neither root, nor the daemon's own user, nor of its group.
    #[error("this user may not use the socket")]
    NotThisUser,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Misdirected => 421,
            Refusal::Unauthenticated => 401,
            Refusal::TooMany { .. } | Refusal::TooFast { .. } => 429,
            Refusal::NotJson => 415,
            Refusal::Foreign | Refusal::Insufficient { .. } | Refusal::NotThisUser => 403,
        }
    }
}

/// Why access can't be set up. Then nothing may be served.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("{path}: {why}")]
    Unusable { path: PathBuf, why: String },
    #[error("{path}:{line}: {why}")]
    Wrong { path: PathBuf, line: usize, why: String },
    #[error("there are two tokens named `{0}` already; revoke them first")]
    NameTaken(String),
    #[error("a token's name has 1 to 64 letters, digits, `-`, `_` or `.`")]
    Name,
    #[error("the token {0} is too short: 32 random characters at least")]
    Short(String),
    #[error("no random numbers are to be had: {0}")]
    Random(String),
}

/// How access is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `tokens` and `admin.token` are.
    pub state_directory: PathBuf,
    /// Names under which the server may be addressed, beside localhost, 127.0.0.1 and [::1].
    pub hosts: Vec<String>,
    /// The user that the daemon runs as.
    pub uid: u32,
    /// The group whose members may use the socket.
    pub group: Option<u32>,
    /// The most tickets that one token or session may file in a minute.
    pub tickets_per_minute: u32,
    /// True where the pages are served over TLS, directly or by a proxy: the cookie is then never sent without.
    pub tls: bool,
}

/// Decides who may do what. One per daemon.
#[derive(Debug)]
pub struct Access {
    settings: Settings,
    hosts: Hosts,
    tokens: Mutex<Tokens>,
    sessions: Mutex<Sessions>,
    limiter: Mutex<Limiter>,
    rates: Mutex<Rates>,
}

/// The cookie of a session.
const COOKIE: &str = "houston_session";

/// The header that a page's own script sends, and no form can.
static X_HOUSTON: HeaderName = HeaderName::from_static("x-houston");

impl Access {
    /// Reads the tokens. At the first start one admin token is made; its file's path is returned, never its value.
    ///
    /// # Errors
    /// The state directory can't be used, or the file of tokens can't be understood.
    pub fn open(settings: Settings, now: Timestamp) -> Result<(Self, Option<PathBuf>), AuthError> {
        let (tokens, first) = Tokens::open(&settings.state_directory, now)?;
        let access = Access {
            hosts: Hosts::new(&settings.hosts),
            rates: Mutex::new(Rates::new(settings.tickets_per_minute)),
            settings,
            tokens: Mutex::new(tokens),
            sessions: Mutex::default(),
            limiter: Mutex::default(),
        };
        Ok((access, first))
    }

    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit(&self, asked: &Asked<'_>, needs: Scope, now: Now) -> Result<Identity, Refusal> {
        self.check_host(asked)?;
        let identity = self.identify(asked, now)?;
        if !is_safe(asked.method) {
            check_write(asked, identity.via)?;
        }
        if identity.scope < needs {
            return Err(Refusal::Insufficient { needs });
        }
        Ok(identity)
    }

    /// The check that routes without authentication (`/healthz`, `/login`) need, too.
    ///
    /// # Errors
    /// [`Refusal::Misdirected`]
    pub fn check_host(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        match asked.peer {
            // No browser reaches a socket.
            Peer::Socket { .. } => Ok(()),
            Peer::Address(_) if self.hosts.allow(asked.headers, asked.authority) => Ok(()),
            Peer::Address(_) => Err(Refusal::Misdirected),
        }
    }

    /// Who is at the other end of the local socket, where it is somebody who may use it.
    pub fn local(&self, peer: &Peer) -> Option<Identity> {
        peer.identity(self.settings.uid, self.settings.group)
    }

    /// A link that logs its first user in, for ten minutes. `base` is `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// No random numbers.
    pub fn login_link(&self, base: &str, name: &str, scope: Scope, now: Instant) -> Result<Secret, AuthError> {
        let once = random_token()?;
        lock(&self.sessions).offer(&once, name, scope, now);
        Ok(Secret::new(format!("{}/login?once={}", base.trim_end_matches('/'), once.expose())))
    }

    /// Exchanges the `once` of a login link for a session; returns the value of `Set-Cookie`. A link works once.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] where it is unknown, used or over; [`Refusal::TooMany`].
    pub fn log_in(&self, once: &str, peer: &Peer, now: Instant) -> Result<Secret, Refusal> {
        let session = random_token().map_err(|_| Refusal::Unauthenticated)?;
        if !lock(&self.sessions).exchange(once, &session, now) {
            return Err(self.wrong(peer, now));
        }
        let secure = if self.settings.tls { "; Secure" } else { "" };
        let lasts = sessions::LASTS.as_secs();
        Ok(Secret::new(format!(
            "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts}{secure}",
            session.expose()
        )))
    }

    /// Lets in a token that the configuration names. It must be hard to guess: 32 characters at least.
    ///
    /// # Errors
    /// It is too short.
    pub fn declare(&self, declared: Declared, token: &Secret) -> Result<(), AuthError> {
        if token.expose().len() < 32 {
            return Err(AuthError::Short(declared.name));
        }
        lock(&self.tokens).declare(declared, token);
        Ok(())
    }

    /// Takes one ticket's worth from what somebody may file in a minute. Local users are not counted: they can do worse
    /// than file tickets.
    ///
    /// # Errors
    /// [`Refusal::TooFast`]
    pub fn may_file(&self, identity: &Identity, now: Instant) -> Result<(), Refusal> {
        if identity.via == Via::Socket {
            return Ok(());
        }
        lock(&self.rates).take(&identity.name, now).map_err(|retry_after| Refusal::TooFast { retry_after })
    }

    /// Ends the session that this request belongs to, if any.
    pub fn log_out(&self, headers: &HeaderMap) {
        if let Ok(Some(session)) = cookie(headers) {
            lock(&self.sessions).end(session);
        }
    }

    /// Makes a token; its value is returned this once. Two may have the same name, so that one can replace the other.
    ///
    /// # Errors
    /// A name that can't be, or the file can't be written.
    pub fn issue(
        &self,
        name: &str,
        scope: Scope,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Secret, AuthError> {
        lock(&self.tokens).issue(name, scope, expires_at, now)
    }

    /// Makes every token with this name invalid at once; returns how many there were.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn revoke(&self, name: &str) -> Result<usize, AuthError> {
        lock(&self.tokens).revoke(name)
    }

    fn identify(&self, asked: &Asked<'_>, now: Now) -> Result<Identity, Refusal> {
        if let Peer::Socket { .. } = asked.peer {
            return asked.peer.identity(self.settings.uid, self.settings.group).ok_or(Refusal::NotThisUser);
        }
        match bearer(asked.headers) {
            Err(Malformed) => Err(self.wrong(asked.peer, now.steady)),
            Ok(Some(token)) => match lock(&self.tokens).verify(token, asked.peer.ip(), now.wall) {
                Some((name, scope)) => Ok(Identity { name, scope, via: Via::Token }),
                None => Err(self.wrong(asked.peer, now.steady)),
            },
            Ok(None) => match cookie(asked.headers) {
                Err(Malformed) => Err(self.wrong(asked.peer, now.steady)),
                // Nothing presented is no guess, and neither is a session that is over (the pages of yesterday, which
                // go on asking).
                Ok(None) => Err(Refusal::Unauthenticated),
                Ok(Some(session)) => lock(&self.sessions)
                    .find(session, now.steady)
                    .map(|(name, scope)| Identity { name, scope, via: Via::Session })
                    .ok_or(Refusal::Unauthenticated),
            },
        }
    }

    /// Notes a wrong guess. Who presents the right token is let in all the same: many may share an address (a proxy,
    /// the loopback), and nobody guesses 256 bits; the limit is for the noise.
    fn wrong(&self, peer: &Peer, now: Instant) -> Refusal {
        let Peer::Address(address) = peer else { return Refusal::Unauthenticated };
        match lock(&self.limiter).note(address.ip(), now) {
            Some(retry_after) => Refusal::TooMany { retry_after },
            None => Refusal::Unauthenticated,
        }
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn check_write(asked: &Asked<'_>, via: Via) -> Result<(), Refusal> {
    let json = only(asked.headers, &http::header::CONTENT_TYPE).ok().flatten().is_some_and(|value| {
        let kind = value.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    });
    if !json {
        return Err(Refusal::NotJson);
    }
    if via != Via::Session {
        return Ok(());
    }
    if only(asked.headers, &X_HOUSTON) != Ok(Some("1")) {
        return Err(Refusal::Foreign);
    }
    // Browsers say where a request comes from; where they do, it must be us.
    let own = match only(asked.headers, &http::header::ORIGIN) {
        Err(Malformed) => false,
        Ok(None) => true,
        Ok(Some(origin)) => host::is_own_origin(origin, asked.headers),
    };
    let site = asked.headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    if own && site { Ok(()) } else { Err(Refusal::Foreign) }
}

/// A header that is there more than once, or isn't text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Malformed;

/// The value of a header that may be there once at most.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Malformed),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

/// The bearer token, where `Authorization` is there.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Malformed> {
    let Some(value) = only(headers, &http::header::AUTHORIZATION)? else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(Some(token.trim()))
        }
        _ => Err(Malformed),
    }
}

/// The session's cookie; two of them are one too many.
fn cookie(headers: &HeaderMap) -> Result<Option<&str>, Malformed> {
    let mut found = None;
    for header in headers.get_all(http::header::COOKIE) {
        for pair in header.to_str().map_err(|_| Malformed)?.split(';') {
            if let Some((COOKIE, value)) = pair.trim().split_once('=')
                && found.replace(value).is_some()
            {
                return Err(Malformed);
            }
        }
    }
    Ok(found)
}

/// `hou_` and 256 random bits, in base64 for URLs.
fn random_token() -> Result<Secret, AuthError> {
    use base64::Engine as _;
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| AuthError::Random(error.to_string()))?;
    Ok(Secret::new(format!("hou_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))))
}

/// SHA-256. A fast hash suffices for 256 random bits: there is nothing to guess that a slow one would slow down.
fn digest(token: &str) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(token.as_bytes()).into()
}

/// A guard; state that a panic left behind is whole, for each change is made in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of an address that one guesser has at least to itself: all of IPv4's, the first 64 bits of IPv6's.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Where the admin token of the first start is.
pub fn admin_token_path(state_directory: &Path) -> PathBuf {
    state_directory.join("admin.token")
}

#[cfg(test)]
mod tests;
