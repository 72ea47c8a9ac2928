//! The children of a run: started in the order in which they need each other, or taken up from a supervisor that has gone;
//! watched; started again where they fall; stopped the other way round.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kimera_runtime::{KillWord, Listener, Pulse};

use super::arguments::Arguments;
use super::control::Children;
use super::live_line::LiveLine;
use super::process::{Ended, Process};
use super::restarts::Restarts;
use crate::config::{Config, SupervisionSection};
use crate::credentials;
use crate::engine::endpoints::Endpoints;
use crate::exit::{Exit, Failure};
use crate::guard::sweep::Venue;
use crate::log;
use crate::log::Category::{Risk, System};
use crate::machine::service::Service;
use crate::state::Layout;

/// Longest wait for the venue to answer: it reads its tape first.
const VENUE_START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Our own pulse beats ten times as often.
const OWN_SILENCE: Duration = Duration::from_secs(1);

/// The children.
pub struct Family<'a> {
    config: &'a Config,
    layout: Layout,
    arguments: Arguments,
    credentials: [String; 2],
    /// Where the control socket looks.
    shown: Arc<Children>,
    venue: Option<Process>,
    guard: Option<Process>,
    engine: Option<Process>,
    shadow: Option<Process>,
    restarts: BTreeMap<&'static str, Restarts>,
    line: LiveLine,
    /// Our own pulse, and the engine's as we hear it.
    pulses: Option<(Pulse, Listener)>,
    /// The first Ctrl-C has been passed on.
    ending: bool,
}

impl<'a> Family<'a> {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(
        config: &'a Config,
        layout: Layout,
        arguments: Arguments,
        credentials: [String; 2],
        shown: Arc<Children>,
    ) -> Self {
        Self {
            config,
            layout,
            arguments,
            credentials,
            shown,
            venue: None,
            guard: None,
            engine: None,
            shadow: None,
            restarts: BTreeMap::new(),
            line: LiveLine::default(),
            pulses: None,
            ending: false,
        }
    }

    fn supervision(&self) -> &SupervisionSection {
        &self.config.supervision
    }

    /// Starts or takes up everybody, and watches until the engine has ended in order.
    ///
    /// # Errors
    /// Why the run could not go on.
    pub fn run(&mut self, interrupts: &AtomicUsize) -> Result<(), Failure> {
        self.take_up();
        if self.venue.is_none() {
            self.forget_what_has_ended();
            self.start_venue(interrupts)?;
        }
        if self.guard.is_none() {
            self.guard = Some(self.start("guard")?);
        }
        if self.engine.is_none() {
            self.start_engine()?;
        }
        if self.shadow.is_none() && self.config.shadow.enabled {
            self.shadow = Some(self.start("shadow")?);
        }
        self.show();
        let mut service = Service::default();
        service.ready(&format!("trading in {}", self.layout.root().display()));
        let mut guarded = true;
        loop {
            service.alive();
            if self.engine_has_ended(interrupts)? {
                service.ending();
                return Ok(());
            }
            self.end_a_silent_engine();
            self.follow_venue(interrupts)?;
            guarded = guarded && self.follow_guard()?;
            self.follow_shadow()?;
            self.follow(interrupts)?;
            self.line.tick(&self.layout.counters());
            std::thread::sleep(POLL);
        }
    }

    /// What an earlier supervisor has started and still lives.
    fn take_up(&mut self) {
        let adopt = |name| Self::adopt(name, &self.layout);
        (self.venue, self.guard, self.engine) = (adopt("venue"), adopt("guard"), adopt("engine"));
        self.shadow = adopt("shadow");
    }

    fn adopt(name: &'static str, layout: &Layout) -> Option<Process> {
        let process = Process::adopt(name, layout)?;
        log::say(System, &format!("the {name} still runs (process {}): taken up", process.identity().pid));
        Some(process)
    }

    /// A venue goes on where an earlier one was killed; after a run that ended in order it begins anew.
    fn forget_what_has_ended(&self) {
        let killed = self.layout.journal().exists() && !self.layout.summary().exists();
        if self.engine.is_none() && !killed {
            let _ = std::fs::remove_file(self.layout.endpoints());
            let _ = std::fs::remove_file(self.layout.venue_clock());
        }
    }

    /// Starts one; takes it up where one has got there first that nobody knew of: a supervisor may die between starting a
    /// process and everything else.
    fn start(&self, name: &'static str) -> Result<Process, Failure> {
        if let Some(process) = Self::adopt(name, &self.layout) {
            return Ok(process);
        }
        let arguments = match name {
            "venue" => &self.arguments.venue,
            "guard" => &self.arguments.guard,
            "shadow" => &self.arguments.shadow,
            _ => &self.arguments.engine,
        };
        Process::start(name, arguments, &self.layout, &self.credentials, &self.config.log)
    }

    fn start_engine(&mut self) -> Result<(), Failure> {
        let _ = std::fs::remove_file(self.layout.summary());
        let _ = std::fs::remove_file(self.layout.shadow());
        self.engine = Some(self.start("engine")?);
        Ok(())
    }

    fn start_venue(&mut self, interrupts: &AtomicUsize) -> Result<(), Failure> {
        let mut venue = self.start("venue")?;
        let deadline = Instant::now() + VENUE_START;
        while !self.venue_answers() {
            if let Some(ended) = venue.ended() {
                // One that nobody knew of has got there first.
                venue = Self::adopt("venue", &self.layout).ok_or_else(|| venue.failure(ended))?;
            }
            if interrupts.load(Ordering::Acquire) > 0 {
                return Err(Failure {
                    code: Exit::Interrupted,
                    ..Failure::asked_wrongly("interrupted before the start")
                });
            }
            if Instant::now() > deadline {
                return Err(Failure::network(format!(
                    "the venue did not start within {} s",
                    VENUE_START.as_secs()
                )));
            }
            std::thread::sleep(POLL);
        }
        self.venue = Some(venue);
        Ok(())
    }

    fn venue_answers(&self) -> bool {
        let known = Endpoints::read(&self.layout.endpoints());
        known
            .is_ok_and(|e| !e.markets.is_empty() && e.markets.iter().all(|m| TcpStream::connect(m.1).is_ok()))
    }

    /// Tells the control socket who there is.
    fn show(&self) {
        let pid = |process: &Option<Process>| process.as_ref().map_or(0, |p| p.identity().pid);
        self.shown.venue.store(pid(&self.venue), Ordering::Release);
        self.shown.guard.store(pid(&self.guard), Ordering::Release);
        self.shown.engine.store(pid(&self.engine), Ordering::Release);
        self.shown.shadow.store(pid(&self.shadow), Ordering::Release);
    }

    /// True where a child that has fallen may be started again.
    fn allow(&mut self, name: &'static str, fell: bool) -> bool {
        let section = self.supervision();
        let (most, within) = (section.restarts as usize, Duration::from_millis(section.within_ms.into()));
        let restarts = self.restarts.entry(name).or_insert_with(|| Restarts::new(most, within));
        let allowed = restarts.allow(fell);
        if allowed {
            std::thread::sleep(restarts.pause());
        }
        allowed
    }

    fn say_again(&self, name: &'static str, failure: &Failure) {
        failure.note(name);
        let count = self.restarts.get(name).map_or(0, Restarts::count);
        log::warn(System, &format!("{}; starting it again ({count})", failure.message));
    }

    /// True where the engine has ended in order; one that has fallen is started again, a few times.
    fn engine_has_ended(&mut self, interrupts: &AtomicUsize) -> Result<bool, Failure> {
        let Some(engine) = &mut self.engine else { return Ok(true) };
        let Some(ended) = engine.ended() else { return Ok(false) };
        self.line.end();
        // One that was taken up tells us nothing but what it has left.
        let in_order = ended == Ended::Code(0) || (ended == Ended::Gone && self.layout.summary().exists());
        if in_order {
            return Ok(true);
        }
        let failure = engine.failure(ended);
        if interrupts.load(Ordering::Acquire) > 0 || !self.allow("engine", ended.fell()) {
            return Err(failure);
        }
        self.say_again("engine", &failure);
        self.start_engine()?;
        self.show();
        Ok(false)
    }

    /// An engine that beat once and has fallen silent since does nothing any more: it is ended. Where our own pulse, which
    /// another thread of ours beats, does not get through either, it is the disk that stands still.
    fn end_a_silent_engine(&mut self) {
        let limit = Duration::from_millis(self.supervision().engine_silence_ms.into());
        let Some(engine) = &mut self.engine else { return };
        if self.pulses.is_none() {
            let open = |name| Pulse::open(&self.layout.pulse(name)).ok();
            self.pulses = open("supervisor").zip(open("engine").map(Listener::new));
        }
        let Some((own, of_engine)) = &mut self.pulses else { return };
        if own.silence().is_some_and(|silence| silence > OWN_SILENCE) {
            return;
        }
        let silent = of_engine.silence().is_some_and(|silence| silence > limit);
        if of_engine.process() == engine.identity().pid && silent {
            self.line.end();
            log::warn(System, &format!("the engine has been silent for {} ms: ended", limit.as_millis()));
            engine.kill();
        }
    }

    fn follow_venue(&mut self, interrupts: &AtomicUsize) -> Result<(), Failure> {
        let Some(venue) = &mut self.venue else { return Ok(()) };
        let Some(ended) = venue.ended() else { return Ok(()) };
        self.line.end();
        let failure = venue.failure(ended);
        if self.ending || !self.allow("venue", ended.fell()) {
            if let Some(engine) = &mut self.engine {
                engine.stop();
            }
            return Err(failure);
        }
        self.say_again("venue", &failure);
        self.start_venue(interrupts)?;
        self.show();
        Ok(())
    }

    /// False where there is none any more.
    fn follow_guard(&mut self) -> Result<bool, Failure> {
        let Some(guard) = &mut self.guard else { return Ok(false) };
        let Some(ended) = guard.ended() else { return Ok(true) };
        let failure = guard.failure(ended);
        self.line.end();
        if self.ending || !self.allow("guard", true) {
            log::warn(System, &format!("{}; the run goes on without it", failure.message));
            self.guard = None;
            self.show();
            return Ok(false);
        }
        self.say_again("guard", &failure);
        self.guard = Some(self.start("guard")?);
        self.show();
        Ok(true)
    }

    /// A shadow that has fallen is started again, a few times; the run does not need it.
    fn follow_shadow(&mut self) -> Result<(), Failure> {
        let Some(shadow) = &mut self.shadow else { return Ok(()) };
        let Some(ended) = shadow.ended() else { return Ok(()) };
        let failure = shadow.failure(ended);
        self.line.end();
        self.shadow = None;
        if self.ending || !self.allow("shadow", true) {
            log::warn(System, &format!("{}; the run goes on without it", failure.message));
        } else {
            self.say_again("shadow", &failure);
            self.shadow = Some(self.start("shadow")?);
        }
        self.show();
        Ok(())
    }

    /// The first Ctrl-C ends the run in order, the second at once.
    fn follow(&mut self, interrupts: &AtomicUsize) -> Result<(), Failure> {
        match interrupts.load(Ordering::Acquire) {
            0 => Ok(()),
            1 if self.ending => Ok(()),
            1 => {
                self.ending = true;
                self.line.end();
                log::say(System, "ending the run (again to force)");
                if let Some(engine) = &mut self.engine {
                    engine.terminate();
                }
                Ok(())
            }
            _ => {
                self.line.end();
                Err(Failure {
                    code: Exit::Interrupted,
                    ..Failure::asked_wrongly("forced: the journal was not closed")
                })
            }
        }
    }

    /// Ends everybody, last come first gone. After a failure nothing may stand at the venue.
    pub fn close(&mut self, failed: bool) {
        self.line.end();
        if let Some(engine) = &mut self.engine {
            engine.kill();
        }
        if failed {
            self.take_orders_back();
        }
        // The shadow reads the journal to its end first.
        for process in [&mut self.shadow, &mut self.guard, &mut self.venue].into_iter().flatten() {
            process.stop();
        }
        (self.engine, self.shadow, self.guard, self.venue) = (None, None, None, None);
        self.show();
    }

    /// What the guard does, done here: nobody else will any more.
    fn take_orders_back(&mut self) {
        let started = self.layout.journal().exists() && self.engine.is_some();
        let there = self.venue.as_mut().is_some_and(|venue| venue.ended().is_none());
        if !started || !there {
            return;
        }
        let halted = KillWord::open(&self.layout.kill_word()).and_then(|word| word.halt());
        if let Err(e) = halted {
            log::alarm(Risk, &format!("the halt is not on disk: {e}"));
        }
        let swept = credentials::of(&self.layout)
            .and_then(|signer| Venue::new(self.config, &self.layout.endpoints(), signer).sweep());
        match swept {
            Ok(swept) => log::warn(Risk, &format!("given up, and halted: {swept}")),
            Err(e) => log::alarm(Risk, &format!("given up, and halted; ORDERS MAY STAND: {e}")),
        }
    }
}
