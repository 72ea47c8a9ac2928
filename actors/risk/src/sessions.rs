//! What each session has and may: risk keeps its own count, from the same fills as everybody.

use kimera_protocol::{Command, SESSIONS_MAX, SessionChange, SessionTerms, Sessions, Side};

use crate::book::PositionBook;
use crate::equity::FINE;

/// Positions and money by session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionBook {
    terms: Sessions,
    /// By place, then by instrument, in 1e-8 with its sign.
    positions: Box<[i64]>,
    /// What came in less what went out since the session began, fees off, in 1e-16.
    cash: [i128; SESSIONS_MAX],
    instruments: usize,
}

kimera_protocol::state!(SessionBook { terms, positions, cash } fixed { instruments });

impl SessionBook {
    /// These sessions, with nothing held.
    #[must_use]
    pub fn new(terms: &[SessionTerms], instruments: usize) -> Self {
        Self {
            terms: Sessions::running(terms),
            positions: vec![0; SESSIONS_MAX * instruments].into(),
            cash: [0; SESSIONS_MAX],
            instruments,
        }
    }

    /// Who sits where.
    #[must_use]
    pub fn terms(&self) -> &Sessions {
        &self.terms
    }

    /// Takes a command about a session; a new one begins with nothing, but for what was left at its place.
    pub fn command(&mut self, command: &Command) {
        if let Some(SessionChange::Started(place)) = self.terms.apply(command)
            && self.positions[place * self.instruments..][..self.instruments].iter().all(|p| *p == 0)
        {
            self.cash[place] = 0;
        }
    }

    /// Position of a session in an instrument, in 1e-8 with its sign.
    #[must_use]
    pub fn position(&self, session: usize, instrument: u16) -> i64 {
        let at = usize::from(instrument);
        if session >= SESSIONS_MAX || at >= self.instruments {
            return 0;
        }
        self.positions[session * self.instruments + at]
    }

    /// Takes a fill: `size` in 1e-8 with its sign, `price` and `fee` in 1e-8 of the quote asset.
    pub fn fill(&mut self, session: usize, instrument: u16, size: i64, price: i128, fee: i64) {
        let at = usize::from(instrument);
        if session >= SESSIONS_MAX || at >= self.instruments {
            return;
        }
        let position = &mut self.positions[session * self.instruments + at];
        *position = position.saturating_add(size);
        let value = price.saturating_mul(i128::from(size));
        let cash = &mut self.cash[session];
        *cash = cash.saturating_sub(value).saturating_sub(i128::from(fee) * FINE);
    }

    /// Result of a session in 1e-16, what it holds at `doubled` prices (twice the price, 1e-8 of the quote asset) by instrument.
    #[must_use]
    pub fn result(&self, session: usize, doubled: impl Fn(u16) -> i128) -> i128 {
        let Some(cash) = self.cash.get(session) else { return 0 };
        (0..self.instruments).fold(*cash, |sum, i| {
            let position = i128::from(self.position(session, i as u16));
            sum.saturating_add(position.saturating_mul(doubled(i as u16)) / 2)
        })
    }

    /// True where an order of this side and size can only make the session's position smaller, even if everything of it that stands on that side
    /// is filled first.
    #[must_use]
    pub fn leads_out(
        &self,
        book: &PositionBook,
        session: usize,
        instrument: u16,
        side: Side,
        size: i64,
    ) -> bool {
        let position = self.position(session, instrument);
        let opposite = if side == Side::Bid { position < 0 } else { position > 0 };
        let all = book.session_size(session, instrument, side).saturating_add(size);
        size > 0 && opposite && all as u64 <= position.unsigned_abs()
    }

    /// The session's largest exposure that could come of what is, what stands, and `extra` more on one side of one instrument, at `doubled` prices; in 1e-16.
    #[must_use]
    pub fn worst_exposure(
        &self,
        book: &PositionBook,
        session: usize,
        extra: (u16, Side, i64),
        doubled: impl Fn(u16) -> i128,
    ) -> i128 {
        (0..self.instruments as u16).fold(0i128, |sum, i| {
            let more = |side: Side| if extra.0 == i && extra.1 == side { extra.2 } else { 0 };
            let all = |side: Side| i128::from(book.session_size(session, i, side).saturating_add(more(side)));
            let position = i128::from(self.position(session, i));
            let worst = (position + all(Side::Bid)).abs().max((position - all(Side::Ask)).abs());
            sum.saturating_add(worst.saturating_mul(doubled(i)) / 2)
        })
    }

    /// A word for who sits where, and what they have.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mix = |d: u64, w: u64| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let start = self
            .positions
            .iter()
            .fold(self.terms.digest(), |d, p| if *p == 0 { d } else { mix(d, *p as u64) });
        self.cash.iter().fold(start, |d, c| if *c == 0 { d } else { mix(d, *c as u64) })
    }
}
