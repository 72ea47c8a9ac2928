//! A condition as its matcher asks it: what `and` joins taken apart, the cheapest questions first, and the usual ones without a stack.
//!
//! A condition that is not known does not hold, so of several that are joined by `and` each has to be true by itself, in whatever
//! order they are asked.

use crate::schema::{Event, Type, Value};

use super::program::{Context, Expression, Op, Slot, evaluate};

/// What is compared: a number, or a field that holds one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Number(f64),
    /// Of the event that is looked at.
    Own(u8),
    /// Of the last event of a step, times a number.
    Of(u8, u8, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// A word of the event that is looked at, and one that it is to be, or not.
    Word(u8, u32, bool),
    /// The same, of the last event of a step.
    WordOf(u8, (u8, u8), bool),
    Numbers(Side, Comparison, Side),
    Ops(Expression),
}

impl Test {
    /// The order in which they are asked.
    fn cost(&self) -> u8 {
        let looks_back = |side: &Side| matches!(side, Side::Of(..));
        match self {
            Self::Word(..) => 0,
            Self::Numbers(a, _, b) if !looks_back(a) && !looks_back(b) => 1,
            Self::WordOf(..) => 2,
            Self::Numbers(..) => 3,
            Self::Ops(_) => 4,
        }
    }
}

/// A condition, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition(Box<[Test]>);

/// Where the expression that ends the ops begins.
fn begins(ops: &[Op]) -> Option<usize> {
    let mut wanted = 1usize;
    for (i, op) in ops.iter().enumerate().rev() {
        wanted -= 1;
        wanted += match op {
            Op::Push(_) | Op::Own(_) | Op::Key(..) | Op::Of(..) | Op::Over(..) => 0,
            Op::Minus | Op::Not => 1,
            _ => 2,
        };
        if wanted == 0 {
            return Some(i);
        }
    }
    None
}

/// The two operands of the last operation, and it.
fn split(ops: &[Op]) -> Option<(&[Op], &[Op], Op)> {
    let (last, rest) = ops.split_last()?;
    let at = begins(rest)?;
    (at > 0).then(|| (&rest[..at], &rest[at..], *last))
}

fn number(op: &Op) -> Option<f64> {
    match op {
        Op::Push(Value::Int(value)) => Some(*value as f64),
        Op::Push(Value::Float(value)) => Some(*value),
        _ => None,
    }
}

fn side(ops: &[Op]) -> Option<Side> {
    match ops {
        [Op::Own(Slot::Field(field, Type::Float))] => Some(Side::Own(*field)),
        [Op::Of(binding, Slot::Field(field, Type::Float))] => Some(Side::Of(*binding, *field, 1.0)),
        [one] => number(one).map(Side::Number),
        [Op::Of(binding, Slot::Field(field, Type::Float)), factor, Op::Multiply]
        | [factor, Op::Of(binding, Slot::Field(field, Type::Float)), Op::Multiply] => {
            number(factor).map(|factor| Side::Of(*binding, *field, factor))
        }
        _ => None,
    }
}

fn numbers(a: &[Op], b: &[Op], op: Op) -> Option<Test> {
    let comparison = match op {
        Op::Less => Comparison::Less,
        Op::LessOrEqual => Comparison::LessOrEqual,
        Op::Equal => Comparison::Equal,
        Op::NotEqual => Comparison::NotEqual,
        _ => return None,
    };
    let (a, b) = (side(a)?, side(b)?);
    // Two whole numbers are compared as such.
    let is_plain = matches!((a, b), (Side::Number(_), Side::Number(_)));
    (!is_plain).then_some(Test::Numbers(a, comparison, b))
}

fn words(a: &[Op], b: &[Op], op: Op) -> Option<Test> {
    let is_equal = match op {
        Op::Equal => true,
        Op::NotEqual => false,
        _ => return None,
    };
    let word = |slot: &Slot| match slot {
        Slot::Field(field, Type::Symbol) => Some(*field),
        _ => None,
    };
    match (a, b) {
        ([Op::Own(slot)], [Op::Push(Value::Symbol(value))])
        | ([Op::Push(Value::Symbol(value))], [Op::Own(slot)]) => {
            Some(Test::Word(word(slot)?, *value, is_equal))
        }
        ([Op::Own(slot)], [Op::Of(binding, of)]) | ([Op::Of(binding, of)], [Op::Own(slot)]) => {
            Some(Test::WordOf(word(slot)?, (*binding, word(of)?), is_equal))
        }
        _ => None,
    }
}

fn gather(ops: &[Op], tests: &mut Vec<Test>) {
    if let Some((a, b, op)) = split(ops) {
        if op == Op::And {
            gather(a, tests);
            gather(b, tests);
            return;
        }
        if let Some(test) = words(a, b, op).or_else(|| numbers(a, b, op)) {
            tests.push(test);
            return;
        }
    }
    tests.push(Test::Ops(ops.into()));
}

/// A field of an event, as its word; none where it is missing.
#[inline]
fn word(event: &Event, field: u8) -> Option<u64> {
    (event.present & (1 << field) != 0).then(|| event.words[usize::from(field)])
}

/// A number of an event, which is never one that is none.
#[inline]
fn float(event: &Event, field: u8) -> Option<f64> {
    word(event, field).map(f64::from_bits).filter(|value| !value.is_nan())
}

/// A field of the last event of a step.
#[inline]
fn of_last(binding: u8, field: u8, context: &impl Context) -> Option<u64> {
    let mut value = None;
    context.bound(binding, |event| {
        value = word(event, field);
        false
    });
    value
}

impl Side {
    #[inline]
    fn value(self, context: &impl Context) -> Option<f64> {
        match self {
            Self::Number(value) => Some(value),
            Self::Own(field) => context.own().and_then(|event| float(event, field)),
            Self::Of(binding, field, factor) => {
                let value = of_last(binding, field, context).map(f64::from_bits)?;
                Some(value * factor).filter(|value| !value.is_nan())
            }
        }
    }
}

impl Condition {
    /// Of an expression that is true or false.
    pub(crate) fn of(ops: &[Op]) -> Self {
        let mut tests = Vec::new();
        gather(ops, &mut tests);
        tests.sort_by_key(Test::cost);
        Self(tests.into())
    }

    /// True where it is known to hold.
    #[inline]
    pub(crate) fn holds(&self, context: &impl Context) -> bool {
        self.0.iter().all(|test| match test {
            Test::Word(field, value, is_equal) => {
                let own = context.own().and_then(|event| word(event, *field));
                own.is_some_and(|own| (own as u32 == *value) == *is_equal)
            }
            Test::WordOf(field, (binding, of), is_equal) => {
                let own = context.own().and_then(|event| word(event, *field));
                let other = own.and_then(|_| of_last(*binding, *of, context));
                own.zip(other).is_some_and(|(own, other)| (own as u32 == other as u32) == *is_equal)
            }
            Test::Numbers(a, comparison, b) => {
                let known = a.value(context).and_then(|a| b.value(context).map(|b| (a, b)));
                known.is_some_and(|(a, b)| match comparison {
                    Comparison::Less => a < b,
                    Comparison::LessOrEqual => a <= b,
                    Comparison::Equal => a == b, // exactly: what lies on one grid is equal or is not
                    Comparison::NotEqual => a != b,
                })
            }
            Test::Ops(ops) => evaluate(ops, context) == Some(Value::Bool(true)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two steps with two events each, and one that is looked at.
    struct Case {
        own: Event,
        bound: [Vec<Event>; 2],
    }

    impl Context for Case {
        fn own(&self) -> Option<&Event> {
            Some(&self.own)
        }

        fn key(&self, _: u8) -> u64 {
            1
        }

        fn bound(&self, binding: u8, mut take: impl FnMut(&Event) -> bool) {
            for event in self.bound[usize::from(binding)].iter().rev() {
                if !take(event) {
                    return;
                }
            }
        }
    }

    /// Fields 0 and 1 are numbers, 2 a whole number, 3 and 4 words.
    fn event() -> impl Strategy<Value = Event> {
        let numbers = proptest::collection::vec(
            prop_oneof![Just(0.0), Just(-0.0), Just(1.5), Just(3.0), Just(f64::INFINITY)],
            2,
        );
        (numbers, -1i64..3, 0u32..3, 0u32..3, 0u16..32).prop_map(|(n, whole, a, b, present)| {
            let all = Event::new(0, 1, 1)
                .with(0, Value::Float(n[0]))
                .with(1, Value::Float(n[1]))
                .with(2, Value::Int(whole))
                .with(3, Value::Symbol(a))
                .with(4, Value::Symbol(b));
            Event { present, ..all }
        })
    }

    fn leaf(is_word: bool) -> BoxedStrategy<Vec<Op>> {
        if is_word {
            let slot = |field| Slot::Field(field, Type::Symbol);
            prop_oneof![
                (3u8..5).prop_map(move |f| vec![Op::Own(slot(f))]),
                (0u8..2, 3u8..5).prop_map(move |(b, f)| vec![Op::Of(b, slot(f))]),
                (0u32..3).prop_map(|w| vec![Op::Push(Value::Symbol(w))]),
            ]
            .boxed()
        } else {
            let slot = |field: u8| Slot::Field(field, if field < 2 { Type::Float } else { Type::Int });
            let plain = prop_oneof![
                (0u8..3).prop_map(move |f| vec![Op::Own(slot(f))]),
                (0u8..2, 0u8..3).prop_map(move |(b, f)| vec![Op::Of(b, slot(f))]),
                (-1i64..3).prop_map(|n| vec![Op::Push(Value::Int(n))]),
                prop_oneof![Just(0.0), Just(1.5)].prop_map(|n| vec![Op::Push(Value::Float(n))]),
            ];
            (plain.clone(), plain, 0u8..3)
                .prop_map(|(a, b, how)| match how {
                    0 => [a, b, vec![Op::Multiply]].concat(),
                    1 => [a, b, vec![Op::Add]].concat(),
                    _ => a,
                })
                .boxed()
        }
    }

    fn expression() -> BoxedStrategy<Vec<Op>> {
        let compared = any::<bool>().prop_flat_map(|is_word| {
            let how = if is_word {
                prop_oneof![Just(Op::Equal), Just(Op::NotEqual)].boxed()
            } else {
                prop_oneof![Just(Op::Less), Just(Op::LessOrEqual), Just(Op::Equal), Just(Op::NotEqual)]
                    .boxed()
            };
            (leaf(is_word), leaf(is_word), how).prop_map(|(a, b, op)| [a, b, vec![op]].concat())
        });
        compared
            .prop_recursive(3, 8, 2, |inner| {
                prop_oneof![
                    (inner.clone(), inner.clone()).prop_map(|(a, b)| [a, b, vec![Op::And]].concat()),
                    (inner.clone(), inner.clone()).prop_map(|(a, b)| [a, b, vec![Op::Or]].concat()),
                    inner.prop_map(|a| [a, vec![Op::Not]].concat()),
                ]
            })
            .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Taken apart or not, it holds for the same events.
        #[test]
        fn it_holds_where_the_expression_is_true(
            ops in expression(),
            own in event(),
            bound in (proptest::collection::vec(event(), 0..3), proptest::collection::vec(event(), 0..3)),
        ) {
            let case = Case { own, bound: [bound.0, bound.1] };
            prop_assert_eq!(Condition::of(&ops).holds(&case), evaluate(&ops, &case) == Some(Value::Bool(true)), "{:?}", ops);
        }
    }

    #[test]
    fn the_usual_ones_need_no_stack_and_the_cheap_ones_come_first() {
        let slot = |field| Slot::Field(field, Type::Float);
        let average = [
            Op::Own(slot(0)),
            Op::Push(Value::Int(50)),
            Op::Over(super::super::Aggregate::Average, 0, slot(0)),
            Op::Multiply,
            Op::Less,
        ];
        let large = [Op::Push(Value::Int(100_000)), Op::Own(slot(1)), Op::LessOrEqual];
        let side = [Op::Own(Slot::Field(3, Type::Symbol)), Op::Push(Value::Symbol(0)), Op::Equal];
        let all = [&average[..], &large, &[Op::And], &side, &[Op::And]].concat();
        let Condition(tests) = Condition::of(&all);
        assert!(
            matches!(
                tests[..],
                [
                    Test::Word(3, 0, true),
                    Test::Numbers(Side::Number(_), Comparison::LessOrEqual, Side::Own(1)),
                    Test::Ops(_)
                ]
            ),
            "{tests:?}"
        );
    }
}
