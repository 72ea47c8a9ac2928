//! Where lines go: to stderr; where that is a run's own log file, to that file, which changes when it has grown.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kimera_runtime::process;

/// Where lines go.
pub enum Target {
    /// To whoever has started us.
    Stderr,
    /// To a file that changes at a size.
    File(Changing),
}

/// A file of lines. Full ones are kept as `name.1` (the newest), `name.2`, …
pub struct Changing {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    kept_max: u32,
    /// Our stderr is this file too, and changes with it.
    is_stderr: bool,
}

impl Target {
    /// The file at `path` where our stderr is that file, and stderr else.
    #[must_use]
    pub fn of_stderr(path: &Path, bytes_max: u64, kept_max: u32) -> Self {
        let same = || -> io::Result<bool> {
            let (ours, theirs) = (std::fs::metadata("/proc/self/fd/2")?, std::fs::metadata(path)?);
            Ok(ours.is_file() && (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
        };
        match same().and_then(|same| same.then(|| Changing::open(path, bytes_max, kept_max)).transpose()) {
            Ok(Some(file)) => Self::File(Changing { is_stderr: true, ..file }),
            _ => Self::Stderr,
        }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Where the disk or the terminal does not take it. The next one may fit again.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(line.as_bytes()),
            Self::File(file) => file.write(line),
        }
    }
}

impl Changing {
    /// Opens a file to be appended to.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn open(path: &Path, bytes_max: u64, kept_max: u32) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max, kept_max, is_stderr: false })
    }

    fn name(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Writes a line, into a new file where this one is full.
    ///
    /// # Errors
    /// Where the disk does not take it.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bytes_max {
            // Where it cannot be changed the old one goes on, and it is tried again a whole file later: a long log is better
            // than none.
            if self.change().is_err() {
                self.bytes = 0;
            }
        }
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// The new file is there before anything is renamed: what is kept is not lost where there is no room for one.
    fn change(&mut self) -> io::Result<()> {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        let file = File::options().create(true).append(true).open(&fresh)?;
        for number in (0..self.kept_max).rev() {
            let (from, to) = (self.name(number), self.name(number + 1));
            match std::fs::rename(from, to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        std::fs::rename(&fresh, &self.path)?;
        if self.is_stderr {
            process::stderr_into(&file)?;
        }
        self.bytes = 0;
        self.file = file;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_becomes_the_first_of_those_that_are_kept() {
        let folder = std::env::temp_dir().join(format!("kimera-log-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("engine.log");
        let mut log = Changing::open(&path, 20, 2).unwrap();
        for i in 0..7 {
            log.write(&format!("line {i}..\n")).unwrap(); // nine bytes: two fit
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("engine.log"), "line 6..\n");
        assert_eq!(read("engine.log.1"), "line 4..\nline 5..\n");
        assert_eq!(read("engine.log.2"), "line 2..\nline 3..\n");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
        // One that is opened again goes on.
        let mut log = Changing::open(&path, 20, 2).unwrap();
        log.write("line 7..\n").unwrap();
        assert_eq!(read("engine.log"), "line 6..\nline 7..\n");
        assert!(matches!(Target::of_stderr(&path, 20, 2), Target::Stderr), "our stderr is another");
        // Where a new one cannot be made, those that are kept stay.
        std::fs::create_dir(folder.join("engine.log.new")).unwrap();
        for i in 8..12 {
            log.write(&format!("line {i}.\n")).unwrap();
        }
        assert_eq!(read("engine.log.1"), "line 4..\nline 5..\n");
        assert!(read("engine.log").ends_with("line 10.\nline 11.\n"), "{}", read("engine.log"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
