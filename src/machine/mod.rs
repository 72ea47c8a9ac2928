//! The machine under the program: what it has, what can be tuned for the run, what is wrong with it.
//!
//! * [`cores`]: processors, nodes, siblings; which plan fits and where its threads go
//! * [`settings`]: what a fast run wants of the kernel; [`tuning`]: applies it, and puts everything back
//! * [`doctor`]: every fact with its verdict and its fix
//! * [`service`]: what the service manager is told

pub mod cores;
pub mod doctor;
pub mod facts;
pub mod memory;
pub mod service;
pub mod settings;
pub mod tuning;

use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel's files are: `/`, or a folder of a test that looks like it.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Machine {
    /// A folder with `proc`, `sys`, `dev` and `var` in it.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A path of the kernel's, as a path here.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What a file of the kernel's says, without the line's end; none where there is no such file.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.path(path)).ok().map(|text| text.trim_end().to_owned())
    }

    /// Writes one value in one call, as the kernel's files want it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        use std::io::Write;
        let mut file =
            std::fs::File::options().write(true).truncate(self.is_a_test()).open(self.path(path))?;
        file.write_all(format!("{value}\n").as_bytes())
    }

    /// What lies in a folder of the kernel's, in order.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| {
            let digits: String = name.chars().filter(char::is_ascii_digit).collect();
            (digits.parse::<u64>().unwrap_or(u64::MAX), name.clone())
        });
        names
    }

    fn is_a_test(&self) -> bool {
        self.root != Path::new("/")
    }
}

/// A list of processors as the kernel writes it: `0-3,8`. What is no number is left out.
#[must_use]
pub fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<Vec<usize>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (to < 8_192).then(|| (from..=to).collect())
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// A list of processors as the kernel writes it.
#[must_use]
pub fn list_text(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let part = |(from, to): &(usize, usize)| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// A set of processors as a mask of the kernel's: groups of 32 bits, highest first.
#[must_use]
pub fn mask_text(cores: &[usize]) -> String {
    let groups = cores.iter().max().map_or(1, |most| most / 32 + 1);
    let mut words = vec![0u32; groups];
    cores.iter().for_each(|core| words[core / 32] |= 1 << (core % 32));
    let rest = words.iter().rev().skip(1).map(|word| format!("{word:08x}"));
    let first = words.last().map(|word| format!("{word:x}"));
    first.into_iter().chain(rest).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder that looks like a machine, gone at the end.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("kimera-machine-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            let folder = Self(path);
            files.iter().for_each(|(path, text)| folder.put(path, text));
            folder
        }

        pub(crate) fn put(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        pub(crate) fn machine(&self) -> Machine {
            Machine::at(&self.0)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lists_and_masks_are_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_list("(null)"), Vec::<usize>::new());
        assert_eq!(list_text(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!(list_text(&[5]), "5");
        assert_eq!(mask_text(&[0, 1]), "3");
        assert_eq!(mask_text(&[0, 32, 35]), "9,00000001");
        assert_eq!(mask_text(&[]), "0");
    }
}
