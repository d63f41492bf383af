//! Times in node lists: RFC 3339 with any offset, as Go writes them, and UNIX seconds.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// Go's zero time, which stands for "never".
pub(super) const ZERO: &str = "0001-01-01T00:00:00Z";

/// A point in time, shown as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Time(SystemTime);

impl Time {
    /// The current time.
    pub(crate) fn now() -> Self {
        Self(SystemTime::now())
    }

    /// The time so many seconds after 1970 began. `None` beyond the year 9999, which RFC 3339 cannot write.
    pub(crate) fn from_unix(seconds: u64) -> Option<Self> {
        (seconds <= 253_402_300_799).then(|| Self(UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    /// Microseconds since 1970 began.
    pub(crate) fn unix_micros(self) -> i64 {
        let elapsed = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
    }

    /// The time that passed since `earlier`; zero if that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0).unwrap_or_default()
    }

    /// Reads RFC 3339; `None` for Go's zero time.
    ///
    /// # Errors
    /// If the text is no such time, or one before 1970.
    pub(crate) fn parse_go(text: &str) -> Result<Option<Self>, String> {
        if text.starts_with("0001-01-01T00:00:00") { Ok(None) } else { text.parse().map(Some) }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a time of RFC 3339");
        let (base, offset) = match text.char_indices().rev().take(6).find(|(_, c)| matches!(c, '+' | '-')) {
            Some((at, sign)) if text.contains('T') && at > 10 => (&text[..at], Some((sign, &text[at + 1..]))),
            _ => (text.strip_suffix(['Z', 'z']).ok_or_else(wrong)?, None),
        };
        let local = humantime::parse_rfc3339(&format!("{base}Z")).map_err(|_| wrong())?;
        let Some((sign, offset)) = offset else { return Ok(Self(local)) };
        let (hours, minutes) = offset.split_once(':').ok_or_else(wrong)?;
        let part = |text: &str, max: u64| {
            let number = text.parse::<u64>().ok().filter(|number| text.len() == 2 && *number <= max);
            number.ok_or_else(wrong)
        };
        let offset = Duration::from_secs(part(hours, 23)? * 3600 + part(minutes, 59)? * 60);
        let utc = if sign == '+' { local.checked_sub(offset) } else { local.checked_add(offset) };
        utc.filter(|utc| *utc >= UNIX_EPOCH).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339(self.0).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_converted_to_utc() {
        for (text, utc) in [
            ("2026-09-09T12:00:00Z", "2026-09-09T12:00:00Z"),
            ("2026-09-09T12:00:00+02:00", "2026-09-09T10:00:00Z"),
            ("2026-09-09T23:30:00-01:45", "2026-09-10T01:15:00Z"),
            ("2026-09-09T12:00:00.123456789Z", "2026-09-09T12:00:00.123456789Z"),
        ] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), utc);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "2026-09-09", "2026-09-09T12:00:00", "2026-09-09T12:00:00+0200", "2026-13-09T12:00:00Z", "x"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_zero_time_of_go_is_none() {
        assert_eq!(Time::parse_go(ZERO), Ok(None));
        assert_eq!(Time::parse_go("0001-01-01T00:00:00+00:00"), Ok(None));
        assert!(Time::parse_go("0001-01-02T00:00:00Z").is_err());
    }
}
