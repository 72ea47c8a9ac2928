//! Text to words.

use std::fmt;

use kimera_protocol::Nanos;

use super::Mistake;

/// A place in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Float(f64),
    /// ns.
    Duration(Nanos),
    /// Operators and brackets.
    Sign(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "\"{name}\""),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Duration(value) => write!(f, "a duration of {value} ns"),
            Self::Sign(sign) => write!(f, "\"{sign}\""),
            Self::End => f.write_str("the end of the text"),
        }
    }
}

/// Longer ones first.
const SIGNS: [&str; 28] = [
    "->>", "->*", "->", "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "(", ")", "[",
    "]", "{", "}", ",", ":", ".", "?", "|", "%",
];

/// Units of durations.
const UNITS: [(&str, Nanos); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// The words of a text with their places; `#` begins a comment.
pub(super) fn words(text: &str) -> Result<Vec<(Token, Place)>, Mistake> {
    let mut lexer = Lexer { rest: text, place: Place { line: 1, column: 1 } };
    let mut words = Vec::new();
    loop {
        lexer.skip_blanks();
        let place = lexer.place;
        let token = lexer.token()?;
        let ends = token == Token::End;
        words.push((token, place));
        if ends {
            return Ok(words);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Lexer<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.place = Place { line: self.place.line + 1, column: 1 };
            } else {
                self.place.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.take(blanks);
            if !self.rest.starts_with('#') {
                return;
            }
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn while_is(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        self.take(self.rest.find(|c| !is(c)).unwrap_or(self.rest.len()))
    }

    fn token(&mut self) -> Result<Token, Mistake> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Token::Name(self.while_is(|c| c.is_ascii_alphanumeric() || c == '_').to_owned()));
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        match SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) {
            Some(sign) => {
                self.take(sign.len());
                Ok(Token::Sign(sign))
            }
            None => Err(Mistake::new(self.place, format!("{first:?} is not of the language"))),
        }
    }

    fn number(&mut self) -> Result<Token, Mistake> {
        let place = self.place;
        let start = self.rest;
        self.while_is(|c| c.is_ascii_digit() || c == '_');
        let mut is_whole = true;
        if self.rest.starts_with('.') && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            is_whole = false;
            self.take(1);
            self.while_is(|c| c.is_ascii_digit() || c == '_');
        }
        let digits = start[..start.len() - self.rest.len()].replace('_', "");
        let unit = self.while_is(|c| c.is_ascii_alphabetic());
        let wrong = |what: &str| Mistake::new(place, format!("{digits}{unit} {what}"));
        if unit.is_empty() {
            return if is_whole {
                digits.parse().map(Token::Int).map_err(|_| wrong("is too large"))
            } else {
                digits.parse().map(Token::Float).map_err(|_| wrong("is no number"))
            };
        }
        let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong("has a unit that is none of ns, us, ms, s, m, h, d"));
        };
        let value: i64 = digits.parse().map_err(|_| wrong("is no whole number of a unit"))?;
        value.checked_mul(*length).map(Token::Duration).ok_or_else(|| wrong("is too long"))
    }
}
