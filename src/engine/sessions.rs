//! Sessions of a running engine: listed from counters, changed by sequenced commands.

use std::time::Duration;

use kimera_protocol::session::UNBOUND_BPS;
use kimera_protocol::{Command, CommandCode, Header, Message, SESSIONS_MAX, SessionTerms};
use kimera_runtime::Port;
use kimera_runtime::counters::Snapshot;
use serde::Deserialize;
use serde_json::{Value, json};

use super::live::{Live, wait};
use crate::config::{Config, exposure_bps, loss_bps, units};
use crate::control::RpcError;
use crate::extensions;
use crate::sessions::{SessionLine, sessions};

/// Longest wait for a command to reach risk.
const COMMAND: Duration = Duration::from_secs(5);

/// What is asked of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionWish {
    /// A new one.
    Start(StartWish),
    /// It takes no risk any more.
    Stop(u16),
    /// It goes on with other terms.
    Weigh(WeighWish),
}

/// Parameters of `session.start`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartWish {
    kind: String,
    capital: String,
    number: Option<u16>,
    exposure_bps: Option<u32>,
    loss_bps: Option<u32>,
}

/// Parameters of `session.weigh`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeighWish {
    session: u16,
    capital: String,
    exposure_bps: Option<u32>,
    loss_bps: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopWish {
    session: u16,
}

impl SessionWish {
    /// From a method and its parameters.
    ///
    /// # Errors
    /// What makes no sense about them.
    pub fn of(method: &str, params: &Value) -> Result<Self, RpcError> {
        let wrong = |e: serde_json::Error| RpcError::parameters(e.to_string());
        Ok(match method {
            "session.start" => Self::Start(StartWish::deserialize(params).map_err(wrong)?),
            "session.stop" => Self::Stop(StopWish::deserialize(params).map_err(wrong)?.session),
            _ => Self::Weigh(WeighWish::deserialize(params).map_err(wrong)?),
        })
    }
}

/// The answer to `session.list`.
#[must_use]
pub fn list(counters: &Snapshot) -> Value {
    json!({"sessions": sessions(counters)})
}

fn share(name: &str, bps: u32) -> Result<i64, RpcError> {
    if (1..=UNBOUND_BPS).contains(&i64::from(bps)) {
        Ok(bps.into())
    } else {
        Err(RpcError::parameters(format!("\"{name}\" must be 1 to {UNBOUND_BPS}")))
    }
}

/// Shares beside the first session, which has the whole account, are at most all of it.
fn fits(config: &Config, known: &[SessionLine], but: usize, capital: i64) -> Result<(), RpcError> {
    let others = known.iter().filter(|l| l.place != 0 && l.place != but && (l.running || !l.flat));
    let given: i64 = others.filter_map(|l| units("capital", &l.capital).ok()).fold(0, i64::saturating_add);
    let account = config.capital().map_err(RpcError::refused)?;
    if but == 0 && capital > account {
        return Err(RpcError::refused("the first session has the whole account, and no more than that"));
    }
    if but != 0 && given.saturating_add(capital) > account {
        return Err(RpcError::refused(format!(
            "sessions beside the first would have more than the account: {} of {}",
            crate::report::money(given.saturating_add(capital)),
            crate::report::money(account)
        )));
    }
    Ok(())
}

impl Live<'_> {
    /// A limit of a session that is there already: as it is where nothing is said, and never looser.
    fn tightened(&self, place: usize, name: &str, said: Option<u32>) -> Result<i64, RpcError> {
        let is = self.counter(&format!("session.{place}.{name}")) as i64;
        let bps = said.map_or(Ok(is), |bps| share(name, bps))?;
        if bps > is {
            return Err(RpcError::refused(format!("{name} is {is}, and only made smaller from then on")));
        }
        Ok(bps)
    }

    /// Does what is asked: as a sequenced command, and only where it makes sense.
    pub(super) fn session(&mut self, wish: &SessionWish) -> Result<Value, RpcError> {
        let known = sessions(&self.built.counters.snapshot());
        let find = |number: u16| {
            let line = known.iter().find(|l| l.session == number);
            line.ok_or_else(|| {
                let numbers: Vec<_> = known.iter().map(|l| l.session.to_string()).collect();
                RpcError::refused(format!("there is no session {number}; there are {}", numbers.join(", ")))
            })
        };
        let config = self.run.config;
        let (code, place, terms) = match wish {
            SessionWish::Start(wish) => {
                let kind = extensions::number_of(&wish.kind).ok_or_else(|| {
                    RpcError::parameters(format!(
                        "\"kind\" is one of {}, not \"{}\"",
                        extensions::kind_names(),
                        wish.kind
                    ))
                })?;
                let is_free = |n: &u16| *n != 0 && known.iter().all(|l| l.session != *n);
                // One of this number and kind that has stopped goes on where it stopped.
                let kind_name = wish.kind.as_str();
                let stopped = known
                    .iter()
                    .find(|l| Some(l.session) == wish.number && !l.running && l.kind == kind_name);
                let number = match wish.number {
                    Some(number) if is_free(&number) || stopped.is_some() => number,
                    Some(number) => {
                        return Err(RpcError::refused(format!("the number {number} is taken, or 0")));
                    }
                    None => (1..=u16::MAX).find(is_free).unwrap_or(u16::MAX),
                };
                let limit = |name: &str, said: Option<u32>, usual: u32| match stopped {
                    Some(line) => self.tightened(line.place, name, said),
                    None => share(name, said.unwrap_or(usual)),
                };
                let terms = SessionTerms {
                    number,
                    kind,
                    capital: units("capital", &wish.capital).map_err(RpcError::parameters)?,
                    exposure_bps: limit("exposure_bps", wish.exposure_bps, exposure_bps())?,
                    loss_bps: limit("loss_bps", wish.loss_bps, loss_bps())?,
                    ..SessionTerms::default()
                };
                // A place that was used is not used again: a late fill of its orders would be somebody else's.
                let is_taken = |place: &usize| known.iter().any(|l| l.place == *place);
                let free = || (1..SESSIONS_MAX).find(|place| !is_taken(place));
                let place = stopped.map(|l| l.place).or_else(free).ok_or_else(|| {
                    RpcError::refused(format!(
                        "all {SESSIONS_MAX} places have been used; weigh a session, or begin another state directory"
                    ))
                })?;
                fits(config, &known, place, terms.capital)?;
                config.may_begin(&terms, place).map_err(RpcError::refused)?;
                (CommandCode::SessionStart, place, terms)
            }
            SessionWish::Stop(number) => {
                (CommandCode::SessionStop, find(*number)?.place, SessionTerms::default())
            }
            SessionWish::Weigh(wish) => {
                let line = find(wish.session)?;
                let terms = SessionTerms {
                    capital: units("capital", &wish.capital).map_err(RpcError::parameters)?,
                    exposure_bps: self.tightened(line.place, "exposure_bps", wish.exposure_bps)?,
                    loss_bps: self.tightened(line.place, "loss_bps", wish.loss_bps)?,
                    ..SessionTerms::default()
                };
                fits(config, &known, line.place, terms.capital)?;
                (CommandCode::SessionWeigh, line.place, terms)
            }
        };
        let number = match wish {
            SessionWish::Start(_) => terms.number,
            SessionWish::Stop(number) => *number,
            SessionWish::Weigh(wish) => wish.session,
        };
        let before = self.counter("risk.sessions");
        let body = Command { code: code as u64, session: place as u64, terms, ..Command::default() };
        if !self.built.control.send(Port::Input, &Message::new(Header::default(), body)) {
            return Err(RpcError::refused("the sequencer's control ring is full; try again"));
        }
        // Risk hears of it behind strategy and execution.
        if wait(COMMAND, || self.counter("risk.sessions") > before) {
            Ok(json!({"session": number, "place": place}))
        } else {
            Err(RpcError::refused("the line has not taken the command in time; ask for the list"))
        }
    }
}
