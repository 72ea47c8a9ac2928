//! What events there are. A pattern's names are looked up here once, when it is loaded; behind that they are numbers.

use kimera_protocol::{Nanos, Seq};

/// Most fields of an event, the implied ones not counted.
pub const FIELDS_MAX: usize = 12;
/// Implied field of every event: the sequencer's time, ns.
pub const TIME: &str = "t";
/// Implied field of every event: the input it is, or was caused by.
pub const SEQ: &str = "seq";

/// Type of a field or of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A whole number: identifiers, counts, times in ns.
    Int,
    /// A number: prices and sizes in the units people use.
    Float,
    /// True or false.
    Bool,
    /// One of a few words.
    Symbol,
}

impl Type {
    /// Name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::Bool => "true or false",
            Self::Symbol => "a word",
        }
    }

    /// True for what can be added and ordered.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }
}

/// A value of a field or of an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number, never NaN.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Index of a word in [`Schema::symbols`].
    Symbol(u32),
}

impl Value {
    /// As an event keeps it.
    #[must_use]
    pub fn to_word(self) -> u64 {
        match self {
            Self::Int(value) => value as u64,
            Self::Float(value) => value.to_bits(),
            Self::Bool(value) => value.into(),
            Self::Symbol(value) => value.into(),
        }
    }

    /// From an event's word; nothing for a number that is none.
    #[inline]
    #[must_use]
    pub fn from_word(ty: Type, word: u64) -> Option<Self> {
        match ty {
            Type::Int => Some(Self::Int(word as i64)),
            Type::Float => Some(f64::from_bits(word)).filter(|f| !f.is_nan()).map(Self::Float),
            Type::Bool => Some(Self::Bool(word != 0)),
            Type::Symbol => Some(Self::Symbol(word as u32)),
        }
    }
}

/// A field of an event.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name in patterns.
    pub name: String,
    /// What it holds.
    pub ty: Type,
}

/// A kind of event: `Trade`, `Cancel`.
#[derive(Clone, Debug)]
pub struct EventType {
    /// Name in patterns.
    pub name: String,
    /// The stream it belongs to: `trade`, `order`.
    pub stream: String,
    /// Its fields, in the order of [`Event::words`]; `t` and `seq` are implied.
    pub fields: Vec<Field>,
}

/// Every kind of event, and every word that a field may hold.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Kinds, at most 64; an event says which by its index.
    pub types: Vec<EventType>,
    /// Words, by their number.
    pub symbols: Vec<String>,
}

impl Schema {
    /// A kind with fields, of a stream.
    #[must_use]
    pub fn with(mut self, stream: &str, name: &str, fields: &[(&str, Type)]) -> Self {
        debug_assert!(fields.len() <= FIELDS_MAX && self.types.len() < 64);
        let fields = fields.iter().map(|&(name, ty)| Field { name: name.to_owned(), ty }).collect();
        self.types.push(EventType { name: name.to_owned(), stream: stream.to_owned(), fields });
        self
    }

    /// Words that fields may hold, numbered in this order.
    #[must_use]
    pub fn with_symbols(mut self, symbols: &[&str]) -> Self {
        self.symbols.extend(symbols.iter().map(|&s| s.to_owned()));
        self
    }

    /// Index of a kind.
    #[must_use]
    pub fn type_of(&self, name: &str) -> Option<usize> {
        self.types.iter().position(|ty| ty.name == name)
    }

    /// Number of a word.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<u32> {
        self.symbols.iter().position(|s| s == name).map(|i| i as u32)
    }
}

/// An event, as a matcher takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// Its place in the stream: each has its own, later ones larger.
    pub place: u64,
    /// The input it is, or was caused by.
    pub seq: Seq,
    /// The sequencer's time.
    pub time: Nanos,
    /// Index in [`Schema::types`].
    pub ty: u8,
    /// A bit for each field that has a value.
    pub present: u16,
    /// The fields, as [`Value::to_word`] writes them.
    pub words: [u64; FIELDS_MAX],
}

kimera_protocol::state!(Event { place, seq, time, ty, present, words });

impl Event {
    /// An event without fields yet; its place is its input's number.
    #[must_use]
    pub fn new(ty: usize, seq: Seq, time: Nanos) -> Self {
        Self { place: seq, seq, time, ty: ty as u8, ..Self::default() }
    }

    /// With a field; a number that is none stays away.
    #[must_use]
    pub fn with(mut self, field: usize, value: Value) -> Self {
        if !matches!(value, Value::Float(f) if f.is_nan()) && field < FIELDS_MAX {
            self.words[field] = value.to_word();
            self.present |= 1 << field;
        }
        self
    }
}
