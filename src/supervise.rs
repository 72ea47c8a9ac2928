//! The launcher's run: venue and engine as child processes, a live line a second, the summary at the end.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kimera_runtime::counters::Snapshot;
use kimera_runtime::process::terminate;

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::report::EngineSummary;
use crate::state::Layout;

/// Arguments of a launch.
#[derive(Clone, Debug)]
pub struct LaunchOptions {
    /// Configuration file.
    pub config: PathBuf,
    /// State directory; a fresh one where none.
    pub state: Option<PathBuf>,
    /// Market time after which the run ends.
    pub market_ns: Option<i64>,
    /// Market nanoseconds per nanosecond.
    pub speed: u32,
    /// Core plan instead of the configuration's.
    pub plan: Option<String>,
    /// Port of the venue's first market; 0 lets the system choose.
    pub port: u16,
    /// One JSON object on stdout.
    pub json: bool,
    /// Say what would be done and do nothing.
    pub dry_run: bool,
    /// As the engine's.
    pub canary: bool,
}

/// Longest wait for the venue to say where it listens: it reads its tape first.
const VENUE_START: Duration = Duration::from_secs(60);
/// Longest wait for a child to end when asked.
const CHILD_STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A child that does not outlive us.
struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(name: &'static str, arguments: &[String], layout: &Layout) -> Result<Self, Failure> {
        let log = layout.log(name);
        let fail = |e: std::io::Error| Failure::run(format!("cannot start the {name}: {e}"));
        let file = File::create(&log).map_err(|e| {
            Failure::run(format!("cannot write {}: {e}; choose another --state", log.display()))
        })?;
        let program = std::env::current_exe().map_err(fail)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            // A group of its own: Ctrl-C reaches us, and we decide what the children do.
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        Ok(Self { name, child, log })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last line of its log: what it said when it died.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("nothing in its log").to_owned()
    }

    fn failure(&self, status: ExitStatus) -> Failure {
        let code = match status.code() {
            Some(3) => Exit::Configuration,
            Some(7) => Exit::MissingBlob,
            _ => Exit::Failed,
        };
        let words = self.last_words();
        let message = words.strip_prefix("kimera: ").unwrap_or(&words);
        Failure { code, message: format!("{}: {message} (log: {})", self.name, self.log.display()) }
    }

    fn stop(&mut self) {
        let _ = terminate(self.child.id());
        let deadline = Instant::now() + CHILD_STOP;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Launches venue and engine and waits for the end of the run.
///
/// # Errors
/// What could not be started, or what the engine said when it failed.
pub fn run(options: &LaunchOptions) -> Result<Exit, Failure> {
    let config = Config::load(&options.config)?;
    let state = state_directory(options.state.as_deref(), options.dry_run);
    let layout = Layout::of(&state);
    let venue = venue_arguments(options, &config, &layout);
    let engine = engine_arguments(options, &state, &layout);
    if options.dry_run {
        return dry_run(&state, &venue, &engine);
    }
    if !config.data.join("tape.toml").exists() {
        return Err(Failure::missing(format!(
            "the recording {} is missing; start from the project's folder or name one in \"data\"",
            config.data.join("tape.toml").display()
        )));
    }
    std::fs::create_dir_all(&state).map_err(|e| {
        Failure::run(format!("cannot make {}: {e}; choose another with --state", state.display()))
    })?;
    let _ = std::fs::remove_file(layout.endpoints());
    let interrupts = count_interrupts()?;
    say(&format!("state: {}", state.display()));
    let mut venue = Process::start("venue", &venue, &layout)?;
    wait_for_venue(&mut venue, &layout, &interrupts)?;
    let mut engine = Process::start("engine", &engine, &layout)?;
    let status = watch(&mut venue, &mut engine, options, &layout, &interrupts)?;
    venue.stop();
    if !status.success() {
        return Err(engine.failure(status));
    }
    finish(options, &layout, interrupts.load(Ordering::Acquire) > 0)
}

fn finish(options: &LaunchOptions, layout: &Layout, interrupted: bool) -> Result<Exit, Failure> {
    let path = layout.summary();
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Failure::run(format!("the engine left no summary in {}: {e}", path.display())))?;
    let summary: EngineSummary =
        serde_json::from_str(&text).map_err(|e| Failure::run(format!("{}: {e}", path.display())))?;
    let text = if options.json { text } else { summary.to_text() };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())
        .map_err(|e| Failure::run(format!("cannot write the summary: {e}")))?;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Ok })
}

fn venue_arguments(options: &LaunchOptions, config: &Config, layout: &Layout) -> Vec<String> {
    let parent = std::process::id().to_string();
    let data = config.data.display().to_string();
    let endpoints = layout.endpoints().display().to_string();
    let (speed, port) = (options.speed.to_string(), options.port.to_string());
    [
        "venue",
        "--data",
        &data,
        "--speed",
        &speed,
        "--port",
        &port,
        "--endpoints",
        &endpoints,
        "--parent",
        &parent,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn engine_arguments(options: &LaunchOptions, state: &Path, layout: &Layout) -> Vec<String> {
    let parent = std::process::id().to_string();
    let config = options.config.display().to_string();
    let (state, endpoints) = (state.display().to_string(), layout.endpoints().display().to_string());
    let mut arguments: Vec<String> =
        ["engine", "--config", &config, "--state", &state, "--endpoints", &endpoints, "--parent", &parent]
            .map(str::to_owned)
            .to_vec();
    if let Some(ns) = options.market_ns {
        arguments.extend(["--for".to_owned(), format!("{}ms", ns / 1_000_000)]);
    }
    if options.canary {
        arguments.push("--canary".to_owned());
    }
    if let Some(plan) = &options.plan {
        arguments.extend(["--plan".to_owned(), plan.clone()]);
    }
    arguments
}

/// Says what would happen; the launch script has said what would be built.
fn dry_run(state: &Path, venue: &[String], engine: &[String]) -> Result<Exit, Failure> {
    let program = std::env::current_exe().map_or_else(|_| "kimera".into(), |p| p.display().to_string());
    let files =
        ["lock", "incarnation", "endpoints.json", "counters", "blobs/", "journal/", "summary.json", "*.log"];
    let mut text = String::new();
    for file in files {
        text.push_str(&format!("write: {}\n", state.join(file).display()));
    }
    for arguments in [venue, engine] {
        text.push_str(&format!("process: {program} {}\n", arguments.join(" ")));
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .map(|()| Exit::Ok)
        .map_err(|e| Failure::run(format!("cannot write: {e}")))
}

/// The directory asked for, or a fresh one under `state/`, or in the system's temporary folder where `state/` is not
/// ours to write. A dry run tries nothing.
fn state_directory(asked: Option<&Path>, dry_run: bool) -> PathBuf {
    if let Some(path) = asked {
        return path.to_owned();
    }
    let name = format!("run-{}-{}", stamp(), std::process::id());
    let home = PathBuf::from("state");
    if dry_run || (std::fs::create_dir_all(&home).is_ok() && writable(&home)) {
        return home.join(name);
    }
    let other = std::env::temp_dir().join(format!("kimera-{name}"));
    say(&format!("degraded: {} is not writable here, the run goes to {}", home.display(), other.display()));
    other
}

fn writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let good = File::create(&probe).is_ok();
    let _ = std::fs::remove_file(&probe);
    good
}

/// UTC date and time as `YYYYMMDD-HHMMSS` (days to civil date after Howard Hinnant's public algorithm).
fn stamp() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) as i64;
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn count_interrupts() -> Result<Arc<AtomicUsize>, Failure> {
    let count = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let fail = |e: std::io::Error| Failure::run(format!("cannot take signal {signal}: {e}"));
        let mut signals = signal_hook::iterator::Signals::new([signal]).map_err(fail)?;
        let count = count.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for _ in signals.forever() {
                    count.fetch_add(1, Ordering::AcqRel);
                }
            })
            .map_err(fail)?;
    }
    Ok(count)
}

fn wait_for_venue(venue: &mut Process, layout: &Layout, interrupts: &AtomicUsize) -> Result<(), Failure> {
    let deadline = Instant::now() + VENUE_START;
    while !layout.endpoints().exists() {
        if let Some(status) = venue.ended() {
            return Err(venue.failure(status));
        }
        if interrupts.load(Ordering::Acquire) > 0 {
            return Err(Failure { code: Exit::Interrupted, message: "interrupted before the start".into() });
        }
        if Instant::now() > deadline {
            return Err(Failure::run(format!("the venue did not start within {} s", VENUE_START.as_secs())));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Watches both children; the first Ctrl-C ends the run in order, the second at once.
fn watch(
    venue: &mut Process,
    engine: &mut Process,
    options: &LaunchOptions,
    layout: &Layout,
    interrupts: &AtomicUsize,
) -> Result<ExitStatus, Failure> {
    let mut line = LiveLine::new(options);
    let mut asked = false;
    loop {
        if let Some(status) = engine.ended() {
            line.end();
            return Ok(status);
        }
        if let Some(status) = venue.ended() {
            line.end();
            engine.stop();
            return Err(venue.failure(status));
        }
        match interrupts.load(Ordering::Acquire) {
            0 => {}
            1 if asked => {}
            1 => {
                asked = true;
                line.end();
                say("ending the run (again to force)");
                let _ = terminate(engine.child.id());
            }
            _ => {
                line.end();
                return Err(Failure {
                    code: Exit::Interrupted,
                    message: "forced: the journal was not closed".into(),
                });
            }
        }
        line.tick(&layout.counters());
        std::thread::sleep(POLL);
    }
}

/// The live line: one a second; drawn over itself on a terminal.
struct LiveLine {
    terminal: bool,
    next: Instant,
    events: u64,
    origin: u64,
    length: Option<f64>,
    drawn: bool,
}

impl LiveLine {
    fn new(options: &LaunchOptions) -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            next: Instant::now() + Duration::from_secs(1),
            events: 0,
            origin: 0,
            length: options.market_ns.map(|ns| ns as f64 / 1e9),
            drawn: false,
        }
    }

    fn tick(&mut self, counters: &Path) {
        if Instant::now() < self.next {
            return;
        }
        self.next += Duration::from_secs(1);
        let Ok(snapshot) = Snapshot::of_file(counters) else { return };
        let time = snapshot.counter("sequencer.market_time_ns");
        if self.origin == 0 {
            self.origin = time;
        }
        let of_day = time / 1_000_000_000 % 86_400;
        let clock = format!("{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60);
        let events = snapshot.counter("sequencer.seq");
        let age = snapshot.histogram("market.mark_age_ns");
        let elapsed = time.saturating_sub(self.origin) as f64 / 1e9;
        // The shipped tape is 346 s; without --for the bar runs against that only as far as it is known.
        let bar = self.length.map_or_else(String::new, |length| bar(elapsed / length));
        let text = format!(
            "{clock}{bar}  {events} inputs (+{}/s)  {} marks  frame to mark p50 {:.1} us p99 {:.1} us  durable to {}",
            events.saturating_sub(self.events),
            snapshot.counter("sequencer.marks"),
            age.p50 as f64 / 1e3,
            age.p99 as f64 / 1e3,
            snapshot.counter("journal.durable_seq"),
        );
        self.events = events;
        let mut err = std::io::stderr();
        let _ = if self.terminal { write!(err, "\r\x1b[2K{text}") } else { writeln!(err, "{text}") };
        let _ = err.flush();
        self.drawn = true;
    }

    fn end(&mut self) {
        if self.drawn && self.terminal {
            say("");
        }
        self.drawn = false;
    }
}

fn bar(share: f64) -> String {
    const WIDTH: usize = 20;
    let filled = ((share.clamp(0.0, 1.0) * WIDTH as f64).round() as usize).min(WIDTH);
    format!(
        "  [{}{}] {:>3.0} %",
        "#".repeat(filled),
        "-".repeat(WIDTH - filled),
        share.clamp(0.0, 1.0) * 100.0
    )
}
