//! A member that is seated and has nothing to go by: it says so at every mark.

use kimera_protocol::{Abstention, Kind};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;

/// The member.
pub struct Abstainer {
    member: usize,
    reason: Abstention,
}

kimera_protocol::state!(Abstainer {} fixed { member, reason });

impl Abstainer {
    /// Abstains as `member` with this reason.
    #[must_use]
    pub fn new(member: usize, reason: Abstention) -> Self {
        Self { member, reason }
    }
}

impl Actor for Abstainer {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        if input.message.is_mark() && input.message.kind() == Some(Kind::Features) {
            send(self.member, Err(self.reason), (0.0, 0.0), input.message, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::mark;

    #[test]
    fn it_says_why() {
        let mut member = Abstainer::new(3, Abstention::NoData);
        let vote = mark(&mut member, 0, 1, 100, 100.0, 0.0);
        assert_eq!((vote.member, vote.abstains, vote.sketch.word()), (3, Abstention::NoData as u64, 0));
    }
}
