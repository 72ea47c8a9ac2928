//! One instrument under the slow estimators.

use std::collections::VecDeque;

use kimera_numerics::hawkes::{self, EVENTS_MIN, Hawkes, HawkesParameters};
use kimera_numerics::illiquidity::Amihud;
use kimera_numerics::informed::{self, InformedTrading};
use kimera_numerics::roll::RollSpread;
use kimera_numerics::trade_costs::{TradeCost, TradeCosts};
use kimera_numerics::variance_ratio::variance_ratio;
use kimera_numerics::vpin::Vpin;
use kimera_numerics::{Estimate, ln};
use kimera_protocol::{Level, Nanos, Seq, Side, Status, Topic, Trade};

use super::minutes::Minutes;
use super::toxicity::{Toxicity, View};
use super::{AnalystConfig, Thought, artefact};
use crate::features::impact::KyleLambda;
use crate::features::order_flow::OrderFlow;
use crate::features::{FeatureConfig, base_units};

const DAY: Nanos = 86_400_000_000_000;
/// Events of a side that are fitted.
const EVENTS_MAX: usize = 2_000;
/// Days kept.
const DAYS_MAX: usize = 60;
/// Half-life of the implied spread in trades, and trades before it is said.
const ROLL: (f64, u64) = (500.0, 50);
/// Days of the illiquidity, and days before it is said.
const AMIHUD: (usize, usize) = (30, 5);

/// True for what is said once in a long while.
pub(super) fn is_slow(topic: Topic) -> bool {
    !matches!(
        topic,
        Topic::Vpin | Topic::TradeRate | Topic::TradeImbalance | Topic::ToxicBid | Topic::ToxicAsk
    )
}

/// Takers of one side: their newest times, and the process that was fitted to them.
struct Takers {
    times: VecDeque<Nanos>,
    process: Option<(Hawkes, HawkesParameters, Status)>,
}

impl Takers {
    fn new() -> Self {
        Self { times: VecDeque::with_capacity(EVENTS_MAX), process: None }
    }

    fn add(&mut self, time: Nanos) {
        if self.times.len() == EVENTS_MAX {
            self.times.pop_front();
        }
        self.times.push_back(time);
        if let Some((process, ..)) = &mut self.process {
            process.add(time);
        }
    }

    fn fit(&mut self, now: Nanos) {
        let Some(&first) = self.times.front() else { return };
        let seconds = |time: Nanos| time.saturating_sub(first) as f64 / 1e9;
        let times: Vec<f64> = self.times.iter().map(|&time| seconds(time)).collect();
        if let Some((parameters, status)) = hawkes::fit(&times, seconds(now)) {
            let mut process = Hawkes::new(parameters);
            self.times.iter().for_each(|&time| process.add(time));
            self.process = Some((process, parameters, status));
        }
    }
}

/// What a day has traded.
#[derive(Clone, Copy, Default)]
struct Day {
    index: i64,
    /// Trades by takers who bought, and by those who sold.
    trades: (u64, u64),
    /// The last price of the day before.
    open: f64,
    close: f64,
    /// In the quote asset.
    money: f64,
    /// In 1e-8.
    volume: i64,
    /// It was heard from its beginning.
    is_whole: bool,
}

pub(super) struct Desk {
    config: AnalystConfig,
    /// Tick in the quote asset.
    tick: f64,
    /// The newest input that was heard; none before the first one, and behind a hole: nothing is said until the next.
    basis: Seq,
    mid: Option<f64>,
    /// No number where nothing is known of the best prices.
    imbalance: f64,
    order_flow: OrderFlow,
    kyle: KyleLambda,
    vpin: Option<(Vpin, i64)>,
    /// Before there are buckets: since when volume is measured, and how much it was, in 1e-8.
    volume: Option<(Nanos, i64)>,
    roll: RollSpread,
    costs: TradeCosts,
    cost_sum: (TradeCost, u64),
    buys: Takers,
    sells: Takers,
    refit_at: Nanos,
    day: Day,
    days: VecDeque<(u64, u64)>,
    amihud: Amihud,
    informed: Option<(InformedTrading, Estimate)>,
    minutes: Minutes,
    toxicity: Toxicity,
    /// Status that was said last of each topic.
    said: [Option<Status>; Topic::ALL.len()],
}

impl Desk {
    pub(super) fn new(config: &AnalystConfig, tick_units: i64) -> Self {
        let features = FeatureConfig::default();
        Self {
            tick: base_units(tick_units),
            basis: 0,
            mid: None,
            imbalance: f64::NAN,
            order_flow: OrderFlow::new(features.order_flow_bucket, features.order_flow_half_life),
            kyle: KyleLambda::new(features.kyle_bucket, features.kyle_half_life, features.kyle_t_min),
            vpin: None,
            volume: None,
            roll: RollSpread::new(ROLL.0, ROLL.1),
            costs: TradeCosts::new(config.horizon),
            cost_sum: (TradeCost::default(), 0),
            buys: Takers::new(),
            sells: Takers::new(),
            refit_at: Nanos::MIN,
            day: Day::default(),
            days: VecDeque::with_capacity(DAYS_MAX),
            amihud: Amihud::new(AMIHUD.0, AMIHUD.1),
            informed: None,
            minutes: Minutes::default(),
            toxicity: Toxicity::new(config.horizon),
            said: [None; Topic::ALL.len()],
            config: config.clone(),
        }
    }

    /// The stream has a hole: what follows is not compared with what was before. Buckets of volume stay: a few trades less are a bucket that ends later.
    pub(super) fn forget(&mut self) {
        self.basis = 0;
        self.mid = None;
        self.imbalance = f64::NAN;
        self.volume = None;
        self.roll = RollSpread::new(ROLL.0, ROLL.1);
        self.order_flow.reset();
        self.kyle.reset();
        self.costs = TradeCosts::new(self.config.horizon);
        (self.buys, self.sells) = (Takers::new(), Takers::new());
        self.refit_at = Nanos::MIN;
        self.day.is_whole = false;
        self.minutes.forget();
        self.toxicity.forget();
    }

    pub(super) fn heard(&mut self, seq: Seq) {
        self.basis = seq;
    }

    /// The newest input that what is thought rests on.
    pub(super) fn basis(&self) -> Seq {
        self.basis
    }

    pub(super) fn quoted(&mut self, bid: Level, ask: Level, time: Nanos) {
        let is_good = bid.size.0 > 0 && ask.size.0 > 0 && 0 < bid.price.0 && bid.price.0 < ask.price.0;
        let mid = is_good.then(|| (bid.price.0 + ask.price.0) as f64 * 0.5);
        let sum = &mut self.cost_sum;
        self.costs.mid(time, mid, |cost| {
            sum.0.effective += cost.effective;
            sum.0.realised += cost.realised;
            sum.0.impact += cost.impact;
            sum.1 += 1;
        });
        self.toxicity.judge(time, self.mid);
        self.mid = mid;
        let Some(mid) = mid else {
            self.order_flow.skip();
            self.imbalance = f64::NAN;
            return;
        };
        let (bids, asks) = (base_units(bid.size.0), base_units(ask.size.0));
        self.imbalance = (bids - asks) / (bids + asks);
        self.order_flow.quote(bid, ask, mid, time);
        self.kyle.moved(mid, time);
        self.minutes.moved(mid, time);
    }

    pub(super) fn traded(&mut self, trade: &Trade, time: Nanos) {
        if trade.size.0 <= 0 || trade.price.0 <= 0 || trade.aggressor == 0 {
            return;
        }
        let (is_buy, price, size) = (trade.aggressor > 0, trade.price.0 as f64, trade.size.0);
        // What was known before the trade is what a maker could have known.
        if self.mid.is_some() {
            let view = self.view(if is_buy { Side::Ask } else { Side::Bid }, time);
            self.toxicity.filled(&view, price, time);
        }
        self.follow_day(time, (price, size), is_buy);
        self.follow_volume(size, is_buy, time);
        self.kyle.traded(if is_buy { base_units(size) } else { -base_units(size) });
        self.roll.add(price);
        self.costs.trade(time, is_buy, price);
        if is_buy { &mut self.buys } else { &mut self.sells }.add(time);
    }

    fn follow_volume(&mut self, size: i64, is_buy: bool, time: Nanos) {
        if let Some((vpin, _)) = &mut self.vpin {
            vpin.add(size, is_buy);
            return;
        }
        let (since, volume) = self.volume.get_or_insert((time, 0));
        *volume = volume.saturating_add(size);
        let span = time.saturating_sub(*since);
        if span >= self.config.volume_span {
            let a_day = i128::from(*volume) * i128::from(DAY) / i128::from(span.max(1));
            let (a_bucket, of) = (a_day / i128::from(self.config.buckets.0.max(1)), self.config.buckets.1);
            let bucket = i64::try_from(a_bucket).unwrap_or(i64::MAX).max(1);
            self.vpin = Some((Vpin::new(bucket, of as usize), bucket));
        }
    }

    fn follow_day(&mut self, time: Nanos, (price, size): (f64, i64), is_buy: bool) {
        let index = time.div_euclid(DAY);
        if index != self.day.index {
            let ended = self.day;
            // The first day, and one with a hole, are not known whole.
            if ended.is_whole {
                self.amihud.add(ln(ended.close / ended.open), ended.money);
                if self.days.len() == DAYS_MAX {
                    self.days.pop_front();
                }
                self.days.push_back(ended.trades);
                let days: Vec<_> = self.days.iter().copied().collect();
                if let Some(fit) = informed::fit(&days, informed::DAYS_MIN) {
                    self.informed = Some((fit.parameters, fit.pin));
                }
                self.follow_usual_volume(ended.volume);
            }
            let follows = index == ended.index + 1 && ended.index > 0;
            let open = if follows { ended.close } else { price };
            self.day = Day { index, open, is_whole: follows, ..Day::default() };
        }
        let day = &mut self.day;
        day.close = price;
        day.money += price * self.tick * base_units(size);
        day.volume = day.volume.saturating_add(size);
        if is_buy { day.trades.0 += 1 } else { day.trades.1 += 1 }
    }

    /// Buckets of a whole day's volume, where those that there are have become twice too large or too small.
    fn follow_usual_volume(&mut self, a_day: i64) {
        let bucket = (a_day / i64::from(self.config.buckets.0.max(1))).max(1);
        if let Some((vpin, now)) = &mut self.vpin
            && (bucket / 2 > *now || bucket < *now / 2)
        {
            (*vpin, *now) = (Vpin::new(bucket, self.config.buckets.1 as usize), bucket);
        }
    }

    /// The market as a maker on a side sees it: positive where it speaks against a fill there. What is not known, or may not be used, is no number.
    fn view(&self, maker: Side, time: Nanos) -> View {
        // Against one who sells speaks what lifts the price.
        let sign = if maker == Side::Ask { 1.0 } else { -1.0 };
        let known = |of: Estimate| if of.status.is_usable() { of.value } else { f64::NAN };
        let posterior = self.informed.as_ref().map_or(f64::NAN, |(parameters, _)| {
            // As much of a day's trades as there has been of the day.
            let share = (time.rem_euclid(DAY) as f64 / DAY as f64).max(1.0 / 1_440.0);
            let (informed, buys, sells) =
                (share * parameters.informed, share * parameters.buys, share * parameters.sells);
            let so_far = InformedTrading { informed, buys, sells, ..*parameters };
            let of = so_far.posterior(self.day.trades.0, self.day.trades.1);
            if maker == Side::Ask { of.good } else { of.bad }
        });
        View {
            maker,
            inputs: [
                known(self.vpin()),
                sign * known(self.order_flow.flow()),
                sign * self.imbalance,
                known(self.kyle.lambda()),
                sign * known(self.trade_imbalance(time)),
                posterior,
            ],
        }
    }

    fn vpin(&self) -> Estimate {
        self.vpin.as_ref().map_or(Estimate::warmup(0), |(vpin, _)| vpin.get())
    }

    fn trade_imbalance(&self, time: Nanos) -> Estimate {
        match (&self.buys.process, &self.sells.process) {
            (Some((buys, ..)), Some((sells, ..))) => hawkes::imbalance(buys, sells, time),
            _ => Estimate::warmup((self.buys.times.len() + self.sells.times.len()) as u64),
        }
    }

    fn refit(&mut self, now: Nanos) {
        let is_ready = self.buys.times.len() >= EVENTS_MIN && self.sells.times.len() >= EVENTS_MIN;
        if is_ready && now >= self.refit_at {
            self.buys.fit(now);
            self.sells.fit(now);
            self.refit_at = now.saturating_add(self.config.refit);
        }
        self.toxicity.refit(now, self.config.refit);
    }

    /// What is thought now, of everything or of what moves by the second. What may not be used is said once.
    pub(super) fn think(&mut self, now: Nanos, with_slow: bool, out: &mut Vec<Thought>) {
        if self.basis == 0 {
            return;
        }
        self.refit(now);
        let said = &self.said;
        let known = |topic: Topic, estimate: &Estimate| {
            estimate.status.is_usable() || said[topic as usize - 1] != Some(estimate.status)
        };
        let mut think = |topic: Topic, estimate: Estimate, artefact: u64| {
            if known(topic, &estimate) {
                out.push(Thought { topic, estimate, artefact });
            }
        };
        let (toxic_bid, toxic_ask) = (self.view(Side::Bid, now), self.view(Side::Ask, now));
        let fitted = self.toxicity.artefact();
        think(
            Topic::Vpin,
            self.vpin(),
            artefact([self.vpin.as_ref().map_or(0, |(_, bucket)| *bucket as u64)]),
        );
        think(Topic::TradeRate, self.trade_rate(now), self.takers_artefact());
        think(Topic::TradeImbalance, self.trade_imbalance(now), self.takers_artefact());
        // Without best prices nobody knows what a fill would meet.
        let has_book = self.mid.is_some();
        for (topic, view) in [(Topic::ToxicBid, toxic_bid), (Topic::ToxicAsk, toxic_ask)] {
            let of = self.toxicity.probability(&view);
            let is_stale = of.status.is_usable() && !has_book;
            think(topic, Estimate { status: if is_stale { Status::Stale } else { of.status }, ..of }, fitted);
        }
        if with_slow {
            let (costs, n) = self.cost_sum;
            let mean = |sum: f64| if n > 0 { Estimate::ok(sum / n as f64, n) } else { Estimate::warmup(0) };
            let horizon = artefact([self.config.horizon as u64]);
            think(Topic::EffectiveSpread, mean(costs.effective), horizon);
            think(Topic::RealisedSpread, mean(costs.realised), horizon);
            think(Topic::PriceImpact, mean(costs.impact), horizon);
            think(Topic::RollSpread, self.roll.spread(), artefact([ROLL.0.to_bits(), ROLL.1]));
            think(Topic::Branching, self.branching(), self.takers_artefact());
            think(Topic::Illiquidity, self.amihud.get(), artefact([AMIHUD.0 as u64, AMIHUD.1 as u64]));
            think(Topic::InformedTrading, self.pin(), self.informed_artefact());
            for (topic, q) in
                [(Topic::VarianceRatio2, 2), (Topic::VarianceRatio5, 5), (Topic::VarianceRatio10, 10)]
            {
                think(topic, variance_ratio(self.minutes.returns(), q), artefact([q as u64]));
            }
            self.cost_sum = (TradeCost::default(), 0);
        }
        for thought in out.iter() {
            self.said[thought.topic as usize - 1] = Some(thought.estimate.status);
        }
    }

    fn trade_rate(&self, now: Nanos) -> Estimate {
        match (&self.buys.process, &self.sells.process) {
            (Some((buys, ..)), Some((sells, ..))) => {
                let n = (self.buys.times.len() + self.sells.times.len()) as u64;
                Estimate::ok(buys.rate(now) + sells.rate(now), n)
            }
            _ => Estimate::warmup((self.buys.times.len() + self.sells.times.len()) as u64),
        }
    }

    fn branching(&self) -> Estimate {
        match (&self.buys.process, &self.sells.process) {
            (Some((_, buys, first)), Some((_, sells, second))) => {
                let is_held = *first == Status::Clamped || *second == Status::Clamped;
                let n = (self.buys.times.len() + self.sells.times.len()) as u64;
                let status = if is_held { Status::Clamped } else { Status::Ok };
                Estimate { status, ..Estimate::ok(buys.branching().max(sells.branching()), n) }
            }
            _ => Estimate::warmup((self.buys.times.len() + self.sells.times.len()) as u64),
        }
    }

    fn takers_artefact(&self) -> u64 {
        let words = |takers: &Takers| {
            let of = takers.process.as_ref().map(|(_, p, _)| [p.base, p.jump, p.decay].map(f64::to_bits));
            of.unwrap_or_default()
        };
        artefact(words(&self.buys).into_iter().chain(words(&self.sells)))
    }

    fn pin(&self) -> Estimate {
        self.informed.as_ref().map_or(Estimate::warmup(self.days.len() as u64), |(_, pin)| *pin)
    }

    fn informed_artefact(&self) -> u64 {
        let of = self.informed.as_ref().map(|(p, _)| [p.event, p.bad, p.informed, p.buys, p.sells]);
        artefact(of.unwrap_or_default().map(f64::to_bits))
    }
}
