//! Times as people type them: `09:00`, `yesterday 14:00`, `15m`, RFC 3339.

use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp, Zoned};

/// Reads a time. A bare `09:00` is today's in the local zone (yesterday's where that lies ahead); `15m` is that long ago.
///
/// # Errors
/// Says which forms there are.
pub fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if text == "now" {
        return Ok(now.timestamp());
    }
    if let Ok(ago) = crate::model::units::parse_duration(text.strip_suffix(" ago").unwrap_or(text)) {
        let ago = SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
        return now.timestamp().checked_sub(ago).map_err(|error| error.to_string());
    }
    let (days_back, clock) = match text.split_once(' ') {
        Some(("yesterday", clock)) => (Some(1), clock),
        Some(("today", clock)) => (Some(0), clock),
        _ => (None, text),
    };
    // A whole date and time would be read as its time alone, and a lone number as an hour.
    let clock = if text.contains('-') || !text.contains(':') { "" } else { clock };
    if let Ok(time) = clock.trim().parse::<Time>().or_else(|_| Time::strptime("%H:%M", clock.trim())) {
        let day = |back: i64| {
            now.date()
                .checked_sub(jiff::Span::new().days(back))
                .map_err(|error| error.to_string())?
                .to_datetime(time)
                .to_zoned(now.time_zone().clone())
                .map(|at| at.timestamp())
                .map_err(|error| error.to_string())
        };
        return match days_back {
            Some(back) => day(back),
            // In the small hours "since 23:50" means yesterday's.
            None => day(0).and_then(|at| if at > now.timestamp() { day(1) } else { Ok(at) }),
        };
    }
    let civil =
        text.parse::<jiff::civil::DateTime>().or_else(|_| jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M", text));
    if let Ok(civil) = civil {
        return civil.to_zoned(now.time_zone().clone()).map(|at| at.timestamp()).map_err(|error| error.to_string());
    }
    Err(format!("not a time: `{text}` (09:00, \"yesterday 14:00\", 15m, 2026-11-22T09:00:00Z)"))
}

/// Reads the end of a span that began at `since`: a bare `14:20` is the first one after that.
///
/// # Errors
/// As [`parse`].
pub fn until(text: &str, since: Option<Timestamp>, now: &Zoned) -> Result<Timestamp, String> {
    let at = parse(text, now)?;
    let bare = text.contains(':') && !text.contains(['-', ' ']) && text.trim().parse::<Timestamp>().is_err();
    let Some(since) = since.filter(|_| bare) else { return Ok(at) };
    let began = since.to_zoned(now.time_zone().clone());
    let time = at.to_zoned(now.time_zone().clone()).time();
    let on = |date: jiff::civil::Date| {
        let zoned = date.to_datetime(time).to_zoned(now.time_zone().clone());
        zoned.map(|at| at.timestamp()).map_err(|error| error.to_string())
    };
    let same_day = on(began.date())?;
    if same_day >= since { Ok(same_day) } else { on(began.date().tomorrow().map_err(|error| error.to_string())?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_after_it_began() {
        let now: Zoned = "2026-11-22T10:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (since, text, expected) in [
            (Some("2026-11-21T13:00:00Z"), "14:20", "2026-11-21T13:20:00Z"),
            (Some("2026-11-20T22:30:00Z"), "00:30", "2026-11-20T23:30:00Z"),
            (Some("2026-11-21T13:00:00Z"), "today 08:00", "2026-11-22T07:00:00Z"),
            (Some("2026-11-21T13:00:00Z"), "10m", "2026-11-22T08:50:00Z"),
            (Some("2026-11-21T13:00:00Z"), "2026-11-21T14:20:00Z", "2026-11-21T14:20:00Z"),
            (None, "09:30", "2026-11-22T08:30:00Z"),
        ] {
            let since = since.map(|since| since.parse().unwrap());
            assert_eq!(until(text, since, &now).map(|at| at.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_people_type_them() {
        let now: Zoned = "2026-11-22T10:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, expected) in [
            ("09:00", "2026-11-22T08:00:00Z"),
            ("23:50", "2026-11-21T22:50:00Z"),
            ("yesterday 14:00", "2026-11-21T13:00:00Z"),
            ("today 09:30:15", "2026-11-22T08:30:15Z"),
            ("15m", "2026-11-22T08:45:00Z"),
            ("2h ago", "2026-11-22T07:00:00Z"),
            ("2026-11-22T09:00:00Z", "2026-11-22T09:00:00Z"),
            ("2026-11-20 08:30", "2026-11-20T07:30:00Z"),
            ("now", "2026-11-22T09:00:00Z"),
        ] {
            assert_eq!(parse(text, &now).map(|at| at.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in ["", "noon", "25:00", "15"] {
            assert!(parse(text, &now).unwrap_err().contains("not a time"), "{text}");
        }
    }
}
