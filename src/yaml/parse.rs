//! Text to nodes: the events of the YAML parser, within budgets, and nothing expanded.

use std::collections::HashSet;
use std::sync::Arc;

use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Span as Range, StrInput, StructureStyle};

use super::{Node, Shape, explain};
use crate::model::source::{Diagnostic, Span};
use crate::model::units::show_size;

/// The most bytes of a file.
pub const FILE_LIMIT: usize = 256 * 1024;
/// The most levels of lists and maps within each other.
pub const DEPTH_LIMIT: usize = 32;
/// The most values (scalars, lists, maps, keys) of a file.
pub const NODE_LIMIT: usize = 50_000;

/// Reads the bytes of a file: one document of UTF-8.
///
/// # Errors
/// As [`parse`], and text that isn't UTF-8.
pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Node, Diagnostic> {
    too_large(file, bytes.len())?;
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(file, text),
        Err(error) => {
            let (good, _) = bytes.split_at(error.valid_up_to());
            let good = String::from_utf8_lossy(good);
            let at = place_of_end(file, &good);
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            Err(Diagnostic::error(at, format!("the file is not UTF-8: byte 0x{byte:02x}"))
                .hint("save it as UTF-8")
                .with_source(&String::from_utf8_lossy(bytes)))
        }
    }
}

/// Reads a text: one document. An empty one is [`Shape::Null`].
///
/// A byte-order mark and CRLF are fine. What is refused is refused at the first place where it shows, before more
/// memory than a small multiple of the text is used.
///
/// # Errors
/// What isn't YAML, what is more than the budgets allow, and what has no place in a configuration: aliases, anchors,
/// tags, merge keys, duplicate keys, several documents, control characters.
pub fn parse(file: &str, text: &str) -> Result<Node, Diagnostic> {
    too_large(file, text.len())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(index) = text.bytes().position(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) {
        let (before, rest) = text.split_at(index);
        let control = rest.chars().next().map_or(0, u32::from);
        return Err(Diagnostic::error(place_of_end(file, before), format!("control character U+{control:04X}"))
            .hint("remove it; inside of double quotes it can be written as an escape")
            .with_source(text));
    }
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true;
    options.emit_anchor_events = true;
    options.flow_nesting_limit = DEPTH_LIMIT;
    options.block_nesting_limit = DEPTH_LIMIT;
    let mut reader =
        Reader { parser: Parser::new_from_str_with_options(text, options), file: file.into(), text, nodes: 0 };
    reader.document().map_err(|error| error.with_source(text))
}

fn too_large(file: &str, bytes: usize) -> Result<(), Diagnostic> {
    if bytes <= FILE_LIMIT {
        return Ok(());
    }
    let (size, limit) = (show_size(bytes as u64), show_size(FILE_LIMIT as u64));
    Err(Diagnostic::error(Span::file(file), format!("the file has {size}, at most {limit} are read"))
        .hint("split it into several files"))
}

/// The place right after a text.
fn place_of_end(file: &str, before: &str) -> Span {
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").trim_start_matches('\u{feff}').chars().count() as u32 + 1;
    Span { file: file.into(), line, column, length: 1 }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    file: Arc<str>,
    text: &'t str,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Diagnostic> {
        let mut root = None;
        loop {
            let (event, range) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => {
                    let empty = Node {
                        span: Span { file: Arc::clone(&self.file), line: 1, column: 1, length: 1 },
                        shape: Shape::Null,
                    };
                    return Ok(root.unwrap_or(empty));
                }
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Diagnostic::error(self.place(&range), "a second document starts here")
                        .hint("one file is one document: remove the `---`, or make it a file of its own"));
                }
                Event::DocumentStart(..) => {
                    let (event, range) = self.next()?;
                    root = Some(self.node(event, range, 0)?);
                }
                _ => return Err(Diagnostic::error(self.place(&range), "this is not the start of a document")),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Range), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(explain::explain(&self.file, self.text, &error)),
            None => Ok((Event::StreamEnd, Range::default())),
        }
    }

    /// The value that starts with this event.
    fn node(&mut self, event: Event<'t>, range: Range, depth: usize) -> Result<Node, Diagnostic> {
        let span = self.place(&range);
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            return Err(Diagnostic::error(span, format!("more than {NODE_LIMIT} values in one file"))
                .hint("split it into several files"));
        }
        if depth > DEPTH_LIMIT {
            return Err(explain::too_deep(span));
        }
        self.refuse_properties(&event, &range)?;
        let shape = match event {
            Event::Scalar(text, style, ..) => {
                let quoted = style != ScalarStyle::Plain;
                if !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Shape::Null
                } else {
                    Shape::Scalar { text: text.into_owned(), quoted }
                }
            }
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(style, ..) => self.map(style, &span, depth)?,
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let written = range.slice(self.text).unwrap_or("*").to_owned();
                return Err(Diagnostic::error(span, format!("`{written}` is an alias, and aliases are not read"))
                    .hint(format!("write the value out; if it is text, quote it: \"{written}\"")));
            }
            _ => return Err(Diagnostic::error(span, "a value is missing here")),
        };
        Ok(Node { span, shape })
    }

    fn list(&mut self, depth: usize) -> Result<Shape, Diagnostic> {
        let mut items = Vec::new();
        loop {
            let (event, range) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Shape::List(items));
            }
            items.push(self.node(event, range, depth + 1)?);
        }
    }

    fn map(&mut self, style: StructureStyle, opening: &Span, depth: usize) -> Result<Shape, Diagnostic> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        loop {
            let (event, range) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Shape::Map(entries));
            }
            let key = self.key(event, range, style, opening, depth)?;
            let name = key.text().unwrap_or_default();
            // A hash set pays only for large maps; most have a handful of keys.
            let twice = match entries.len() {
                0..16 => entries.iter().any(|(earlier, _)| earlier.text() == key.text()),
                16 => {
                    seen.extend(entries.iter().filter_map(|(earlier, _)| earlier.text().map(str::to_owned)));
                    !seen.insert(name.to_owned())
                }
                _ => !seen.insert(name.to_owned()),
            };
            if twice {
                let first = entries.iter().find(|(earlier, _)| earlier.text() == key.text());
                let line = first.map_or(0, |(earlier, _)| earlier.span.line);
                return Err(Diagnostic::error(key.span.clone(), format!("duplicate key {}", key.describe()))
                    .hint(format!("it stands in line {line} already")));
            }
            let (event, range) = self.next()?;
            let value = self.node(event, range, depth + 1)?;
            entries.push((key, value));
        }
    }

    fn key(
        &mut self,
        event: Event<'t>,
        range: Range,
        style: StructureStyle,
        opening: &Span,
        depth: usize,
    ) -> Result<Node, Diagnostic> {
        if matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)) {
            let at = self.place(&range);
            let doubled = style == StructureStyle::Flow && at.line == opening.line && at.column == opening.column + 1;
            return Err(if doubled && matches!(event, Event::MappingStart(..)) {
                explain::braces(&self.file, self.text, opening.line, opening.column)
            } else {
                Diagnostic::error(at, "a key must be a word, not a list or a map")
                    .hint("quote it if it is meant as text")
            });
        }
        let plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, ..));
        let mut key = self.node(event, range, depth + 1)?;
        match &key.shape {
            Shape::Scalar { text, .. } if plain && text == "<<" => {
                Err(Diagnostic::error(key.span, "merge keys (`<<`) are not read")
                    .hint("write the keys out, or put them under `defaults`"))
            }
            Shape::Scalar { .. } => Ok(key),
            _ => {
                // `null: x`, `~: x`, or no key at all before the colon
                let written = range.slice(self.text).unwrap_or("").trim();
                if written.is_empty() {
                    return Err(Diagnostic::error(key.span, "a key is missing before the `:`")
                        .hint("write `key: value`; quote a value that starts with `:`"));
                }
                key.shape = Shape::Scalar { text: written.to_owned(), quoted: false };
                Ok(key)
            }
        }
    }

    /// Anchors and tags, at their own place.
    fn refuse_properties(&mut self, event: &Event<'t>, range: &Range) -> Result<(), Diagnostic> {
        if let Some(tag) = event.tag() {
            let at = range.tag_span().map_or_else(|| self.place(range), |tag| self.place(&tag));
            let written = range.tag_span().and_then(|tag| tag.slice(self.text).map(str::to_owned));
            let written = written.unwrap_or_else(|| tag.original());
            return Err(Diagnostic::error(at, format!("`{written}` is a tag, and tags are not read"))
                .hint("remove it; if it belongs to the text, quote the whole value"));
        }
        if event.anchor_id().is_some() {
            let at = match self.next() {
                Ok((Event::Anchor(..), anchor)) => self.place(&anchor),
                _ => self.place(range),
            };
            return Err(Diagnostic::error(at, "anchors (`&name`) are not read")
                .hint("write the value out where it is needed; if it is text, quote it"));
        }
        Ok(())
    }

    /// Line and column of a range; its length ends with its first line.
    fn place(&self, range: &Range) -> Span {
        let start = range.start;
        let length = if range.end.line() == start.line() {
            range.end.col().saturating_sub(start.col())
        } else {
            rest_of_line(self.text, &start)
        };
        Span {
            file: Arc::clone(&self.file),
            line: (start.line() as u32).max(1),
            column: start.col() as u32 + 1,
            length: (length as u32).max(1),
        }
    }
}

fn rest_of_line(text: &str, start: &Marker) -> usize {
    let rest = start.byte_offset().and_then(|offset| text.get(offset..)).unwrap_or("");
    rest.lines().next().unwrap_or("").trim_end().chars().count()
}
