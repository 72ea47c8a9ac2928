//! Settings on a folder that looks like a machine.

use super::super::tests::Folder;
use super::*;

const FILES: [(&str, &str); 9] = [
    ("proc/sys/kernel/random/boot_id", "first\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/sys/vm/dirty_ratio", "0\n"),
    ("proc/sys/vm/dirty_bytes", "4096000\n"),
    ("proc/sys/net/core/rmem_max", "268435456\n"),
    ("proc/sys/net/ipv4/tcp_congestion_control", "cubic\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
    ("proc/irq/24/smp_affinity_list", "0-1\n"),
    ("var/lib/kimera/keep", ""),
];

fn wanted() -> Wanted {
    Wanted { hot: vec![1], others: vec![0], arena_mib: 64 }
}

fn outcome<'a>(applied: &'a [Applied], path: &str) -> &'a Outcome {
    &applied.iter().find(|a| a.setting.ends_with(path)).unwrap().outcome
}

#[test]
fn a_dry_run_says_what_would_be_written_and_writes_nothing() {
    let folder = Folder::new("dry", &FILES);
    let tuning = Tuning::of(folder.machine());
    let rows = tuning.apply(&wanted(), true).unwrap();
    assert_eq!(outcome(&rows, "swappiness"), &Outcome::Would { before: "60".into() });
    assert_eq!(outcome(&rows, "rmem_max"), &Outcome::Already { found: "268435456".into() });
    assert_eq!(outcome(&rows, "numa_balancing"), &Outcome::Absent);
    assert_eq!(outcome(&rows, "enabled"), &Outcome::Would { before: "always".into() });
    assert_eq!(folder.machine().read("/proc/sys/vm/swappiness").unwrap(), "60");
    assert!(!tuning.file().exists());
}

#[test]
fn what_held_before_holds_afterwards() {
    let folder = Folder::new("restore", &FILES);
    let machine = folder.machine();
    let tuning = Tuning::of(folder.machine());
    let rows = tuning.apply(&wanted(), false).unwrap();
    assert_eq!(outcome(&rows, "swappiness"), &Outcome::Set { before: "60".into() });
    assert_eq!(outcome(&rows, "24/smp_affinity_list"), &Outcome::Set { before: "0-1".into() });
    assert_eq!(machine.read("/proc/sys/vm/dirty_ratio").unwrap(), "15");
    // What a kernel does with the other one, and how it shows a choice.
    folder.put("proc/sys/vm/dirty_bytes", "0\n");
    folder.put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    let restored = tuning.restore(false).unwrap();
    assert!(restored.iter().all(|r| r.left.is_empty()), "{restored:?}");
    assert_eq!(machine.read("/proc/sys/vm/dirty_bytes").unwrap(), "4096000");
    assert_eq!(machine.read("/proc/sys/vm/swappiness").unwrap(), "60");
    assert_eq!(machine.read("/sys/kernel/mm/transparent_hugepage/enabled").unwrap(), "always");
    assert!(!tuning.file().exists());
    assert_eq!(tuning.restore(false).unwrap(), []);
}

#[test]
fn the_first_values_survive_a_start_that_was_killed() {
    let folder = Folder::new("killed", &FILES);
    let tuning = Tuning::of(folder.machine());
    tuning.apply(&wanted(), false).unwrap();
    // Somebody who is gone has applied them.
    let mut saved = tuning.saved().unwrap();
    saved.users = vec![User { pid: u32::MAX >> 1, birth: 1 }];
    tuning.keep(&saved).unwrap();
    tuning.apply(&wanted(), false).unwrap();
    assert_eq!(tuning.saved().unwrap().users, [User::me()]);
    tuning.restore(false).unwrap();
    assert_eq!(folder.machine().read("/proc/sys/vm/swappiness").unwrap(), "60");
}

#[test]
fn the_last_to_go_puts_back_and_nobody_overwrites_what_others_have_set() {
    let folder = Folder::new("last", &FILES);
    let machine = folder.machine();
    let tuning = Tuning::of(folder.machine());
    tuning.apply(&wanted(), false).unwrap();
    let mut saved = tuning.saved().unwrap();
    let other = User { pid: 1, birth: process::birth(1).unwrap() };
    saved.users.push(other);
    tuning.keep(&saved).unwrap();
    let left = tuning.restore(false).unwrap();
    assert!(left.iter().all(|r| r.left == "still used by process 1"), "{left:?}");
    assert_eq!(machine.read("/proc/sys/vm/swappiness").unwrap(), "1");
    folder.put("proc/sys/vm/swappiness", "10\n");
    let restored = tuning.restore(true).unwrap();
    let of = |path: &str| restored.iter().find(|r| r.setting.ends_with(path)).unwrap();
    assert!(of("swappiness").left.contains("somebody has changed it to \"10\""));
    assert_eq!(machine.read("/proc/sys/net/ipv4/tcp_congestion_control").unwrap(), "cubic");
}

#[test]
fn a_restart_of_the_machine_forgets_and_a_file_that_is_not_ours_is_named() {
    let folder = Folder::new("boot", &FILES);
    let tuning = Tuning::of(folder.machine());
    tuning.apply(&wanted(), false).unwrap();
    folder.put("proc/sys/kernel/random/boot_id", "second\n");
    folder.put("proc/sys/vm/swappiness", "30\n");
    assert_eq!(tuning.restore(false).unwrap(), []);
    assert_eq!(folder.machine().read("/proc/sys/vm/swappiness").unwrap(), "30");
    folder.put("var/lib/kimera/tuning.json", "nothing of the kind");
    let refused = tuning.apply(&wanted(), false).unwrap_err();
    assert!(refused.message.contains("is no file of ours"), "{refused}");
    assert_eq!(folder.machine().read("/proc/sys/vm/swappiness").unwrap(), "30", "nothing is written then");
}
