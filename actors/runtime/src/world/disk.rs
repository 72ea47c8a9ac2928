//! A disk that knows what is written and what is synced. A killed process loses nothing that was written; a power failure
//! keeps what was synced, and of the rest any subset of sectors, and of each folder's changes any prefix.
//!
//! Folders themselves are made durably; a file's name is durable only once its folder was synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ProcessId, Random};

/// What a disk writes at once or not at all.
pub const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// What is written and not synced, in order.
    pending: Vec<Change>,
    /// The name it was made under: whose disk it lies on.
    home: PathBuf,
}

fn put(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if data.len() < at + bytes.len() {
        data.resize(at + bytes.len(), 0);
    }
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Inode {
    fn change(&mut self, change: Change) {
        match &change {
            Change::Write { at, bytes } => put(&mut self.data, *at, bytes),
            Change::Length(length) => self.data.resize(*length, 0),
        }
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } => put(&mut self.durable, at, &bytes),
                Change::Length(length) => self.durable.resize(length, 0),
            }
        }
    }

    /// The pieces of what is pending that a disk writes whole: each may have happened or not.
    fn pieces(&self) -> Vec<Change> {
        let mut pieces = Vec::new();
        for change in &self.pending {
            let Change::Write { at, bytes } = change else {
                pieces.push(change.clone());
                continue;
            };
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                pieces.push(Change::Write { at: at + from, bytes: bytes[from..to].to_vec() });
                from = to;
            }
        }
        pieces
    }

    fn with_pieces(&self, pieces: &[Change], happened: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut data = self.durable.clone();
        for (i, piece) in pieces.iter().enumerate().filter(|(i, _)| happened(*i)) {
            let _ = i;
            match piece {
                Change::Write { at, bytes } => put(&mut data, *at, bytes),
                Change::Length(length) => data.resize(*length, 0),
            }
        }
        data
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
}

/// A kill word in a world: everyone who opens the path shares it.
struct SharedWord {
    value: Arc<AtomicU64>,
    durable: u64,
}

/// The disk.
pub struct Disk {
    random: Random,
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names that are not synced, in order.
    pending: Vec<NameChange>,
    folders: BTreeSet<PathBuf>,
    locks: BTreeMap<u64, ProcessId>,
    words: BTreeMap<PathBuf, SharedWord>,
    /// Times at which writes become durable.
    due: BTreeSet<u64>,
    /// Of what lies under it nothing can grow.
    full: Option<PathBuf>,
    /// Under which the next syncs fail, and how many.
    failing_syncs: (PathBuf, u32),
    slow_until: u64,
    stopped_until: u64,
    writes: u64,
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl Disk {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            inodes: BTreeMap::new(),
            next: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            folders: BTreeSet::new(),
            locks: BTreeMap::new(),
            words: BTreeMap::new(),
            due: BTreeSet::new(),
            full: None,
            failing_syncs: (PathBuf::new(), 0),
            slow_until: 0,
            stopped_until: 0,
            writes: 0,
        }
    }

    /// Writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// The file of a name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| not_found(path))
    }

    /// Makes a file; one that is there is emptied, or refused where it has to be new.
    ///
    /// # Errors
    /// Where it is there and has to be new; a full disk.
    pub fn create(&mut self, path: &Path, new: bool) -> io::Result<u64> {
        if let Some(&inode) = self.names.get(path) {
            if new {
                return Err(ErrorKind::AlreadyExists.into());
            }
            self.set_length(inode, 0)?;
            return Ok(inode);
        }
        if self.is_full(path) {
            return Err(no_space());
        }
        let inode = self.next;
        self.next += 1;
        self.inodes.insert(inode, Inode { home: path.to_owned(), ..Inode::default() });
        self.link(path, inode);
        Ok(inode)
    }

    fn link(&mut self, path: &Path, inode: u64) {
        self.names.insert(path.to_owned(), inode);
        self.pending.push(NameChange::Link(path.to_owned(), inode));
    }

    /// Moves a name, over another where there is one.
    ///
    /// # Errors
    /// Where there is none to move.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.open(from)?;
        self.names.remove(from);
        self.link(to, inode);
        self.pending.push(NameChange::Unlink(from.to_owned()));
        Ok(())
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// Where there is none.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.open(path)?;
        self.names.remove(path);
        self.pending.push(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    /// Takes a folder and everything in it away.
    pub fn remove_folder(&mut self, folder: &Path) {
        let gone: Vec<PathBuf> = self.names.keys().filter(|p| p.starts_with(folder)).cloned().collect();
        for path in gone {
            let _ = self.remove(&path);
        }
        self.folders.retain(|f| !f.starts_with(folder));
    }

    /// Makes a folder.
    pub fn make_folder(&mut self, folder: &Path) {
        self.folders.insert(folder.to_owned());
    }

    /// Names in a folder.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn names_in(&self, folder: &Path) -> io::Result<Vec<String>> {
        if !self.folders.contains(folder) {
            return Err(not_found(folder));
        }
        let here = self.names.keys().filter(|p| p.parent() == Some(folder));
        Ok(here.filter_map(|p| Some(p.file_name()?.to_str()?.to_owned())).collect())
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }

    /// Everything in a file.
    ///
    /// # Errors
    /// Where there is none.
    pub fn read(&mut self, inode: u64) -> io::Result<Vec<u8>> {
        Ok(self.inode(inode)?.data.clone())
    }

    /// Bytes of a file.
    ///
    /// # Errors
    /// Where there is none.
    pub fn length(&mut self, inode: u64) -> io::Result<usize> {
        Ok(self.inode(inode)?.data.len())
    }

    /// Writes into a file.
    ///
    /// # Errors
    /// A full disk, where the file has to grow.
    pub fn write_at(&mut self, inode: u64, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        let full = self.is_full_for(inode);
        let file = self.inode(inode)?;
        if full && at + bytes.len() > file.data.len() {
            return Err(no_space());
        }
        file.change(Change::Write { at, bytes: bytes.to_vec() });
        Ok(())
    }

    /// Cuts or extends a file.
    ///
    /// # Errors
    /// A full disk, where the file has to grow.
    pub fn set_length(&mut self, inode: u64, length: usize) -> io::Result<()> {
        let full = self.is_full_for(inode);
        let file = self.inode(inode)?;
        if full && length > file.data.len() {
            return Err(no_space());
        }
        file.change(Change::Length(length));
        Ok(())
    }

    /// Everything written into a file is durable.
    ///
    /// # Errors
    /// A disk that fails: then nobody knows what is durable.
    pub fn sync(&mut self, inode: u64) -> io::Result<()> {
        let home = self.inodes.get(&inode).map(|i| i.home.clone()).unwrap_or_default();
        if self.failing_syncs.1 > 0 && home.starts_with(&self.failing_syncs.0) {
            self.failing_syncs.1 -= 1;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.inode(inode)?.sync();
        Ok(())
    }

    /// The names of a folder are durable.
    pub fn sync_folder(&mut self, folder: &Path) {
        let here = |change: &NameChange| match change {
            NameChange::Link(path, _) | NameChange::Unlink(path) => path.parent() == Some(folder),
        };
        let (synced, rest) = std::mem::take(&mut self.pending).into_iter().partition(here);
        self.pending = rest;
        for change in synced {
            self.make_durable(change);
        }
    }

    fn make_durable(&mut self, change: NameChange) {
        match change {
            NameChange::Link(path, inode) => drop(self.durable_names.insert(path, inode)),
            NameChange::Unlink(path) => drop(self.durable_names.remove(&path)),
        }
    }

    /// Locks a file; false where another process has.
    pub fn lock(&mut self, inode: u64, process: ProcessId) -> bool {
        *self.locks.entry(inode).or_insert(process) == process
    }

    /// Lets a lock go.
    pub fn unlock(&mut self, inode: u64, process: ProcessId) {
        if self.locks.get(&inode) == Some(&process) {
            self.locks.remove(&inode);
        }
    }

    pub(super) fn end_process(&mut self, process: ProcessId) {
        self.locks.retain(|_, owner| *owner != process);
    }

    /// The kill word of a path; one that begins with `initial` where there is none.
    pub fn word(&mut self, path: &Path, initial: u64) -> Arc<AtomicU64> {
        let word = self.words.entry(path.to_owned());
        let fresh = || SharedWord { value: Arc::new(AtomicU64::new(initial)), durable: initial };
        word.or_insert_with(fresh).value.clone()
    }

    /// The kill word of a path is on disk as it is.
    pub fn sync_word(&mut self, path: &Path) {
        if let Some(word) = self.words.get_mut(path) {
            word.durable = word.value.load(Ordering::Acquire);
        }
    }

    /// A block is handed to the disk now; when it is durable.
    pub fn submit(&mut self, now: u64) -> u64 {
        let (low, high) = if now < self.slow_until { (5_000_000, 40_000_000) } else { (60_000, 900_000) };
        let due = now.max(self.stopped_until) + self.random.within(low, high);
        self.due.insert(due);
        due
    }

    /// What a block that was on its way when its process died has left: nothing, all of it, or its first part.
    pub fn abandon(&mut self, inode: u64, at: usize, bytes: &[u8]) {
        let length = match self.random.below(3) {
            0 => 0,
            1 => bytes.len(),
            _ => self.random.below(bytes.len() as u64 + 1) as usize / SECTOR * SECTOR,
        };
        if length > 0 {
            let _ = self.write_at(inode, at, &bytes[..length]);
        }
    }

    pub(super) fn next_due(&mut self, now: u64) -> Option<u64> {
        self.due.retain(|d| *d > now);
        self.due.first().copied()
    }

    /// Nothing under `root` can grow any more; none: everything can again.
    pub fn set_full(&mut self, root: Option<&Path>) {
        self.full = root.map(Path::to_owned);
    }

    fn is_full(&self, path: &Path) -> bool {
        self.full.as_ref().is_some_and(|root| path.starts_with(root))
    }

    fn is_full_for(&self, inode: u64) -> bool {
        self.inodes.get(&inode).is_some_and(|i| self.is_full(&i.home))
    }

    /// The next syncs of files under `root` fail.
    pub fn fail_syncs(&mut self, root: &Path, syncs: u32) {
        self.failing_syncs = (root.to_owned(), syncs);
    }

    /// Blocks take long until then.
    pub fn slow(&mut self, until: u64) {
        self.slow_until = until;
    }

    /// Nothing that is handed to the disk becomes durable before then.
    pub fn stop(&mut self, until: u64) {
        self.stopped_until = until;
    }

    /// Damages a byte, as a disk does that lies; false where there is none at that place.
    pub fn flip(&mut self, path: &Path, at: usize) -> bool {
        let Some(file) = self.names.get(path).and_then(|i| self.inodes.get_mut(i)) else { return false };
        let Some(byte) = file.data.get_mut(at) else { return false };
        *byte ^= 1;
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= 1;
        }
        true
    }

    /// Every content a file may have after a power failure, where those are at most `limit`.
    #[must_use]
    pub fn crash_states(&self, path: &Path, limit: usize) -> Option<Vec<Vec<u8>>> {
        let file = self.names.get(path).and_then(|i| self.inodes.get(i))?;
        let pieces = file.pieces();
        let count = 1usize.checked_shl(pieces.len() as u32).filter(|n| *n <= limit)?;
        Some((0..count).map(|set| file.with_pieces(&pieces, |i| set >> i & 1 == 1)).collect())
    }

    /// The power fails for what lies under `root`: of what was not synced any legal part is left.
    pub fn power_failure(&mut self, root: &Path) {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| match change {
                NameChange::Link(path, _) | NameChange::Unlink(path) => path.starts_with(root),
            });
        self.pending = elsewhere;
        let kept = self.random.below(here.len() as u64 + 1) as usize;
        for change in here.into_iter().take(kept) {
            self.make_durable(change);
        }
        self.names.retain(|path, _| !path.starts_with(root));
        let durable = self.durable_names.iter().filter(|(path, _)| path.starts_with(root));
        self.names.extend(durable.map(|(path, inode)| (path.clone(), *inode)).collect::<Vec<_>>());
        let inodes: Vec<u64> =
            self.names.iter().filter(|(path, _)| path.starts_with(root)).map(|(_, i)| *i).collect();
        for inode in inodes {
            // All, nothing, a first part, or any part: each is what disks have been seen to do.
            let (style, seed) = (self.random.below(4), self.random.next_word());
            let Some(file) = self.inodes.get_mut(&inode) else { continue };
            let pieces = file.pieces();
            let prefix = seed % (pieces.len() as u64 + 1);
            let content = file.with_pieces(&pieces, |i| match style {
                0 => true,
                1 => false,
                2 => (i as u64) < prefix,
                _ => Random::new(seed, i as u64).chance(1, 2),
            });
            let home = std::mem::take(&mut file.home);
            *file = Inode { data: content.clone(), durable: content, pending: Vec::new(), home };
        }
        for (_, word) in self.words.iter_mut().filter(|(path, _)| path.starts_with(root)) {
            if self.random.chance(1, 2) {
                word.value.store(word.durable, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_stays_and_every_legal_rest_is_enumerated() {
        let path = Path::new("/e/a");
        let mut disk = Disk::new(Random::new(1, 2));
        let file = disk.create(path, true).unwrap();
        assert!(disk.create(path, true).is_err());
        disk.write_at(file, 0, &[1; 100]).unwrap();
        disk.sync(file).unwrap();
        disk.sync_folder(Path::new("/e"));
        disk.write_at(file, 500, &[2; 600]).unwrap();
        // 500..512, 512..1024, 1024..1100.
        let states = disk.crash_states(path, 8).unwrap();
        assert_eq!(states.len(), 8);
        assert!(states.iter().all(|s| s[..100] == [1; 100]));
        assert_eq!(states.iter().map(Vec::len).collect::<BTreeSet<_>>(), [100, 512, 1_024, 1_100].into());
        assert!(disk.crash_states(path, 7).is_none());
        disk.power_failure(Path::new("/e"));
        let inode = disk.open(path).unwrap();
        assert!(states.contains(&disk.read(inode).unwrap()));
    }

    #[test]
    fn a_name_whose_folder_was_not_synced_may_be_gone_and_another_root_is_not_touched() {
        let (mut seen, other) = (BTreeSet::new(), Path::new("/other/b"));
        for seed in 0..64 {
            let mut disk = Disk::new(Random::new(seed, 2));
            disk.create(Path::new("/e/a"), true).unwrap();
            disk.create(other, true).unwrap();
            disk.rename(Path::new("/e/a"), Path::new("/e/b")).unwrap();
            disk.power_failure(Path::new("/e"));
            assert!(disk.open(other).is_ok());
            let there = |p: &str| disk.open(Path::new(p)).is_ok();
            seen.insert((there("/e/a"), there("/e/b")));
        }
        // Never made; made; linked anew and not yet taken away; moved.
        assert_eq!(seen, [(false, false), (true, false), (true, true), (false, true)].into());
    }

    #[test]
    fn a_full_disk_takes_what_was_reserved() {
        let mut disk = Disk::new(Random::new(1, 2));
        let file = disk.create(Path::new("/e/a"), true).unwrap();
        disk.set_length(file, 1_000).unwrap();
        disk.set_full(Some(Path::new("/e")));
        disk.write_at(file, 900, &[1; 100]).unwrap();
        assert_eq!(disk.write_at(file, 901, &[1; 100]).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert!(disk.create(Path::new("/e/b"), true).is_err() && disk.set_length(file, 1_001).is_err());
    }
}
