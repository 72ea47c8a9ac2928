//! The venue's dead man's switch: a countdown there that is put off again and again; where nobody does, the venue cancels
//! everything by itself. It needs nothing of ours to work, and is the last of the ways in which orders are taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::{Counter, Counters};

/// Times the countdown is put off before it would end.
const PUT_OFF: u32 = 4;

/// How a venue's countdown is set.
#[derive(Clone, Debug, Default)]
pub struct DeadManSwitch {
    /// How long after the last word of ours everything is cancelled; zero for venues that have none.
    pub after: Duration,
    /// True once it is to be switched off: the run ends, and what stands then may stay.
    pub off: Arc<AtomicBool>,
}

/// The gateway's side.
pub(super) struct DeadMan {
    switch: DeadManSwitch,
    /// Venue milliseconds in a millisecond of ours.
    speed: u64,
    next_at: u64,
    /// Not before this after the venue has not taken one.
    retry_at: u64,
    /// When the venue's countdown ends, as far as it has said that it holds.
    ends_at: u64,
    meters: DeadManMeters,
}

#[derive(Clone)]
pub(super) struct DeadManMeters {
    armed: Counter,
    put_off: Counter,
    failed: Counter,
}

impl DeadManMeters {
    pub(super) fn new(name: &str, counters: &Counters) -> Self {
        let counter = |what: &str| counters.counter(&format!("{name}.{what}"));
        Self {
            armed: counter("dead_man_armed"),
            put_off: counter("dead_man_put_off"),
            failed: counter("dead_man_failed"),
        }
    }
}

impl DeadMan {
    pub(super) fn new(switch: DeadManSwitch, speed: u32, meters: DeadManMeters) -> Self {
        Self { switch, speed: u64::from(speed), next_at: 0, retry_at: 0, ends_at: 0, meters }
    }

    /// Somebody else may have set a countdown that still runs.
    pub(super) fn may_run(&mut self) {
        if !self.switch.after.is_zero() {
            self.ends_at = monotonic_ns() + self.switch.after.as_nanos() as u64;
        }
    }

    /// The countdown that is to be asked for now, in milliseconds of the venue; 0 switches it off.
    pub(super) fn due(&mut self, now: u64) -> Option<u64> {
        if self.switch.after.is_zero() {
            return None;
        }
        self.meters.armed.set(u64::from(now < self.ends_at));
        if self.switch.off.load(Ordering::Acquire) {
            return (self.ends_at > 0 && now >= self.retry_at).then_some(0);
        }
        (now >= self.next_at.max(self.retry_at)).then(|| self.switch.after.as_millis() as u64 * self.speed)
    }

    /// The venue has taken a countdown.
    pub(super) fn taken(&mut self, countdown: u64) {
        let (now, after) = (monotonic_ns(), self.switch.after.as_nanos() as u64);
        self.meters.put_off.add(1);
        self.next_at = now + after / u64::from(PUT_OFF);
        self.ends_at = if countdown == 0 { 0 } else { now + after };
        self.meters.armed.set(u64::from(countdown > 0));
    }

    /// The venue has not; it is asked again soon.
    pub(super) fn refused(&mut self, again_at: u64) {
        self.meters.failed.add(1);
        self.retry_at = again_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_off_four_times_in_its_length_and_switched_off_at_once() {
        let switch = DeadManSwitch { after: Duration::from_secs(40), ..DeadManSwitch::default() };
        let off = switch.off.clone();
        let mut dead_man = DeadMan::new(switch, 5, DeadManMeters::new("gateway", &Counters::detached()));
        let now = monotonic_ns();
        // In the venue's time, which runs five times as fast.
        assert_eq!(dead_man.due(now), Some(200_000));
        dead_man.refused(now + 7);
        assert_eq!((dead_man.due(now + 6), dead_man.due(now + 7)), (None, Some(200_000)));
        dead_man.taken(200_000);
        let later = monotonic_ns();
        assert_eq!(dead_man.due(later + 9_000_000_000), None);
        assert_eq!(dead_man.due(later + 10_000_000_000), Some(200_000));
        off.store(true, Ordering::Release);
        assert_eq!(dead_man.due(later), Some(0), "it does not wait for its turn");
        dead_man.taken(0);
        assert_eq!((dead_man.due(later), dead_man.meters.armed.get()), (None, 0));
        let switch = DeadManSwitch { after: Duration::from_secs(40), ..DeadManSwitch::default() };
        switch.off.store(true, Ordering::Release);
        let mut other = DeadMan::new(switch, 5, DeadManMeters::new("other", &Counters::detached()));
        assert_eq!(other.due(now), None, "nothing was set");
        other.may_run();
        assert_eq!(other.due(now), Some(0), "somebody before it may have set one");
        let mut none =
            DeadMan::new(DeadManSwitch::default(), 5, DeadManMeters::new("none", &Counters::detached()));
        assert_eq!(none.due(now), None, "a venue without one");
    }
}
