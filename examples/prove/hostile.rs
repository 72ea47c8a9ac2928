//! Random and malicious input on everything that listens or is listened to: the engine's process stays, what is refused is
//! counted, and errors say what is wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kimera::control::Client;
use serde_json::{Value, json};

use crate::cases::Cases;
use crate::run::{Folder, profile, program};

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// Between engine and venue: passes bytes on, and from some time on not as they were.
struct Proxy {
    address: SocketAddr,
    hostile: Arc<AtomicBool>,
    mangled: Arc<AtomicU64>,
}

impl Proxy {
    fn start(upstream: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (hostile, mangled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (h, m) = (hostile.clone(), mangled.clone());
        std::thread::spawn(move || {
            for (n, client) in listener.incoming().flatten().enumerate() {
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (c, s) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(c, s, |_| true));
                let (h, m) = (h.clone(), m.clone());
                let mut random = Random::new(seed + n as u64);
                std::thread::spawn(move || {
                    pass(server, client, |chunk| {
                        !h.load(Ordering::Relaxed) || mangle(chunk, &mut random, &m)
                    });
                });
            }
        });
        Self { address, hostile, mangled }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut change: impl FnMut(&mut Vec<u8>) -> bool) {
    let mut buffer = [0u8; 16 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        let mut chunk = buffer[..n].to_vec();
        if n == 0 || !change(&mut chunk) || to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Changes what the venue says: a bit, junk in the middle, a frame no client asked for, or the end. False: cut.
fn mangle(chunk: &mut Vec<u8>, random: &mut Random, count: &AtomicU64) -> bool {
    let what = random.below(2_000);
    if what < 40 {
        count.fetch_add(1, Ordering::Relaxed);
    }
    let at = random.below(chunk.len());
    match what {
        0..=14 => chunk[at] ^= 1 << random.below(8),
        15..=24 => {
            let junk = random.bytes(1 + what);
            chunk.splice(at..at, junk);
        }
        25..=31 => {
            // A well-formed text frame with nonsense in it, between two others as far as chance allows.
            let texts: [&[u8]; 4] = [
                b"{\"stream\":\"btcusdt@depth@0ms\",\"data\":{}}",
                b"{\"e\":\"ORDER_TRADE_UPDATE\",\"o\":{\"s\":\"BTCUSDT\",\"c\":\"k1-1-0\",\"x\":\"TRADE\",\"l\":\"-5\"}}",
                b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                b"{\"id\":\"pk1-1-0\",\"status\":99999999999999999999}",
            ];
            let text = texts[random.below(texts.len())];
            let mut frame = vec![0x81, text.len() as u8];
            frame.extend_from_slice(text);
            frame.extend_from_slice(chunk);
            *chunk = frame;
        }
        32..=37 => chunk.truncate(at),
        38..=39 => return false,
        _ => {}
    }
    true
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(program())
        .args(arguments)
        .env("KIMERA_PAPER_KEY", "hostile")
        .env("KIMERA_PAPER_SECRET", "a secret of the proof")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program is built")
}

/// Throws things at a control socket; how many got an answer that is an error, and how many got another or none.
fn harass_control(socket: &Path, random: &mut Random) -> (u64, u64) {
    let Ok(mut stream) = UnixStream::connect(socket) else { return (0, 1) };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let deep = [b"[".repeat(2_000), b"\n".to_vec()].concat();
    let mut line = match random.below(7) {
        0 => random.bytes(1 + random.0 as usize % 200),
        1 => deep,
        2 => vec![b'x'; 70_000],
        3 => b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"".to_vec(),
        4 => b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"shutdown\",\"params\":{\"orders\":\"sell\"}}"
            .to_vec(),
        5 => b"{\"jsonrpc\":\"2.0\",\"id\":{\"a\":[1]},\"method\":\"\\u0000\"}".to_vec(),
        _ => b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"trading.fly\",\"params\":[1e999]}".to_vec(),
    };
    line.retain(|b| *b != b'\n');
    line.push(b'\n');
    if random.below(10) == 0 {
        let _ = stream.write_all(&line[..line.len() / 2]); // and gone
        return (1, 0);
    }
    let _ = stream.write_all(&line);
    let mut answer = String::new();
    let _ = BufReader::new(stream).read_line(&mut answer);
    let error = serde_json::from_str::<Value>(&answer).is_ok_and(|v| v["error"]["message"].is_string());
    (u64::from(error), u64::from(!error))
}

/// Throws requests at an HTTP port.
fn harass_http(address: SocketAddr, random: &mut Random) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let request = match random.below(5) {
        0 => random.bytes(300),
        1 => b"GET /fapi/v1/depth?symbol=%00%ff&limit=-9999999999999999999 HTTP/1.1\r\n\r\n".to_vec(),
        2 => b"POST /fapi/v1/listenKey HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
        3 => [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 80_000], b"\r\n\r\n".to_vec()].concat(),
        _ => {
            b"GET /ws-fapi/v1 HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n\xff\xff\xff\xff"
                .to_vec()
        }
    };
    let _ = stream.write_all(&request);
    let _ = stream.read(&mut [0u8; 512]);
}

/// Changed configurations: each is taken or refused with the right code and a line that says why.
fn configurations(folder: &Folder, random: &mut Random, tries: usize) -> (u64, u64) {
    let text = profile(&[]);
    let path = folder.join("mutated.toml");
    let (mut refused, mut wrong) = (0, 0);
    for _ in 0..tries {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] ^= 1 << random.below(7),
                1 => drop(bytes.drain(at..(at + 1 + random.below(20)).min(bytes.len()))),
                _ => {
                    let digits = b"999999999999".to_vec();
                    bytes.splice(at..at, digits);
                }
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let output =
            Command::new(program()).args(["topology", "--config", path.to_str().unwrap()]).output().unwrap();
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => {}
            Some(3) if says.starts_with("kimera: ") && !says.contains("panicked") => refused += 1,
            _ => wrong += 1,
        }
    }
    (refused, wrong)
}

fn status(state: &Path) -> Option<Value> {
    let mut client = Client::connect(&state.join("engine.sock"), Duration::from_secs(10)).ok()?;
    client.call("status", &json!({})).ok()?.ok()
}

fn counters(state: &Path) -> Value {
    let output = Command::new(program()).args(["stat", state.to_str().unwrap(), "--json"]).output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).map_or(Value::Null, |v| v["counters"].clone())
}

pub fn prove(cases: &mut Cases, seed: u64, seconds: u64) {
    let folder = Folder::new("hostile");
    let mut random = Random::new(seed);
    let (refused, wrong) = configurations(&folder, &mut random, 300);
    cases.holds("changed configurations are refused with code 3", refused > 50, format!("{refused} of 300"));
    cases.is("configurations that crash it or end with another code", 0, wrong);

    let (state, endpoints) = (folder.join("state"), folder.join("endpoints.json"));
    let account = folder.join("account.jsonl");
    let speed = (330 / (seconds + 15)).clamp(1, 20).to_string();
    let venue_arguments = [
        "venue",
        "--speed",
        &speed,
        "--endpoints",
        endpoints.to_str().unwrap(),
        "--account",
        account.to_str().unwrap(),
    ];
    let mut venue = spawn(&venue_arguments);
    while !endpoints.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut listed: Value = serde_json::from_slice(&std::fs::read(&endpoints).unwrap()).unwrap();
    let (mut proxies, mut direct) = (Vec::new(), Vec::new());
    for market in listed["markets"].as_array_mut().unwrap() {
        let upstream: SocketAddr = market[1].as_str().unwrap().parse().unwrap();
        let proxy = Proxy::start(upstream, seed * 1_000 + proxies.len() as u64);
        market[1] = json!(proxy.address.to_string());
        proxies.push(proxy);
        direct.push(upstream);
    }
    let bent = folder.join("bent.json");
    std::fs::write(&bent, listed.to_string()).unwrap();
    let mut engine =
        spawn(&["engine", "--state", state.to_str().unwrap(), "--endpoints", bent.to_str().unwrap()]);
    let deadline = Instant::now() + Duration::from_secs(40);
    let quoting = || status(&state).is_some_and(|s| s["orders"]["working"].as_u64() > Some(0));
    while !quoting() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = status(&state).map(|s| s["pid"].clone());
    cases.is("the engine trades", true, pid.is_some() && quoting());

    proxies.iter().for_each(|p| p.hostile.store(true, Ordering::Release));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut errors, mut silent) = (0, 0);
    while Instant::now() < end {
        let (e, s) = harass_control(&state.join("engine.sock"), &mut random);
        (errors, silent) = (errors + e, silent + s);
        harass_http(direct[random.below(direct.len())], &mut random);
        std::thread::sleep(Duration::from_millis(5));
    }
    proxies.iter().for_each(|p| p.hostile.store(false, Ordering::Release));
    let mangled: u64 = proxies.iter().map(|p| p.mangled.load(Ordering::Relaxed)).sum();
    cases.note(&format!(
        "{mangled} changes to what the venue said, {errors} errors from the control socket, seed {seed}"
    ));
    let still = status(&state).map(|s| s["pid"].clone());
    cases.is("the same process answers after it", true, pid.is_some() && pid == still);
    cases.is("requests to the control socket that got no error", 0, silent);
    let counts = counters(&state);
    let sum = |suffix: &str| -> u64 {
        let all = counts.as_object().into_iter().flatten();
        all.filter(|(k, _)| k.ends_with(suffix)).filter_map(|(_, v)| v.as_u64()).sum()
    };
    let found = sum(".undecodable_frames")
        + sum(".gaps")
        + sum(".unreadable")
        + sum(".connections").saturating_sub(4);
    cases.holds("what the venue said wrongly is counted", found > 0, format!("{found} counted"));
    cases.is("the venue lives too", true, venue.try_wait().ok().flatten().is_none());
    let mut client = Client::connect(&state.join("engine.sock"), Duration::from_secs(20)).ok();
    client.as_mut().map(|c| c.call("shutdown", &json!({})));
    let mut said = String::new();
    let _ = engine.stdout.as_mut().map(|out| out.read_to_string(&mut said));
    let code = engine.wait().ok().and_then(|s| s.code());
    cases.is("it ends in order", 0, code.unwrap_or(-1));
    let summary: Value = serde_json::from_str(&said).unwrap_or_default();
    cases.is(
        "allocations in sealed seats through all of it",
        0,
        summary["sealed_allocations"].as_i64().unwrap_or(-1),
    );
    let verify = Command::new(program()).args(["replay", state.to_str().unwrap()]).output().unwrap();
    cases.is("and what it has recorded replays identically", 0, verify.status.code().unwrap_or(-1));
    let _ = (venue.kill(), venue.wait());

    // The control: a process that does fall is noticed. A killed engine has another answer, none.
    let (control_state, control_endpoints) = (folder.join("control"), folder.join("control.json"));
    let mut arguments = venue_arguments;
    arguments[4] = control_endpoints.to_str().unwrap();
    let other_account = folder.join("other.jsonl");
    arguments[6] = other_account.to_str().unwrap();
    let mut venue = spawn(&arguments);
    while !control_endpoints.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let control = [
        "engine",
        "--state",
        control_state.to_str().unwrap(),
        "--endpoints",
        control_endpoints.to_str().unwrap(),
    ];
    let mut engine = spawn(&control);
    let deadline = Instant::now() + Duration::from_secs(20);
    while status(&control_state).is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let alive = status(&control_state).is_some();
    let _ = (engine.kill(), engine.wait(), venue.kill(), venue.wait());
    cases.is("control: an engine that is killed is missed", true, alive && status(&control_state).is_none());
}
