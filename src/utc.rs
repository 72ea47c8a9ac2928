//! Dates in UTC (days to civil date after Howard Hinnant's public algorithm).

/// Year, month, day, hour, minute, second of seconds since the Unix epoch.
#[must_use]
pub fn civil(seconds: i64) -> [i64; 6] {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    [year, month, day, of_day / 3_600, of_day / 60 % 60, of_day % 60]
}

/// `YYYY-MM-DD HH:MM:SS` of Unix milliseconds.
#[must_use]
pub fn text(ms: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(i64::try_from(ms / 1_000).unwrap_or(0));
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// `YYYY-MM-DDTHH:MM:SS.ffffffZ` (RFC 3339) of Unix microseconds.
#[must_use]
pub fn stamp(us: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(i64::try_from(us / 1_000_000).unwrap_or(0));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", us % 1_000_000)
}

/// Nanoseconds since the Unix epoch of `YYYY-MM-DDTHH:MM:SS[.fraction]Z` (RFC 3339, UTC only; a blank may stand for the T).
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let bytes = whole.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' '),
        other => byte == other,
    };
    if bytes.len() != shape.len() || !bytes.iter().zip(shape).all(fits) || fraction.len() > 9 {
        return None;
    }
    let number = |from: usize, to: usize| whole.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let y = year - i64::from(month <= 2);
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    // The 31st of a month that has 30 comes back as another day.
    (civil(seconds)[2] == day).then_some(())?;
    let ns = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse::<i64>().ok()? };
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(text(0), "1970-01-01 00:00:00");
        assert_eq!(text(951_827_696_000), "2000-02-29 12:34:56");
        assert_eq!(text(1_723_161_257_999), "2024-08-08 23:54:17");
        assert_eq!(stamp(1_723_161_257_999_001), "2024-08-08T23:54:17.999001Z");
        assert_eq!(parse("2024-08-08T23:54:17.999001Z"), Some(1_723_161_257_999_001_000));
        assert_eq!(parse("2000-02-29 12:34:56Z"), Some(951_827_696_000_000_000));
        assert_eq!(parse("1969-12-31T23:59:59.5Z"), Some(-500_000_000));
        for wrong in [
            "",
            "2024-08-08",
            "2024-02-30T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-08-08T24:00:00Z",
            "2024-08-08T23:54:17",
            "2024-08-08T23:54:17.x Z",
            "é024-08-08T23:54:17Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
