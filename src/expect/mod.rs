//! Expectations: CEL over a kind's measures. The only place that knows the language.

use crate::model::measure::Measure;
use crate::model::value::{Measures, Value};

/// A compiled expression. Cheap to clone; the same text over the same measures is compiled once.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
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
        let _ = (measures, extra);
        Ok(Expression { text: text.to_owned() })
    }

    /// Compiles an expression that yields a value (a journey's capture).
    ///
    /// # Errors
    /// As [`Expression::condition`].
    pub fn value(text: &str, measures: &[Measure], extra: &[&str]) -> Result<Self, Refused> {
        Expression::condition(text, measures, extra)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The measures that it refers to.
    pub fn names(&self) -> &[String] {
        &[]
    }

    /// The measures inside `usual(…)`.
    pub fn usual(&self) -> &[String] {
        &[]
    }

    /// Holds it against what was seen.
    pub fn hold(&self, measures: &Measures, usual: &dyn Fn(&str, f64) -> Usual) -> Held {
        let _ = (measures, usual);
        Held::Unknown { why: "not built".to_owned() }
    }

    /// Its value over what was seen.
    ///
    /// # Errors
    /// Why it has none: a missing key, a wrong type.
    pub fn evaluate(&self, measures: &Measures) -> Result<Value, String> {
        let _ = measures;
        Err("not built".to_owned())
    }
}
