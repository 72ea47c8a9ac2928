//! `kimera book`: the book at an instant of a run or a recording, as a ladder of text and as a picture.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use kimera_market::composite::{CompositeTop, Offer};
use kimera_market::{Market, Top, actor::OUTPUTS_MAX};
use kimera_protocol::{Instrument, Level, Nanos, Price, Side};
use kimera_runtime::{Actor, Input, Outbox};
use serde_json::{Value, json};

use crate::cli::{PROFILE, duration, print};
use crate::exit::{Exit, Failure};
use crate::features::instrument_of;
use crate::report::SCHEMA_VERSION;
use crate::source::Source;
use crate::utc;

/// Most levels a side.
const LEVELS_MAX: usize = 100;
/// Characters of the longest bar.
const BAR: usize = 30;
/// Units of a size in one of the base asset.
const UNITS: f64 = 1e8;

/// Arguments of `kimera book`.
#[derive(Debug, Args)]
pub struct BookArgs {
    /// State directory of a run, or a folder with a recording (tape.toml).
    #[arg(long)]
    on: PathBuf,
    /// When: 2024-08-08T23:55:00Z, +30s behind the first message, or the number of an input.
    #[arg(long, allow_hyphen_values = true)]
    at: String,
    /// The feed whose book it is [default: the one that is traded].
    #[arg(long)]
    feed: Option<String>,
    /// Levels a side, 1 to 100.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=LEVELS_MAX as i64))]
    levels: u16,
    /// Draw it, too: an SVG file.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Configuration with the instruments; a run has its own.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Up to which message the book is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Time(Nanos),
    Input(u64),
}

fn until(text: &str, first: Nanos) -> Result<Until, Failure> {
    let behind = text.strip_prefix('+').and_then(|text| duration(text).ok());
    let when = behind.map(|ns| Until::Time(first.saturating_add(ns)));
    let when = when
        .or_else(|| utc::parse(text).map(Until::Time))
        .or_else(|| text.parse().ok().filter(|_| !text.starts_with('+')).map(Until::Input));
    when.ok_or_else(|| {
        Failure::usage(format!("--at {text}: write 2024-08-08T23:55:00Z, +30s, or the number of an input"))
    })
}

/// What is shown.
struct View<'a> {
    feed: &'a str,
    instrument: &'a Instrument,
    seq: u64,
    time: Nanos,
    update_id: u64,
    venue_time: Nanos,
    state: Top,
    /// Best first.
    bids: Vec<Level>,
    asks: Vec<Level>,
    /// Levels there are in all.
    depth: [usize; 2],
    /// Best bid and ask over every venue of the market, in this one's prices (1e-8), each with the feed that has it.
    composite: Option<[(i64, &'a str); 2]>,
}

/// The instant that was asked for, where there is one like it.
fn until_within(a: &BookArgs, source: &Source) -> Result<Until, Failure> {
    let (Some(first), Some(last)) = (source.messages.first(), source.messages.last()) else {
        return Err(Failure::missing(format!("{} has no messages", a.on.display())));
    };
    let until = until(&a.at, first.header.time)?;
    let is_within = match until {
        Until::Time(time) => (first.header.time..=last.header.time).contains(&time),
        Until::Input(seq) => (first.header.seq..=last.header.seq).contains(&seq),
    };
    if !is_within {
        let stamp = |time: Nanos| utc::stamp((time / 1_000).unsigned_abs());
        return Err(Failure::usage(format!(
            "--at {}: {} goes from {} (input {}) to {} (input {})",
            a.at,
            a.on.display(),
            stamp(first.header.time),
            first.header.seq,
            stamp(last.header.time),
            last.header.seq
        )));
    }
    Ok(until)
}

/// Shows the book.
///
/// # Errors
/// Nothing to look into, an instant before it begins or behind its end, a feed that nobody knows, a picture that cannot be written.
pub fn run(a: &BookArgs) -> Result<Exit, Failure> {
    let source = Source::open(&a.on, &a.config)?;
    let instruments = source.config.instruments().map_err(Failure::configuration)?;
    let feed = a.feed.as_deref().unwrap_or(&source.config.strategy.trades);
    let at = instrument_of(&source.config, feed)?;
    let until = until_within(a, &source)?;
    let mut market = Market::new(&source.config.market_config());
    let mut out = Outbox::new(OUTPUTS_MAX);
    let (mut seq, mut time) = (0, 0);
    let is_before = |m: &&kimera_protocol::Message| match until {
        Until::Time(time) => m.header.time <= time,
        Until::Input(seq) => m.header.seq <= seq,
    };
    for message in source.messages.iter().take_while(is_before) {
        if message.kind().is_some_and(kimera_protocol::Kind::is_input) {
            out.begin(message);
            market.handle(Input { message, joined: &[] }, &mut out);
            (seq, time) = (message.header.seq, message.header.time);
        }
    }
    let (Some(instrument), Some(book)) =
        (instruments.get(at), instruments.get(at).and_then(|i| market.book(i.id)))
    else {
        return Err(Failure::defect("an instrument without a book"));
    };
    let levels = |side| {
        let all: [Level; LEVELS_MAX] = book.top(side);
        all.into_iter().take_while(|l| l.size.0 > 0).take(a.levels.into()).collect::<Vec<_>>()
    };
    let view = View {
        feed,
        instrument,
        seq,
        time,
        update_id: book.update_id(),
        venue_time: book.venue_time(),
        state: book.state(),
        bids: levels(Side::Bid),
        asks: levels(Side::Ask),
        depth: [book.side(Side::Bid).len(), book.side(Side::Ask).len()],
        composite: composite(&source, &market, at, time),
    };
    if let Some(path) = &a.svg {
        std::fs::write(path, picture(&view))
            .map_err(|e| Failure::machine(format!("cannot write {}: {e}", path.display())))?;
    }
    print(&if a.json { to_json(&view).to_string() } else { to_text(&view) })?;
    Ok(Exit::Ok)
}

/// The composite of the instrument's market, where it is on several venues that can be believed.
fn composite<'a>(source: &'a Source, market: &Market, at: usize, now: Nanos) -> Option<[(i64, &'a str); 2]> {
    let (top, instruments) = market.one_markets().top(at, now)?;
    let of = |(venue, offer): (usize, Offer)| {
        let section = instruments.get(venue).and_then(|i| source.config.instruments.get(*i));
        (offer.price, section.map_or("?", |s| s.feed.as_str()))
    };
    match top {
        CompositeTop::Good { bid, ask } | CompositeTop::Across { bid, ask } => Some([of(bid), of(ask)]),
        CompositeTop::Unknown => None,
    }
}

fn price(view: &View<'_>, price: Price) -> String {
    let decimals = view.instrument.price_decimals() as usize;
    let scale = (0..decimals).fold(1.0, |scale, _| scale * 10.0);
    let value = price.0.saturating_mul(view.instrument.price_step()) as f64 / scale;
    format!("{value:.decimals$}")
}

/// What the state of a book means to who looks at it.
fn meaning(state: Top) -> &'static str {
    match state {
        Top::Good { .. } => "synchronised",
        Top::Gapped => "not synchronised: no snapshot yet, or the chain is broken",
        Top::Stale { .. } => "older than it may be",
        Top::Empty => "empty",
        Top::OneSided(..) => "one-sided",
        Top::Crossed { .. } => "crossed",
    }
}

fn heading(view: &View<'_>) -> String {
    let stamp = utc::stamp((view.time / 1_000).unsigned_abs());
    let age = (view.time - view.venue_time) as f64 / 1e6;
    let age = if view.venue_time > 0 { format!(", the venue's word {age:.1} ms old") } else { String::new() };
    format!(
        "{} {} at {stamp}, input {}, update {}{age}: {}",
        view.feed,
        view.instrument.symbol.as_str(),
        view.seq,
        view.update_id,
        meaning(view.state)
    )
}

fn bar(size: i64, most: i64) -> String {
    let length = (size as f64 / most.max(1) as f64 * BAR as f64).round() as usize;
    if length == 0 { "▏".to_owned() } else { "█".repeat(length.min(BAR)) }
}

fn to_text(view: &View<'_>) -> String {
    let most = view.bids.iter().chain(&view.asks).map(|l| l.size.0).max().unwrap_or(0);
    let mut text = heading(view);
    let _ = write!(text, "\n\n{:>14} {:>16} {:>16}\n", "price", "size", "in all");
    let totals = |levels: &[Level]| {
        levels
            .iter()
            .scan(0, |sum, l| {
                *sum += l.size.0;
                Some(*sum)
            })
            .collect::<Vec<i64>>()
    };
    let line = |text: &mut String, level: &Level, total: i64| {
        let (size, total) = (level.size.0 as f64 / UNITS, total as f64 / UNITS);
        let _ = writeln!(
            text,
            "{:>14} {size:>16.8} {total:>16.8}  {}",
            price(view, level.price),
            bar(level.size.0, most)
        );
    };
    for (level, total) in view.asks.iter().zip(totals(&view.asks)).rev() {
        line(&mut text, level, total);
    }
    let spread =
        view.asks.first().zip(view.bids.first()).map(|(a, b)| price(view, Price(a.price.0 - b.price.0)));
    let _ = writeln!(text, "{:>14} spread", spread.unwrap_or_else(|| "-".into()));
    for (level, total) in view.bids.iter().zip(totals(&view.bids)) {
        line(&mut text, level, total);
    }
    let _ = write!(text, "{} bid levels and {} ask levels in all", view.depth[0], view.depth[1]);
    if let Some([(bid, from), (ask, of)]) = view.composite {
        let decimals = view.instrument.price_decimals() as usize;
        let money = |units: i64| format!("{:.decimals$}", units as f64 / UNITS);
        let _ = write!(
            text,
            "\nover all venues, in these prices: bid {} ({from}), ask {} ({of})",
            money(bid),
            money(ask)
        );
    }
    text
}

fn to_json(view: &View<'_>) -> Value {
    let levels = |levels: &[Level]| {
        levels.iter().map(|l| json!([price(view, l.price), l.size.to_string()])).collect::<Vec<_>>()
    };
    json!({
        "schema_version": SCHEMA_VERSION, "feed": view.feed, "symbol": view.instrument.symbol.as_str(),
        "seq": view.seq, "time": view.time, "update_id": view.update_id, "venue_time": view.venue_time,
        "state": meaning(view.state), "bids": levels(&view.bids), "asks": levels(&view.asks),
        "bid_levels": view.depth[0], "ask_levels": view.depth[1],
        "composite": view.composite.map(|[(bid, of_bid), (ask, of_ask)]| {
            json!({"bid": bid, "bid_feed": of_bid, "ask": ask, "ask_feed": of_ask})
        }),
    })
}

const WIDTH: f64 = 720.0;
const ROW: f64 = 18.0;
const TOP: f64 = 56.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 150.0;

/// The ladder as an SVG: a bar a level, the best prices in the middle, what has added up beside it.
fn picture(view: &View<'_>) -> String {
    let rows = view.asks.len() + view.bids.len() + 1;
    let height = TOP + ROW * rows as f64 + 28.0;
    let most = view.bids.iter().chain(&view.asks).map(|l| l.size.0).max().unwrap_or(1).max(1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let heading = heading(view);
    let (name, rest) = heading.split_once(" at ").unwrap_or((&heading, ""));
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"22\" font-size=\"15\" font-weight=\"bold\" fill=\"#1b1f24\">{name}</text>"
    );
    let _ = writeln!(svg, "<text x=\"16\" y=\"40\" font-size=\"11\" fill=\"#57606a\">{rest}</text>");
    let asks = view.asks.len();
    let sides = [(&view.asks, "#e5806f"), (&view.bids, "#5fae87")];
    for (side, (levels, color)) in sides.into_iter().enumerate() {
        let mut total = 0;
        for (i, level) in levels.iter().enumerate() {
            total += level.size.0;
            let row = if side == 0 { asks - 1 - i } else { asks + 1 + i };
            draw(
                &mut svg,
                TOP + ROW * row as f64,
                &price(view, level.price),
                (level.size.0, total, most),
                color,
            );
        }
    }
    let spread =
        view.asks.first().zip(view.bids.first()).map(|(a, b)| price(view, Price(a.price.0 - b.price.0)));
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\" fill=\"#57606a\">{}</text><text x=\"{LEFT}\" y=\"{y}\" fill=\"#57606a\">spread</text>",
        LEFT - 8.0,
        spread.unwrap_or_else(|| "-".into()),
        y = TOP + ROW * asks as f64 + 13.0
    );
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"11\" fill=\"#8c959f\">in all, from the best price on</text>",
        WIDTH - 12.0,
        height - 10.0
    );
    svg.push_str("</svg>\n");
    svg
}

/// A level of the picture: its price, a bar, its size, and what has added up.
fn draw(svg: &mut String, y: f64, price: &str, (size, total, most): (i64, i64, i64), color: &str) {
    let width = ((WIDTH - LEFT - RIGHT) * size as f64 / most as f64).max(1.0);
    let (size, total) = (size as f64 / UNITS, total as f64 / UNITS);
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\" fill=\"#1b1f24\">{price}</text>\
         <rect x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{color}\"><title>{size} at {price}</title></rect>\
         <text x=\"{:.1}\" y=\"{text}\" fill=\"#57606a\">{size:.3}</text>\
         <text x=\"{}\" y=\"{text}\" text-anchor=\"end\" fill=\"#8c959f\">{total:.3}</text>",
        LEFT - 8.0,
        y + 2.0,
        ROW - 4.0,
        LEFT + width + 6.0,
        WIDTH - 12.0,
        text = y + 13.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_nonsense_is_refused() {
        let at = |text: &str| until(text, 5_000_000_000).ok();
        assert_eq!(at("+30s"), Some(Until::Time(35_000_000_000)));
        assert_eq!(at("1970-01-01T00:00:09Z"), Some(Until::Time(9_000_000_000)));
        assert_eq!(at("123"), Some(Until::Input(123)));
        for wrong in ["", "+", "+30", "30s", "yesterday", "-5"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
