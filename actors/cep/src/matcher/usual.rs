//! What most events do, without taking runs apart and putting others together: the only run of a partition gives way to one that begins with
//! this event, or a run goes on in its place. What is left behind is what the general way would have left.

use super::Matcher;
use super::runs::{Run, State};
use super::store::NONE;
use crate::language::{KEYS_MAX, Link, Program};
use crate::schema::Event;

/// Where every run of a pattern stands behind its first event, and the step that event is of; none where that is not one place.
pub(super) fn only_beginning(program: &Program) -> Option<(u16, u8)> {
    let [start] = program.starts[..] else { return None };
    let step = program.edges[usize::from(start)].to?;
    let first = &program.steps[usize::from(step)];
    let [edge] = first.follow[..] else { return None };
    let follows = &program.edges[usize::from(edge)];
    let ends = follows.to.is_none() && follows.nots.is_empty();
    (first.max == 1 && first.min <= 1 && !ends).then_some((edge, step))
}

impl Matcher {
    /// True where the event has ended the only run of a partition that had taken nothing but its first event, and has begun another: that is done.
    pub(super) fn begins_anew(&mut self, partition: u32, event: &Event, key: &[u64; KEYS_MAX]) -> bool {
        let Some((edge, step)) = self.beginning else { return false };
        let Some((at, run)) = self.runs.only(partition).filter(|(_, run)| run.state == State::Wait(edge))
        else {
            return false;
        };
        let (end, has_waited) = (run.end, run.has_waited);
        let is_over = self.program.within.is_some_and(|w| run.first_time.saturating_add(w) < event.time);
        if !is_over && !self.ends(edge, (end, has_waited), event, key) || !self.fits(step, event, NONE, key) {
            return false;
        }
        self.store.replace(end, event);
        self.runs.begin_anew(at, event.place, event.time);
        self.look_in_time(event.time);
        true
    }

    /// True where a run that waits at an edge ends with this event and takes nothing.
    fn ends(&self, edge: u16, run: (u32, bool), event: &Event, key: &[u64; KEYS_MAX]) -> bool {
        let edge = &self.program.edges[usize::from(edge)];
        if self.is_stopped(edge, run, event, key) {
            return true;
        }
        edge.link == Link::Strict && edge.to.is_some_and(|step| !self.fits(step, event, run.0, key))
    }

    /// A run takes an event and is behind it in one place only: true where it has gone there.
    pub(super) fn goes_on(
        &mut self,
        at: u32,
        (step, count): (u8, u16),
        event: &Event,
        kept: &mut u32,
    ) -> bool {
        let this = &self.program.steps[usize::from(step)];
        let state = if count < this.max {
            if count >= this.min {
                return false;
            }
            State::Loop(step, count)
        } else {
            let [edge] = this.follow[..] else { return false };
            let follows = &self.program.edges[usize::from(edge)];
            if follows.to.is_none() && follows.nots.is_empty() {
                return false;
            }
            State::Wait(edge)
        };
        let Run { end, .. } = *self.runs.get(at);
        let is_full = usize::from(self.store.length(end)) >= self.bounds.events_per_run;
        if is_full || !self.store.has_room(*kept == NONE) {
            return false;
        }
        if *kept == NONE {
            let Some(slot) = self.store.keep(event) else { return false };
            *kept = slot;
        }
        let Some(end) = self.store.go_on(end, *kept, this.binding) else { return false };
        self.runs.go_on(at, state, end);
        true
    }
}
