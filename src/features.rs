//! `kimera features`: what the estimators say at every mark of a run or a recording, as a table for notebooks.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kimera_market::{Market, actor::OUTPUTS_MAX};
use kimera_protocol::signal::FEATURES_MAX;
use kimera_protocol::{Features, Instrument, Message, Nanos, Quote, Status};
use kimera_runtime::{Actor, Input, Outbox};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::cli::{PROFILE, duration, print};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::source::Source;

/// Rows of a Parquet group.
const GROUP: usize = 65_536;
/// Units of a price or size in one.
const UNITS: f64 = 1e8;
/// Estimators that are in ticks, or in ticks for something: they are told in prices.
const IN_TICKS: [&str; 3] = ["microprice", "order_flow_impact", "kyle_lambda"];
/// Columns before the estimators.
const COLUMNS: [&str; 9] = [
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "last_price",
    "bid_depth",
    "ask_depth",
    "composite_bid",
    "composite_ask",
];

/// Arguments of `kimera features`.
#[derive(Debug, Args)]
pub struct FeaturesArgs {
    /// State directory of a run, or a folder with a recording (tape.toml).
    #[arg(long)]
    on: PathBuf,
    /// File to write: .parquet or .csv, or - for CSV on stdout.
    #[arg(long)]
    out: PathBuf,
    /// Configuration with instruments and estimators; a run has its own.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// Only this feed's instrument.
    #[arg(long)]
    feed: Option<String>,
    /// One row in this time at most: 100ms, 1s [default: a row a mark].
    #[arg(long, value_parser = duration)]
    every: Option<i64>,
}

/// A row: where and when, numbers that may be missing, and how far each estimator may be trusted.
struct Row {
    seq: u64,
    time: Nanos,
    instrument: usize,
    numbers: [Option<f64>; COLUMNS.len() + FEATURES_MAX],
    statuses: [Status; FEATURES_MAX],
}

/// Writes the table.
///
/// # Errors
/// Nothing to look into, a feed that nobody knows, another kind of file, and what the disk refuses: a file that was begun is removed.
pub fn run(a: &FeaturesArgs) -> Result<Exit, Failure> {
    let is_parquet = a.out.extension().is_some_and(|e| e == "parquet");
    let is_stdout = a.out.as_os_str() == "-";
    if !is_parquet && !is_stdout && a.out.extension().is_none_or(|e| e != "csv") {
        return Err(Failure::usage(format!(
            "--out {}: write a file that ends in .parquet or .csv, or -",
            a.out.display()
        )));
    }
    let source = Source::open(&a.on, &a.config)?;
    let only = a.feed.as_deref().map(|feed| instrument_of(&source.config, feed)).transpose()?;
    let instruments = source.config.instruments().map_err(Failure::configuration)?;
    let feeds: Vec<_> = source.config.instruments.iter().map(|s| s.feed.clone()).collect();
    let failed =
        |e: &dyn std::fmt::Display| Failure::machine(format!("cannot write {}: {e}", a.out.display()));
    let written = if is_parquet {
        write_parquet(File::create(&a.out).map_err(|e| failed(&e))?, &feeds, |each| {
            rows(&source, &instruments, only, a.every, each)
        })
        .map_err(|e| failed(&e))
    } else {
        let out: Box<dyn Write> = if is_stdout {
            Box::new(std::io::stdout().lock())
        } else {
            Box::new(File::create(&a.out).map_err(|e| failed(&e))?)
        };
        let written = write_csv(out, &feeds, |each| rows(&source, &instruments, only, a.every, each));
        match written {
            Err(e) if is_stdout && e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            other => other.map_err(|e| failed(&e)),
        }
    };
    if written.is_err() && !is_stdout {
        let _ = std::fs::remove_file(&a.out);
    }
    let written = written?;
    if !is_stdout {
        let unread = if source.unread > 0 {
            format!(", {} frames could not be read", source.unread)
        } else {
            String::new()
        };
        print(&format!(
            "{written} rows of {} messages in {}{unread}",
            source.messages.len(),
            a.out.display()
        ))?;
    }
    Ok(Exit::Ok)
}

/// The instrument of a feed.
///
/// # Errors
/// One that nobody knows.
pub(crate) fn instrument_of(config: &Config, feed: &str) -> Result<usize, Failure> {
    let known: Vec<_> = config.instruments.iter().map(|s| s.feed.as_str()).collect();
    known
        .iter()
        .position(|known| *known == feed)
        .ok_or_else(|| Failure::usage(format!("--feed {feed}: there are {}", known.join(", "))))
}

/// Shows each row in order.
fn rows<E>(
    source: &Source,
    instruments: &[Instrument],
    only: Option<usize>,
    every: Option<Nanos>,
    each: &mut dyn FnMut(&Row) -> Result<(), E>,
) -> Result<(), E> {
    let mut market = Market::new(&source.config.market_config());
    let mut out = Outbox::new(OUTPUTS_MAX);
    let mut next = vec![Nanos::MIN; instruments.len()];
    for message in &source.messages {
        if !message.kind().is_some_and(kimera_protocol::Kind::is_input) {
            continue;
        }
        out.begin(message);
        market.handle(Input { message, joined: &[] }, &mut out);
        let instrument = usize::from(message.header.instrument);
        let time = message.header.time;
        if only.is_some_and(|only| only != instrument) || next.get(instrument).is_none_or(|next| time < *next)
        {
            continue;
        }
        let quote = out.staged().find_map(|(_, m)| m.body::<Quote>().copied());
        let features = out.staged().find_map(|(_, m)| m.body::<Features>().copied());
        let (Some(quote), Some(features), Some(of)) = (quote, features, instruments.get(instrument)) else {
            continue;
        };
        if let Some(every) = every {
            next[instrument] = time.saturating_add(every);
        }
        each(&row(message, of, &quote, &features))?;
    }
    Ok(())
}

fn row(message: &Message, instrument: &Instrument, quote: &Quote, features: &Features) -> Row {
    // Both are exact in a float, and the quotient is the nearest there is: what a person would write.
    let scale = (0..instrument.price_decimals()).fold(1.0, |scale, _| scale * 10.0);
    let tick = instrument.price_step() as f64 / scale;
    let price =
        |ticks: i64, there: bool| there.then(|| ticks.saturating_mul(instrument.price_step()) as f64 / scale);
    let size = |units: i64| (units > 0).then_some(units as f64 / UNITS);
    let mut numbers = [None; COLUMNS.len() + FEATURES_MAX];
    numbers[..COLUMNS.len()].copy_from_slice(&[
        price(quote.bid.price.0, quote.bid.size.0 > 0),
        price(quote.ask.price.0, quote.ask.size.0 > 0),
        size(quote.bid.size.0),
        size(quote.ask.size.0),
        price(quote.last_price, quote.last_price > 0),
        size(quote.bid_depth),
        size(quote.ask_depth),
        size(quote.composite_bid),
        size(quote.composite_ask),
    ]);
    let statuses: [Status; FEATURES_MAX] = std::array::from_fn(|i| features.status(i));
    for (i, value) in features.values().into_iter().enumerate() {
        let scale = if IN_TICKS.contains(&Features::NAMES[i]) { tick } else { 1.0 };
        numbers[COLUMNS.len() + i] = statuses[i].is_usable().then_some(value * scale);
    }
    Row {
        seq: message.header.seq,
        time: message.header.time,
        instrument: usize::from(instrument.id.0),
        numbers,
        statuses,
    }
}

/// Names of the columns with numbers, and of those with statuses.
fn names() -> (Vec<String>, Vec<String>) {
    let numbers = COLUMNS.iter().chain(&Features::NAMES).map(|name| (*name).to_owned()).collect();
    (numbers, Features::NAMES.iter().map(|name| format!("{name}_status")).collect())
}

type Each<'a, E> = &'a mut dyn FnMut(&Row) -> Result<(), E>;

fn write_csv(
    out: impl Write,
    feeds: &[String],
    rows: impl FnOnce(Each<'_, std::io::Error>) -> Result<(), std::io::Error>,
) -> Result<u64, std::io::Error> {
    let mut out = BufWriter::new(out);
    let (numbers, statuses) = names();
    writeln!(out, "seq,time,feed,{},{}", numbers.join(","), statuses.join(","))?;
    let mut count = 0;
    rows(&mut |row| {
        count += 1;
        write!(out, "{},{},{}", row.seq, row.time, feeds.get(row.instrument).map_or("", String::as_str))?;
        for number in row.numbers {
            match number {
                Some(number) => write!(out, ",{number}")?,
                None => write!(out, ",")?,
            }
        }
        for status in row.statuses {
            write!(out, ",{}", status.name())?;
        }
        writeln!(out)
    })?;
    out.flush()?;
    Ok(count)
}

#[derive(Default)]
struct Columns {
    seq: Vec<i64>,
    time: Vec<i64>,
    feed: Vec<ByteArray>,
    numbers: Vec<(Vec<f64>, Vec<i16>)>,
    statuses: Vec<Vec<ByteArray>>,
}

impl Columns {
    fn push(&mut self, row: &Row, feeds: &[String]) {
        self.numbers.resize_with(row.numbers.len(), Default::default);
        self.statuses.resize_with(row.statuses.len(), Default::default);
        self.seq.push(row.seq as i64);
        self.time.push(row.time);
        self.feed.push(feeds.get(row.instrument).map_or("", String::as_str).into());
        for ((values, there), number) in self.numbers.iter_mut().zip(row.numbers) {
            values.extend(number);
            there.push(i16::from(number.is_some()));
        }
        for (column, status) in self.statuses.iter_mut().zip(row.statuses) {
            column.push(status.name().into());
        }
    }

    fn write(&mut self, writer: &mut SerializedFileWriter<File>) -> Result<(), ParquetError> {
        if self.seq.is_empty() {
            return Ok(());
        }
        let mut group = writer.next_row_group()?;
        column::<Int64Type>(&mut group, &self.seq, None)?;
        column::<Int64Type>(&mut group, &self.time, None)?;
        column::<ByteArrayType>(&mut group, &self.feed, None)?;
        for (values, there) in &self.numbers {
            column::<DoubleType>(&mut group, values, Some(there))?;
        }
        for statuses in &self.statuses {
            column::<ByteArrayType>(&mut group, statuses, None)?;
        }
        group.close()?;
        *self = Self::default();
        Ok(())
    }
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    there: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns than the rows".into()));
    };
    column.typed::<T>().write_batch(values, there, None)?;
    column.close()
}

fn write_parquet(
    file: File,
    feeds: &[String],
    rows: impl FnOnce(Each<'_, ParquetError>) -> Result<(), ParquetError>,
) -> Result<u64, ParquetError> {
    let (numbers, statuses) = names();
    let numbers = numbers.iter().map(|name| format!("  OPTIONAL DOUBLE {name};\n"));
    let statuses = statuses.iter().map(|name| format!("  REQUIRED BYTE_ARRAY {name} (UTF8);\n"));
    let columns: String = numbers.chain(statuses).collect();
    let schema = format!(
        "message features {{\n  REQUIRED INT64 seq;\n  REQUIRED INT64 time (TIMESTAMP(NANOS,true));\n  REQUIRED BYTE_ARRAY feed (UTF8);\n{columns}}}"
    );
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
    let (mut columns, mut count) = (Columns::default(), 0);
    rows(&mut |row| {
        columns.push(row, feeds);
        count += 1;
        if columns.seq.len() == GROUP { columns.write(&mut writer) } else { Ok(()) }
    })?;
    columns.write(&mut writer)?;
    writer.close()?;
    Ok(count)
}
