//! Facts of the machine, each with its verdict and what to do about it.

use std::path::Path;

use kimera_runtime::limits::{self, ClockSync, Resource, UNLIMITED};
use serde::Serialize;

use super::cores::{Core, cores};
use super::settings::{Form, Setting, Wanted, settings};
use super::tuning::limit_text;
use super::{Machine, list_text, parse_list};

/// What a fact means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Slower or less sure than it could be.
    Warn,
    /// Latencies measured here are not to be published, or the run may fall.
    Fail,
}

impl Verdict {
    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Stable name.
    pub id: String,
    /// What it is about: cores, clock, memory, limits, network, disk, time.
    pub group: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
    /// What to do; empty where it is as it should be.
    pub fix: String,
}

/// What the facts are judged for.
pub struct Judged<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Processors this process may use.
    pub available: Vec<usize>,
    /// What a run wants.
    pub wanted: Wanted,
    /// Where the journal goes.
    pub state: &'a Path,
    /// How the clock is kept.
    pub clock: Option<ClockSync>,
}

fn fact(
    group: &'static str,
    id: &str,
    verdict: Verdict,
    found: impl Into<String>,
    wanted: &str,
    fix: &str,
) -> Fact {
    let fix = if verdict == Verdict::Pass { String::new() } else { fix.to_owned() };
    Fact { id: id.into(), group, verdict, found: found.into(), wanted: wanted.into(), fix }
}

fn pass_or(good: bool, otherwise: Verdict) -> Verdict {
    if good { Verdict::Pass } else { otherwise }
}

impl Judged<'_> {
    /// Every fact.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        let mut all = self.of_cores();
        all.extend(self.of_the_clock());
        all.extend(self.of_settings());
        all.extend(limits_of_the_process());
        all.extend(self.of_tiers());
        all
    }

    fn command_line(&self) -> String {
        self.machine.read("/proc/cmdline").unwrap_or_default()
    }

    /// Processors that a parameter of the kernel's command line names.
    fn named(&self, parameter: &str) -> Vec<usize> {
        let line = self.command_line();
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(parameter)?.strip_prefix('='));
        // Flags may stand before the list: isolcpus=domain,managed_irq,2-5.
        parse_list(value.unwrap_or_default())
    }

    fn of_cores(&self) -> Vec<Fact> {
        let hot = &self.wanted.hot;
        let found = cores(self.machine, &self.available);
        let mut isolated: Vec<_> =
            found.iter().filter(|core| core.isolated).map(|core| core.number).collect();
        isolated.extend(self.named("isolcpus"));
        let wanted = format!("hot cores {}", list_text(hot));
        let list = list_text(hot);
        let covers = |id, cores: &[usize], verdict, fix: &str| {
            let missing: Vec<_> = hot.iter().copied().filter(|core| !cores.contains(core)).collect();
            let good = missing.is_empty() && !hot.is_empty();
            let text = if good { list_text(cores) } else { format!("not: {}", list_text(&missing)) };
            fact("cores", id, pass_or(good, verdict), text, &wanted, fix)
        };
        let ticks = parse_list(&self.machine.read("/sys/devices/system/cpu/nohz_full").unwrap_or_default());
        let boot = |parameter: &str| {
            format!("add {parameter}={list} to the kernel's command line (GRUB_CMDLINE_LINUX) and restart")
        };
        let mut all = vec![
            covers(
                "isolcpus",
                &isolated,
                Verdict::Fail,
                &boot("isolcpus=managed_irq,domain,").replace(",=", ","),
            ),
            covers("nohz_full", &ticks, Verdict::Fail, &boot("nohz_full")),
            covers("rcu_nocbs", &self.named("rcu_nocbs"), Verdict::Warn, &boot("rcu_nocbs")),
        ];
        all.push(self.siblings(&found));
        all.push(self.interrupts());
        all.push(self.mitigations());
        let virtual_machine = self.cpu_flag("hypervisor");
        all.push(fact(
            "cores",
            "hypervisor",
            pass_or(!virtual_machine, Verdict::Warn),
            if virtual_machine { "a virtual machine" } else { "none" },
            "none",
            "a guest is interrupted by its host where no fact here shows it: look at the hiccups; a dedicated host or bare metal",
        ));
        all
    }

    fn siblings(&self, found: &[Core]) -> Fact {
        let shared = |number: &&usize| {
            let Some(core) = found.iter().find(|core| core.number == **number) else { return false };
            found.iter().any(|c| c.first_sibling == core.first_sibling && c.number != core.number)
        };
        let hot: Vec<_> = self.wanted.hot.iter().filter(shared).copied().collect();
        let text = if hot.is_empty() {
            "no hot core has an active sibling".into()
        } else {
            format!("hot cores {} share their units with a sibling", list_text(&hot))
        };
        fact(
            "cores",
            "smt",
            pass_or(hot.is_empty(), Verdict::Warn),
            text,
            "hot cores to themselves",
            "echo off > /sys/devices/system/cpu/smt/control, or the firmware's setting; the plan auto leaves siblings alone",
        )
    }

    fn interrupts(&self) -> Fact {
        let numbers = self.machine.list("/proc/irq").into_iter().filter(|n| n.parse::<u32>().is_ok());
        let on_hot = |number: &String| {
            // Where it arrives now; where nobody says, where it may.
            let of = |file: &str| self.machine.read(&format!("/proc/irq/{number}/{file}"));
            let text = of("effective_affinity_list").filter(|text| !text.is_empty());
            let cores = parse_list(&text.or_else(|| of("smp_affinity_list")).unwrap_or_default());
            cores.iter().any(|core| self.wanted.hot.contains(core))
        };
        let found: Vec<_> = numbers.filter(on_hot).collect();
        let text = if found.is_empty() { "none".into() } else { format!("interrupts {}", found.join(", ")) };
        fact(
            "cores",
            "irq",
            pass_or(found.is_empty(), Verdict::Warn),
            text,
            "no interrupt on a hot core",
            "scripts/launch as root moves those that the kernel lets it; stop irqbalance; isolcpus=managed_irq for the others",
        )
    }

    fn mitigations(&self) -> Fact {
        let line = self.command_line();
        let value = line.split_whitespace().rev().find_map(|word| word.strip_prefix("mitigations="));
        let off = value == Some("off");
        fact(
            "cores",
            "mitigations",
            pass_or(off, Verdict::Warn),
            value.unwrap_or("the kernel's default"),
            "off, where nobody else's code runs here",
            "they make every system call slower; mitigations=off only on a machine that runs nothing but this",
        )
    }

    fn cpu_flag(&self, flag: &str) -> bool {
        let text = self.machine.read("/proc/cpuinfo").unwrap_or_default();
        let flags = text.lines().find(|line| line.starts_with("flags"));
        flags.is_some_and(|line| line.split_whitespace().any(|word| word == flag))
    }

    fn of_the_clock(&self) -> Vec<Fact> {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let source = self.machine.read(source).unwrap_or_else(|| "unknown".into());
        let steady = self.cpu_flag("constant_tsc") && self.cpu_flag("nonstop_tsc");
        let mut all = vec![
            fact(
                "clock",
                "clock-source",
                pass_or(source == "tsc", Verdict::Fail),
                source,
                "tsc",
                "clocksource=tsc tsc=reliable on the kernel's command line; every other source is a system call or slow",
            ),
            fact(
                "clock",
                "tsc",
                pass_or(steady, Verdict::Fail),
                if steady { "constant, never stops" } else { "changes with the processor's speed or stops" },
                "constant_tsc and nonstop_tsc",
                "latencies are measured with this counter: another machine",
            ),
        ];
        let (verdict, found) = match self.clock {
            None => (Verdict::Warn, "the kernel does not say".to_owned()),
            Some(clock) if !clock.synchronised => (Verdict::Fail, "nobody keeps the clock".to_owned()),
            Some(clock) => {
                let far = clock.offset_ns.unsigned_abs().max(clock.max_error_us.unsigned_abs() * 1_000);
                let text = format!("offset {} ns, at most {} µs off", clock.offset_ns, clock.max_error_us);
                (pass_or(far < 50_000_000, Verdict::Warn), text)
            }
        };
        all.push(fact(
            "time",
            "time-sync",
            verdict,
            found,
            "kept, less than 50 ms off",
            "install and start chrony (or systemd-timesyncd): venues refuse orders whose time is off",
        ));
        all
    }

    /// What the launcher would set.
    fn of_settings(&self) -> Vec<Fact> {
        let all = settings(self.machine, &self.wanted);
        let several = |s: &&Setting| s.path.starts_with("/proc/irq/") && s.form == Form::List;
        all.iter().filter(|s| !several(s)).map(|s| self.of_setting(s)).collect()
    }

    fn of_setting(&self, setting: &Setting) -> Fact {
        let group = if setting.path.contains("/net/") {
            "network"
        } else if setting.path.contains("cpu") || setting.path.contains("affinity") {
            "cores"
        } else {
            "memory"
        };
        let found = setting.current(self.machine);
        let governor = setting.path.ends_with("scaling_governor");
        let verdict = match &found {
            Some(value) if setting.holds(value) => Verdict::Pass,
            Some(_) if governor => Verdict::Fail,
            _ => Verdict::Warn,
        };
        let fix = match &found {
            None if governor => {
                "this machine does not say (a guest never does): its host's governor".to_owned()
            }
            None => "this kernel has no such thing".to_owned(),
            Some(_) => format!("scripts/launch as root does: {}", setting.why),
        };
        let found = found.unwrap_or_else(|| "not there".into());
        let id =
            setting.path.replace("/proc/sys/", "").replace("/sys/devices/", "").replace("/sys/kernel/", "");
        fact(group, id.trim_start_matches('/'), verdict, found, &setting.wanted, &fix)
    }

    /// What the machine is made of.
    fn of_tiers(&self) -> Vec<Fact> {
        const GIB: u64 = 1 << 30;
        let memory = self.machine.read("/proc/meminfo").unwrap_or_default();
        let kib = |name: &str| -> u64 {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let total = kib("MemTotal:") * 1_024;
        let swap = kib("SwapTotal:");
        let tier = |value: u64, good: u64, least: u64| match value {
            v if v >= good => Verdict::Pass,
            v if v >= least => Verdict::Warn,
            _ => Verdict::Fail,
        };
        let mut all = vec![
            fact(
                "memory",
                "memory-size",
                // What is installed and what the kernel leaves of it differ.
                tier(total + GIB, 16 * GIB, 4 * GIB),
                format!("{} GiB", total.div_ceil(GIB)),
                "16 GiB (64 GiB with learned models)",
                "a larger machine",
            ),
            fact(
                "memory",
                "swap",
                pass_or(swap == 0, Verdict::Warn),
                if swap == 0 { "off".to_owned() } else { format!("{} MiB", swap / 1_024) },
                "off",
                "swapoff -a, and remove it from /etc/fstab",
            ),
        ];
        all.push(self.disk(tier));
        all.push(self.network_card());
        all
    }

    fn disk(&self, tier: impl Fn(u64, u64, u64) -> Verdict) -> Fact {
        const GIB: u64 = 1 << 30;
        let existing = self.state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let free = limits::free_bytes(existing).unwrap_or(0);
        let disks = self
            .machine
            .list("/sys/block")
            .into_iter()
            .filter(|name| !["loop", "ram", "zram", "sr"].iter().any(|other| name.starts_with(other)));
        let turns = |name: &String| {
            self.machine.read(&format!("/sys/block/{name}/queue/rotational")).is_some_and(|v| v == "1")
        };
        let (turning, still): (Vec<String>, Vec<String>) = disks.partition(turns);
        let some = |disks: &[String], with: &str| disks.iter().any(|name| name.starts_with(with));
        let kind = match turning.is_empty() {
            _ if some(&still, "nvme") => "NVMe",
            true => "solid state",
            false if some(&turning, "vd") || some(&turning, "xvd") => "virtual, said to turn",
            false => "turning disks",
        };
        let verdict = tier(free, 50 * GIB, GIB).max(pass_or(turning.is_empty(), Verdict::Warn));
        fact(
            "disk",
            "disk",
            verdict,
            format!("{} GiB free, {kind}", free / GIB),
            "50 GiB free where the state directory lies, solid state, NVMe at best",
            "room for the journal: retain_segments, another --state, a larger disk; a turning disk writes late",
        )
    }

    fn network_card(&self) -> Fact {
        let speed = |name: &String| {
            let text = self.machine.read(&format!("/sys/class/net/{name}/speed"))?;
            text.parse::<i64>().ok().filter(|mbit| *mbit > 0)
        };
        let cards = self.machine.list("/sys/class/net");
        let fastest = cards.iter().filter(|name| *name != "lo").filter_map(speed).max();
        let verdict = match fastest {
            Some(mbit) if mbit >= 10_000 => Verdict::Pass,
            _ => Verdict::Warn,
        };
        let found =
            fastest.map_or_else(|| "no card says its speed".to_owned(), |mbit| format!("{mbit} Mbit/s"));
        fact(
            "network",
            "nic",
            verdict,
            found,
            "10,000 Mbit/s",
            "a faster card, or the venue's own region; what is slow here shows in frame to socket",
        )
    }
}

fn limits_of_the_process() -> Vec<Fact> {
    let limit = |id: &str, resource: Resource, wanted: u64, least: u64, unit: &str| {
        let (now, most) = resource.get().unwrap_or((0, 0));
        // The launcher raises it as far as it may.
        let reached = now.max(most);
        let verdict = match reached {
            r if r >= wanted => Verdict::Pass,
            r if r >= least => Verdict::Warn,
            _ => Verdict::Fail,
        };
        let fix =
            format!("ulimit -{unit}; for good in /etc/security/limits.d/kimera.conf or the service's Limit…");
        fact("limits", id, verdict, limit_text(reached), &limit_text(wanted), &fix)
    };
    let privileged = kimera_runtime::process::own_uid() == 0;
    let least = if privileged { 0 } else { 64 << 20 };
    vec![
        limit("nofile", Resource::OpenFiles, 1_048_576, 1_024, "n"),
        limit("memlock", Resource::LockedMemory, UNLIMITED, least, "l"),
        limit("rtprio", Resource::RealTimePriority, 99, 0, "r"),
    ]
}
