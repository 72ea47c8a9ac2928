//! A message to a record in the block that gathers: what the journal's thread does for each input.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use kimera_journal::format::{read_record, write_record};
use kimera_protocol::{Header, Levels, Message, Ticker};

fn append(c: &mut Criterion) {
    let header = Header { seq: 7, time: 9, ..Header::default() };
    let ticker = Message::new(header, Ticker { update_id: 5, ..Ticker::default() });
    let mut full = Levels::default();
    full.levels.iter_mut().for_each(|l| l.size.0 = 1);
    let levels = Message::new(Header { count: 6, ..header }, full);
    let mut block = Vec::with_capacity(1 << 20);
    for (name, message) in [("ticker", ticker), ("six levels", levels)] {
        c.bench_function(&format!("journal append: {name}"), |b| {
            b.iter(|| {
                if block.len() > (1 << 20) - 256 {
                    block.clear();
                }
                write_record(&message, &mut block);
            });
        });
        block.clear();
        write_record(&message, &mut block);
        assert_eq!(read_record(&block).unwrap().0, message);
        block.clear();
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
