//! Deadlines that stages have asked for.

use kimera_protocol::{Header, InstrumentId, Kind, Message, Nanos, Timer, TimerRequest};

/// Deadlines at a time, over all owners. Stages use a fixed few names, so this is never reached but by a bug.
pub const TIMERS_MAX: usize = 64;

/// Open requests, one for each owner and name.
#[derive(Clone, Debug)]
pub struct Timers {
    open: Vec<TimerRequest>,
    /// Requests for which there was no place.
    refused: u64,
}

kimera_protocol::state!(Timers { open, refused });

impl Default for Timers {
    fn default() -> Self {
        Self { open: Vec::with_capacity(TIMERS_MAX), refused: 0 }
    }
}

impl Timers {
    /// Takes a request; one of the same owner and name is replaced.
    pub fn request(&mut self, request: &TimerRequest) {
        let same = |open: &&mut TimerRequest| (open.owner, open.id) == (request.owner, request.id);
        if let Some(open) = self.open.iter_mut().find(same) {
            *open = *request;
        } else if self.open.len() < TIMERS_MAX {
            self.open.push(*request);
        } else {
            self.refused += 1;
        }
    }

    /// Forgets the request that an input has answered.
    pub fn fired(&mut self, timer: &Timer) {
        self.open.retain(|r| (r.owner, r.id, r.deadline) != (timer.owner, timer.id, timer.deadline));
    }

    /// The input for the earliest deadline that has come; the request stays until [`Timers::fired`].
    #[must_use]
    pub fn due(&self, now: Nanos) -> Option<Message> {
        // Ties by owner and name: the order of requests depends on threads.
        let first = self.open.iter().min_by_key(|r| (r.deadline, r.owner, r.id))?;
        let timer = Timer { owner: first.owner, id: first.id, deadline: first.deadline, ..Timer::default() };
        let header = Header::unsequenced(Kind::Timer, InstrumentId(0));
        (first.deadline <= now).then(|| Message::new(header, timer))
    }

    /// True where nobody waits for anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Requests for which there was no place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_a_new_request_replaces_the_old() {
        let mut timers = Timers::default();
        let request = |id, deadline| TimerRequest { owner: 1, id, deadline, ..TimerRequest::default() };
        timers.request(&request(1, 50));
        timers.request(&request(2, 40));
        timers.request(&request(1, 30));
        assert!(timers.due(29).is_none());
        let due = |timers: &Timers| timers.due(100).and_then(|m| m.body::<Timer>().copied());
        let first = due(&timers).unwrap();
        assert_eq!((first.id, first.deadline), (1, 30));
        timers.fired(&first);
        let second = due(&timers).unwrap();
        assert_eq!(second.id, 2);
        timers.fired(&second);
        assert!(timers.is_empty() && due(&timers).is_none());
        (0..100).for_each(|id| timers.request(&request(id, 1)));
        assert_eq!(timers.refused(), 36);
    }
}
