//! Orders read back by a foreign parser, and their signatures computed once more.

use anyhow::{Context, Result, anyhow, ensure};
use hmac::{Hmac, KeyInit, Mac};
use kimera_protocol::RollingHash;
use serde_json::Value;
use sha2::Sha256;

use crate::decode::general::fixed;

/// Checks requests of one account.
pub struct Checker {
    keyed: Hmac<Sha256>,
    orders: u64,
    content: RollingHash,
}

impl Checker {
    /// For an account's secret.
    ///
    /// # Errors
    /// A secret that is none.
    pub fn new(secret: &str) -> Result<Self> {
        let keyed = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|e| anyhow!("{e}"))?;
        Ok(Self { keyed, orders: 0, content: RollingHash::default() })
    }

    /// Checks a request's signature: over all parameters but itself, in the order of their names.
    ///
    /// # Errors
    /// It is no request, or its signature is wrong.
    pub fn check(&mut self, request: &[u8]) -> Result<()> {
        let request: Value = serde_json::from_slice(request).context("a request is no JSON")?;
        let parameters = request["params"].as_object().context("a request without parameters")?;
        let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut pairs: Vec<_> =
            parameters.iter().map(|(name, value)| (name.as_str(), text_of(value))).collect();
        pairs.sort();
        let value = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str());
        let signed =
            pairs.iter().filter(|pair| pair.0 != "signature").map(|(name, value)| format!("{name}={value}"));
        let mut mac = self.keyed.clone();
        mac.update(signed.collect::<Vec<_>>().join("&").as_bytes());
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(value("signature") == Some(&expected), "a signature is wrong: {request}");
        for name in ["price", "quantity"] {
            let number = value(name).and_then(fixed).unwrap_or(-1);
            self.content.update_word(number as u64);
        }
        for name in ["symbol", "side", "type", "timeInForce"] {
            value(name).unwrap_or("").bytes().for_each(|byte| self.content.update_word(u64::from(byte)));
        }
        self.orders += 1;
        Ok(())
    }

    /// Requests so far.
    pub fn orders(&self) -> u64 {
        self.orders
    }

    /// Requests so far, and the hash of what they ask for.
    pub fn result(&self) -> (u64, u64) {
        (self.orders, self.content.value())
    }
}
