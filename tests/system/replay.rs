//! One journal, one hash: whatever the executor, the seed, the plan.

use std::sync::Arc;

use kimera::line::Probes;
use kimera::replay::{ExecutorChoice, recompute, total_hash};
use kimera_protocol::{Message, Seq};
use kimera_runtime::executor::ThreadedExecutor;
use kimera_runtime::memory::canary;
use kimera_runtime::seat::Cell;
use kimera_runtime::{Counters, Work};

use crate::recording::{config, inputs};

fn hash(inputs: &Arc<[Message]>, executor: &ExecutorChoice) -> u64 {
    let outcome = recompute(&config(), inputs, executor, Seq::MAX, &Probes::default()).unwrap();
    assert_eq!(outcome.inputs, inputs.len() as u64);
    assert!(!outcome.checkpoints.is_empty());
    total_hash(&outcome.checkpoints)
}

/// Enough inputs for one checkpoint.
fn short() -> Arc<[Message]> {
    inputs(4_200)
}

#[test]
fn one_hash_for_a_thousand_seeds() {
    let inputs = short();
    let expected = hash(&inputs, &ExecutorChoice::Deterministic(0));
    for seed in 1..=1_000 {
        assert_eq!(hash(&inputs, &ExecutorChoice::Deterministic(seed)), expected, "seed {seed}");
    }
}

#[test]
fn one_hash_for_every_plan() {
    let inputs = inputs(40_000);
    let expected = hash(&inputs, &ExecutorChoice::Deterministic(0));
    for plan in ["cores-2", "cores-4"] {
        assert_eq!(hash(&inputs, &ExecutorChoice::Threaded(plan.into())), expected, "{plan}");
    }
}

#[test]
fn one_bit_of_one_input_changes_the_hash() {
    let clean = short();
    let expected = hash(&clean, &ExecutorChoice::Deterministic(0));
    let ticker = clean.iter().rposition(|m| m.body::<kimera_protocol::Ticker>().is_some()).unwrap();
    let mut changed = clean.to_vec();
    // The last ticker before the checkpoint's boundary.
    let ticker = (0..ticker.min(4_090))
        .rev()
        .find(|&i| changed[i].body::<kimera_protocol::Ticker>().is_some())
        .unwrap();
    changed[ticker].body_mut::<kimera_protocol::Ticker>().unwrap().bid.size.0 ^= 1;
    assert_ne!(hash(&changed.into(), &ExecutorChoice::Deterministic(0)), expected);
}

struct Allocates(bool);

impl Cell for Allocates {
    fn poll(&mut self) -> Work {
        if self.0 {
            canary();
        }
        Work::Idle
    }

    fn name(&self) -> &str {
        "market"
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

#[test]
fn the_canary_is_counted_and_nothing_else_is() {
    for (allocates, expected) in [(false, false), (true, true)] {
        let plan = toml_plan();
        let counters = Counters::detached();
        let executor =
            ThreadedExecutor::start(&plan, vec![Box::new(Allocates(allocates))], &counters, false).unwrap();
        executor.seal();
        let cycles = || executor.reports()[0].cycles.load(std::sync::atomic::Ordering::Acquire);
        let start = cycles();
        while cycles() < start + 1_000 {
            std::thread::yield_now();
        }
        drop(executor.finish());
        assert_eq!(counters.snapshot().counter("thread.line.sealed_allocations") > 0, expected);
    }
}

fn toml_plan() -> kimera_runtime::plan::Plan {
    let thread = kimera_runtime::plan::ThreadPlan {
        name: "line".into(),
        core: None,
        idle: kimera_runtime::idle::Idle::SpinYield,
        seats: vec!["market".into()],
    };
    kimera_runtime::plan::Plan { name: "test".into(), threads: vec![thread] }
}
