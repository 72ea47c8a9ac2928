//! Notices what is stuck.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::executor::ThreadedExecutor;
use kimera_runtime::process::thread_cpu_ns;

/// Notices a thread that does not come back from its duty cycle: one that computes on and on by its time on a processor, one
/// that waits for something, or is kept away, by the clock on the wall.
pub struct Watchdog {
    limits: Limits,
    suspect: Option<Suspect>,
}

/// How long a duty cycle may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// On a processor.
    pub computing: Duration,
    /// By the clock on the wall.
    pub wall: Duration,
    /// Time until one that was longer is looked at again.
    pub second_look: Duration,
}

/// A cycle that was found too long.
struct Suspect {
    started: u64,
    noticed: u64,
    /// What its thread had computed by then, ns.
    computed: Option<u64>,
}

impl Watchdog {
    /// Nobody is suspected.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, suspect: None }
    }

    /// What is stuck, and how. A cycle that is too long is looked at again after a while: when the whole machine has been
    /// away, every thread gets the chance to say that it is back. Whoever is `at_disk` waits for the disk, and is not stuck:
    /// another one in its place would wait too.
    pub fn stuck(&mut self, executor: &ThreadedExecutor, at_disk: Option<&str>) -> Option<String> {
        let now = monotonic_ns();
        let first = self.limits.computing.min(self.limits.wall).as_nanos() as u64;
        let watched = executor.reports().iter().filter(|t| at_disk != Some(t.name.as_str()));
        let long = watched.into_iter().find_map(|t| {
            let started = t.cycle_started.load(Ordering::Acquire);
            let thread = t.thread.load(Ordering::Acquire);
            (started != 0 && now.saturating_sub(started) > first).then(|| (started, thread, t.name.clone()))
        });
        let Some((started, thread, name)) = long else {
            self.suspect = None;
            return None;
        };
        let Some(suspect) = self.suspect.as_ref().filter(|suspect| suspect.started == started) else {
            self.suspect = Some(Suspect { started, noticed: now, computed: thread_cpu_ns(thread) });
            return None;
        };
        if now.saturating_sub(suspect.noticed) <= self.limits.second_look.as_nanos() as u64 {
            return None;
        }
        let computed =
            suspect.computed.zip(thread_cpu_ns(thread)).map(|(before, now)| now.saturating_sub(before));
        let ns = |limit: Duration| limit.as_nanos() as u64;
        if computed.is_some_and(|computed| computed > ns(self.limits.computing)) {
            return Some(format!("thread {name} computes without coming back from its duty cycle"));
        }
        (now.saturating_sub(started) > ns(self.limits.wall)).then(|| {
            let seconds = self.limits.wall.as_secs();
            format!("thread {name} has not come back from its duty cycle for {seconds} s")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use kimera_runtime::idle::Idle;
    use kimera_runtime::plan::{Plan, ThreadPlan};
    use kimera_runtime::seat::Cell;
    use kimera_runtime::{Counters, Work};

    /// Does not come back from its poll until it is let go.
    struct Held(Arc<AtomicBool>);

    impl Cell for Held {
        fn poll(&mut self) -> Work {
            while self.0.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            Work::Idle
        }

        fn name(&self) -> &str {
            "held"
        }

        fn is_sealed(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_thread_that_does_not_come_back_is_named_and_one_that_does_is_not() {
        let thread =
            ThreadPlan { name: "line".into(), core: None, idle: Idle::SpinYield, seats: vec!["held".into()] };
        let plan = Plan { name: "test".into(), threads: vec![thread] };
        let held = Arc::new(AtomicBool::new(true));
        let cells: Vec<Box<dyn Cell>> = vec![Box::new(Held(held.clone()))];
        let executor = ThreadedExecutor::start(&plan, cells, &Counters::detached(), false).unwrap();
        let ms = Duration::from_millis;
        let hour = Duration::from_secs(3_600);
        // By either clock: it spins.
        for (limits, how) in [
            (Limits { computing: hour, wall: ms(20), second_look: ms(20) }, "has not come back"),
            (Limits { computing: ms(20), wall: hour, second_look: ms(20) }, "computes"),
        ] {
            let mut watchdog = Watchdog::new(limits);
            let said = loop {
                if let Some(said) = watchdog.stuck(&executor, None) {
                    break said;
                }
                std::thread::yield_now();
            };
            assert!(said.starts_with("thread line ") && said.contains(how), "{said}");
        }
        let mut watchdog = Watchdog::new(Limits { computing: hour, wall: ms(20), second_look: ms(20) });
        let begun = monotonic_ns();
        while monotonic_ns() - begun < 80_000_000 {
            assert_eq!(watchdog.stuck(&executor, Some("line")), None, "it waits for the disk");
            std::thread::yield_now();
        }
        held.store(false, Ordering::Release);
        let mut patient = Watchdog::new(Limits { computing: hour, wall: hour, second_look: Duration::ZERO });
        let cycles = || executor.reports()[0].cycles.load(Ordering::Acquire);
        while cycles() < 100 {
            assert_eq!(patient.stuck(&executor, None), None);
        }
        drop(executor.finish());
    }
}
