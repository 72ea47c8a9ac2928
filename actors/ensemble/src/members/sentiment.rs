//! 3.8 Sentiment: headlines, each once, worth less the older they are, and an index of fear and greed.
//!
//! * what is said: the sum of tone times relevance, decayed by half an hour; its hyperbolic tangent is a direction
//! * the index: how calm and how driven the market is and where its crowd stands, remembered and ranked beside the line among ninety days; what is said is
//!   its fourth component. What is not known leaves its weight to an index from outside, where somebody reads one, else to the others
//! * the vote: what is said, and what the rest of the index says; that is of a day, and counts over a horizon for the root of the horizon's share of one
//!
//! Without headlines, where the index leans by hardly anything over the horizon, it tells the index and abstains; without both it abstains.

use kimera_numerics::tone::fear_greed;
use kimera_numerics::{exp, ln, tanh};
use kimera_protocol::{Abstention, InstrumentId, Kind, Message, Nanos, News, Opinion, Sketch, Topic};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::sketch;

/// Headlines whose repetition is noticed.
const HEADLINES: usize = 64;
/// Time after which a headline's weight has fallen to 1/e: half an hour.
const DECAY: Nanos = 1_800_000_000_000;
/// Weight below which nothing is said any more.
const LEAST: f64 = 1e-3;

/// A day.
const DAY: Nanos = 86_400_000_000_000;
/// What is thought beside the line: the index's components but the news, and one from outside.
const SLOW: [Topic; 4] = [Topic::Calm, Topic::Drive, Topic::Crowding, Topic::OutsideIndex];
/// An index that leans less than this over the horizon says nothing of it: it is told, and no vote.
const LEAN: f64 = 0.05;
/// An index is never believed beyond these.
const BELIEVED: (f64, f64) = (0.01, 0.99);

/// What the member needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentimentConfig {
    /// Its number.
    pub member: usize,
    /// Instrument that is traded.
    pub traded: InstrumentId,
    /// Horizon of the forecast.
    pub horizon: Nanos,
}

/// The member.
pub struct Sentiment {
    config: SentimentConfig,
    /// What a day's index counts for over a horizon.
    share: f64,
    /// Hashes of the last headlines.
    headlines: [u64; HEADLINES],
    heard: u64,
    /// Decayed sum of what was said, of its size whatever its sign, and when they were last moved.
    sum: f64,
    size: f64,
    at: Nanos,
    /// The newest opinions, as [`SLOW`].
    slow: [Opinion; SLOW.len()],
}

kimera_protocol::state!(Sentiment { headlines, heard, sum, size, at, slow } fixed { config, share });

impl Sentiment {
    /// Has heard nothing yet.
    #[must_use]
    pub fn new(config: SentimentConfig) -> Self {
        let share = (config.horizon.max(0) as f64 / DAY as f64).sqrt().min(1.0);
        let (headlines, slow) = ([0; HEADLINES], [Opinion::default(); SLOW.len()]);
        Self { config, share, headlines, heard: 0, sum: 0.0, size: 0.0, at: 0, slow }
    }

    fn decay(&mut self, time: Nanos) {
        let passed = time.saturating_sub(self.at);
        if passed > 0 && self.size > 0.0 {
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
        self.at = time;
        // One that comes late is worth what is left of it.
        let age = time.saturating_sub(news.published).max(0);
        let weight = news.weight() * exp(-(age as f64) / DECAY as f64);
        (self.sum, self.size) = (self.sum + weight, self.size + weight.abs());
    }

    /// What it has found; the index, and how far it leans.
    fn judge(&mut self, time: Nanos) -> (Result<Option<Sketch>, Abstention>, (f64, f64)) {
        self.decay(time);
        let is_told = self.size >= LEAST;
        let [calm, drive, crowding, outside] = std::array::from_fn(|i| self.slow[i].usable(time));
        let rest = fear_greed(&[calm, drive, crowding, None], outside);
        let said = is_told.then(|| (1.0 + tanh(self.sum)) / 2.0);
        let index = fear_greed(&[calm, drive, crowding, said], outside);
        let Some(index) = index else {
            let reason = if self.heard == 0 { Abstention::NoData } else { Abstention::NoSources };
            return (Err(reason), (0.0, 0.0));
        };
        let of_a_day = rest.map_or(0.0, |index| {
            let share = (index / 100.0).clamp(BELIEVED.0, BELIEVED.1);
            ln(share / (1.0 - share)) / 2.0 // whose hyperbolic tangent is where the index is
        });
        let away = self.share * of_a_day + if is_told { self.sum } else { 0.0 };
        let leans = is_told || away.abs() >= LEAN;
        let found = if leans { Ok(sketch::tilt(away, 0.0)) } else { Err(Abstention::NoSources) };
        (found, (index, away))
    }
}

impl Actor for Sentiment {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message: &Message = input.message;
        if message.is_mark() && message.kind() == Some(Kind::Features) {
            let (found, levels) = self.judge(message.header.time);
            send(self.config.member, found, levels, message, out);
        } else if let Some(news) = message.body::<News>() {
            self.hear(news, message.header.time);
        } else if let Some(opinion) = message.body::<Opinion>()
            && message.instrument() == self.config.traded
            && let Some(i) = SLOW.iter().position(|topic| *topic as u64 == opinion.topic)
            && opinion.basis >= self.slow[i].basis
        {
            self.slow[i] = *opinion;
        }
    }

    fn digest(&self) -> u64 {
        let start = self.sum.to_bits() ^ self.heard.rotate_left(32) ^ self.at as u64;
        self.slow.iter().fold(start, |d, o| d.rotate_left(11) ^ o.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{SECOND, handle, mark, p};

    fn news(headline: u64, compound: f64, published: Nanos) -> News {
        News { headline, source: 1, compound, relevance: 1.0, published, ..News::default() }
    }

    fn member() -> Sentiment {
        member_over(60 * SECOND)
    }

    fn member_over(horizon: Nanos) -> Sentiment {
        Sentiment::new(SentimentConfig { member: 3, traded: InstrumentId(1), horizon })
    }

    fn told(of: &mut Sentiment, topic: Topic, value: f64, valid_until: Nanos) {
        let opinion = Opinion {
            topic: topic as u64,
            value,
            status: kimera_protocol::Status::Ok as u64,
            basis: 9,
            valid_until,
            ..Opinion::default()
        };
        handle(of, 1, 0, 0, opinion);
    }

    #[test]
    fn the_index_has_its_components_and_counts_for_its_share_of_a_day() {
        let mut of = member_over(DAY / 4);
        // Model book 3.8: (20, 60, 40, 70) per cent are 46; here 70 % by what is said: tanh x = 0.4.
        for (topic, value) in [(Topic::Calm, 0.2), (Topic::Drive, 0.6), (Topic::Crowding, 0.4)] {
            told(&mut of, topic, value, 10 * DECAY);
        }
        let quiet = mark(&mut of, 1, 0, 100, 100.0, 0.0);
        assert!((quiet.level - 40.0).abs() < 1e-9 && quiet.abstains == 0, "{quiet:?}");
        // 40 is −0.2 on the scale from −1 to 1; a quarter of a day has half of its deviation.
        assert!((tanh(quiet.second * 2.0) + 0.2).abs() < 1e-9, "{quiet:?}");
        assert!(p(&quiet)[0] > p(&quiet)[2]);
        let compound = ln(1.4 / 0.6) / 2.0;
        handle(&mut of, 1, 0, 0, news(7, compound, 0));
        let index = mark(&mut of, 1, 0, 100, 100.0, 0.0);
        assert!((index.level - 46.0).abs() < 1e-9 && index.second > 0.3, "{index:?}");
        // Over a minute the same index leans by hardly anything.
        let mut brief = member();
        told(&mut brief, Topic::Crowding, 0.4, DAY);
        let brief = mark(&mut brief, 1, 0, 100, 100.0, 0.0);
        assert_eq!(brief.abstains, Abstention::NoSources as u64);
        assert!(
            (brief.level - 40.0).abs() < 1e-9 && (tanh(brief.second * 1_440f64.sqrt()) + 0.2).abs() < 1e-9
        );
        // An index from outside has the weight of what nobody knows.
        let mut of = member();
        told(&mut of, Topic::Crowding, 0.9, DAY);
        told(&mut of, Topic::OutsideIndex, 0.2, DAY);
        let both = mark(&mut of, 1, 0, 100, 100.0, 0.0);
        assert!((both.level - 34.0).abs() < 1e-9, "{both:?}");
        let other = mark(&mut of, 1, DAY + 1, 100, 100.0, 0.0);
        assert_eq!(other.abstains, Abstention::NoData as u64, "they have grown old");
    }

    #[test]
    fn without_headlines_it_abstains_and_says_why() {
        let mut member = member();
        let vote = mark(&mut member, 0, 1, 100, 100.0, 0.0);
        assert_eq!((vote.member, vote.abstains), (3, Abstention::NoData as u64));
        assert_eq!(member.digest(), 0, "nobody has told it anything");
    }

    #[test]
    fn headlines_count_once_and_less_the_older_they_are() {
        let mut member = member();
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
