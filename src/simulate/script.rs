//! What goes wrong in a simulated firm, and when: drawn from a seed, or written down. One line says all of it, so that a
//! failure can be shown, shrunk and kept.

use std::fmt;
use std::str::FromStr;

use kimera_runtime::failpoint;
use kimera_runtime::world::Random;

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the engine.
    Kill,
    /// The engine's machine loses power: what was not synced is anybody's guess.
    Power,
    /// The engine dies when it gets to a place for the n-th time.
    Place(&'static str, u64),
    /// The gateway alone dies when it gets to a place for the n-th time.
    Fall(&'static str, u64),
    /// Connections whose first words contain this break; what is on its way is lost.
    Cut(String),
    /// Nothing arrives on them for so many milliseconds.
    Stall(String, u64),
    /// Latency between so many microseconds, for so many milliseconds.
    Slow(u64, u64, u64),
    /// Calls are refused for so many milliseconds.
    Refuse(u64),
    /// The venue is killed and comes back with what its file holds.
    Venue,
    /// Orders that the venue refuses for no reason of theirs.
    Reject(u32),
    /// Requests that the venue does and never answers.
    Unanswered(u32),
    /// Orders that the venue does not take, saying that it does not know.
    Unknown(u32),
    /// Private events that come twice.
    Twice(u32),
    /// The venue demands something else of orders from then on: rules as its simulator takes them.
    Rules(String),
    /// A seat panics.
    Panic(String),
    /// A seat panics on an input, whenever it meets it.
    Poison(String),
    /// A core thread does not run for so many milliseconds.
    Hold(u64, u64),
    /// The whole machine is away for so many milliseconds.
    Away(u64),
    /// The disk is slow for so many milliseconds.
    DiskSlow(u64),
    /// No block that is handed to the disk becomes durable for so many milliseconds.
    DiskStops(u64),
    /// The disk is full for so many milliseconds.
    DiskFull(u64),
    /// So many syncs fail.
    DiskFails(u32),
    /// Somebody halts.
    Halt,
    /// Somebody resumes.
    Resume,
    /// Somebody wants only ways out.
    Reduce,
    /// Somebody takes every order back.
    CancelAll,
}

/// A fault and its time in milliseconds from the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in wall milliseconds of the firm.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

/// Everything that goes wrong, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(pub Vec<Event>);

/// First words of the connections there are.
const CONNECTIONS: [&str; 6] =
    ["/ws-fapi", "/private/ws", "/stream", "/fapi/v1/userTrades", "/fapi/v1/allOrders", "/"];
/// What the venue may come to demand; the first is what it demands at the start.
const RULES: [&str; 6] = [
    "tick=0.10&lot=0.001&min_notional=100&status=TRADING",
    "tick=0.50&lot=0.002",
    "min_notional=900",
    "status=CANCEL_ONLY",
    "status=BREAK",
    "tick=0.05",
];
/// Starts of the engine that one run may lose: one more in a minute and its supervisor would rightly give up.
const DEATHS_MAX: usize = 3;

impl Script {
    /// What goes wrong with a seed, in the first `span_ms` of a firm whose seats are `seats`.
    #[must_use]
    pub fn of_seed(seed: u64, span_ms: u64, seats: &[&str]) -> Self {
        let mut random = Random::new(seed, 4);
        let mut events = Vec::new();
        let faults = random.below(9);
        let mut deaths = 0;
        for _ in 0..faults {
            let fault = Self::draw(&mut random, seats);
            let deadly = matches!(
                fault,
                Fault::Kill
                    | Fault::Power
                    | Fault::Place(..)
                    | Fault::Fall(..)
                    | Fault::Panic(_)
                    | Fault::DiskFails(_)
            );
            // A stage dies of it in the run and in the recovery.
            let poisoned = matches!(&fault, Fault::Poison(seat) if !seat.starts_with("member."));
            deaths += usize::from(deadly) + 2 * usize::from(poisoned);
            if (deadly || poisoned) && deaths > DEATHS_MAX {
                continue;
            }
            let at_ms = 400 + random.below(span_ms.saturating_sub(400).max(1));
            if poisoned {
                events.push(Event { at_ms: at_ms + 2_500, fault: Fault::Resume });
            }
            if fault == Fault::Halt && random.chance(3, 4) {
                events.push(Event { at_ms: at_ms + 50 + random.below(1_000), fault: Fault::Resume });
            }
            events.push(Event { at_ms, fault });
        }
        // Drawn apart, so that what else goes wrong with a seed stays what it was.
        let mut random = Random::new(seed, 9);
        if random.chance(1, 4) {
            let rules = RULES[random.below(RULES.len() as u64) as usize].to_owned();
            let at_ms = random.below(span_ms);
            events.push(Event { at_ms, fault: Fault::Rules(rules) });
            if random.chance(1, 2) {
                let back = Fault::Rules(RULES[0].to_owned());
                events.push(Event { at_ms: at_ms + 1_500 + random.below(span_ms), fault: back });
            }
        }
        // And these apart again.
        let mut random = Random::new(seed, 13);
        if random.chance(1, 6) {
            let fault = Fault::DiskStops(random.within(500, 20_000));
            events.push(Event { at_ms: 400 + random.below(span_ms), fault });
        }
        events.sort_by_key(|e| e.at_ms);
        Self(events)
    }

    fn draw(random: &mut Random, seats: &[&str]) -> Fault {
        let connection = CONNECTIONS[random.below(CONNECTIONS.len() as u64) as usize].to_owned();
        let a_while = random.within(20, 1_500);
        let few = random.within(1, 4) as u32;
        match random.below(30) {
            0 | 1 => Fault::Kill,
            2 | 3 => Fault::Power,
            4..=6 => {
                let place = failpoint::NAMES[random.below(failpoint::NAMES.len() as u64) as usize];
                Fault::Place(place, random.within(1, 30))
            }
            28 | 29 => {
                let places = failpoint::OF_GATEWAYS;
                Fault::Fall(places[random.below(places.len() as u64) as usize], random.within(1, 30))
            }
            7 | 8 => Fault::Cut(connection),
            9 | 10 => Fault::Stall(connection, a_while),
            11 => Fault::Slow(1_000, random.within(2_000, 300_000), a_while),
            12 => Fault::Refuse(a_while),
            13 => Fault::Venue,
            14 => Fault::Reject(few),
            15 => Fault::Unanswered(few),
            16 => Fault::Unknown(few),
            17 => Fault::Twice(few * 10),
            18 | 26 => {
                // Half of them members: the line goes on without those.
                let members: Vec<&&str> = seats.iter().filter(|s| s.starts_with("member.")).collect();
                let member = members.get(random.below(2 * members.len() as u64) as usize).copied();
                let seat = member.or_else(|| seats.get(random.below(seats.len() as u64) as usize));
                Fault::Panic(seat.map_or("market", |s| s).to_owned())
            }
            27 => {
                // A stage that leaves an input out is halted with everything: one that books fills would rightly disagree
                // with the venue from there on.
                let stages = ["market", "ensemble"];
                let members: Vec<&str> =
                    seats.iter().copied().filter(|s| s.starts_with("member.")).chain(stages).collect();
                Fault::Poison(members[random.below(members.len() as u64) as usize].to_owned())
            }
            19 => Fault::Hold(random.below(4), a_while),
            20 => Fault::Away(a_while),
            21 => Fault::DiskSlow(a_while),
            22 => match random.below(4) {
                0 => Fault::DiskFull(a_while),
                1 => Fault::DiskFails(1),
                _ => Fault::DiskSlow(a_while),
            },
            23 => Fault::Halt,
            24 => Fault::Reduce,
            _ => Fault::CancelAll,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Power => f.write_str("power"),
            Self::Place(name, n) => write!(f, "place={name},{n}"),
            Self::Fall(name, n) => write!(f, "fall={name},{n}"),
            Self::Cut(label) => write!(f, "cut={label}"),
            Self::Stall(label, ms) => write!(f, "stall={label},{ms}"),
            Self::Slow(low, high, ms) => write!(f, "slow={low},{high},{ms}"),
            Self::Refuse(ms) => write!(f, "refuse={ms}"),
            Self::Venue => f.write_str("venue"),
            Self::Reject(n) => write!(f, "reject={n}"),
            Self::Unanswered(n) => write!(f, "unanswered={n}"),
            Self::Unknown(n) => write!(f, "unknown={n}"),
            Self::Twice(n) => write!(f, "twice={n}"),
            Self::Rules(rules) => write!(f, "rules={rules}"),
            Self::Panic(seat) => write!(f, "panic={seat}"),
            Self::Poison(seat) => write!(f, "poison={seat}"),
            Self::Hold(thread, ms) => write!(f, "hold={thread},{ms}"),
            Self::Away(ms) => write!(f, "away={ms}"),
            Self::DiskSlow(ms) => write!(f, "disk-slow={ms}"),
            Self::DiskStops(ms) => write!(f, "disk-stops={ms}"),
            Self::DiskFull(ms) => write!(f, "disk-full={ms}"),
            Self::DiskFails(n) => write!(f, "disk-fails={n}"),
            Self::Halt => f.write_str("halt"),
            Self::Resume => f.write_str("resume"),
            Self::Reduce => f.write_str("reduce"),
            Self::CancelAll => f.write_str("cancel-all"),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, event) in self.0.iter().enumerate() {
            write!(f, "{}{}:{}", if i == 0 { "" } else { " " }, event.at_ms, event.fault)?;
        }
        Ok(())
    }
}

/// Arguments of a fault, taken one after the other.
struct Arguments<'a>(std::str::Split<'a, char>);

impl<'a> Arguments<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next().filter(|t| !t.is_empty())
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }
}

impl FromStr for Fault {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        let mut a = Arguments(rest.split(','));
        let fault = match name {
            "kill" => Some(Self::Kill),
            "power" => Some(Self::Power),
            "place" => a.text().and_then(|place| {
                let known = failpoint::NAMES.into_iter().find(|n| *n == place)?;
                Some(Self::Place(known, a.number()?))
            }),
            "fall" => a.text().and_then(|place| {
                let known = failpoint::OF_GATEWAYS.into_iter().find(|n| *n == place)?;
                Some(Self::Fall(known, a.number()?))
            }),
            "cut" => a.text().map(|l| Self::Cut(l.to_owned())),
            "stall" => a.text().and_then(|l| Some(Self::Stall(l.to_owned(), a.number()?))),
            "slow" => a.number().and_then(|low| Some(Self::Slow(low, a.number()?, a.number()?))),
            "refuse" => a.number().map(Self::Refuse),
            "venue" => Some(Self::Venue),
            "reject" => a.number().map(Self::Reject),
            "unanswered" => a.number().map(Self::Unanswered),
            "unknown" => a.number().map(Self::Unknown),
            "twice" => a.number().map(Self::Twice),
            "rules" => a.text().map(|rules| Self::Rules(rules.to_owned())),
            "panic" => a.text().map(|s| Self::Panic(s.to_owned())),
            "poison" => a.text().map(|s| Self::Poison(s.to_owned())),
            "hold" => a.number().and_then(|t| Some(Self::Hold(t, a.number()?))),
            "away" => a.number().map(Self::Away),
            "disk-slow" => a.number().map(Self::DiskSlow),
            "disk-stops" => a.number().map(Self::DiskStops),
            "disk-full" => a.number().map(Self::DiskFull),
            "disk-fails" => a.number().map(Self::DiskFails),
            "halt" => Some(Self::Halt),
            "resume" => Some(Self::Resume),
            "reduce" => Some(Self::Reduce),
            "cancel-all" => Some(Self::CancelAll),
            _ => None,
        };
        fault.filter(|_| a.text().is_none()).ok_or(())
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut events = Vec::new();
        for one in text.split_whitespace() {
            let event = one
                .split_once(':')
                .and_then(|(at, fault)| Some(Event { at_ms: at.parse().ok()?, fault: fault.parse().ok()? }));
            events.push(event.ok_or_else(|| format!("\"{one}\" is not <milliseconds>:<fault>"))?);
        }
        events.sort_by_key(|e| e.at_ms);
        Ok(Self(events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_the_line_that_says_it() {
        let (mut kinds, seats) = (std::collections::BTreeSet::new(), ["market", "member.macro"]);
        for seed in 0..2_000 {
            let script = Script::of_seed(seed, 5_000, &seats);
            assert_eq!(script.to_string().parse(), Ok(script.clone()));
            assert_eq!(Script::of_seed(seed, 5_000, &seats), script);
            kinds.extend(script.0.iter().map(|e| {
                let text = e.fault.to_string();
                text.split('=').next().unwrap_or_default().to_owned()
            }));
        }
        assert_eq!(kinds.len(), 26, "{kinds:?}");
        for wrong in [
            "kill",
            "x:kill",
            "5:kil",
            "5:cut",
            "5:rules",
            "5:hold=1",
            "5:kill=3",
            "5:place=nowhere,1",
            "5:fall=journal.after_sync,1",
        ] {
            assert!(wrong.parse::<Script>().is_err(), "{wrong}");
        }
    }
}
