//! A recording read as it is, without a venue, a socket or a clock: for whoever looks at what is recorded.

use std::path::Path;

use kimera_protocol::{FrameRef, Message, Nanos, Seq};
use kimera_simulator::Tape;
use kimera_simulator::tape::RecordingProfile;
use kimera_venues::FrameBuffer;
use kimera_venues::binance::MarketDecoder;

use crate::config::Config;
use crate::exit::Failure;

/// The market events of a folder with a recording, as the configuration's instruments have them: in the order in which they
/// were received, numbered from 1, each a little later than the one before. Books asked for over HTTP are left out; frames that cannot
/// be read are, too, and the second value says how many.
///
/// # Errors
/// A folder that is no recording, and files that are not those its profile names.
pub fn messages(folder: &Path, config: &Config) -> Result<(Vec<Message>, u64), Failure> {
    let tape = Tape::load(folder).map_err(Failure::missing)?;
    let instruments = config.instruments().map_err(Failure::configuration)?;
    let (mut all, mut unread): (Vec<(Nanos, Message)>, u64) = (Vec::new(), 0);
    for (section, instrument) in config.instruments.iter().zip(instruments) {
        let is_ours = |p: &RecordingProfile| p.market == section.market.name() && p.symbol == section.symbol;
        let Some(recording) = tape.recordings.iter().find(|r| is_ours(&r.profile)) else { continue };
        let mut decoder = MarketDecoder::new(section.market.dialect(), instrument);
        let mut buffer = FrameBuffer::new();
        for (i, frame) in recording.frames.iter().enumerate().filter(|(_, f)| f.stream.is_some()) {
            buffer.begin(FrameRef { epoch: 1, number: i as u32 + 1 }, 0);
            if decoder.decode(frame.text.as_str().as_bytes(), &mut buffer).is_ok() {
                all.extend(buffer.messages().iter().map(|message| (frame.time, *message)));
            } else {
                unread += 1;
            }
        }
    }
    if all.is_empty() {
        let of_tape: Vec<_> =
            tape.recordings.iter().map(|r| format!("{} {}", r.profile.market, r.profile.symbol)).collect();
        return Err(Failure::missing(format!(
            "{} has {}; the configuration has none of them",
            folder.display(),
            of_tape.join(", ")
        )));
    }
    all.sort_by_key(|(time, _)| *time);
    let mut last = Nanos::MIN;
    let number = |(i, (time, mut message)): (usize, (Nanos, Message))| {
        last = time.max(last.saturating_add(1));
        (message.header.seq, message.header.time) = (i as Seq + 1, last);
        message
    };
    Ok((all.into_iter().enumerate().map(number).collect(), unread))
}
