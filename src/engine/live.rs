//! The engine's own loop: trading begins when the first record is durable, commands are sequenced, the end is in order.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use kimera_journal::JournalFailure;
use kimera_protocol::{Command, CommandCode, Header, Message, Seq, TradingState};
use kimera_runtime::clock::{self, monotonic_ns};
use kimera_runtime::durability::SilenceWatch;
use kimera_runtime::executor::ThreadedExecutor;
use kimera_runtime::memory::ArenaReport;
use kimera_runtime::plan::Plan;
use kimera_runtime::{KillWord, Port, Pulse, files, world};
use serde_json::json;

use super::control::{Ask, EngineHandler, PATIENCE, Wish};
use super::definitions::DefinitionFailures;
use super::faults::Faults;
use super::news::{Desks, NewsAgent};
use super::opinions::Estimators;
use super::orphan::{Orphan, Standing};
use super::pattern_desk::PatternDesk;
use super::recovery::RecoveryReport;
use super::rejoin::{MemberSeat, WayBack};
use super::venue_account::VenueAccount;
use super::watchdog::{Limits, Watchdog};
use super::workshop::Workshop;
use super::{Built, EngineOptions};
use crate::config::Config;
use crate::control::{OrdersAtEnd, Server};
use crate::exit::Failure;
use crate::handshake::VenueClock;
use crate::log;
use crate::log::Category::{Risk, System, Trading};
use crate::machine::memory::Watched;
use crate::report::{EndReason, EngineSummary, money};
use crate::state::State;
use kimera_protocol::ErrorKind;

/// A duty cycle longer than this ends the engine.
const STUCK: Duration = Duration::from_secs(5);
/// The same in time on a processor: what computes that long in one duty cycle does not come back.
const COMPUTING: Duration = Duration::from_secs(1);
/// Time for a gateway to take back what stands while the disk says nothing.
const TAKEN_BACK: Duration = Duration::from_secs(3);
/// Time until a cycle that was found too long is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Wall time left to the last frames of a tape, ns.
const TAPE_GRACE: u64 = 50_000_000;
/// Between two looks of the engine's own loop.
pub(super) const HOUSEKEEPING: Duration = Duration::from_millis(5);

/// What a run is made of beside its seats.
pub struct Run<'a> {
    /// Arguments.
    pub options: &'a EngineOptions,
    /// Configuration.
    pub config: &'a Config,
    /// Core plan.
    pub plan: &'a Plan,
    /// True where threads are pinned.
    pub pin: bool,
    /// Clock and end of the venue.
    pub venue: VenueClock,
    /// The account that is traded.
    pub account: VenueAccount,
    /// What may leave.
    pub word: KillWord,
    /// State directory.
    pub state: State,
    /// Locked memory.
    pub arena: ArenaReport,
    /// Faults, where they are allowed.
    pub faults: Option<Faults>,
}

/// Runs until the end.
///
/// # Errors
/// What broke.
pub(super) fn run(
    run: &Run<'_>,
    mut built: Built,
    (opinions, desks): (Option<Estimators>, Option<Desks>),
    asks: Option<Receiver<Ask>>,
    interrupted: &AtomicBool,
) -> Result<EngineSummary, Failure> {
    let gateway = run.config.account.gateway.as_str();
    let layout = run.state.layout();
    built.counters.counter("engine.recovering").set(u64::from(built.recovery.is_some()));
    let word = KillWord::open(&layout.kill_word()).map_err(Failure::machine)?;
    let (socket, asks) = match asks {
        Some(asks) => (None, asks),
        None => {
            let incarnation = run.state.incarnation();
            let counters = built.counters.clone();
            let (handler, asks) = EngineHandler::new(
                word,
                counters,
                incarnation,
                gateway,
                run.faults.clone(),
                built.tree.clone(),
                PatternDesk::new(run.config.clone(), built.patterns.clone()),
            );
            let socket = Server::start(&layout.socket("engine"), &layout.audit(), Box::new(handler))?;
            (Some(socket), asks)
        }
    };
    let pulse = |process: &str| {
        let path = layout.pulse(process);
        let pulse = Pulse::open(&path);
        pulse.map_err(|e| Failure::machine(format!("cannot use {}: {e}", path.display())))
    };
    let supervised = run.options.supervised;
    let supervisor = if supervised { Some(pulse("supervisor")?) } else { None };
    let own = if world::active() { None } else { Some(pulse("engine")?) };
    let ways_back = built.members.iter().map(|m| WayBack::new(m, &run.config.supervision)).collect();
    let workshop = Workshop {
        layout: layout.clone(),
        config: run.config.clone(),
        faults: run.faults.clone(),
        counters: built.counters.clone(),
        patterns: built.patterns.clone(),
    };
    let skips_told = built.skips_told;
    let cells = std::mem::take(&mut built.cells);
    // What the disk took for the start is over.
    built.durability.progress();
    let executor = ThreadedExecutor::start(run.plan, cells, &built.counters, run.pin)
        .map_err(|e| Failure::machine(format!("cannot start a thread: {e}")))?;
    executor.seal();
    let recovery = built.recovery.clone();
    let recovering = recovery.as_ref().map(|_| Recovering::Asking);
    let definitions = DefinitionFailures::new(run.config, &built.counters);
    let news = desks.map(|desks| NewsAgent::new(desks, run.config, &built.counters));
    let memory = Watched::new(&built.counters, run.options.canary);
    let mut live = Live {
        memory,
        news,
        definitions,
        opinions,
        run,
        built,
        executor,
        asks,
        halts_seen: 0,
        orders_at_end: OrdersAtEnd::Cancel,
        ways_back,
        workshop,
        absences_told: skips_told,
        changes_told: 0,
        changes_durable: 0,
        recovery,
        recovering,
        unexplained: recovering.is_some(),
        starting: recovering.is_some(),
        compare_at: 0,
        say_at: monotonic_ns() + SAY_INTERVAL,
        absence_seq: None,
        pulse: own,
        orphan: Orphan::new(supervisor, &run.config.supervision),
        orphaned: false,
        ending: false,
        halt_file: layout.halt_file(),
        disk_full: false,
        disk_silent: None,
        silence: SilenceWatch::default(),
        disk_until: 0,
        look_for_halt_at: 0,
    };
    let ended = live.until_end(interrupted);
    if let Some(pulse) = live.pulse.as_ref().filter(|_| ended.is_ok()) {
        pulse.rest();
    }
    drop(socket);
    let reason = match ended {
        Ok(reason) => reason,
        Err(End::Broken(failure)) => {
            live.built.deaths.record();
            if live.waits_for_disk() {
                // The journal's thread would not come back; what stands is taken back first.
                let limit = run.config.journal.patience() + TAKEN_BACK;
                wait(limit, || live.gateway("working") == 0);
                abandon(live.executor);
            } else {
                // The threads are stopped, the journal keeps what it has.
                drop(live.executor.finish());
            }
            return Err(failure);
        }
        Err(End::Stuck(failure)) => {
            // A thread that does not come back cannot be stopped: the process ends with it.
            abandon(live.executor);
            return Err(failure);
        }
    };
    live.finish(reason)
}

/// How far a recovery has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovering {
    /// The gateway asks the venue about every order.
    Asking,
    /// Every order is explained; the accounts are compared until this monotonic instant.
    Comparing(u64),
}

/// Between two looks for the file that halts, ns.
const HALT_FILE_INTERVAL: u64 = 20_000_000;
/// Between two lines about a recovery that takes long, ns.
const SAY_INTERVAL: u64 = 10_000_000_000;
/// Between two comparisons of the accounts, ns.
const COMPARE_INTERVAL: u64 = 100_000_000;
/// Time for the last reports to arrive before a difference of the accounts is one, ns.
const SETTLE: u64 = 3_000_000_000;

/// Why the loop could not go on.
enum End {
    Broken(Failure),
    Stuck(Failure),
}

pub(super) struct Live<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) built: Built,
    pub(super) executor: ThreadedExecutor,
    pub(super) asks: Receiver<Ask>,
    /// Newest epoch of the kill word that the line has been told of.
    pub(super) halts_seen: u64,
    pub(super) orders_at_end: OrdersAtEnd,
    /// Members that are out, and how they come back.
    pub(super) ways_back: Vec<WayBack>,
    pub(super) workshop: Workshop,
    /// Records of absences that this start has sent to the sequencer.
    pub(super) absences_told: u64,
    /// Beginnings and ends among them, for which orders wait; and how many of those are on disk.
    pub(super) changes_told: u64,
    pub(super) changes_durable: u64,
    /// After an earlier start: what was taken up, and until when the venue's account may still differ.
    pub(super) recovery: Option<RecoveryReport>,
    pub(super) recovering: Option<Recovering>,
    /// It is about an earlier start, not only about a gateway that has fallen.
    starting: bool,
    /// The venue and the books did not agree when the last one ended, or it goes on.
    unexplained: bool,
    pub(super) compare_at: u64,
    pub(super) say_at: u64,
    /// What this process takes of the machine.
    memory: Watched,
    /// Headlines, where somebody is listened to.
    pub(super) news: Option<NewsAgent>,
    definitions: DefinitionFailures,
    /// Slow estimators, as long as they are well.
    opinions: Option<Estimators>,
    /// Says that this engine is alive.
    pulse: Option<Pulse>,
    orphan: Orphan,
    /// The line has been told that only ways out may leave because nobody supervises it.
    pub(super) orphaned: bool,
    /// The run is being closed: nothing is resumed any more.
    pub(super) ending: bool,
    pub(super) halt_file: PathBuf,
    /// The journal writes into what was kept aside.
    pub(super) disk_full: bool,
    /// The disk says nothing; since when, monotonic ns.
    pub(super) disk_silent: Option<u64>,
    pub(super) silence: SilenceWatch,
    /// Until when the end of the run waits for the disk, monotonic ns.
    pub(super) disk_until: u64,
    look_for_halt_at: u64,
    /// The last absence is in the sequence up to here; orders wait until it is durable.
    pub(super) absence_seq: Option<Seq>,
}

impl Live<'_> {
    fn until_end(&mut self, interrupted: &AtomicBool) -> Result<EndReason, End> {
        let clock = self.run.venue.clock;
        let whole = self.run.venue.end;
        let end = self.run.options.market_ns.map_or(whole, |ns| whole.min(clock.origin.saturating_add(ns)));
        self.built.counters.counter("engine.market_start_ns").set(clock.origin.unsigned_abs());
        self.built.counters.counter("engine.market_end_ns").set(end.unsigned_abs());
        let mut watchdog =
            Watchdog::new(Limits { computing: COMPUTING, wall: STUCK, second_look: SECOND_LOOK });
        let mut trading = false;
        loop {
            clock::sleep(HOUSEKEEPING);
            self.built.counters.heartbeat(monotonic_ns());
            self.memory.look();
            self.definitions.follow();
            self.follow_opinions();
            if let Some(pulse) = &self.pulse {
                pulse.beat();
            }
            if let Some((kind, broken)) = broken(&self.executor, &self.built.failure) {
                return Err(End::Broken(Failure::of(kind, format!("the engine was ended: {broken}"))));
            }
            if let Some(stuck) = watchdog.stuck(&self.executor, self.thread_at_disk()) {
                return Err(End::Stuck(Failure::defect(format!("the engine was ended: {stuck}"))));
            }
            if !trading {
                // Who runs is on disk before anything is sent: an order's identity holds the start's number.
                let before = self.recovery.as_ref().map_or(0, |r| r.snapshot + r.inputs);
                trading = self.counter("journal.durable_seq") > before && self.begin_trading();
            } else {
                self.follow_word();
                self.hear_news();
            }
            self.notice_absence();
            self.mend_stages().map_err(End::Broken)?;
            self.take_over().map_err(End::Broken)?;
            self.follow_disk();
            self.follow_silence();
            self.built.tree.follow();
            self.recover();
            if let Some(reason) = self.serve_asks() {
                return Ok(reason);
            }
            if interrupted.load(Ordering::Acquire) {
                return Ok(EndReason::Interrupted);
            }
            if self.follow_supervisor() {
                return Ok(EndReason::SupervisorGone);
            }
            // The tape's last frames are still on their way when its time is over.
            let grace = if end == whole { TAPE_GRACE } else { 0 };
            if monotonic_ns() >= clock.instant_of(end).saturating_add(grace) {
                return Ok(if end == whole { EndReason::TapeEnded } else { EndReason::TimeReached });
            }
        }
    }

    /// The line goes on without them: what they thought is not used when it is old.
    fn follow_opinions(&mut self) {
        match &mut self.opinions {
            Some(Estimators::Here(desk)) => while desk.poll() {},
            Some(Estimators::Beside(running)) if running.has_fallen() => {
                let text = "the slow estimators have panicked: no opinions from there on";
                log::fault(ErrorKind::Defect, "opinions", text);
                self.built.degraded.push(text.into());
                self.opinions = None;
            }
            _ => {}
        }
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        self.built.counters.counter_of(name).get()
    }

    pub(super) fn gateway(&self, what: &str) -> u64 {
        self.counter(&format!("{}.{what}", self.run.config.account.gateway))
    }

    /// Sequences a command; false where the ring is full.
    pub(super) fn send(&mut self, code: CommandCode, epoch: u64, flags: u8) -> bool {
        let body = Command { code: code as u64, epoch, ..Command::default() };
        let mut message = Message::new(Header::default(), body);
        message.header.flags |= flags;
        self.built.control.send(Port::Input, &message)
    }

    /// Tells the line what the kill word says at the start: a halt survives a restart.
    fn begin_trading(&mut self) -> bool {
        let word = self.run.word.get();
        self.halts_seen = word.epoch;
        let code = match word.state {
            // After an earlier start only ways out leave until every order is explained.
            TradingState::Active if self.recovering.is_some() => CommandCode::Reduce,
            TradingState::Active => CommandCode::Resume,
            TradingState::Reducing => CommandCode::Reduce,
            TradingState::Halted => CommandCode::Halt,
        };
        self.send(code, word.epoch, 0)
    }

    /// Trading goes on once every order of the earlier start is explained and the venue's account agrees with the books;
    /// where it does not, only ways out leave, and the difference is said.
    pub(super) fn recover(&mut self) {
        self.built.counters.counter_of("engine.recovering").set(u64::from(self.recovering.is_some()));
        // What a gateway's fall has to tell the line comes before what its return has.
        let Some(recovering) = self.recovering.filter(|_| self.built.gateway.to_tell.is_none()) else {
            return;
        };
        let deadline = match recovering {
            Recovering::Asking if self.gateway("reconciled") == 1 => monotonic_ns() + SETTLE,
            Recovering::Asking => {
                if monotonic_ns() > self.say_at {
                    self.say_at = monotonic_ns() + SAY_INTERVAL;
                    let (working, unknown) = (self.gateway("working"), self.gateway("unknown"));
                    log::warn(
                        Trading,
                        &format!(
                            "still asking the venue about orders from before: {working} orders may stand, {unknown} of them unknown"
                        ),
                    );
                }
                return;
            }
            Recovering::Comparing(deadline) => deadline,
        };
        self.recovering = Some(Recovering::Comparing(deadline));
        let seq = self.counter("sequencer.seq");
        if self.built.sinks.iter().any(|sink| sink.get() < seq) {
            return;
        }
        let now = monotonic_ns();
        if now < self.compare_at {
            return;
        }
        // A question to the venue takes its time: not in every pass.
        self.compare_at = now + COMPARE_INTERVAL;
        let diverged = self.recovery.as_ref().and_then(|r| r.diverged.clone());
        let difference = diverged.or_else(|| self.difference());
        if difference.is_some() && now < deadline {
            return;
        }
        self.recovering = None;
        self.unexplained = difference.is_some();
        let (orphans, fills_found) = (self.gateway("orphans"), self.gateway("fills_found"));
        if let Some(report) = self.recovery.as_mut().filter(|_| std::mem::take(&mut self.starting)) {
            (report.orphans, report.fills_found) = (orphans, fills_found);
            report.explained = difference.is_none();
            log::say(System, &format!("recovered: {report:?}"));
        }
        if let Some(since) = self.built.gateway.since.take() {
            let (name, ms) = (&self.run.config.account.gateway, (now - since) / 1_000_000);
            match &difference {
                None => log::say(
                    Trading,
                    &format!("{name} can send again after {ms} ms: the venue has explained every order"),
                ),
                Some(difference) => {
                    log::warn(Trading, &format!("{name} is back, and sends only ways out: {difference}"))
                }
            }
        }
        match difference {
            None => {
                let word = self.run.word.get();
                let may = word.state == TradingState::Active && !self.orphaned && !self.ending;
                if may && !self.send(CommandCode::Resume, word.epoch, 0) {
                    self.recovering = Some(Recovering::Comparing(deadline)); // again at the next look
                }
            }
            Some(difference) => self.built.degraded.push(difference),
        }
    }

    /// How the venue's account differs from the books, if it does.
    fn difference(&self) -> Option<String> {
        let traded = self.run.config.traded_id().0;
        let position = self.counter(&format!("ledger.position.{traded}")) as i64;
        let cash = self.counter("ledger.cash") as i64;
        match self.run.account.state() {
            Ok(venue) if venue.position == position && venue.cash == Some(cash) => None,
            Ok(venue) => Some(format!(
                "the books say position {} and cash {}, the venue {} and {}: only ways out leave",
                money(position),
                money(cash),
                money(venue.position),
                venue.cash.map_or_else(|| "nothing".into(), money)
            )),
            Err(e) => Some(format!("the venue's account could not be compared: {e}")),
        }
    }

    /// Without a supervisor only ways out leave; true where none comes back.
    fn follow_supervisor(&mut self) -> bool {
        let standing = self.orphan.look();
        let orphaned = standing != Standing::Supervised;
        if orphaned != self.orphaned && self.counter("risk.epoch") > 0 && self.recovering.is_none() {
            let word = self.run.word.get();
            let code = if orphaned { CommandCode::Reduce } else { CommandCode::Resume };
            // A stronger word than ours stays as it is, and so does what a recovery has left.
            if self.unexplained || word.state != TradingState::Active || self.send(code, word.epoch, 0) {
                self.orphaned = orphaned;
            }
        }
        standing == Standing::Abandoned
    }

    /// The file that halts does what `kimera kill` does.
    fn follow_file(&mut self) {
        let now = monotonic_ns();
        if now < self.look_for_halt_at {
            return;
        }
        self.look_for_halt_at = now + HALT_FILE_INTERVAL;
        if self.run.word.get().state != TradingState::Halted && files::exists(&self.halt_file) {
            log::warn(
                Risk,
                &format!("halted: {} exists; remove it before trading resumes", self.halt_file.display()),
            );
            if let Err(e) = self.run.word.halt() {
                log::alarm(Risk, &format!("halted, but the kill word is not on disk: {e}"));
            }
        }
    }

    /// A halt that somebody has written into the kill word becomes an input.
    pub(super) fn follow_word(&mut self) {
        self.follow_file();
        let word = self.run.word.get();
        if word.state == TradingState::Halted
            && word.epoch > self.halts_seen
            && self.send(CommandCode::Halt, word.epoch, 0)
        {
            self.halts_seen = word.epoch;
        }
    }

    /// A member that goes out or comes back becomes an input, so that a replay knows from where to where it is out; orders
    /// that depend on it wait until that is on disk.
    fn notice_absence(&mut self) {
        let durable = self.counter("journal.durable_seq");
        for (member, way) in self.built.members.iter().zip(&mut self.ways_back) {
            for (absent, waits) in way.untold(member) {
                if !self.built.control.send(Port::Input, &Message::new(Header::default(), absent)) {
                    break;
                }
                way.tell(&absent);
                self.absences_told += 1;
                self.changes_told += u64::from(waits);
                self.absence_seq = None;
            }
            way.poll(member, &self.workshop, durable);
        }
        if self.changes_told == self.changes_durable {
            return;
        }
        match self.absence_seq {
            None if self.counter("sequencer.absences") == self.absences_told => {
                self.absence_seq = Some(self.counter("sequencer.seq"));
            }
            Some(seq) if durable >= seq => {
                self.changes_durable = self.changes_told;
                self.built.gate.set_durable(self.changes_told);
            }
            _ => {}
        }
    }

    /// What is to be said at the end of members that were out.
    pub(super) fn absences(&self) -> Vec<String> {
        let of = |member: &MemberSeat| -> Vec<String> {
            let (name, why) = (&member.name, member.health.last_failure());
            let why = if why.is_empty() { why } else { format!(" ({why})") };
            let said = |(from, back_at): (Seq, Seq)| match back_at {
                Seq::MAX => format!("{name} is out from input {from}{why}; its weight went to the others"),
                _ => format!("{name} was out from input {from} and answered again from input {back_at}{why}"),
            };
            member.frontier.absences().all().into_iter().map(said).collect()
        };
        self.built.members.iter().flat_map(of).collect()
    }

    /// Does what was asked; the reason to end, where that was it.
    fn serve_asks(&mut self) -> Option<EndReason> {
        while let Ok(ask) = self.asks.try_recv() {
            if monotonic_ns().saturating_sub(ask.asked) >= PATIENCE.as_nanos() as u64 {
                continue; // its caller has been told that it was not done
            }
            let result = match ask.wish {
                Wish::Shutdown(orders) => {
                    self.orders_at_end = orders;
                    let _ = ask.answer.send(Ok(json!({"ending": true, "orders": orders})));
                    return Some(EndReason::Asked);
                }
                Wish::Halt => self.halt(),
                Wish::Reduce => self.reduce(),
                Wish::Resume { epoch } => self.resume(epoch),
                Wish::CancelAll => self.cancel_all(),
                Wish::LoadPatterns(loaded) => self.load_patterns(loaded),
                Wish::Session(wish) => self.session(&wish),
            };
            let _ = ask.answer.send(result);
        }
        None
    }
}

/// Looks again and again, up to `limit`; true as soon as `done` says so.
pub(super) fn wait(limit: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = monotonic_ns() + limit.as_nanos() as u64;
    loop {
        if done() {
            return true;
        }
        if monotonic_ns() > deadline {
            return false;
        }
        clock::sleep(Duration::from_millis(1));
    }
}

/// Leaves threads that cannot be stopped to the end of the process. A world has one thread and many ends.
pub(super) fn abandon(executor: ThreadedExecutor) {
    if world::active() {
        drop(executor.finish());
    } else {
        std::mem::forget(executor);
    }
}

/// What has broken, if anything: a seat or the disk.
pub(super) fn broken(executor: &ThreadedExecutor, failure: &JournalFailure) -> Option<(ErrorKind, String)> {
    if let Some(seat) = executor.failures().into_iter().next() {
        return Some((ErrorKind::Defect, format!("seat {} panicked: {}", seat.seat, seat.message)));
    }
    let disk = failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
    disk.map(|text| (ErrorKind::Machine, text))
}
