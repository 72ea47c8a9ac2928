//! Says where a venue does not tell what it demands of orders.

use kimera_runtime::{Counter, Counters};

use crate::config::Config;
use crate::log;
use crate::log::Category::Market;

/// Failures by feed, as far as they were said.
pub(super) struct DefinitionFailures(Vec<(String, Counter, u64)>);

impl DefinitionFailures {
    pub(super) fn new(config: &Config, counters: &Counters) -> Self {
        let of = |feed: &String| {
            let failures = counters.counter_of(&format!("{feed}.definition_failures"));
            (feed.clone(), failures, 1)
        };
        Self(config.instruments.iter().map(|section| of(&section.feed)).collect())
    }

    /// Says the first failure, and the eighth, and so on.
    pub(super) fn follow(&mut self) {
        for (feed, failures, next) in &mut self.0 {
            let count = failures.get();
            if count < *next {
                continue;
            }
            *next = count.saturating_mul(8);
            log::warn(
                Market,
                &format!(
                    "{feed}: what the venue demands of orders cannot be read ({count} times): orders go by what it said last, at the start by the configuration"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_said_ever_more_seldom() {
        let config = Config::parse(include_str!("../../config/profiles/paper.toml")).unwrap();
        let counters = Counters::detached();
        let failures = counters.counter("feed.usdm.definition_failures");
        let mut followed = DefinitionFailures::new(&config, &counters);
        let mut said = Vec::new();
        for count in 1..=64 {
            failures.set(count);
            let before = followed.0[1].2;
            followed.follow();
            if followed.0[1].2 != before {
                said.push(count);
            }
        }
        assert_eq!((said, followed.0[0].2), (vec![1, 8, 64], 1));
    }
}
