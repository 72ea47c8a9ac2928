//! Every order that the line has sent or taken up, as the reports have left it.

use std::collections::BTreeMap;

use kimera_protocol::{
    InstrumentId, Kind, Loader, Message, NewOrder, OrderId, OrderRecord, OrderUpdate, OrphanAdopted, Saver,
    State, StateError,
};

/// Ended orders that are remembered, newest first. An older one cannot be mistaken for one that nobody knows: see
/// [`OrderTable::forgotten`].
const ENDED_MAX: usize = 4_096;

/// Orders by identity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrderTable {
    orders: BTreeMap<OrderId, (InstrumentId, OrderRecord)>,
    forgotten: OrderId,
}

impl OrderTable {
    /// Takes what the line has said: a new order.
    pub fn said(&mut self, message: &Message) {
        if let Some(order) = message.body::<NewOrder>() {
            self.orders.insert(order.id, (message.instrument(), OrderRecord::new(*order)));
        }
    }

    /// Takes an input: a report, or an order that was found at the venue. What the line has said up to it comes first.
    pub fn heard(&mut self, message: &Message) {
        if let Some(orphan) = message.body::<OrphanAdopted>() {
            let record = (message.instrument(), OrderRecord::new(orphan.order()));
            self.orders.entry(orphan.id).or_insert(record);
        } else if let Some(update) = message.body::<OrderUpdate>()
            && let Some((_, record)) = self.orders.get_mut(&update.id)
        {
            record.apply(update);
        }
    }

    /// Takes a stretch of the sequence: what was said in it and its inputs.
    pub fn follow<'a>(
        &mut self,
        said: impl IntoIterator<Item = &'a Message>,
        inputs: impl IntoIterator<Item = &'a Message>,
    ) {
        said.into_iter().for_each(|message| self.said(message));
        let about_orders = |m: &&Message| matches!(m.kind(), Some(Kind::OrderUpdate | Kind::OrphanAdopted));
        inputs.into_iter().filter(about_orders).for_each(|message| self.heard(message));
    }

    /// Orders by identity, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &OrderRecord)> {
        self.orders.values().map(|(instrument, record)| (*instrument, record))
    }

    /// Orders that may still stand.
    #[must_use]
    pub fn working(&self) -> usize {
        self.iter().filter(|(_, record)| record.state.is_working()).count()
    }

    /// The newest ended order that is not remembered any more. One that the venue lists as ended, that is not here and not
    /// newer, is such a one: orders that the journal does not have are all newer than what it had when they were sent, and
    /// are in it before anything else is sent.
    #[must_use]
    pub fn forgotten(&self) -> OrderId {
        self.forgotten
    }

    /// Forgets the oldest ended orders.
    pub fn prune(&mut self) {
        let ended: Vec<OrderId> =
            self.orders.iter().filter(|(_, (_, r))| !r.state.is_working()).map(|(id, _)| *id).collect();
        for id in &ended[..ended.len().saturating_sub(ENDED_MAX)] {
            self.orders.remove(id);
            self.forgotten = self.forgotten.max(*id);
        }
    }

    /// All of them, oldest first, with the newest that was forgotten.
    #[must_use]
    pub fn into_parts(self) -> (Vec<(InstrumentId, OrderRecord)>, OrderId) {
        (self.orders.into_values().collect(), self.forgotten)
    }
}

impl State for OrderTable {
    fn save(&self, out: &mut Saver) {
        self.forgotten.save(out);
        self.orders.len().save(out);
        for (instrument, record) in self.orders.values() {
            instrument.0.save(out);
            record.save(out);
        }
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        self.forgotten.load(from)?;
        let mut count = 0usize;
        count.load(from)?;
        self.orders.clear();
        for _ in 0..count {
            let (mut instrument, mut record) = (InstrumentId::default(), OrderRecord::default());
            instrument.0.load(from)?;
            record.load(from)?;
            self.orders.insert(record.order.id, (instrument, record));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Header, OrderEvent, Quantity};

    fn order(seq: u64) -> Message {
        let id = OrderId { incarnation: 1, seq, ..OrderId::default() };
        Message::new(Header::default(), NewOrder { id, quantity: Quantity(10), ..NewOrder::default() })
    }

    fn ended(seq: u64) -> Message {
        let id = OrderId { incarnation: 1, seq, ..OrderId::default() };
        let event = OrderEvent::Canceled as u8;
        Message::new(Header::default(), OrderUpdate { id, event, ..OrderUpdate::default() })
    }

    #[test]
    fn what_works_is_never_forgotten_and_a_table_comes_back_as_it_was() {
        let mut table = OrderTable::default();
        let newest = 2 * ENDED_MAX as u64;
        for seq in 1..=newest {
            // The third works on.
            let update = (seq != 3).then(|| ended(seq));
            table.follow([&order(seq)], update.iter());
        }
        table.prune();
        assert_eq!((table.working(), table.orders.len()), (1, ENDED_MAX + 1));
        assert_eq!(table.forgotten().seq, newest - ENDED_MAX as u64);
        let mut again = OrderTable::default();
        Loader::new(&Saver::of(&table)).into_state(&mut again).unwrap();
        assert_eq!(again, table);
    }
}
