//! Files, of the machine or of a world: everything that has to survive goes through here, so that a simulated disk sees
//! each write and each sync.

use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::world;

/// A file of a world, by its number.
#[derive(Debug)]
pub struct WorldFile {
    inode: u64,
}

impl Drop for WorldFile {
    fn drop(&mut self) {
        world::with_disk(|disk, _, process| disk.unlock(self.inode, process));
    }
}

/// An open file. What is written without a place goes to its end.
#[derive(Debug)]
pub enum File {
    /// Of the machine.
    Real(std::fs::File),
    /// Of the world this thread has entered.
    World(WorldFile),
}

fn left() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "the file's world has been left")
}

/// Runs `there` in a world, `here` on the machine.
fn either<T>(
    there: impl FnOnce(&mut world::disk::Disk) -> io::Result<T>,
    here: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if world::active() { world::with_disk(|disk, _, _| there(disk)).ok_or_else(left)? } else { here() }
}

impl File {
    fn of(inode: u64) -> Self {
        Self::World(WorldFile { inode })
    }

    /// Makes a file, or empties one that is there.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        either(|disk| disk.create(path, false).map(Self::of), || std::fs::File::create(path).map(Self::Real))
    }

    /// Makes a file that must not be there yet, for writing anywhere in it.
    ///
    /// # Errors
    /// Where it is there, or cannot be made.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        let options = || std::fs::File::options().create_new(true).read(true).write(true).open(path);
        either(|disk| disk.create(path, true).map(Self::of), || options().map(Self::Real))
    }

    /// Opens a file that is there, for writing anywhere in it.
    ///
    /// # Errors
    /// Where it is not there, or may not be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let options = || std::fs::File::options().read(true).write(true).open(path);
        either(|disk| disk.open(path).map(Self::of), || options().map(Self::Real))
    }

    /// Opens a file for writing at its end; makes it where there is none.
    ///
    /// # Errors
    /// Where it may not be written.
    pub fn append(path: &Path) -> io::Result<Self> {
        let options = || std::fs::File::options().create(true).append(true).open(path);
        either(
            |disk| disk.open(path).or_else(|_| disk.create(path, true)).map(Self::of),
            || options().map(Self::Real),
        )
    }

    fn in_world<T>(
        inode: u64,
        look: impl FnOnce(&mut world::disk::Disk, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        world::with_disk(|disk, _, _| look(disk, inode)).ok_or_else(left)?
    }

    /// Writes at a place.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.write_all_at(bytes, at),
            Self::World(f) => Self::in_world(f.inode, |disk, i| disk.write_at(i, at as usize, bytes)),
        }
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Real(file) => file.write_all(bytes),
            Self::World(f) => Self::in_world(f.inode, |disk, i| {
                let end = disk.length(i)?;
                disk.write_at(i, end, bytes)
            }),
        }
    }

    /// What is written is durable afterwards, but for the file's times.
    ///
    /// # Errors
    /// As the system says: nobody knows then what is durable.
    pub fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_data(),
            Self::World(f) => Self::in_world(f.inode, world::disk::Disk::sync),
        }
    }

    /// As [`File::sync_data`], with everything the system knows of the file.
    ///
    /// # Errors
    /// As the system says.
    pub fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_all(),
            Self::World(_) => self.sync_data(),
        }
    }

    /// Cuts or extends it.
    ///
    /// # Errors
    /// As the system says.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.set_len(length),
            Self::World(f) => Self::in_world(f.inode, |disk, i| disk.set_length(i, length as usize)),
        }
    }

    /// Reserves `bytes` for a new file, so that later writes neither extend it nor find the disk full.
    ///
    /// # Errors
    /// Where the disk is full or cannot reserve.
    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => crate::storage::reserve(file, bytes),
            Self::World(_) => self.set_len(bytes),
        }
    }

    /// Takes its exclusive lock for as long as it is open; false where another process holds it.
    ///
    /// # Errors
    /// Where locking is not possible at all.
    pub fn lock_exclusively(&self) -> io::Result<bool> {
        match self {
            Self::Real(file) => crate::storage::lock_exclusively(file),
            Self::World(f) => {
                world::with_disk(|disk, _, process| disk.lock(f.inode, process)).ok_or_else(left)
            }
        }
    }

    /// The number of a file of a world.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        match self {
            Self::Real(_) => None,
            Self::World(f) => Some(f.inode),
        }
    }
}

/// Everything in a file.
///
/// # Errors
/// As the system says.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    either(
        |disk| {
            let inode = disk.open(path)?;
            disk.read(inode)
        },
        || std::fs::read(path),
    )
}

/// The first bytes of a file, as many as there are up to `most`.
///
/// # Errors
/// As the system says.
pub fn read_start(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let here = || {
        let mut start = Vec::new();
        std::fs::File::open(path)?.take(most as u64).read_to_end(&mut start)?;
        Ok(start)
    };
    let there = |disk: &mut world::disk::Disk| {
        let inode = disk.open(path)?;
        let mut start = disk.read(inode)?;
        start.truncate(most);
        Ok(start)
    };
    either(there, here)
}

/// Bytes of a file from a place on, as many as there are up to `most`.
///
/// # Errors
/// As the system says.
pub fn read_range(path: &Path, from: u64, most: usize) -> io::Result<Vec<u8>> {
    let here = || {
        let mut file = std::fs::File::open(path)?;
        file.seek(io::SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let there = |disk: &mut world::disk::Disk| {
        let inode = disk.open(path)?;
        let all = disk.read(inode)?;
        let from = all.len().min(from as usize);
        Ok(all[from..all.len().min(from + most)].to_vec())
    };
    either(there, here)
}

/// Everything in a file, as text.
///
/// # Errors
/// As the system says; what is no UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}

/// True where there is a file of this name.
#[must_use]
pub fn exists(path: &Path) -> bool {
    either(|disk| Ok(disk.open(path).is_ok()), || Ok(path.exists())).unwrap_or(false)
}

/// Makes a folder and those it lies in.
///
/// # Errors
/// As the system says.
pub fn create_dir_all(folder: &Path) -> io::Result<()> {
    either(
        |disk| {
            disk.make_folder(folder);
            Ok(())
        },
        || std::fs::create_dir_all(folder),
    )
}

/// Takes a folder and everything in it away.
///
/// # Errors
/// As the system says.
pub fn remove_dir_all(folder: &Path) -> io::Result<()> {
    either(
        |disk| {
            disk.remove_folder(folder);
            Ok(())
        },
        || std::fs::remove_dir_all(folder),
    )
}

/// Takes a file away.
///
/// # Errors
/// As the system says.
pub fn remove_file(path: &Path) -> io::Result<()> {
    either(|disk| disk.remove(path), || std::fs::remove_file(path))
}

/// Moves a file over another.
///
/// # Errors
/// As the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    either(|disk| disk.rename(from, to), || std::fs::rename(from, to))
}

/// Names of the files in a folder.
///
/// # Errors
/// As the system says.
pub fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let here = || {
        let entries = std::fs::read_dir(folder)?.flatten();
        Ok(entries.filter_map(|e| e.file_name().into_string().ok()).collect())
    };
    either(|disk| disk.names_in(folder), here)
}

/// The names in a folder are durable afterwards.
///
/// # Errors
/// As the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    either(
        |disk| {
            disk.sync_folder(folder);
            Ok(())
        },
        || std::fs::File::open(folder)?.sync_all(),
    )
}
