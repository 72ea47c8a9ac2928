//! A pulse: a process says that it is alive, in a mapped file that others look at without asking it.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::mapped::MappedWords;

const MAGIC: &[u8; 8] = b"KIMERAPU";
const PROCESS: usize = 0;
const BEAT: usize = 1;

/// The mapped file: who beats, and when it did last.
pub struct Pulse(MappedWords);

impl Pulse {
    /// Opens the file, makes it where there is none.
    ///
    /// # Errors
    /// Where it cannot be made or mapped, or is no pulse.
    pub fn open(path: &Path) -> io::Result<Self> {
        MappedWords::open(path, MAGIC, &[0, 0], "pulse").map(Self)
    }

    /// This process is alive.
    #[inline]
    pub fn beat(&self) {
        self.0.word(BEAT).store(monotonic_ns(), Ordering::Release);
        self.0.word(PROCESS).store(u64::from(std::process::id()), Ordering::Release);
    }

    /// This process has ended in order: nobody is to take it for dead.
    pub fn rest(&self) {
        self.0.word(BEAT).store(0, Ordering::Release);
    }

    fn beaten_at(&self) -> u64 {
        self.0.word(BEAT).load(Ordering::Acquire)
    }

    /// The process that beat last; 0 for nobody.
    #[must_use]
    pub fn process(&self) -> u32 {
        u32::try_from(self.0.word(PROCESS).load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Since when there was no beat. None where nobody has begun, or who had has ended in order; a beat from before the
    /// machine's last start is as old as can be.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let beat = self.beaten_at();
        let now = monotonic_ns();
        (beat > 0).then(|| now.checked_sub(beat).map_or(Duration::MAX, Duration::from_nanos))
    }
}

/// Between two looks no more than this is counted.
const STEP: Duration = Duration::from_millis(250);

/// Listens to a pulse and counts its silence in time in which it has listened. Who was away himself, because the machine was
/// paused or its disk stood still, knows nothing of that time: the others get the chance to say that they are back.
pub struct Listener {
    pulse: Pulse,
    /// When it looked last, and the beat that it saw.
    looked: u64,
    beat: u64,
    /// Silence since then, ns.
    counted: u64,
}

impl Listener {
    /// One that takes the silence from before for what it is. It counts from now on, and is to look more often than
    /// four times in a second.
    #[must_use]
    pub fn new(pulse: Pulse) -> Self {
        let counted = pulse.silence().map_or(0, as_ns);
        let beat = pulse.beaten_at();
        Self { pulse, looked: monotonic_ns(), beat, counted }
    }

    /// How long there was no beat while it listened. None where nobody has begun, or who had has ended in order.
    pub fn silence(&mut self) -> Option<Duration> {
        let (now, beat) = (monotonic_ns(), self.pulse.beaten_at());
        let step = now.saturating_sub(std::mem::replace(&mut self.looked, now)).min(as_ns(STEP));
        let before = std::mem::replace(&mut self.beat, beat);
        self.counted = match beat == before {
            true => self.counted.saturating_add(step),
            false => self.pulse.silence().map_or(0, as_ns).min(step),
        };
        (beat > 0).then(|| Duration::from_nanos(self.counted))
    }

    /// The process that beat last; 0 for nobody.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.pulse.process()
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;

    #[test]
    fn who_was_away_himself_counts_what_he_has_heard() {
        let path = std::env::temp_dir().join(format!("kimera-listener-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let _entered = world::enter(1);
        let ms = Duration::from_millis;
        let mine = Pulse::open(&path).unwrap();
        let mut heard = Listener::new(Pulse::open(&path).unwrap());
        assert_eq!(heard.silence(), None, "nobody has begun");
        mine.beat();
        assert!(heard.silence().is_some_and(|s| s < ms(1)));
        for expected in [200, 400, 600, 800] {
            world::skip(ms(200));
            let found = heard.silence().unwrap();
            assert!(found >= ms(expected) && found < ms(expected + 1), "{found:?}");
        }
        // Both are away for a minute: the one that is back first does not take the other for dead.
        mine.beat();
        assert!(heard.silence().is_some_and(|s| s < ms(1)));
        world::skip(ms(60_000));
        let found = heard.silence().unwrap();
        assert!(found >= STEP && found < STEP + ms(1), "{found:?}");
        assert!(mine.silence().unwrap() >= ms(60_000));
        // Who listens first to one that has fallen long ago knows it at once.
        assert!(Listener::new(Pulse::open(&path).unwrap()).silence().unwrap() >= ms(60_000));
        mine.rest();
        assert_eq!(heard.silence(), None);
        mine.beat();
        assert!(heard.silence().is_some_and(|s| s <= STEP));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn who_looks_sees_who_beats_and_who_has_ended() {
        let path = std::env::temp_dir().join(format!("kimera-pulse-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (mine, seen) = (Pulse::open(&path).unwrap(), Pulse::open(&path).unwrap());
        assert_eq!((seen.silence(), seen.process()), (None, 0));
        mine.beat();
        assert_eq!(seen.process(), std::process::id());
        assert!(seen.silence().is_some_and(|s| s < Duration::from_secs(600)));
        // From before the machine was started: its clock was further than ours is.
        seen.0.word(BEAT).store(u64::MAX, Ordering::Release);
        assert_eq!(seen.silence(), Some(Duration::MAX));
        mine.rest();
        assert_eq!(seen.silence(), None);
        std::fs::write(&path, b"something").unwrap();
        assert!(Pulse::open(&path).err().unwrap().to_string().contains("is no pulse"));
        std::fs::remove_file(&path).unwrap();
    }
}
