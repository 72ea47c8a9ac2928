//! Every forecast of members and ensemble over a stream, each with what became of it. Behind one another, as in a run: what is learnt is learnt from
//! outcomes that are over, so each forecast is of a future that nobody has seen.

use kimera_ensemble::outcomes::{Barriers, Open};
use kimera_ensemble::pool::Forecast;
use kimera_ensemble::{Ensemble, EnsembleMeters, SlowMembers, actor as ensemble_stage, members, sketch};
use kimera_market::{Market, actor as market_stage};
use kimera_numerics::{Volatility, ln};
use kimera_protocol::{
    Consensus, Features, FeedState, FeedStatus, Header, Kind, MEMBERS_MAX, Message, Nanos, Quote, Trade,
    Vote, Weights,
};
use kimera_runtime::{Actor, Counters, Input, Outbox};

use crate::config::Config;
use crate::line;

/// What a simple forecast may look at.
pub const INPUTS: usize = 4;
/// Places in [`Features`].
const IMBALANCE: usize = 1;
const ORDER_FLOW: usize = 2;
/// The member whose level is a temperature.
const THERMODYNAMIC: usize = 1;

/// What was said at an instant, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it was said.
    pub time: Nanos,
    /// When it was decided.
    pub end: Nanos,
    /// Mid then, in ticks.
    pub mid: f64,
    /// 0 down, 1 flat, 2 up: which barrier was touched first, or none within the horizon.
    pub class: usize,
    /// Each member, where it voted.
    pub votes: [Option<Forecast>; MEMBERS_MAX],
    /// Their weights.
    pub weights: [f64; MEMBERS_MAX],
    /// What was made of it; none where nobody voted.
    pub pooled: Option<Forecast>,
    /// Calibrated probability that the direction is right.
    pub confidence: f64,
    /// Imbalance, order flow, takers' share (bought less sold over both) and return since the forecast before; no number where unknown.
    pub inputs: [f64; INPUTS],
    /// Class of the forecast that was decided last; flat before the first.
    pub before: usize,
    /// The semantic temperature; none while it is not known.
    pub temperature: Option<f64>,
}

/// What a stream has brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecasts {
    /// Forecasts with what became of them, in order of time.
    pub decided: Vec<Sample>,
    /// Every mark: when, and a word for everything that members and ensemble said there.
    pub marks: Vec<(Nanos, u64)>,
}

/// Whether opinions are the journal's own, and by how much a bar's last mark ends it: 0 where bars end by what happens behind them, as in a run.
pub type Kept = (bool, Nanos);

/// A member with its name.
pub type Member = (String, Box<dyn Actor>);

/// A market, members and the ensemble, one behind the other on this thread.
struct Stage<'a> {
    config: &'a Config,
    market: Market,
    members: &'a mut [Member],
    ensemble: Ensemble,
    slow: Option<SlowMembers>,
    outs: (Outbox, Outbox, Outbox),
    volatility: Volatility,
    open: Barriers<Sample>,
    next: Nanos,
    weights: [f64; MEMBERS_MAX],
    before: usize,
    mid: Option<(f64, Nanos)>,
    /// Since the last forecast: its mid, and what takers have bought and sold.
    since: (Option<f64>, f64, f64),
    /// Time of the newest input.
    now: Nanos,
    samples: Vec<Sample>,
    marks: Vec<(Nanos, u64)>,
}

/// Runs a stream through market, members and ensemble, and says what became of each forecast that was decided; one a forecast interval. Opinions are
/// the journal's where it is a run's, else they are thought here.
///
/// # Errors
/// A configuration that is wrong.
pub fn forecasts(
    config: &Config,
    messages: &[Message],
    (is_run, lead): Kept,
    members: &mut [Member],
) -> Result<Forecasts, String> {
    let ensemble = config.ensemble_config();
    let meters = EnsembleMeters::new(&Counters::detached(), &ensemble.members);
    let mut stage = Stage {
        market: Market::new(&config.market_config()),
        slow: (!is_run && config.opinions.enabled).then(|| SlowMembers::new(config.slow_config())),
        outs: (
            Outbox::new(market_stage::OUTPUTS_MAX),
            Outbox::new(members::OUTPUTS_MAX),
            Outbox::new(ensemble_stage::OUTPUTS_MAX),
        ),
        volatility: Volatility::new(ensemble.volatility),
        open: Barriers::new(ensemble.horizon),
        next: Nanos::MIN,
        weights: ensemble.prior,
        before: 1,
        mid: None,
        since: (None, 0.0, 0.0),
        now: Nanos::MIN,
        samples: Vec::new(),
        marks: Vec::new(),
        ensemble: Ensemble::new(ensemble, meters),
        config,
        members,
    };
    let mut thought = Vec::new();
    for message in messages.iter().filter(|m| m.kind().is_some_and(Kind::is_input)) {
        if let Some(slow) = &mut stage.slow {
            let mut heard = *message;
            if message.is_mark() {
                heard.header.time = message.header.time.saturating_add(lead);
            }
            slow.hear(&heard, |about, opinion| {
                let header = Header {
                    seq: message.header.seq,
                    time: message.header.time,
                    instrument: about.0,
                    ..Header::default()
                };
                thought.push(Message::new(header, opinion));
            });
        }
        if lead > 0 {
            thought.drain(..).for_each(|opinion| stage.input(&opinion));
        }
        stage.input(message);
        thought.drain(..).for_each(|opinion| stage.input(&opinion));
    }
    // Of the last ones only those that were touched are decided: they would say more of directions than of what stays.
    let (last, horizon) = (stage.now, stage.intervals().1);
    stage.samples.retain(|sample| sample.time.saturating_add(horizon) <= last);
    stage.samples.sort_by_key(|sample| sample.time);
    Ok(Forecasts { decided: stage.samples, marks: stage.marks })
}

impl Stage<'_> {
    fn input(&mut self, message: &Message) {
        self.now = message.header.time.max(self.now);
        let is_traded = message.instrument() == self.config.traded_id();
        if let Some(trade) = message.body::<Trade>().filter(|_| is_traded) {
            let side = if trade.aggressor > 0 { &mut self.since.1 } else { &mut self.since.2 };
            *side += trade.size.0 as f64;
        }
        let is_lost = message.body::<FeedStatus>().is_some_and(|s| s.state != FeedState::Connected as u64);
        if message.kind() == Some(Kind::Started) || (is_lost && is_traded) {
            // Nobody knows what was touched behind it.
            self.open.clear();
            self.since = (None, 0.0, 0.0);
        }
        let mut out = std::mem::replace(&mut self.outs.0, Outbox::new(0));
        out.begin(message);
        self.market.handle(Input { message, joined: &[] }, &mut out);
        for (_, said) in out.staged() {
            self.said(said);
        }
        self.outs.0 = out;
    }

    /// One message of the market stage: to the members, then with their votes to the ensemble.
    fn said(&mut self, message: &Message) {
        let mut votes: Vec<Message> = Vec::new();
        for (_, member) in self.members.iter_mut() {
            self.outs.1.begin(message);
            member.handle(Input { message, joined: &[] }, &mut self.outs.1);
            votes.extend(self.outs.1.staged().map(|(_, m)| *m));
        }
        let is_traded = message.instrument() == self.config.traded_id();
        if let Some(quote) = message.body::<Quote>().filter(|quote| is_traded && quote.usable != 0) {
            self.moved((quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0, message.header.time);
        }
        let joined: Vec<&Message> = votes.iter().collect();
        self.outs.2.begin(message);
        self.ensemble.handle(Input { message, joined: &joined }, &mut self.outs.2);
        let consensus = self.outs.2.staged().find_map(|(_, m)| m.body::<Consensus>().copied());
        if let Some(weights) = self.outs.2.staged().find_map(|(_, m)| m.body::<Weights>()) {
            self.weights = weights.weights;
        }
        if let Some(consensus) = &consensus {
            let said = votes.iter().filter_map(|m| m.body::<Vote>()).map(|vote| vote.sketch.word());
            let pooled = consensus.p.into_iter().chain([consensus.confidence, consensus.pressure]);
            let word = said
                .chain(pooled.map(f64::to_bits))
                .fold(0, |word: u64, x| (word.rotate_left(23) ^ x).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            self.marks.push((message.header.time, word));
        }
        if let (true, Some(consensus), Some(features)) = (is_traded, consensus, message.body::<Features>()) {
            self.forecast(message.header.time, &consensus, features, &votes);
        }
    }

    fn moved(&mut self, mid: f64, time: Nanos) {
        if self.mid.is_some_and(|(_, at)| time.saturating_sub(at) > self.intervals().1) {
            self.open.clear(); // nothing was heard for longer than a forecast lasts
        }
        self.mid = Some((mid, time));
        self.volatility.moved(mid, time);
        let (samples, before) = (&mut self.samples, &mut self.before);
        self.open.moved(mid, time, |open, class| {
            *before = class;
            samples.push(Sample { end: time, class, ..open.of });
        });
    }

    fn forecast(&mut self, time: Nanos, consensus: &Consensus, features: &Features, votes: &[Message]) {
        let (Some((mid, _)), Some(sigma)) = (self.mid, self.volatility.per_root_second()) else { return };
        let config = self.intervals();
        if time < self.next {
            return;
        }
        self.next = time.saturating_add(config.0);
        let mut said = [None; MEMBERS_MAX];
        let mut temperature = None;
        for vote in votes.iter().filter_map(|m| m.body::<Vote>()).filter(|vote| vote.abstains == 0) {
            if let Some(slot) = said.get_mut(vote.member as usize) {
                *slot = sketch::read(vote.sketch);
            }
            if vote.member as usize == THERMODYNAMIC {
                temperature = Some(vote.level);
            }
        }
        let known = |i: usize, value: f64| if features.status(i).is_usable() { value } else { f64::NAN };
        let (before, bought, sold) = std::mem::replace(&mut self.since, (Some(mid), 0.0, 0.0));
        let takers = if bought + sold > 0.0 { (bought - sold) / (bought + sold) } else { 0.0 };
        let return_ = before.map_or(f64::NAN, |before| ln(mid / before));
        let of = Sample {
            time,
            end: time,
            mid,
            class: 1,
            votes: said,
            weights: self.weights,
            pooled: (consensus.voted != 0).then_some(consensus.p),
            confidence: consensus.confidence,
            inputs: [
                known(IMBALANCE, features.imbalance),
                known(ORDER_FLOW, features.order_flow),
                takers,
                return_,
            ],
            before: self.before,
            temperature,
        };
        let barrier = config.2 * sigma * (config.1 as f64 * 1e-9).sqrt();
        self.open.open(Open { time, mid, barrier, of });
    }

    /// Interval, horizon, barriers.
    fn intervals(&self) -> (Nanos, Nanos, f64) {
        let e = &self.config.ensemble;
        let ms = |ms: u32| i64::from(ms) * 1_000_000;
        (ms(e.forecast_interval_ms), ms(e.horizon_ms), e.barrier_sigmas)
    }
}

/// The members of a configuration.
///
/// # Errors
/// A configuration that is wrong.
pub fn members(config: &Config) -> Result<Vec<Member>, String> {
    let each = line::boxed_members(config)?;
    Ok(line::members_of(config).iter().map(|(name, _)| (*name).to_owned()).zip(each).collect())
}
