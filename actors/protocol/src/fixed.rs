//! Fixed-point numbers: prices in ticks, sizes in 1e-8.
//!
//! The one decimal parser and the one decimal formatter of the project. Both are exact: a number that does not
//! fit its unit is an error, never rounded.

use bytemuck::{Pod, Zeroable};

/// Units of a size or of an unscaled price in one whole: 1e-8 each.
pub const UNIT: i64 = 100_000_000;
/// Decimals kept by [`UNIT`].
pub const UNIT_DECIMALS: u32 = 8;

/// A price in ticks of its instrument. Signed: spreads and differences are prices too.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Price(pub i64);

/// A size in units of 1e-8 of the base asset.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Quantity(pub i64);

/// Why a decimal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixedError {
    /// No digits, a sign in the wrong place, or a byte that is not a digit.
    #[error("not a decimal number")]
    Malformed,
    /// Digits beyond the unit that are not zero.
    #[error("more decimals than the unit keeps")]
    TooFine,
    /// Larger than 64 bits hold.
    #[error("number too large")]
    TooLarge,
    /// A price that is no whole number of ticks.
    #[error("price is not a multiple of the tick")]
    OffTick,
}

/// Parses a plain decimal (`-12.3400`) into an integer count of `10^-decimals`.
///
/// # Errors
/// [`FixedError`]; exponents, blanks, `+` and empty parts are malformed, non-zero digits past `decimals` too fine.
pub fn parse_decimal(text: &[u8], decimals: u32) -> Result<i64, FixedError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let (whole, fraction) = match digits.iter().position(|&b| b == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() || (whole.len() < digits.len() && fraction.is_empty()) {
        return Err(FixedError::Malformed);
    }
    let mut value: i64 = 0;
    for &byte in whole {
        value = push_digit(value, byte)?;
    }
    let kept = fraction.len().min(decimals as usize);
    for &byte in &fraction[..kept] {
        value = push_digit(value, byte)?;
    }
    for _ in kept..decimals as usize {
        value = value.checked_mul(10).ok_or(FixedError::TooLarge)?;
    }
    for &byte in &fraction[kept..] {
        match byte {
            b'0' => {}
            b'1'..=b'9' => return Err(FixedError::TooFine),
            _ => return Err(FixedError::Malformed),
        }
    }
    Ok(if negative { -value } else { value })
}

#[inline]
fn push_digit(value: i64, byte: u8) -> Result<i64, FixedError> {
    let digit = byte.wrapping_sub(b'0');
    if digit > 9 {
        return Err(FixedError::Malformed);
    }
    value.checked_mul(10).and_then(|v| v.checked_add(i64::from(digit))).ok_or(FixedError::TooLarge)
}

/// A decimal's digits on the stack, so that writing a number allocates nothing.
#[derive(Clone, Copy)]
pub struct DecimalText {
    bytes: [u8; 48],
    start: usize,
}

impl DecimalText {
    /// The digits as ASCII bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Writes `value × 10^-decimals` as a plain decimal with exactly `decimals` fraction digits (at most 20).
#[must_use]
pub fn format_decimal(value: i128, decimals: u32) -> DecimalText {
    let decimals = decimals.min(20) as usize;
    let mut bytes = [b'0'; 48];
    let mut at = bytes.len();
    // An i128 has at most 39 digits; with a dot and a sign that is 41 of the 48 bytes.
    let mut wide = value.unsigned_abs();
    let mut written = 0;
    let mut digit = |digit: u8, bytes: &mut [u8; 48]| {
        if written == decimals && decimals > 0 {
            at -= 1;
            bytes[at] = b'.';
        }
        at -= 1;
        bytes[at] = b'0' + digit;
        written += 1;
        written <= decimals
    };
    // Divisions of 128 bits are calls, and dear: only what does not fit a word pays for them.
    while wide > u128::from(u64::MAX) {
        digit((wide % 10) as u8, &mut bytes);
        wide /= 10;
    }
    let mut rest = wide as u64;
    while digit((rest % 10) as u8, &mut bytes) || rest >= 10 {
        rest /= 10;
    }
    if value < 0 {
        at -= 1;
        bytes[at] = b'-';
    }
    DecimalText { bytes, start: at }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(format_decimal(i128::from(self.0), UNIT_DECIMALS).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_what_venues_send() {
        assert_eq!(parse_decimal(b"61837.63000000", 2), Ok(6_183_763));
        assert_eq!(parse_decimal(b"0.00000001", 8), Ok(1));
        assert_eq!(parse_decimal(b"61800.20", 1), Ok(618_002));
        assert_eq!(parse_decimal(b"5", 1), Ok(50));
        assert_eq!(parse_decimal(b"-0.5", 1), Ok(-5));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        for bad in ["", ".", "-", "1.", ".5", "1e5", "+1", " 1", "1 ", "1.2.3", "0x1", "--1", "1,0"] {
            assert_eq!(parse_decimal(bad.as_bytes(), 8), Err(FixedError::Malformed), "{bad:?}");
        }
        assert_eq!(parse_decimal(b"0.15", 1), Err(FixedError::TooFine));
        assert_eq!(parse_decimal(b"0.1x", 1), Err(FixedError::Malformed));
        assert_eq!(parse_decimal(b"99999999999999999999", 0), Err(FixedError::TooLarge));
        assert_eq!(parse_decimal(b"9223372036854775807", 1), Err(FixedError::TooLarge));
    }

    proptest! {
        #[test]
        fn text_and_number_are_one(value in any::<i64>(), decimals in 0u32..=12) {
            prop_assume!(value != i64::MIN);
            let text = format_decimal(i128::from(value), decimals);
            prop_assert_eq!(parse_decimal(text.as_bytes(), decimals), Ok(value));
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40), d in 0u32..=8) {
            let _ = parse_decimal(&bytes, d);
        }
    }
}
