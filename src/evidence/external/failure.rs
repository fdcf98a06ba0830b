//! What a failed exchange with a service is: a fault that customers see as well, or our own blindness.

use crate::model::measure::{Measure, Type};
use crate::model::observation::Observation;
use crate::model::value::Measures;
use crate::net::http::{Failure, Reason, Timings};

/// The observation of a failure; `measures` are those up to there.
pub(super) fn observation(failure: &Failure, measures: Measures) -> Observation {
    let what = failure.what.clone();
    let seen = match failure.reason {
        Reason::Service | Reason::Timeout => Observation::failed(failure.phase, what),
        Reason::Guard | Reason::Ours => Observation::blind(failure.unknown, what),
    };
    seen.measures(measures).took(failure.timings.total)
}

/// The phases that were reached.
pub(in crate::evidence) fn phases(timings: &Timings, measures: &mut Measures) {
    for (name, time) in [
        ("resolve_seconds", timings.resolve),
        ("connect_seconds", timings.connect),
        ("tls_seconds", timings.tls),
        ("first_byte_seconds", timings.first_byte),
    ] {
        if let Some(time) = time {
            measures.set(name, time.as_secs_f64());
        }
    }
}

/// A line of a kind's documentation.
pub(super) const fn measure(name: &'static str, kind: Type, unit: &'static str, meaning: &'static str) -> Measure {
    Measure { name, kind, unit, meaning }
}
