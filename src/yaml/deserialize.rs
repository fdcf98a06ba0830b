//! A serde deserialiser over nodes whose errors stand at the wrong token.

use std::fmt;

use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::keys::{suggest, unknown_key};
use super::scalars::{float, is_ambiguous, is_decimal_integer};
use super::{MASK, Node, Shape, spanned};
use crate::model::source::{Diagnostic, Span};

/// The name of the type that stands for a secret: a literal in its place must not be repeated in the error.
const SECRET: &str = "SecretRef";

/// What doesn't fit, and where, as soon as the innermost value that knows its place has seen it.
#[derive(Debug)]
pub(super) struct Error {
    at: Option<Span>,
    message: String,
    hint: Option<String>,
    masked: bool,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Error { at: None, message: message.into(), hint: None, masked: false }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn at(mut self, span: &Span) -> Self {
        self.at.get_or_insert_with(|| span.clone());
        self
    }

    pub(super) fn diagnostic(self, otherwise: &Span) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(self.at.unwrap_or_else(|| otherwise.clone()), self.message);
        diagnostic.hint = self.hint;
        if self.masked {
            diagnostic.source_line = MASK.to_owned();
        }
        diagnostic
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Error { at: Some(diagnostic.at), message: diagnostic.message, hint: diagnostic.hint, masked: false }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    /// A remark in parentheses at the end of a type's own message is its hint.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        if let Some((what, remark)) = message.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) {
            return Error::new(what).hint(remark);
        }
        Error::new(message)
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let hint = format!("write {}", plain(expected));
        Error::new(format!("expected {}, found {}", plain(expected), found(&unexpected))).hint(hint)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error::new(format!("{} is not possible here", found(&unexpected))).hint(format!("expected {}", plain(expected)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Error::new(format!("expected {}, found {length} values", plain(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let short: String = variant.chars().take(60).collect();
        Error::new(format!("unknown value `{short}`")).hint(suggest(variant, expected.iter().copied(), "known values"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let short: String = field.chars().take(60).collect();
        Error::new(format!("unknown key `{short}`")).hint(suggest(field, expected.iter().copied(), "known keys"))
    }

    fn missing_field(field: &'static str) -> Self {
        Error::new(format!("the key `{field}` is missing")).hint(format!("add `{field}: …`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Error::new(format!("the key `{field}` is given twice"))
    }
}

fn found(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(text) => format!("`{}`", text.chars().take(60).collect::<String>()),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("`{value}`"),
        Unexpected::Signed(value) => format!("`{value}`"),
        Unexpected::Float(value) => format!("`{value}`"),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

/// What a Rust type expects, in words for people who don't know Rust.
fn plain(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        other if other.starts_with("struct ") => "a map".to_owned(),
        _ => text,
    }
}

/// A node as serde sees it.
#[derive(Clone, Copy)]
pub(super) struct NodeReader<'de>(pub(super) &'de Node);

impl<'de> NodeReader<'de> {
    fn expected(self, what: &str) -> Error {
        Error::new(format!("expected {what}, found {}", self.0.describe())).at(&self.0.span)
    }

    /// The text of a plain scalar; quoted text is never a number or a boolean.
    fn unquoted(self, what: &str) -> Result<&'de str, Error> {
        match &self.0.shape {
            Shape::Scalar { text, quoted: false } => Ok(text),
            Shape::Scalar { quoted: true, .. } => {
                Err(self.expected(what).hint("remove the quotes: quoted values are text"))
            }
            _ => Err(self.expected(what)),
        }
    }

    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.unquoted("a whole number")?;
        let result = if !is_decimal_integer(text) {
            Err(self.expected("a whole number").hint("write it in decimal digits: 200"))
        } else if let Ok(value) = text.parse::<u64>() {
            visitor.visit_u64(value)
        } else if let Ok(value) = text.parse::<i64>() {
            visitor.visit_i64(value)
        } else {
            Err(Error::new(format!("{} is too large a number", self.0.describe())))
        };
        result.map_err(|error: Error| error.at(&self.0.span))
    }

    /// A value of whatever type it looks like. Where the text says more than the value would (`1.10`, `0x50`, `True`),
    /// it is refused rather than changed.
    fn guess<V: Visitor<'de>>(self, text: &'de str, visitor: V) -> Result<V::Value, Error> {
        match text {
            "true" => return visitor.visit_bool(true),
            "false" => return visitor.visit_bool(false),
            _ => {}
        }
        if is_decimal_integer(text) {
            if let Ok(value) = text.parse::<u64>() {
                return visitor.visit_u64(value);
            }
            if let Ok(value) = text.parse::<i64>() {
                return visitor.visit_i64(value);
            }
        } else if let Some(value) = float(text) {
            let exact = text.contains(['e', 'E']) || format!("{value:?}") == text;
            if exact {
                return visitor.visit_f64(value);
            }
        } else if !is_ambiguous(text) {
            return visitor.visit_borrowed_str(text);
        }
        Err(Error::new(format!("`{text}` can be read in two ways: as text and as a number or a boolean"))
            .hint(format!("quote it (\"{text}\") if it is text; else write it plainly: 80, 1.1, true")))
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.integer(visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for NodeReader<'de> {
    type Error = Error;

    integers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.shape {
            Shape::Null => visitor.visit_unit(),
            Shape::Scalar { text, quoted: true } => visitor.visit_borrowed_str(text),
            Shape::Scalar { text, quoted: false } => self.guess(text, visitor),
            Shape::List(_) => return self.deserialize_seq(visitor),
            Shape::Map(_) => return self.deserialize_map(visitor),
        }
        .map_err(|error: Error| error.at(&self.0.span))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.unquoted("true or false")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            other => {
                let yes = ["true", "yes", "on", "y"].contains(&other.to_ascii_lowercase().as_str());
                Err(self.expected("true or false").hint(if yes { "write `true`" } else { "write `true` or `false`" }))
            }
        }
        .map_err(|error: Error| error.at(&self.0.span))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.unquoted("a number")?;
        let value = float(text).ok_or_else(|| self.expected("a number").hint("write it in decimal: 0.5"))?;
        visitor.visit_f64(value).map_err(|error: Error| error.at(&self.0.span))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.shape {
            Shape::Scalar { text, .. } => {
                visitor.visit_borrowed_str(text).map_err(|error: Error| error.at(&self.0.span))
            }
            Shape::Null => Err(self.expected("text").hint("write a value, or remove the key")),
            Shape::Map(_) | Shape::List(_) => {
                Err(self.expected("text").hint("quote the value if brackets, braces or a colon belong to it"))
            }
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.shape {
            Shape::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self).map_err(|error: Error| error.at(&self.0.span))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.shape {
            Shape::List(items) => visitor.visit_seq(Items(items.iter())).map_err(|error: Error| error.at(&self.0.span)),
            Shape::Scalar { text, .. } => {
                let short: String = text.chars().take(40).collect();
                Err(self.expected("a list").hint(format!("write it as a list: [\"{short}\"]")))
            }
            _ => Err(self.expected("a list").hint("write `[ … ]`, or one `- …` a line")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.shape {
            Shape::Map(entries) => visitor
                .visit_map(Entries { entries: entries.iter(), value: None })
                .map_err(|error: Error| error.at(&self.0.span)),
            _ => Err(self.expected("a map").hint("write `{ key: value }`, or one `key: value` a line")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == spanned::NAME {
            return visitor.visit_seq(Placed { node: self.0, part: 0 }).map_err(|error: Error| error.at(&self.0.span));
        }
        let Shape::Map(entries) = &self.0.shape else {
            return Err(self.expected("a map").hint(format!("write `{{ key: value }}`; keys: {}", fields.join(", "))));
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !fields.iter().any(|field| key.text() == Some(field))) {
            return Err(unknown_key(key, fields.iter().copied()).into());
        }
        visitor
            .visit_map(Entries { entries: entries.iter(), value: None })
            .map_err(|error: Error| error.at(&self.0.span))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (tag, value) = match &self.0.shape {
            Shape::Scalar { .. } if name == SECRET => {
                let mut error = Error::new("a secret is not written here")
                    .hint("say where it is to be had: { env: NAME } or { file: /path }");
                error.masked = true;
                return Err(error.at(&self.0.span));
            }
            Shape::Scalar { .. } => (self.0, None),
            Shape::Map(entries) => match entries.as_slice() {
                [(key, value)] => (key, Some(value)),
                _ => return Err(self.expected("exactly one key").hint(format!("one of {}", variants.join(", ")))),
            },
            _ => return Err(self.expected(&format!("one of {}", variants.join(", ")))),
        };
        visitor.visit_enum(Variant { tag, value }).map_err(|error: Error| error.at(&self.0.span))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { bytes byte_buf unit unit_struct }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0
            .next()
            .map(|node| seed.deserialize(NodeReader(node)).map_err(|error: Error| error.at(&node.span)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (Node, Node)>,
    value: Option<&'de Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(NodeReader(key)).map(Some).map_err(|error: Error| error.at(&key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().ok_or_else(|| Error::new("a value was asked for before its key"))?;
        seed.deserialize(NodeReader(value)).map_err(|error: Error| error.at(&value.span))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// File, line, column, length and the value, for [`super::Spanned`].
struct Placed<'de> {
    node: &'de Node,
    part: u8,
}

impl<'de> de::SeqAccess<'de> for Placed<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.part += 1;
        let span = &self.node.span;
        let number = |value: u32, seed: T| seed.deserialize(IntoDeserializer::<Error>::into_deserializer(value));
        match self.part {
            1 => seed.deserialize(de::value::BorrowedStrDeserializer::new(&span.file)),
            2 => number(span.line, seed),
            3 => number(span.column, seed),
            4 => number(span.length, seed),
            _ => seed.deserialize(NodeReader(self.node)),
        }
        .map(Some)
    }
}

struct Variant<'de> {
    tag: &'de Node,
    value: Option<&'de Node>,
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = seed.deserialize(NodeReader(self.tag)).map_err(|error: Error| error.at(&self.tag.span))?;
        Ok((name, self))
    }
}

impl<'de> Variant<'de> {
    fn value(&self) -> Result<NodeReader<'de>, Error> {
        let missing = || {
            let name = self.tag.text().unwrap_or_default();
            Error::new(format!("`{name}` needs a value")).hint(format!("write {{ {name}: … }}")).at(&self.tag.span)
        };
        self.value.map(NodeReader).ok_or_else(missing)
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.value {
            None | Some(Node { shape: Shape::Null, .. }) => Ok(()),
            Some(value) => Err(Error::new("no value is expected here").at(&value.span)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let value = self.value()?;
        seed.deserialize(value).map_err(|error: Error| error.at(&value.0.span))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_seq(self.value()?, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_struct(self.value()?, "", fields, visitor)
    }
}
