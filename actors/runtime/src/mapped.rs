//! Words in a small mapped file that processes share. It outlives all of them.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use memmap2::MmapMut;

const WORD: usize = 8;

/// A file of a magic number and some words, mapped.
pub struct MappedWords {
    map: MmapMut,
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the words are only ever accessed as `AtomicU64`s, and the map lives as long as the `MappedWords`.
unsafe impl Send for MappedWords {}
// SAFETY: as above.
unsafe impl Sync for MappedWords {}

impl MappedWords {
    /// Opens the file; makes it with `initial` words where there is none.
    ///
    /// # Errors
    /// Where it cannot be made or mapped, or is `what` not: it is never repaired by guessing.
    pub fn open(path: &Path, magic: &[u8; WORD], initial: &[u64], what: &str) -> io::Result<Self> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::make(path, magic, initial)?,
            Err(e) => return Err(e),
        };
        let broken = || {
            let text = format!("{} is no {what}; remove it only when nothing trades", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        if file.metadata()?.len() != ((initial.len() + 1) * WORD) as u64 {
            return Err(broken());
        }
        // SAFETY: the file has a fixed size and every access to its words is atomic, here and in other processes.
        let mut map = unsafe { MmapMut::map_mut(&file)? };
        if map[..WORD] != magic[..] {
            return Err(broken());
        }
        let base = NonNull::new(map.as_mut_ptr()).ok_or_else(broken)?;
        // SAFETY: the map is page aligned and holds the magic and the words: they begin inside it and are aligned.
        let words = unsafe { base.add(WORD) }.cast();
        Ok(Self { map, words, count: initial.len() })
    }

    /// Made beside its place and moved there: nobody sees half of one, and one that came first is kept.
    fn make(path: &Path, magic: &[u8; WORD], initial: &[u64]) -> io::Result<File> {
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        let mut bytes = magic.to_vec();
        initial.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        std::fs::write(&partial, bytes)?;
        File::open(&partial)?.sync_all()?;
        let linked = std::fs::hard_link(&partial, path);
        let _ = std::fs::remove_file(&partial);
        match linked {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => OpenOptions::new().read(true).write(true).open(path),
        }
    }

    /// One of the words.
    ///
    /// # Panics
    /// Where there are not so many.
    #[inline]
    #[must_use]
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count);
        // SAFETY: the index is within the words of the map, which lives as long as `self`.
        unsafe { self.words.add(index).as_ref() }
    }

    /// Puts the words on disk.
    ///
    /// # Errors
    /// Where the disk refuses; the words hold for every process all the same.
    pub fn flush(&self) -> io::Result<()> {
        self.map.flush()
    }
}
