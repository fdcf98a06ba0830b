//! Message templates: what a log says once the parts that vary from line to line are taken out.
//!
//! In the manner of Drain (He et al., 2017), with one difference on purpose: Drain merges lines that share most of their
//! words, and so takes "session opened" and "session closed" for one message. Here masks come first (numbers, ids,
//! addresses, paths, quoted texts become `<*>`), and a plain word becomes `<word>` only when many different ones
//! were seen in its very place, never where one of them tells an outcome. The same lines in the same order give the
//! same templates, and their number is bounded, with room kept for errors however many other messages there are.

use std::collections::{BTreeSet, HashMap, HashSet};

/// The most templates that are told apart.
pub const TEMPLATES: usize = 20_000;

/// Of these, the room that only errors may take.
pub const RESERVED: usize = 4_000;

/// What is looked at of one message, in bytes.
const LENGTH: usize = 512;

/// A message of more words than this has no word that varies.
const WORDS: usize = 24;

/// So many different words in one place are a name, not a meaning.
const VARIETY: u16 = 8;

/// The most places whose variety is counted.
const PLACES: usize = 60_000;

/// Words that tell how something ended: where one of them stands, words are never merged.
const OUTCOMES: [&str; 40] = [
    "opened",
    "closed",
    "started",
    "stopped",
    "succeeded",
    "failed",
    "ok",
    "error",
    "accepted",
    "rejected",
    "refused",
    "reset",
    "connected",
    "disconnected",
    "enabled",
    "disabled",
    "up",
    "down",
    "true",
    "false",
    "success",
    "failure",
    "healthy",
    "unhealthy",
    "granted",
    "denied",
    "allowed",
    "committed",
    "aborted",
    "timeout",
    "completed",
    "cancelled",
    "canceled",
    "created",
    "deleted",
    "valid",
    "invalid",
    "available",
    "unavailable",
    "expired",
];

/// The part of a message that varies.
pub const MASK: &[u8] = b"<*>";

const WORD: &str = "<word>";

/// One template, and how often it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub text: String,
    pub count: u64,
    /// At least one of its lines was an error.
    pub error: bool,
}

/// Finds the templates of messages.
#[derive(Debug, Default)]
pub struct Miner {
    by_text: HashMap<Box<[u8]>, usize>,
    found: Vec<Template>,
    ordinary: usize,
    errors: usize,
    /// Messages that had no room.
    overflow: u64,
    error_overflow: u64,
    /// How many different words stand in a place, by the message with `<word>` there.
    variety: HashMap<Box<[u8]>, u16>,
    /// Places where words are names.
    names: HashSet<Box<[u8]>>,
    buffer: Vec<u8>,
}

impl Miner {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a message; its template's number, or `None` where there is no room for another one.
    pub fn add(&mut self, message: &[u8], error: bool) -> Option<usize> {
        let mut masked = std::mem::take(&mut self.buffer);
        mask(message, &mut masked);
        let index = self.add_masked(&masked, error);
        self.buffer = masked;
        index
    }

    fn add_masked(&mut self, masked: &[u8], error: bool) -> Option<usize> {
        if let Some(&index) = self.by_text.get(masked) {
            return self.count(index, error);
        }
        let (mut words, mut named) = (Vec::new(), None);
        for place in word_places(masked) {
            let general = generalise(masked, &place);
            let outcome = is_outcome(&masked[place]);
            if !outcome && self.names.contains(general.as_slice()) {
                named = Some(general);
                break;
            }
            words.push((outcome, general));
        }
        if let Some(general) = named {
            let index = self.slot(&general, error)?;
            return self.count(index, error);
        }
        let index = self.slot(masked, error)?;
        for (outcome, general) in words {
            if self.variety.len() >= PLACES && !self.variety.contains_key(general.as_slice()) {
                continue;
            }
            let seen = self.variety.entry(general.clone().into()).or_insert(0);
            // A place where an outcome stands counts as one that can never be full.
            *seen = if outcome { u16::MAX } else { seen.saturating_add(u16::from(*seen != u16::MAX)) };
            if *seen == VARIETY {
                self.names.insert(general.into());
            }
        }
        self.count(index, error)
    }

    fn count(&mut self, index: usize, error: bool) -> Option<usize> {
        let template = self.found.get_mut(index)?;
        template.count += 1;
        if error && !template.error {
            template.error = true;
        }
        Some(index)
    }

    fn slot(&mut self, text: &[u8], error: bool) -> Option<usize> {
        if let Some(&index) = self.by_text.get(text) {
            return Some(index);
        }
        if !error && self.ordinary >= TEMPLATES - RESERVED {
            self.overflow += 1;
            return None;
        }
        if error && self.errors >= RESERVED && self.ordinary + self.errors >= TEMPLATES {
            self.error_overflow += 1;
            return None;
        }
        *(if error { &mut self.errors } else { &mut self.ordinary }) += 1;
        let index = self.found.len();
        self.found.push(Template { text: String::from_utf8_lossy(text).into_owned(), count: 0, error });
        self.by_text.insert(text.into(), index);
        Some(index)
    }

    /// All templates, in the order in which they were first seen.
    pub fn templates(&self) -> &[Template] {
        &self.found
    }

    /// Messages that found no room, ordinary ones and errors.
    pub fn overflow(&self) -> (u64, u64) {
        (self.overflow, self.error_overflow)
    }
}

/// Templates that a source is known to write.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a>(pub &'a BTreeSet<String>);

impl Known<'_> {
    /// True where the template is known, or differs from a known one only in a place where words are names.
    pub fn has(&self, template: &str) -> bool {
        if self.0.contains(template)
            || template.contains(WORD) && self.0.iter().any(|known| is_general(template, known))
        {
            return true;
        }
        word_places(template.as_bytes()).into_iter().any(|place| {
            !is_outcome(&template.as_bytes()[place.clone()])
                && std::str::from_utf8(&generalise(template.as_bytes(), &place))
                    .is_ok_and(|general| self.0.contains(general))
        })
    }
}

/// True where `general` is `template` with one of its words a name.
fn is_general(general: &str, template: &str) -> bool {
    word_places(template.as_bytes())
        .into_iter()
        .any(|place| generalise(template.as_bytes(), &place) == general.as_bytes())
}

fn is_outcome(word: &[u8]) -> bool {
    OUTCOMES.iter().any(|outcome| word.eq_ignore_ascii_case(outcome.as_bytes()))
}

/// Where the plain words of a masked message stand, all but the first word of it.
fn word_places(masked: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    let mut count = 0;
    for word in masked.split(|byte| *byte == b' ') {
        let trimmed = word.trim_ascii_end();
        let letters = trimmed.iter().take_while(|byte| is_word_byte(**byte)).count();
        count += 1;
        if count > WORDS {
            return Vec::new();
        }
        // `word`, `word,` and `word:` stand for a word; `key=word` and `a/b` do not.
        if at > 0 && letters > 0 && trimmed[letters..].iter().all(|byte| matches!(byte, b',' | b':' | b'.' | b';')) {
            places.push(at..at + letters);
        }
        at += word.len() + 1;
    }
    places
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_') || byte >= 0x80
}

fn generalise(masked: &[u8], place: &std::ops::Range<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(masked.len() + WORD.len());
    out.extend_from_slice(&masked[..place.start]);
    out.extend_from_slice(WORD.as_bytes());
    out.extend_from_slice(&masked[place.end..]);
    out
}

/// What a byte is to the masks, one bit each: what joins the bytes of a token, and what stands between tokens.
const LETTER: u8 = 1;
const DIGIT: u8 = 2;
/// Joins the parts of a path, an address, an id.
const JOINT: u8 = 4;
const SLASH: u8 = 8;
const AT: u8 = 16;
const BLANK: u8 = 32;
const PUNCTUATION: u8 = 64;
const QUOTE: u8 = 128;
const TOKEN: u8 = LETTER | DIGIT | JOINT | SLASH | AT;

static CLASSES: [u8; 256] = {
    let mut classes = [LETTER; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=b' ' | 0x7f => BLANK,
            b'0'..=b'9' => DIGIT,
            b'/' => SLASH,
            b'@' => AT,
            b'.' | b':' | b'-' | b'_' | b'%' | b'+' | b'~' | b'#' | b'$' | b'&' | b'?' | b'*' | b'\\' => JOINT,
            b'"' | b'\'' | b'`' => QUOTE,
            b'!' | b'(' | b')' | b',' | b';' | b'<' | b'=' | b'>' | b'[' | b']' | b'^' | b'{' | b'|' | b'}' => {
                PUNCTUATION
            }
            _ => LETTER,
        };
        byte += 1;
    }
    classes
};

/// Writes the message with every varying part masked into `out`; runs of blanks become one.
pub fn mask(message: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let message = &message[..message.len().min(LENGTH)];
    let mut at = 0;
    while let Some(&byte) = message.get(at) {
        match CLASSES[usize::from(byte)] {
            BLANK => {
                if out.last().is_some_and(|last| *last != b' ') {
                    out.push(b' ');
                }
                at += 1;
            }
            PUNCTUATION => {
                out.push(byte);
                at += 1;
            }
            QUOTE => {
                if let Some(length) = quoted(&message[at..]) {
                    push_mask(out);
                    at += length;
                } else {
                    out.push(byte);
                    at += 1;
                }
            }
            _ => {
                let (length, classes) = run(&message[at..]);
                let word = &message[at..at + length];
                if classes & !LETTER == 0 {
                    out.extend_from_slice(word);
                } else {
                    token(word, classes, out);
                }
                at += length;
            }
        }
    }
    while out.last() == Some(&b' ') {
        out.pop();
    }
}

/// The length of the token that `rest` begins with, and the classes of its bytes.
fn run(rest: &[u8]) -> (usize, u8) {
    let mut classes = 0;
    let mut length = 0;
    while let Some(&byte) = rest.get(length) {
        let class = CLASSES[usize::from(byte)];
        if class & TOKEN != 0 {
            classes |= class;
        } else if byte != b'\'' || length == 0 || !rest.get(length + 1).is_some_and(u8::is_ascii_alphabetic) {
            // But the apostrophe of "can't" is part of the word.
            break;
        }
        length += 1;
    }
    (length, classes)
}

/// The length of a quoted text, its quotes included; an apostrophe inside of a word opens none.
fn quoted(rest: &[u8]) -> Option<usize> {
    let quote = *rest.first()?;
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        if byte == b'\\' {
            at += 1;
        } else if byte == quote {
            // An empty text is no text that varies.
            return (at > 1).then_some(at + 1);
        }
        at += 1;
    }
    None
}

/// Adds a mask; a list of masks is one, however many its items.
fn push_mask(out: &mut Vec<u8>) {
    let bare = out.trim_ascii_end();
    let listed = bare.strip_suffix(b",").unwrap_or(bare);
    if listed.ends_with(MASK) {
        out.truncate(listed.len());
    } else {
        out.extend_from_slice(MASK);
    }
}

/// A run without blanks, quotes or brackets that holds more than letters; `classes` are those of its bytes.
fn token(run: &[u8], classes: u8, out: &mut Vec<u8>) {
    let digits = classes & DIGIT != 0;
    // Full stops, colons and question marks at its end are punctuation.
    let length = run.iter().rposition(|byte| !matches!(byte, b'.' | b':' | b'?')).map_or(0, |last| last + 1);
    let (word, tail) = run.split_at(length);
    if word.is_empty() {
        out.extend_from_slice(tail);
        return;
    }
    let slashes = if classes & SLASH == 0 { 0 } else { memchr::memchr_iter(b'/', word).count() };
    let path = slashes > 0 && (word.len() > 1 && word[0] == b'/' || slashes > 1 || digits);
    let mail = classes & AT != 0
        && memchr::memchr(b'@', word).is_some_and(|at| at > 0 && memchr::memchr(b'.', &word[at..]).is_some());
    if path || mail || digits {
        // Of a name with a number behind it the name stays (`worker-3`), of an id nothing does.
        let name = if path || mail { 0 } else { name_length(word) };
        out.extend_from_slice(&word[..name]);
        push_mask(out);
    } else {
        out.extend_from_slice(word);
    }
    out.extend_from_slice(tail);
}

/// The length of the name that a token begins with: letters, then one number to the end.
fn name_length(word: &[u8]) -> usize {
    let first = word.iter().position(u8::is_ascii_digit).unwrap_or(0);
    let name = &word[..first];
    let number = word[first..].iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    // Hexadecimal digits before a number are more likely an id that begins with letters.
    let hex = name.iter().all(u8::is_ascii_hexdigit) && word.len() >= 6;
    if number && !hex && first > 0 { first } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(message: &str) -> String {
        let mut out = Vec::new();
        mask(message.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn what_varies_is_masked_and_what_means_something_stays() {
        for (message, template) in [
            ("took 12ms", "took <*>"),
            ("took 1.5 s, 3h2m left", "took <*> s, <*> left"),
            ("order 8812 paid by 10.0.0.1:8080", "order <*> paid by <*>"),
            ("peer fe80::1%eth0 gone", "peer <*> gone"),
            ("id 550e8400-e29b-41d4-a716-446655440000 unknown", "id <*> unknown"),
            ("commit deadbeef12 and 12345678", "commit <*> and <*>"),
            ("open /var/log/x.log: no such file", "open <*>: no such file"),
            ("GET https://shop.example.com/a?b=c failed", "GET <*>=c failed"),
            ("mail to ann.b@example.com bounced", "mail to <*> bounced"),
            (r#"unknown key "colour" in 'theme'"#, "unknown key <*> in <*>"),
            ("can't reach host, won't retry", "can't reach host, won't retry"),
            ("retry 1, 2, 3, 4 failed", "retry <*> failed"),
            ("worker-3 died on node7", "worker-<*> died on node<*>"),
            ("java.lang.NullPointerException: oops", "java.lang.NullPointerException: oops"),
            ("read/write and I/O", "read/write and I/O"),
            ("a   b\t c  ", "a b c"),
            ("0x7fff5694dc58 faulted", "<*> faulted"),
            ("disk 93% full", "disk <*> full"),
            ("[pool-1] (12) {a=5}", "[pool-<*>] (<*>) {a=<*>}"),
            ("", ""),
            ("...", "..."),
            ("'", "'"),
            ("empty '' stays", "empty '' stays"),
        ] {
            assert_eq!(masked(message), template, "{message}");
        }
    }

    #[test]
    fn opened_and_closed_are_two_messages() {
        let mut miner = Miner::new();
        for number in 0..100 {
            miner.add(format!("session {number} opened").as_bytes(), false);
            miner.add(format!("session {number} closed").as_bytes(), false);
            for word in
                ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "opened", "closed"]
            {
                miner.add(format!("connection {word} now").as_bytes(), false);
            }
        }
        let texts: Vec<&str> = miner.templates().iter().map(|template| template.text.as_str()).collect();
        assert!(texts.contains(&"session <*> opened") && texts.contains(&"session <*> closed"));
        assert!(texts.contains(&"connection opened now") && texts.contains(&"connection closed now"));
    }

    #[test]
    fn many_words_in_one_place_are_names() {
        let names = ["anna", "bert", "carl", "dora", "emil", "fred", "gina", "hans", "ines", "john", "kate"];
        let mut miner = Miner::new();
        for name in names {
            miner.add(format!("user {name} logged in").as_bytes(), false);
        }
        let known: BTreeSet<String> = miner.templates().iter().map(|template| template.text.clone()).collect();
        assert!(known.contains("user <word> logged in"));
        assert!(Known(&known).has("user zoe logged in"));
        assert!(!Known(&known).has("user zoe locked out"));
        let few = BTreeSet::from(["user anna logged in".to_owned()]);
        assert!(Known(&few).has("user <word> logged in") && !Known(&few).has("user <word> locked out"));
        let numbers = BTreeSet::from(["session <*>".to_owned()]);
        assert!(!Known(&numbers).has("session closed"));
    }

    #[test]
    fn a_flood_leaves_room_for_the_real_error() {
        let mut miner = Miner::new();
        for number in 0..200_000_u32 {
            let noise: String = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            miner.add(format!("noise{noise} {noise}x").as_bytes(), false);
        }
        assert!(miner.templates().len() <= TEMPLATES - RESERVED);
        assert!(miner.overflow().0 > 100_000);
        let index = miner.add(b"payment provider unreachable", true).unwrap();
        assert_eq!(miner.templates()[index].text, "payment provider unreachable");
        for number in 0..100_000_u32 {
            let noise: String = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            miner.add(format!("failure{noise} {noise}x").as_bytes(), true);
        }
        assert!(miner.templates().len() <= TEMPLATES);
        assert!(miner.overflow().1 > 0);
    }

    proptest! {
        #[test]
        fn a_mask_is_its_own_mask_and_nothing_panics(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut once, mut miner) = (Vec::new(), Miner::new());
            mask(&message, &mut once);
            prop_assert!(once.len() <= message.len() * 3);
            miner.add(&message, true);
            prop_assert_eq!(miner.templates().len(), 1);
        }

        #[test]
        fn numbers_make_no_difference(a: u32, b: u32, c in 0.0_f64..1e9, d in 0.0_f64..1e9) {
            prop_assert_eq!(
                masked(&format!("order {a} took {c:.3}ms, left {a}")),
                masked(&format!("order {b} took {d:.3}ms, left {b}"))
            );
        }

        #[test]
        fn the_same_lines_give_the_same_templates(lines in proptest::collection::vec("(user|host) [a-d]{1,2} (up|down|in [0-9]{1,3})", 0..200)) {
            let run = || {
                let mut miner = Miner::new();
                for line in &lines { miner.add(line.as_bytes(), false); }
                miner.templates().to_vec()
            };
            prop_assert_eq!(run(), run());
        }
    }
}
