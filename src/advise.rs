//! One call for those who want what members, ensemble and strategies think without running a line: market context in, decision out. The
//! same actors, one behind the other on the caller's thread, in the caller's time.
//!
//! ```
//! use kimera::advise::{Advisor, MarketContext};
//! use kimera::config::Config;
//!
//! let profile = include_str!("../config/profiles/paper.toml");
//! let mut advisor = Advisor::new(&Config::parse(profile)?)?;
//! let context = r#"{"time_ms": 1723161257000, "bid": "61800.0", "bid_size": "2.5", "ask": "61800.1", "ask_size": "1.1",
//!     "trades": [{"price": "61800.1", "size": "0.25", "side": "buy"}]}"#;
//! let context: MarketContext = serde_json::from_str(context).map_err(|e| e.to_string())?;
//! let advice = advisor.advise(&context)?;
//! assert_eq!(advice.action, "hold"); // after one look nobody is warm yet, and each says so
//! assert_eq!(advice.members["thermodynamic"].abstains.as_deref(), Some("warmup"));
//! # Ok::<(), String>(())
//! ```

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::PathBuf;

use clap::Args;
use kimera_ensemble::{Ensemble, EnsembleMeters, SlowMembers, actor as ensemble_stage, members, sketch};
use kimera_market::{Market, actor as market_stage};
use kimera_protocol::fixed::{UNIT_DECIMALS, parse_decimal};
use kimera_protocol::{
    Abstention, Body, Command, CommandCode, Consensus, Decision, DepthBegin, Flags, Header, HoldReason,
    Instrument, Level, Message, Nanos, News, Quantity, Started, Ticker, Trade, VenueStatus, Vote,
};
use kimera_runtime::{Actor, Counters, Input, Outbox, Port};
use kimera_strategy::{Strategies, StrategyMeters, stage as strategy_stage};
use serde::{Deserialize, Serialize};

use crate::cli::{PROFILE, print};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::extensions;
use crate::line;
use crate::news::lexicon::{Lexicon, hash, headline_hash};
use crate::report::money;

/// What a market looks like at an instant. Prices and sizes are decimals, as venues write them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketContext {
    /// Milliseconds since 1970; never before the context before it.
    pub time_ms: i64,
    /// Feed of the instrument [strategy.trades].
    #[serde(default)]
    pub feed: Option<String>,
    /// Best bid.
    pub bid: String,
    /// Its size.
    pub bid_size: String,
    /// Best ask.
    pub ask: String,
    /// Its size.
    pub ask_size: String,
    /// Trades since the context before, oldest first.
    #[serde(default)]
    pub trades: Vec<TradeContext>,
    /// Headlines since the context before.
    #[serde(default)]
    pub news: Vec<NewsContext>,
}

/// A trade.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TradeContext {
    /// Price.
    pub price: String,
    /// Size.
    pub size: String,
    /// "buy" where the buyer took, "sell" where the seller did.
    pub side: String,
}

/// A headline.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewsContext {
    /// Who says it.
    pub source: String,
    /// What is said.
    pub headline: String,
}

/// What a member says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemberAdvice {
    /// Probabilities of down, flat and up, where it votes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<[f64; 3]>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abstains: Option<String>,
}

/// What the first session would have standing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QuoteAdvice {
    /// Price in ticks and size to buy at; none where nothing is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<(i64, String)>,
    /// The same to sell at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<(i64, String)>,
    /// Why it wants nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Advice {
    /// "buy", "sell" or "hold": the ensemble's forecast, where it is strong and trusted enough.
    pub action: &'static str,
    /// Probabilities of down, flat and up over the horizon; zeros where nobody votes.
    pub probabilities: [f64; 3],
    /// Up less down.
    pub score: f64,
    /// Calibrated probability that the direction is right.
    pub confidence: f64,
    /// Cognitive pressure (model book 4.9).
    pub pressure: f64,
    /// 1 where members agree.
    pub agreement: f64,
    /// How much they exclude each other.
    pub conflict: f64,
    /// Contradiction level, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contradiction: Option<f32>,
    /// Semantic temperature, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Horizon of the forecast, milliseconds.
    pub horizon_ms: u32,
    /// Every member by name.
    pub members: BTreeMap<&'static str, MemberAdvice>,
    /// What the first session would have standing.
    pub quotes: QuoteAdvice,
}

/// The actors of a line from the market to the strategies, without the line.
pub struct Advisor {
    config: Config,
    instruments: Vec<Instrument>,
    market: Market,
    members: Vec<Box<dyn Actor>>,
    /// Their names.
    names: Vec<&'static str>,
    ensemble: Ensemble,
    strategies: Strategies,
    slow: Option<SlowMembers>,
    lexicon: Lexicon,
    seq: u64,
    now: Nanos,
    update: u64,
    /// Instruments whose book has begun.
    begun: Vec<bool>,
    advice: Advice,
}

impl Advisor {
    /// With a configuration: nothing has been seen yet.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: &Config) -> Result<Self, String> {
        let counters = Counters::detached();
        let ensemble = config.ensemble_config();
        let meters = EnsembleMeters::new(&counters, &ensemble.members);
        let instruments = config.instruments()?;
        let mut advisor = Self {
            market: Market::new(&config.market_config()),
            members: line::boxed_members(config)?,
            names: line::members_of(config).iter().map(|(name, _)| *name).collect(),
            ensemble: Ensemble::new(ensemble, meters),
            strategies: Strategies::with_kinds(
                config.strategy_config()?,
                StrategyMeters::new(&counters),
                extensions::STRATEGIES,
            ),
            slow: config.opinions.enabled.then(|| SlowMembers::new(config.slow_config())),
            lexicon: Lexicon::shipped(),
            seq: 0,
            now: Nanos::MIN,
            update: 0,
            begun: vec![false; instruments.len()],
            advice: Advice::default(),
            instruments,
            config: config.clone(),
        };
        // It is asked what it would do if it could: trading is open, and somebody would send orders.
        advisor.input(0, 0, Started::default());
        let resume = Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() };
        advisor.input(0, 0, resume);
        advisor.input(0, 0, VenueStatus { ready: 1, ..VenueStatus::default() });
        Ok(advisor)
    }

    /// What is thought of a market that looks like this now, behind everything that was shown before.
    ///
    /// # Errors
    /// What is wrong with the context; nothing of it has been taken then.
    pub fn advise(&mut self, context: &MarketContext) -> Result<Advice, String> {
        let traded = usize::from(self.config.traded_id().0);
        let at = match &context.feed {
            None => traded,
            Some(feed) => {
                let known = self.config.instruments.iter().position(|i| i.feed == *feed);
                known.ok_or_else(|| format!("feed is \"{feed}\", and there is none of that name"))?
            }
        };
        let time = context.time_ms.checked_mul(1_000_000).filter(|time| *time >= self.now.max(0));
        let time = time.ok_or_else(|| {
            format!("time_ms is {}: it is no time, or before the context before it", context.time_ms)
        })?;
        let instrument = &self.instruments[at];
        let (bid, ask) = (
            level(instrument, ("bid", &context.bid), ("bid_size", &context.bid_size))?,
            level(instrument, ("ask", &context.ask), ("ask_size", &context.ask_size))?,
        );
        if bid.price >= ask.price {
            return Err(format!("bid {} is not below ask {}", context.bid, context.ask));
        }
        let trade = |t: &TradeContext| {
            let Level { price, size } = level(instrument, ("price", &t.price), ("size", &t.size))?;
            let aggressor = match t.side.as_str() {
                "buy" => 1,
                "sell" => -1,
                other => return Err(format!("a trade's side is buy or sell, not \"{other}\"")),
            };
            Ok(Trade { price, size, aggressor, ..Trade::default() })
        };
        let trades: Vec<Trade> = context.trades.iter().map(trade).collect::<Result<_, _>>()?;

        self.now = time;
        self.advice =
            Advice { action: "hold", horizon_ms: self.config.ensemble.horizon_ms, ..Advice::default() };
        if !std::mem::replace(&mut self.begun[at], true) {
            // A book is one from its snapshot on; this one has its best prices by tickers alone.
            self.input(
                at,
                Flags::FRAME_END,
                DepthBegin { snapshot: 1, messages: 1, ..DepthBegin::default() },
            );
        }
        for news in &context.news {
            let news = News {
                headline: headline_hash(&news.headline),
                source: hash(&news.source),
                compound: self.lexicon.tone(&news.headline).0,
                relevance: 1.0,
                published: time,
                lexicon: self.lexicon.hash(),
                ..News::default()
            };
            self.input(at, 0, news);
        }
        for trade in trades {
            self.input(at, 0, trade);
        }
        self.update += 1;
        let ticker = Ticker { bid, ask, update_id: self.update, ..Ticker::default() };
        self.input(at, Flags::FRAME_END | Flags::MARK, ticker);
        Ok(self.advice.clone())
    }

    fn input<B: Body>(&mut self, at: usize, flags: u8, body: B) {
        self.seq += 1;
        let id = self.instruments[at].id;
        let header = Header {
            seq: self.seq,
            time: self.now.max(0),
            instrument: id.0,
            flags,
            ..Header::unsequenced(B::KIND, id)
        };
        let message = Message::new(header, body);
        let mut thought = Vec::new();
        if let Some(slow) = &mut self.slow {
            slow.hear(&message, |about, opinion| {
                thought.push(Message::new(Header { instrument: about.0, ..header }, opinion));
            });
        }
        self.show(&message);
        thought.iter().for_each(|opinion| self.show(opinion));
    }

    fn show(&mut self, message: &Message) {
        let mut out = Outbox::new(market_stage::OUTPUTS_MAX);
        out.begin(message);
        self.market.handle(Input { message, joined: &[] }, &mut out);
        for (_, said) in out.staged() {
            self.said(said);
        }
    }

    /// One message of the market stage: to the members, with their votes to the ensemble, and on to the strategies.
    fn said(&mut self, message: &Message) {
        let mut votes: Vec<Message> = Vec::new();
        for member in &mut self.members {
            let mut out = Outbox::new(members::OUTPUTS_MAX);
            out.begin(message);
            member.handle(Input { message, joined: &[] }, &mut out);
            votes.extend(out.staged().map(|(_, m)| *m));
        }
        for vote in votes.iter().filter_map(|m| m.body::<Vote>()) {
            let Some(&name) = self.names.get(vote.member as usize) else { continue };
            let abstains = Abstention::from_code(vote.abstains).map(|reason| reason.name().to_owned());
            let probabilities = sketch::read(vote.sketch).filter(|_| abstains.is_none());
            self.advice.members.insert(name, MemberAdvice { probabilities, abstains });
        }
        let joined: Vec<&Message> = votes.iter().collect();
        let mut out = Outbox::new(ensemble_stage::OUTPUTS_MAX);
        out.begin(message);
        self.ensemble.handle(Input { message, joined: &joined }, &mut out);
        for (_, m) in out.staged().filter(|(port, _)| *port == Port::Line) {
            if let Some(consensus) = m.body::<Consensus>() {
                self.forecast(consensus);
            }
            let mut decided = Outbox::new(strategy_stage::OUTPUTS_MAX);
            decided.begin(m);
            self.strategies.handle(Input { message: m, joined: &[] }, &mut decided);
            let decisions = decided.staged().filter_map(|(_, d)| d.body::<Decision>());
            if let Some(first) = decisions.into_iter().find(|d| d.session == 0) {
                let quote = |l: &Level| (l.size.0 > 0).then(|| (l.price.0, money(l.size.0)));
                let hold = HoldReason::from_code(first.hold).map(|reason| reason.name().to_owned());
                self.advice.quotes = QuoteAdvice { bid: quote(&first.bid), ask: quote(&first.ask), hold };
            }
        }
    }

    fn forecast(&mut self, c: &Consensus) {
        let s = &self.config.strategy;
        let acts = c.voted != 0 && c.score.abs() >= s.score_min && c.confidence >= s.confidence_min;
        let action = match (acts, c.score > 0.0) {
            (false, _) => "hold",
            (true, true) => "buy",
            (true, false) => "sell",
        };
        let before = std::mem::take(&mut self.advice);
        self.advice = Advice {
            action,
            probabilities: c.p,
            score: c.score,
            confidence: c.confidence,
            pressure: c.pressure,
            agreement: c.agreement,
            conflict: c.conflict,
            contradiction: c.contradiction(),
            temperature: c.temperature(),
            ..before
        };
    }
}

fn level(
    instrument: &Instrument,
    (price_name, price): (&str, &str),
    (size_name, size): (&str, &str),
) -> Result<Level, String> {
    let wrong = |name: &str, text: &str, e: &dyn std::fmt::Display| format!("{name} is \"{text}\": {e}");
    let at = instrument.parse_price(price.as_bytes()).map_err(|e| wrong(price_name, price, &e))?;
    let units = parse_decimal(size.as_bytes(), UNIT_DECIMALS).map_err(|e| wrong(size_name, size, &e))?;
    if !Instrument::is_price(at) || units <= 0 {
        return Err(format!("{price_name} \"{price}\" and {size_name} \"{size}\" must be positive"));
    }
    Ok(Level { price: at, size: Quantity(units) })
}

/// Arguments of `kimera advise`.
#[derive(Debug, Args)]
pub struct AdviseArgs {
    /// Configuration file.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
}

/// `kimera advise`: contexts from the standard input, a JSON object a line; an advice a line.
///
/// # Errors
/// A configuration that is wrong; a line that is no context, with its number.
pub fn advise(a: &AdviseArgs) -> Result<Exit, Failure> {
    let mut advisor = Advisor::new(&Config::load(&a.config)?).map_err(Failure::configuration)?;
    for (i, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.map_err(Failure::data)?;
        if line.trim().is_empty() {
            continue;
        }
        let at = |e: String| Failure::data(format!("line {}: {e}", i + 1));
        let context: MarketContext = serde_json::from_str(&line).map_err(|e| at(e.to_string()))?;
        let advice = advisor.advise(&context).map_err(at)?;
        print(&serde_json::to_string(&advice).map_err(Failure::defect)?)?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: &str = include_str!("../config/profiles/paper.toml");

    fn context(second: i64, mid: i64) -> MarketContext {
        let text = format!(
            "{{\"time_ms\": {}, \"bid\": \"{mid}.0\", \"bid_size\": \"2\", \"ask\": \"{mid}.1\", \"ask_size\": \"1\",
              \"trades\": [{{\"price\": \"{mid}.1\", \"size\": \"0.5\", \"side\": \"buy\"}}]}}",
            1_723_161_257_000 + second * 1_000
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_context_becomes_a_decision_and_the_same_ones_the_same() {
        let run = || {
            let mut advisor = Advisor::new(&Config::parse(PAPER).unwrap()).unwrap();
            (0..400).map(|s| advisor.advise(&context(s, 61_800 + s % 7 * 3)).unwrap()).collect::<Vec<_>>()
        };
        let (first, again) = (run(), run());
        assert_eq!(first, again);
        assert_eq!(first[0].quotes.hold.as_deref(), Some("unfit"), "no volatility is known yet");
        let last = first.last().unwrap();
        assert!(last.members["thermodynamic"].probabilities.is_some(), "{last:?}");
        assert!((last.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9 && last.temperature.is_some());
        assert!(last.quotes.bid.is_some() && last.quotes.ask.is_some(), "{last:?}");
        assert_eq!(last.members["macro"].abstains.as_deref(), Some("no-data"));
    }

    #[test]
    fn headlines_are_a_part_of_the_context() {
        let mut advisor = Advisor::new(&Config::parse(PAPER).unwrap()).unwrap();
        let mut with = context(0, 61_800);
        with.news = vec![NewsContext { source: "wire".into(), headline: "Bitcoin surges".into() }];
        let p = advisor.advise(&with).unwrap().members["sentiment"].probabilities.unwrap();
        assert!(p[2] > p[0]);
    }

    #[test]
    fn nonsense_is_named_and_changes_nothing() {
        let mut advisor = Advisor::new(&Config::parse(PAPER).unwrap()).unwrap();
        advisor.advise(&context(5, 61_800)).unwrap();
        let good = context(6, 61_800);
        for (wrong, said) in [
            (MarketContext { time_ms: 1, ..good.clone() }, "before the context before it"),
            (MarketContext { time_ms: i64::MAX, ..good.clone() }, "it is no time"),
            (MarketContext { bid: "x".into(), ..good.clone() }, "bid is \"x\""),
            (MarketContext { bid: "0".into(), ..good.clone() }, "must be positive"),
            (MarketContext { bid: "61800.05".into(), ..good.clone() }, "bid is \"61800.05\""),
            (MarketContext { bid: "61900.0".into(), ..good.clone() }, "not below ask"),
            (MarketContext { feed: Some("feed.moon".into()), ..good.clone() }, "feed is \"feed.moon\""),
        ] {
            let error = advisor.advise(&wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let mut fresh = Advisor::new(&Config::parse(PAPER).unwrap()).unwrap();
        fresh.advise(&context(5, 61_800)).unwrap();
        assert_eq!(advisor.advise(&good).unwrap(), fresh.advise(&good).unwrap());
    }
}
