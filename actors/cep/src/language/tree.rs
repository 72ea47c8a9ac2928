//! A pattern as it is written.

use kimera_protocol::Nanos;

use super::lexer::Place;
use super::program::{Aggregate, Contiguity, Link};

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) name: Name,
    pub(crate) streams: Vec<Name>,
    pub(crate) keys: Vec<Name>,
    pub(crate) sequence: Sequence,
    pub(crate) within: Option<Nanos>,
    pub(crate) condition: Option<Expr>,
    pub(crate) skip: SkipTo,
    pub(crate) emit: Vec<Expr>,
}

/// Items in order; the link of the first means nothing.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) items: Vec<(Link, Item)>,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Step(StepTree),
    Not(StepTree),
    Any(Vec<Sequence>),
    All(Vec<StepTree>),
}

#[derive(Clone, Debug)]
pub(crate) struct StepTree {
    pub(crate) name: Name,
    pub(crate) ty: Name,
    pub(crate) condition: Option<Expr>,
    pub(crate) times: Times,
}

/// How often a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) min: u16,
    /// The largest number: without end.
    pub(crate) max: u16,
    pub(crate) contiguity: Contiguity,
    pub(crate) is_greedy: bool,
}

impl Times {
    pub(crate) const ONCE: Self = Self { min: 1, max: 1, contiguity: Contiguity::Relaxed, is_greedy: false };
}

#[derive(Clone, Debug)]
pub(crate) enum SkipTo {
    None,
    Next,
    PastLast,
    ToFirst(Name),
    ToLast(Name),
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) node: Node,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Int(i64),
    Float(f64),
    Bool(bool),
    /// A field, a key or a word.
    Name(String),
    /// A field of a step's last event.
    Of(Name, Name),
    /// Over all events of a step.
    Over(Aggregate, Name, Option<Name>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Minus,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
}
