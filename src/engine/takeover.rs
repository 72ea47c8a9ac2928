//! A gateway that takes the place of one that has fallen: the orders of those before it are computed beside the line from the
//! journal, as far as anything of theirs can reach; the venue says what became of each. Until then nothing but ways out leaves.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use kimera_gateway::{Known, Takeover};
use kimera_protocol::{Absent, CommandCode, Seq, Started, TradingState, VenueStatus};
use kimera_runtime::clock::monotonic_ns;

use super::live::{Live, Recovering};
use super::workshop::{Workshop, beside};
use crate::exit::{Failure, say};
use crate::line::Probes;
use crate::replay;

/// Longest time until the orders are known, ns: then the engine ends, and comes back with everything.
const BUDGET: u64 = 10_000_000_000;
/// Between two looks into the journal, ns.
const LOOK: u64 = 20_000_000;

/// What has come of a look: the orders; none where the journal does not hold the new one's first word yet.
type Looked = Result<Option<Known>, Failure>;

/// A gateway's seat, as the engine's own loop sees it.
pub struct GatewaySeat {
    venue: u64,
    takeover: Arc<Takeover>,
    /// Gateways that had fallen when it was last looked at, and the last input then.
    fallen: u64,
    seq: Seq,
    job: Option<Job>,
    /// When the last one fell, until the venue has explained its orders.
    pub(super) since: Option<u64>,
    /// The line is still to be told that only ways out may leave.
    to_tell: bool,
}

struct Job {
    since: u64,
    look_at: u64,
    looking: Option<Receiver<Looked>>,
}

impl GatewaySeat {
    /// A seat where nobody has fallen.
    #[must_use]
    pub fn new(venue: u8, takeover: Arc<Takeover>) -> Self {
        Self { venue: venue.into(), takeover, fallen: 0, seq: 0, job: None, since: None, to_tell: false }
    }

    /// True once after another one has sat down.
    fn has_changed(&mut self, seq: Seq, now: u64) -> bool {
        let fallen = self.takeover.fallen();
        if fallen == self.fallen {
            self.seq = seq;
            return false;
        }
        self.fallen = fallen;
        self.job = Some(Job { since: now, look_at: 0, looking: None });
        self.since.get_or_insert(now);
        self.to_tell = true;
        true
    }

    /// Makes progress with the orders of those before.
    fn poll(&mut self, workshop: &Workshop, absences: Vec<Absent>, now: u64) -> Result<(), Failure> {
        let Some(job) = &mut self.job else { return Ok(()) };
        if now.saturating_sub(job.since) > BUDGET {
            return Err(Failure::run(
                "a gateway took the place of another, and its orders were not known in time",
            ));
        }
        match &job.looking {
            None if now >= job.look_at => {
                let (workshop, venue, fallen, seq) = (workshop.clone(), self.venue, self.fallen, self.seq);
                job.looking = Some(beside(move || look(&workshop, (venue, fallen), seq, &absences))?);
            }
            None => {}
            Some(looking) => match looking.try_recv() {
                Ok(looked) => match looked? {
                    Some(known) => {
                        self.takeover.deliver(known);
                        self.job = None;
                    }
                    None => (job.looking, job.look_at) = (None, now + LOOK),
                },
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::run("looking for a gateway's orders panicked"));
                }
            },
        }
        Ok(())
    }
}

/// Everything that the line has sent up to the first word of the gateway that sits there now, which comes after `seq`.
fn look(workshop: &Workshop, (venue, fallen): (u64, u64), seq: Seq, absences: &[Absent]) -> Looked {
    let (recorded, _) = replay::load_behind(workshop.layout.root(), seq)?;
    let mut up_to: Option<Seq> = None;
    for message in recorded.inputs.iter() {
        if message.body::<Started>().is_some() {
            up_to = None;
        } else if up_to.is_none()
            && message.body::<VenueStatus>().is_some_and(|s| s.venue == venue && s.fallen == fallen)
        {
            up_to = Some(message.header.seq);
        }
    }
    let Some(up_to) = up_to else { return Ok(None) };
    let probes = Probes { faults: workshop.faults.clone(), ..Probes::default() };
    let replica = workshop.replica(&recorded, up_to, absences, &probes)?;
    let (orders, forgotten) = replica.orders().clone().into_parts();
    Ok(Some(Known { orders, forgotten, up_to, fallen }))
}

impl Live<'_> {
    /// A gateway that has taken the place of another gets to know its orders; only ways out leave until the venue has
    /// explained them and its account agrees with the books.
    ///
    /// # Errors
    /// Where its orders cannot be known: the engine has to end.
    pub(super) fn take_over(&mut self) -> Result<(), Failure> {
        let (now, seq) = (monotonic_ns(), self.counter("sequencer.seq"));
        if self.built.gateway.has_changed(seq, now) {
            let name = &self.run.config.account.gateway;
            say(&format!(
                "another {name} has taken its place: it asks the venue about every order of those before"
            ));
            self.recovering = Some(Recovering::Asking);
        }
        if self.built.gateway.to_tell && self.counter("risk.epoch") > 0 {
            let word = self.run.word.get();
            // A stronger word stays as it is.
            let tell = word.state == TradingState::Active && !self.ending;
            self.built.gateway.to_tell = tell && !self.send(CommandCode::Reduce, word.epoch, 0);
        }
        if self.built.gateway.job.is_none() {
            return Ok(());
        }
        let absences = self.built.frontiers.absences();
        self.built.gateway.poll(&self.workshop, absences, now)
    }
}
