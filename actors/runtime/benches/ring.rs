//! Ring hop on one thread, and fan-out: N rings against one ring with N readers, side by side, and `rtrb` beside ours.
//!
//! On one thread all do the same work: write once or N times, read N times.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kimera_protocol::{Header, Message, Ticker};
use kimera_runtime::ring::{broadcast, ring};

const SLOTS: usize = 1024;

fn message(seq: u64) -> Message {
    Message::new(Header { seq, ..Header::default() }, Ticker::default())
}

fn hop(c: &mut Criterion) {
    let (mut out, mut inlet) = ring(SLOTS);
    let mut seq = 0;
    c.bench_function("ring hop, same thread, 128 B", |b| {
        b.iter(|| {
            seq += 1;
            assert!(out.push(&message(seq)));
            inlet.pop()
        });
    });
}

/// As a seat does it: the message is looked at in place, then let go.
fn hop_in_place(c: &mut Criterion) {
    let (mut out, mut inlet) = ring(SLOTS);
    let mut m = message(0);
    c.bench_function("ring hop, same thread, read in place", |b| {
        b.iter(|| {
            m.header.seq += 1;
            assert!(out.push(&m));
            let seq = inlet.peek().map_or(0, |m| m.header.seq);
            inlet.advance();
            seq
        });
    });
}

/// The same with the crate that was here before.
fn hop_by_rtrb(c: &mut Criterion) {
    let (mut out, mut inlet) = rtrb::RingBuffer::new(SLOTS);
    let mut m = message(0);
    c.bench_function("rtrb hop, same thread, read in place", |b| {
        b.iter(|| {
            m.header.seq += 1;
            assert!(out.push(m).is_ok());
            let seq = inlet.peek().map_or(0, |m| m.header.seq);
            let _ = inlet.pop();
            seq
        });
    });
}

fn fan_out(c: &mut Criterion) {
    for readers in [2usize, 4, 8] {
        let mut group = c.benchmark_group(format!("fan-out to {readers}, 16 messages"));
        group.bench_function("N rings", |b| {
            let mut edges: Vec<_> = (0..readers).map(|_| ring(SLOTS)).collect();
            b.iter(|| {
                for seq in 0..16 {
                    let m = message(seq);
                    for (out, _) in &mut edges {
                        assert!(out.push(&m));
                    }
                }
                let mut sum = 0;
                for (_, inlet) in &mut edges {
                    while let Some(m) = inlet.peek() {
                        sum += m.header.seq;
                        inlet.advance();
                    }
                }
                black_box(sum)
            });
        });
        group.bench_function("one ring, N readers", |b| {
            let (mut out, mut inlets) = broadcast(SLOTS, readers);
            b.iter(|| {
                for seq in 0..16 {
                    assert!(out.push(&message(seq)));
                }
                let mut sum = 0;
                for inlet in &mut inlets {
                    while let Some(m) = inlet.peek() {
                        sum += m.header.seq;
                        inlet.advance();
                    }
                }
                black_box(sum)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, hop, hop_in_place, hop_by_rtrb, fan_out);
criterion_main!(benches);
