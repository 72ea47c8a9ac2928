//! The machine and the build: without them no figure means anything.

use std::fs;

use serde::Serialize;

/// What is known about where and how this was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    cpu: String,
    /// Cores this process may use.
    cores: usize,
    kernel: String,
    governor: String,
    memory_gib: u64,
    /// Runnable tasks of the last minute, on average, at the start.
    load: String,
    /// Core of the measuring thread; none where it could not be pinned.
    pinned_to: Option<usize>,
    compiler: &'static str,
    flags: &'static str,
    target_features: &'static str,
    revision: String,
}

/// What the manifest's release profile says.
const BUILT_AS: &str = "release, fat LTO, one codegen unit, panics unwind, the system's allocator; Kimera's crates check \
                        for overflow as they do where they ship, the peers do not";

/// Runnable tasks of the last minute, on average.
pub fn load() -> Option<String> {
    line_of("/proc/loadavg").and_then(|text| text.split(' ').next().map(str::to_owned))
}

/// The first value of a key in a file of `key: value` lines.
fn value_in(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn line_of(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

impl Facts {
    /// Looks at the machine.
    pub fn gather(cores: &[usize], pinned: bool) -> Self {
        let unknown = || "unknown".to_owned();
        let memory = value_in("/proc/meminfo", "MemTotal");
        let memory_kib = memory.and_then(|text| text.split(' ').next().and_then(|n| n.parse::<u64>().ok()));
        let governor = line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Self {
            cpu: value_in("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: cores.len(),
            kernel: line_of("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            governor: governor.unwrap_or_else(|| "none shown".to_owned()),
            memory_gib: memory_kib.unwrap_or(0) / (1 << 20),
            load: load().unwrap_or_else(unknown),
            pinned_to: cores.last().copied().filter(|_| pinned),
            compiler: env!("BUILT_BY"),
            flags: if env!("BUILT_WITH").is_empty() { "none" } else { env!("BUILT_WITH") },
            target_features: env!("BUILT_FOR"),
            revision: std::env::var("KIMERA_REVISION").unwrap_or_else(|_| unknown()),
        }
    }

    /// As lines for people.
    pub fn text(&self) -> String {
        let pinned =
            self.pinned_to.map_or_else(|| "not pinned".to_owned(), |core| format!("pinned to core {core}"));
        let rows = [
            ("cpu", format!("{}, {} cores, {} GiB", self.cpu, self.cores, self.memory_gib)),
            ("kernel", format!("{}, governor {}, load {}", self.kernel, self.governor, self.load)),
            ("thread", pinned),
            ("built by", format!("{}, RUSTFLAGS {}", self.compiler, self.flags)),
            ("built as", BUILT_AS.to_owned()),
            ("built for", self.target_features.to_owned()),
            ("revision", self.revision.clone()),
        ];
        rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
    }
}
