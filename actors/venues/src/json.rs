//! A small JSON reader for the slow path: any order of fields, unknown fields skipped, nothing allocated.
//!
//! It accepts what RFC 8259 accepts except for surrogate checks inside strings it skips; nesting is bounded.

use crate::frame::DecodeError;

/// Deepest nesting that is followed.
const DEPTH_MAX: u32 = 32;

/// A place in a JSON text.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The error of this place.
    #[must_use]
    pub fn error(&self) -> DecodeError {
        DecodeError::Json(self.at)
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no blank, left in place.
    pub fn look(&mut self) -> Option<u8> {
        self.blank();
        self.bytes.get(self.at).copied()
    }

    /// Takes `byte` or fails.
    ///
    /// # Errors
    /// [`DecodeError::Json`] where something else comes.
    pub fn take(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.look() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error())
    }

    /// Takes a string and returns what is between its quotes, escapes as they are.
    ///
    /// # Errors
    /// [`DecodeError::Json`].
    pub fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.bytes[start..self.at - 1]);
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.bytes.get(self.at) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') if self.bytes.get(self.at + 1..self.at + 5).is_some_and(is_hex) => {
                            self.at += 5
                        }
                        _ => return Err(self.error()),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.error()),
            }
        }
    }

    /// Takes a number, `true`, `false` or `null` and returns its text.
    ///
    /// # Errors
    /// [`DecodeError::Json`].
    pub fn scalar(&mut self) -> Result<&'a [u8], DecodeError> {
        self.blank();
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'-' | b'+' | b'.' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
        }
        let text = &self.bytes[start..self.at];
        let valid = matches!(text, b"true" | b"false" | b"null") || is_number(text);
        if valid { Ok(text) } else { Err(DecodeError::Json(start)) }
    }

    /// Takes an unsigned integer.
    ///
    /// # Errors
    /// [`DecodeError::Json`] where the number is something else or too large.
    pub fn unsigned(&mut self) -> Result<u64, DecodeError> {
        let text = self.scalar()?;
        std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or_else(|| self.error())
    }

    /// Visits an object: `visit` is called with each key and must take its value.
    ///
    /// # Errors
    /// [`DecodeError::Json`], or what `visit` returns.
    pub fn object(
        &mut self,
        mut visit: impl FnMut(&'a [u8], &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.take(b'{')?;
        if self.look() == Some(b'}') {
            return self.take(b'}');
        }
        loop {
            self.blank();
            let key = self.string()?;
            self.take(b':')?;
            visit(key, self)?;
            match self.look() {
                Some(b',') => self.at += 1,
                _ => return self.take(b'}'),
            }
        }
    }

    /// Visits an array: `visit` is called at each element and must take it.
    ///
    /// # Errors
    /// [`DecodeError::Json`], or what `visit` returns.
    pub fn array(
        &mut self,
        mut visit: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.take(b'[')?;
        if self.look() == Some(b']') {
            return self.take(b']');
        }
        loop {
            visit(self)?;
            match self.look() {
                Some(b',') => self.at += 1,
                _ => return self.take(b']'),
            }
        }
    }

    /// Takes any value.
    ///
    /// # Errors
    /// [`DecodeError::Json`], also where it is nested too deep.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: u32) -> Result<(), DecodeError> {
        let Some(depth) = depth.checked_sub(1) else { return Err(self.error()) };
        match self.look() {
            Some(b'{') => self.object(|_, reader| reader.skip_within(depth)),
            Some(b'[') => self.array(|reader| reader.skip_within(depth)),
            Some(b'"') => self.string().map(|_| ()),
            _ => self.scalar().map(|_| ()),
        }
    }

    /// Fails unless only blanks are left.
    ///
    /// # Errors
    /// [`DecodeError::Json`].
    pub fn end(&mut self) -> Result<(), DecodeError> {
        if self.look().is_none() { Ok(()) } else { Err(self.error()) }
    }
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_hexdigit)
}

/// RFC 8259's number grammar.
fn is_number(text: &[u8]) -> bool {
    let digits = |t: &[u8]| t.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = digits(fraction);
        if n == 0 {
            return false;
        }
        rest = &fraction[n..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', digits @ ..] => digits,
            _ => exponent,
        };
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn valid(text: &[u8]) -> bool {
        let mut reader = Reader::new(text);
        reader.skip().is_ok() && reader.end().is_ok()
    }

    #[test]
    fn takes_json_and_nothing_else() {
        for good in
            [&b" {\"a\" : [1, -2.5e+3, \"x\\u00e9\\\"\"], \"b\":null} "[..], b"[]", b"{}", b"0", b"-0.1E9"]
        {
            assert!(valid(good), "{}", String::from_utf8_lossy(good));
        }
        for bad in
            [&b"{\"a\":}"[..], b"[1,]", b"{,}", b"01", b"1.", b"+1", b"\"\x01\"", b"\"a", b"nul", b"", b"1 2"]
        {
            assert!(!valid(bad), "{}", String::from_utf8_lossy(bad));
        }
        assert!(!valid(&[b"[".repeat(200), b"]".repeat(200)].concat()), "nesting is bounded");
    }

    proptest! {
        /// A foreign parser agrees on what is JSON, for texts made of JSON's own characters.
        #[test]
        fn agrees_with_a_foreign_parser(text in r#"[\[\]{}:,"0-9a.eE+\- tfnul\\]{0,14}"#) {
            let foreign = sonic_rs::from_slice::<sonic_rs::Value>(text.as_bytes()).is_ok();
            prop_assert_eq!(valid(text.as_bytes()), foreign, "{}", text);
        }
    }
}
