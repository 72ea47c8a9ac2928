//! The life of an order: one table of every state and every event.
//!
//! Reports may come late, twice, or in another order than things happened. A fill is never refused because of the
//! state an order is in: money has moved, and a state that says otherwise was wrong. Such a fill raises an alarm.

/// Where an order stands.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrderState {
    /// Passed risk; the venue has not answered.
    #[default]
    Pending = 0,
    /// On the venue's book, nothing filled.
    Open = 1,
    /// On the venue's book, partly filled.
    Partial = 2,
    /// The venue was silent, or the connection was lost: it may or may not stand. Charged as if it did.
    Unknown = 3,
    /// Filled entirely.
    Filled = 4,
    /// Taken back; fills made before that may still be reported.
    Canceled = 5,
    /// Refused by the venue, or never known to it.
    Rejected = 6,
    /// Ended by the venue: time in force, self-trade prevention.
    Expired = 7,
    /// Never sent: too late, halted, or of an older epoch.
    Unsent = 8,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Open,
        Self::Partial,
        Self::Unknown,
        Self::Filled,
        Self::Canceled,
        Self::Rejected,
        Self::Expired,
        Self::Unsent,
    ];

    /// True where it may still be filled, as far as is known: its remaining size counts as exposure.
    #[must_use]
    pub fn is_working(self) -> bool {
        matches!(self, Self::Pending | Self::Open | Self::Partial | Self::Unknown)
    }
}

/// What is reported about an order.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderEvent {
    /// The venue has taken it.
    Acknowledged = 1,
    /// Part of it was filled.
    PartFilled = 2,
    /// The last of it was filled.
    Filled = 3,
    /// It was taken back.
    Canceled = 4,
    /// The venue refused it.
    Rejected = 5,
    /// The venue ended it.
    Expired = 6,
    /// The gateway did not send it.
    Unsent = 7,
    /// No answer in time, or the connection was lost before one.
    Silent = 8,
    /// Asked, the venue says that it stands.
    FoundOpen = 9,
    /// Asked after timestamp and receive window had passed, the venue does not know it.
    NotFound = 10,
    /// The venue refused to take it back: it says nothing about the order itself.
    CancelRefused = 11,
}

impl OrderEvent {
    /// Name for logs and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::PartFilled => "part-filled",
            Self::Filled => "filled",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Unsent => "unsent",
            Self::Silent => "silent",
            Self::FoundOpen => "found-open",
            Self::NotFound => "not-found",
            Self::CancelRefused => "cancel-refused",
        }
    }

    /// Every event.
    pub const ALL: [Self; 11] = [
        Self::Acknowledged,
        Self::PartFilled,
        Self::Filled,
        Self::Canceled,
        Self::Rejected,
        Self::Expired,
        Self::Unsent,
        Self::Silent,
        Self::FoundOpen,
        Self::NotFound,
        Self::CancelRefused,
    ];

    /// The event of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|e| *e as u8 == code)
    }

    /// True for the events that move money.
    #[must_use]
    pub fn is_fill(self) -> bool {
        matches!(self, Self::PartFilled | Self::Filled)
    }
}

/// What an event does to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A step of an ordinary life.
    To(OrderState),
    /// Nothing: a late or repeated report of what is known.
    Stay,
    /// A step that contradicts what was reported before. It is taken, because money has moved, and it is an alarm.
    Alarm(OrderState),
    /// Contradicts what is known and moves no money: not taken, counted, an alarm.
    Refused,
}

/// The table.
#[must_use]
pub fn next(state: OrderState, event: OrderEvent) -> Move {
    use Move::{Alarm, Refused, Stay, To};
    use OrderEvent as E;
    use OrderState as S;
    match (state, event) {
        // What says nothing new about the order.
        (_, E::CancelRefused) => Stay,

        // Before the venue has answered, everything may come, and fills may come first.
        (S::Pending | S::Unknown, E::Acknowledged | E::FoundOpen) => To(S::Open),
        (S::Pending | S::Unknown, E::Rejected | E::NotFound) => To(S::Rejected),
        (S::Pending | S::Unknown, E::Unsent) => To(S::Unsent),

        // While it stands.
        (S::Open | S::Partial, E::Acknowledged | E::FoundOpen) => Stay,
        (S::Pending | S::Open | S::Partial | S::Unknown, E::PartFilled) => To(S::Partial),
        (S::Pending | S::Open | S::Partial | S::Unknown, E::Filled) => To(S::Filled),
        (S::Pending | S::Open | S::Partial | S::Unknown, E::Canceled) => To(S::Canceled),
        (S::Pending | S::Open | S::Partial | S::Unknown, E::Expired) => To(S::Expired),
        (S::Pending | S::Open | S::Partial, E::Silent) => To(S::Unknown),
        (S::Unknown, E::Silent) => Stay,
        // The venue has acknowledged it: it cannot be refused, unsent or unknown any more.
        (S::Open | S::Partial, E::Rejected | E::Unsent | E::NotFound) => Refused,

        // Taken back or ended: fills from before may still come in.
        (S::Canceled, E::PartFilled) => To(S::Canceled),
        (S::Expired, E::PartFilled) => To(S::Expired),
        (S::Canceled | S::Expired, E::Filled) => To(S::Filled),
        (S::Canceled | S::Expired, E::Canceled | E::Expired) => Stay,

        // A fill of what was said never to have stood: the word was wrong, the money is real.
        (S::Rejected | S::Unsent, E::PartFilled) => Alarm(S::Unknown),
        (S::Rejected | S::Unsent, E::Filled) => Alarm(S::Filled),
        (S::Rejected, E::Rejected | E::NotFound) | (S::Unsent, E::Unsent) => Stay,
        (S::Rejected | S::Unsent, E::Acknowledged | E::FoundOpen) => Alarm(S::Open),

        // Nothing is left to fill. A repeated fill is told from an excess by the fills themselves.
        (S::Filled, E::PartFilled | E::Filled) => Stay,

        // Reports overtaken by the end: the answer to a question asked earlier, an acknowledgement on another channel.
        (S::Filled | S::Canceled | S::Expired, E::Acknowledged | E::FoundOpen | E::Silent) => Stay,
        (S::Rejected | S::Unsent, E::Silent) => Stay,

        // An end that contradicts the end that is known.
        (S::Filled, E::Canceled | E::Expired | E::Rejected | E::Unsent | E::NotFound) => Refused,
        (S::Canceled | S::Expired, E::Rejected | E::Unsent | E::NotFound) => Refused,
        (S::Rejected, E::Canceled | E::Expired | E::Unsent) => Refused,
        (S::Unsent, E::Canceled | E::Expired | E::Rejected | E::NotFound) => Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table written a second time, as a grid, so that a slip in one is seen in the other: a row a state, a column
    /// an event. Capital: to that state; `.` stay; `!x` alarm to x; `-` refused.
    const GRID: [(OrderState, &str); 9] = [
        (OrderState::Pending, "O P F C R E N U O R ."),
        (OrderState::Open, ". P F C - E - U . - ."),
        (OrderState::Partial, ". P F C - E - U . - ."),
        (OrderState::Unknown, "O P F C R E N . O R ."),
        (OrderState::Filled, ". . . - - - - . . - ."),
        (OrderState::Canceled, ". C F . - . - . . - ."),
        (OrderState::Rejected, "!O !U !F - . - - . !O . ."),
        (OrderState::Expired, ". E F . - . - . . - ."),
        (OrderState::Unsent, "!O !U !F - - - . . !O - ."),
    ];

    fn state(letter: &str) -> OrderState {
        match letter {
            "O" => OrderState::Open,
            "P" => OrderState::Partial,
            "U" => OrderState::Unknown,
            "F" => OrderState::Filled,
            "C" => OrderState::Canceled,
            "R" => OrderState::Rejected,
            "E" => OrderState::Expired,
            "N" => OrderState::Unsent,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_pair_is_legal_or_refused_as_the_grid_says() {
        let mut pairs = 0;
        for (from, row) in GRID {
            let cells: Vec<_> = row.split(' ').collect();
            assert_eq!(cells.len(), OrderEvent::ALL.len());
            for (cell, event) in cells.iter().zip(OrderEvent::ALL) {
                let expected = match *cell {
                    "." => Move::Stay,
                    "-" => Move::Refused,
                    alarm if alarm.starts_with('!') => Move::Alarm(state(&alarm[1..])),
                    to => Move::To(state(to)),
                };
                assert_eq!(next(from, event), expected, "{from:?} {event:?}");
                pairs += 1;
            }
        }
        assert_eq!(pairs, OrderState::ALL.len() * OrderEvent::ALL.len());
    }

    #[test]
    fn a_fill_is_never_refused_and_nothing_leaves_filled() {
        for from in OrderState::ALL {
            for event in OrderEvent::ALL {
                let to = next(from, event);
                assert!(!event.is_fill() || to != Move::Refused, "{from:?} {event:?}");
                if from == OrderState::Filled {
                    assert!(matches!(to, Move::Stay | Move::Refused));
                }
            }
        }
    }
}
