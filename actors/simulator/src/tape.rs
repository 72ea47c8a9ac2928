//! Recorded frames in memory, checked against the hashes their profile names.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tungstenite::Utf8Bytes;

/// A data profile: `tape.toml` beside the recordings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapeProfile {
    /// Name for reports.
    pub name: String,
    /// Milliseconds to add to receive times to bring them to the exchange's clock.
    pub receiver_offset_ms: i64,
    /// Recordings.
    #[serde(rename = "market")]
    pub markets: Vec<RecordingProfile>,
}

/// One recording of a profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingProfile {
    /// `spot` or `usdm`.
    pub market: String,
    /// Symbol.
    pub symbol: String,
    /// File beside the profile.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Decimals of a price on this market's wire.
    pub price_decimals: u32,
    /// Decimals of a size on this market's wire.
    pub size_decimals: u32,
    /// What the market demands of orders.
    pub rules: RulesProfile,
    /// The account; none where the market takes no orders.
    pub trading: Option<TradingProfile>,
}

/// What a market demands of orders, as decimals.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesProfile {
    /// Price step.
    pub tick: String,
    /// Size step, and the least size.
    pub lot: String,
    /// Least notional of an order.
    pub min_notional: String,
}

/// The account of a market that takes orders.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TradingProfile {
    /// What the account starts with, in the quote asset.
    pub balance: String,
}

/// Why a tape cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The profile is wrong.
    #[error("{path}: {reason}")]
    Profile {
        /// File.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The recording is not the one the profile names.
    #[error("{path} has sha256 {found} and should have {expected}; restore the file")]
    Changed {
        /// File.
        path: PathBuf,
        /// Hash it has.
        found: String,
        /// Hash it should have.
        expected: String,
    },
    /// A line is not a recorded frame.
    #[error("{path}, line {line}: not a receive time and a JSON text")]
    Line {
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
}

/// A recorded frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Market time at which it was received, on the exchange's clock.
    pub time: i64,
    /// The bytes as they were.
    pub text: Utf8Bytes,
    /// Index in [`Recording::streams`], none for the REST snapshot.
    pub stream: Option<usize>,
    /// The event inside the combined frame, as a raw stream sends it.
    pub event: Utf8Bytes,
}

/// The frames of one market.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What the profile says.
    pub profile: RecordingProfile,
    /// Stream names.
    pub streams: Vec<String>,
    /// Frames by time.
    pub frames: Vec<Frame>,
}

/// All recordings of a profile.
#[derive(Clone, Debug)]
pub struct Tape {
    /// Name for reports.
    pub name: String,
    /// Recordings.
    pub recordings: Vec<Recording>,
    /// Market time of the first frame.
    pub start: i64,
    /// Market time just after the last frame.
    pub end: i64,
}

fn read(path: &Path) -> Result<Vec<u8>, TapeError> {
    std::fs::read(path).map_err(|source| TapeError::Io { path: path.to_owned(), source })
}

impl Tape {
    /// Loads the profile `tape.toml` of a folder and everything it names.
    ///
    /// # Errors
    /// [`TapeError`].
    pub fn load(folder: &Path) -> Result<Self, TapeError> {
        let path = folder.join("tape.toml");
        let text = String::from_utf8_lossy(&read(&path)?).into_owned();
        let profile: TapeProfile = toml::from_str(&text)
            .map_err(|e| TapeError::Profile { path: path.clone(), reason: e.to_string() })?;
        let offset = profile.receiver_offset_ms * 1_000_000;
        let recordings = profile
            .markets
            .iter()
            .map(|p| Recording::load(folder, p, offset))
            .collect::<Result<Vec<_>, _>>()?;
        let all = || recordings.iter().flat_map(|r| &r.frames).map(|f| f.time);
        let (Some(start), Some(last)) = (all().min(), all().max()) else {
            return Err(TapeError::Profile { path, reason: "no frames".into() });
        };
        Ok(Self { name: profile.name, recordings, start, end: last + 1 })
    }
}

impl Recording {
    fn load(folder: &Path, profile: &RecordingProfile, offset: i64) -> Result<Self, TapeError> {
        let path = folder.join(&profile.file);
        let packed = read(&path)?;
        let found: String = Sha256::digest(&packed).iter().map(|b| format!("{b:02x}")).collect();
        if found != profile.sha256 {
            return Err(TapeError::Changed { path, found, expected: profile.sha256.clone() });
        }
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_string(&mut plain)
            .map_err(|source| TapeError::Io { path: path.clone(), source })?;
        let plain = Utf8Bytes::from(plain);
        let mut recording = Self { profile: profile.clone(), streams: Vec::new(), frames: Vec::new() };
        let mut at = 0;
        for (number, line) in plain.as_str().lines().enumerate() {
            let frame = recording.frame(&plain, at, line, offset);
            recording
                .frames
                .push(frame.ok_or_else(|| TapeError::Line { path: path.clone(), line: number + 1 })?);
            at += line.len() + 1;
        }
        recording.frames.sort_by_key(|f| f.time);
        Ok(recording)
    }

    fn frame(&mut self, plain: &Utf8Bytes, at: usize, line: &str, offset: i64) -> Option<Frame> {
        let (time, json) = line.split_once(' ')?;
        let time = time.parse::<i64>().ok()?.checked_add(offset)?;
        let start = at + (line.len() - json.len());
        let slice = |from: usize, to: usize| Utf8Bytes::try_from(plain.as_ref_bytes().slice(from..to)).ok();
        let text = slice(start, start + json.len())?;
        let Some(rest) = json.strip_prefix("{\"stream\":\"") else {
            return json.starts_with("{\"lastUpdateId\"").then(|| Frame {
                time,
                text: text.clone(),
                stream: None,
                event: text,
            });
        };
        let (name, event) = rest.split_once("\",\"data\":")?;
        let event = event.strip_suffix('}')?;
        let stream = match self.streams.iter().position(|s| s == name) {
            Some(known) => known,
            None => {
                self.streams.push(name.to_owned());
                self.streams.len() - 1
            }
        };
        let event_at = start + (json.len() - 1 - event.len());
        Some(Frame { time, text, stream: Some(stream), event: slice(event_at, event_at + event.len())? })
    }
}

/// The bytes behind a text, for slicing without a copy.
trait AsRefBytes {
    fn as_ref_bytes(&self) -> tungstenite::Bytes;
}

impl AsRefBytes for Utf8Bytes {
    fn as_ref_bytes(&self) -> tungstenite::Bytes {
        self.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_tape_is_whole() {
        let tape =
            Tape::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/binance-20240808")).unwrap();
        let frames: Vec<_> = tape.recordings.iter().map(|r| (r.frames.len(), r.streams.len())).collect();
        assert_eq!(frames, [(41_249, 3), (93_954, 3)]);
        assert_eq!(tape.start, 1_723_161_253_937_085_768 + 1_276_000_000);
        let first = &tape.recordings[0].frames[0];
        assert!(first.text.as_str().starts_with("{\"stream\":\"btcusdt@depth@100ms\",\"data\":{\"e\""));
        assert!(
            first.event.as_str().starts_with("{\"e\":\"depthUpdate\"")
                && first.event.as_str().ends_with("]]}")
        );
    }

    #[test]
    fn a_changed_recording_is_refused() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/binance-20240808");
        let folder = std::env::temp_dir().join(format!("kimera-tape-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(source.join("tape.toml"), folder.join("tape.toml")).unwrap();
        assert!(matches!(Tape::load(&folder), Err(TapeError::Io { .. })));
        let mut bytes = std::fs::read(source.join("spot_btcusdt_20240808.gz")).unwrap();
        bytes[1_000] ^= 1;
        std::fs::write(folder.join("spot_btcusdt_20240808.gz"), bytes).unwrap();
        assert!(matches!(Tape::load(&folder), Err(TapeError::Changed { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
