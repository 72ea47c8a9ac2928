//! What a market demands of orders, now: the tape's own rules until somebody changes them.

use serde_json::{Value, json};

use crate::api::{ApiError, error};
use crate::book::{text, units};
use crate::matching::Units;
use crate::tape::RecordingProfile;

/// Statuses a symbol may be given.
const STATUSES: [&str; 3] = ["TRADING", "CANCEL_ONLY", "BREAK"];

/// The rules of one market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    tick: Units,
    lot: Units,
    min_notional: Units,
    status: &'static str,
}

impl Rules {
    /// Those of the tape; none where they are no steps.
    #[must_use]
    pub fn of(profile: &RecordingProfile) -> Option<Self> {
        let rules = &profile.rules;
        let step = |text: &str| units(text).filter(|step| *step > 0);
        let min_notional = units(&rules.min_notional).filter(|least| *least >= 0)?;
        Some(Self { tick: step(&rules.tick)?, lot: step(&rules.lot)?, min_notional, status: STATUSES[0] })
    }

    /// These rules with what a query changes in them: `tick`, `lot`, `min_notional`, `status`.
    ///
    /// # Errors
    /// What it says that is no rule.
    pub fn changed(&self, query: &str) -> Result<Self, String> {
        let mut rules = self.clone();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = |least: Units| {
                units(value)
                    .filter(|n| *n >= least)
                    .ok_or_else(|| format!("{name} is a decimal of at most eight places, not \"{value}\""))
            };
            match name {
                "tick" => rules.tick = number(1)?,
                "lot" => rules.lot = number(1)?,
                "min_notional" => rules.min_notional = number(0)?,
                "status" => {
                    let known = STATUSES.into_iter().find(|status| *status == value);
                    rules.status =
                        known.ok_or_else(|| format!("status is one of {}", STATUSES.join(", ")))?;
                }
                _ => return Err(format!("a rule is tick, lot, min_notional or status, not \"{name}\"")),
            }
        }
        Ok(rules)
    }

    /// Says what is wrong with an order, as the venue says it.
    ///
    /// # Errors
    /// The venue's code and text.
    pub fn check(&self, price: Units, size: Units, reduce_only: bool) -> Result<(), ApiError> {
        // The venue speaks of opening: what only closes is taken, unless nothing is.
        if self.status == "BREAK" || (self.status != "TRADING" && !reduce_only) {
            return Err(error(400, -4140, "Invalid symbol status for opening position."));
        }
        if price % self.tick != 0 {
            return Err(error(400, -4014, "Price not increased by tick size."));
        }
        if size % self.lot != 0 {
            return Err(error(400, -1111, "Precision is over the maximum defined for this asset."));
        }
        let notional = i128::from(price) * i128::from(size) / 100_000_000;
        if notional < i128::from(self.min_notional) && !reduce_only {
            return Err(error(
                400,
                -4164,
                "Order's notional must be no smaller than the minimum (unless you choose reduce only).",
            ));
        }
        Ok(())
    }

    /// The answer to `exchangeInfo`.
    #[must_use]
    pub fn exchange_info(&self, profile: &RecordingProfile, now_ms: i64) -> Value {
        let (tick, lot, least) = (text(self.tick, 8), text(self.lot, 8), text(self.min_notional, 8));
        let is_spot = profile.market == "spot";
        let notional = if is_spot {
            json!({"filterType": "NOTIONAL", "minNotional": least, "applyMinToMarket": true})
        } else {
            json!({"filterType": "MIN_NOTIONAL", "notional": least})
        };
        let mut symbol = json!({
            "symbol": profile.symbol, "status": self.status, "quoteAsset": "USDT", "orderTypes": ["LIMIT"],
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": tick, "minPrice": tick},
                {"filterType": "LOT_SIZE", "stepSize": lot, "minQty": lot},
                notional,
            ],
        });
        if !is_spot {
            symbol["contractType"] = json!("PERPETUAL");
            symbol["marginAsset"] = json!("USDT");
            symbol["timeInForce"] = json!(["GTC", "IOC", "FOK", "GTX"]);
        }
        json!({
            "timezone": "UTC", "serverTime": now_ms,
            "rateLimits": [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300}],
            "symbols": [symbol],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::RulesProfile;

    fn profile() -> RecordingProfile {
        RecordingProfile {
            market: "usdm".into(),
            symbol: "BTCUSDT".into(),
            file: String::new(),
            sha256: String::new(),
            price_decimals: 2,
            size_decimals: 3,
            rules: RulesProfile { tick: "0.10".into(), lot: "0.001".into(), min_notional: "100".into() },
            trading: None,
        }
    }

    #[test]
    fn rules_are_changed_by_name_and_bind_from_then_on() {
        let rules = Rules::of(&profile()).unwrap();
        let (price, size) = (units("50000.10").unwrap(), units("0.003").unwrap());
        let code = |rules: &Rules| rules.check(price, size, false).map_err(|e| e.code);
        assert_eq!(code(&rules), Ok(()));
        for (query, expected) in [
            ("tick=0.50", Err(-4014)),
            ("lot=0.002", Err(-1111)),
            ("min_notional=151", Err(-4164)),
            ("status=BREAK", Err(-4140)),
            ("tick=0.05&lot=0.0005&min_notional=0", Ok(())),
        ] {
            assert_eq!(code(&rules.changed(query).unwrap()), expected, "{query}");
        }
        for wrong in ["tick=0", "tick=-1", "lot=x", "status=GONE", "fee=1", "tick"] {
            assert!(rules.changed(wrong).is_err(), "{wrong}");
        }
        let unreadable = RulesProfile { tick: "0".into(), ..profile().rules };
        assert_eq!(Rules::of(&RecordingProfile { rules: unreadable, ..profile() }), None);
    }
}
