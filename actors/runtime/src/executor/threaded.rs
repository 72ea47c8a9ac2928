//! Core threads: each polls its seats in line order, pinned where the plan says so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread::JoinHandle;

use kimera_protocol::ErrorKind;

use crate::actor::Work;
use crate::clock::{Tsc, monotonic_ns};
use crate::counters::{Counter, Counters, Histogram};
use crate::errors;
use crate::idle::Idler;
use crate::memory::{SealGuard, sealed_allocations};
use crate::plan::{Plan, pin_to_core};
use crate::process::thread_id;
use crate::seat::Cell;
use crate::world::{self, Killed, Resident};

/// A seat that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seat.
    pub seat: String,
    /// What it said.
    pub message: String,
}

/// What a thread reports of itself, readable by the watchdog at any time.
pub struct ThreadReport {
    /// Thread name.
    pub name: String,
    /// Monotonic ns of the start of the last duty cycle; 0 before the first.
    pub cycle_started: AtomicU64,
    /// The thread, as the kernel numbers it; 0 before the first.
    pub thread: AtomicU64,
    /// Duty cycles done.
    pub cycles: AtomicU64,
    /// True where pinning was asked for and refused.
    pub pin_refused: AtomicBool,
}

struct Shared {
    stop: AtomicBool,
    sealed: AtomicBool,
    failures: Mutex<Vec<Failure>>,
}

/// Running core threads.
pub struct ThreadedExecutor {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Box<dyn Cell>>>>,
    /// In a world, what would be threads.
    residents: Vec<(u64, Arc<Mutex<Option<CoreThread>>>)>,
    reports: Vec<Arc<ThreadReport>>,
}

/// Duty cycles between two looks at the clock for the heartbeat.
const CYCLES_PER_HEARTBEAT: u64 = 16;

impl ThreadedExecutor {
    /// Starts the plan's threads over `cells`, which are matched by name; `pin` false leaves every thread unpinned.
    ///
    /// All threads are spawned before any pins itself: a child inherits its parent's affinity.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn start(
        plan: &Plan,
        mut cells: Vec<Box<dyn Cell>>,
        counters: &Counters,
        pin: bool,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            failures: Mutex::new(Vec::new()),
        });
        let barrier = Arc::new(Barrier::new(plan.threads.len()));
        let (mut threads, mut reports, mut residents) = (Vec::new(), Vec::new(), Vec::new());
        for spec in &plan.threads {
            let mut mine = Vec::new();
            for name in &spec.seats {
                if let Some(at) = cells.iter().position(|c| c.name() == name) {
                    mine.push(cells.swap_remove(at));
                }
            }
            let report = Arc::new(ThreadReport {
                name: spec.name.clone(),
                cycle_started: AtomicU64::new(0),
                thread: AtomicU64::new(0),
                cycles: AtomicU64::new(0),
                pin_refused: AtomicBool::new(false),
            });
            reports.push(report.clone());
            let core = spec.core.filter(|_| pin);
            let thread = CoreThread {
                cells: mine,
                dead: Vec::new(),
                idler: Idler::new(spec.idle),
                shared: shared.clone(),
                report,
                allocations: counters.counter(&format!("thread.{}.sealed_allocations", spec.name)),
                cycle: counters.histogram(&format!("thread.{}.cycle_ns", spec.name)),
                gap: counters.histogram(&format!("thread.{}.gap_ns", spec.name)),
                tsc: Tsc::calibrate(),
            };
            if world::active() {
                let shared = Arc::new(Mutex::new(Some(thread)));
                residents
                    .extend(world::settle(Box::new(ResidentThread(shared.clone()))).map(|id| (id, shared)));
                continue;
            }
            let barrier = barrier.clone();
            threads.push(std::thread::Builder::new().name(spec.name.clone()).spawn(move || {
                barrier.wait();
                thread.run(core)
            })?);
        }
        Ok(Self { shared, threads, residents, reports })
    }

    /// From now on an allocation inside a sealed seat's poll is counted.
    pub fn seal(&self) {
        self.shared.sealed.store(true, Ordering::Release);
    }

    /// Seats that have panicked so far.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the threads say of themselves.
    #[must_use]
    pub fn reports(&self) -> &[Arc<ThreadReport>] {
        &self.reports
    }

    /// Stops all threads and gives the cells back, stopped, with every seat that has panicked.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Box<dyn Cell>>, Vec<Failure>) {
        self.shared.stop.store(true, Ordering::Release);
        let mut cells = Vec::new();
        let mut lost = Vec::new();
        for (id, thread) in std::mem::take(&mut self.residents) {
            world::leave(id);
            let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            cells.extend(thread.into_iter().flat_map(CoreThread::stop));
        }
        for (thread, report) in std::mem::take(&mut self.threads).into_iter().zip(&self.reports) {
            match thread.join() {
                Ok(mine) => cells.extend(mine),
                Err(_) => {
                    lost.push(Failure { seat: report.name.clone(), message: "its thread is gone".into() })
                }
            }
        }
        let mut failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failures.extend(lost);
        (cells, failures)
    }
}

/// An idle pass longer than this is a gap of the machine (or of the idle strategy).
const GAP_NS: u64 = 1_000;

impl Drop for ThreadedExecutor {
    fn drop(&mut self) {
        for (id, _) in &self.residents {
            world::leave(*id);
        }
    }
}

/// A core thread in a world: it has its turns there.
struct ResidentThread(Arc<Mutex<Option<CoreThread>>>);

impl Resident for ResidentThread {
    fn turn(&mut self) -> bool {
        // What dies in here leaves a poisoned lock: nobody looks behind it any more.
        let Ok(mut thread) = self.0.lock() else { return false };
        thread.as_mut().is_some_and(CoreThread::turn)
    }
}

struct CoreThread {
    cells: Vec<Box<dyn Cell>>,
    /// Those that have panicked. Their rings stay alive: a peer must not find them gone.
    dead: Vec<Box<dyn Cell>>,
    idler: Idler,
    shared: Arc<Shared>,
    report: Arc<ThreadReport>,
    allocations: Counter,
    cycle: Histogram,
    /// Times above a microsecond in which the thread, with nothing to do, did not run.
    gap: Histogram,
    tsc: Tsc,
}

impl CoreThread {
    fn run(mut self, core: Option<usize>) -> Vec<Box<dyn Cell>> {
        if core.is_some_and(|c| !pin_to_core(c)) {
            self.report.pin_refused.store(true, Ordering::Release);
        }
        self.report.thread.store(thread_id(), Ordering::Release);
        let mut cycles: u64 = 0;
        while !self.shared.stop.load(Ordering::Acquire) {
            if cycles.is_multiple_of(CYCLES_PER_HEARTBEAT) {
                self.beat(cycles);
            }
            cycles += 1;
            let start = Tsc::now();
            if self.pass() {
                self.cycle.record(self.tsc.to_ns(Tsc::now().saturating_sub(start)));
                self.idler.reset();
            } else {
                self.idler.wait();
                let away = self.tsc.to_ns(Tsc::now().saturating_sub(start));
                if away > GAP_NS {
                    self.gap.record(away);
                }
            }
        }
        self.stop()
    }

    /// Says that it is alive.
    fn beat(&self, cycles: u64) {
        self.report.cycle_started.store(monotonic_ns(), Ordering::Release);
        self.report.cycles.store(cycles, Ordering::Release);
        self.allocations.set(sealed_allocations());
    }

    /// One duty cycle in a world.
    fn turn(&mut self) -> bool {
        self.beat(self.report.cycles.load(Ordering::Acquire) + 1);
        self.pass()
    }

    fn stop(mut self) -> Vec<Box<dyn Cell>> {
        for cell in &mut self.cells {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| cell.stop())) {
                let failure = Failure { seat: cell.name().to_owned(), message: said(panic.as_ref()) };
                self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
            }
        }
        let dead = std::mem::take(&mut self.dead);
        if world::active() {
            drop(dead);
        } else {
            std::mem::forget(dead); // what they may still own is not trusted to be taken apart; the process ends
        }
        self.cells
    }

    /// Polls each cell once; a cell that panics is reported and left out from then on, the others go on.
    fn pass(&mut self) -> bool {
        let sealed = self.shared.sealed.load(Ordering::Relaxed);
        let mut worked = false;
        let mut at = 0;
        while at < self.cells.len() {
            let cell = &mut self.cells[at];
            let guard = SealGuard::new(sealed && cell.is_sealed());
            let polled = catch_unwind(AssertUnwindSafe(|| cell.poll()));
            drop(guard);
            match polled {
                Ok(work) => {
                    worked |= work == Work::Done;
                    at += 1;
                }
                // Not the cell: its whole process dies here.
                Err(panic) if panic.is::<Killed>() => std::panic::resume_unwind(panic),
                Err(panic) => {
                    let dead = self.cells.remove(at);
                    let message = said(panic.as_ref());
                    errors::note(ErrorKind::Defect, dead.name(), &format!("panicked: {message}"));
                    let mut failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push(Failure { seat: dead.name().to_owned(), message });
                    self.dead.push(dead);
                }
            }
        }
        worked
    }
}

/// What a panic said.
#[must_use]
pub fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}
