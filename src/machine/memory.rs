//! What the processes of a run take of the machine's memory, and whether it grows: counted by the engine while it runs, read
//! from the kernel for the others.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use kimera_runtime::counters::Snapshot;
use kimera_runtime::memory::ArenaReport;
use kimera_runtime::{Counter, Counters, world};
use serde::Serialize;

use crate::claim::Claim;
use crate::exit::Failure;
use crate::report::SCHEMA_VERSION;
use crate::state::Layout;

/// Processes of a run, by their locks.
const PROCESSES: [&str; 5] = ["supervisor", "venue", "guard", "engine", "shadow"];
/// Between two looks at ourselves.
const LOOK: Duration = Duration::from_millis(500);
/// What is taken in this time after the start is taken to start.
const SETTLE: Duration = Duration::from_secs(5);

/// Counts what the arena got.
pub fn count_arena(arena: &ArenaReport, counters: &Counters) {
    let set = |name: &str, value: usize| counters.counter(&format!("memory.{name}")).set(value as u64);
    set("arena_budget_bytes", arena.budget_bytes);
    set("arena_used_bytes", arena.used_bytes);
    set("arena_overflow_bytes", arena.overflow_bytes);
    set("arena_locked", usize::from(arena.locked));
    set("arena_huge_pages_kept", usize::from(arena.huge_pages_kept));
}

/// Looks at what this process takes, while it runs.
pub struct Watched {
    resident: Counter,
    settled: Counter,
    most: Counter,
    begun: Instant,
    next: Instant,
    /// Nothing is looked at in a world.
    off: bool,
    /// Where memory is to be lost, to show that it is noticed.
    lost: Option<Vec<Vec<u8>>>,
}

impl Watched {
    /// Looks from now on; `leaks` takes memory with every look and gives none back.
    #[must_use]
    pub fn new(counters: &Counters, leaks: bool) -> Self {
        let counter = |name: &str| counters.counter(&format!("memory.{name}"));
        let now = Instant::now();
        Self {
            resident: counter("resident_bytes"),
            settled: counter("resident_settled_bytes"),
            most: counter("resident_max_bytes"),
            begun: now,
            next: now,
            off: world::active(),
            lost: leaks.then(Vec::new),
        }
    }

    /// Looks, if it is time.
    pub fn look(&mut self) {
        if self.off || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + LOOK;
        if let Some(lost) = &mut self.lost {
            lost.push(vec![1; 1 << 20]);
        }
        let Some(resident) = kernel(std::process::id()).map(|k| k.resident_bytes) else { return };
        self.resident.set(resident);
        self.most.set(self.most.get().max(resident));
        if self.begun.elapsed() <= SETTLE || self.settled.get() == 0 {
            self.settled.set(resident);
        }
    }
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// In memory, shared pages included.
    pub resident_bytes: u64,
    /// Most that ever was.
    pub resident_max_bytes: u64,
    /// Cannot be taken away.
    pub locked_bytes: u64,
    /// Taken away: 0 on a machine that trades.
    pub swapped_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// What the kernel says of a process; none where there is none.
#[must_use]
pub fn kernel(pid: u32) -> Option<Kernel> {
    std::fs::read_to_string(format!("/proc/{pid}/status")).ok().map(|text| parse(&text))
}

fn parse(text: &str) -> Kernel {
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let number = |name: &str| {
        let value = lines.get(name).and_then(|v| v.split_whitespace().next());
        value.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
    };
    Kernel {
        resident_bytes: number("VmRSS") << 10,
        resident_max_bytes: number("VmHWM") << 10,
        locked_bytes: number("VmLck") << 10,
        swapped_bytes: number("VmSwap") << 10,
        threads: number("Threads"),
    }
}

/// A process of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Taken {
    /// What it is.
    pub process: &'static str,
    /// Its number.
    pub pid: u32,
    /// What the kernel says of it.
    #[serde(flatten)]
    pub kernel: Kernel,
}

/// What the engine has counted of itself; also behind its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineMemory {
    /// Rings, books and pools may take so much …
    pub arena_budget_bytes: u64,
    /// … and take so much.
    pub arena_used_bytes: u64,
    /// Did not fit, and is not locked.
    pub arena_overflow_bytes: u64,
    /// The arena cannot be taken away.
    pub arena_locked: bool,
    /// It lies in huge pages that were kept for it.
    pub arena_huge_pages_kept: bool,
    /// In memory at the last look.
    pub resident_bytes: u64,
    /// In memory when the start was over.
    pub resident_settled_bytes: u64,
    /// Most at any look.
    pub resident_max_bytes: u64,
    /// More at the last look than when the start was over; negative where it is less.
    pub grown_bytes: i64,
}

/// The memory of a run.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Those that live.
    pub processes: Vec<Taken>,
    /// The engine, by its own counters.
    pub engine: EngineMemory,
}

impl MemoryReport {
    /// The memory of the run in a state directory.
    ///
    /// # Errors
    /// Where no engine has ever run there.
    pub fn of(state: &Path) -> Result<Self, Failure> {
        let layout = Layout::of(state);
        let path = layout.counters();
        if !path.exists() {
            return Err(Failure::asked_wrongly(format!("no engine has run in {}", state.display())));
        }
        let counters =
            Snapshot::of_file(&path).map_err(|e| Failure::machine(format!("{}: {e}", path.display())))?;
        let living = |process: &'static str| {
            let pid = Claim::holder(&layout.lock(process))?.pid;
            Some(Taken { process, pid, kernel: kernel(pid)? })
        };
        let count = |name: &str| counters.counter(&format!("memory.{name}"));
        let (resident, settled) = (count("resident_bytes"), count("resident_settled_bytes"));
        let engine = EngineMemory {
            arena_budget_bytes: count("arena_budget_bytes"),
            arena_used_bytes: count("arena_used_bytes"),
            arena_overflow_bytes: count("arena_overflow_bytes"),
            arena_locked: count("arena_locked") == 1,
            arena_huge_pages_kept: count("arena_huge_pages_kept") == 1,
            resident_bytes: resident,
            resident_settled_bytes: settled,
            resident_max_bytes: count("resident_max_bytes"),
            grown_bytes: resident.cast_signed() - settled.cast_signed(),
        };
        let processes = PROCESSES.into_iter().filter_map(living).collect();
        Ok(Self { schema_version: SCHEMA_VERSION, processes, engine })
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut text =
            String::from("process        pid   resident       most     locked    swapped  threads\n");
        for p in &self.processes {
            let k = &p.kernel;
            let _ = writeln!(
                text,
                "{:<10} {:>7} {:>6.1} MiB {:>6.1} MiB {:>6.1} MiB {:>6.1} MiB {:>8}",
                p.process,
                p.pid,
                mib(k.resident_bytes),
                mib(k.resident_max_bytes),
                mib(k.locked_bytes),
                mib(k.swapped_bytes),
                k.threads
            );
        }
        let e = &self.engine;
        let locked = if e.arena_locked { "locked" } else { "NOT LOCKED" };
        let pages =
            if e.arena_huge_pages_kept { "huge pages that were kept for it" } else { "ordinary pages" };
        let _ = writeln!(
            text,
            "\narena      {:.1} of {:.1} MiB in use, {locked}, in {pages}; {:.1} MiB found no room in it",
            mib(e.arena_used_bytes),
            mib(e.arena_budget_bytes),
            mib(e.arena_overflow_bytes)
        );
        let _ = writeln!(
            text,
            "engine     {:.1} MiB when its start was over, {:.1} at the last look ({:+.2}), {:.1} at most",
            mib(e.resident_settled_bytes),
            mib(e.resident_bytes),
            e.grown_bytes as f64 / f64::from(1 << 20),
            mib(e.resident_max_bytes)
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let text = "Name:\tkimera\nVmHWM:\t   2048 kB\nVmLck:\t     12 kB\nVmRSS:\t   1024 kB\nVmSwap:\t 0 kB\nThreads:\t7\n";
        let read = Kernel {
            resident_bytes: 1 << 20,
            resident_max_bytes: 2 << 20,
            locked_bytes: 12 << 10,
            swapped_bytes: 0,
            threads: 7,
        };
        assert_eq!(parse(text), read);
        assert!(kernel(std::process::id()).is_some_and(|own| own.resident_bytes > 0 && own.threads > 0));
        assert_eq!(kernel(0), None);
    }

    #[test]
    fn what_is_lost_shows() {
        let path = std::env::temp_dir().join(format!("kimera-memory-{}", std::process::id()));
        let counters = Counters::create(&path, 1).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut watched = Watched::new(&counters, true);
        watched.look();
        let first = counters.counter_of("memory.resident_bytes").get();
        for _ in 0..32 {
            watched.next = watched.begun;
            watched.look();
        }
        let most = counters.counter_of("memory.resident_max_bytes").get();
        assert!(most >= first + (24 << 20), "{first} {most}"); // the kernel's count lags a little
    }
}
