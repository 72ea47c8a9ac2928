//! Working orders and positions. Orders enter when they pass; everything else moves by sequenced reports only.

use kimera_protocol::order::record::Applied;
use kimera_protocol::order::{Followed, OrderTable};
use kimera_protocol::{NewOrder, OrderId, OrderRecord, OrderState, OrderUpdate, Side};

/// An order that has passed, with what the checks ask about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The order and its state.
    pub record: OrderRecord,
    /// Its instrument.
    pub instrument: u16,
    /// Market time at which it passed.
    pub time: i64,
}

kimera_protocol::state!(Passed { record, instrument, time });

impl Followed for Passed {
    #[inline]
    fn record(&self) -> &OrderRecord {
        &self.record
    }
}

/// What a report did to the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Size to add to the position, with its sign; 0 where nothing was filled.
    pub signed_fill: i64,
    /// Someone has to look.
    pub alarm: bool,
}

/// Positions by instrument, and orders that work or may still be reported on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionBook {
    positions: Vec<i64>,
    orders: OrderTable<Passed>,
}

kimera_protocol::state!(PositionBook { positions, orders });

impl PositionBook {
    /// A book for `instruments`, keeping at most `capacity` orders, all memory taken now.
    #[must_use]
    pub fn new(instruments: usize, capacity: usize) -> Self {
        Self { positions: vec![0; instruments], orders: OrderTable::new(capacity) }
    }

    /// An instrument's position in 1e-8, with its sign.
    #[must_use]
    pub fn position(&self, instrument: u16) -> i64 {
        self.positions.get(usize::from(instrument)).copied().unwrap_or(0)
    }

    /// Orders that may still be filled.
    pub fn working(&self) -> impl Iterator<Item = &Passed> {
        self.orders.working()
    }

    /// How many may still be filled.
    #[must_use]
    pub fn working_len(&self) -> usize {
        self.orders.working_len()
    }

    /// True where an order of this identity is known, working or not.
    #[must_use]
    pub fn knows(&self, id: OrderId) -> bool {
        self.orders.knows(id)
    }

    /// Size of the working orders of a side, in 1e-8.
    #[must_use]
    pub fn working_size(&self, instrument: u16, side: Side) -> i64 {
        let same = self.working().filter(|p| p.instrument == instrument && p.record.order.side == side as u8);
        same.fold(0i64, |sum, p| sum.saturating_add(p.record.remaining()))
    }

    /// The same of one session's orders.
    #[must_use]
    pub fn session_size(&self, session: usize, instrument: u16, side: Side) -> i64 {
        let same = self.working().filter(|p| {
            let order = &p.record.order;
            p.instrument == instrument && order.side == side as u8 && order.id.session() == session
        });
        same.fold(0i64, |sum, p| sum.saturating_add(p.record.remaining()))
    }

    /// The position, without sign, if everything of a side that stands and `extra` more were filled and nothing of the
    /// other.
    #[must_use]
    pub fn worst_of_side(&self, instrument: u16, side: Side, extra: i64) -> i128 {
        let all = i128::from(self.working_size(instrument, side)) + i128::from(extra);
        let position = i128::from(self.position(instrument));
        if side == Side::Bid { (position + all).abs() } else { (position - all).abs() }
    }

    /// The largest position, without sign, that could come of what is and of what stands.
    #[must_use]
    pub fn worst_position(&self, instrument: u16) -> i128 {
        self.worst_of_side(instrument, Side::Bid, 0).max(self.worst_of_side(instrument, Side::Ask, 0))
    }

    /// True where an order of this side and size can only make the position smaller, even if everything of that side
    /// that stands is filled first: a flip through zero is not a way out.
    #[must_use]
    pub fn reduces(&self, instrument: u16, side: Side, size: i64) -> bool {
        let position = self.position(instrument);
        let opposite = if side == Side::Bid { position < 0 } else { position > 0 };
        let all = self.working_size(instrument, side).saturating_add(size);
        opposite && all as u64 <= position.unsigned_abs()
    }

    /// True where another order has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.orders.has_room()
    }

    /// Keeps an order that has passed; false where there is no room or one of its identity is known, which the checks have
    /// made sure of.
    #[must_use]
    pub fn insert(&mut self, passed: Passed) -> bool {
        self.orders.insert(passed)
    }

    /// An order that was sent and whose cause is lost: charged like any other, whatever of it was heard before. False where
    /// there is no room for it.
    #[must_use]
    pub fn adopt(&mut self, order: NewOrder, instrument: u16, time: i64) -> bool {
        if self.orders.change(order.id, |known| known.record.identify(order)).is_some() {
            return true;
        }
        let mut record = OrderRecord::new(order);
        record.state = OrderState::Unknown;
        self.insert(Passed { record, instrument, time })
    }

    /// Takes a report. A fill of an order that is not known any more still moves the position: the money is real.
    pub fn apply(&mut self, instrument: u16, update: &OrderUpdate) -> Effect {
        let taken = self.orders.change(update.id, |passed| {
            (passed.record.apply(update), passed.instrument, passed.record.order.side)
        });
        let Some((applied, instrument, side)) = taken else { return self.apply_unknown(instrument, update) };
        let mut effect = Effect { signed_fill: 0, alarm: applied.is_alarm() };
        if applied.books_fill() {
            effect.signed_fill = signed(side, update.quantity.0);
            self.move_position(instrument, effect.signed_fill);
        }
        debug_assert!(!matches!(applied, Applied::FillRefused(_)) || effect.signed_fill == 0);
        effect
    }

    fn apply_unknown(&mut self, instrument: u16, update: &OrderUpdate) -> Effect {
        let fills = kimera_protocol::OrderEvent::from_code(update.event).is_some_and(|e| e.is_fill());
        if !fills || update.quantity.0 <= 0 {
            return Effect { signed_fill: 0, alarm: fills };
        }
        // Kept from now on, so that the same report does not move the position twice.
        let mut record = OrderRecord::stranger(update.id, update.side);
        let booked = record.apply(update).books_fill();
        // That there is no room for it changes nothing: someone has to look in any case.
        let _ = self.insert(Passed { record, instrument, time: 0 });
        let signed_fill = if booked { signed(update.side, update.quantity.0) } else { 0 };
        self.move_position(instrument, signed_fill);
        Effect { signed_fill, alarm: true }
    }

    fn move_position(&mut self, instrument: u16, by: i64) {
        if let Some(position) = self.positions.get_mut(usize::from(instrument)) {
            *position = position.saturating_add(by);
        }
    }

    /// A digest of positions and working orders.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mix =
            |digest: u64, word: u64| (digest.rotate_left(13) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let digest = self.positions.iter().fold(0, |d, p| mix(d, *p as u64));
        self.working().fold(digest, |d, p| {
            mix(mix(mix(d, p.record.order.id.seq), p.record.state as u64), p.record.remaining() as u64)
        })
    }
}

fn signed(side: u8, size: i64) -> i64 {
    if side == Side::Bid as u8 { size } else { -size }
}
