//! Every check on an order, with working orders of our own to compare with.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kimera_protocol::{Command, CommandCode, Level, NewOrder, OrderId, Price, Quantity, Quote, Side};
use kimera_risk::{Gate, InstrumentRules, Limits};

fn checks(c: &mut Criterion) {
    let rules = InstrumentRules { tick_units: 10_000_000, lot_units: 100_000, asset: 0, tradable: true };
    let mut gate = Gate::new(Limits { orders_burst: 1_000_000, ..Limits::default() }, vec![rules]);
    gate.command(&Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() }, 0);
    let level = |p| Level { price: Price(p), size: Quantity(1) };
    gate.quote(0, &Quote { bid: level(499_999), ask: level(500_001), usable: 1, ..Quote::default() }, 1);
    let order = |seq: u64| NewOrder {
        id: OrderId { incarnation: 1, seq, child: 0 },
        price: Price(499_000 - seq as i64),
        quantity: Quantity(100_000),
        side: Side::Bid as u8,
        ..NewOrder::default()
    };
    for working in [2u64, 20] {
        for seq in 0..working {
            let _ = gate.judge(&order(seq), 0, seq, 1);
        }
        c.bench_function(&format!("risk, every check, {working} orders working"), |b| {
            b.iter_batched_ref(
                || gate.clone(),
                |gate| black_box(gate.judge(&order(1_000), 0, 1_000, 2)),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, checks);
criterion_main!(benches);
