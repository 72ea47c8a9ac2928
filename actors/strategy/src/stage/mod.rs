//! The stage of the main line: shows every session the scene and says what each wants. The first session says it at every mark,
//! the others where it is something else than before.

mod meters;

use kimera_protocol::{
    Alert, Command, CommandCode, Consensus, Decision, Features, FillBook, InstrumentId, Kind, Message, Nanos,
    News, Opinion, OrderUpdate, Quote, SESSIONS_MAX, SessionChange, SessionTerms, Sessions, Timer,
    TimerOwner, TimerRequest, Trading, VenueStatus,
};
use kimera_runtime::{Actor, Input, Outbox, Port};

pub use meters::StrategyMeters;

use crate::kinds::{KINDS, KindOf, KindsConfig, Roles};
use crate::scene::{Scene, SceneConfig};
use crate::session::{Session, SessionRules};
use crate::strategy::LEGS_MAX;

/// Most decisions of one input: whoever finds no room says it at the next.
pub const DECISIONS_MAX: usize = 8;
/// Most outputs of one input: the input itself, decisions to execution and to the journal, a deadline.
pub const OUTPUTS_MAX: usize = 2 + 2 * DECISIONS_MAX;
/// Name of the one deadline: a look at whether the book is still fresh.
const LOOK: u64 = 1;

/// What the stage needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct StrategyConfig {
    /// What strategies see.
    pub scene: SceneConfig,
    /// Parameters of the kinds.
    pub kinds: KindsConfig,
    /// Instruments by the role they have in them, for each place.
    pub roles: [Roles; SESSIONS_MAX],
    /// What sessions have in common.
    pub rules: SessionRules,
    /// Sessions that run from the beginning, the first at the first place.
    pub sessions: Vec<SessionTerms>,
    /// Market time between two looks at whether the book is still fresh.
    pub look_interval: Nanos,
}

/// The stage.
pub struct Strategies {
    config: StrategyConfig,
    scene: Scene,
    terms: Sessions,
    fills: FillBook,
    places: Box<[Session]>,
    /// Where the next round begins, so that nobody is always the last.
    first: usize,
    meters: StrategyMeters,
}

kimera_protocol::state!(Strategies { scene, terms, fills, places, first, meters } fixed { config });

impl Strategies {
    /// Sessions that have seen nothing and may not trade yet.
    #[must_use]
    pub fn new(config: StrategyConfig, meters: StrategyMeters) -> Self {
        Self::with_kinds(config, meters, &[])
    }

    /// The same with further kinds behind those that come with the project.
    #[must_use]
    pub fn with_kinds(config: StrategyConfig, meters: StrategyMeters, further: &[KindOf]) -> Self {
        let instruments = config.scene.instruments.len();
        let place = |roles: &Roles| {
            let all = KINDS.iter().chain(further).map(|(_, _, make)| make(&config.kinds, roles));
            Session::new(config.rules, all.collect(), instruments)
        };
        let mut places: Box<[Session]> = config.roles.iter().map(place).collect();
        let terms = Sessions::running(&config.sessions);
        for (at, seat) in terms.seated() {
            places[at].begin(&seat.terms);
        }
        let stage = Self {
            scene: Scene::new(config.scene.clone()),
            terms,
            fills: FillBook::default(),
            places,
            first: 1,
            meters,
            config,
        };
        stage.tell_sessions();
        stage
    }

    /// Who sits where.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.terms
    }

    /// What a place has.
    #[must_use]
    pub fn session(&self, place: usize) -> Option<&Session> {
        self.places.get(place)
    }

    fn tell_sessions(&self) {
        for (place, session) in self.places.iter().enumerate() {
            let seat = self.terms.at(place);
            self.meters.session(place, &seat, &session.account, self.config.scene.traded);
        }
    }

    /// The first session decides, then the others in turns, as many as there is room for.
    fn say(&mut self, is_mark: bool, out: &mut Outbox) {
        let mut room = DECISIONS_MAX;
        self.say_one(0, is_mark, &mut room, out);
        if self.terms.is_one() {
            return;
        }
        for turn in 0..SESSIONS_MAX - 1 {
            let place = 1 + (self.first - 1 + turn) % (SESSIONS_MAX - 1);
            if room < LEGS_MAX {
                self.first = place;
                return;
            }
            self.say_one(place, is_mark, &mut room, out);
        }
    }

    fn say_one(&mut self, place: usize, is_mark: bool, room: &mut usize, out: &mut Outbox) {
        let Self { places, scene, meters, config, terms, .. } = self;
        let Some(seat) = terms.seat(place).filter(|_| *room >= LEGS_MAX) else { return };
        let always = place == 0;
        places[place].decide((&seat.terms, seat.runs), scene, place, always, |of, decision: &Decision| {
            *room -= 1;
            meters.decided(place, is_mark, decision, config.kinds.making.toxic.0);
            out.send(Port::Line, of, *decision);
            out.send(Port::Record, of, *decision);
        });
    }

    fn quote(&mut self, message: &Message, quote: &Quote) {
        let Some(bar) = self.scene.quote(message.instrument(), quote) else { return };
        for (place, _) in self.terms.seated() {
            if let Some(strategy) = self.places[place].strategy() {
                strategy.bar(&self.scene, bar);
            }
        }
    }

    fn news(&mut self, news: &News) {
        for (place, _) in self.terms.seated() {
            if let Some(strategy) = self.places[place].strategy() {
                strategy.news(&self.scene, news);
            }
        }
    }

    /// A fill belongs to the session whose order it was: the identity says it.
    fn report(&mut self, message: &Message, update: &OrderUpdate, out: &mut Outbox) {
        let size = self.fills.signed_fill(update);
        let place = update.id.session();
        if size == 0 || place >= SESSIONS_MAX {
            return;
        }
        let of = message.instrument();
        let tick_units = self.scene.market(of).map_or(0, |market| market.steps.tick_units);
        let price = update.price.0.saturating_mul(tick_units);
        self.places[place].fill(of, size, price, update.fee, message.header.time);
        let seat = self.terms.at(place);
        self.meters.session(place, &seat, &self.places[place].account, self.config.scene.traded);
        let mut room = DECISIONS_MAX;
        self.say_one(place, false, &mut room, out);
    }

    fn command(&mut self, command: &Command, out: &mut Outbox) {
        if self.scene.trading.apply(command) {
            self.say(false, out);
        } else if let Some(change) = self.terms.apply(command) {
            let (SessionChange::Started(place) | SessionChange::Changed(place)) = change;
            let seat = self.terms.at(place);
            if matches!(change, SessionChange::Started(_)) {
                self.places[place].begin(&seat.terms);
            } else {
                self.places[place].weigh(&seat.terms);
                if command.code == CommandCode::SessionStart as u64 {
                    self.places[place].lift();
                }
            }
            self.meters.session(place, &seat, &self.places[place].account, self.config.scene.traded);
            let mut room = DECISIONS_MAX;
            self.say_one(place, false, &mut room, out);
        }
    }

    fn look_again(&self, time: Nanos, out: &mut Outbox) {
        let request = TimerRequest {
            owner: TimerOwner::Strategy as u64,
            id: LOOK,
            deadline: time.saturating_add(self.config.look_interval),
            ..TimerRequest::default()
        };
        out.send(Port::Feedback, InstrumentId(0), request);
    }
}

impl Actor for Strategies {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        let time = message.header.time;
        self.scene.time = time;
        if let Some(features) = message.body::<Features>() {
            self.scene.features(message.instrument(), features);
            return;
        }
        if let Some(consensus) = message.body::<Consensus>() {
            self.scene.consensus(consensus);
            self.say(message.is_mark(), out);
            return;
        }
        if let Some(quote) = message.body::<Quote>() {
            out.forward(Port::Line, message);
            self.quote(message, quote);
            return;
        }
        if let Some(alert) = message.body::<Alert>() {
            // Said with the next decision, which comes with the input's own mark where it is one.
            self.scene.alerted(message.instrument(), alert);
            return;
        }
        if let Some(timer) = message.body::<Timer>()
            && timer.owner == TimerOwner::Strategy as u64
        {
            // Without marks nobody else would notice that the book has grown old.
            self.look_again(time, out);
            self.say(false, out);
            return;
        }
        if let Some(opinion) = message.body::<Opinion>() {
            // Nobody behind it has a use for it.
            self.scene.opinions.hear(message.instrument(), opinion);
            return;
        }
        if let Some(news) = message.body::<News>() {
            // Nor for this; it is acted on at the next mark.
            self.news(news);
            return;
        }
        if matches!(message.kind(), Some(Kind::Reading | Kind::Prime)) {
            return; // it is for members and those who think beside the line
        }
        out.forward(Port::Line, message);
        if let Some(update) = message.body::<OrderUpdate>() {
            self.report(message, update, out);
        } else if let Some(command) = message.body::<Command>() {
            self.command(command, out);
        } else if let Some(status) = message.body::<VenueStatus>() {
            self.scene.venue_ready = status.ready != 0;
            self.say(false, out);
        } else if message.kind() == Some(Kind::Started) {
            // Another start: nothing may leave, and no gateway has said that it can.
            self.scene.trading = Trading::default();
            self.scene.venue_ready = false;
            self.look_again(time, out);
        }
    }

    fn digest(&self) -> u64 {
        let start = self.scene.digest() ^ self.terms.digest().rotate_left(7);
        self.terms.seated().fold(start, |digest, (place, _)| {
            (digest.rotate_left(13) ^ self.places[place].digest()).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
    }
}

#[cfg(test)]
mod tests;
