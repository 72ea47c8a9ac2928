//! Every kind on tapes from a seed: what it does where its signal is planted, nothing where there is none, and the same again.

mod legs;

use kimera_protocol::{Command, CommandCode, HoldReason, News, Opinion, RollingHash, Status, Topic, Urgency};
use kimera_runtime::Actor;

use super::*;
use crate::rehearsal::*;
use crate::stage::StrategyConfig;

#[test]
fn nothing_is_traded_where_there_is_no_signal() {
    for (kind, ..) in KINDS.iter().skip(1).filter(|(kind, ..)| *kind != "triangular") {
        let mut rig = Rig::of(kind, |_| ());
        nothing(&mut rig, 400);
        assert_eq!(rig.fills, 0, "{kind}: {:?}", rig.decisions.last());
        assert!(rig.hold().is_some(), "{kind} says why");
    }
}

/// What is changed for a kind: nearly no fees, and a triangle for whom that is.
fn own(kind: &str) -> impl Fn(&mut StrategyConfig) + use<> {
    let is_round = kind == "triangular";
    move |config| {
        cheap(config);
        if is_round {
            config.roles[1] = Roles { traded: PERP, other: Some(CROSS), third: Some(SPOT) };
        }
    }
}

/// Rates that multiply to more than one, and to one.
fn round_about(rig: &mut Rig) {
    for i in 0..40 {
        let spot = if i % 10 < 5 { 3_030.0 } else { 3_000.0 };
        rig.second(&Second { spot, cross: 0.05, perp: 60_000.0, ..Second::default() });
    }
}

/// A tape on which a kind trades.
fn own_tape(kind: &str, rig: &mut Rig) {
    match kind {
        "mean-reversion" => pulled(rig, 600, 0.8),
        "stat-arb" => pair(rig, 400, 40.0),
        "triangular" => round_about(rig),
        "news" => {
            lively(rig, 70, &Second::default());
            hear(rig, &[(1, 0.6, 0), (2, 0.6, 5)], 0);
            lively(rig, 70, &Second::default());
        }
        _ => everything(rig),
    }
}

#[test]
fn every_kind_decides_the_same_again() {
    // What a change of a kind changes is meant, or is found here.
    for (kind, hash, fills) in FROZEN {
        let run = || {
            let mut rig = Rig::of(kind, own(kind));
            own_tape(kind, &mut rig);
            (rig.hash.value(), rig.fills)
        };
        let first = run();
        assert!(first.1 > 0, "{kind} trades");
        assert_eq!(first, run(), "{kind}: the same tape, the same decisions");
        assert_eq!(first, (hash, fills), "{kind}");
    }
}

const FROZEN: [(&str, u64, u64); 11] = [
    ("market-making", 0x9754_1AF8_9E54_034C, 595),
    ("forecast", 0x9366_FB1D_F9BF_41D6, 23),
    ("scalping", 0x63C2_687B_0A4F_DAC4, 18),
    ("momentum", 0x021F_1225_4A49_8E53, 6),
    ("trend", 0xA104_3A0D_E9E2_2B02, 29),
    ("mean-reversion", 0xEEAC_4395_F097_59D8, 24),
    ("opportunity", 0xDDA0_A81C_7749_3318, 12),
    ("stat-arb", 0x6508_68B5_9DA3_58A0, 62),
    ("triangular", 0x74AF_5FC0_1ABA_B60F, 60),
    ("news", 0x636D_5DF8_9806_913E, 2),
    ("cross-exchange", 0x8757_D535_D86D_EB28, 24),
];

#[test]
fn news_are_traded_that_two_sources_say_and_that_are_young() {
    let held = |of: &[(u64, f64, i64)], trusted| headlines(of, trusted).position(PERP);
    assert!(held(&[(1, 0.6, 0), (2, 0.6, 5)], 0) > 0);
    assert!(held(&[(1, -0.6, 0), (2, -0.6, 5)], 0) < 0);
    assert_eq!(held(&[(1, 0.9, 0), (1, 0.9, 1)], 0), 0, "one source is not enough");
    assert!(held(&[(1, 0.6, 0)], 1) > 0, "a trusted one is");
    assert!(held(&[(1, 0.6, 60), (2, 0.6, 60)], 0) > 0);
    assert_eq!(held(&[(1, 0.6, 61), (2, 0.6, 61)], 0), 0, "older than a minute");
    assert_eq!(held(&[(1, 0.6, 0), (2, -0.6, 0)], 0), 0, "they say opposite things");
    // The same headline twice, by two names: once.
    let twice = headlines(&[(99, 0.15, 0), (99, 0.15, 0)], 1);
    assert_eq!((twice.position(PERP), twice.hold()), (0, Some(HoldReason::NoSignal)));
    // Half of a full position, for a minute.
    let mut rig = headlines(&[(1, 0.6, 0), (2, 0.6, 0)], 0);
    lively(&mut rig, 55, &Second::default());
    assert!(rig.position(PERP) > 0, "{:?}", rig.last());
    lively(&mut rig, 10, &Second::default());
    assert_eq!(rig.position(PERP), 0);
    // A source whose clock is ahead: nobody is believed.
    let ahead = headlines(&[(1, 0.6, -3), (2, 0.6, 0)], 0);
    assert_eq!((ahead.position(PERP), ahead.hold()), (0, Some(HoldReason::Unfit)));
}

#[test]
fn a_spread_that_is_too_wide_keeps_out_of_the_news() {
    let mut rig = headlines(&[], 0);
    for source in 1..3 {
        let news = News {
            headline: source,
            source,
            compound: 0.6,
            relevance: 1.0,
            published: rig.time,
            ..News::default()
        };
        rig.send(PERP, 0, news);
    }
    rig.spread = 3;
    rig.second(&Second::default());
    assert_eq!((rig.position(PERP), rig.hold()), (0, Some(HoldReason::Regime)));
}

#[test]
fn a_forecast_is_followed_where_it_is_strong_and_worth_its_cost() {
    let size_at = |pressure: f64, temperature: f32| {
        let mut rig = Rig::of("forecast", |_| ());
        lively(&mut rig, 30, &forecast(0.0, pressure, temperature));
        assert_eq!(rig.hold(), Some(HoldReason::NoSignal));
        lively(&mut rig, 2, &forecast(0.6, pressure, temperature));
        rig
    };
    let usual = size_at(0.5, 0.5);
    let d = usual.decisions.iter().map(|d| d.1).find(|d| d.bid.size.0 > 0).unwrap();
    assert!(d.edge_bps > d.cost_bps && d.cost_bps > 5.0 && d.horizon_ms == 10_000, "{d:?}");
    assert_eq!(d.urgency, Urgency::Take as u8);
    // 2 % · 0.6 / (1 + volatility) of the capital, in whole lots.
    let held = usual.position(PERP);
    assert!(held > 0 && held % (UNIT / 1_000) == 0 && held < UNIT / 50, "{held}");
    // The specification's rules: more pressure leaves less, and at last nothing.
    let pressed = size_at(0.85, 0.5).position(PERP);
    assert!((pressed - held / 2).abs() <= UNIT / 500 && pressed < held, "{pressed} {held}");
    let none = size_at(1.0, 0.5);
    assert_eq!((none.position(PERP), none.hold()), (0, Some(HoldReason::Pressure)));
    let hot = size_at(0.5, 0.9).position(PERP);
    assert!((hot - held / 2).abs() <= UNIT / 500, "{hot} {held}");
    // A cold market gets nothing that takes: the order waits.
    let cold = size_at(0.5, 0.1);
    let waits = cold.decisions.iter().map(|d| d.1).find(|d| d.bid.size.0 > 0).unwrap();
    assert_eq!(waits.urgency, Urgency::Quote as u8);
    // A direction that is gone is left, and a horizon that has passed.
    let mut rig = usual;
    lively(&mut rig, 1, &forecast(-0.6, 0.5, 0.5));
    assert!(rig.position(PERP) <= 0, "{:?}", rig.last());
    let mut rig = size_at(0.5, 0.5);
    lively(&mut rig, 12, &forecast(0.0, 0.5, 0.5));
    assert_eq!(rig.position(PERP), 0, "{:?}", rig.last());
    // Where nothing moves nothing can be earned.
    let mut still = Rig::of("forecast", |_| ());
    nothing(&mut still, 30);
    still.second(&forecast(0.9, 0.5, 0.5));
    assert_eq!(still.hold(), Some(HoldReason::NoEdge));
}

#[test]
fn what_follows_momentum_keeps_out_of_a_hot_market() {
    for kind in ["trend", "momentum", "scalping"] {
        let run = |temperature: f32| {
            let mut rig = Rig::of(kind, cheap);
            let mut noise = Noise(3);
            for i in 0..200 {
                let perp = 60_000.0 + 30.0 * f64::from(i) + 10.0 * noise.next();
                let mut s = Second { perp, spot: perp, lead: 900.0, ..Second::default() };
                s.consensus.levels[1] = temperature;
                rig.second(&s);
            }
            rig
        };
        let usual = run(0.5);
        assert!(usual.fills > 0 && usual.position(PERP) > 0, "{kind}: {:?}", usual.last());
        let hot = run(0.81);
        assert_eq!((hot.fills, hot.hold()), (0, Some(HoldReason::Regime)), "{kind}");
    }
}

#[test]
fn a_trend_that_turns_is_left() {
    for kind in ["trend", "momentum"] {
        let mut rig = Rig::of(kind, cheap);
        let mut noise = Noise(3);
        let mut price = 60_000.0;
        let mut go = |rig: &mut Rig, seconds, drift: f64| {
            for _ in 0..seconds {
                price += drift + 10.0 * noise.next();
                rig.second(&Second { perp: price, spot: price, ..Second::default() });
            }
        };
        go(&mut rig, 200, 30.0);
        assert!(rig.position(PERP) > 0, "{kind}");
        go(&mut rig, 150, -30.0);
        assert!(rig.position(PERP) < 0, "{kind}: first out, then the other way");
    }
}

#[test]
fn the_stop_moves_along_and_is_never_taken_back() {
    let mut rig = Rig::of("trend", |config| {
        cheap(config);
        config.kinds.trend.cusum.1 = 1e9;
        config.rules.stop = (2.5, 20.0);
    });
    let mut noise = Noise(3);
    let mut price = 60_000.0;
    let mut stops = Vec::new();
    for _ in 0..200 {
        price += 30.0 + 10.0 * noise.next();
        rig.second(&Second { perp: price, spot: price, ..Second::default() });
        stops.push(rig.stage.session(1).map(|s| s.stop()).unwrap_or_default());
    }
    assert!(rig.position(PERP) > 0 && stops.last() > stops.get(100));
    // Volatility grows and the price falls a little: the stop stays where it was.
    for _ in 0..5 {
        price -= 20.0;
        let perp = price + 150.0 * noise.next().abs();
        rig.second(&Second { perp, spot: perp, ..Second::default() });
        stops.push(rig.stage.session(1).map(|s| s.stop()).unwrap_or_default());
    }
    let held: Vec<_> = stops.iter().copied().filter(|stop| *stop > 0.0).collect();
    assert!(held.len() > 100 && held.is_sorted(), "{held:?}");
    // It falls at once by more than the stop's distance: out, long before sixty bars have turned.
    price -= 900.0;
    rig.second(&Second { perp: price, spot: price, ..Second::default() });
    assert_eq!(rig.position(PERP), 0, "{:?}", rig.last());
}

#[test]
fn a_lead_of_the_microprice_is_scalped_only_beyond_its_cost() {
    let with = |lead: f64| {
        let mut rig = Rig::of("scalping", |_| ());
        let before = if lead > 1_000.0 { 0.0 } else { lead };
        lively(&mut rig, 10, &Second { lead: before, ..Second::default() });
        lively(&mut rig, 3, &Second { lead, ..Second::default() });
        rig
    };
    let small = with(300.0);
    assert_eq!((small.fills, small.hold()), (0, Some(HoldReason::NoEdge)));
    let d = small.last();
    assert!(d.edge_bps > 0.0 && d.edge_bps <= d.cost_bps);
    let mut large = with(1_200.0);
    assert!(large.position(PERP) > 0, "{:?}", large.last());
    // It holds for half a minute at most.
    lively(&mut large, 27, &Second { lead: 1.0, ..Second::default() });
    assert!(large.position(PERP) > 0);
    lively(&mut large, 4, &Second { lead: 1.0, ..Second::default() });
    assert_eq!(large.position(PERP), 0);
    // Fills that lose to those who know more cost more.
    let mut toxic = Rig::of("scalping", |config| config.kinds.scalping.adverse_bps = 4.0);
    let opinion = Opinion {
        topic: Topic::ToxicBid as u64,
        value: 0.9,
        status: Status::Ok as u64,
        valid_until: i64::MAX,
        ..Opinion::default()
    };
    toxic.send(PERP, 0, opinion);
    lively(&mut toxic, 13, &Second { lead: 1_200.0, ..Second::default() });
    assert_eq!(toxic.hold(), Some(HoldReason::NoEdge));
}

#[test]
fn what_is_pulled_back_is_faded_and_a_walk_is_not() {
    let mut rig = Rig::of("mean-reversion", |_| ());
    pulled(&mut rig, 600, 0.8);
    assert!(rig.fills > 1, "{:?}", rig.last());
    let entries = rig.decisions.iter().map(|d| d.1).filter(|d| d.hold == 0 && d.position == 0);
    for d in entries {
        let buys = d.bid.size.0 > 0;
        assert_eq!(buys, d.signal > 0.0, "against the distance from the mean: {d:?}");
        assert!(d.edge_bps > d.cost_bps);
    }
    // A walk: as rarely as chance has it.
    let mut walk = Rig::of("mean-reversion", |_| ());
    pulled(&mut walk, 2_000, 1.0);
    assert!(walk.fills * 600 * 4 < rig.fills * 2_000, "{} of {}", walk.fills, rig.fills);
    // Behind a change of the regime nothing is entered.
    let mut changed = Rig::of("mean-reversion", |_| ());
    let opinion = Opinion {
        topic: Topic::ChangePoint as u64,
        value: 0.6,
        status: Status::Ok as u64,
        valid_until: i64::MAX,
        ..Opinion::default()
    };
    changed.send(PERP, 0, opinion);
    pulled(&mut changed, 600, 0.8);
    assert_eq!(changed.fills, 0);
    assert!(changed.decisions.iter().any(|d| d.1.hold == HoldReason::Regime as u8));
}

#[test]
fn a_contradiction_is_an_opportunity_where_the_way_is_longer_than_it_costs() {
    let with = |level: f32, gap: f64| {
        let mut rig = Rig::of("opportunity", |_| ());
        lively(&mut rig, 20, &Second::default());
        let mut s = Second { spot: 60_000.0 + gap, ..Second::default() };
        s.consensus.levels[0] = level;
        rig.second(&s);
        rig
    };
    assert!(with(0.61, 400.0).position(PERP) > 0, "{:?}", with(0.61, 400.0).last());
    assert!(with(0.61, -400.0).position(PERP) < 0);
    assert_eq!(with(0.6, 400.0).hold(), Some(HoldReason::NoSignal), "the level itself is not beyond it");
    assert_eq!(with(0.9, 100.0).hold(), Some(HoldReason::NoEdge));
}

#[test]
fn a_session_that_is_stopped_gives_back_what_it_holds_and_wants_nothing() {
    let mut rig = Rig::of("forecast", |_| ());
    lively(&mut rig, 30, &forecast(0.0, 0.5, 0.5));
    lively(&mut rig, 2, &forecast(0.6, 0.5, 0.5));
    assert!(rig.position(PERP) > 0);
    let stop = Command { code: CommandCode::SessionStop as u64, session: 1, ..Command::default() };
    rig.send(SPOT, 0, stop);
    assert_eq!(rig.position(PERP), 0);
    let fills = rig.fills;
    lively(&mut rig, 5, &forecast(0.9, 0.5, 0.5));
    assert_eq!((rig.fills, rig.hold()), (fills, Some(HoldReason::Stopped)));
    // Its place is not given away; somebody new sits at another one, and begins with nothing.
    let start = |session| Command {
        code: CommandCode::SessionStart as u64,
        session,
        terms: terms(9, "scalping", 50_000),
        ..Command::default()
    };
    rig.send(SPOT, 0, start(1));
    rig.send(SPOT, 0, start(2));
    let numbers = [1, 2].map(|place| rig.stage.sessions().at(place).terms.number);
    assert_eq!((numbers, rig.stage.session(2).unwrap().account.fills()), ([2, 9], 0));
    // More capital, larger positions.
    let size = |capital: i64| {
        let mut rig = Rig::of("forecast", |_| ());
        lively(&mut rig, 30, &forecast(0.0, 0.5, 0.5));
        let weigh = Command {
            code: CommandCode::SessionWeigh as u64,
            session: 1,
            terms: terms(77, "trend", capital),
            ..Command::default()
        };
        rig.send(SPOT, 0, weigh);
        lively(&mut rig, 2, &forecast(0.6, 0.5, 0.5));
        assert_eq!(rig.last().strategy, 2, "its number stays");
        rig.position(PERP)
    };
    let (one, three) = (size(100_000), size(300_000));
    assert!((three - 3 * one).abs() <= 3 * UNIT / 1_000, "{one} {three}");
    assert_eq!(size(10), 0, "not one lot");
}

#[test]
fn a_snapshot_in_the_middle_changes_nothing() {
    use kimera_protocol::{Loader, Saver};
    for (kind, ..) in FROZEN {
        let mut whole = Rig::of(kind, own(kind));
        own_tape(kind, &mut whole);
        let mut other = Rig::of(kind, own(kind));
        let bytes = Saver::of(&whole.stage);
        Loader::new(&bytes).into_state(&mut other.stage).unwrap();
        (other.time, other.seq, other.waiting) = (whole.time, whole.seq, whole.waiting);
        (whole.hash, other.hash) = (RollingHash::default(), RollingHash::default());
        own_tape(kind, &mut whole);
        own_tape(kind, &mut other);
        assert_eq!(other.hash.value(), whole.hash.value(), "{kind}");
        assert_eq!(other.stage.digest(), whole.stage.digest(), "{kind}");
    }
}

#[test]
fn a_session_that_has_lost_its_share_gives_back_what_it_holds() {
    let lose = |loss_bps: i64| {
        let mut rig = Rig::of("forecast", |config| {
            config.sessions[1].loss_bps = loss_bps;
            (config.rules.sizing.base_risk, config.rules.stop) = (0.5, (1e3, 60.0));
        });
        lively(&mut rig, 30, &forecast(0.0, 0.5, 0.5));
        lively(&mut rig, 2, &forecast(0.6, 0.5, 0.5));
        assert!(rig.position(PERP) > 0);
        rig.second(&Second { perp: 58_800.0, spot: 58_800.0, ..forecast(0.6, 0.5, 0.5) });
        rig
    };
    assert!(
        lose(1_000).position(PERP) > 0,
        "two per cent of a part of the capital is less than a tenth of it"
    );
    let mut lost = lose(5);
    assert_eq!((lost.position(PERP), lost.hold()), (0, Some(HoldReason::Stopped)), "{:?}", lost.last());
    let fills = lost.fills;
    lively(&mut lost, 90, &forecast(0.9, 0.5, 0.5));
    assert_eq!(lost.fills, fills, "and nothing more");
}

#[test]
fn who_loses_trip_after_trip_is_demoted_until_somebody_starts_it_again() {
    let trips = |demote_trips: u32| {
        let mut rig = Rig::of("forecast", |config| config.rules.demote_trips = demote_trips);
        lively(&mut rig, 30, &forecast(0.0, 0.5, 0.5));
        for _ in 0..20 {
            // In and out again in a market that goes nowhere: each trip costs the spread.
            lively(&mut rig, 2, &forecast(0.6, 0.5, 0.5));
            lively(&mut rig, 4, &forecast(-0.6, 0.5, 0.5));
        }
        rig
    };
    let (mut demoted, never) = (trips(5), trips(0));
    assert!(never.fills > 2 * demoted.fills && never.hold() != Some(HoldReason::Demoted));
    assert_eq!((demoted.position(PERP), demoted.hold()), (0, Some(HoldReason::Demoted)));
    assert!(demoted.fills >= 10, "five trips at least: {}", demoted.fills);
    let fills = demoted.fills;
    let start = Command {
        code: CommandCode::SessionStart as u64,
        session: 1,
        terms: terms(2, "forecast", 100_000),
        ..Command::default()
    };
    demoted.send(SPOT, 0, start);
    lively(&mut demoted, 5, &forecast(0.9, 0.5, 0.5));
    assert!(demoted.fills > fills, "{:?}", demoted.last());
}
