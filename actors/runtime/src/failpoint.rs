//! Named places at which a process can be made to die, to show that its successor copes.
//!
//! `KIMERA_FAILPOINT=name:count` ends the process at the count-th time the place is reached, as `kill -9` would: nothing is
//! flushed, nothing runs. Several are separated by commas; `@n` behind one restricts it to the n-th start. Without the
//! variable a place costs a load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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

struct Armed {
    name: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

/// Arms what the environment asks for, for the `incarnation`-th start.
pub fn arm(incarnation: u64) {
    let text = std::env::var("KIMERA_FAILPOINT").unwrap_or_default();
    let armed = text.split(',').filter_map(|one| {
        let (place, start) = one.split_once('@').map_or((one, None), |(p, s)| (p, s.parse::<u64>().ok()));
        let (name, count) = place.split_once(':')?;
        let applies = start.is_none_or(|s| s == incarnation);
        let left = AtomicU64::new(count.parse().ok()?);
        applies.then(|| Armed { name: name.to_owned(), left })
    });
    let _ = ARMED.set(armed.collect());
}

/// The place `name` is reached.
#[inline]
pub fn hit(name: &str) {
    if let Some(armed) = ARMED.get()
        && !armed.is_empty()
    {
        reached(name, armed);
    }
}

#[cold]
fn reached(name: &str, armed: &[Armed]) {
    for one in armed.iter().filter(|a| a.name == name) {
        if one.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = crate::process::kill(std::process::id());
            // The signal is on its way; nothing more happens here.
            loop {
                std::thread::park();
            }
        }
    }
}
