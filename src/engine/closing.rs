//! The end of a run in order: orders taken back, the stop sequenced, the venue asked, the journal closed.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kimera_protocol::{CommandCode, Flags, TradingState};
use kimera_runtime::clock::{self, monotonic_ns};

use super::live::{HOUSEKEEPING, Live, abandon, broken, wait};
use crate::control::OrdersAtEnd;
use crate::exit::Failure;
use crate::report::{EndReason, EngineSummary, Facts};

/// Longest wait for the line to finish what is in flight.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the end of a run waits for a disk that does not answer, all in all: the journal is to have everything.
const DISK: Duration = Duration::from_secs(30);
/// Longest wait for a recovery that is going on.
const RECOVERY: Duration = Duration::from_secs(10);
/// Longest wait for the venue to switch its dead man's switch off.
const DEAD_MAN: Duration = Duration::from_secs(3);
/// Longest wait for the venue to take orders back at the end.
const CANCEL: Duration = Duration::from_secs(5);

impl Live<'_> {
    /// Takes orders back, ends the line, asks the venue, closes everything.
    pub(super) fn finish(mut self, reason: EndReason) -> Result<EngineSummary, Failure> {
        let clock = self.run.venue.clock;
        let market_end = clock.now().min(self.run.venue.end);
        self.disk_until = monotonic_ns() + DISK.as_nanos() as u64;
        self.end_recovery();
        let left = self.take_orders_back();
        if self.recovering.is_some() {
            let text = "the run ended before the venue had explained every order from before";
            self.built.degraded.push(text.into());
        }
        if left.is_none() {
            self.switch_dead_man_off();
        }
        let stopped = self.stop_line();
        let venue = self.run.account.state();
        let mut degraded = std::mem::take(&mut self.built.degraded);
        degraded.extend(left);
        degraded.extend(self.absences());
        for thread in self.executor.reports() {
            if thread.pin_refused.load(Ordering::Acquire) {
                degraded.push(format!("thread {} could not be pinned", thread.name));
            }
        }
        if let Err(e) = &venue {
            degraded.push(format!("the venue's account could not be compared: {e}"));
        }
        if stopped.is_err() && broken(&self.executor, &self.built.failure).is_none() {
            // A thread that does not come back cannot be waited for: the process ends with it.
            abandon(self.executor);
            return Err(stopped.err().unwrap_or_else(|| Failure::defect("the line did not finish")));
        }
        // Whatever went wrong, the journal is closed first.
        let (cells, failures) = self.executor.finish();
        drop(cells);
        if let Some(seat) = failures.into_iter().next() {
            return Err(Failure::defect(format!("seat {} panicked: {}", seat.seat, seat.message)));
        }
        if let Some(text) = self.built.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Failure::machine(text));
        }
        stopped?;
        let facts = Facts {
            counters: &self.built.counters.snapshot(),
            config: self.run.config,
            plan: self.run.plan,
            clock: &clock,
            market_end,
            ended: reason,
            state: &self.run.state,
            arena: &self.run.arena,
            venue: venue.ok(),
            trading: self.run.word.get().state,
            recovery: self.recovery,
            degraded,
        };
        EngineSummary::new(&facts)
    }

    /// A run that ends while the venue is still being asked about an earlier start waits for the answers: fills that nobody
    /// has booked may be among them.
    pub(super) fn end_recovery(&mut self) {
        self.ending = true;
        let deadline = monotonic_ns() + RECOVERY.as_nanos() as u64;
        while self.recovering.is_some()
            && monotonic_ns() < deadline
            && broken(&self.executor, &self.built.failure).is_none()
        {
            clock::sleep(HOUSEKEEPING);
            if !self.tend() {
                break;
            }
        }
    }

    /// The run has ended in order: what it leaves at the venue may stay, and nothing of a later one is to be cancelled.
    fn switch_dead_man_off(&mut self) {
        self.built.dead_man_off.store(true, Ordering::Release);
        let off = || self.gateway("dead_man_armed") == 0;
        if !wait(DEAD_MAN, off) {
            let seconds = self.run.config.supervision.dead_man_ms / 1_000;
            self.built.degraded.push(format!(
                "the venue's dead man's switch could not be switched off: what stands is cancelled within {seconds} s"
            ));
        }
    }

    /// Halts the line (the word stays as it is) and waits until nothing works any more. What is left is said.
    pub(super) fn take_orders_back(&mut self) -> Option<String> {
        if self.orders_at_end == OrdersAtEnd::Keep || self.counter("risk.epoch") == 0 {
            return None;
        }
        let epoch = self.run.word.get().epoch;
        let sent = self.send(CommandCode::Halt, epoch, 0);
        let halted = |live: &Self| live.counter("risk.trading_state") == TradingState::Halted as u64;
        if sent && self.tend_until(CANCEL, halted) {
            let target = self.counter("sequencer.seq");
            self.tend_until(CANCEL, |live| live.built.sinks.iter().all(|sink| sink.get() >= target));
            // What another gateway has not been told of yet is not counted; and the count is published a little later
            // than it moves.
            let quiet = |live: &Self| live.gateway("working") == 0 && live.gateway("reconciled") == 1;
            let stays = |live: &Self| {
                quiet(live) && {
                    clock::sleep(HOUSEKEEPING);
                    quiet(live)
                }
            };
            if self.tend_until(CANCEL, stays) {
                return None;
            }
        }
        if self.gateway("working") == 0 {
            return Some("the line could not be halted in time; nothing of ours stands at the venue".into());
        }
        let (working, after_ms) = (self.gateway("working"), self.run.config.supervision.dead_man_ms);
        let who = if after_ms > 0 {
            format!("the venue's dead man's switch cancels them within {} s", after_ms / 1_000)
        } else {
            "cancel them at the venue".into()
        };
        Some(format!("{working} orders could not be taken back in time: {who}"))
    }

    /// Looks after whoever has fallen; false where that does not help any more.
    fn tend(&mut self) -> bool {
        let tended = self.mend_stages().and_then(|()| self.take_over());
        self.recover();
        self.follow_silence();
        match tended {
            Ok(()) => true,
            Err(e) => {
                self.built.degraded.push(e.message);
                false
            }
        }
    }

    /// Waits, and looks after whoever falls meanwhile; true as soon as `done` says so. While the venue explains the orders of
    /// a gateway that has fallen there is more time.
    fn tend_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let mut patience = Patience::new(limit);
        loop {
            if done(self) {
                return true;
            }
            let more = if self.recovering.is_some() { RECOVERY } else { Duration::ZERO };
            if patience.is_over(self, more)
                || broken(&self.executor, &self.built.failure).is_some()
                || !self.tend()
            {
                return false;
            }
            clock::sleep(Duration::from_millis(1));
        }
    }

    /// Sequences the end of the run and waits until every stage is done with it, and the disk has it.
    pub(super) fn stop_line(&mut self) -> Result<(), Failure> {
        let is_broken = |live: &Self| broken(&live.executor, &live.built.failure).is_some();
        let mut sent = false;
        let told = self.wait_for_line(|live| {
            sent = sent || live.send(CommandCode::Stop, 0, Flags::STOP);
            sent || is_broken(live)
        });
        let done = told
            && self.wait_for_line(|live| {
                let seq = live.counter("sequencer.seq");
                is_broken(live)
                    || (live.counter("sequencer.stopped") != 0
                        && live.built.sinks.iter().all(|sink| sink.get() >= seq)
                        && live.counter("journal.durable_seq") >= seq)
            });
        if !done {
            return Err(match self.waits_for_disk() {
                true => Failure::machine(format!(
                    "the disk of the journal has said nothing for {} s: the end of the run is not on it",
                    self.built.durability.silence().as_secs()
                )),
                false => Failure::defect(format!("the line did not finish within {} s", DRAIN.as_secs())),
            });
        }
        broken(&self.executor, &self.built.failure)
            .map_or(Ok(()), |(kind, reason)| Err(Failure::of(kind, reason)))
    }

    /// Waits for what the line has to do.
    fn wait_for_line(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let mut patience = Patience::new(DRAIN);
        while !done(self) {
            if patience.is_over(self, Duration::ZERO) {
                return false;
            }
            self.follow_silence();
            clock::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// A limit that does not run while the disk does not answer, as long as the end of a run waits for that at all: the line
/// stands still until then.
struct Patience {
    until: u64,
    limit: u64,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        let limit = limit.as_nanos() as u64;
        Self { until: monotonic_ns() + limit, limit }
    }

    /// True where the limit, and `more`, is over.
    fn is_over(&mut self, live: &Live<'_>, more: Duration) -> bool {
        let now = monotonic_ns();
        if live.waits_for_disk() && now < live.disk_until {
            self.until = now + self.limit;
        }
        now > self.until + more.as_nanos() as u64
    }
}
