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

    /// The process that beat last; 0 for nobody.
    #[must_use]
    pub fn process(&self) -> u32 {
        u32::try_from(self.0.word(PROCESS).load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Since when there was no beat. None where nobody has begun, or who had has ended in order; a beat from before the
    /// machine's last start is as old as can be.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let beat = self.0.word(BEAT).load(Ordering::Acquire);
        let now = monotonic_ns();
        (beat > 0).then(|| now.checked_sub(beat).map_or(Duration::MAX, Duration::from_nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
