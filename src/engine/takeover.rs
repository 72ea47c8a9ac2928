//! A gateway that takes the place of one that has fallen: the orders of those before it are computed beside the line from the
//! journal, as far as anything of theirs can reach; the venue says what became of each. Until its orders are known nothing leaves
//! there, and until its account agrees with the books only ways out.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use kimera_gateway::{Known, Takeover};
use kimera_protocol::{Absent, CommandCode, Seq, Started, TradingState, VenueStatus};
use kimera_runtime::clock::monotonic_ns;

use super::live::{Live, Recovering};
use super::workshop::{Workshop, beside};
use crate::control::OrdersAtEnd;
use crate::exit::Failure;
use crate::line::Probes;
use crate::log;
use crate::log::Category::Trading;
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
    /// Gateways that had fallen when it was last looked at, and the last input while nobody else had.
    fallen: u64,
    seq: Seq,
    job: Option<Job>,
    /// When the last one fell, until the venue has explained its orders.
    pub(super) since: Option<u64>,
    /// What the line is still to be told of it.
    pub(super) to_tell: Option<CommandCode>,
}

struct Job {
    since: u64,
    /// The last input when the one before still sat there: the new one's first word comes after it.
    behind: Seq,
    look_at: u64,
    looking: Option<Receiver<Looked>>,
}

impl GatewaySeat {
    /// A seat where nobody has fallen.
    #[must_use]
    pub fn new(venue: u8, takeover: Arc<Takeover>) -> Self {
        Self { venue: venue.into(), takeover, fallen: 0, seq: 0, job: None, since: None, to_tell: None }
    }

    /// True once after another one has sat down.
    fn has_changed(&mut self, seq: Seq, now: u64) -> bool {
        let fallen = self.takeover.fallen();
        if fallen == self.fallen {
            self.seq = seq;
            return false;
        }
        self.fallen = fallen;
        self.job = Some(Job { since: now, behind: self.seq, look_at: now + LOOK, looking: None });
        self.since.get_or_insert(now);
        true
    }

    /// Makes progress with the orders of those before; `durable` is the last input on disk, and whether that does not answer.
    fn poll(
        &mut self,
        workshop: &Workshop,
        (durable, waits_for_disk): (Seq, bool),
        absences: Vec<Absent>,
        now: u64,
    ) -> Result<(), Failure> {
        // Put back where it goes on.
        let Some(mut job) = self.job.take() else { return Ok(()) };
        if waits_for_disk {
            job.since = now;
        }
        if now.saturating_sub(job.since) > BUDGET {
            return Err(Failure::defect(
                "a gateway took the place of another, and its orders were not known in time",
            ));
        }
        match &job.looking {
            None if now >= job.look_at && durable > job.behind => {
                let (workshop, venue, fallen, behind) =
                    (workshop.clone(), self.venue, self.fallen, job.behind);
                job.looking = Some(beside(move || look(&workshop, (venue, fallen), behind, &absences))?);
            }
            None => {}
            Some(looking) => match looking.try_recv() {
                Ok(looked) => match looked? {
                    Some(known) => {
                        self.takeover.deliver(known);
                        return Ok(());
                    }
                    None => (job.looking, job.look_at) = (None, now + LOOK),
                },
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::defect("looking for a gateway's orders panicked"));
                }
            },
        }
        self.job = Some(job);
        Ok(())
    }
}

/// Everything that the line has sent up to the first word of the gateway that sits there now, which comes after `behind`.
fn look(workshop: &Workshop, (venue, fallen): (u64, u64), behind: Seq, absences: &[Absent]) -> Looked {
    let (recorded, _) = replay::load_behind(workshop.layout.root(), behind)?;
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
    let (replica, said) = workshop.replica(&recorded, up_to, absences, &probes)?;
    let written = recorded.said.orders.iter().filter(|m| m.header.seq <= up_to);
    if written.zip(&said.said.orders).any(|(written, computed)| written != computed) {
        // Somebody is out and that was not known yet.
        return Ok(None);
    }
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
            log::warn(
                Trading,
                &format!(
                    "another {name} has taken its place: it asks the venue about every order of those before"
                ),
            );
            self.recovering = Some(Recovering::Asking);
            self.built.gateway.to_tell = match (self.ending, self.orders_at_end) {
                (false, _) => Some(CommandCode::Reduce),
                // What was asked of the one before may be lost with it.
                (true, OrdersAtEnd::Cancel) => Some(CommandCode::CancelAll),
                (true, OrdersAtEnd::Keep) => None,
            };
        }
        if let Some(code) = self.built.gateway.to_tell
            && self.counter("risk.epoch") > 0
        {
            let word = self.run.word.get();
            // A stronger word stays as it is.
            let stronger = code == CommandCode::Reduce && word.state != TradingState::Active;
            if stronger || self.send(code, word.epoch, 0) {
                self.built.gateway.to_tell = None;
            }
        }
        if self.built.gateway.job.is_none() {
            return Ok(());
        }
        let (durable, absences) = (self.counter("journal.durable_seq"), self.built.frontiers.absences());
        let waits = self.waits_for_disk();
        self.built.gateway.poll(&self.workshop, (durable, waits), absences, now)
    }
}
