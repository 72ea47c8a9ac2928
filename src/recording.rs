//! A recording read as it is, without a venue, a socket or a clock: for whoever looks at what is recorded.

use std::path::Path;

use kimera_feed::backlog::Backlog;
use kimera_feed::book_feed::{BookFeed, Exit as Way};
use kimera_protocol::{Flags, FrameRef, Message, Nanos, Seq};
use kimera_runtime::Inlet;
use kimera_runtime::ring::ring;
use kimera_simulator::Tape;
use kimera_simulator::tape::RecordingProfile;
use kimera_venues::FrameBuffer;
use kimera_venues::binance::MarketDecoder;

use crate::config::Config;
use crate::exit::Failure;

/// What a decoded frame becomes on its way: as many messages as the largest snapshot has, with everything that waited for it.
const WAY: usize = 65_536;

/// The market events of a folder with a recording, as the configuration's instruments have them: in the order in which they
/// were received, numbered from 1, each a little later than the one before. Books asked for over HTTP are put in as a feed does it: deltas wait for
/// theirs, and come with it. The last message of each frame is a mark. Frames that cannot be read are left out, and the second
/// value says how many.
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
        let market = section.market.dialect();
        let mut feed = BookFeed::new(instrument.id, market.chain_rule());
        let mut decoder = MarketDecoder::new(market, instrument);
        let mut buffer = FrameBuffer::new();
        let ((mut outlet, mut inlet), mut backlog) = (ring(WAY), Backlog::new());
        for (i, frame) in recording.frames.iter().enumerate() {
            let at = FrameRef { epoch: 1, number: i as u32 + 1 };
            let text = frame.text.as_str().as_bytes();
            let mut way = Way { backlog: &mut backlog, outlet: &mut outlet };
            let is_read = if frame.stream.is_some() {
                buffer.begin(at, 0);
                let is_read = decoder.decode(text, &mut buffer).is_ok();
                if is_read {
                    feed.frame(&mut buffer, &mut way);
                }
                is_read
            } else {
                let is_read = decoder.decode_snapshot(text, at, &mut buffer).is_ok();
                if is_read {
                    feed.snapshot(&buffer, &mut way); // a feed would ask again for one that is too old; there is no other here
                }
                is_read
            };
            unread += u64::from(!is_read);
            while {
                backlog.flush(&mut outlet);
                take(&mut inlet, frame.time, &mut all)
            } {}
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

/// Takes what a frame has become; false where there was nothing.
fn take(inlet: &mut Inlet, time: Nanos, all: &mut Vec<(Nanos, Message)>) -> bool {
    let before = all.len();
    while let Some(mut message) = inlet.pop() {
        if message.header.flags & Flags::FRAME_END != 0 {
            message.header.flags |= Flags::MARK;
        }
        all.push((time, message));
    }
    all.len() > before
}
