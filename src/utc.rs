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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(text(0), "1970-01-01 00:00:00");
        assert_eq!(text(951_827_696_000), "2000-02-29 12:34:56");
        assert_eq!(text(1_723_161_257_999), "2024-08-08 23:54:17");
        assert_eq!(stamp(1_723_161_257_999_001), "2024-08-08T23:54:17.999001Z");
    }
}
