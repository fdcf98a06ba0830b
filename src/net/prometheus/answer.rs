//! The JSON of the query API, read into series; whatever doesn't fit is an error, never skipped.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Answer, Data, POINTS_LIMIT, Point, SERIES_LIMIT, Series, short};
use crate::net::exposition;

/// Why a body can't be used.
#[derive(Debug)]
pub(super) enum Unfit {
    Wrong(String),
    TooMuch { limit: usize, what: &'static str },
}

#[derive(Deserialize)]
struct Envelope {
    status: Status,
    data: Option<Payload>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    infos: Option<Vec<String>>,
    /// VictoriaMetrics, beside `data`.
    #[serde(rename = "isPartial", default)]
    is_partial: bool,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
    Error,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Items,
    #[serde(rename = "isPartial", default)]
    is_partial: bool,
}

/// What stands in `result`: series, or the time and the value of a scalar or a text.
enum Item {
    Series(Row),
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<Pair>,
    values: Option<Pairs>,
    histogram: Option<serde::de::IgnoredAny>,
    histograms: Option<serde::de::IgnoredAny>,
}

struct Items(Vec<Item>);
struct Pairs(Vec<Point>);
struct Pair(Point);

/// The answer, or the server's own error: its type and its words.
pub(super) fn read(body: &[u8]) -> Result<Result<Answer, (String, String)>, Unfit> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        if text.contains(SERIES) {
            Unfit::TooMuch { limit: SERIES_LIMIT, what: "series" }
        } else if text.contains(POINTS) {
            Unfit::TooMuch { limit: POINTS_LIMIT, what: "points" }
        } else {
            Unfit::Wrong(short(&text))
        }
    })?;
    if envelope.status == Status::Error {
        let kind = short(&envelope.error_type.unwrap_or_default());
        let reason = short(&envelope.error.unwrap_or_else(|| "an error without a reason".to_owned()));
        return Ok(Err((kind, reason)));
    }
    let Some(payload) = envelope.data else {
        return Err(Unfit::Wrong("success without data".to_owned()));
    };
    let clean = |texts: Option<Vec<String>>| -> Vec<String> {
        texts.unwrap_or_default().iter().take(10).map(|text| short(text)).collect()
    };
    Ok(Ok(Answer {
        data: payload.result.shaped(&payload.result_type).map_err(Unfit::Wrong)?,
        warnings: clean(envelope.warnings),
        infos: clean(envelope.infos),
        partial: envelope.is_partial || payload.is_partial,
    }))
}

impl Items {
    fn shaped(self, result_type: &str) -> Result<Data, String> {
        let wrong = || format!("the result is not a {}", short(result_type));
        match result_type {
            "vector" | "matrix" => {
                let one = result_type == "vector";
                let series = self.0.into_iter().map(|item| match item {
                    Item::Series(row) => row.series(one),
                    _ => Err(wrong()),
                });
                let series: Vec<Series> = series.collect::<Result<_, _>>()?;
                Ok(if one { Data::Vector(series) } else { Data::Matrix(series) })
            }
            "scalar" | "string" => match self.0.as_slice() {
                [Item::Number(at), Item::Text(text)] if result_type == "scalar" => {
                    Ok(Data::Scalar(Point { at: *at, value: number(text)? }))
                }
                [Item::Number(_), Item::Text(text)] => Ok(Data::Text(text.clone())),
                _ => Err(wrong()),
            },
            other => Err(format!("unknown result type `{}`", short(other))),
        }
    }
}

impl Row {
    fn series(self, one: bool) -> Result<Series, String> {
        let histograms = self.histogram.is_some() || self.histograms.is_some();
        let points = match (one, self.value, self.values) {
            (true, Some(Pair(point)), None) => vec![point],
            (false, None, Some(Pairs(points))) => points,
            (_, None, None) if histograms => Vec::new(),
            _ => return Err("a series without its value".to_owned()),
        };
        Ok(Series { labels: self.metric, points, histograms })
    }
}

fn number(text: &str) -> Result<f64, String> {
    exposition::number(text).map_err(|why| format!("`{}` is {why}", short(text)))
}

const SERIES: &str = "too many series";
const POINTS: &str = "too many points";

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Items;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of series, or a time and a value")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                let mut points = 0;
                while let Some(item) = list.next_element::<Item>()? {
                    if let Item::Series(row) = &item {
                        points += row.values.as_ref().map_or(1, |Pairs(points)| points.len());
                    }
                    if items.len() >= SERIES_LIMIT {
                        return Err(A::Error::custom(SERIES));
                    }
                    if points > POINTS_LIMIT {
                        return Err(A::Error::custom(POINTS));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series, a time or a value")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                Row::deserialize(MapAccessDeserializer::new(map)).map(Item::Series)
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Item, E> {
                Ok(Item::Number(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Item, E> {
                Ok(Item::Number(value as f64))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Item, E> {
                Ok(Item::Number(value as f64))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Item, E> {
                Ok(Item::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of times with values")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pairs, A::Error> {
                let mut points = Vec::new();
                while let Some(Pair(point)) = list.next_element()? {
                    if points.len() >= POINTS_LIMIT {
                        return Err(A::Error::custom(POINTS));
                    }
                    points.push(point);
                }
                Ok(Pairs(points))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, text): (f64, std::borrow::Cow<'_, str>) = Deserialize::deserialize(deserializer)?;
        Ok(Pair(Point { at, value: number(&text).map_err(D::Error::custom)? }))
    }
}
