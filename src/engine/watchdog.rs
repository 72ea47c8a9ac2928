//! Notices what is stuck.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::executor::ThreadedExecutor;

/// Notices a thread that does not come back from its duty cycle.
pub struct Watchdog {
    limit: Duration,
    second_look: Duration,
    /// The start of the cycle that was found too long, and when it was.
    suspect: Option<(u64, u64)>,
}

impl Watchdog {
    /// Longest duty cycle, and the time until one that was longer is looked at again.
    pub fn new(limit: Duration, second_look: Duration) -> Self {
        Self { limit, second_look, suspect: None }
    }

    /// The thread's name once it is stuck. A cycle that is too long is looked at again after a while: when the whole
    /// machine has been away, every thread gets the chance to say that it is back.
    pub fn stuck(&mut self, executor: &ThreadedExecutor) -> Option<String> {
        let now = monotonic_ns();
        let long = executor.reports().iter().find_map(|t| {
            let started = t.cycle_started.load(Ordering::Acquire);
            (started != 0 && now.saturating_sub(started) > self.limit.as_nanos() as u64)
                .then(|| (started, t.name.clone()))
        });
        let Some((started, name)) = long else {
            self.suspect = None;
            return None;
        };
        match self.suspect {
            Some((same, noticed)) if same == started => {
                (now.saturating_sub(noticed) > self.second_look.as_nanos() as u64).then_some(name)
            }
            _ => {
                self.suspect = Some((started, now));
                None
            }
        }
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
        let mut watchdog = Watchdog::new(Duration::from_millis(20), Duration::from_millis(20));
        let named = loop {
            if let Some(name) = watchdog.stuck(&executor) {
                break name;
            }
            std::thread::yield_now();
        };
        assert_eq!(named, "line");
        held.store(false, Ordering::Release);
        let mut patient = Watchdog::new(Duration::from_secs(600), Duration::ZERO);
        let cycles = || executor.reports()[0].cycles.load(Ordering::Acquire);
        while cycles() < 100 {
            assert_eq!(patient.stuck(&executor), None);
        }
        drop(executor.finish());
    }
}
