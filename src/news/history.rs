//! What the traded market did before a run: hours made of a file's minutes, each told when it is over, those of ninety days.

use std::path::Path;

use kimera_protocol::{DAY, HOUR, MINUTE, MINUTES_MIN, Nanos, Prime};

use crate::exit::Failure;
use crate::news::lexicon::hash;
use crate::rates::{Minute, parse_minutes, read_text};

/// Older hours are told to nobody.
const REACH: Nanos = 90 * DAY;
/// What is told at a look.
const AT_A_LOOK: usize = 8;

/// The hours of a file.
#[derive(Debug)]
pub struct HistoryDesk {
    hours: Vec<Prime>,
    /// The next that is told.
    next: usize,
}

impl HistoryDesk {
    /// Reads a file of minutes as Binance's archive has them.
    ///
    /// # Errors
    /// A file that cannot be read, or is no minutes.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path)?;
        Ok(Self { hours: hours(&parse_minutes(&text, path)?, hash(&text)), next: 0 })
    }

    /// Tells what is over; `tell` says whether there was room for it.
    pub fn look(&mut self, now: Nanos, mut tell: impl FnMut(&Prime) -> bool) {
        let mut told = 0;
        while let Some(hour) = self.hours.get(self.next) {
            let ends = hour.begins.saturating_add(HOUR);
            if ends <= now.saturating_sub(REACH) {
                self.next += 1;
                continue;
            }
            if ends > now || told == AT_A_LOOK || !tell(hour) {
                return;
            }
            told += 1;
            self.next += 1;
        }
    }
}

/// Whole hours, or nearly, in order of time.
fn hours(minutes: &[Minute], source: u64) -> Vec<Prime> {
    let mut hours: Vec<Prime> = Vec::new();
    let mut before: Option<(Nanos, f64)> = None;
    for minute in minutes {
        let (time, close) = (minute.bar.time, minute.bar.close);
        let begins = time.div_euclid(HOUR).saturating_mul(HOUR);
        if hours.last().is_none_or(|hour| hour.begins != begins) {
            hours.push(Prime { begins, source, ..Prime::default() });
        }
        let Some(hour) = hours.last_mut() else { continue };
        if let Some((_, last)) = before.filter(|(at, _)| time - at == MINUTE) {
            let moved = kimera_numerics::ln(close / last);
            hour.variance += moved * moved;
            hour.minutes += 1;
        }
        hour.close = close;
        hour.volume += minute.bar.volume;
        before = Some((time, close));
    }
    hours.retain(|hour| hour.minutes >= MINUTES_MIN);
    hours
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn hours_are_told_when_they_are_over_and_only_whole_ones() {
        let folder = std::env::temp_dir().join(format!("kimera-history-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("minutes.csv");
        let mut text = String::new();
        // Five hours; of the third, twenty minutes are missing.
        for minute in (0..300).filter(|m| !(130..150).contains(m)) {
            let close = 100.0 + f64::from(minute % 2);
            writeln!(text, "{},100,101,100,{close},2.5,0,0,7,0,0,0", minute * 60_000).unwrap();
        }
        std::fs::write(&path, &text).unwrap();
        let mut desk = HistoryDesk::open(&path).unwrap();
        let told = |desk: &mut HistoryDesk, now: Nanos, room: bool| {
            let mut all = Vec::new();
            desk.look(now, |hour| {
                all.push(*hour);
                room
            });
            all
        };
        assert!(told(&mut desk, HOUR - 1, true).is_empty(), "the first is not over");
        assert_eq!(told(&mut desk, HOUR, false).len(), 1, "there was no room");
        let first = told(&mut desk, HOUR, true)[0];
        assert_eq!((first.begins, first.minutes, first.close, first.volume), (0, 59, 101.0, 150.0));
        let step = kimera_numerics::ln(1.01);
        assert_eq!(first.source, hash(&text));
        assert!((first.variance - 59.0 * step * step).abs() < 1e-12 && first.is_sensible(HOUR));
        let rest: Vec<_> = told(&mut desk, 9 * HOUR, true).iter().map(|hour| hour.begins / HOUR).collect();
        assert_eq!(rest, [1, 3, 4]);
        let mut late = HistoryDesk::open(&path).unwrap();
        let rest: Vec<_> = told(&mut late, REACH + 4 * HOUR, true).iter().map(|h| h.begins / HOUR).collect();
        assert_eq!(rest, [4], "what is older than ninety days is told to nobody");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(HistoryDesk::open(&path).is_err());
        assert!(HistoryDesk::open(&folder.join("none.csv")).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
