//! HMAC-SHA256 signatures as Binance wants them: lower-case hexadecimal over the parameters' text.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a signature's text.
pub const SIGNATURE_BYTES: usize = 64;

/// An API key and what its secret has become. The secret itself is not kept, and nothing here is ever printed.
#[derive(Clone)]
pub struct Signer {
    api_key: String,
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// A signer; `None` where the key holds anything but letters and digits (it goes into requests as it is).
    #[must_use]
    pub fn new(api_key: &str, secret: &[u8]) -> Option<Self> {
        if api_key.is_empty() || !api_key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let keyed = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        Some(Self { api_key: api_key.to_owned(), keyed })
    }

    /// The API key.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The signature of `payload`.
    #[must_use]
    pub fn sign(&self, payload: &[u8]) -> [u8; SIGNATURE_BYTES] {
        hexadecimal(self.keyed.clone(), payload)
    }

    /// Begins a signature: what `beginning` makes of the hash is computed once for every text that starts with it.
    #[must_use]
    pub fn begin(&self, beginning: &[u8]) -> BegunSignature {
        let mut keyed = self.keyed.clone();
        keyed.update(beginning);
        BegunSignature { keyed }
    }
}

/// A signature over a text of which the beginning is known.
#[derive(Clone)]
pub struct BegunSignature {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for BegunSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BegunSignature(…)")
    }
}

impl BegunSignature {
    /// The signature of the beginning with `rest` behind it.
    #[must_use]
    pub fn sign(&self, rest: &[u8]) -> [u8; SIGNATURE_BYTES] {
        hexadecimal(self.keyed.clone(), rest)
    }
}

/// Both digits of every byte.
const DIGITS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

fn hexadecimal(mut mac: Hmac<Sha256>, payload: &[u8]) -> [u8; SIGNATURE_BYTES] {
    mac.update(payload);
    let mut text = [0u8; SIGNATURE_BYTES];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(mac.finalize().into_bytes()) {
        *pair = DIGITS[usize::from(byte)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    const KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";

    fn signed(payload: &str) -> String {
        String::from_utf8(Signer::new(KEY, SECRET).unwrap().sign(payload.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn published_vectors() {
        // The venue's own examples: a REST query, and the sorted parameters of a WebSocket API request.
        assert_eq!(
            signed(
                "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
            ),
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
        );
        assert_eq!(
            signed(&format!(
                "apiKey={KEY}&newOrderRespType=ACK&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC&timestamp=1645423376532&type=LIMIT"
            )),
            "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a"
        );
        // RFC 4231, case 2, in one piece and in every two.
        for cut in 0..28 {
            let (beginning, rest) = b"what do ya want for nothing?".split_at(cut);
            let text = Signer::new("k", b"Jefe").unwrap().begin(beginning).sign(rest);
            assert_eq!(&text[..], b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        }
        let text = Signer::new("k", b"Jefe").unwrap().sign(b"what do ya want for nothing?");
        assert_eq!(&text[..], b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn nothing_secret_is_printed_and_no_key_breaks_a_request() {
        let signer = Signer::new(KEY, SECRET).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer(…)");
        assert_eq!(format!("{:?}", signer.begin(b"x")), "BegunSignature(…)");
        assert!(Signer::new("a\"b", SECRET).is_none() && Signer::new("", SECRET).is_none());
    }
}
