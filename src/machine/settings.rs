//! What a fast run wants of the kernel, with the reason of each.

use super::{Machine, list_text, mask_text, parse_list};

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it stands.
    Exact,
    /// A number that may be larger.
    AtLeast,
    /// One word of several, in brackets where it holds.
    Choice,
    /// Processors as a list.
    List,
    /// Processors as a mask.
    Mask,
}

/// One value of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where it is.
    pub path: String,
    /// What is wanted.
    pub wanted: String,
    /// What for.
    pub why: &'static str,
    /// How to compare.
    pub form: Form,
}

impl Setting {
    fn new(path: impl Into<String>, wanted: impl Into<String>, form: Form, why: &'static str) -> Self {
        Self { path: path.into(), wanted: wanted.into(), why, form }
    }

    /// What holds, as it would have to be written.
    #[must_use]
    pub fn current(&self, machine: &Machine) -> Option<String> {
        let text = machine.read(&self.path)?;
        Some(match self.form {
            Form::Choice => {
                let word = text.split_whitespace().find_map(|w| w.strip_prefix('[')?.strip_suffix(']'));
                word.unwrap_or(&text).to_owned()
            }
            _ => text,
        })
    }

    /// True where a value is good enough.
    #[must_use]
    pub fn holds(&self, value: &str) -> bool {
        match self.form {
            Form::Exact | Form::Choice => value == self.wanted,
            Form::AtLeast => {
                let number = |text: &str| text.parse::<u64>().ok();
                number(value).zip(number(&self.wanted)).is_some_and(|(is, wanted)| is >= wanted)
            }
            Form::List => parse_list(value) == parse_list(&self.wanted),
            Form::Mask => {
                let plain = |text: &str| text.replace(',', "").trim_start_matches('0').to_owned();
                plain(value) == plain(&self.wanted)
            }
        }
    }
}

/// What the settings depend on.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Processors on which somebody never sleeps.
    pub hot: Vec<usize>,
    /// All others.
    pub others: Vec<usize>,
    /// Size of the arena of rings and books, MiB.
    pub arena_mib: u32,
}

/// Everything that is wanted of this machine; what it does not have is in it too.
#[must_use]
pub fn settings(machine: &Machine, wanted: &Wanted) -> Vec<Setting> {
    let mut all = governors(machine);
    all.extend(network());
    all.extend(memory(wanted));
    if !wanted.hot.is_empty() && !wanted.others.is_empty() {
        all.extend(affinity(machine, wanted));
    }
    all
}

fn governors(machine: &Machine) -> Vec<Setting> {
    let cpus = machine.list("/sys/devices/system/cpu");
    let number = |name: &String| name.strip_prefix("cpu").is_some_and(|n| n.parse::<usize>().is_ok());
    let path = |name: &String| format!("/sys/devices/system/cpu/{name}/cpufreq/scaling_governor");
    let found = cpus.iter().filter(|n| number(n)).map(path).filter(|path| machine.read(path).is_some());
    let mut paths: Vec<_> = found.collect();
    if paths.is_empty() {
        paths.push("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor".into());
    }
    let why = "the processor keeps its speed while nothing happens";
    paths.into_iter().map(|path| Setting::new(path, "performance", Form::Exact, why)).collect()
}

fn network() -> Vec<Setting> {
    let core = |name: &str| format!("/proc/sys/net/core/{name}");
    let buffers = "a burst fits the socket's buffer";
    let poll = "the kernel looks at the network card itself instead of waiting for its interrupt";
    vec![
        Setting::new(core("rmem_max"), "134217728", Form::AtLeast, buffers),
        Setting::new(core("wmem_max"), "134217728", Form::AtLeast, buffers),
        Setting::new(core("busy_poll"), "50", Form::AtLeast, poll),
        Setting::new(core("busy_read"), "50", Form::AtLeast, poll),
        Setting::new(
            "/proc/sys/net/ipv4/tcp_congestion_control",
            "bbr",
            Form::Exact,
            "a lost packet does not halve the rate",
        ),
    ]
}

fn memory(wanted: &Wanted) -> Vec<Setting> {
    let vm = |name: &str| format!("/proc/sys/vm/{name}");
    let huge = "/sys/kernel/mm/transparent_hugepage";
    let pages = u64::from(wanted.arena_mib).div_ceil(2) + 1;
    vec![
        Setting::new(vm("swappiness"), "1", Form::Exact, "nothing of the line is swapped out"),
        Setting::new(
            vm("dirty_ratio"),
            "15",
            Form::Exact,
            "the journal's writer is not held up by others' files",
        ),
        Setting::new(vm("stat_interval"), "10", Form::AtLeast, "the kernel counts pages less often"),
        Setting::new(
            vm("nr_hugepages"),
            pages.to_string(),
            Form::AtLeast,
            "rings and books lie in pages of 2 MiB, kept for them",
        ),
        Setting::new(
            format!("{huge}/enabled"),
            "madvise",
            Form::Choice,
            "large pages where they are asked for, and nowhere else",
        ),
        Setting::new(format!("{huge}/defrag"), "madvise", Form::Choice, "nobody else waits for large pages"),
        Setting::new(
            "/proc/sys/kernel/numa_balancing",
            "0",
            Form::Exact,
            "pages are not taken away to see who uses them",
        ),
    ]
}

/// Interrupts and kernel workers keep off the hot cores. Workers only where two cores are left for them: on one core beside threads that spin they are kept
/// waiting, and the journal's writes with them (measured on two cores: commits of up to 31 s, 11 ms where they are left alone).
fn affinity(machine: &Machine, wanted: &Wanted) -> Vec<Setting> {
    let (list, mask) = (list_text(&wanted.others), mask_text(&wanted.others));
    let why = "interrupts keep off the hot cores";
    let mut all = vec![Setting::new("/proc/irq/default_smp_affinity", &mask, Form::Mask, why)];
    if wanted.others.len() > 1 {
        let (workqueue, workers) =
            ("/sys/devices/virtual/workqueue", "kernel workers keep off the hot cores");
        all.push(Setting::new(format!("{workqueue}/cpumask"), &mask, Form::Mask, workers));
        all.push(Setting::new(format!("{workqueue}/writeback/cpumask"), &mask, Form::Mask, workers));
    }
    let numbers = machine.list("/proc/irq").into_iter().filter(|name| name.parse::<u32>().is_ok());
    all.extend(
        numbers.map(|n| Setting::new(format!("/proc/irq/{n}/smp_affinity_list"), &list, Form::List, why)),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_what_they_mean() {
        let of = |wanted: &str, form| Setting::new("/x", wanted, form, "");
        assert!(of("134217728", Form::AtLeast).holds("268435456"));
        assert!(!of("134217728", Form::AtLeast).holds("212992"));
        assert!(of("0-3", Form::List).holds("0,1,2,3"));
        assert!(of("3", Form::Mask).holds("00000000,00000003"));
        assert!(!of("1", Form::Exact).holds("60"));
    }
}
