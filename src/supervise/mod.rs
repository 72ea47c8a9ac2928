//! The launcher's run: venue and engine as child processes, a live line a second, the summary at the end.
//!
//! * [`process`]: a child that does not outlive us
//! * [`control`]: the control socket
//! * [`restarts`]: how often a child that has fallen is started again
//! * [`live_line`]: how a run goes, once a second

pub mod control;
pub mod live_line;
pub mod process;
pub mod restarts;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kimera_runtime::plan::available_cores;
use kimera_runtime::process::terminate;

use crate::config::{Config, plan};
use crate::control::Server;
use crate::engine::venue_account::CREDENTIALS;
use control::{Children, SupervisorHandler};
use live_line::LiveLine;
use process::Process;
use restarts::Restarts;

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
    /// As the venue's.
    pub drop_fill: Option<u64>,
    /// As the engine's.
    pub faults: bool,
}

/// Longest wait for the venue to say where it listens: it reads its tape first.
const VENUE_START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

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
    let credentials = credentials()?;
    let children = Arc::new(Children::default());
    let name = options.plan.as_deref().unwrap_or(&config.plan);
    let handler = SupervisorHandler {
        layout: layout.clone(),
        children: children.clone(),
        plan: plan(name, available_cores().len()).ok(),
    };
    let socket = Server::start(&layout.socket("control"), &layout.audit(), Box::new(handler))?;
    let mut venue = Process::start("venue", &venue, &layout, &credentials)?;
    children.venue.store(venue.pid(), Ordering::Release);
    wait_for_venue(&mut venue, &layout, &interrupts)?;
    let arguments = engine;
    let mut restarts = Restarts::default();
    let (engine, status) = loop {
        let mut engine = Process::start("engine", &arguments, &layout, &credentials)?;
        children.engine.store(engine.pid(), Ordering::Release);
        let status = watch(&mut venue, &mut engine, &layout, &interrupts)?;
        children.engine.store(0, Ordering::Release);
        if status.success() || interrupts.load(Ordering::Acquire) > 0 || !restarts.allow(fell(status)) {
            break (engine, status);
        }
        say(&format!("{}; starting it again ({})", engine.failure(status).message, restarts.count()));
        std::thread::sleep(restarts.pause());
    };
    venue.stop();
    drop(socket);
    if !status.success() {
        return Err(engine.failure(status));
    }
    finish(options, &layout, interrupts.load(Ordering::Acquire) > 0)
}

/// Exit code of a process whose main thread panicked.
const PANICKED: i32 = 101;

/// True where a process has fallen, and not because of what it was told.
fn fell(status: ExitStatus) -> bool {
    status.code().is_none_or(|code| code == Exit::Failed as i32 || code == PANICKED)
}

/// Credentials of the paper account: the environment's, or fresh ones that only this run's processes know.
fn credentials() -> Result<[String; 2], Failure> {
    let given = CREDENTIALS.map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    if let [Some(key), Some(secret)] = given {
        return Ok([key, secret]);
    }
    let mut bytes = [0u8; 48];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| Failure::run(format!("cannot make credentials from /dev/urandom: {e}")))?;
    let hex = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect();
    Ok([hex(&bytes[..16]), hex(&bytes[16..])])
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
    let account = layout.venue_account().display().to_string();
    let mut arguments: Vec<String> = [
        "venue",
        "--data",
        &data,
        "--speed",
        &speed,
        "--port",
        &port,
        "--endpoints",
        &endpoints,
        "--account",
        &account,
        "--parent",
        &parent,
    ]
    .map(str::to_owned)
    .to_vec();
    let name = options.plan.as_deref().unwrap_or(&config.plan);
    let cores = available_cores();
    let others = plan(name, cores.len()).map_or(Vec::new(), |plan| plan.cores_for_others(&cores));
    if !others.is_empty() {
        let list: Vec<_> = others.iter().map(usize::to_string).collect();
        arguments.extend(["--cores".to_owned(), list.join(",")]);
    }
    if let Some(fill) = options.drop_fill {
        arguments.extend(["--drop-fill".to_owned(), fill.to_string()]);
    }
    arguments
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
    if options.faults {
        arguments.push("--faults".to_owned());
    }
    if let Some(plan) = &options.plan {
        arguments.extend(["--plan".to_owned(), plan.clone()]);
    }
    arguments
}

/// Says what would happen; the launch script has said what would be built.
fn dry_run(state: &Path, venue: &[String], engine: &[String]) -> Result<Exit, Failure> {
    let program = std::env::current_exe().map_or_else(|_| "kimera".into(), |p| p.display().to_string());
    let files = [
        "lock",
        "incarnation",
        "endpoints.json",
        "counters",
        "kill",
        "control.sock",
        "engine.sock",
        "venue-account.jsonl",
        "blobs/",
        "journal/",
        "summary.json",
        "*.log",
    ];
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
    layout: &Layout,
    interrupts: &AtomicUsize,
) -> Result<ExitStatus, Failure> {
    let mut line = LiveLine::default();
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
                let _ = terminate(engine.pid());
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
