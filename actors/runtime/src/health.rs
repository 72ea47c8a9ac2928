//! How a seat is: whether somebody works there, how often who worked there has fallen, and what is wished of it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a seat does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SeatState {
    /// Somebody works there.
    Running = 0,
    /// Whoever worked there has fallen, and nobody is there yet.
    Out = 1,
    /// A new one is being made or catches up.
    Returning = 2,
    /// It was told to stop.
    Stopped = 3,
    /// It has fallen too often.
    GivenUp = 4,
}

impl SeatState {
    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Out => "out",
            Self::Returning => "returning",
            Self::Stopped => "stopped",
            Self::GivenUp => "given up",
        }
    }
}

/// What an operator wishes of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wish {
    /// Nothing.
    None = 0,
    /// Stop until it is started.
    Stop = 1,
    /// Work again.
    Start = 2,
    /// Be made anew.
    Restart = 3,
}

/// The health of one seat, shared by the seat and by who looks after it.
#[derive(Debug, Default)]
pub struct Health {
    state: AtomicU8,
    wish: AtomicU8,
    falls: AtomicU64,
    restarts: AtomicU64,
    last_failure: Mutex<String>,
}

impl Health {
    /// What the seat does.
    #[must_use]
    pub fn state(&self) -> SeatState {
        match self.state.load(Ordering::Acquire) {
            0 => SeatState::Running,
            1 => SeatState::Out,
            2 => SeatState::Returning,
            3 => SeatState::Stopped,
            _ => SeatState::GivenUp,
        }
    }

    /// Says what the seat does.
    pub fn set(&self, state: SeatState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Whoever worked there has fallen; with what it said.
    pub fn fell(&self, why: &str) {
        self.falls.fetch_add(1, Ordering::AcqRel);
        // Nobody waits here: on the other side somebody reads it once in a while.
        if let Ok(mut last) = self.last_failure.try_lock() {
            last.clear();
            last.push_str(why);
        }
        self.set(SeatState::Out);
    }

    /// A new one works there.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::AcqRel);
        self.set(SeatState::Running);
    }

    /// How often somebody has fallen there.
    #[must_use]
    pub fn falls(&self) -> u64 {
        self.falls.load(Ordering::Acquire)
    }

    /// How often a new one has come.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Acquire)
    }

    /// What the last one said that fell; empty where nobody has.
    #[must_use]
    pub fn last_failure(&self) -> String {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wishes something; the last wish holds.
    pub fn ask(&self, wish: Wish) {
        self.wish.store(wish as u8, Ordering::Release);
    }

    /// Takes the wish, if there is one.
    #[inline]
    #[must_use]
    pub fn take_wish(&self) -> Wish {
        if self.wish.load(Ordering::Acquire) == 0 {
            return Wish::None;
        }
        match self.wish.swap(0, Ordering::AcqRel) {
            1 => Wish::Stop,
            2 => Wish::Start,
            3 => Wish::Restart,
            _ => Wish::None,
        }
    }
}
