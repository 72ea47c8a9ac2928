//! A whole firm in virtual time on one thread. Clock, network and disk answer from here to whoever asks on this thread
//! while a world is entered, so that engine, supervisor and venue run as they are, and a seed decides everything else.
//!
//! * [`network`]: connections whose bytes take time, stall, break
//! * [`disk`]: files that know what is written and what is synced; what a power failure may leave of them
//!
//! Code on the stack (an engine's own loop) drives the world: whoever sleeps lets the residents run for that long.
//! A process that is killed unwinds from wherever it is with [`Killed`] as its payload.

pub mod disk;
pub mod network;

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use disk::Disk;
use network::Network;

/// Worlds entered by any thread: others do not even look.
static ENTERED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What a process that is killed unwinds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed;

/// Number of a process in a world.
pub type ProcessId = u32;

/// Something that lives in a world: a core thread with its seats, a venue, whoever makes the faults.
pub trait Resident {
    /// Does a bounded amount of work; true where there was any.
    fn turn(&mut self) -> bool;
}

/// Xorshift64*: what it decides is the fate of a simulated firm, nothing that needs to be secret.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed; `stream` keeps several of one seed apart.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mixed = (seed.wrapping_add(1))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add((stream.wrapping_add(1)).wrapping_mul(0xD1B5_4A32_D192_ED03));
        let mut random = Self(mixed | 1);
        for _ in 0..8 {
            random.next_word();
        }
        random
    }

    /// 64 bits.
    pub fn next_word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_word()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `of` times in `n`.
    pub fn chance(&mut self, of: u64, n: u64) -> bool {
        self.below(n) < of
    }
}

struct Slot {
    id: u64,
    process: ProcessId,
    /// Not polled before this time: its core was taken away.
    held_until: u64,
    /// None while it has its turn.
    resident: Option<Box<dyn Resident>>,
}

/// Time, network, disk, residents.
pub struct World {
    now: u64,
    random: Random,
    residents: Vec<Slot>,
    next_id: u64,
    process: ProcessId,
    kill: Option<ProcessId>,
    network: Network,
    disk: Disk,
    said: Vec<String>,
    turns: u64,
}

/// Virtual time at which a world begins, ns: no machine has just been started.
const BEGIN: u64 = 1_000_000_000_000;
/// Longest step of time in which nobody had work: agents look at the clock by themselves.
const IDLE_STEP: u64 = 100_000;

/// Leaves the world when dropped.
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        // Residents own handles that look into the world when they go: it has to be left first.
        let world = WORLD.with(|w| w.borrow_mut().take());
        ENTERED.fetch_sub(1, Ordering::AcqRel);
        drop(world);
    }
}

/// Enters a fresh world on this thread.
#[must_use]
pub fn enter(seed: u64) -> Entered {
    let world = World {
        now: BEGIN,
        random: Random::new(seed, 0),
        residents: Vec::new(),
        next_id: 1,
        process: 0,
        kill: None,
        network: Network::new(Random::new(seed, 1)),
        disk: Disk::new(Random::new(seed, 2)),
        said: Vec::new(),
        turns: 0,
    };
    WORLD.with(|w| *w.borrow_mut() = Some(world));
    ENTERED.fetch_add(1, Ordering::AcqRel);
    Entered(())
}

/// Looks into the world of this thread, if there is one.
fn with<T>(look: impl FnOnce(&mut World) -> T) -> Option<T> {
    if ENTERED.load(Ordering::Relaxed) == 0 {
        return None;
    }
    WORLD.with(|w| w.try_borrow_mut().ok()?.as_mut().map(look))
}

/// True on a thread that has entered a world.
#[inline]
#[must_use]
pub fn active() -> bool {
    ENTERED.load(Ordering::Relaxed) != 0 && with(|_| ()).is_some()
}

/// Virtual monotonic time, where there is a world.
#[inline]
#[must_use]
pub fn now() -> Option<u64> {
    with(|w| w.now)
}

/// The world's network, where there is one.
pub fn with_network<T>(look: impl FnOnce(&mut Network, u64, ProcessId) -> T) -> Option<T> {
    with(|w| look(&mut w.network, w.now, w.process))
}

/// The world's disk, where there is one.
pub fn with_disk<T>(look: impl FnOnce(&mut Disk, u64, ProcessId) -> T) -> Option<T> {
    with(|w| look(&mut w.disk, w.now, w.process))
}

/// Notes a line that would have gone to the log; false where there is no world.
pub fn say(line: &str) -> bool {
    with(|w| {
        let at = (w.now - BEGIN) as f64 / 1e9;
        w.said.push(format!("{at:>12.6} {line}"));
    })
    .is_some()
}

/// Seconds since the beginning.
#[must_use]
pub fn seconds() -> f64 {
    with(|w| (w.now - BEGIN) as f64 / 1e9).unwrap_or(0.0)
}

/// What has been said so far.
#[must_use]
pub fn said() -> Vec<String> {
    with(|w| w.said.clone()).unwrap_or_default()
}

/// Turns that residents have had.
#[must_use]
pub fn turns() -> u64 {
    with(|w| w.turns).unwrap_or(0)
}

/// Settles somebody in the world, as part of the process that runs now.
pub fn settle(resident: Box<dyn Resident>) -> Option<u64> {
    with(|w| {
        let id = w.next_id;
        w.next_id += 1;
        w.residents.push(Slot { id, process: w.process, held_until: 0, resident: Some(resident) });
        id
    })
}

/// Takes a resident out again.
pub fn leave(id: u64) {
    let gone = with(|w| {
        let at = w.residents.iter().position(|s| s.id == id)?;
        Some(w.residents.remove(at))
    });
    drop(gone);
}

/// A resident is not polled for a while.
pub fn hold(id: u64, duration: Duration) {
    with(|w| {
        let until = w.now + duration.as_nanos() as u64;
        w.residents.iter_mut().filter(|s| s.id == id).for_each(|s| s.held_until = until);
    });
}

/// Residents of a process, oldest first.
#[must_use]
pub fn residents_of(process: ProcessId) -> Vec<u64> {
    with(|w| w.residents.iter().filter(|s| s.process == process).map(|s| s.id).collect()).unwrap_or_default()
}

/// Time passes for nobody: the whole machine was away.
pub fn skip(duration: Duration) {
    with(|w| w.now += duration.as_nanos() as u64);
}

/// Runs `body` as a process of the world.
pub fn as_process<T>(process: ProcessId, body: impl FnOnce() -> T) -> T {
    struct Back(ProcessId);
    impl Drop for Back {
        fn drop(&mut self) {
            with(|w| w.process = self.0);
        }
    }
    let _back = Back(with(|w| std::mem::replace(&mut w.process, process)).unwrap_or(0));
    body()
}

/// A process is to be killed; it unwinds at the next place where it can.
pub fn kill(process: ProcessId) {
    with(|w| w.kill = Some(process));
}

/// The process that runs now dies here: `kill -9` at this very place.
pub fn die() -> ! {
    std::panic::resume_unwind(Box::new(Killed))
}

/// Whatever a process that has ended leaves behind is taken away: residents, connections, locks.
pub fn end_process(process: ProcessId) {
    let gone = with(|w| {
        let (gone, stay) = std::mem::take(&mut w.residents).into_iter().partition(|s| s.process == process);
        w.residents = stay;
        w.kill = w.kill.filter(|k| *k != process);
        w.network.end_process(process, w.now);
        w.disk.end_process(process);
        gone
    });
    drop::<Option<Vec<Slot>>>(gone);
}

/// Lets the world run for a while: what `sleep` is on a thread that has entered one.
pub fn run_for(duration: Duration) {
    let Some(target) = with(|w| w.now + duration.as_nanos() as u64) else { return };
    loop {
        let order = with(World::order).unwrap_or_default();
        let mut worked = false;
        for id in order {
            worked |= turn(id);
            if with(|w| w.kill == Some(w.process)) == Some(true) {
                with(|w| w.kill = None);
                die();
            }
        }
        if with(|w| w.advance(worked, target)).is_none_or(|now| now >= target) {
            return;
        }
    }
}

/// One resident has its turn, as its own process.
fn turn(id: u64) -> bool {
    let taken = with(|w| {
        let now = w.now;
        let slot = w.residents.iter_mut().find(|s| s.id == id && s.held_until <= now)?;
        w.turns += 1;
        Some((slot.process, slot.resident.take()?))
    });
    let Some((process, mut resident)) = taken.flatten() else { return false };
    let worked = as_process(process, || resident.turn());
    let homeless = with(|w| match w.residents.iter_mut().find(|s| s.id == id) {
        Some(slot) => {
            slot.resident = Some(resident);
            None
        }
        // Its process has ended meanwhile.
        None => Some(resident),
    });
    drop(homeless);
    worked
}

impl World {
    /// In which order residents have their next turn.
    fn order(&mut self) -> Vec<u64> {
        let mut order: Vec<u64> = self.residents.iter().map(|s| s.id).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.random.below(i as u64 + 1) as usize);
        }
        order
    }

    /// Time goes on: by a little where there was work, otherwise to where the next may be.
    fn advance(&mut self, worked: bool, target: u64) -> u64 {
        let step = if worked { self.random.within(1_000, 6_000) } else { IDLE_STEP };
        let mut next = self.now + step;
        if !worked {
            let due = self.network.next_due(self.now).into_iter().chain(self.disk.next_due(self.now)).min();
            next = next.min(due.unwrap_or(u64::MAX)).max(self.now + 1);
        }
        self.now = next.min(target.max(self.now + 1));
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    struct Counting(Rc<RefCell<Vec<u64>>>);

    impl Resident for Counting {
        fn turn(&mut self) -> bool {
            self.0.borrow_mut().push(now().unwrap());
            false
        }
    }

    #[test]
    fn who_sleeps_lets_the_others_run_and_a_seed_decides_when() {
        let run = |seed| {
            let _entered = enter(seed);
            let seen = Rc::new(RefCell::new(Vec::new()));
            let id = settle(Box::new(Counting(seen.clone()))).unwrap();
            let begun = now().unwrap();
            crate::clock::sleep(Duration::from_millis(1));
            assert_eq!(now().unwrap(), begun + 1_000_000);
            assert_eq!(crate::clock::monotonic_ns(), begun + 1_000_000);
            leave(id);
            crate::clock::sleep(Duration::from_millis(1));
            seen.take()
        };
        assert_eq!(run(1), run(1));
        assert_eq!(run(1).len(), 10);
        assert!(!active());
    }

    struct Killer(ProcessId);

    impl Resident for Killer {
        fn turn(&mut self) -> bool {
            kill(self.0);
            true
        }
    }

    #[test]
    fn a_process_that_is_killed_unwinds_from_where_it_sleeps() {
        let _entered = enter(3);
        settle(Box::new(Killer(7)));
        let ended = std::panic::catch_unwind(|| as_process(7, || run_for(Duration::from_secs(1))));
        assert!(ended.err().unwrap().is::<Killed>());
        assert_eq!(with(|w| w.process), Some(0));
    }
}
