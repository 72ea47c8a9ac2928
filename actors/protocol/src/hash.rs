//! The rolling hash by which two runs are compared.
//!
//! A folded 64×64→128-bit multiply over pairs of words, in two lanes so that the multiplies overlap. It is an
//! equality check between runs of our own code, not a defence against an adversary: the journal's integrity rests
//! on CRC32C and BLAKE3.

use crate::message::Message;

const K: [u64; 4] =
    [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03, 0xA076_1D64_78BD_642F, 0xE703_7ED1_A0B4_28DB];

/// Hash of everything a seat has sent so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingHash {
    value: u64,
}

crate::state!(RollingHash { value });

impl Default for RollingHash {
    fn default() -> Self {
        Self { value: K[0] }
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a).wrapping_mul(u128::from(b));
    // The sum keeps the other factor when one is zero, where the product alone would forget it.
    (wide as u64) ^ ((wide >> 64) as u64) ^ a.wrapping_add(b.rotate_left(32))
}

impl RollingHash {
    /// Mixes a message in. The ingress stamp is measurement, not content, and stays outside.
    #[inline]
    pub fn update(&mut self, message: &Message) {
        let [seq, time, _ingress, meta] = *message.header.words();
        let body = message.words();
        let mut a = fold(self.value ^ seq ^ K[0], time ^ K[1]);
        let mut b = fold(self.value ^ meta ^ K[2], body[0] ^ K[3]);
        a = fold(a ^ body[1], body[2] ^ K[1]);
        b = fold(b ^ body[3], body[4] ^ K[3]);
        a = fold(a ^ body[5], body[6] ^ K[1]);
        b = fold(b ^ body[7], body[8] ^ K[3]);
        a = fold(a ^ body[9], body[10] ^ K[1]);
        b = fold(b ^ body[11], K[3]);
        self.value = fold(a ^ K[0], b ^ K[2]).wrapping_add(self.value.rotate_left(23));
    }

    /// Mixes one word in: a digest of state, for instance.
    #[inline]
    pub fn update_word(&mut self, word: u64) {
        self.value = fold(self.value ^ word ^ K[0], K[1]).wrapping_add(self.value.rotate_left(23));
    }

    /// The value so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Header, Ticker};

    #[test]
    fn every_single_bit_matters_but_the_ingress_stamp() {
        let message = Message::new(Header::default(), Ticker::default());
        let hash = |m: &Message| {
            let mut h = RollingHash::default();
            h.update(m);
            h.value()
        };
        let clean = hash(&message);
        for bit in 0..128 * 8 {
            let mut bytes: [u8; 128] = bytemuck::cast(message);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = hash(&bytemuck::cast(bytes)) != clean;
            assert_eq!(changed, !(128..192).contains(&bit), "bit {bit}");
        }
    }

    #[test]
    fn order_matters() {
        let one = Message::new(Header { seq: 1, ..Header::default() }, Ticker::default());
        let two = Message::new(Header { seq: 2, ..Header::default() }, Ticker::default());
        let (mut ab, mut ba) = (RollingHash::default(), RollingHash::default());
        ab.update(&one);
        ab.update(&two);
        ba.update(&two);
        ba.update(&one);
        assert_ne!(ab, ba);
    }
}
