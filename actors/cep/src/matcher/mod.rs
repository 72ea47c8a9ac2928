//! A pattern over a stream of events.
//!
//! Every way in which a match may still come about is a *run*: where it stands in the pattern, and the chain of events it has
//! taken. An event is shown to the runs of its partition, the oldest first; those that take it go on as new ones, those that
//! may do without stay. Everything is bounded and made at the start: where there is no place, the oldest run goes, and that
//! is counted.

mod runs;
mod store;
#[cfg(test)]
mod tests;
mod usual;

use kimera_protocol::Nanos;

use self::runs::{Run, Runs, State};
use self::store::{NONE, Store};
use crate::language::{Contiguity, Edge, KEYS_MAX, Link, Not, Program, Skip};
use crate::schema::{Event, Value};

/// How much a matcher keeps, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Runs with one key.
    pub runs_per_key: usize,
    /// Runs in all.
    pub runs: usize,
    /// Events of one run.
    pub events_per_run: usize,
    /// Events that runs hold, each counted once.
    pub events: usize,
}

impl Default for Bounds {
    /// 256 runs a key, 64 events a run.
    fn default() -> Self {
        Self { runs_per_key: 256, runs: 1_024, events_per_run: 64, events: 4_096 }
    }
}

/// What there was no place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflows {
    /// Runs that had to go for newer ones.
    pub runs: u64,
    /// Events that a run could not take because it had its most.
    pub events: u64,
}

kimera_protocol::state!(Overflows { runs, events });

/// A match.
pub struct Found<'a> {
    /// The pattern.
    pub program: &'a Program,
    /// Its events with the steps they are bound to, in order.
    pub events: &'a [(u8, Event)],
    /// When it was certain: the time of its last event, or the end of its time where something must not come.
    pub time: Nanos,
    /// What the pattern emits; nothing where a value is missing.
    pub values: &'a [Option<Value>],
}

/// What has come to an end of the pattern and is not yet said.
#[derive(Clone, Copy)]
struct Pending {
    end: u32,
    key: [u64; KEYS_MAX],
    /// None where the last event makes it certain.
    deadline: Option<Nanos>,
}

/// A compiled pattern and everything under way.
pub struct Matcher {
    program: Program,
    /// Where its runs stand behind their first event, if that is one place.
    beginning: Option<(u16, u8)>,
    bounds: Bounds,
    store: Store,
    runs: Runs,
    /// Runs are not looked through before: nobody's time is over, or those whose is are no harm.
    next_look: Nanos,
    /// Time alone may make a match certain.
    has_trailing: bool,
    overflows: Overflows,
    /// Time of the newest event.
    now: Nanos,
    here: Vec<(u32, u64)>,
    pending: Vec<Pending>,
    path: Vec<(u8, Event)>,
    values: Vec<Option<Value>>,
}

// Between two events nothing is pending, and what else is left out is made anew for each.
kimera_protocol::state!(Matcher { store, runs, next_look, overflows, now } fixed {
    program, beginning, bounds, has_trailing, here, pending, path, values
});

impl Matcher {
    /// A matcher at rest.
    #[must_use]
    pub fn new(program: Program, bounds: Bounds) -> Self {
        // A chain link for each event of each run, as far as they are shared: as many as there are events and runs.
        let links = bounds.events + bounds.runs;
        let words = program.keys.iter().flatten().map(|slots| slots.len()).max().unwrap_or(0);
        let has_trailing = program.edges.iter().any(|edge| edge.to.is_none() && !edge.nots.is_empty());
        Self {
            has_trailing,
            values: Vec::with_capacity(program.emit.len()),
            beginning: usual::only_beginning(&program),
            program,
            bounds,
            store: Store::new(bounds.events, links),
            runs: Runs::new(bounds.runs, words),
            next_look: Nanos::MAX,
            overflows: Overflows::default(),
            now: Nanos::MIN,
            here: Vec::with_capacity(bounds.runs),
            pending: Vec::with_capacity(bounds.runs),
            path: Vec::with_capacity(bounds.events_per_run),
        }
    }

    /// The pattern.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.runs.len() as u64
    }

    /// What there was no place for so far.
    #[must_use]
    pub fn overflows(&self) -> Overflows {
        self.overflows
    }

    /// Time passes: what waits for nothing to come is certain now, and what took too long is gone.
    #[inline]
    pub fn pass(&mut self, now: Nanos, found: &mut dyn FnMut(&Found<'_>)) {
        if now > self.next_look {
            self.look(now, found);
        }
    }

    #[inline(never)]
    fn look(&mut self, now: Nanos, found: &mut dyn FnMut(&Found<'_>)) {
        let Some(within) = self.program.within else { return };
        self.here.clear();
        let mut next = Nanos::MAX;
        for (at, run) in self.runs.all() {
            let deadline = run.first_time.saturating_add(within);
            if deadline < now {
                self.here.push((at, run.id));
            } else {
                next = next.min(deadline);
            }
        }
        // Where time only ends runs, they may end when they see an event, and it is enough to look for the others now and then.
        self.next_look = if self.has_trailing { next } else { now.saturating_add(within) };
        for i in 0..self.here.len() {
            let (at, _) = self.here[i];
            let Run { state, first_time, .. } = *self.runs.get(at);
            let key = self.runs.key_of(at);
            let end = self.runs.end(at);
            match state {
                State::Wait(edge) if self.program.edges[usize::from(edge)].to.is_none() => {
                    self.arrive(end, &key, Some(first_time.saturating_add(within)));
                }
                _ => {}
            }
            self.store.release(end);
        }
        self.runs.settle();
        self.say(found);
    }

    /// An event of the stream; those of other streams are passed over.
    #[inline]
    pub fn event(&mut self, event: &Event, found: &mut dyn FnMut(&Found<'_>)) {
        self.pass(event.time, found);
        self.now = event.time;
        if self.program.keys.get(usize::from(event.ty)).is_some_and(Option::is_some) {
            self.take_in(event, found);
        }
    }

    #[inline(never)]
    fn take_in(&mut self, event: &Event, found: &mut dyn FnMut(&Found<'_>)) {
        let Some(key) = self.key(event) else { return };
        // Most events begin nothing, and most find nobody who waits for them.
        let known = if self.runs.is_empty() { None } else { self.runs.find(&key) };
        if let Some(partition) = known {
            if self.begins_anew(partition, event, &key) {
                return;
            }
        } else {
            let begins = |edge: &u16| {
                let to = self.program.edges[usize::from(*edge)].to;
                to.is_some_and(|step| self.fits(step, event, NONE, &key))
            };
            if !self.program.starts.iter().any(begins) {
                return;
            }
        }
        let Some(partition) = self.runs.open(&key) else { return };
        let mut kept = NONE;
        self.here.clear();
        self.here.extend(self.runs.of(partition));
        if self.program.has_greedy {
            self.end_rivals(event, &key);
        }
        for i in 0..self.here.len() {
            let (at, id) = self.here[i];
            if self.runs.is(at, id) {
                self.show(at, event, partition, &mut kept);
            }
        }
        for i in 0..self.program.starts.len() {
            let edge = usize::from(self.program.starts[i]);
            if let Some(step) = self.program.edges[edge].to
                && self.fits(step, event, NONE, &key)
            {
                self.take(None, step, 1, event, partition, &mut kept);
            }
        }
        if kept != NONE {
            self.store.let_go(kept);
        }
        self.runs.close(partition);
        self.say(found);
    }

    /// The event's key; none where it is not of these streams, or lacks a part of it.
    fn key(&self, event: &Event) -> Option<[u64; KEYS_MAX]> {
        let slots = self.program.keys.get(usize::from(event.ty))?.as_ref()?;
        let mut key = [0; KEYS_MAX];
        for (word, slot) in key.iter_mut().zip(slots) {
            *word = slot.of(event)?.to_word();
        }
        Some(key)
    }

    fn fits(&self, step: u8, event: &Event, end: u32, key: &[u64; KEYS_MAX]) -> bool {
        let step = &self.program.steps[usize::from(step)];
        step.ty == event.ty && self.store.holds(step.condition.as_ref(), Some(event), end, key)
    }

    /// Runs that have left a greedy step end where the step goes on with this event.
    fn end_rivals(&mut self, event: &Event, key: &[u64; KEYS_MAX]) {
        for i in 0..self.here.len() {
            let (at, id) = self.here[i];
            let Run { state: State::Loop(step, _), end, .. } = *self.runs.get(at) else { continue };
            let is_full = usize::from(self.store.length(end)) >= self.bounds.events_per_run;
            if !self.runs.is(at, id) || is_full || !self.fits(step, event, end, key) {
                continue;
            }
            for j in 0..self.here.len() {
                let (other, other_id) = self.here[j];
                if self.runs.is(other, other_id) && self.runs.get(other).rival == id {
                    let end = self.runs.end(other);
                    self.store.release(end);
                }
            }
        }
    }

    /// True where an event is one that must not come at an edge, for a run that ends with `end` and has waited.
    fn is_stopped(
        &self,
        edge: &Edge,
        (end, has_waited): (u32, bool),
        event: &Event,
        key: &[u64; KEYS_MAX],
    ) -> bool {
        edge.nots.iter().any(|not: &Not| {
            not.ty == event.ty
                && !(not.is_next_only && has_waited)
                && self.store.holds(not.condition.as_ref(), Some(event), end, key)
        })
    }

    /// Shows an event to a run.
    fn show(&mut self, at: u32, event: &Event, partition: u32, kept: &mut u32) {
        let Run { id, state, end, has_waited, first_time, .. } = *self.runs.get(at);
        if self.program.within.is_some_and(|within| first_time.saturating_add(within) < event.time) {
            let end = self.runs.end(at);
            return self.store.release(end);
        }
        let key = &{ *self.runs.key(partition) };
        let stays = match state {
            State::Wait(edge) => {
                let edge = &self.program.edges[usize::from(edge)];
                if self.is_stopped(edge, (end, has_waited), event, key) {
                    false
                } else if let Some(step) = edge.to {
                    let link = edge.link;
                    let fits = self.fits(step, event, end, key);
                    if fits && link != Link::Every && self.goes_on(at, (step, 1), event, kept) {
                        return;
                    }
                    if fits {
                        self.take(Some(at), step, 1, event, partition, kept);
                    }
                    link == Link::Every || (link == Link::Relaxed && !fits)
                } else {
                    true // only time ends it
                }
            }
            State::Loop(step, count) => {
                let contiguity = self.program.steps[usize::from(step)].contiguity;
                let fits = self.fits(step, event, end, key);
                let ends = contiguity != Contiguity::Combinations;
                if fits && ends && self.goes_on(at, (step, count + 1), event, kept) {
                    return;
                }
                if fits {
                    self.take(Some(at), step, count + 1, event, partition, kept);
                }
                contiguity == Contiguity::Combinations || (contiguity == Contiguity::Relaxed && !fits)
            }
        };
        if !self.runs.is(at, id) {
            return; // it had to go for a newer one
        }
        if stays {
            self.runs.get_mut(at).has_waited = true;
        } else {
            let end = self.runs.end(at);
            self.store.release(end);
        }
    }

    /// A run takes an event, or begins with it: whatever it may be behind that begins as runs of their own.
    fn take(
        &mut self,
        run: Option<u32>,
        step: u8,
        count: u16,
        event: &Event,
        partition: u32,
        kept: &mut u32,
    ) {
        let (before, first, first_time) = match run {
            Some(at) => {
                let run = self.runs.get(at);
                (run.end, run.first, run.first_time)
            }
            None => (NONE, event.place, event.time),
        };
        if usize::from(self.store.length(before)) >= self.bounds.events_per_run {
            self.overflows.events += 1;
            return;
        }
        self.store.hold(before); // the run itself may have to go
        let binding = self.program.steps[usize::from(step)].binding;
        let end = self.keep_and_take(before, binding, event, kept);
        self.store.release(before);
        let Some(end) = end else { return };
        let draft = |state| Runs::draft(state, end, first, first_time);
        let (max, min, is_greedy) = {
            let step = &self.program.steps[usize::from(step)];
            (step.max, step.min, step.is_greedy)
        };
        let mut staying = 0;
        if count < max {
            staying = self.begin(draft(State::Loop(step, count)), partition);
        }
        if count >= min {
            for i in 0..self.program.steps[usize::from(step)].follow.len() {
                let index = self.program.steps[usize::from(step)].follow[i];
                let edge = &self.program.edges[usize::from(index)];
                if edge.to.is_none() && edge.nots.is_empty() {
                    self.arrive(end, &{ *self.runs.key(partition) }, None);
                } else {
                    let mut leaving = draft(State::Wait(index));
                    leaving.rival = if is_greedy { staying } else { 0 };
                    self.begin(leaving, partition);
                }
            }
        }
        self.store.release(end);
    }

    /// The event behind a chain; where there is no place, the oldest runs go first.
    fn keep_and_take(&mut self, before: u32, binding: u8, event: &Event, kept: &mut u32) -> Option<u32> {
        while !self.store.has_room(*kept == NONE) {
            let Some(oldest) = self.runs.oldest_of_all() else {
                self.overflows.events += 1; // matches of this very event hold everything
                return None;
            };
            self.give_up(oldest);
        }
        if *kept == NONE {
            *kept = self.store.keep(event)?;
        }
        self.store.take(before, *kept, binding)
    }

    /// A run has to go: those whose time is over first, and they are no loss.
    fn give_up(&mut self, at: u32) {
        if let Some(within) = self.program.within.filter(|_| !self.has_trailing) {
            let mut any = false;
            for over in 0..self.bounds.runs as u32 {
                let Run { id, first_time, .. } = *self.runs.get(over);
                if id != 0 && first_time.saturating_add(within) < self.now {
                    let end = self.runs.end(over);
                    self.store.release(end);
                    any = true;
                }
            }
            if any {
                return;
            }
        }
        let end = self.runs.end(at);
        self.store.release(end);
        self.overflows.runs += 1;
    }

    /// A new run; its number, or 0 where there was no place at all.
    fn begin(&mut self, run: Run, partition: u32) -> u64 {
        while self.runs.count(partition) >= self.bounds.runs_per_key.max(1) {
            self.give_up(self.runs.oldest(partition));
        }
        let mut begun = self.runs.begin(partition, run);
        if begun.is_none()
            && let Some(oldest) = self.runs.oldest_of_all()
        {
            self.give_up(oldest);
            begun = self.runs.begin(partition, run);
        }
        self.look_in_time(run.first_time);
        if begun.is_some() {
            self.store.hold(run.end);
        }
        begun.unwrap_or(0)
    }

    /// Runs are looked through when the time of one that began then is over, or not much later.
    fn look_in_time(&mut self, first_time: Nanos) {
        if let Some(within) = self.program.within
            && (self.has_trailing || self.next_look == Nanos::MAX)
        {
            self.next_look = self.next_look.min(first_time.saturating_add(within));
        }
    }

    /// A run has come to an end of the pattern; said behind everything else of this event.
    fn arrive(&mut self, end: u32, key: &[u64; KEYS_MAX], deadline: Option<Nanos>) {
        if !self.store.holds(self.program.condition.as_ref(), None, end, key) {
            return;
        }
        if self.pending.len() == self.pending.capacity() {
            self.overflows.runs += 1;
            return;
        }
        self.store.hold(end);
        self.pending.push(Pending { end, key: *key, deadline });
    }

    /// Says what has been found, in the order of their events, and lets go what the pattern wants skipped.
    fn say(&mut self, found: &mut dyn FnMut(&Found<'_>)) {
        if self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        let store = &self.store;
        let earlier =
            |a: &Pending, b: &Pending| a.deadline.cmp(&b.deadline).then_with(|| compare(store, a.end, b.end));
        if pending.len() > 1 {
            pending.sort_unstable_by(earlier);
        }
        for i in 0..pending.len() {
            let Pending { end, key, deadline } = pending[i];
            if end == NONE {
                continue; // let go by one before it
            }
            self.say_one(end, &key, deadline, found);
            if let Some((from, before)) = self.skipped() {
                let here = |place: u64| (from..before).contains(&place);
                for other in
                    pending.iter_mut().skip(i + 1).filter(|other| other.key == key && other.end != NONE)
                {
                    if self.store.back(other.end).last().is_some_and(|(_, first)| here(first.place)) {
                        self.store.release(std::mem::replace(&mut other.end, NONE));
                    }
                }
                self.skip(&key, here);
            }
            self.store.release(end);
        }
        pending.clear();
        self.pending = pending;
    }

    fn say_one(
        &mut self,
        end: u32,
        key: &[u64; KEYS_MAX],
        deadline: Option<Nanos>,
        found: &mut dyn FnMut(&Found<'_>),
    ) {
        self.path.clear();
        self.path.extend(self.store.back(end).map(|(binding, event)| (binding, *event)));
        self.path.reverse();
        self.values.clear();
        let store = &self.store;
        self.values.extend(self.program.emit.iter().map(|ops| store.value(ops, None, end, key)));
        let last = self.path.last().map_or(0, |(_, event)| event.time);
        let time = deadline.unwrap_or(last);
        found(&Found { program: &self.program, events: &self.path, time, values: &self.values });
    }

    /// Which first events are let go behind the match that was just said.
    fn skipped(&self) -> Option<(u64, u64)> {
        let (_, first) = self.path.first()?;
        let of = |binding: u8| move |(bound, _): &&(u8, Event)| *bound == binding;
        let before = match self.program.skip {
            Skip::None => return None,
            Skip::Next => first.place + 1,
            Skip::PastLast => self.path.last()?.1.place + 1,
            Skip::ToFirst(binding) => self.path.iter().find(of(binding))?.1.place,
            Skip::ToLast(binding) => self.path.iter().rev().find(of(binding))?.1.place,
        };
        Some((first.place, before))
    }

    fn skip(&mut self, key: &[u64; KEYS_MAX], here: impl Fn(u64) -> bool) {
        let Some(partition) = self.runs.open(key) else { return };
        let mut at = self.runs.oldest(partition);
        while at != NONE {
            let run = *self.runs.get(at);
            if here(run.first) {
                let end = self.runs.end(at);
                self.store.release(end);
            }
            at = run.newer();
        }
        self.runs.close(partition);
    }
}

/// Which of two chains has the earlier events, compared from their beginnings.
fn compare(store: &Store, a: u32, b: u32) -> std::cmp::Ordering {
    // Chains are walked from their ends: the first difference from the beginning is the last one that is found.
    let (long, short) = (store.length(a), store.length(b));
    let both = long.min(short);
    let skip = |end, length: u16| store.back(end).skip(usize::from(length - both));
    let differs =
        skip(a, long).zip(skip(b, short)).map(|((to_a, a), (to_b, b))| (a.place, to_a).cmp(&(b.place, to_b)));
    let first =
        differs.fold(std::cmp::Ordering::Equal, |known, this| if this.is_eq() { known } else { this });
    first.then(long.cmp(&short))
}
