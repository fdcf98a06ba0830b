//! The Journal Export Format, read strictly; and what journalctl says besides.
//!
//! <https://systemd.io/JOURNAL_EXPORT_FORMATS/>: entries are separated by an empty line. A field is `NAME=value` on a line,
//! or, where the value holds bytes that a line can't, `NAME`, a line break, the length as 64 bits little endian, the value,
//! a line break.

/// The most fields of one entry.
const FIELDS: usize = 1_024;
/// The longest name of a field.
const NAME: usize = 64;

/// One entry: its fields in their order; a name may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry<'a>(pub Vec<(&'a str, &'a [u8])>);

impl<'a> Entry<'a> {
    /// The first value under a name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The first value under a name as a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        std::str::from_utf8(self.get(name)?).ok()?.parse().ok()
    }
}

/// Why bytes are no export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// They end within an entry.
    #[error("it ends in the middle of an entry")]
    Cut,
    #[error("byte {at}: {what}")]
    Wrong { at: usize, what: &'static str },
}

/// Reads an export. Where it is cut off, the whole entries before the cut are given with the error.
pub fn read(bytes: &[u8]) -> (Vec<Entry<'_>>, Option<Unfit>) {
    let mut entries = Vec::new();
    let mut entry = Entry::default();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\n' {
            at += 1;
            if !entry.0.is_empty() {
                entries.push(std::mem::take(&mut entry));
            }
            continue;
        }
        match field(bytes, at) {
            Ok((name, value, next)) if entry.0.len() < FIELDS => {
                entry.0.push((name, value));
                at = next;
            }
            Ok(_) => return (entries, Some(Unfit::Wrong { at, what: "an entry of more than 1024 fields" })),
            Err(unfit) => return (entries, Some(unfit)),
        }
    }
    // journalctl ends every entry with an empty line, the last one too.
    let unfit = (!entry.0.is_empty()).then_some(Unfit::Cut);
    (entries, unfit)
}

/// A field that begins here: its name, its value, where the next one begins.
fn field(bytes: &[u8], at: usize) -> Result<(&str, &[u8], usize), Unfit> {
    let wrong = |what| Err(Unfit::Wrong { at, what });
    let rest = &bytes[at..];
    let belongs = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let length = rest.iter().take(NAME + 1).take_while(|byte| belongs(byte)).count();
    let Ok(name) = std::str::from_utf8(&rest[..length]) else { return wrong("no field's name") };
    if length == 0 || length > NAME || name.as_bytes()[0].is_ascii_digit() {
        return wrong("no field's name");
    }
    match rest.get(length) {
        None => Err(Unfit::Cut),
        Some(b'=') => {
            let value = &rest[length + 1..];
            let end = memchr::memchr(b'\n', value).ok_or(Unfit::Cut)?;
            Ok((name, &value[..end], at + length + 1 + end + 1))
        }
        Some(b'\n') => {
            let value = &rest[length + 1..];
            let (size, value) = value.split_first_chunk::<8>().ok_or(Unfit::Cut)?;
            let size = usize::try_from(u64::from_le_bytes(*size)).unwrap_or(usize::MAX);
            match value.get(size) {
                Some(b'\n') => Ok((name, &value[..size], at + length + 1 + 8 + size + 1)),
                Some(_) => wrong("a value that doesn't end where it says"),
                None => Err(Unfit::Cut),
            }
        }
        Some(_) => wrong("neither a value nor its length behind a name"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn the_published_example_is_read() {
        // The document's own example, shortened.
        let mut export =
            b"__CURSOR=s=739ad463348b4ceca5a9e69c95a3c93f;i=4ece7\n__REALTIME_TIMESTAMP=1342540861416351\n\
            PRIORITY=6\n_SYSTEMD_UNIT=dbus.service\nMESSAGE=a=b\n\n"
                .to_vec();
        export.extend(b"__REALTIME_TIMESTAMP=1342540861421465\nPRIORITY=3\n");
        export.extend(binary("MESSAGE", b"foo\nbar"));
        export.extend(b"\n");
        let (entries, unfit) = read(&export);
        assert_eq!((entries.len(), unfit), (2, None));
        assert_eq!(entries[0].get("MESSAGE"), Some(&b"a=b"[..]));
        assert_eq!(entries[0].number("__REALTIME_TIMESTAMP"), Some(1_342_540_861_416_351));
        assert_eq!((entries[1].get("MESSAGE"), entries[1].number("PRIORITY")), (Some(&b"foo\nbar"[..]), Some(3)));
        assert_eq!(read(b""), (vec![], None));
    }

    #[test]
    fn what_is_no_export_is_told_with_its_place() {
        let lying = [b"A=1\n\nMESSAGE\n".as_slice(), &u64::MAX.to_le_bytes(), b"x\n\n"].concat();
        let short = [b"MESSAGE\n".as_slice(), &2_u64.to_le_bytes(), b"xyz\n\n"].concat();
        let many = "A=1\n".repeat(FIELDS + 1);
        let long = format!("{}=1\n\n", "A".repeat(NAME + 1));
        for (bytes, entries, unfit) in [
            (&b"A=1\n\nB=2\n"[..], 1, Unfit::Cut),
            (b"A=1\n\nB=2", 1, Unfit::Cut),
            (b"A=1\n\nB", 1, Unfit::Cut),
            (b"A\n\x05\0\0", 0, Unfit::Cut),
            (&lying, 1, Unfit::Cut),
            (&short, 0, Unfit::Wrong { at: 0, what: "a value that doesn't end where it says" }),
            (b"A=1\n\n=2\n\n", 1, Unfit::Wrong { at: 5, what: "no field's name" }),
            (b"a=1\n\n", 0, Unfit::Wrong { at: 0, what: "no field's name" }),
            (b"1A=1\n\n", 0, Unfit::Wrong { at: 0, what: "no field's name" }),
            (b"A b=1\n\n", 0, Unfit::Wrong { at: 0, what: "neither a value nor its length behind a name" }),
            (b"{\"MESSAGE\":1}", 0, Unfit::Wrong { at: 0, what: "no field's name" }),
            (long.as_bytes(), 0, Unfit::Wrong { at: 0, what: "no field's name" }),
            (many.as_bytes(), 0, Unfit::Wrong { at: 4 * FIELDS, what: "an entry of more than 1024 fields" }),
        ] {
            let (found, why) = read(bytes);
            assert_eq!((found.len(), why), (entries, Some(unfit)), "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_comes_back_and_a_cut_is_never_whole(
            entries in prop::collection::vec(
                prop::collection::vec(("[A-Z_][A-Z0-9_]{0,9}", prop::collection::vec(any::<u8>(), 0..40)), 1..6), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut export = Vec::new();
            for entry in &entries {
                for (name, value) in entry {
                    if value.contains(&b'\n') || value.len() % 2 == 0 {
                        export.extend(binary(name, value));
                    } else {
                        export.extend([name.as_bytes(), b"=", value, b"\n"].concat());
                    }
                }
                export.push(b'\n');
            }
            let (found, unfit) = read(&export);
            prop_assert_eq!(unfit, None);
            let found: Vec<Vec<(String, Vec<u8>)>> = found
                .into_iter()
                .map(|entry| entry.0.into_iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect())
                .collect();
            prop_assert_eq!(&found, &entries);
            let (part, _) = read(&export[..cut.index(export.len())]);
            prop_assert!(part.len() < entries.len());
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }
    }
}
