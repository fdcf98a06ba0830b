//! The file of tokens: names, scopes and hashes; a token's value is shown once and stored nowhere.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{AuthError, Scope, admin_token_path, digest, random_token};
use crate::model::secret::Secret;
use crate::net::guard::Entry as Net;

/// The largest file of tokens that is read, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// One line of the file, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    scope: Scope,
    /// Of the token, in hex.
    sha256: String,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// A token that the configuration names.
#[derive(Debug, Clone)]
pub struct Declared {
    pub name: String,
    pub scope: Scope,
    /// The nets that it is accepted from; from everywhere, where there are none.
    pub from: Vec<Net>,
    pub expires: Option<Timestamp>,
}

/// The tokens in force.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    entries: Vec<(Entry, [u8; 32])>,
    /// Those of the configuration.
    declared: Vec<(Declared, [u8; 32])>,
    /// The file as it was read, by which a change is noticed.
    read: Option<Mark>,
}

/// Inode, length, time of change: a file that is replaced or written has another.
type Mark = (u64, u64, i64, i64);

impl Declared {
    fn is_accepted_from(&self, address: Option<IpAddr>) -> bool {
        // An IPv4 address may come in its IPv6 form.
        let inside = |address: IpAddr| self.from.iter().any(|net| net.covers_address(address.to_canonical()));
        self.from.is_empty() || address.is_some_and(inside)
    }
}

impl Tokens {
    /// Reads the tokens of this directory. Where there is no file yet, an admin token is made, and the path of the file
    /// that holds it returned.
    ///
    /// # Errors
    /// The file can't be read or understood: then nobody is let in, rather than everybody.
    pub fn open(state_directory: &Path, now: Timestamp) -> Result<(Self, Option<PathBuf>), AuthError> {
        let unusable =
            |error: std::io::Error| AuthError::Unusable { path: state_directory.to_owned(), why: error.to_string() };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_directory).map_err(unusable)?;
        let path = state_directory.join("tokens");
        let mut tokens = Tokens { path, entries: Vec::new(), declared: Vec::new(), read: None };
        if tokens.path.try_exists().map_err(unusable)? {
            tokens.load()?;
            return Ok((tokens, None));
        }
        let token = random_token()?;
        // The value first: should we end in between, the next start makes both anew.
        let shown = admin_token_path(state_directory);
        write_private(&shown, format!("{}\n", token.expose()).as_bytes())?;
        tokens.add(&token, "admin", Scope::Admin, None, now)?;
        Ok((tokens, Some(shown)))
    }

    /// The name and scope of this token, if it is in force. All are compared, each in constant time.
    pub fn verify(&mut self, token: &str, from: Option<IpAddr>, now: Timestamp) -> Option<(String, Scope)> {
        self.refresh();
        let presented = digest(token);
        let mut found = None;
        for (entry, hash) in &self.entries {
            let same = bool::from(presented.ct_eq(hash));
            if same && entry.expires_at.is_none_or(|expires_at| now < expires_at) {
                found = Some((entry.name.clone(), entry.scope));
            }
        }
        for (declared, hash) in &self.declared {
            let same = bool::from(presented.ct_eq(hash));
            if same && declared.expires.is_none_or(|expires| now < expires) && declared.is_accepted_from(from) {
                found = Some((declared.name.clone(), declared.scope));
            }
        }
        found
    }

    /// Makes a token with this name; at most two may have the same.
    ///
    /// # Errors
    /// A name that can't be or is taken twice; the file can't be written.
    pub fn issue(
        &mut self,
        name: &str,
        scope: Scope,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Secret, AuthError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(AuthError::Name);
        }
        self.refresh();
        if self.entries.iter().filter(|(entry, _)| entry.name == name).count() >= 2 {
            return Err(AuthError::NameTaken(name.to_owned()));
        }
        let token = random_token()?;
        self.add(&token, name, scope, expires_at, now)?;
        Ok(token)
    }

    /// Lets in a token that the configuration names; it is never written to the file.
    pub fn declare(&mut self, declared: Declared, token: &Secret) {
        self.declared.push((declared, digest(token.expose())));
    }

    /// Makes every token with this name invalid; returns how many there were.
    ///
    /// # Errors
    /// The file can't be written; they are invalid in this process all the same.
    pub fn revoke(&mut self, name: &str) -> Result<usize, AuthError> {
        self.refresh();
        let before = self.entries.len();
        self.entries.retain(|(entry, _)| entry.name != name);
        if self.entries.len() < before {
            self.save()?;
        }
        Ok(before - self.entries.len())
    }

    fn add(
        &mut self,
        token: &Secret,
        name: &str,
        scope: Scope,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let hash = digest(token.expose());
        let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.entries.push((Entry { name: name.to_owned(), scope, sha256, created_at: now, expires_at }, hash));
        self.save()
    }

    /// Takes in what another process (the command line) has changed. A file that is gone or wrong revokes everything:
    /// who breaks it notices, and nobody stays in by it.
    fn refresh(&mut self) {
        if self.read.is_some() && mark(&self.path) == self.read {
            return;
        }
        if let Err(error) = self.load() {
            tracing::error!(why = ?error.to_string(), "no token is valid any more");
            self.entries.clear();
            self.read = None;
        }
    }

    fn load(&mut self) -> Result<(), AuthError> {
        let unusable = |why: String| AuthError::Unusable { path: self.path.clone(), why };
        let read = mark(&self.path);
        let metadata = std::fs::metadata(&self.path).map_err(|error| unusable(error.to_string()))?;
        if metadata.mode() & 0o022 != 0 {
            return Err(unusable("others can write it (chmod 600)".to_owned()));
        }
        if metadata.len() > LIMIT {
            return Err(unusable(format!("it is larger than {LIMIT} bytes")));
        }
        let text = std::fs::read_to_string(&self.path).map_err(|error| unusable(error.to_string()))?;
        let mut entries = Vec::new();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let wrong = |why: String| AuthError::Wrong { path: self.path.clone(), line, why };
            let entry: Entry = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            let hash = unhex(&entry.sha256).ok_or_else(|| wrong("its sha256 is not 64 hex digits".to_owned()))?;
            entries.push((entry, hash));
        }
        (self.entries, self.read) = (entries, read);
        Ok(())
    }

    fn save(&mut self) -> Result<(), AuthError> {
        let mut text = String::new();
        for (entry, _) in &self.entries {
            let line = serde_json::to_string(entry);
            text += &line.map_err(|error| AuthError::Unusable { path: self.path.clone(), why: error.to_string() })?;
            text.push('\n');
        }
        write_private(&self.path, text.as_bytes())?;
        self.read = mark(&self.path);
        Ok(())
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Replaces a file at once, readable by its owner alone from its first byte on.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), AuthError> {
    let write = || -> std::io::Result<()> {
        let unfinished = path.with_extension("unfinished");
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    write().map_err(|error| AuthError::Unusable { path: path.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_first_start_makes_one_admin_token_and_the_next_none() {
        let directory = tempfile::tempdir().unwrap();
        let (mut tokens, shown) = Tokens::open(directory.path(), at(0)).unwrap();
        let shown = shown.unwrap();
        let value = std::fs::read_to_string(&shown).unwrap();
        let value = value.trim_end();
        assert!(value.starts_with("hou_") && value.len() == 4 + 43, "{value}");
        assert_eq!(tokens.verify(value, None, at(0)), Some(("admin".to_owned(), Scope::Admin)));
        for file in [shown, directory.path().join("tokens")] {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let stored = std::fs::read_to_string(directory.path().join("tokens")).unwrap();
        assert!(!stored.contains(&value[4..]), "only its hash is stored");
        let (mut again, shown) = Tokens::open(directory.path(), at(9)).unwrap();
        assert_eq!(shown, None);
        assert!(again.verify(value, None, at(9)).is_some());
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let (mut tokens, _) = Tokens::open(directory.path(), at(0)).unwrap();
        let token = tokens.issue("ci", Scope::Report, Some(at(100)), at(0)).unwrap();
        let value = token.expose();
        assert_eq!(tokens.verify(value, None, at(99)), Some(("ci".to_owned(), Scope::Report)));
        assert_eq!(tokens.verify(value, None, at(100)), None, "expired");
        let hash: String = digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
        for wrong in ["", "hou_", &value[..value.len() - 1], &format!("{value}x"), &value.to_uppercase(), &hash] {
            assert_eq!(tokens.verify(wrong, None, at(0)), None, "{wrong}");
        }
    }

    #[test]
    fn another_process_revokes_and_issues_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let (mut daemon, _) = Tokens::open(directory.path(), at(0)).unwrap();
        let token = daemon.issue("ci", Scope::Report, None, at(0)).unwrap();
        let (mut cli, _) = Tokens::open(directory.path(), at(1)).unwrap();
        let second = cli.issue("ci", Scope::Report, None, at(1)).unwrap();
        assert!(matches!(cli.issue("ci", Scope::Report, None, at(1)), Err(AuthError::NameTaken(_))));
        for token in [&token, &second] {
            assert!(daemon.verify(token.expose(), None, at(2)).is_some(), "two, so that one can replace the other");
        }
        assert_eq!(cli.revoke("ci").unwrap(), 2);
        assert_eq!(daemon.verify(token.expose(), None, at(3)), None);
        assert_eq!(cli.revoke("ci").unwrap(), 0);
    }

    #[test]
    fn a_file_that_is_wrong_lets_nobody_in() {
        let directory = tempfile::tempdir().unwrap();
        let (mut tokens, shown) = Tokens::open(directory.path(), at(0)).unwrap();
        let admin = std::fs::read_to_string(shown.unwrap()).unwrap();
        let path = directory.path().join("tokens");
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in ["{", "{}\n", &good.replace("admin\"", "root\""), &good.replace("sha256\":\"", "sha256\":\"zz")] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(tokens.verify(admin.trim(), None, at(0)).map(|(name, _)| name), None, "{bad}");
            assert!(matches!(Tokens::open(directory.path(), at(0)), Err(AuthError::Wrong { line: 1, .. })), "{bad}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tokens.verify(admin.trim(), None, at(0)), None);
        std::fs::write(&path, &good).unwrap();
        assert!(tokens.verify(admin.trim(), None, at(0)).is_some(), "mended without a restart");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Tokens::open(directory.path(), at(0)), Err(AuthError::Unusable { .. })));
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let directory = tempfile::tempdir().unwrap();
        let (mut tokens, _) = Tokens::open(directory.path(), at(0)).unwrap();
        for name in ["", "a b", "a\nb", "ü", &"x".repeat(65)] {
            assert!(matches!(tokens.issue(name, Scope::Read, None, at(0)), Err(AuthError::Name)), "{name}");
        }
    }
}
