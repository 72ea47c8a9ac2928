//! 3.6 Pattern recogniser: what followed windows like this one. Windows are remembered and compared beside the line ([`crate::slow`]); here what was
//! said last of them becomes a vote, as long as it may be used.

use kimera_protocol::{Abstention, InstrumentId, Kind, Message, Nanos, Opinion, Status, Topic};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::pool::Forecast;
use crate::sketch;

/// The newest word on each of the three topics.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    down: Opinion,
    up: Opinion,
    novelty: Opinion,
}

/// The member.
pub struct Pattern {
    member: usize,
    traded: InstrumentId,
    heard: Heard,
}

kimera_protocol::state!(Heard { down, up, novelty });
kimera_protocol::state!(Pattern { heard } fixed { member, traded });

impl Pattern {
    /// Votes as `member` on this instrument; has heard nothing yet.
    #[must_use]
    pub fn new(member: usize, traded: InstrumentId) -> Self {
        Self { member, traded, heard: Heard::default() }
    }

    fn hear(&mut self, opinion: &Opinion) {
        let held = match Topic::from_code(opinion.topic) {
            Some(Topic::PatternDown) => &mut self.heard.down,
            Some(Topic::PatternUp) => &mut self.heard.up,
            Some(Topic::PatternNovelty) => &mut self.heard.novelty,
            _ => return,
        };
        if opinion.basis >= held.basis {
            *held = *opinion;
        }
    }

    /// The forecast, where both of its sides were said of the same window and may be used.
    fn judge(&self, time: Nanos) -> Result<Forecast, Abstention> {
        let Heard { down, up, .. } = &self.heard;
        if down.basis != up.basis || up.topic == 0 {
            return Err(Abstention::NoSources);
        }
        match u8::try_from(up.status).ok().and_then(Status::from_code) {
            Some(Status::Warmup) => Err(Abstention::Warmup),
            Some(status) if status.is_usable() => {
                let (d, u) = down.usable(time).zip(up.usable(time)).ok_or(Abstention::NoSources)?;
                Ok([d, 1.0 - d - u, u])
            }
            _ => Err(Abstention::Degenerate),
        }
    }
}

impl Actor for Pattern {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message: &Message = input.message;
        if let Some(opinion) = message.body::<Opinion>() {
            if message.instrument() == self.traded {
                self.hear(opinion);
            }
        } else if message.is_mark() && message.kind() == Some(Kind::Features) {
            let time = message.header.time;
            let novelty = self.heard.novelty.usable(time).unwrap_or_default();
            let levels = (self.heard.up.observations as f64, novelty);
            send(self.member, self.judge(time).map(sketch::odds), levels, message, out);
        }
    }

    fn digest(&self) -> u64 {
        let Heard { down, up, novelty } = &self.heard;
        [down, up, novelty].iter().fold(0, |d: u64, o| {
            (d.rotate_left(13) ^ o.value.to_bits() ^ o.basis).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{SECOND, handle, mark, p};

    fn say(member: &mut Pattern, topic: Topic, value: f64, basis: u64, status: Status) {
        let opinion = Opinion {
            topic: topic as u64,
            value,
            observations: 16,
            status: status as u64,
            basis,
            valid_until: 5 * SECOND,
            ..Opinion::default()
        };
        assert!(handle(member, 1, SECOND, 0, opinion).is_none());
    }

    #[test]
    fn it_votes_what_was_said_last_as_long_as_it_may_be_used() {
        let mut member = Pattern::new(2, InstrumentId(1));
        assert_eq!(mark(&mut member, 1, SECOND, 100, 100.0, 0.0).abstains, Abstention::NoSources as u64);
        say(&mut member, Topic::PatternDown, 0.2, 9, Status::Ok);
        assert_eq!(
            mark(&mut member, 1, SECOND, 100, 100.0, 0.0).abstains,
            Abstention::NoSources as u64,
            "one side only"
        );
        say(&mut member, Topic::PatternUp, 0.5, 9, Status::Ok);
        say(&mut member, Topic::PatternNovelty, 0.6, 9, Status::Ok);
        say(&mut member, Topic::Vpin, 0.9, 10, Status::Ok);
        let vote = mark(&mut member, 1, 2 * SECOND, 100, 100.0, 0.0);
        assert_eq!((vote.abstains, vote.member, vote.level, vote.second), (0, 2, 16.0, 0.6));
        assert!(p(&vote).iter().zip([0.2, 0.3, 0.5]).all(|(said, p)| (said - p).abs() < 1e-3));
        say(&mut member, Topic::PatternUp, 0.9, 8, Status::Ok);
        assert_eq!(
            mark(&mut member, 0, 5 * SECOND, 100, 100.0, 0.0).sketch,
            vote.sketch,
            "an older word changes nothing"
        );
        assert_eq!(
            mark(&mut member, 1, 5 * SECOND + 1, 100, 100.0, 0.0).abstains,
            Abstention::NoSources as u64
        );
        for (status, reason) in
            [(Status::Warmup, Abstention::Warmup), (Status::ZeroVariance, Abstention::Degenerate)]
        {
            let basis = 10 + status as u64;
            say(&mut member, Topic::PatternDown, 0.0, basis, status);
            say(&mut member, Topic::PatternUp, 0.0, basis, status);
            assert_eq!(mark(&mut member, 1, SECOND, 100, 100.0, 0.0).abstains, reason as u64);
        }
    }

    #[test]
    fn what_is_no_distribution_is_an_abstention() {
        let mut member = Pattern::new(2, InstrumentId(1));
        say(&mut member, Topic::PatternDown, 0.8, 9, Status::Ok);
        say(&mut member, Topic::PatternUp, 0.7, 9, Status::Ok);
        assert_eq!(mark(&mut member, 1, SECOND, 100, 100.0, 0.0).abstains, Abstention::Degenerate as u64);
    }
}
