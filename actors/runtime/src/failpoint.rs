//! Named places at which a process can be made to die, to show that its successor copes.
//!
//! `KIMERA_FAILPOINT=name:count` ends the process at the count-th time the place is reached, as `kill -9` would: nothing is
//! flushed, nothing runs. Several are separated by commas; `@n` behind one restricts it to the n-th start. Without the
//! variable a place costs a load.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world;

/// Every place there is.
pub const NAMES: [&str; 10] = [
    "gateway.before_order",
    "gateway.after_order",
    "gateway.ack",
    "gateway.fill",
    "gateway.cancel",
    "journal.before_write",
    "journal.after_sync",
    "recovery.replayed",
    "recovery.asked",
    "recovery.orphan",
];

/// Places on a gateway's way: who dies there may be the gateway alone.
pub const OF_GATEWAYS: [&str; 7] = [
    "gateway.before_order",
    "gateway.after_order",
    "gateway.ack",
    "gateway.fill",
    "gateway.cancel",
    "recovery.asked",
    "recovery.orphan",
];

struct Armed {
    name: &'static str,
    left: AtomicU64,
    dies: Dies,
}

/// Who dies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    /// The whole process, at once.
    Process,
    /// Whoever gets there, by a panic.
    Seat,
}

static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

thread_local! {
    /// What is armed in the world of this thread.
    static ARMED_IN_WORLD: RefCell<Vec<Armed>> = const { RefCell::new(Vec::new()) };
}

/// Arms one place in the world of this thread, and nothing else: at the `count`-th time somebody dies there. None disarms.
pub fn arm_in_world(place: Option<(&'static str, u64, Dies)>) {
    let armed = place.map(|(name, count, dies)| Armed { name, left: AtomicU64::new(count), dies });
    ARMED_IN_WORLD.with(|a| *a.borrow_mut() = armed.into_iter().collect());
}

/// Arms what the environment asks for, for the `incarnation`-th start.
///
/// # Errors
/// What of it is no place, count or start: a crash that was asked for and does not come proves nothing.
pub fn arm(incarnation: u64) -> Result<(), String> {
    let armed = parse(&std::env::var("KIMERA_FAILPOINT").unwrap_or_default(), incarnation)?;
    let _ = ARMED.set(armed);
    Ok(())
}

fn parse(text: &str, incarnation: u64) -> Result<Vec<Armed>, String> {
    let mut armed = Vec::new();
    for one in text.split(',').filter(|one| !one.is_empty()) {
        let wrong = || {
            let names = NAMES.join(", ");
            format!(
                "KIMERA_FAILPOINT: '{one}' is not <place>:<count>[@<start>] with one of the places {names}"
            )
        };
        let (place, start) = one.split_once('@').map_or((one, None), |(place, start)| (place, Some(start)));
        let (name, count) = place.split_once(':').ok_or_else(wrong)?;
        let count = count.parse::<u64>().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
        let start = start.map(str::parse::<u64>).transpose().map_err(|_| wrong())?;
        let name = NAMES.into_iter().find(|known| *known == name).ok_or_else(wrong)?;
        if start.is_none_or(|start| start == incarnation) {
            armed.push(Armed { name, left: AtomicU64::new(count), dies: Dies::Process });
        }
    }
    Ok(armed)
}

/// The place `name` is reached.
#[inline]
pub fn hit(name: &str) {
    if let Some(armed) = ARMED.get()
        && !armed.is_empty()
    {
        reached(name, armed);
    }
    if world::active() {
        let seat_dies = ARMED_IN_WORLD.with(|armed| reached(name, &armed.borrow()));
        assert!(!seat_dies, "it falls at {name}, on purpose");
    }
}

/// True where whoever has got here is to panic.
#[cold]
fn reached(name: &str, armed: &[Armed]) -> bool {
    for one in armed.iter().filter(|a| a.name == name) {
        if one.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            if one.dies == Dies::Seat {
                return true;
            }
            if world::active() {
                world::die();
            }
            let _ = crate::process::kill(std::process::id());
            // The signal is on its way; nothing more happens here.
            loop {
                std::thread::park();
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_armed_for_its_start_and_nothing_else_is_taken() {
        let armed = |text, start| -> Vec<(&str, u64)> {
            parse(text, start).unwrap().iter().map(|a| (a.name, a.left.load(Ordering::Relaxed))).collect()
        };
        let two = "gateway.ack:3,recovery.asked:1@2";
        assert_eq!(armed(two, 1), [("gateway.ack", 3)]);
        assert_eq!(armed(two, 2), [("gateway.ack", 3), ("recovery.asked", 1)]);
        assert_eq!(armed("", 1), []);
        for wrong in ["gateway.ack", "gateway.ack:0", "gateway.ack:x", "gateway.ack:1@x", "gateway.akc:1"] {
            let said = parse(wrong, 1).err().unwrap();
            assert!(said.contains(wrong) && said.contains("recovery.orphan"), "{said}");
        }
    }
}
