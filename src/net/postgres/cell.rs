//! A column's value: PostgreSQL's binary forms as numbers, texts and truths.
//!
//! The forms are those of the `…send` functions in the server's sources (`src/backend/utils/adt`). Intervals become
//! seconds, with 30 days a month as `extract(epoch from …)` has it below a year; moments become RFC 3339.

use std::error::Error;

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::model::encode;
use crate::model::value::Value;

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts, in seconds since 1970.
const EPOCH: i64 = 946_684_800;

/// The values of a row.
///
/// # Errors
/// Which column can't be read, and what to do about it.
pub(super) fn values(row: &Row) -> Result<Vec<Value>, String> {
    let mut values = Vec::with_capacity(row.len());
    for (at, column) in row.columns().iter().enumerate() {
        let name = encode::terminal(column.name());
        if row.columns().iter().take(at).any(|other| other.name() == column.name()) {
            return Err(format!("two columns are called `{name}`"));
        }
        let cell: Option<Cell> = row.try_get(at).map_err(|_| {
            let kind = encode::terminal(column.type_().name());
            format!("the column `{name}` is of type {kind}, which has no place among measures: cast it, {name}::text")
        })?;
        values.push(cell.map_or(Value::Null, |cell| cell.0));
    }
    Ok(values)
}

struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        read(kind, raw).map(Cell).ok_or_else(|| "not a value of its type".into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn read(kind: &Type, raw: &[u8]) -> Option<Value> {
    Some(match *kind {
        Type::BOOL => match raw {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return None,
        },
        Type::INT2 => Value::Int(i16::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT4 => Value::Int(i32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::OID => Value::Int(u32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT8 => Value::Int(i64::from_be_bytes(raw.try_into().ok()?)),
        Type::FLOAT4 => Value::Float(f32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::FLOAT8 => Value::Float(f64::from_be_bytes(raw.try_into().ok()?)),
        Type::NUMERIC => Value::Float(numeric(raw)?),
        Type::INTERVAL => {
            let microseconds = i64::from_be_bytes(raw.get(..8)?.try_into().ok()?);
            let days = i32::from_be_bytes(raw.get(8..12)?.try_into().ok()?);
            let months = i32::from_be_bytes(raw.get(12..16)?.try_into().ok()?);
            let days = f64::from(days) + f64::from(months) * 30.0;
            Value::Float(microseconds as f64 / 1e6 + days * 86_400.0)
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => match i64::from_be_bytes(raw.try_into().ok()?) {
            i64::MAX => Value::Text("infinity".to_owned()),
            i64::MIN => Value::Text("-infinity".to_owned()),
            microseconds => {
                let since = SignedDuration::from_micros(microseconds);
                Value::Text(Timestamp::from_second(EPOCH).ok()?.checked_add(since).ok()?.to_string())
            }
        },
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            Value::Text(std::str::from_utf8(raw).ok()?.to_owned())
        }
        Type::JSON => serde_json::from_slice::<serde_json::Value>(raw).ok()?.into(),
        // A version before the text.
        Type::JSONB => serde_json::from_slice::<serde_json::Value>(raw.strip_prefix(&[1])?).ok()?.into(),
        _ => return None,
    })
}

/// Digits to the base of 10,000 (`numeric_send`): their number, the weight of the first, the sign, the scale, the digits.
fn numeric(raw: &[u8]) -> Option<f64> {
    let mut words = raw.chunks_exact(2).map(|pair| pair.try_into().map(u16::from_be_bytes).unwrap_or_default());
    let count = usize::from(words.next()?);
    let weight = words.next()? as i16;
    let sign = match words.next()? {
        0x0000 => 1.0,
        0x4000 => -1.0,
        0xc000 => return Some(f64::NAN),
        0xd000 => return Some(f64::INFINITY),
        0xf000 => return Some(f64::NEG_INFINITY),
        _ => return None,
    };
    let _scale = words.next()?;
    let digits: Vec<u16> = words.collect();
    if digits.len() != count || raw.len() != 8 + 2 * count || digits.iter().any(|digit| *digit > 9_999) {
        return None;
    }
    // By way of its text, so that it is the nearest number and not a sum of roundings.
    let text: String = digits.iter().map(|digit| format!("{digit:04}")).collect();
    let exponent = (i64::from(weight) + 1 - count as i64) * 4;
    let text = if text.is_empty() { "0".to_owned() } else { format!("{text}e{exponent}") };
    text.parse::<f64>().ok().map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_of_any_precision_are_read() {
        for (words, value) in [
            (&[0, 0, 0, 0][..], Some(0.0)),
            (&[1, 0, 0, 0, 42], Some(42.0)),
            (&[2, 0, 0, 2, 3, 2500], Some(3.25)),
            (&[1, 0xffff, 0x4000, 4, 25], Some(-0.0025)),
            (&[1, 2, 0, 0, 7], Some(700_000_000.0)),
            (&[0, 0, 0xc000, 0], Some(f64::NAN)),
            (&[0, 0, 0xd000, 0], Some(f64::INFINITY)),
            (&[0, 0, 0xf000, 0], Some(f64::NEG_INFINITY)),
            (&[2, 0, 0, 0, 1], None),
            (&[1, 0, 0, 0, 10_000], None),
            (&[1, 0, 3, 0, 1], None),
            (&[1, 0], None),
        ] {
            let read = numeric(&bytes(words));
            assert!(
                read == value || read.is_some_and(f64::is_nan) && value.is_some_and(f64::is_nan),
                "{words:?}: {read:?}"
            );
        }
    }

    #[test]
    fn moments_and_spans_have_their_usual_units() {
        let second = 1_000_000_i64;
        let mut interval = (90 * second).to_be_bytes().to_vec();
        interval.extend(2_i32.to_be_bytes());
        interval.extend(1_i32.to_be_bytes());
        assert_eq!(read(&Type::INTERVAL, &interval), Some(Value::Float(90.0 + 32.0 * 86_400.0)));
        let moment = (3_600 * second).to_be_bytes();
        assert_eq!(read(&Type::TIMESTAMPTZ, &moment), Some(Value::Text("2000-01-01T01:00:00Z".to_owned())));
        assert_eq!(read(&Type::TIMESTAMPTZ, &i64::MAX.to_be_bytes()), Some(Value::Text("infinity".to_owned())));
        assert_eq!(read(&Type::JSONB, b"\x01{\"a\":1}").unwrap().show(20), r#"{"a":1}"#);
        assert_eq!(read(&Type::BYTEA, b"x"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            for kind in [
                Type::BOOL, Type::INT2, Type::INT4, Type::INT8, Type::OID, Type::FLOAT4, Type::FLOAT8, Type::NUMERIC,
                Type::INTERVAL, Type::TIMESTAMP, Type::TEXT, Type::JSON, Type::JSONB, Type::XML,
            ] {
                let read = read(&kind, &raw);
                prop_assert!(kind != Type::XML || read.is_none());
            }
        }
    }
}
