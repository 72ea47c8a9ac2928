//! State of actors as bytes, for snapshots: everything a handler may have changed, nothing that the configuration says.
//!
//! Fields are listed once with [`state!`](crate::state); one that is left out does not compile. Loading goes into an actor
//! that was made from the same configuration, so what has a fixed size keeps its place in memory.

use crate::{
    Alert, Consensus, Decision, Features, Level, Message, NewOrder, News, Opinion, OrderId, OrderState,
    Price, Quantity, Quote, SessionTerms, Side, Status, Ticker, TimerRequest, Trading, TradingState, Urgency,
};

/// Version of the encoding and of every listed field: a snapshot of another one is not read.
pub const STATE_SCHEMA: u64 = 10;

/// State that cannot be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Fewer bytes than the fields need.
    #[error("the state ends at byte {0}, before its last field")]
    TooShort(usize),
    /// More bytes than the fields take.
    #[error("{0} bytes are left behind the last field of the state")]
    TooLong(usize),
    /// The state is of something whose text is not there.
    #[error("it needs the blob {}, which is missing or changed; copy it to the run's blobs", hex(.blob))]
    Missing {
        /// BLAKE3 of the text.
        blob: [u8; 32],
    },
    /// A value that no field can have, or another size than the configuration says.
    #[error("the state holds an impossible {what} before byte {at}")]
    Impossible {
        /// What it was to be.
        what: &'static str,
        /// Byte behind it.
        at: usize,
    },
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collects state.
#[derive(Clone, Debug, Default)]
pub struct Saver {
    bytes: Vec<u8>,
}

impl Saver {
    /// The bytes of one state.
    #[must_use]
    pub fn of(state: &(impl State + ?Sized)) -> Vec<u8> {
        let mut out = Self::default();
        state.save(&mut out);
        out.bytes
    }

    /// Appends plain bytes.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What was collected.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads state back.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Loader<'a> {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Loads a whole state: every byte belongs to it.
    ///
    /// # Errors
    /// Bytes that are no such state. What was loaded before the error stays: the state is not to be used.
    pub fn into_state(mut self, state: &mut (impl State + ?Sized)) -> Result<(), StateError> {
        state.load(&mut self)?;
        self.finish()
    }

    /// Every byte has been taken.
    ///
    /// # Errors
    /// [`StateError::TooLong`].
    pub fn finish(self) -> Result<(), StateError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(StateError::TooLong(self.bytes.len() - self.at))
        }
    }

    /// Takes plain bytes.
    ///
    /// # Errors
    /// [`StateError::TooShort`].
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], StateError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(StateError::TooShort(self.bytes.len()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// A value that cannot be.
    #[must_use]
    pub fn impossible(&self, what: &'static str) -> StateError {
        StateError::Impossible { what, at: self.at }
    }

    /// The length of a list; never more than there are bytes.
    fn length(&mut self) -> Result<usize, StateError> {
        let mut length = 0u64;
        length.load(self)?;
        if length as usize > self.bytes.len() { Err(self.impossible("length")) } else { Ok(length as usize) }
    }
}

/// Something whose state can be taken out and put back.
pub trait State {
    /// Appends everything that a handler may have changed.
    fn save(&self, out: &mut Saver);

    /// Replaces it by what was saved.
    ///
    /// # Errors
    /// Bytes that are no such state.
    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError>;
}

/// Lists the fields of a type that are its state, and behind `fixed` those that only its configuration decides.
///
/// ```
/// # use kimera_protocol::{state, state::{Loader, Saver, State}};
/// #[derive(Debug, PartialEq)]
/// struct Mean { half_life: i64, value: f64, n: u64 }
/// state!(Mean { value, n } fixed { half_life });
/// let bytes = Saver::of(&Mean { half_life: 5, value: 0.5, n: 2 });
/// let mut other = Mean { half_life: 5, value: 0.0, n: 0 };
/// Loader::new(&bytes).into_state(&mut other).unwrap();
/// assert_eq!(other, Mean { half_life: 5, value: 0.5, n: 2 });
/// ```
#[macro_export]
macro_rules! state {
    ($type:ty { $($field:ident),* $(,)? } $(fixed { $($fixed:ident),* $(,)? })?) => {
        impl $crate::state::State for $type {
            #[allow(unused_variables)]
            fn save(&self, out: &mut $crate::state::Saver) {
                let Self { $($field,)* $($($fixed: _,)*)? } = self;
                $($crate::state::State::save($field, out);)*
            }

            #[allow(unused_variables)]
            fn load(&mut self, from: &mut $crate::state::Loader<'_>) -> Result<(), $crate::state::StateError> {
                let Self { $($field,)* $($($fixed: _,)*)? } = self;
                $($crate::state::State::load($field, from)?;)*
                Ok(())
            }
        }
    };
}

/// Plain data: its bytes are its state.
macro_rules! plain {
    ($($type:ty),* $(,)?) => { $(
        impl State for $type {
            #[inline]
            fn save(&self, out: &mut Saver) {
                out.put(bytemuck::bytes_of(self));
            }

            #[inline]
            fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
                let bytes = from.take(size_of::<$type>())?;
                *self = bytemuck::pod_read_unaligned(bytes);
                Ok(())
            }
        }
    )* };
}

plain!(u8, u16, u32, u64, i8, i16, i32, i64, i128, f32, f64);
plain!(Price, Quantity, OrderId, NewOrder, Quote, Ticker, TimerRequest, Level, Features, Alert, Opinion);
plain!(Consensus, Decision, News, SessionTerms);

/// A word of eight bytes on every machine.
impl State for usize {
    fn save(&self, out: &mut Saver) {
        (*self as u64).save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut word = 0u64;
        word.load(from)?;
        *self = usize::try_from(word).map_err(|_| from.impossible("size"))?;
        Ok(())
    }
}

impl State for bool {
    fn save(&self, out: &mut Saver) {
        out.put(&[u8::from(*self)]);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        *self = match from.take(1)? {
            [0] => false,
            [1] => true,
            _ => return Err(from.impossible("yes or no")),
        };
        Ok(())
    }
}

impl<T: State + Default> State for Option<T> {
    fn save(&self, out: &mut Saver) {
        self.is_some().save(out);
        if let Some(value) = self {
            value.save(out);
        }
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut some = false;
        some.load(from)?;
        *self = if some {
            let mut value = T::default();
            value.load(from)?;
            Some(value)
        } else {
            None
        };
        Ok(())
    }
}

impl<T: State, const N: usize> State for [T; N] {
    fn save(&self, out: &mut Saver) {
        self.iter().for_each(|value| value.save(out));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        self.iter_mut().try_for_each(|value| value.load(from))
    }
}

/// A slice whose length the configuration says.
impl<T: State> State for Box<[T]> {
    fn save(&self, out: &mut Saver) {
        self.len().save(out);
        self.iter().for_each(|value| value.save(out));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        if from.length()? != self.len() {
            return Err(from.impossible("length: the configuration says another"));
        }
        self.iter_mut().try_for_each(|value| value.load(from))
    }
}

impl<T: State + Default> State for Vec<T> {
    fn save(&self, out: &mut Saver) {
        self.len().save(out);
        self.iter().for_each(|value| value.save(out));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let length = from.length()?;
        self.clear();
        for _ in 0..length {
            let mut value = T::default();
            value.load(from)?;
            self.push(value);
        }
        Ok(())
    }
}

/// Its room stays: what was made at the start is not made anew.
impl<T: State + Default> State for std::collections::VecDeque<T> {
    fn save(&self, out: &mut Saver) {
        self.len().save(out);
        self.iter().for_each(|value| value.save(out));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let length = from.length()?;
        self.clear();
        for _ in 0..length {
            let mut value = T::default();
            value.load(from)?;
            self.push_back(value);
        }
        Ok(())
    }
}

impl<A: State, B: State> State for (A, B) {
    fn save(&self, out: &mut Saver) {
        self.0.save(out);
        self.1.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        self.0.load(from)?;
        self.1.load(from)
    }
}

/// Ingress stamps are measurement and stay out of it.
impl State for Message {
    fn save(&self, out: &mut Saver) {
        let mut message = *self;
        message.header.ingress = 0;
        out.put(bytemuck::bytes_of(&message));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        *self = bytemuck::pod_read_unaligned(from.take(size_of::<Self>())?);
        if self.kind().is_none() { Err(from.impossible("message")) } else { Ok(()) }
    }
}

/// What can be computed again from the rest of a state: nothing of it is saved, and nothing of it is left after loading.
#[derive(Clone, Copy, Debug)]
pub struct Derived<T>(Option<T>);

impl<T> Default for Derived<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Derived<T> {
    /// The value, computed where it is not there.
    #[inline]
    pub fn get(&mut self, compute: impl FnOnce() -> T) -> &mut T {
        self.0.get_or_insert_with(compute)
    }

    /// What it was computed from has changed.
    #[inline]
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

impl<T> State for Derived<T> {
    fn save(&self, _out: &mut Saver) {}

    fn load(&mut self, _from: &mut Loader<'_>) -> Result<(), StateError> {
        self.forget();
        Ok(())
    }
}

/// Values with a code of their own: an enumeration without fields, and what it is called where a code is none of its.
#[macro_export]
macro_rules! coded_state {
    ($($type:ident: $what:literal [$($value:ident),* $(,)?];)*) => { $(
        impl $crate::state::State for $type {
            fn save(&self, out: &mut $crate::state::Saver) {
                out.put(&[*self as u8]);
            }

            fn load(&mut self, from: &mut $crate::state::Loader<'_>) -> Result<(), $crate::state::StateError> {
                let code = from.take(1)?[0];
                let known = [$(Self::$value),*].into_iter().find(|v| *v as u8 == code);
                *self = known.ok_or_else(|| from.impossible($what))?;
                Ok(())
            }
        }
    )* };
}

coded_state! {
    TradingState: "trading state" [Active, Reducing, Halted];
    OrderState: "state of an order"
        [Pending, Open, Partial, Unknown, Filled, Canceled, Rejected, Expired, Unsent];
    Side: "side" [Bid, Ask];
    Urgency: "urgency" [Quote, Take];
    Status: "status"
        [Warmup, Ok, Clamped, Stale, EmptyBook, OneSided, Crossed, ZeroVariance, PositiveAutocovariance];
}

state!(Trading { state, epoch });
