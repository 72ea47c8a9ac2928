//! What is published outside: headlines, and readings of the world's prices and yields; a file that somebody appends to, or a local socket; a JSON
//! object a line. Headlines are scored here, by a lexicon. Both are told to the line as inputs when they are due.
//!
//! `{"published_ms": 1723161240000, "source": "wire", "headline": "Bitcoin surges", "relevance": 1.0}`
//! `{"published_ms": 1723161240000, "series": "dollar", "value": 123.4, "price": 61800.0}`

pub mod history;
pub mod lexicon;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use kimera_protocol::{Nanos, News, Reading, Series};
use serde::Deserialize;

use crate::config::NewsSection;
use crate::exit::Failure;
use lexicon::{Lexicon, hash, headline_hash};

/// Longest line.
const LINE_MAX: usize = 8_192;
/// Bytes that are read at a time: so that a large file holds nobody up, and no more lines than there is room for.
const READ_MAX: usize = 16_384;
/// What waits until it is due.
const WAITING_MAX: usize = 1_024;
/// With so much due already a file waits to be read on: a history must not be lost for want of room.
const DUE_MAX: usize = 64;
/// What is told at a look.
const AT_A_LOOK: usize = 4;
/// A headline this old is told to nobody: after a restart the file is read from its beginning again.
const TOO_OLD: Nanos = 3_600_000_000_000;
/// Headlines whose repetition is noticed.
const KNOWN_MAX: usize = 4_096;
/// Earliest and latest time that is one, ms.
const TIMES_MS: std::ops::Range<i64> = 0..4_102_444_800_000;

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Published {
    /// A headline.
    News(News),
    /// A value of a series.
    Reading(Reading),
}

impl Published {
    fn at(&self) -> Nanos {
        match self {
            Self::News(news) => news.published,
            Self::Reading(reading) => reading.published,
        }
    }
}

/// A line with a value of a series.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueLine {
    published_ms: i64,
    series: String,
    value: f64,
    #[serde(default)]
    price: f64,
}

/// A line with a headline.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    published_ms: i64,
    source: String,
    headline: String,
    #[serde(default = "one")]
    relevance: f64,
}

fn one() -> f64 {
    1.0
}

/// What has come and what was wrong, for those who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Headlines and readings that were told.
    pub told: u64,
    /// Headlines that were known already.
    pub known: u64,
    /// Headlines that were too old to be told.
    pub old: u64,
    /// Lines that are no headlines, or found no room.
    pub unread: u64,
}

/// Reads headlines.
pub struct NewsDesk {
    trusted: Vec<u64>,
    lexicon: Lexicon,
    file: Option<(PathBuf, Option<File>, u64)>,
    socket: Option<UnixDatagram>,
    partial: Vec<u8>,
    /// The rest of a line that is too long is left out.
    skips: bool,
    waiting: VecDeque<Published>,
    known: VecDeque<u64>,
    /// When the newest reading that was told was published.
    newest: Nanos,
    /// What has come.
    pub tally: Tally,
    /// What was wrong with the last line that could not be read.
    pub last_wrong: Option<String>,
}

impl NewsDesk {
    /// A desk for a configuration; the socket lies at `socket`, where it is asked for.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn open(section: &NewsSection, socket: &Path) -> Result<Self, Failure> {
        let listen = |path: &Path| {
            let _ = std::fs::remove_file(path); // of an earlier start
            let socket = UnixDatagram::bind(path)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let made = section.socket.then(|| listen(socket)).transpose();
        let made = made.map_err(|e: std::io::Error| {
            Failure::machine(format!("cannot listen for news at {}: {e}", socket.display()))
        })?;
        Ok(Self {
            trusted: section.trusted.iter().map(|source| hash(source)).collect(),
            lexicon: Lexicon::shipped(),
            file: section.file.clone().map(|path| (path, None, 0)),
            socket: made,
            partial: Vec::new(),
            skips: false,
            waiting: VecDeque::new(),
            known: VecDeque::new(),
            newest: Nanos::MIN,
            tally: Tally::default(),
            last_wrong: None,
        })
    }

    /// Reads what is new and tells what is due; `tell` says whether there was room for it.
    pub fn look(&mut self, now: Nanos, mut tell: impl FnMut(&Published) -> bool) {
        // With enough that is due the rest waits where it is: in the file, and in the socket, whose senders the kernel holds up.
        if self.waiting.get(DUE_MAX).is_none_or(|p| p.at() > now) {
            self.read_file();
            self.read_socket();
        }
        let mut told = 0;
        while told < AT_A_LOOK {
            let Some(first) = self.waiting.front().filter(|p| p.at() <= now) else { return };
            // A reading is never too old: those of the past are what betas are learnt from.
            if matches!(first, Published::News(n) if n.published < now.saturating_sub(TOO_OLD)) {
                self.tally.old += 1;
            } else if tell(first) {
                self.tally.told += 1;
                if let Published::Reading(reading) = first {
                    self.newest = reading.published;
                }
                told += 1;
            } else {
                return; // at the next look
            }
            self.waiting.pop_front();
        }
    }

    fn read_file(&mut self) {
        let Some((path, open, at)) = &mut self.file else { return };
        if open.is_none() {
            *open = File::open(&*path).ok(); // it may come later
        }
        let Some(file) = open else { return };
        let length = file.metadata().map_or(0, |m| m.len());
        if length < *at {
            // It has been begun anew.
            (*open, *at) = (None, 0);
            self.partial.clear();
            return;
        }
        let mut bytes = vec![0; READ_MAX.min((length - *at) as usize)];
        if bytes.is_empty() || file.seek(SeekFrom::Start(*at)).is_err() {
            return;
        }
        let Ok(read) = file.read(&mut bytes) else { return };
        *at += read as u64;
        for byte in &bytes[..read] {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.partial);
                    if !std::mem::take(&mut self.skips) {
                        self.take(&line);
                    }
                }
                _ if self.partial.len() >= LINE_MAX => {
                    self.wrong(format!("a line of the news is longer than {LINE_MAX} bytes"));
                    self.partial.clear();
                    self.skips = true;
                }
                _ if self.skips => {}
                byte => self.partial.push(*byte),
            }
        }
    }

    fn read_socket(&mut self) {
        let mut bytes = [0; LINE_MAX];
        for _ in 0..DUE_MAX {
            let Some(Ok(read)) = self.socket.as_ref().map(|socket| socket.recv(&mut bytes)) else { return };
            let line = bytes[..read].to_vec();
            self.take(line.trim_ascii_end());
        }
    }

    fn wrong(&mut self, what: String) {
        self.tally.unread += 1;
        self.last_wrong = Some(what);
    }

    fn take(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        // A line that names a series is a reading, and told what is wrong with it as one.
        if serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|of| of.get("series").is_some()) {
            return match serde_json::from_slice(line) {
                Ok(value) => self.take_value(&value),
                Err(e) => self.wrong(format!("a line of the news is no reading: {e}")),
            };
        }
        let item: Item = match serde_json::from_slice(line) {
            Ok(item) => item,
            Err(e) => return self.wrong(format!("a line of the news is no headline: {e}")),
        };
        if !TIMES_MS.contains(&item.published_ms) || !(0.0..=1.0).contains(&item.relevance) {
            return self
                .wrong("a headline's published_ms is no time, or its relevance is not within 0 to 1".into());
        }
        let headline = headline_hash(&item.headline);
        if self.known.contains(&headline) {
            self.tally.known += 1;
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.wrong(format!("{WAITING_MAX} lines wait already"));
        }
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back(headline);
        let source = hash(&item.source);
        let news = News {
            headline,
            source,
            compound: self.lexicon.tone(&item.headline).0,
            relevance: item.relevance,
            published: item.published_ms * 1_000_000,
            trusted: u64::from(self.trusted.contains(&source)),
            lexicon: self.lexicon.hash(),
            ..News::default()
        };
        self.insert(Published::News(news));
    }

    fn take_value(&mut self, of: &ValueLine) {
        let Some(series) = Series::ALL.into_iter().find(|s| s.name() == of.series) else {
            let known = Series::ALL.map(Series::name).join(", ");
            return self.wrong(format!("no series is called \"{}\": there are {known}", of.series));
        };
        let reading = Reading {
            series: series as u64,
            value: of.value,
            price: of.price,
            published: of.published_ms.saturating_mul(1_000_000),
            ..Reading::default()
        };
        if !TIMES_MS.contains(&of.published_ms) || !reading.is_sensible() {
            return self.wrong("a reading's published_ms is no time, or its value or price is none".into());
        }
        if reading.published < self.newest {
            return self.wrong("a reading was published before one that has been told: lines have to be in order of publication".into());
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.wrong(format!("{WAITING_MAX} lines wait already"));
        }
        self.insert(Published::Reading(reading));
    }

    fn insert(&mut self, published: Published) {
        let at = self.waiting.partition_point(|p| p.at() <= published.at());
        self.waiting.insert(at, published);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(published_ms: i64, source: &str, headline: &str) -> String {
        format!(
            "{{\"published_ms\": {published_ms}, \"source\": \"{source}\", \"headline\": \"{headline}\"}}\n"
        )
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kimera-news-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn told(desk: &mut NewsDesk, now_ms: i64) -> Vec<News> {
        let mut all = Vec::new();
        desk.look(now_ms * 1_000_000, |p| {
            if let Published::News(n) = p {
                all.push(*n);
            }
            true
        });
        all
    }

    #[test]
    fn a_file_is_followed_and_each_headline_is_told_once_when_it_is_due() {
        let folder = folder("file");
        let path = folder.join("news.jsonl");
        let section = NewsSection { file: Some(path.clone()), trusted: vec!["wire".into()], socket: false };
        let mut desk = NewsDesk::open(&section, &folder.join("none.sock")).unwrap();
        assert!(told(&mut desk, 10).is_empty(), "there is no file yet");
        let mut file = File::create(&path).unwrap();
        let write = |file: &mut File, text: &str| file.write_all(text.as_bytes()).unwrap();
        write(&mut file, &line(20, "wire", "Bitcoin surges"));
        write(&mut file, &line(5, "blog", "Exchange hacked"));
        write(&mut file, "{\"published_ms\": 6, \"sou");
        let first = told(&mut desk, 10);
        assert!(first.len() == 1 && first[0].compound < -0.3 && first[0].trusted == 0, "{first:?}");
        write(&mut file, "rce\": \"blog\", \"headline\": \"BITCOIN, surges\"}\nnonsense\n");
        write(&mut file, &format!("{}\n", "x".repeat(3 * LINE_MAX)));
        write(&mut file, &line(30, "blog", "Bitcoin falls"));
        let second = told(&mut desk, 25);
        assert!(second.len() == 1 && second[0].compound > 0.3 && second[0].trusted == 1, "{second:?}");
        assert_eq!(desk.tally, Tally { told: 2, known: 1, old: 0, unread: 2 });
        assert!(desk.last_wrong.as_ref().is_some_and(|w| w.contains("longer than")), "{:?}", desk.last_wrong);
        // Without room it is told at the next look.
        desk.look(40_000_000, |_| false);
        assert_eq!(told(&mut desk, 40).len(), 1);
        write(&mut file, &line(1, "blog", "Bitcoin tumbles"));
        assert!(told(&mut desk, 3_700_000).is_empty() && desk.tally.old == 1, "more than an hour old");
        std::fs::write(&path, line(41, "blog", "Bitcoin rallies")).unwrap();
        told(&mut desk, 50);
        assert_eq!(told(&mut desk, 50).len(), 1, "a file that is begun anew is read anew");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_history_of_readings_is_told_whole_and_in_order() {
        let folder = folder("readings");
        let path = folder.join("news.jsonl");
        let day = |i: i64| {
            format!("{{\"published_ms\": {}, \"series\": \"dollar\", \"value\": {}}}\n", i * 1_000, i + 1)
        };
        let mut text: String = (0..5_000).map(day).collect();
        text += "{\"published_ms\": 1, \"series\": \"tulips\", \"value\": 1}\n";
        text += "{\"published_ms\": 1, \"series\": \"dollar\", \"value\": -1}\n";
        // Headlines of long ago between them are told to nobody.
        text += &(0..50).map(|i| line(i * 1_000, "wire", &format!("Old {i}"))).collect::<String>();
        text += "{\"published_ms\": 1, \"series\": \"dollar\", \"valu\": 1}\n";
        std::fs::write(&path, text).unwrap();
        let section = NewsSection { file: Some(path.clone()), ..NewsSection::default() };
        let mut desk = NewsDesk::open(&section, &folder.join("none.sock")).unwrap();
        let (mut all, mut looks) = (Vec::new(), 0);
        while all.len() < 5_000 && looks < 10_000 {
            looks += 1;
            desk.look(i64::MAX / 2, |p| {
                if let Published::Reading(r) = p {
                    all.push(r.value);
                }
                true
            });
        }
        desk.look(i64::MAX / 2, |_| true);
        assert!(all.len() == 5_000 && all.is_sorted(), "{} told, {:?}", all.len(), desk.last_wrong);
        (0..20).for_each(|_| desk.look(i64::MAX / 2, |_| true));
        let Tally { told, old, unread, .. } = desk.tally;
        assert_eq!((told, old, unread), (5_000, 50, 3), "{:?}", desk.last_wrong);
        assert!(desk.last_wrong.as_ref().is_some_and(|w| w.contains("valu")), "{:?}", desk.last_wrong);
        // Another series behind the first: nobody could put it in its place any more.
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"published_ms\": 5000, \"series\": \"equity\", \"value\": 1}\n").unwrap();
        desk.look(i64::MAX / 2, |_| true);
        assert_eq!(desk.tally.unread, 4);
        assert!(desk.last_wrong.as_ref().is_some_and(|w| w.contains("in order")), "{:?}", desk.last_wrong);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_socket_takes_a_headline_a_datagram() {
        let folder = folder("socket");
        let path = folder.join("news.sock");
        let section = NewsSection { socket: true, ..NewsSection::default() };
        let mut desk = NewsDesk::open(&section, &path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(line(5, "wire", "Fund approved").as_bytes(), &path).unwrap();
        sender.send_to(b"{\"relevance\": 7}", &path).unwrap();
        let all = told(&mut desk, 10);
        assert!(all.len() == 1 && all[0].compound > 0.3, "{all:?}");
        assert_eq!(desk.tally.unread, 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
