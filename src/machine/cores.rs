//! Processors of the machine, and where a plan's threads go on them.

use std::collections::BTreeMap;

use kimera_runtime::idle::Idle;
use kimera_runtime::plan::Plan;
use serde::Serialize;

use super::{Machine, list_text, parse_list};

/// A processor that this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Core {
    /// As the kernel numbers it.
    pub number: usize,
    /// Memory node it belongs to.
    pub node: usize,
    /// Lowest number among those that share its execution units: its own, where nobody does.
    pub first_sibling: usize,
    /// The kernel puts nothing there by itself (`isolcpus`, or an isolated partition).
    pub isolated: bool,
}

/// The processors of `available` as the machine describes them.
#[must_use]
pub fn cores(machine: &Machine, available: &[usize]) -> Vec<Core> {
    let isolated = parse_list(&machine.read("/sys/devices/system/cpu/isolated").unwrap_or_default());
    let mut nodes: BTreeMap<usize, usize> = BTreeMap::new();
    for name in machine.list("/sys/devices/system/node") {
        let Some(node) = name.strip_prefix("node").and_then(|n| n.parse().ok()) else { continue };
        let list = machine.read(&format!("/sys/devices/system/node/{name}/cpulist")).unwrap_or_default();
        parse_list(&list).into_iter().for_each(|core| {
            nodes.insert(core, node);
        });
    }
    let core = |&number: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list");
        let siblings = parse_list(&machine.read(&path).unwrap_or_default());
        Core {
            number,
            node: nodes.get(&number).copied().unwrap_or(0),
            first_sibling: siblings.first().copied().unwrap_or(number),
            isolated: isolated.contains(&number),
        }
    };
    available.iter().map(core).collect()
}

/// A plan put on a machine, and why it is this one.
#[derive(Clone, Debug, Serialize)]
pub struct Chosen {
    /// With the machine's own numbers.
    pub plan: Plan,
    /// A sentence a decision.
    pub why: Vec<String>,
}

/// One processor of each group that shares execution units, those of the chosen node first; the node; how many were left
/// out because they share.
fn physical(cores: &[Core]) -> (Vec<Core>, usize, usize) {
    let mut first: BTreeMap<usize, Core> = BTreeMap::new();
    for core in cores {
        first.entry(core.first_sibling).or_insert(*core);
    }
    let mut one_each: Vec<Core> = first.into_values().collect();
    let mut of_node: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for core in &one_each {
        let counts = of_node.entry(core.node).or_default();
        counts.0 += usize::from(core.isolated);
        counts.1 += 1;
    }
    // The lowest of those that have the most.
    let node =
        of_node.iter().max_by_key(|(node, counts)| (**counts, usize::MAX - **node)).map_or(0, |(n, _)| *n);
    one_each.sort_by_key(|core| (core.node != node, core.number));
    let shared = cores.len() - one_each.len();
    (one_each, node, shared)
}

/// The largest of `plans` (with the number of cores each needs, smallest first) that the machine has whole processors for on
/// one memory node, put on them: spinning threads on isolated processors where there are some.
///
/// # Errors
/// Where there is no plan to choose from.
pub fn choose(plans: &[(usize, Plan)], cores: &[Core]) -> Result<Chosen, String> {
    let (one_each, node, shared) = physical(cores);
    let on_node = one_each.iter().filter(|core| core.node == node).count();
    let fits = |count: usize| plans.iter().rev().find(|(needs, _)| *needs <= count);
    // Whole processors of one node; where even the smallest plan wants more, whatever there is.
    let (pool, largest): (Vec<Core>, _) = match fits(on_node) {
        Some(found) => (one_each.iter().filter(|core| core.node == node).copied().collect(), found),
        None => (cores.to_vec(), plans.first().ok_or("there is no core plan to choose from")?),
    };
    let (needs, plan) = largest;
    let mut why = vec![format!(
        "{}: wants {needs} cores, and there are {} ({})",
        plan.name,
        pool.len(),
        list_text(&pool.iter().map(|core| core.number).collect::<Vec<_>>())
    )];
    if shared > 0 && pool.len() < cores.len() {
        why.push(format!("{shared} of the {} processors are siblings of others: left alone", cores.len()));
    }
    let elsewhere = one_each.len() - on_node;
    if elsewhere > 0 && pool.len() < cores.len() {
        why.push(format!("all on memory node {node}: {elsewhere} cores of other nodes are left alone"));
    }
    let plan = place(plan, *needs, &pool, &mut why);
    Ok(Chosen { plan, why })
}

/// Puts the plan's cores on those of `pool`: its own core 0 on the first that is not isolated, cores where somebody spins on
/// isolated ones as far as there are.
fn place(plan: &Plan, needs: usize, pool: &[Core], why: &mut Vec<String>) -> Plan {
    let spins = |core: usize| plan.threads.iter().any(|t| t.core == Some(core) && t.idle != Idle::Backoff);
    let mut free: Vec<Core> = pool.to_vec();
    let mut at: BTreeMap<usize, usize> = BTreeMap::new();
    let mut take = |wanted: usize, isolated: bool| {
        let found =
            free.iter().position(|core| core.isolated == isolated).or((!free.is_empty()).then_some(0));
        if let Some(found) = found {
            at.insert(wanted, free.remove(found).number);
        }
    };
    take(0, false);
    // The line first, then whoever else never sleeps, then the rest.
    let line = plan.threads.iter().find(|t| t.seats.iter().any(|s| s == kimera_runtime::topology::SEQUENCER));
    let line = line.and_then(|t| t.core).filter(|core| *core > 0);
    let others = (1..needs).filter(|core| Some(*core) != line);
    let (spinning, quiet): (Vec<_>, Vec<_>) = others.partition(|core| spins(*core));
    line.into_iter().chain(spinning).for_each(|core| take(core, true));
    quiet.into_iter().for_each(|core| take(core, false));
    let isolated = |number: &usize| pool.iter().any(|core| core.number == *number && core.isolated);
    let hot: Vec<_> = at.iter().filter(|(core, _)| **core > 0 && spins(**core)).map(|(_, n)| *n).collect();
    let on_isolated = hot.iter().filter(|n| isolated(n)).count();
    why.push(if on_isolated > 0 {
        format!("{on_isolated} of {} spinning cores are isolated ({})", hot.len(), list_text(&hot))
    } else {
        "no core is isolated: the scheduler may put others beside the line (isolcpus, nohz_full)".into()
    });
    let mut placed = plan.clone();
    for thread in &mut placed.threads {
        thread.core = thread.core.map(|core| at.get(&core).copied().unwrap_or(core));
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;

    fn plan(name: &str, line: usize) -> Plan {
        let text = format!(
            "name='{name}'\n[[thread]]\nname='line'\ncore={line}\nidle='spin-yield'\nseats=['sequencer']\n\
             [[thread]]\nname='io'\ncore=0\nidle='backoff'\nseats=['journal']\n"
        );
        toml::from_str(&text).unwrap()
    }

    fn plans() -> Vec<(usize, Plan)> {
        vec![(2, plan("two", 1)), (4, plan("four", 3))]
    }

    #[test]
    fn a_machine_of_two_nodes_with_siblings_and_isolated_cores() {
        // Node 0: 0-3 and their siblings 8-11; node 1: 4-7 and 12-15. 2 and 3 are isolated, 6, 7 and their siblings too.
        let mut files: Vec<(String, String)> = vec![
            ("sys/devices/system/cpu/isolated".into(), "2-3,6-7,10-11,14-15\n".into()),
            ("sys/devices/system/node/node0/cpulist".into(), "0-3,8-11\n".into()),
            ("sys/devices/system/node/node1/cpulist".into(), "4-7,12-15\n".into()),
        ];
        for core in 0..16usize {
            let first = core % 8;
            files.push((
                format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"),
                format!("{first},{}\n", first + 8),
            ));
        }
        let files: Vec<_> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let folder = Folder::new("nodes", &files);
        let found = cores(&folder.machine(), &(0..16).collect::<Vec<_>>());
        assert_eq!(found[11], Core { number: 11, node: 0, first_sibling: 3, isolated: true });
        let chosen = choose(&plans(), &found).unwrap();
        let at: Vec<_> = chosen.plan.threads.iter().map(|t| t.core).collect();
        assert_eq!((chosen.plan.name.as_str(), at), ("four", vec![Some(2), Some(0)]));
        assert!(chosen.why[0].contains("wants 4 cores, and there are 4 (0-3)"), "{:?}", chosen.why);
        assert!(chosen.why.iter().any(|w| w.contains("8 of the 16 processors are siblings")));
        assert!(chosen.why.iter().any(|w| w.contains("4 cores of other nodes")));
        assert!(chosen.why.iter().any(|w| w.contains("isolated (2")), "{:?}", chosen.why);
    }

    #[test]
    fn siblings_are_used_where_there_is_nothing_else() {
        let folder = Folder::new(
            "siblings",
            &[
                ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0-1"),
                ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1"),
            ],
        );
        let chosen = choose(&plans(), &cores(&folder.machine(), &[0, 1])).unwrap();
        assert_eq!(chosen.plan, plan("two", 1));
        assert!(chosen.why[1].contains("no core is isolated"), "{:?}", chosen.why);
    }

    #[test]
    fn a_process_that_may_use_some_cores_only_stays_on_those() {
        let folder = Folder::new("some", &[]);
        let chosen = choose(&plans(), &cores(&folder.machine(), &[5, 9, 12])).unwrap();
        let at: Vec<_> = chosen.plan.threads.iter().map(|t| t.core).collect();
        assert_eq!((chosen.plan.name.as_str(), at), ("two", vec![Some(9), Some(5)]));
        let alone = choose(&plans(), &cores(&folder.machine(), &[7])).unwrap();
        assert_eq!(alone.plan.threads[1].core, Some(7));
    }
}
