//! 3.8 Sentiment: headlines, each once, worth less the older they are, and a fear and greed index of what is known of it.
//!
//! * what is said: the sum of tone times relevance, decayed by half an hour; it becomes a direction by its hyperbolic tangent
//! * the index: calm (rank of the day's volatility turned round) and momentum of prices are not asked here as long as nobody has ninety days of them: the
//!   component of news stands alone, its weight is all there is (a component without data leaves its weight to the others)
//!
//! Without headlines it abstains, and says so.

use kimera_numerics::tone::fear_greed;
use kimera_numerics::{exp, tanh};
use kimera_protocol::{Abstention, Kind, Message, Nanos, News, Sketch};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::sketch;

/// Headlines whose repetition is noticed.
const HEADLINES: usize = 64;
/// Time after which a headline's weight has fallen to 1/e: half an hour.
const DECAY: Nanos = 1_800_000_000_000;
/// Weight below which nothing is said any more.
const LEAST: f64 = 1e-3;

/// The member.
pub struct Sentiment {
    member: usize,
    /// Hashes of the last headlines.
    headlines: [u64; HEADLINES],
    heard: u64,
    /// Decayed sum of what was said, of its size whatever its sign, and when they were last moved.
    sum: f64,
    size: f64,
    at: Nanos,
}

kimera_protocol::state!(Sentiment { headlines, heard, sum, size, at } fixed { member });

impl Sentiment {
    /// Votes as `member`; has heard nothing yet.
    #[must_use]
    pub fn new(member: usize) -> Self {
        Self { member, headlines: [0; HEADLINES], heard: 0, sum: 0.0, size: 0.0, at: 0 }
    }

    fn decay(&mut self, time: Nanos) {
        let passed = time.saturating_sub(self.at);
        if passed > 0 {
            let left = exp(-(passed as f64) / DECAY as f64);
            (self.sum, self.size, self.at) = (self.sum * left, self.size * left, time);
        }
    }

    fn hear(&mut self, news: &News, time: Nanos) {
        let known = &self.headlines[..(self.heard as usize).min(HEADLINES)];
        if !news.is_sensible() || known.contains(&news.headline) {
            return;
        }
        self.headlines[(self.heard % HEADLINES as u64) as usize] = news.headline;
        self.heard += 1;
        self.decay(time);
        // One that comes late is worth what is left of it.
        let age = time.saturating_sub(news.published).max(0);
        let weight = news.weight() * exp(-(age as f64) / DECAY as f64);
        (self.sum, self.size) = (self.sum + weight, self.size + weight.abs());
    }

    /// What it has found and the index.
    fn judge(&mut self, time: Nanos) -> Result<(Option<Sketch>, f64), Abstention> {
        self.decay(time);
        if self.size < LEAST {
            return Err(Abstention::NoSources);
        }
        let rank = (1.0 + tanh(self.sum)) / 2.0;
        let index = fear_greed(&[None, None, None, Some(rank)]).ok_or(Abstention::Degenerate)?;
        Ok((sketch::tilt(self.sum, 0.0), index))
    }
}

impl Actor for Sentiment {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message: &Message = input.message;
        if message.is_mark() && message.kind() == Some(Kind::Features) {
            if self.heard == 0 {
                send(self.member, Err(Abstention::NoData), (0.0, 0.0), message, out);
                return;
            }
            let judged = self.judge(message.header.time);
            let levels = (judged.map_or(0.0, |(_, index)| index), self.sum);
            send(self.member, judged.map(|j| j.0), levels, message, out);
        } else if let Some(news) = message.body::<News>() {
            self.hear(news, message.header.time);
        }
    }

    fn digest(&self) -> u64 {
        self.sum.to_bits() ^ self.heard.rotate_left(32) ^ self.at as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{SECOND, handle, mark, p};

    fn news(headline: u64, compound: f64, published: Nanos) -> News {
        News { headline, source: 1, compound, relevance: 1.0, published, ..News::default() }
    }

    #[test]
    fn without_headlines_it_abstains_and_says_why() {
        let mut member = Sentiment::new(3);
        let vote = mark(&mut member, 0, 1, 100, 100.0, 0.0);
        assert_eq!((vote.member, vote.abstains), (3, Abstention::NoData as u64));
    }

    #[test]
    fn headlines_count_once_and_less_the_older_they_are() {
        let mut member = Sentiment::new(3);
        let hear = |member: &mut Sentiment, time, n: News| {
            handle(member, 1, time, 0, n);
        };
        hear(&mut member, 0, news(7, 0.6, 0));
        let first = mark(&mut member, 1, 0, 100, 100.0, 0.0);
        assert!(p(&first)[2] > p(&first)[0] && (p(&first).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // tanh 0.6 = 0.537: the index is where the direction is.
        assert!((first.level - 76.852).abs() < 1e-2, "{first:?}");
        hear(&mut member, SECOND, news(7, 0.6, 0));
        let again = mark(&mut member, 1, SECOND, 100, 100.0, 0.0);
        assert!((p(&again)[2] - p(&first)[2]).abs() < 1e-3, "the same again");
        hear(&mut member, SECOND, news(8, -0.6, SECOND));
        let even = mark(&mut member, 1, SECOND, 100, 100.0, 0.0);
        assert!((p(&even)[2] - p(&even)[0]).abs() < 1e-3 && even.abstains == 0, "both sides are heard");
        hear(&mut member, 2 * SECOND, News { compound: f64::NAN, ..news(9, 0.0, 0) });
        let late = mark(&mut member, 1, DECAY, 100, 100.0, 0.0);
        assert!((late.second - even.second / std::f64::consts::E).abs() < 1e-3, "{late:?}");
        let end = mark(&mut member, 1, 20 * DECAY, 100, 100.0, 0.0);
        assert_eq!(end.abstains, Abstention::NoSources as u64);
    }
}
