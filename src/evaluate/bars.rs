//! Recorded minutes as a stream: at the end of each the price a tick to either side, behind what takers bought and sold in it. Nothing within a minute is
//! known but what its row says, so barriers are judged by closing prices.

use std::path::Path;

use kimera_protocol::{
    DepthBegin, Flags, Header, InstrumentId, Kind, Level, Message, Nanos, Price, Quantity, Ticker, Trade,
};

use crate::config::Config;
use crate::exit::Failure;
use crate::rates::{Minute, read_minutes};

const MINUTE: Nanos = 60_000_000_000;
/// Ticks of a price at least: what a price step of a minute's row is counted in.
const TICKS: f64 = 1e6;
/// How long before its end a minute's row is heard, and ends its bar: the last thing that happens in it.
pub(super) const LEAD: Nanos = 10;
/// Minutes of a horizon.
const HORIZON: u32 = 10;

/// The configuration for a file of minutes: one instrument in small ticks, a minute for a second.
fn config_for(config: &Config, price: f64) -> Config {
    let mut of = config.clone();
    let traded = usize::from(config.traded_id().0);
    if traded < of.instruments.len() {
        of.instruments = vec![of.instruments.swap_remove(traded)];
    }
    // The power of ten at which a price has a million ticks or more; 1e-8 at the finest.
    let mut decimals = 0;
    let mut ticks = price;
    while ticks < TICKS && decimals < 8 {
        ticks *= 10.0;
        decimals += 1;
    }
    let tick = if decimals == 0 { "1".to_owned() } else { format!("0.{}1", "0".repeat(decimals - 1)) };
    of.instruments.iter_mut().for_each(|instrument| instrument.tick.clone_from(&tick));
    of.strategy.follows = None;
    of.strategy.volatility_bar_ms = 60_000;
    of.strategy.stale_after_ms = 180_000;
    let e = &mut of.ensemble;
    (e.horizon_ms, e.forecast_interval_ms) = (HORIZON * 60_000, 60_000);
    (e.error_interval_ms, e.bar_ms) = (60_000, 60_000);
    let m = &mut of.market;
    (m.order_flow_bucket_ms, m.liquidity_bucket_ms, m.kyle_bucket_ms) = (60_000, 60_000, 3_600_000);
    (m.variance_bar_ms, m.stale_after_ms) = (60_000, 180_000);
    of
}

/// The stream of a file with minutes, and the configuration to read it with.
///
/// # Errors
/// A file that cannot be read, or that is no minutes.
pub fn load(path: &Path, config: &Config) -> Result<(Config, Vec<Message>), Failure> {
    let minutes = read_minutes(path)?;
    let first = minutes.first().map_or(1.0, |m| m.bar.close);
    let config = config_for(config, first);
    let instrument = config.instruments().map_err(Failure::configuration)?;
    let tick = instrument.first().map_or(1, |i| i.tick_units) as f64 * 1e-8;
    let mut messages = Vec::with_capacity(4 * minutes.len() + 1);
    if let Some(first) = minutes.first() {
        // A book is one from its snapshot on; this one has its best prices by tickers alone.
        let header = Header { time: first.bar.time, flags: Flags::FRAME_END, ..Header::default() };
        let begin = DepthBegin { snapshot: 1, messages: 1, ..DepthBegin::default() };
        messages.push(Message::new(header, begin));
    }
    for minute in &minutes {
        of_minute(minute, tick, &mut messages);
    }
    Ok((config, messages))
}

fn of_minute(minute: &Minute, tick: f64, messages: &mut Vec<Message>) {
    let price = (minute.bar.close / tick).round() as i64;
    let end = minute.bar.time.saturating_add(MINUTE - LEAD);
    let header = |kind: Kind, after: Nanos, flags: u8, seq: u64| Header {
        seq,
        time: end.saturating_add(after),
        instrument: InstrumentId(0).0,
        flags,
        ..Header::unsequenced(kind, InstrumentId(0))
    };
    let size = |volume: f64| (volume * 1e8).clamp(0.0, 9e18) as i64;
    let bought = minute.taker_bought.clamp(0.0, minute.bar.volume);
    let mut seq = messages.len() as u64;
    for (after, volume, aggressor) in [(0, bought, 1), (1, minute.bar.volume - bought, -1)] {
        if size(volume) > 0 {
            seq += 1;
            let trade =
                Trade { price: Price(price), size: Quantity(size(volume)), aggressor, ..Trade::default() };
            messages.push(Message::new(header(Kind::Trade, after, 0, seq), trade));
        }
    }
    let level = |price: i64| Level { price: Price(price), size: Quantity(100_000_000) };
    // The price; and again as the mark, when what is thought of the bar that ends with it has been said.
    for (after, flags) in [(2, Flags::FRAME_END), (3, Flags::FRAME_END | Flags::MARK)] {
        seq += 1;
        let ticker =
            Ticker { bid: level(price - 1), ask: level(price + 1), update_id: seq, ..Ticker::default() };
        messages.push(Message::new(header(Kind::Ticker, after, flags, seq), ticker));
    }
}
