//! Another gateway in the place of one that has fallen. What the one before knew is gone; what the line and the venue know of
//! its orders is not: the orders come from the journal, what became of them from the venue.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use kimera_protocol::{InstrumentId, OrderId, OrderRecord, Seq};

/// Every order of the gateways before.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The orders, as the reports have left them.
    pub orders: Vec<(InstrumentId, OrderRecord)>,
    /// The newest ended order that is not among them any more.
    pub forgotten: OrderId,
    /// Everything that inputs up to this one have caused is among them.
    pub up_to: Seq,
    /// Gateways that had fallen when this was asked for.
    pub fallen: u64,
}

/// Between the gateway's seat and whoever knows its orders.
#[derive(Debug, Default)]
pub struct Takeover {
    fallen: AtomicU64,
    known: Mutex<Option<Known>>,
}

impl Takeover {
    /// Gateways that have fallen there, or were told to go, in this start: whoever sits there now waits for their orders.
    #[must_use]
    pub fn fallen(&self) -> u64 {
        self.fallen.load(Ordering::Acquire)
    }

    /// Hands the orders over.
    pub fn deliver(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    /// The seat's side: another one sits there. How many were there before.
    pub(crate) fn begin(&self) -> u64 {
        self.fallen.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The seat's side: the orders, once everything that they cover has come out of the line.
    pub(crate) fn take(&self, drained: Seq) -> Option<Known> {
        let mut known = self.known.try_lock().ok()?;
        // What was meant for one that has fallen too is for nobody.
        known.take_if(|known| known.fallen != self.fallen());
        known.take_if(|known| known.up_to <= drained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_taken_once_the_line_is_through_and_by_the_one_they_are_for() {
        let takeover = Takeover::default();
        assert!(takeover.take(Seq::MAX).is_none());
        assert_eq!(takeover.begin(), 1);
        takeover.deliver(Known { up_to: 7, fallen: 1, ..Known::default() });
        assert!(takeover.take(6).is_none());
        assert_eq!(takeover.take(7).map(|k| k.up_to), Some(7));
        assert!(takeover.take(7).is_none(), "once");
        takeover.deliver(Known { up_to: 7, fallen: 1, ..Known::default() });
        assert_eq!((takeover.begin(), takeover.fallen()), (2, 2));
        assert!(takeover.take(7).is_none(), "it was for the one before");
        takeover.deliver(Known { up_to: 9, fallen: 2, ..Known::default() });
        assert_eq!(takeover.take(9).map(|k| k.fallen), Some(2));
    }
}
