//! Expectations: CEL over a kind's measures. The only place that knows the language.
//!
//! Text is looked over ([`scan`]), parsed by the `cel` crate ([`parse`]), checked against the measures' types ([`compile`]) and
//! evaluated in three values ([`evaluate`], [`hold`]): it holds, it is broken, or we don't know.
//!
//! Where the language leaves room, or leads into a trap, this is what holds here:
//! * There is one type of number: whole and other numbers compare and calculate with one another, 1 / 4 is 0.25.
//! * A measure that was not seen, a NaN, a division by zero make what needs them unknown, never good and never bad.
//! * What an answer lacks (a key, an element, a number where text stands) breaks the expectation.
//! * `a && b` is false where one of them is, `a || b` true where one of them is, whatever the other one comes to.
//! * `duration("5m")` is seconds; `usual(x)` is true where the measure is as it usually is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::model::measure::Measure;
use crate::model::value::{Measures, Value};

mod calls;
mod compile;
mod evaluate;
mod functions;
mod hold;
mod node;
mod operators;
#[cfg(test)]
mod oracle;
mod parse;
mod place;
mod scan;
mod values;

/// A compiled expression. Cheap to clone; the same text over the same measures is compiled once.
#[derive(Debug, Clone)]
pub struct Expression {
    compiled: Arc<node::Compiled>,
}

/// Why an expression can't be used, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// In characters from the start of the text.
    pub offset: usize,
    pub length: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// What an expectation comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    True,
    /// `actual`: "status is 503"; several names are joined by commas.
    False {
        actual: String,
    },
    /// A measure is missing, or what is usual isn't known.
    Unknown {
        why: String,
    },
}

/// Whether a measure is as it usually is.
#[derive(Debug, Clone, PartialEq)]
pub enum Usual {
    Yes,
    /// "usually 190 to 230"
    No {
        usually: String,
    },
    /// Why that isn't known, and how long it will take.
    Unknown {
        why: String,
    },
}

impl Expression {
    /// Compiles an expectation; it must be true or false.
    ///
    /// `extra` are names besides the measures (parameters, captures) of any type.
    ///
    /// # Errors
    /// A syntax error, an unknown name (with the nearest one as hint), a comparison that can never hold.
    pub fn condition(text: &str, measures: &[Measure], extra: &[&str]) -> Result<Self, Refused> {
        Expression::compiled(text, measures, extra, true)
    }

    /// Compiles an expression that yields a value (a journey's capture).
    ///
    /// # Errors
    /// As [`Expression::condition`].
    pub fn value(text: &str, measures: &[Measure], extra: &[&str]) -> Result<Self, Refused> {
        Expression::compiled(text, measures, extra, false)
    }

    fn compiled(text: &str, measures: &[Measure], extra: &[&str], condition: bool) -> Result<Self, Refused> {
        // A text over the limit is refused in any case: it needn't be remembered.
        if text.len() > scan::TEXT_LIMIT {
            return compile::compile(text, measures, extra, condition).map(Expression::new);
        }
        let key = key(text, measures, extra, condition);
        let recent = || RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = recent().get(&key) {
            return Ok(Expression { compiled });
        }
        let expression = Expression::new(compile::compile(text, measures, extra, condition)?);
        recent().put(key, Arc::clone(&expression.compiled));
        Ok(expression)
    }

    fn new(compiled: node::Compiled) -> Self {
        Expression { compiled: Arc::new(compiled) }
    }

    pub fn text(&self) -> &str {
        &self.compiled.text
    }

    /// The measures that it refers to, in the order of first mention.
    pub fn names(&self) -> &[String] {
        &self.compiled.measures
    }

    /// The measures inside `usual(…)`.
    pub fn usual(&self) -> &[String] {
        &self.compiled.usual
    }

    /// Holds it against what was seen.
    ///
    /// `usual` is asked for the measures of [`Expression::usual`] that were seen, with their values.
    pub fn hold(&self, measures: &Measures, usual: &dyn Fn(&str, f64) -> Usual) -> Held {
        hold::hold(&self.compiled, measures, usual)
    }

    /// Its value over what was seen.
    ///
    /// # Errors
    /// Why it has none: a missing key, a wrong type.
    pub fn evaluate(&self, measures: &Measures) -> Result<Value, String> {
        let usual = |name: &str, _: f64| Usual::Unknown { why: format!("what is usual for {name} is not known here") };
        let mut evaluation = evaluate::Evaluation::new(&self.compiled, measures, &usual);
        evaluation.value(&self.compiled.root).map(std::borrow::Cow::into_owned).map_err(hold::words)
    }
}

/// How many compiled expressions are remembered, at most twice this many.
const REMEMBERED: usize = 5_000;

/// What was compiled lately. A daemon reads its whole `checks.d/` again whenever a file in it changes.
static RECENT: LazyLock<Mutex<Recent>> = LazyLock::new(Mutex::default);

/// Two generations: when the young one is full it becomes the old one, and what was old and unused is forgotten.
#[derive(Default)]
struct Recent {
    young: HashMap<String, Arc<node::Compiled>>,
    old: HashMap<String, Arc<node::Compiled>>,
}

impl Recent {
    fn get(&mut self, key: &str) -> Option<Arc<node::Compiled>> {
        if let Some(compiled) = self.young.get(key) {
            return Some(Arc::clone(compiled));
        }
        let (key, compiled) = self.old.remove_entry(key)?;
        self.put(key, Arc::clone(&compiled));
        Some(compiled)
    }

    fn put(&mut self, key: String, compiled: Arc<node::Compiled>) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, compiled);
    }
}

/// All that the compiled form depends on, each part set off by a character that no name has.
fn key(text: &str, measures: &[Measure], extra: &[&str], condition: bool) -> String {
    let mut key = String::with_capacity(text.len() + 16 * (measures.len() + extra.len()) + 8);
    key.push(if condition { 'c' } else { 'v' });
    for measure in measures {
        key.push_str(measure.name);
        key.push('\u{1}');
        key.push_str(measure.kind.name());
        key.push('\u{2}');
    }
    for name in extra {
        key.push_str(name);
        key.push('\u{3}');
    }
    key.push('\0');
    key.push_str(text);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::measure::Type;

    const fn measure(name: &'static str, kind: Type) -> Measure {
        Measure { name, kind, unit: "", meaning: "" }
    }

    const MEASURES: &[Measure] = &[
        measure("status", Type::Number),
        measure("duration_seconds", Type::Number),
        measure("error_ratio", Type::Number),
        measure("requests_per_second", Type::Number),
        measure("certificate_expiry_days", Type::Number),
        measure("value", Type::Number),
        measure("lines", Type::Number),
        measure("matches", Type::Number),
        measure("connected", Type::Bool),
        measure("body", Type::Text),
        measure("headers", Type::Map),
        measure("values", Type::Map),
        measure("names", Type::List),
        measure("json", Type::Any),
    ];

    fn seen() -> Measures {
        let mut measures = Measures::new();
        let json = serde_json::json!({
            "state": "declined", "count": 3, "big": 9_007_199_254_740_993_i64, "text": "abc", "none": null, "ok": true,
            "items": [{"id": 1, "ok": true}, {"id": 2, "ok": false}], "empty": [], "nested": {"a": {"b": [1, 2.5]}},
            "price": 9.99, "and": 1, "digits": "42"
        });
        measures
            .set("status", 503_u16)
            .set("duration_seconds", 0.3)
            .set("error_ratio", 0.25)
            .set("requests_per_second", 3.1)
            .set("value", f64::NAN)
            .set("lines", 0_u32)
            .set("matches", 4_u32)
            .set("connected", true)
            .set("body", "<html>Welcome, ünï</html>")
            .set("json", Value::from(json))
            .set("names", vec!["shop".to_owned(), "www.shop".to_owned()])
            .set("cart", "c-1");
        measures
            .set("headers", Value::Map([("content-type".to_owned(), Value::from("text/html"))].into_iter().collect()));
        measures.set(
            "values",
            Value::Map(
                [("a".to_owned(), Value::Float(1.5)), ("b".to_owned(), Value::Float(f64::NAN))].into_iter().collect(),
            ),
        );
        measures
    }

    fn usual(name: &str, value: f64) -> Usual {
        match name {
            "requests_per_second" if value < 100.0 => Usual::No { usually: "usually 190 to 230".to_owned() },
            "duration_seconds" => Usual::Yes,
            _ => Usual::Unknown { why: format!("what is usual for {name} is known in 2 h") },
        }
    }

    fn hold(text: &str) -> Held {
        match Expression::condition(text, MEASURES, &["cart", "other"]) {
            Ok(expression) => expression.hold(&seen(), &usual),
            Err(refused) => panic!("{text}: {refused:?}"),
        }
    }

    #[test]
    fn what_holds_holds() {
        for text in [
            "status == 503",
            "status == 503.0",
            "status != 200",
            "status in [500, 502, 503]",
            "status >= 500 && status < 600",
            "status / 100 == 5.03",
            "status % 100 == 3",
            "-status < 0",
            "duration_seconds < 1",
            "duration_seconds < 2.0",
            "1 > duration_seconds",
            "duration_seconds * 1000 == 300.0",
            "duration_seconds + 1 > 1",
            "duration_seconds < duration(\"5m\")",
            "duration_seconds * 200 >= duration('1m')",
            "error_ratio == 0.25",
            "matches / 16 == 0.25",
            "matches / 2 == 2",
            "connected",
            "!(!connected)",
            "connected == true",
            "connected ? status == 503 : status == 200",
            "body.contains(\"Welcome\")",
            "body.startsWith('<html>') && body.endsWith('</html>')",
            "body.matches(\"ünï.*html\")",
            "matches(body, '(?i)WELCOME')",
            "size(body) == 25",
            "body.size() > 5",
            "body != \"\"",
            "headers[\"content-type\"] == \"text/html\"",
            "\"content-type\" in headers",
            "!(\"etag\" in headers)",
            "headers.size() == 1",
            "'shop' in names",
            "names[1] == 'www.shop'",
            "names.exists(n, n.startsWith('www.'))",
            "names.all(n, n.contains('shop'))",
            "names.exists_one(n, n == 'shop')",
            "names.filter(n, size(n) > 4) == ['www.shop']",
            "names.map(n, size(n)) == [4, 8]",
            "names.map(n, size(n) > 4, n) == ['www.shop']",
            "names + ['x'] == ['shop', 'www.shop', 'x']",
            "json.state == \"declined\"",
            "json[\"state\"] + '!' == 'declined!'",
            "json.count == 3 && json.count < 3.5",
            "json.big == 9007199254740993",
            "json.big != 9007199254740992",
            "json.none == null",
            "json.ok",
            "json.ok == true",
            "json.and == 1",
            "has(json.state) && !has(json.missing)",
            "json.items.exists(i, i.id == 2)",
            "!json.items.all(i, i.ok)",
            "json.items[0].id == 1",
            "json.items[1]['id'] == 2",
            "json.items.map(i, i.id) == [1, 2]",
            "json.items.filter(i, i.ok).size() == 1",
            "json.items.all(i, json.items.exists(j, j.id == i.id))",
            "json.empty.all(i, i.ok)",
            "json.nested.a.b[1] == 2.5",
            "json.nested == {'a': {'b': [1, 2.5]}}",
            "int(json.digits) == 42",
            "double(json.digits) < 42.5",
            "string(json.count) == '3'",
            "bool('true') == connected",
            "json.price > 9 && json.price < 10",
            "json.exists(key, key == 'state')",
            "cart == \"c-1\"",
            "usual(duration_seconds)",
            "!usual(requests_per_second)",
            // One side decides, whatever the other one comes to.
            "status == 503 || certificate_expiry_days > 14",
            "certificate_expiry_days > 14 || status == 503",
            "json.missing == 1 || status == 503",
            "names.exists(value, value == 'shop')",
        ] {
            assert_eq!(hold(text), Held::True, "{text}");
        }
    }

    #[test]
    fn what_is_broken_says_what_was_seen_instead() {
        for (text, actual) in [
            ("status == 200", "status is 503"),
            ("status == 200 && duration_seconds < 1", "status is 503"),
            ("status == 200 && duration_seconds < 0.1", "status is 503, duration_seconds is 0.3"),
            ("status == 200 || status == 201", "status is 503"),
            ("status < 300 || duration_seconds > matches", "status is 503, duration_seconds is 0.3, matches is 4"),
            ("!connected", "connected is true"),
            ("error_ratio < 0.01", "error_ratio is 0.25"),
            ("json.state == \"authorized\"", "json.state is \"declined\""),
            ("json[\"state\"] == 'authorized'", "json.state is \"declined\""),
            ("headers[\"content-type\"] == \"application/json\"", "headers[\"content-type\"] is \"text/html\""),
            ("headers[\"etag\"] == 'x'", "headers has no key `etag`"),
            ("json.stat == 1", "json has no key `stat`"),
            ("json.nested.x.y == 1", "json.nested has no key `x`"),
            ("json.items[5].id == 1", "json.items has no element 5: its size is 2"),
            ("has(json.missing)", "json has no key `missing`"),
            ("!has(json.state)", "json has a key `state`"),
            ("size(json.items) == 3", "size(json.items) is 2"),
            ("json.items[1].ok", "json.items[1].ok is false"),
            ("json.items.all(i, i.ok)", "json.items is [{\"id\":1,\"ok\":true},{\"id\":2,\"ok\":false}]"),
            ("json.count < 'x'", "json.count is 3 (a number) and \"x\" (text) don't compare"),
            ("json.text > 3", "json.text is \"abc\" (text) and 3 (a number) don't compare"),
            ("json.text == 3", "json.text is \"abc\""),
            ("json.count", "json.count is 3, not true or false"),
            ("json.state.deep == 1", "json.state is \"declined\", which has no members"),
            ("int(json.text) == 1", "json.text is \"abc\", not a whole number"),
            ("json.text * 2 == 1", "json.text is \"abc\", not a number"),
            ("json.count.contains('x')", "json.count is 3, not text"),
            ("body.contains(json.count)", "json.count is 3, not text"),
            ("json.count.matches('x')", "json.count is 3, not text"),
            ("usual(requests_per_second)", "requests_per_second is 3.1, usually 190 to 230"),
            ("!usual(duration_seconds)", "duration_seconds is 0.3"),
            ("cart == \"c-2\"", "cart is \"c-1\""),
            ("names == []", "names is [\"shop\",\"www.shop\"]"),
            ("status == 503 && 1 == 2", "a part of it never holds, whatever is seen"),
            ("status == 200 && 1 == 2", "status is 503, a part of it never holds, whatever is seen"),
            // False beats unknown, on either side and at any depth.
            ("certificate_expiry_days > 14 && status == 200", "status is 503"),
            (
                "(certificate_expiry_days > 14 && status == 200) || status == 201",
                "certificate_expiry_days was not seen, status is 503",
            ),
            ("certificate_expiry_days > 14 && json.missing == 1", "json has no key `missing`"),
        ] {
            assert_eq!(hold(text), Held::False { actual: actual.to_owned() }, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_says_why() {
        for (text, why) in [
            ("certificate_expiry_days > 14", "certificate_expiry_days was not seen"),
            ("!(certificate_expiry_days > 14)", "certificate_expiry_days was not seen"),
            ("certificate_expiry_days > 14 || status == 200", "certificate_expiry_days was not seen"),
            ("json.missing == 1 || certificate_expiry_days > 14", "certificate_expiry_days was not seen"),
            ("certificate_expiry_days > 14 && status == 503", "certificate_expiry_days was not seen"),
            ("other == 1", "other was not seen"),
            ("value < 1", "value is NaN"),
            ("value == 1", "value is NaN"),
            ("value != 1", "value is NaN"),
            ("values['b'] == 1", "values.b is NaN"),
            ("values.all(k, values[k] < 2)", "a number is NaN"),
            ("matches / lines < 1", "a division by zero"),
            ("status % lines == 0", "a division by zero"),
            ("json.big * json.big > 0", "a number grew too large"),
            ("usual(matches)", "what is usual for matches is known in 2 h"),
            ("usual(certificate_expiry_days)", "certificate_expiry_days was not seen"),
            ("usual(value)", "value is NaN"),
        ] {
            assert_eq!(hold(text), Held::Unknown { why: why.to_owned() }, "{text}");
        }
    }

    #[test]
    fn a_value_is_captured_or_why_not() {
        for (text, value) in [
            ("json.items[0].id", Ok(Value::Int(1))),
            ("json.price", Ok(Value::Float(9.99))),
            ("json.state + '-' + cart", Ok(Value::from("declined-c-1"))),
            (
                "json.nested.a",
                Ok(Value::Map([("b".to_owned(), Value::List(vec![Value::Int(1), Value::Float(2.5)]))].into())),
            ),
            ("status == 503", Ok(Value::Bool(true))),
            ("json.id", Err("json has no key `id`".to_owned())),
            ("other", Err("other was not seen".to_owned())),
            ("names[7]", Err("names has no element 7: its size is 2".to_owned())),
            ("usual(status)", Err("what is usual for status is not known here".to_owned())),
        ] {
            let expression = Expression::value(text, MEASURES, &["cart", "other"]).unwrap();
            assert_eq!(expression.evaluate(&seen()), value, "{text}");
        }
    }

    #[test]
    fn the_same_text_over_the_same_measures_is_compiled_once() {
        let compile = |text, measures, extra: &[&str]| Expression::value(text, measures, extra).unwrap().compiled;
        let first = compile("status == 299", MEASURES, &[]);
        assert!(Arc::ptr_eq(&first, &compile("status == 299", MEASURES, &[])));
        assert!(!Arc::ptr_eq(&first, &compile("status == 299 ", MEASURES, &[])));
        assert!(!Arc::ptr_eq(&first, &compile("status == 299", &MEASURES[..2], &[])));
        assert!(!Arc::ptr_eq(&first, &compile("status == 299", MEASURES, &["cart"])));
        let condition = Expression::condition("status == 299", MEASURES, &[]).unwrap().compiled;
        assert!(!Arc::ptr_eq(&first, &condition));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_stays() {
        let compiled = compile::compile("status == 1", MEASURES, &[], true).map(Arc::new).unwrap();
        let mut recent = Recent::default();
        recent.put("used".to_owned(), Arc::clone(&compiled));
        for at in 0..3 * REMEMBERED {
            recent.put(at.to_string(), Arc::clone(&compiled));
            assert!(recent.get("used").is_some());
        }
        assert!(recent.get("0").is_none(), "the oldest is forgotten");
        assert!(recent.young.len() + recent.old.len() <= 2 * REMEMBERED);
    }

    #[test]
    fn what_it_refers_to_is_told_without_parameters_and_captures() {
        let text = "usual(requests_per_second) && json.state == cart";
        let expression = Expression::condition(text, MEASURES, &["cart"]).unwrap();
        assert_eq!(expression.text(), text);
        assert_eq!(expression.names(), ["requests_per_second", "json"]);
        assert_eq!(expression.usual(), ["requests_per_second"]);
    }
}
