//! Dates as they are written: `Date` of SIP (RFC 3261 §20.17, the RFC 1123 form, always GMT) and the profile of
//! ISO 8601 that PIDF, CPIM and XMPP share (RFC 3339, XEP-0082).
//!
//! Reading is tolerant: `Z` or any offset, any number of digits of a second, `t` and `z` in lower case, a wrong day of
//! the week. What is before 1970 cannot be said in [`Wall`] and reads as nothing. Writing has one form each.

use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use crate::words::time::Wall;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Reads `2026-11-20T10:34:23.680870+00:00`, `2026-11-20T10:34:56Z`.
pub fn read_rfc3339(text: &str) -> Option<Wall> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    wall(OffsetDateTime::parse(text, &Rfc3339).ok()?)
}

/// Writes `2026-11-20T10:34:56Z`, with milliseconds where there are any.
pub fn write_rfc3339(wall: Wall) -> String {
    let when = moment(wall);
    let (hour, minute, second, milli) = when.time().as_hms_milli();
    let fraction = if milli == 0 { String::new() } else { format!(".{milli:03}") };
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z",
        when.year(),
        u8::from(when.month()),
        when.day()
    )
}

/// Reads `Sat, 13 Nov 2010 23:29:00 GMT`.
pub fn read_sip(text: &str) -> Option<Wall> {
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = text.split_ascii_whitespace();
    let day: u8 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let number = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(month))? as u8 + 1;
    let year: i32 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.splitn(3, ':').map(|part| part.parse::<u8>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // GMT is the only zone that RFC 3261 allows; its other names are understood, another zone is not guessed.
    match words.next() {
        Some("GMT" | "UTC" | "UT" | "+0000" | "Z") if words.next().is_none() => {}
        _ => return None,
    }
    let date = Date::from_calendar_date(year, Month::try_from(number).ok()?, day).ok()?;
    // A leap second counts as the second before it, as RFC 3339 readers do.
    let second = if second == 60 { 59 } else { second };
    let time = Time::from_hms(hour, minute, second).ok()?;
    wall(PrimitiveDateTime::new(date, time).assume_utc())
}

/// Writes `Sat, 13 Nov 2010 23:29:00 GMT`.
pub fn write_sip(wall: Wall) -> String {
    let when = moment(wall);
    let (hour, minute, second) = when.time().as_hms();
    format!(
        "{}, {:02} {} {:04} {hour:02}:{minute:02}:{second:02} GMT",
        DAYS[usize::from(when.weekday().number_days_from_monday())],
        when.day(),
        MONTHS[usize::from(u8::from(when.month())) - 1],
        when.year()
    )
}

fn wall(when: OffsetDateTime) -> Option<Wall> {
    u64::try_from(when.unix_timestamp_nanos() / 1_000_000).ok().map(Wall)
}

/// The calendar's view; a moment after the year 9999 is shown as its last second.
fn moment(wall: Wall) -> OffsetDateTime {
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(wall.0 / 1000).unwrap_or(LAST).min(LAST);
    OffsetDateTime::from_unix_timestamp(seconds)
        .and_then(|when| when.replace_millisecond((wall.0 % 1000) as u16))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .to_offset(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOMENT: Wall = Wall(1_795_170_896_000);

    #[test]
    fn one_moment_has_one_face_each() {
        assert_eq!(write_rfc3339(MOMENT), "2026-11-20T10:34:56Z");
        assert_eq!(write_sip(MOMENT), "Fri, 20 Nov 2026 10:34:56 GMT");
        assert_eq!(write_rfc3339(Wall(MOMENT.0 + 7)), "2026-11-20T10:34:56.007Z");
    }

    #[test]
    fn offsets_fractions_and_lower_case_are_read() {
        for text in [
            "2026-11-20T10:34:56Z",
            "2026-11-20t10:34:56z",
            "2026-11-20T12:34:56+02:00",
            "2026-11-20T10:34:56.000000-00:00",
            " 2026-11-20T10:34:56.0Z\n",
        ] {
            assert_eq!(read_rfc3339(text), Some(MOMENT), "{text}");
        }
        assert_eq!(read_rfc3339("2026-11-20T10:34:23.680870+00:00"), Some(Wall(1_795_170_863_680)));
    }

    #[test]
    fn a_sip_date_may_have_a_wrong_day_of_the_week_but_no_other_zone() {
        assert_eq!(read_sip("Fri, 20 Nov 2026 10:34:56 GMT"), Some(MOMENT));
        assert_eq!(read_sip("Mon,  20 nov 2026 10:34:56 UTC "), Some(MOMENT));
        assert_eq!(read_sip("Fri, 20 Nov 2026 10:34:56 CET"), None);
        assert_eq!(read_sip("Fri, 31 Feb 2026 10:34:56 GMT"), None);
        assert_eq!(read_sip("2026-11-20T10:34:56Z"), None);
        assert_eq!(read_sip("Fri, 20 Nov 1960 10:34:56 GMT"), None);
    }

    proptest! {
        #[test]
        fn every_moment_survives(millis in 0u64..253_402_300_800_000) {
            prop_assert_eq!(read_rfc3339(&write_rfc3339(Wall(millis))), Some(Wall(millis)));
            prop_assert_eq!(read_sip(&write_sip(Wall(millis))), Some(Wall(millis / 1000 * 1000)));
        }

        #[test]
        fn nothing_panics(text in ".*", millis: u64) {
            let _ = (read_rfc3339(&text), read_sip(&text), write_rfc3339(Wall(millis)), write_sip(Wall(millis)));
        }
    }
}
