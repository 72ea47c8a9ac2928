//! The rolling hash by which two runs are compared.
//!
//! The sum of the 128-bit products of pairs of words, each with its own constant mixed in (NH, the inner hash of UMAC:
//! Black, Halevi, Krawczyk, Krovetz and Rogaway 1999), folded into what was before. It is an equality check between runs of our own code, not a
//! defence against an adversary: the journal's integrity rests on CRC32C and BLAKE3.

use crate::message::Message;

/// A constant for each word of a message but the ingress stamp, and for the value before: the fractional digits of π.
const K: [u64; 16] = [
    0x243F_6A88_85A3_08D3,
    0x1319_8A2E_0370_7344,
    0xA409_3822_299F_31D0,
    0x082E_FA98_EC4E_6C89,
    0x4528_21E6_38D0_1377,
    0xBE54_66CF_34E9_0C6C,
    0xC0AC_29B7_C97C_50DD,
    0x3F84_D5B5_B547_0917,
    0x9216_D5D9_8979_FB1B,
    0xD131_0BA6_98DF_B5AC,
    0x2FFD_72DB_D01A_DFB7,
    0xB8E1_AFED_6A26_7E96,
    0xBA7C_9045_F12C_7F99,
    0x24A1_9947_B391_6CF7,
    0x0801_F2E2_858E_FC16,
    0x6369_20D8_7157_4E69,
];

/// The value before anything, and what single words are mixed with.
const WORD: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03];

/// Hash of everything a seat has sent so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingHash {
    value: u64,
}

crate::state!(RollingHash { value });

impl Default for RollingHash {
    fn default() -> Self {
        Self { value: WORD[0] }
    }
}

/// A 128-bit product as one word. The sum keeps the other factor when one is zero, where the product alone would forget it.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a).wrapping_mul(u128::from(b));
    (wide as u64) ^ ((wide >> 64) as u64) ^ a.wrapping_add(b.rotate_left(32))
}

impl RollingHash {
    /// Mixes a message in. The ingress stamp is measurement, not content, and stays outside.
    #[inline]
    pub fn update(&mut self, message: &Message) {
        let [seq, time, _ingress, meta] = *message.header.words();
        let body = message.words();
        // A word that equals its constant would hide its pair's other one: as likely as two equal hashes.
        let pair = |i: usize, a: u64, b: u64| {
            u128::from(a ^ K[i]).wrapping_mul(u128::from(b ^ K[i.wrapping_add(1)]))
        };
        let sum = pair(0, seq, time)
            .wrapping_add(pair(2, meta, body[0]))
            .wrapping_add(pair(4, body[1], body[2]))
            .wrapping_add(pair(6, body[3], body[4]))
            .wrapping_add(pair(8, body[5], body[6]))
            .wrapping_add(pair(10, body[7], body[8]))
            .wrapping_add(pair(12, body[9], body[10]))
            .wrapping_add(pair(14, body[11], self.value));
        self.value = fold(sum as u64, (sum >> 64) as u64).wrapping_add(self.value.rotate_left(23));
    }

    /// Mixes one word in: a digest of state, for instance.
    #[inline]
    pub fn update_word(&mut self, word: u64) {
        self.value = fold(self.value ^ word ^ WORD[0], WORD[1]).wrapping_add(self.value.rotate_left(23));
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
