//! The kill word: what may leave, in a mapped file that anyone with the right to the state directory can set, with or
//! without a supervisor. It survives restarts.
//!
//! One word of eight bytes holds the trading state and the trading epoch, so that both change at once. Halting makes
//! the epoch grow, and a gateway sends only what was stamped in the word's epoch: nothing stamped before a halt leaves
//! after a resume.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kimera_protocol::TradingState;

use crate::mapped::MappedWords;
use crate::world;

const MAGIC: &[u8; 8] = b"KIMERAKW";
const STATE_BITS: u32 = 8;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// What may leave.
    pub state: TradingState,
    /// Grows at every halt, from 1.
    pub epoch: u64,
}

impl Word {
    fn pack(self) -> u64 {
        (self.epoch << STATE_BITS) | u64::from(self.state as u8)
    }

    /// A word with a state of no meaning is a halt: nobody knows what was meant.
    fn unpack(word: u64) -> Self {
        let state = match word & ((1 << STATE_BITS) - 1) {
            0 => TradingState::Active,
            1 => TradingState::Reducing,
            _ => TradingState::Halted,
        };
        Self { state, epoch: word >> STATE_BITS }
    }
}

/// The mapped file.
pub struct KillWord {
    backing: Backing,
}

enum Backing {
    Mapped(MappedWords),
    /// In a world: shared by whoever opens the path there.
    World {
        path: PathBuf,
        word: Arc<AtomicU64>,
    },
}

impl KillWord {
    /// Opens the file; makes it, active and in epoch 1, where there is none.
    ///
    /// # Errors
    /// Where it cannot be made, mapped, or is no kill word: it is never repaired by guessing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let initial = Word { state: TradingState::Active, epoch: 1 }.pack();
        if let Some(word) = world::with_disk(|disk, _, _| disk.word(path, initial)) {
            return Ok(Self { backing: Backing::World { path: path.to_owned(), word } });
        }
        let words = MappedWords::open(path, MAGIC, &[initial], "kill word")?;
        Ok(Self { backing: Backing::Mapped(words) })
    }

    #[inline]
    fn cell(&self) -> &AtomicU64 {
        match &self.backing {
            Backing::Mapped(words) => words.word(0),
            Backing::World { word, .. } => word,
        }
    }

    /// Puts the word on disk.
    fn flush(&self) -> io::Result<()> {
        match &self.backing {
            Backing::Mapped(words) => words.flush(),
            Backing::World { path, .. } => {
                world::with_disk(|disk, _, _| disk.sync_word(path));
                Ok(())
            }
        }
    }

    /// What it says now.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Word {
        Word::unpack(self.cell().load(Ordering::Acquire))
    }

    /// Halts: visible to every process at once, then put on disk. The epoch grows even where it was halted already.
    ///
    /// # Errors
    /// Where the disk refuses; the halt holds all the same.
    pub fn halt(&self) -> io::Result<Word> {
        let mut now = self.cell().load(Ordering::Acquire);
        loop {
            let next = Word { state: TradingState::Halted, epoch: Word::unpack(now).epoch + 1 };
            match self.cell().compare_exchange_weak(now, next.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.flush().map(|()| next),
                Err(other) => now = other,
            }
        }
    }

    /// Lets orders leave again, if nobody has halted since `epoch`: false where someone has.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn clear(&self, epoch: u64) -> io::Result<bool> {
        self.change(TradingState::Active, epoch)
    }

    /// Lets only ways out leave from here on, if nobody has halted since `epoch`: false where someone has.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn reduce(&self, epoch: u64) -> io::Result<bool> {
        if self.get().state == TradingState::Halted {
            Ok(false)
        } else {
            self.change(TradingState::Reducing, epoch)
        }
    }

    fn change(&self, state: TradingState, epoch: u64) -> io::Result<bool> {
        let now = self.cell().load(Ordering::Acquire);
        if Word::unpack(now).epoch != epoch {
            return Ok(false);
        }
        let next = Word { state, epoch };
        let swapped = self.cell().compare_exchange(now, next.pack(), Ordering::AcqRel, Ordering::Acquire);
        self.flush()?;
        Ok(swapped.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_is_seen_by_every_map_and_survives() {
        let path = std::env::temp_dir().join(format!("kimera-kill-word-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (a, b) = (KillWord::open(&path).unwrap(), KillWord::open(&path).unwrap());
        assert_eq!(b.get(), Word { state: TradingState::Active, epoch: 1 });
        assert_eq!(a.halt().unwrap(), Word { state: TradingState::Halted, epoch: 2 });
        assert_eq!(b.get(), Word { state: TradingState::Halted, epoch: 2 });
        b.halt().unwrap();
        assert!(!a.clear(2).unwrap(), "someone has halted again since");
        assert_eq!(KillWord::open(&path).unwrap().get(), Word { state: TradingState::Halted, epoch: 3 });
        assert!(!a.reduce(3).unwrap(), "a weaker word does not undo a stronger one");
        assert!(a.clear(3).unwrap() && a.reduce(3).unwrap());
        assert_eq!(b.get(), Word { state: TradingState::Reducing, epoch: 3 });
        assert!(a.clear(3).unwrap());
        assert_eq!(b.get(), Word { state: TradingState::Active, epoch: 3 });
        drop((a, b));
        for broken in [&b"KIMERAKW"[..], &[0; 16]] {
            std::fs::write(&path, broken).unwrap();
            assert!(KillWord::open(&path).err().unwrap().to_string().contains("is no kill word"));
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_state_without_meaning_is_a_halt() {
        assert_eq!(Word::unpack(0x107), Word { state: TradingState::Halted, epoch: 1 });
    }
}
