//! `kimera cep rates`: how often each detector is right, how fast, and how often it is wrong, as measured here and now.

use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use kimera_cep::rates::{Counts, MinuteBar, Outcome, Told, outcome, over_bars, quiet_days};
use kimera_cep::watch::{SECOND, WatchConfig};
use kimera_protocol::{Detector, Nanos, Phase};
use serde_json::{Value, json};

use crate::cli::{PROFILE, print};
use crate::conduct_rates;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::report::SCHEMA_VERSION;
use crate::utc;

const DAY: Nanos = 86_400 * SECOND;
/// Days of a market that what looks at times of day learns from before anything is counted.
const LEARNING: i64 = 14;
/// What no data here can show.
const NOT_MEASURABLE: [&str; 2] = [
    "pump-and-dump on real pumps: their trades are not to be had, only the hours at which they were announced",
    "flash-crash within five minutes on 2020-03-12, 2021-05-19 and 2022-11-08: those days are to be had in hours only",
];

/// Arguments of `kimera cep rates`.
#[derive(Debug, Args)]
pub struct RatesArgs {
    /// Seeds of each thing that is made to happen, 1 to 1,000.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Quiet days that false alarms are counted on, 1 to 1,000.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..=1_000))]
    days: i64,
    /// Recorded minutes, too: files as Binance's archive has them (open time, open, high, low, close, volume, …, number of trades), plain or .gz.
    #[arg(long, num_args = 1..)]
    bars: Vec<PathBuf>,
    /// Configuration with the detectors' limits.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

struct Row {
    detector: Detector,
    outcome: Outcome,
    /// False alarms of quiet days; none for those that watch our own orders.
    quiet: Option<[u64; 2]>,
}

struct File {
    path: PathBuf,
    days: f64,
    told: Vec<Told>,
    worst: Option<Worst>,
}

/// The hour in which the closing price fell the most.
struct Worst {
    begin: Nanos,
    fall: f64,
    /// Each detector's first alert in it, and its delay.
    first: Vec<(Detector, Nanos)>,
}

/// Measures, and says what was measured.
///
/// # Errors
/// A configuration that is wrong, bars that cannot be read.
pub fn run(a: &RatesArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?.detectors_config().watch;
    let files = a.bars.iter().map(|path| over_file(path, &config)).collect::<Result<Vec<_>, _>>()?;
    let quiet = quiet_days(1, LEARNING, a.days, &config);
    let rows: Vec<_> = Detector::ALL.iter().map(|d| row(*d, a, &config, &quiet)).collect();
    let text = if a.json { to_json(a, &rows, &files).to_string() } else { to_text(a, &rows, &files) };
    print(&text)?;
    Ok(Exit::Ok)
}

fn row(detector: Detector, a: &RatesArgs, config: &WatchConfig, quiet: &Counts) -> Row {
    let of_own = |outcome| Row { detector, outcome, quiet: None };
    match detector {
        Detector::Spoofing => of_own(conduct_rates::spoofing(a.seeds)),
        Detector::Layering => of_own(conduct_rates::layering(a.seeds)),
        _ => {
            let counted = quiet.get(detector as usize - 1).copied();
            Row { detector, outcome: outcome(detector, a.seeds, config), quiet: counted }
        }
    }
}

/// Of those that follow something, what was confirmed; of the others, what was seen.
fn alarms(detector: Detector, [seen, confirmed]: [u64; 2]) -> u64 {
    let follows = matches!(detector, Detector::MomentumIgnition | Detector::PumpAndDump);
    if follows { confirmed } else { seen }
}

fn over_file(path: &Path, config: &WatchConfig) -> Result<File, Failure> {
    let bars: Vec<_> = read_minutes(path)?.iter().map(|minute| minute.bar).collect();
    let told = over_bars(&bars, config);
    let worst = worst_hour(&bars, &told);
    let days = bars.last().zip(bars.first()).map_or(0.0, |(b, a)| (b.time - a.time) as f64 / DAY as f64);
    Ok(File { path: path.to_owned(), days, told, worst })
}

fn worst_hour(bars: &[MinuteBar], told: &[Told]) -> Option<Worst> {
    let falls =
        bars.windows(61).map(|hour| (hour[0].time + 60 * SECOND, 1.0 - hour[60].close / hour[0].close));
    let (begin, fall) = falls.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let first = |detector: &Detector| {
        let is_first = |(time, alert): &&Told| {
            let counts = matches!(Phase::from_code(alert.phase), Some(Phase::Seen | Phase::Begun));
            alert.detector == *detector as u64 && counts && (begin..=begin + 3_600 * SECOND).contains(time)
        };
        told.iter().find(is_first).map(|(time, _)| (*detector, time - begin))
    };
    Some(Worst { begin, fall, first: Detector::ALL.iter().filter_map(first).collect() })
}

fn count_of(file: &File, detector: Detector) -> [u64; 2] {
    let of = |wanted: &[Phase]| {
        let is_it = |(_, alert): &&Told| {
            alert.detector == detector as u64
                && Phase::from_code(alert.phase).is_some_and(|phase| wanted.contains(&phase))
        };
        file.told.iter().filter(is_it).count() as u64
    };
    [of(&[Phase::Seen, Phase::Begun]), of(&[Phase::Confirmed])]
}

/// A minute of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Minute {
    /// Prices and volume.
    pub bar: MinuteBar,
    /// Base units that takers bought; half of all where the file does not say.
    pub taker_bought: f64,
}

/// Minutes of a file, as Binance's archive has them.
///
/// # Errors
/// A file that cannot be read, rows that are no minutes or out of order, less than an hour.
pub(crate) fn read_minutes(path: &Path) -> Result<Vec<Minute>, Failure> {
    parse_minutes(&read_text(path)?, path)
}

/// The text of a file, unpacked where its name ends with `gz`.
///
/// # Errors
/// A file that cannot be read, or is no text.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::missing(format!("cannot read {}: {e}", path.display()));
    let mut bytes = std::fs::read(path).map_err(failed)?;
    if path.extension().is_some_and(|e| e == "gz") {
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).map_err(failed)?;
        bytes = text;
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::missing(format!("{} is no text: is it packed?", path.display())))
}

/// Minutes of a text; `path` is where it is from.
///
/// # Errors
/// As [`read_minutes`].
pub(crate) fn parse_minutes(text: &str, path: &Path) -> Result<Vec<Minute>, Failure> {
    let mut minutes: Vec<Minute> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if number == 1 && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue; // names of the columns
        }
        let wrong = |what: &str| Failure::missing(format!("{}:{number}: {what}", path.display()));
        let minute = parse_minute(line)
            .ok_or_else(|| wrong("no minute: eleven columns or more, numbers in the first nine"))?;
        if minutes.last().is_some_and(|last| minute.bar.time <= last.bar.time) {
            return Err(wrong("it is not later than the one before"));
        }
        minutes.push(minute);
    }
    if minutes.len() < 61 {
        return Err(Failure::missing(format!("{} has less than an hour of minutes", path.display())));
    }
    Ok(minutes)
}

fn parse_minute(line: &str) -> Option<Minute> {
    let columns: Vec<_> = line.split(',').collect();
    let number = |i: usize| columns.get(i)?.trim().parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0);
    let open_time = columns.first()?.trim().parse::<i64>().ok()?;
    // The archive has been in ms, and is in µs for spot since 2025.
    let scale = if open_time > 100_000_000_000_000 { 1_000 } else { 1_000_000 };
    let close = number(4).filter(|close| *close > 0.0)?;
    let (volume, trades) = (number(5)?, number(8)? as u64);
    let bar = MinuteBar { time: open_time.checked_mul(scale)?, high: number(2)?, close, volume, trades };
    Some(Minute { bar, taker_bought: number(9).unwrap_or(0.5 * volume) })
}

fn seconds(delay: Nanos) -> String {
    let seconds = delay as f64 / SECOND as f64;
    if seconds < 120.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) }
}

fn to_text(a: &RatesArgs, rows: &[Row], files: &[File]) -> String {
    let mut text = format!(
        "{:<18} {:>9} {:>10} {:>14} {:>18}\n",
        "detector", "found", "delay p50", "near misses", "false a quiet day"
    );
    for row in rows {
        let o = &row.outcome;
        let delay = o.median_delay().map_or_else(|| "-".into(), seconds);
        let quiet = row.quiet.map_or_else(
            || "-".into(),
            |counted| format!("{:.1}", alarms(row.detector, counted) as f64 / a.days as f64),
        );
        let _ = writeln!(
            text,
            "{:<18} {:>9} {:>10} {:>14} {:>18}",
            row.detector.name(),
            format!("{}/{}", o.found, o.positives),
            delay,
            format!("{}/{}", o.mistaken, o.near_misses),
            quiet
        );
    }
    let _ = writeln!(
        text,
        "{} seeds each, {} quiet days (washed sizes are looked at only where they are made to happen)",
        a.seeds, a.days
    );
    for file in files {
        let _ = writeln!(text, "\n{}: {:.1} days of minutes", file.path.display(), file.days);
        for detector in Detector::ALL {
            let counted = count_of(file, detector);
            if counted != [0, 0] {
                let a_day = counted[0] as f64 / file.days.max(1e-9);
                let _ = writeln!(
                    text,
                    "  {:<18} {:>6} alerts, {a_day:.2} a day, {} confirmed",
                    detector.name(),
                    counted[0],
                    counted[1]
                );
            }
        }
        if let Some(worst) = &file.worst {
            let first: Vec<_> =
                worst.first.iter().map(|(d, delay)| format!("{} {}", d.name(), seconds(*delay))).collect();
            let _ = writeln!(
                text,
                "  worst hour from {}: {:.1} %; first alerts behind its beginning: {}",
                utc::stamp((worst.begin / 1_000).unsigned_abs()),
                -100.0 * worst.fall,
                if first.is_empty() { "none".into() } else { first.join(", ") }
            );
        }
    }
    for what in NOT_MEASURABLE {
        let _ = writeln!(text, "not measurable here: {what}");
    }
    text.trim_end().to_owned()
}

fn to_json(a: &RatesArgs, rows: &[Row], files: &[File]) -> Value {
    let row = |row: &Row| {
        let o = &row.outcome;
        let quiet = row.quiet.map(|counted| alarms(row.detector, counted) as f64 / a.days as f64);
        json!({
            "detector": row.detector.name(), "positives": o.positives, "found": o.found,
            "delay_p50_ns": o.median_delay(), "near_misses": o.near_misses, "mistaken": o.mistaken,
            "false_a_quiet_day": quiet,
        })
    };
    let file = |file: &File| {
        let counted = |d: &Detector| json!({"detector": d.name(), "alerts": count_of(file, *d)[0], "confirmed": count_of(file, *d)[1]});
        let worst = file.worst.as_ref().map(|w| {
            let first = w.first.iter().map(|(d, delay)| json!({"detector": d.name(), "delay_ns": delay}));
            json!({"begin": w.begin, "fall": w.fall, "first": first.collect::<Vec<_>>()})
        });
        json!({
            "path": file.path, "days": file.days, "worst_hour": worst,
            "detectors": Detector::ALL.iter().map(counted).collect::<Vec<_>>(),
        })
    };
    json!({
        "schema_version": SCHEMA_VERSION, "seeds": a.seeds, "days": a.days,
        "detectors": rows.iter().map(row).collect::<Vec<_>>(),
        "bars": files.iter().map(file).collect::<Vec<_>>(),
        "not_measurable": NOT_MEASURABLE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_the_archive_is_read_and_nonsense_is_not() {
        let line = "1769904000000,10.06,10.07,10.05,10.065,1234.5,1769904059999,12424.1,321,600.1,6040.2,0";
        let Minute { bar, taker_bought } = parse_minute(line).unwrap();
        assert!((taker_bought - 600.1).abs() < 1e-12);
        assert_eq!((bar.time, bar.trades), (1_769_904_000_000_000_000, 321));
        assert!((bar.close - 10.065).abs() < 1e-12 && (bar.volume - 1_234.5).abs() < 1e-12);
        assert_eq!(
            parse_minute(&line.replace("1769904000000", "1769904000000000")).unwrap().bar.time,
            bar.time,
            "µs"
        );
        for wrong in
            ["", "1,2,3", "x,1,1,1,1,1,1,1,1", &line.replace("10.065", "0"), &line.replace("1234.5", "nan")]
        {
            assert!(parse_minute(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn every_member_of_a_packed_file_is_read() {
        use std::io::Write;
        let line = |m: i64| format!("{},1,1,1,1,1,0,0,1,0,0,0\n", m * 60_000);
        let packed = |minutes: std::ops::Range<i64>| {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(minutes.map(line).collect::<String>().as_bytes()).unwrap();
            to.finish().unwrap()
        };
        let path = std::env::temp_dir().join(format!("kimera-minutes-{}.csv.gz", std::process::id()));
        std::fs::write(&path, [packed(0..70), packed(70..100)].concat()).unwrap();
        let minutes = read_minutes(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(minutes.len(), 100);
    }
}
