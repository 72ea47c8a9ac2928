//! A gateway in the place of one that has fallen, until it knows the orders of those before it.

use std::collections::BTreeSet;

use kimera_protocol::{OrderId, Seq, TradingState};
use kimera_runtime::Word;
use kimera_runtime::clock::monotonic_ns;

use super::{Gateway, GatewayConfig, Meters, Reconciling};

/// What comes out of the line before the orders of the gateways before are known.
#[derive(Default)]
pub(super) struct Meanwhile {
    /// Orders that this one has taken: it knows all about them.
    pub(super) taken: BTreeSet<OrderId>,
    /// Orders that are wanted back and are not known yet.
    pub(super) cancels: Vec<OrderId>,
    pub(super) cancel_all: bool,
}

impl Gateway {
    /// One that takes the place of a gateway that has fallen: the line hears first that nothing can be sent.
    #[must_use]
    pub fn instead(config: GatewayConfig, meters: Meters) -> Self {
        let takeover = config.takeover.clone();
        // The list is wanted at once, and asked for once its private stream is open: not before it knows its orders.
        let mut gateway = Self::beginning(config, meters, Reconciling::Wanted);
        gateway.meanwhile = Some(Meanwhile::default());
        // The countdown of the one before may run.
        gateway.dead_man.may_run();
        gateway.fallen = takeover.begin();
        gateway.stage_status();
        gateway
    }

    /// Takes up the orders of the gateways before; the venue is asked about each.
    pub(super) fn take_over(&mut self, drained: Seq) -> bool {
        let Some(known) = self.config.takeover.take(drained) else { return false };
        let Some(meanwhile) = self.meanwhile.take() else { return false };
        let now = monotonic_ns();
        for (instrument, record) in known.orders {
            if meanwhile.taken.contains(&record.order.id) {
                continue;
            }
            if record.state.is_working() {
                self.desk.adopt(&record, instrument, now);
            }
            self.known.insert(record.order.id, (instrument, record));
        }
        self.forgotten = known.forgotten;
        meanwhile.cancels.into_iter().for_each(|id| self.desk.cancel(id));
        if meanwhile.cancel_all {
            self.desk.cancel_all();
        }
        // A halt is one for these orders too, and so is a silence of the disk.
        self.seen = Word { state: TradingState::Active, epoch: 0 };
        self.disk_silent = false;
        true
    }
}
