//! The venue's clock in a file, so that one that is killed and started again goes on where it would have been.

use std::io;
use std::path::Path;

use kimera_runtime::{MarketClock, files};
use serde::{Deserialize, Serialize};

/// What is kept.
#[derive(Serialize, Deserialize)]
pub struct KeptClock {
    /// The clock.
    pub clock: MarketClock,
    /// The machine's start whose time it counts in.
    boot: String,
}

/// Which start of the machine this is: another one has another zero of time.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl KeptClock {
    /// The clock of the file; none where there is no file or the machine was started since.
    ///
    /// # Errors
    /// A file that cannot be read or is no clock.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let text = match files::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let kept: Self = serde_json::from_str(&text).map_err(|e| {
            let text = format!("{}: not a venue's clock: {e}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(Some(kept).filter(|kept| kept.boot == boot()))
    }

    /// Writes the clock; never half.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep(clock: MarketClock, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string(&Self { clock, boot: boot() })?;
        let partial = path.with_extension("partial");
        let mut file = files::File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        files::rename(&partial, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_kept_and_one_of_another_boot_is_not_taken() {
        let path = std::env::temp_dir().join(format!("kimera-kept-clock-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(KeptClock::load(&path).unwrap().is_none());
        let clock = MarketClock { origin: 5, start: 7, speed: 3 };
        KeptClock::keep(clock, &path).unwrap();
        assert_eq!(KeptClock::load(&path).unwrap().map(|k| k.clock), Some(clock));
        let other = serde_json::to_string(&KeptClock { clock, boot: "another".into() }).unwrap();
        std::fs::write(&path, other).unwrap();
        assert!(KeptClock::load(&path).unwrap().is_none());
        std::fs::write(&path, "{}").unwrap();
        assert!(KeptClock::load(&path).err().unwrap().to_string().contains("not a venue's clock"));
        std::fs::remove_file(&path).unwrap();
    }
}
