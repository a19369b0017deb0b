//! Values as they are typed: times, names, patterns.

use std::{str::FromStr, time::Duration};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::super::suggest::nearest;
use crate::model::Cause;

/// One value of an enum, by these names.
pub(super) fn one_of<T>(
    names: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

/// A cause by its name, or an errno by its.
pub(super) fn cause(text: &str) -> Result<Cause, String> {
    let name = text.to_lowercase();
    Cause::of_name(&name).ok_or_else(|| {
        let like = nearest(&name, Cause::NAMED.map(Cause::name));
        let like = like.map_or(String::new(), |like| format!("; did you mean {like}?"));
        format!("no such cause{like} (`fdtrace why` lists them)")
    })
}

/// `2m`, `1.5s`, `500ms`, or a number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    /// A century or so: a deadline this far off can still be told from now.
    const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);
    const UNITS: [(&str, f64); 6] = [
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let unit = UNITS
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, unit) = unit.unwrap_or((text, &1.0));
    let number: f64 = number
        .trim_end()
        .parse()
        .map_err(|_| "not a time, such as 10s, 500ms or 2m".to_owned())?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(limit) if !limit.is_zero() && limit <= LONGEST => Ok(limit),
        _ => Err("not a time that can pass".to_owned()),
    }
}

/// A moment of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) enum Moment {
    /// So long after the trace began.
    After(Duration),
    /// A time of day, as the trace shows it, from midnight.
    OfDay(Duration),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(after) = text.strip_prefix('+') {
            return duration(after).map(Self::After);
        }
        let wrong = || "neither a time of day, such as 14:03:22.5, nor one after the beginning, such as +10s";
        let mut seconds = 0.0;
        let parts: Vec<&str> = text.split(':').collect();
        if !(2..=3).contains(&parts.len()) {
            return Err(wrong().to_owned());
        }
        for (part, (unit, most)) in parts
            .iter()
            .zip([(3600.0, 24.0), (60.0, 60.0), (1.0, 60.0)])
        {
            let number: f64 = part.parse().map_err(|_| wrong().to_owned())?;
            if !(0.0..most).contains(&number) {
                return Err(wrong().to_owned());
            }
            seconds += number * unit;
        }
        Ok(Self::OfDay(Duration::from_secs_f64(seconds)))
    }
}

impl Moment {
    /// The same in CLOCK_MONOTONIC of a trace that began at `t_ns`, which was `local_ns` since 1970 in
    /// its local time. Of all days it is the one on which it is nearest to that.
    pub(in crate::cli) fn monotonic_ns(self, t_ns: u64, local_ns: i128) -> u64 {
        const DAY_NS: i128 = 86_400_000_000_000;
        let after_ns = match self {
            Self::After(after) => after.as_nanos() as i128,
            Self::OfDay(of_day) => {
                let after_ns = of_day.as_nanos() as i128 - local_ns.rem_euclid(DAY_NS);
                (after_ns + DAY_NS / 2).rem_euclid(DAY_NS) - DAY_NS / 2
            }
        };
        u64::try_from((i128::from(t_ns) + after_ns).max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [
            ("2m", 120_000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("3", 3000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "m", "2x", "-1s", "0", "nan", "1e99h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_one_nearest_to_the_beginning() {
        const S: u64 = 1_000_000_000;
        // The trace began at 23:59:50, 100 s after boot.
        let begin = i128::from(86_390 * S);
        for (text, expected) in [
            ("23:59:55", 105 * S),
            ("00:00:10", 120 * S),
            ("23:59", 50 * S),
            ("+500ms", 100 * S + S / 2),
        ] {
            let moment: Moment = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(moment.monotonic_ns(100 * S, begin), expected, "{text}");
        }
        for text in ["25:00", "12", "12:61", "noon", "1:2:3:4"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
