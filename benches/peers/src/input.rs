//! The recording, cut up for everybody: the same bytes, the same order.

use std::ops::Range;

use anyhow::{Context, Result, anyhow};
use kimera::config::Config;
use kimera_protocol::{FrameRef, Instrument};
use kimera_simulator::Tape;
use kimera_simulator::tape::Recording;
use kimera_venues::FrameBuffer;
use kimera_venues::binance::{Market, MarketDecoder};

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Levels that changed.
    Depth,
    /// One trade.
    Trade,
    /// Best bid and ask.
    Ticker,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Depth, Self::Trade, Self::Ticker];

    /// Name of its stream behind the symbol, as the venue writes it.
    pub fn stream(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::Trade => "trade",
            Self::Ticker => "bookTicker",
        }
    }
}

/// One market of the recording.
pub struct Source<'a> {
    /// `spot` or `usdm`.
    pub name: &'a str,
    /// Whose dialect it speaks.
    pub market: Market,
    /// What is traded.
    pub instrument: Instrument,
    recording: &'a Recording,
}

impl<'a> Source<'a> {
    /// Every market of a recording, with the instruments of the configuration.
    ///
    /// # Errors
    /// Where configuration and recording do not belong together.
    pub fn all(tape: &'a Tape, config: &Config) -> Result<Vec<Self>> {
        let instruments =
            config.instruments().map_err(|e| anyhow!("the configuration's instruments: {e}"))?;
        let sections = config.instruments.iter().zip(instruments);
        let source = |(section, instrument): (&kimera::config::InstrumentSection, Instrument)| {
            let name = section.market.name();
            let recording = tape.recordings.iter().find(|r| r.profile.market == name);
            let recording = recording.with_context(|| format!("the recording has no market \"{name}\""))?;
            Ok(Self {
                name: &recording.profile.market,
                market: section.market.dialect(),
                instrument,
                recording,
            })
        };
        sections.map(source).collect()
    }

    /// A decoder for it.
    pub fn decoder(&self) -> MarketDecoder {
        MarketDecoder::new(self.market, self.instrument.clone())
    }

    /// Its frames of a kind, with the wrapper of a combined stream.
    pub fn frames(&self, kind: Kind) -> impl Iterator<Item = &'a str> + use<'a> {
        self.of(kind).map(|frame| frame.text.as_str())
    }

    /// Its events of a kind, as a raw stream sends them.
    pub fn events(&self, kind: Kind) -> impl Iterator<Item = &'a str> + use<'a> {
        self.of(kind).map(|frame| frame.event.as_str())
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &'a kimera_simulator::tape::Frame> + use<'a> {
        let recording = self.recording;
        let is_wanted = move |frame: &&kimera_simulator::tape::Frame| {
            let stream = frame.stream.and_then(|i| recording.streams.get(i));
            let suffix = stream.and_then(|name| name.split_once('@')).map(|(_, suffix)| suffix);
            suffix.is_some_and(|suffix| suffix.starts_with(kind.stream()))
        };
        recording.frames.iter().filter(is_wanted)
    }

    /// The book that was asked for over HTTP.
    pub fn snapshot(&self) -> Option<&'a str> {
        self.recording.frames.iter().find(|frame| frame.stream.is_none()).map(|frame| frame.text.as_str())
    }

    /// Decodes a frame, as the feed does.
    ///
    /// # Errors
    /// Where it cannot be decoded.
    pub fn decode(&self, decoder: &mut MarketDecoder, frame: &str, buffer: &mut FrameBuffer) -> Result<()> {
        buffer.begin(FrameRef::default(), 0);
        let decoded = decoder.decode(frame.as_bytes(), buffer);
        decoded.map(drop).with_context(|| format!("cannot decode a frame of {}", self.name))
    }
}

/// Texts behind one another, as they come out of a socket's buffer.
#[derive(Clone, Default)]
pub struct Batch {
    text: String,
    ends: Vec<usize>,
}

impl Batch {
    /// Copies texts behind one another.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut batch = Self::default();
        for text in texts {
            batch.text.push_str(text);
            batch.ends.push(batch.text.len());
        }
        batch
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// All of them as one.
    pub fn whole(&self) -> &str {
        &self.text
    }

    /// Each text.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.ranges().map(|range| &self.text[range])
    }

    /// Where each text lies.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| start..*end)
    }

    /// The same with one bit of one decimal turned, in the middle.
    pub fn with_a_bit_turned(&self) -> Self {
        let mut bytes = self.text.clone().into_bytes();
        let from = self.ranges().nth(self.len() / 2).map_or(0, |range| range.start);
        let place = bytes[from..].iter().position(|byte| *byte == b'.').map(|at| from + at + 1);
        // A digit stays one: the codes of each pair differ in their last bit.
        if let Some(digit) = place.and_then(|at| bytes.get_mut(at)) {
            *digit ^= 1;
        }
        Self { text: String::from_utf8_lossy(&bytes).into_owned(), ends: self.ends.clone() }
    }
}
