//! Sessions: strategies that trade side by side on one account, each with capital, limits and a result of its own.
//!
//! A session sits at one of [`SESSIONS_MAX`] places. Who sits there and on which terms is said by the configuration and by
//! sequenced commands, and every stage that asks follows them by [`Sessions`].

use bytemuck::{Pod, Zeroable};

use crate::control::{Command, CommandCode};

/// Places for sessions.
pub const SESSIONS_MAX: usize = 8;
/// A share of the capital that binds nobody: a hundred times all of it.
pub const UNBOUND_BPS: i64 = 1_000_000;
/// Ten-thousandths in a whole.
const WHOLE_BPS: i128 = 10_000;

/// What a session may do.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SessionTerms {
    /// Number of the strategy, in every order and report: the session's identity. 0 where nobody sits.
    pub number: u16,
    /// Which kind of strategy, by its place in the list of kinds.
    pub kind: u16,
    /// Zero.
    pub reserved: u32,
    /// Its share of the account, in 1e-8 of the quote asset.
    pub capital: i64,
    /// Largest worst-case exposure, in ten-thousandths of its capital.
    pub exposure_bps: i64,
    /// Loss since its beginning, in ten-thousandths of its capital, from which on only ways out leave.
    pub loss_bps: i64,
    /// Zero.
    pub reserved_word: u64,
}

impl SessionTerms {
    /// True where `value` (1e-16 of the quote asset) is at most so many ten-thousandths of the capital. Overflow is no.
    #[must_use]
    pub fn holds(&self, value: i128, bps: i64) -> bool {
        let allowed = i128::from(self.capital).checked_mul(i128::from(bps));
        let value = value.checked_mul(WHOLE_BPS);
        matches!((value, allowed.and_then(|a| a.checked_mul(100_000_000))), (Some(v), Some(a)) if v <= a)
    }
}

/// A place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// Who sits there.
    pub terms: SessionTerms,
    /// It may take risk.
    pub runs: bool,
}

crate::state!(Seat { terms, runs });

/// Who sits where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    seats: [Seat; SESSIONS_MAX],
    /// Commands about sessions that were taken.
    taken: u64,
    /// How many sit behind the first place.
    others: u64,
}

crate::state!(Sessions { seats, taken, others });

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// Somebody new sits at this place.
    Started(usize),
    /// The session at this place goes on differently.
    Changed(usize),
}

impl Sessions {
    /// Sessions that run from the beginning, each at the place of its position in the list.
    #[must_use]
    pub fn running(terms: &[SessionTerms]) -> Self {
        let mut sessions = Self::default();
        for (seat, terms) in sessions.seats.iter_mut().zip(terms) {
            *seat = Seat { terms: *terms, runs: true };
        }
        sessions.count();
        sessions
    }

    /// A place; an empty one where there is none of this number.
    #[must_use]
    pub fn at(&self, place: usize) -> Seat {
        self.seats.get(place).copied().unwrap_or_default()
    }

    /// A place, where somebody sits there.
    #[inline]
    #[must_use]
    pub fn seat(&self, place: usize) -> Option<&Seat> {
        self.seats.get(place).filter(|seat| seat.terms.number != 0)
    }

    /// Places where somebody sits.
    pub fn seated(&self) -> impl Iterator<Item = (usize, &Seat)> {
        self.seats.iter().enumerate().filter(|(_, seat)| seat.terms.number != 0)
    }

    /// True where nobody sits but at the first place.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.others == 0
    }

    /// Commands about sessions that were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes a command; none where it is not about a session, or about none that there is.
    pub fn apply(&mut self, command: &Command) -> Option<SessionChange> {
        let place = usize::try_from(command.session).ok()?;
        let seat = self.seats.get_mut(place)?;
        let is_there = seat.terms.number != 0;
        let change = match CommandCode::from_code(command.code)? {
            // A place that was used is not used again: a late fill of its orders would be somebody else's.
            CommandCode::SessionStart if command.terms.number != 0 && !is_there => {
                *seat = Seat { terms: command.terms, runs: true };
                SessionChange::Started(place)
            }
            // But for the session itself: it goes on where it stopped.
            CommandCode::SessionStart
                if is_there
                    && (seat.terms.number, seat.terms.kind) == (command.terms.number, command.terms.kind) =>
            {
                *seat = Seat { terms: command.terms, runs: true };
                SessionChange::Changed(place)
            }
            CommandCode::SessionStop if is_there => {
                seat.runs = false;
                SessionChange::Changed(place)
            }
            CommandCode::SessionWeigh if is_there => {
                // Its number and kind stay what they are: it is the same session.
                let SessionTerms { number, kind, .. } = seat.terms;
                seat.terms = SessionTerms { number, kind, ..command.terms };
                SessionChange::Changed(place)
            }
            _ => return None,
        };
        self.taken += 1;
        self.count();
        Some(change)
    }

    fn count(&mut self) {
        self.others = self.seats[1..].iter().filter(|seat| seat.terms.number != 0).count() as u64;
    }

    /// A word for who sits where.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.seated().fold(self.taken, |d, (place, seat)| {
            let t = &seat.terms;
            let words = [
                place as u64
                    ^ u64::from(seat.runs) << 8
                    ^ u64::from(t.number) << 16
                    ^ u64::from(t.kind) << 32,
                t.capital as u64,
                t.exposure_bps as u64,
                t.loss_bps as u64,
            ];
            words.iter().fold(d, |d, w| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(number: u16, capital: i64) -> SessionTerms {
        SessionTerms {
            number,
            kind: 2,
            capital,
            exposure_bps: 10_000,
            loss_bps: 500,
            ..SessionTerms::default()
        }
    }

    #[test]
    fn sessions_start_stop_and_are_weighed_by_command() {
        let mut sessions = Sessions::running(&[terms(1, 100)]);
        let mut take = |code: CommandCode, session, terms| {
            sessions.apply(&Command { code: code as u64, session, terms, ..Command::default() })
        };
        assert_eq!(take(CommandCode::SessionStart, 3, terms(7, 50)), Some(SessionChange::Started(3)));
        assert_eq!(take(CommandCode::SessionStart, 4, SessionTerms::default()), None, "nobody");
        assert_eq!(take(CommandCode::SessionStart, 3, terms(8, 50)), None, "somebody sits there");
        assert_eq!(take(CommandCode::SessionStart, 8, terms(9, 50)), None, "no such place");
        assert_eq!(take(CommandCode::SessionStop, 5, terms(0, 0)), None, "nobody sits there");
        assert_eq!(take(CommandCode::SessionStart, 3, terms(8, 50)), None, "nor is it used again");
        assert_eq!(
            take(CommandCode::SessionStart, 3, terms(7, 60)),
            Some(SessionChange::Changed(3)),
            "itself goes on"
        );
        assert_eq!(take(CommandCode::SessionStop, 3, terms(0, 0)), Some(SessionChange::Changed(3)));
        assert_eq!(take(CommandCode::SessionWeigh, 0, terms(99, 20)), Some(SessionChange::Changed(0)));
        assert_eq!(take(CommandCode::SessionStop, 3, terms(0, 0)), Some(SessionChange::Changed(3)));
        assert_eq!(take(CommandCode::Halt, 0, terms(0, 0)), None);
        assert_eq!(sessions.at(0), Seat { terms: terms(1, 20), runs: true }, "its number stays");
        assert_eq!(sessions.at(3), Seat { terms: terms(7, 60), runs: false });
        assert_eq!((sessions.at(99), sessions.taken()), (Seat::default(), 5));
    }

    #[test]
    fn a_share_of_the_capital_is_exact() {
        let of = terms(1, 100); // 1e-8 each, so 1e10 of 1e-16
        assert!(of.holds(500_000_000, 500) && !of.holds(500_000_001, 500));
        assert!(!of.holds(i128::MAX, 10_000), "overflow is no");
    }
}
