//! Half an hour of every order of a real venue (Bitstamp BTC/USD, 2026-05-02), where the recording is at hand: its licence does not
//! let it ship. `KIMERA_L3_RECORDING` names the folder with `orders.csv.gz` and `trades.csv`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use kimera_market::Top;
use kimera_market::by_order::{ByOrder, OrderFault};
use kimera_protocol::fixed::parse_decimal;
use kimera_protocol::{Price, Quantity, Side};

/// id, exchange time in ms, price in whole dollars, size, action, side.
struct Row {
    id: u64,
    time: u64,
    price: Price,
    size: Quantity,
    action: String,
    side: Side,
}

/// In units of 1e-8; small ones are written `7.18e-06`.
fn size(text: &str) -> Quantity {
    let Some((digits, exponent)) = text.split_once("e-") else {
        return Quantity(parse_decimal(text.as_bytes(), 8).unwrap());
    };
    let decimals = 8 - exponent.parse::<u32>().unwrap();
    Quantity(parse_decimal(digits.as_bytes(), decimals).unwrap())
}

fn rows(folder: &Path) -> impl Iterator<Item = Row> {
    let packed = std::fs::File::open(folder.join("orders.csv.gz")).unwrap();
    let lines = BufReader::new(flate2::read::GzDecoder::new(packed)).lines();
    lines.skip(1).map(|line| {
        let line = line.unwrap();
        let fields: Vec<_> = line.split(',').collect();
        Row {
            id: fields[0].parse().unwrap(),
            time: fields[2].parse().unwrap(),
            price: Price(parse_decimal(fields[3].as_bytes(), 2).unwrap()),
            size: size(fields[4]),
            action: fields[5].to_owned(),
            side: if fields[6] == "bid" { Side::Bid } else { Side::Ask },
        }
    })
}

/// What was noticed on the way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Noticed {
    rows: u64,
    moments: u64,
    crossed: u64,
    unknown: u64,
    /// Created with nothing left of them: filled in the same moment.
    empty: u64,
    other_price: u64,
    most: usize,
    left: usize,
}

/// Everything through a book; ghosts that were taken away at the end of a moment.
fn play(folder: &Path, takes_ghosts: bool) -> (Noticed, BTreeSet<u64>) {
    let mut book = ByOrder::new(32_768);
    let (mut noticed, mut ghosts, mut moment) = (Noticed::default(), BTreeSet::new(), 0);
    let mut empty = BTreeSet::new();
    for row in rows(folder) {
        if row.time != moment {
            while takes_ghosts && let Some(ghost) = book.remove_ghost() {
                ghosts.insert(ghost.id);
            }
            noticed.moments += 1;
            noticed.crossed += u64::from(matches!(book.top(), Top::Crossed { .. }));
            moment = row.time;
        }
        let known = book.get(row.id);
        noticed.other_price += u64::from(known.is_some_and(|order| order.price != row.price));
        let done = match row.action.as_str() {
            "created" => book.add(row.id, row.side, row.price, row.size),
            "changed" => book.resize(row.id, row.size).map(|_| ()),
            _ => book.remove(row.id).map(|_| ()),
        };
        match done {
            Ok(()) => {}
            Err(OrderFault::Size) => {
                noticed.empty += 1;
                empty.insert(row.id);
            }
            Err(OrderFault::Unknown) => {
                noticed.unknown += u64::from(!ghosts.contains(&row.id) && !empty.contains(&row.id));
            }
            Err(fault) => panic!("{} {}: {fault}", row.action, row.id),
        }
        noticed.rows += 1;
        noticed.most = noticed.most.max(book.len());
    }
    noticed.left = book.len();
    (noticed, ghosts)
}

#[test]
#[ignore = "needs the recording: KIMERA_L3_RECORDING=FOLDER cargo test -p kimera-market --test bitstamp -- --ignored"]
fn half_an_hour_of_orders_is_never_crossed_but_for_two_ghosts() {
    let folder =
        PathBuf::from(std::env::var_os("KIMERA_L3_RECORDING").expect("KIMERA_L3_RECORDING names the folder"));
    let (plain, _) = play(&folder, false);
    let (cleaned, ghosts) = play(&folder, true);
    println!("as it is said: {plain:?}\nwithout ghosts: {cleaned:?}, ghosts {ghosts:?}");
    assert_eq!(plain.rows, 314_057);
    assert!(plain.crossed * 10 > plain.moments * 8, "crossed most of the time: the control");
    assert_eq!(ghosts, BTreeSet::from([2_002_347_642_003_458, 2_002_347_646_152_704]));
    assert_eq!((cleaned.crossed, cleaned.moments), (0, 168_657));
    assert_eq!(
        (cleaned.unknown, cleaned.left),
        (13, 0),
        "what was there before the recording; it ends with an empty book"
    );
}
