//! Ring hop on one thread, and fan-out: N rings against one broadcast ring, side by side.
//!
//! The broadcast ring is the alternative that was measured before the message layout was fixed; it lives here only.
//! On one thread both do the same work: write once or N times, read N times.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use kimera_protocol::{Header, Message, Ticker};
use kimera_runtime::ring::ring;

const SLOTS: usize = 1024;

/// One writer, `N` readers, each slot read in place by all of them; the writer waits for the slowest.
struct Broadcast {
    slots: Box<[Message]>,
    head: AtomicU64,
    cursors: Vec<AtomicU64>,
}

impl Broadcast {
    fn new(readers: usize) -> Self {
        let cursors = (0..readers).map(|_| AtomicU64::new(0)).collect();
        Self { slots: vec![Message::default(); SLOTS].into(), head: AtomicU64::new(0), cursors }
    }

    fn push(&mut self, message: Message) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        let slowest = self.cursors.iter().map(|c| c.load(Ordering::Acquire)).min().unwrap_or(head);
        if head - slowest == SLOTS as u64 {
            return false;
        }
        self.slots[head as usize % SLOTS] = message;
        self.head.store(head + 1, Ordering::Release);
        true
    }

    fn read<T>(&self, reader: usize, with: impl FnOnce(&Message) -> T) -> Option<T> {
        let at = self.cursors[reader].load(Ordering::Relaxed);
        if at == self.head.load(Ordering::Acquire) {
            return None;
        }
        let result = with(&self.slots[at as usize % SLOTS]);
        self.cursors[reader].store(at + 1, Ordering::Release);
        Some(result)
    }
}

fn message(seq: u64) -> Message {
    Message::new(Header { seq, ..Header::default() }, Ticker::default())
}

fn hop(c: &mut Criterion) {
    let (mut out, mut inlet) = ring(SLOTS);
    let mut seq = 0;
    c.bench_function("ring hop, same thread, 128 B", |b| {
        b.iter(|| {
            seq += 1;
            assert!(out.push(message(seq)));
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
            assert!(out.push(m));
            let seq = inlet.peek().map_or(0, |m| m.header.seq);
            inlet.advance();
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
                        assert!(out.push(m));
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
        group.bench_function("one broadcast ring", |b| {
            let mut edge = Broadcast::new(readers);
            b.iter(|| {
                for seq in 0..16 {
                    assert!(edge.push(message(seq)));
                }
                let mut sum = 0;
                for reader in 0..readers {
                    while let Some(seq) = edge.read(reader, |m| m.header.seq) {
                        sum += seq;
                    }
                }
                black_box(sum)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, hop, hop_in_place, fan_out);
criterion_main!(benches);
