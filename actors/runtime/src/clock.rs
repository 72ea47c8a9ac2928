//! Time-stamp counter for latency, market clock for everything that is decided.

use std::time::Duration;

use kimera_protocol::Nanos;

use crate::world;

/// Nanoseconds of the machine's monotonic clock, the same in every process on it.
#[must_use]
pub fn monotonic_ns() -> u64 {
    if let Some(now) = world::now() {
        return now;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call's duration; CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Waits; in a world everybody else runs meanwhile.
pub fn sleep(duration: Duration) {
    if world::active() {
        world::run_for(duration);
    } else {
        std::thread::sleep(duration);
    }
}

/// Lets others run before the caller looks again; in a world, for a moment of its time.
pub fn give_way() {
    if world::active() {
        world::run_for(Duration::from_micros(50));
    } else {
        std::thread::yield_now();
    }
}

/// The time-stamp counter and its scale to nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    multiplier: u64,
}

const SCALE_BITS: u32 = 32;

impl Tsc {
    /// Reads the counter.
    #[inline]
    #[must_use]
    pub fn now() -> u64 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: rdtsc is unprivileged on Linux and has no memory effect.
        unsafe {
            core::arch::x86_64::_rdtsc()
        }
        #[cfg(not(target_arch = "x86_64"))]
        monotonic_ns()
    }

    /// Measures the counter's rate against the monotonic clock for about 10 ms.
    #[must_use]
    pub fn calibrate() -> Self {
        if world::active() {
            return Self { multiplier: 1 << SCALE_BITS };
        }
        let (ns_start, ticks_start) = (monotonic_ns(), Self::now());
        std::thread::sleep(Duration::from_millis(10));
        let (ns_end, ticks_end) = (monotonic_ns(), Self::now());
        let ticks = ticks_end.saturating_sub(ticks_start).max(1);
        let multiplier = (u128::from(ns_end - ns_start) << SCALE_BITS) / u128::from(ticks);
        Self { multiplier: multiplier as u64 }
    }

    /// Ticks as nanoseconds.
    #[inline]
    #[must_use]
    pub fn to_ns(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.multiplier)) >> SCALE_BITS) as u64
    }
}

/// Market time: `origin + (now − start) × speed`; the same in the venue's process and in ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MarketClock {
    /// Market time at the start, nanoseconds since the Unix epoch.
    pub origin: Nanos,
    /// Monotonic nanoseconds of this machine at the start.
    pub start: u64,
    /// Market nanoseconds per monotonic nanosecond, 1 to 100.
    pub speed: u32,
}

impl MarketClock {
    /// Market time now; the origin before the start.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.at(monotonic_ns())
    }

    /// Market time at a monotonic instant.
    #[inline]
    #[must_use]
    pub fn at(&self, monotonic: u64) -> Nanos {
        let elapsed = monotonic.saturating_sub(self.start).saturating_mul(u64::from(self.speed));
        self.origin.saturating_add_unsigned(elapsed)
    }

    /// The monotonic instant at which market time reaches `time`.
    #[must_use]
    pub fn instant_of(&self, time: Nanos) -> u64 {
        let market = time.saturating_sub(self.origin).max(0) as u64;
        self.start.saturating_add(market.div_ceil(u64::from(self.speed.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn market_time_runs_at_its_speed_and_not_before_its_start() {
        let clock = MarketClock { origin: 1_000, start: 500, speed: 20 };
        assert_eq!(clock.at(0), 1_000);
        assert_eq!(clock.at(500), 1_000);
        assert_eq!(clock.at(501), 1_020);
        assert_eq!(clock.instant_of(1_020), 501);
        assert_eq!(clock.instant_of(1_001), 501);
        assert_eq!(clock.instant_of(0), 500);
    }

    #[test]
    fn ticks_scale_to_nanoseconds() {
        let tsc = Tsc { multiplier: 1 << (SCALE_BITS - 1) };
        assert_eq!(tsc.to_ns(1_000), 500);
        assert_eq!(tsc.to_ns(u64::MAX), u64::MAX / 2);
    }
}
