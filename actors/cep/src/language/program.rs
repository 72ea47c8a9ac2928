//! A compiled pattern: steps, edges between them, expressions as short programs for a stack.

use kimera_protocol::Nanos;

use super::condition::Condition;
use crate::schema::{Event, Type, Value};

/// How a step's event is reached from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It is the very next event.
    Strict,
    /// Events that do not fit are passed over.
    Relaxed,
    /// Those that fit are, too: each later one gives a match of its own.
    Every,
}

/// The same within a step that is taken several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contiguity {
    Consecutive,
    Relaxed,
    Combinations,
}

/// What is made of all events of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
    Average,
    First,
    Last,
}

impl Aggregate {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "min" => Self::Min,
            "max" => Self::Max,
            "avg" => Self::Average,
            "first" => Self::First,
            "last" => Self::Last,
            _ => return None,
        })
    }
}

/// Where a field lies in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Time,
    Seq,
    Field(u8, Type),
}

impl Slot {
    #[inline]
    pub(crate) fn of(self, event: &Event) -> Option<Value> {
        match self {
            Self::Time => Some(Value::Int(event.time)),
            Self::Seq => Some(Value::Int(event.seq as i64)),
            Self::Field(index, ty) => {
                let there = event.present & (1 << index) != 0;
                there.then(|| Value::from_word(ty, event.words[usize::from(index)])).flatten()
            }
        }
    }

    pub(crate) fn ty(self) -> Type {
        match self {
            Self::Time | Self::Seq => Type::Int,
            Self::Field(_, ty) => ty,
        }
    }
}

/// One operation on a stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Push(Value),
    /// Of the event that is looked at.
    Own(Slot),
    /// Of the partition.
    Key(u8, Type),
    /// Of the last event of a step.
    Of(u8, Slot),
    Over(Aggregate, u8, Slot),
    Minus,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Values on the stack at once, at most; more are refused when a pattern is loaded.
pub(crate) const STACK_MAX: usize = 8;

pub(crate) type Expression = Box<[Op]>;

/// What must not come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Not {
    pub(crate) ty: u8,
    pub(crate) condition: Option<Condition>,
    /// Only the very next event counts.
    pub(crate) is_next_only: bool,
}

/// Where a run may go from a step.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The step, or the end of the pattern.
    pub(crate) to: Option<u8>,
    pub(crate) link: Link,
    /// What ends the run meanwhile.
    pub(crate) nots: Box<[Not]>,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) ty: u8,
    pub(crate) condition: Option<Condition>,
    /// Steps of the same name, in different orders of a group, share it.
    pub(crate) binding: u8,
    pub(crate) min: u16,
    pub(crate) max: u16,
    pub(crate) contiguity: Contiguity,
    pub(crate) is_greedy: bool,
    /// Indices of edges.
    pub(crate) follow: Box<[u16]>,
}

/// What is let go when a match has been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Nothing.
    None,
    /// What began with the same event.
    Next,
    /// What began before the match's end.
    PastLast,
    /// What began before the first event of a step.
    ToFirst(u8),
    /// What began before the last event of a step.
    ToLast(u8),
}

/// A pattern that is checked and compiled.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Names of the steps, by binding.
    pub bindings: Vec<String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) edges: Vec<Edge>,
    /// Edges by which a run begins.
    pub(crate) starts: Vec<u16>,
    /// Where the keys lie, by kind of event; none for a kind that no stream of the pattern has.
    pub(crate) keys: Vec<Option<Box<[Slot]>>>,
    pub(crate) within: Option<Nanos>,
    pub(crate) condition: Option<Condition>,
    pub(crate) skip: Skip,
    pub(crate) emit: Vec<Expression>,
    pub(crate) has_greedy: bool,
}

/// What an expression may look at.
pub(crate) trait Context {
    /// The event that is looked at.
    fn own(&self) -> Option<&Event>;
    /// A key of the partition.
    fn key(&self, index: u8) -> u64;
    /// The events bound to a step, the last one first, until `take` wants no more.
    fn bound(&self, binding: u8, take: impl FnMut(&Event) -> bool);
}

/// An expression's value; nothing where it has none: a field that is missing, a number that is none, a sum that is too large.
pub(crate) fn evaluate(ops: &[Op], context: &impl Context) -> Option<Value> {
    let mut stack: [Option<Value>; STACK_MAX] = [None; STACK_MAX];
    let mut height = 0;
    for op in ops {
        let value = match *op {
            Op::Push(value) => Some(value),
            Op::Own(slot) => context.own().and_then(|event| slot.of(event)),
            Op::Key(index, ty) => Value::from_word(ty, context.key(index)),
            Op::Of(binding, slot) => last(binding, slot, context),
            Op::Over(aggregate, binding, slot) => over(aggregate, binding, slot, context),
            Op::Minus | Op::Not => {
                height -= 1;
                unary(*op, stack[height])
            }
            _ => {
                height -= 2;
                binary(*op, stack[height], stack[height + 1])
            }
        };
        stack[height] = value;
        height += 1;
    }
    stack[0]
}

fn last(binding: u8, slot: Slot, context: &impl Context) -> Option<Value> {
    let mut value = None;
    context.bound(binding, |event| {
        value = slot.of(event);
        false
    });
    value
}

fn over(aggregate: Aggregate, binding: u8, slot: Slot, context: &impl Context) -> Option<Value> {
    let (mut count, mut result) = (0i64, None);
    let mut is_whole = true;
    context.bound(binding, |event| {
        let value = slot.of(event);
        is_whole &= aggregate == Aggregate::Count || value.is_some();
        count += 1;
        result = match (aggregate, result, value) {
            (Aggregate::Last, Some(known), _) => Some(known),
            (Aggregate::Sum | Aggregate::Average, Some(sum), Some(value)) => {
                let sum = add(sum, value);
                is_whole &= sum.is_some();
                sum
            }
            (Aggregate::Min, Some(known), Some(value)) => {
                Some(if is_less(value, known) { value } else { known })
            }
            (Aggregate::Max, Some(known), Some(value)) => {
                Some(if is_less(known, value) { value } else { known })
            }
            _ => value,
        };
        true
    });
    match aggregate {
        Aggregate::Count => Some(Value::Int(count)),
        Aggregate::Average if is_whole => number(result?).map(|sum| Value::Float(sum / count as f64)),
        _ if is_whole => result,
        _ => None,
    }
}

fn number(value: Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        _ => None,
    }
}

fn finite(value: f64) -> Option<Value> {
    (!value.is_nan()).then_some(Value::Float(value))
}

fn add(a: Value, b: Value) -> Option<Value> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(b).map(Value::Int),
        _ => finite(number(a)? + number(b)?),
    }
}

fn is_less(a: Value, b: Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a < b,
        _ => number(a).zip(number(b)).is_some_and(|(a, b)| a < b),
    }
}

fn is_equal(a: Value, b: Value) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Symbol(a), Value::Symbol(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        // Exactly: what lies on one grid is equal or is not.
        _ => number(a).zip(number(b)).is_some_and(|(a, b)| a.total_cmp(&b).is_eq() || (a == 0.0 && b == 0.0)),
    }
}

fn unary(op: Op, value: Option<Value>) -> Option<Value> {
    match (op, value?) {
        (Op::Not, Value::Bool(value)) => Some(Value::Bool(!value)),
        (Op::Minus, Value::Int(value)) => value.checked_neg().map(Value::Int),
        (Op::Minus, Value::Float(value)) => Some(Value::Float(-value)),
        _ => None,
    }
}

fn truth(value: Option<Value>) -> Option<bool> {
    match value {
        Some(Value::Bool(value)) => Some(value),
        _ => None,
    }
}

fn binary(op: Op, a: Option<Value>, b: Option<Value>) -> Option<Value> {
    // Not known, and what is false anyway, is false; as Kleene has it.
    match op {
        Op::And => {
            return match (truth(a), truth(b)) {
                (Some(false), _) | (_, Some(false)) => Some(Value::Bool(false)),
                (Some(true), Some(true)) => Some(Value::Bool(true)),
                _ => None,
            };
        }
        Op::Or => {
            return match (truth(a), truth(b)) {
                (Some(true), _) | (_, Some(true)) => Some(Value::Bool(true)),
                (Some(false), Some(false)) => Some(Value::Bool(false)),
                _ => None,
            };
        }
        _ => {}
    }
    let (a, b) = (a?, b?);
    Some(match op {
        Op::Equal => Value::Bool(is_equal(a, b)),
        Op::NotEqual => Value::Bool(!is_equal(a, b)),
        Op::Less => Value::Bool(is_less(a, b)),
        Op::LessOrEqual => Value::Bool(is_less(a, b) || is_equal(a, b)),
        Op::Add => add(a, b)?,
        Op::Subtract => match (a, b) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_sub(b)?),
            _ => finite(number(a)? - number(b)?)?,
        },
        Op::Multiply => match (a, b) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_mul(b)?),
            _ => finite(number(a)? * number(b)?)?,
        },
        Op::Divide => {
            let divisor = number(b)?;
            finite(if divisor == 0.0 { f64::NAN } else { number(a)? / divisor })?
        }
        _ => return None,
    })
}
