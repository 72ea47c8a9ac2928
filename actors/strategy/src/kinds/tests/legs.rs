//! Trades over several instruments: all legs, one that is missing, and none where there is no reason.

use kimera_protocol::{Command, CommandCode, HoldReason};

use crate::kinds::*;
use crate::rehearsal::*;
use crate::stage::StrategyConfig;

#[test]
fn a_pair_that_has_parted_is_traded_on_both_legs() {
    let fees = |config: &mut StrategyConfig| config.kinds.costs.taker_bps = 0.01;
    let mut rig = Rig::of("stat-arb", fees);
    pair(&mut rig, 400, 40.0);
    let (perp, spot) = (rig.position(PERP), rig.position(SPOT));
    assert!(perp < 0 && spot > 0, "{perp} {spot} {:?}", rig.last());
    assert!((spot + perp).abs() < -perp / 5, "about one against one: {perp} {spot}");
    // Two walks are no pair.
    let mut walks = Rig::of("stat-arb", fees);
    let (mut noise, mut one, mut other) = (Noise(19), 60_000.0, 50_000.0);
    for _ in 0..400 {
        one += 20.0 * noise.next();
        other += 20.0 * noise.next();
        walks.second(&Second { perp: one, spot: other, ..Second::default() });
    }
    let entered = walks.fills;
    assert!(entered <= 4, "{entered}");
    // A leg that is not filled: the other is given back.
    let mut torn = Rig::of("stat-arb", fees);
    torn.closed = Some(SPOT);
    pair(&mut torn, 400, 40.0);
    let most = torn.decisions.iter().map(|d| d.1.position.abs()).max().unwrap_or_default();
    assert!(most > 0 && torn.position(SPOT) == 0);
    torn.closed = Some(SPOT);
    lively(&mut torn, 3, &Second::default());
    assert_eq!(torn.position(PERP), 0, "{:?}", torn.last());
}

#[test]
fn two_prices_of_one_thing_are_traded_beyond_the_threshold() {
    let at = |gap_bps: f64, closed: Option<InstrumentId>| {
        let mut rig = Rig::of("cross-exchange", |_| ());
        rig.closed = closed;
        lively(&mut rig, 10, &Second::default());
        let s = Second { spot: 60_000.0 * (1.0 + gap_bps / 1e4), ..Second::default() };
        rig.second(&s);
        rig.second(&s);
        rig
    };
    // Twice 5 in fees and 10 that are to be left.
    assert_eq!((at(19.0, None).fills, at(19.0, None).hold()), (0, Some(HoldReason::NoEdge)));
    let rig = at(30.0, None);
    assert!(rig.position(PERP) > 0 && rig.position(PERP) == -rig.position(SPOT), "{:?}", rig.last());
    let back = at(-30.0, None);
    assert!(back.position(PERP) < 0);
    // Only so much may lie at a venue.
    let mut full = at(30.0, None);
    for _ in 0..40 {
        full.second(&Second { spot: 60_180.0, ..Second::default() });
    }
    let capital = 100_000.0 / 60_000.0 * UNIT as f64;
    assert!(full.position(PERP) as f64 <= capital && full.position(PERP) as f64 > 0.9 * capital);
    // A leg that is missing: even again, and nothing more meanwhile.
    let mut torn = at(30.0, Some(SPOT));
    assert_eq!((torn.position(PERP), torn.hold()), (0, Some(HoldReason::Resting)), "{:?}", torn.last());
    let fills = torn.fills;
    for _ in 0..8 {
        torn.second(&Second { spot: 60_180.0, ..Second::default() });
    }
    assert_eq!(torn.fills, fills);
}

#[test]
fn three_rates_that_do_not_multiply_to_one() {
    let at = |eth: f64| {
        let mut rig = Rig::of("triangular", |config| {
            config.roles[1] = Roles { traded: PERP, other: Some(CROSS), third: Some(SPOT) };
        });
        for _ in 0..20 {
            rig.second(&Second { spot: eth, cross: 0.05, perp: 60_000.0, ..Second::default() });
        }
        rig
    };
    let none = at(3_000.0);
    assert_eq!((none.fills, none.hold()), (0, Some(HoldReason::NoEdge)));
    let forth = at(3_030.0);
    assert!(forth.position(PERP) > 0 && forth.position(CROSS) > 0 && forth.position(SPOT) < 0);
    assert_eq!(forth.position(CROSS), -forth.position(SPOT));
    let needed = forth.position(CROSS) as f64 * 0.05;
    assert!(
        (forth.position(PERP) as f64 / needed - 1.0).abs() < 0.05,
        "what is bought first pays for the second"
    );
    let back = at(2_970.0);
    assert!(back.position(PERP) < 0 && back.position(CROSS) < 0 && back.position(SPOT) > 0);
}

#[test]
fn an_instrument_that_nobody_trades_is_left_alone() {
    let mut rig = Rig::of("cross-exchange", |config| config.scene.instruments[0].tradable = false);
    lively(&mut rig, 5, &Second { spot: 70_000.0, ..Second::default() });
    assert_eq!((rig.fills, rig.hold()), (0, Some(HoldReason::NotTradable)));
}

#[test]
fn a_round_of_which_a_leg_is_missing_is_made_even() {
    let mut rig = Rig::of("triangular", |config| {
        config.roles[1] = Roles { traded: PERP, other: Some(CROSS), third: Some(SPOT) };
    });
    rig.closed = Some(SPOT);
    for _ in 0..20 {
        rig.second(&Second { spot: 3_030.0, cross: 0.05, perp: 60_000.0, ..Second::default() });
    }
    // What was bought of the second asset could not be sold: nothing further is bought meanwhile.
    let held = rig.position(CROSS);
    assert!(held > 0 && rig.fills == 2, "{held} {}", rig.fills);
    rig.closed = None;
    rig.second(&Second { spot: 3_000.0, cross: 0.05, perp: 60_000.0, ..Second::default() });
    assert_eq!(rig.position(SPOT), -held, "sold now");
}

#[test]
fn legs_that_lead_out_leave_where_nothing_else_may() {
    let mut rig = Rig::of("stat-arb", |config| config.kinds.costs.taker_bps = 0.01);
    pair(&mut rig, 400, 40.0);
    assert!(rig.position(PERP) < 0 && rig.position(SPOT) > 0);
    let reduce = Command { code: CommandCode::Reduce as u64, epoch: 1, ..Command::default() };
    rig.send(SPOT, 0, reduce);
    // They belong together again: the pair is given back all the same.
    for _ in 0..20 {
        rig.second(&Second { perp: 60_000.0, spot: 60_000.0, ..Second::default() });
    }
    assert_eq!((rig.position(PERP), rig.position(SPOT)), (0, 0), "{:?}", rig.last());
}
