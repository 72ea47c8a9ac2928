//! Words to trees, by recursive descent.

use super::Mistake;
use super::lexer::{Place, Token, words};
use super::program::{Aggregate, Contiguity, Link};
use super::tree::{Binary, Expr, Item, Name, Node, Pattern, Sequence, SkipTo, StepTree, Times, Unary};

/// Expressions and groups within one another, at most: the stack is finite.
const DEPTH_MAX: u32 = 32;
/// Operators of a pattern, at most: a long sum is a deep tree.
const OPERATORS_MAX: u32 = 256;
/// Times of a quantifier, at most.
const TIMES_MAX: i64 = 64;

/// Every pattern of a text.
pub(super) fn parse(text: &str) -> Result<Vec<Pattern>, Mistake> {
    let mut parser = Parser { words: words(text)?, at: 0, depth: 0, operators: 0 };
    let mut patterns = Vec::new();
    while *parser.peek() != Token::End {
        patterns.push(parser.pattern()?);
    }
    Ok(patterns)
}

struct Parser {
    words: Vec<(Token, Place)>,
    at: usize,
    depth: u32,
    operators: u32,
}

type Parsed<T> = Result<T, Mistake>;

impl Parser {
    fn peek(&self) -> &Token {
        self.words.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn place(&self) -> Place {
        self.words.get(self.at).or(self.words.last()).map_or_else(Place::default, |(_, place)| *place)
    }

    fn next(&mut self) -> (Token, Place) {
        let next = (self.peek().clone(), self.place());
        self.at += 1;
        next
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        Err(Mistake::new(self.place(), format!("expected {what}, found {}", self.peek())))
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(s) if *s == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn sign(&mut self, sign: &str) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { self.expected(&format!("\"{sign}\"")) }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(name) if name == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.at += usize::from(is);
        is
    }

    fn name(&mut self, what: &str) -> Parsed<Name> {
        match self.peek() {
            Token::Name(_) => match self.next() {
                (Token::Name(text), place) => Ok(Name { text, place }),
                (_, place) => Err(Mistake::new(place, format!("expected {what}"))),
            },
            _ => self.expected(what),
        }
    }

    fn names(&mut self, what: &str) -> Parsed<Vec<Name>> {
        let mut names = vec![self.name(what)?];
        while self.take(",") {
            names.push(self.name(what)?);
        }
        Ok(names)
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err(Mistake::new(
                self.place(),
                format!("more than {DEPTH_MAX} levels within one another"),
            ));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn pattern(&mut self) -> Parsed<Pattern> {
        if !self.take_word("pattern") {
            return self.expected("\"pattern\"");
        }
        self.operators = 0;
        let name = self.name("the pattern's name")?;
        if !self.take_word("on") {
            return self.expected("\"on\" and a stream");
        }
        let streams = self.names("a stream")?;
        let keys = if self.take_word("by") { self.names("a key")? } else { Vec::new() };
        self.sign(":")?;
        let sequence = self.sequence()?;
        let within = if self.take_word("within") { Some(self.duration()?) } else { None };
        let condition = if self.take_word("where") { Some(self.expression()?) } else { None };
        let skip = if self.take_word("skip") { self.skip()? } else { SkipTo::None };
        let mut emit = Vec::new();
        if self.take_word("emit") {
            emit.push(self.expression()?);
            while self.take(",") {
                emit.push(self.expression()?);
            }
        }
        if *self.peek() != Token::End && !self.is_word("pattern") {
            return self.expected(
                "a link (->, ->>, ->*), \"within\", \"where\", \"skip\", \"emit\", another \"pattern\" or the end, in this order",
            );
        }
        Ok(Pattern { name, streams, keys, sequence, within, condition, skip, emit })
    }

    fn duration(&mut self) -> Parsed<i64> {
        match *self.peek() {
            Token::Duration(ns) if ns > 0 => {
                self.at += 1;
                Ok(ns)
            }
            _ => self.expected("a duration, like 2s or 500ms"),
        }
    }

    fn skip(&mut self) -> Parsed<SkipTo> {
        let how = self.name("none, next, past_last, to_first(STEP) or to_last(STEP)")?;
        let mut step = || {
            self.sign("(")?;
            let step = self.name("a step")?;
            self.sign(")")?;
            Ok(step)
        };
        match how.text.as_str() {
            "none" => Ok(SkipTo::None),
            "next" => Ok(SkipTo::Next),
            "past_last" => Ok(SkipTo::PastLast),
            "to_first" => step().map(SkipTo::ToFirst),
            "to_last" => step().map(SkipTo::ToLast),
            other => Err(Mistake::new(
                how.place,
                format!("\"{other}\" is none of none, next, past_last, to_first(STEP), to_last(STEP)"),
            )),
        }
    }

    fn link(&mut self) -> Option<Link> {
        [("->>", Link::Relaxed), ("->*", Link::Every), ("->", Link::Strict)]
            .into_iter()
            .find_map(|(sign, link)| self.take(sign).then_some(link))
    }

    fn sequence(&mut self) -> Parsed<Sequence> {
        let place = self.place();
        let mut items = vec![(Link::Strict, self.item()?)];
        while let Some(link) = self.link() {
            items.push((link, self.item()?));
        }
        Ok(Sequence { items, place })
    }

    fn item(&mut self) -> Parsed<Item> {
        if self.take_word("not") {
            let step = self.step()?;
            if step.times != Times::ONCE {
                return Err(Mistake::new(step.name.place, "what must not come has no quantifier"));
            }
            return Ok(Item::Not(step));
        }
        let is_group = matches!(self.words.get(self.at + 1), Some((Token::Sign("("), _)));
        if is_group && self.take_word("any") {
            self.sign("(")?;
            return self.deeper(|parser| {
                let mut ways = vec![parser.sequence()?];
                while parser.take("|") {
                    ways.push(parser.sequence()?);
                }
                parser.sign(")")?;
                Ok(Item::Any(ways))
            });
        }
        if is_group && self.take_word("all") {
            self.sign("(")?;
            let mut steps = vec![self.step()?];
            while self.take(",") {
                steps.push(self.step()?);
            }
            self.sign(")")?;
            return Ok(Item::All(steps));
        }
        self.step().map(Item::Step)
    }

    fn step(&mut self) -> Parsed<StepTree> {
        let name = self.name("a step, like \"big:New\"")?;
        self.sign(":")?;
        let ty = self.name("a kind of event")?;
        let condition = if self.take("[") {
            let condition = self.expression()?;
            self.sign("]")?;
            Some(condition)
        } else {
            None
        };
        let times = self.times()?;
        Ok(StepTree { name, ty, condition, times })
    }

    fn times(&mut self) -> Parsed<Times> {
        let (min, max) = if self.take("+") {
            (1, u16::MAX)
        } else if self.take("?") {
            (0, 1)
        } else if self.is("{") {
            self.counted()?
        } else {
            return Ok(Times::ONCE);
        };
        let contiguity = if self.take("!") {
            Contiguity::Consecutive
        } else if self.take("*") {
            Contiguity::Combinations
        } else {
            Contiguity::Relaxed
        };
        let is_greedy = self.take_word("greedy");
        Ok(Times { min, max, contiguity, is_greedy })
    }

    fn counted(&mut self) -> Parsed<(u16, u16)> {
        let place = self.place();
        self.sign("{")?;
        let min = self.count()?;
        let max = if self.take(",") { if self.is("}") { u16::MAX } else { self.count()? } } else { min };
        self.sign("}")?;
        if max == 0 || max < min {
            return Err(Mistake::new(place, "that many times is never"));
        }
        Ok((min, max))
    }

    fn count(&mut self) -> Parsed<u16> {
        match *self.peek() {
            Token::Int(count) if (0..=TIMES_MAX).contains(&count) => {
                self.at += 1;
                Ok(count as u16)
            }
            _ => self.expected(&format!("a number of times, at most {TIMES_MAX}")),
        }
    }

    fn expression(&mut self) -> Parsed<Expr> {
        self.deeper(|parser| parser.binary(0))
    }

    /// Operators of a level and above, left to right.
    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(&(_, operator)) =
            operators.iter().find(|(sign, _)| self.take(sign) || self.take_word(sign))
        {
            let place = left.place;
            self.operators += 1;
            if self.operators > OPERATORS_MAX {
                return Err(Mistake::new(place, format!("more than {OPERATORS_MAX} operators in a pattern")));
            }
            let right = self.binary(level + 1)?;
            left = Expr { node: Node::Binary(operator, Box::new(left), Box::new(right)), place };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let place = self.place();
        let operator = if self.take("-") {
            Unary::Minus
        } else if self.take("!") || self.take_word("not") {
            Unary::Not
        } else {
            return self.atom();
        };
        let inner = self.deeper(Self::unary)?;
        Ok(Expr { node: Node::Unary(operator, Box::new(inner)), place })
    }

    fn atom(&mut self) -> Parsed<Expr> {
        let place = self.place();
        if self.take("(") {
            let inner = self.expression()?;
            self.sign(")")?;
            return Ok(inner);
        }
        let node = match self.peek() {
            Token::Int(value) | Token::Duration(value) => Node::Int(*value),
            Token::Float(value) => Node::Float(*value),
            Token::Name(_) => {
                let node = self.named()?;
                return Ok(Expr { node, place });
            }
            _ => return self.expected("a value, a field or \"(\""),
        };
        self.at += 1;
        Ok(Expr { node, place })
    }

    fn named(&mut self) -> Parsed<Node> {
        let name = self.name("a name")?;
        if self.take(".") {
            let field = self.name("a field")?;
            return Ok(Node::Of(name, field));
        }
        if self.take("(") {
            let Some(aggregate) = Aggregate::named(&name.text) else {
                let what = format!("\"{}\" is none of count, sum, min, max, avg, first, last", name.text);
                return Err(Mistake::new(name.place, what));
            };
            let step = self.name("a step")?;
            let field = if self.take(".") { Some(self.name("a field")?) } else { None };
            self.sign(")")?;
            return Ok(Node::Over(aggregate, step, field));
        }
        Ok(match name.text.as_str() {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            _ => Node::Name(name.text),
        })
    }
}

/// Operators by level, the weakest first.
const LEVELS: [&[(&str, Binary)]; 5] = [
    &[("||", Binary::Or), ("or", Binary::Or)],
    &[("&&", Binary::And), ("and", Binary::And)],
    &[
        ("==", Binary::Equal),
        ("!=", Binary::NotEqual),
        ("<=", Binary::LessOrEqual),
        (">=", Binary::GreaterOrEqual),
        ("<", Binary::Less),
        (">", Binary::Greater),
    ],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply), ("/", Binary::Divide)],
];
