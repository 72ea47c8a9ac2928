//! Listens on a local socket. Everything a client can do is bounded: connections, line length, requests a second, time.

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kimera_runtime::process::{Peer, own_uid, peer_of};
use serde_json::{Value, json};

use super::{PROTOCOL, Request, RpcError};
use crate::exit::Failure;
use crate::log::Category::Security;

/// Clients at a time.
const CONNECTIONS_MAX: usize = 16;
/// Longest request.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Requests of one client in a second; more have to wait.
const REQUESTS_PER_SECOND: u32 = 200;
/// Lines a second about those who were turned away.
const LINES_PER_SECOND: u32 = 5;
/// A client that says nothing for this long is let go.
const IDLE: Duration = Duration::from_secs(300);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Does what a request asks.
pub trait Handler: Send + Sync + 'static {
    /// Name of the process, for `hello`.
    fn name(&self) -> &'static str;

    /// Answers a method.
    ///
    /// # Errors
    /// Why it was not done.
    fn call(&self, method: &str, params: &Value) -> Result<Value, RpcError>;
}

/// A control socket. It is removed when this is dropped.
pub struct Server {
    path: PathBuf,
    rejected: Arc<AtomicUsize>,
}

struct Shared {
    handler: Box<dyn Handler>,
    audit: Mutex<File>,
    open: AtomicUsize,
    rejected: Arc<AtomicUsize>,
    /// Since when, and how many since then were turned away.
    turned_away: Mutex<(Instant, u32)>,
}

impl Server {
    /// Listens on `path` (mode 0600), one line a command to `audit`. A socket that a dead process left is replaced.
    ///
    /// # Errors
    /// Where somebody listens there already, or the path cannot be had.
    pub fn start(path: &Path, audit: &Path, handler: Box<dyn Handler>) -> Result<Self, Failure> {
        let fail = |e: std::io::Error| {
            Failure::machine(format!("cannot listen on {}: {e}; choose another --state", path.display()))
        };
        if UnixStream::connect(path).is_ok() {
            return Err(Failure::asked_wrongly(format!("{} is in use by another process", path.display())));
        }
        let _ = std::fs::remove_file(path);
        let audit = File::options().create(true).append(true).open(audit).map_err(fail)?;
        let listener = UnixListener::bind(path).map_err(fail)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(fail)?;
        let rejected = Arc::new(AtomicUsize::new(0));
        let open = AtomicUsize::new(0);
        let turned_away = Mutex::new((Instant::now(), 0));
        let audit = Mutex::new(audit);
        let shared = Arc::new(Shared { handler, audit, open, rejected: rejected.clone(), turned_away });
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &shared))
            .map_err(fail)?;
        Ok(Self { path: path.to_owned(), rejected })
    }

    /// Requests that were refused before anybody looked at what they ask.
    #[must_use]
    pub fn rejected(&self) -> usize {
        self.rejected.load(Ordering::Acquire)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: not in a circle as fast as the machine can.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let peer = peer_of(&stream);
        let allowed = peer.as_ref().is_ok_and(|p| p.uid == own_uid() || p.uid == 0);
        let room = shared.open.load(Ordering::Acquire) < CONNECTIONS_MAX;
        let (Ok(peer), true, true) = (&peer, allowed, room) else {
            shared.rejected.fetch_add(1, Ordering::AcqRel);
            let reason = if allowed { "too many connections" } else { "this socket is its owner's alone" };
            turned_away(shared, reason, peer.ok());
            let _ = respond(&stream, &Value::Null, Err(RpcError::refused(reason)));
            continue;
        };
        let peer = *peer;
        shared.open.fetch_add(1, Ordering::AcqRel);
        let client = shared.clone();
        let spawned = std::thread::Builder::new().name("control".into()).spawn(move || {
            serve(&stream, peer, &client);
            client.open.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            shared.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Said of everybody who was not heard.
fn turned_away(shared: &Shared, reason: &str, peer: Option<Peer>) {
    let mut turned = shared.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
    if turned.0.elapsed() >= Duration::from_secs(1) {
        *turned = (Instant::now(), 0);
    }
    turned.1 += 1;
    if turned.1 > LINES_PER_SECOND {
        return; // who asks in a circle is counted, not quoted
    }
    let reason: String = reason.chars().take(200).collect();
    let before = shared.rejected.load(Ordering::Acquire);
    let (uid, pid) = (peer.map(|p| p.uid), peer.map(|p| p.pid)); // said where they are known
    let socket = shared.handler.name();
    tracing::warn!(target: Security.name(), socket, uid, pid, in_all = before as u64, "turned away: {reason}");
}

fn serve(stream: &UnixStream, peer: Peer, shared: &Shared) {
    if stream.set_read_timeout(Some(IDLE)).is_err() || stream.set_write_timeout(Some(WRITE_TIMEOUT)).is_err()
    {
        return;
    }
    let mut reader = BufReader::new(stream);
    let (mut second, mut in_second) = (Instant::now(), 0u32);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = REQUEST_BYTES_MAX as u64 + 1;
        match reader.by_ref().take(limit).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if line.len() > REQUEST_BYTES_MAX => {
                shared.rejected.fetch_add(1, Ordering::AcqRel);
                let error = RpcError { code: -32_600, message: "a request has at most 64 KiB".into() };
                turned_away(shared, &error.message, Some(peer));
                let _ = respond(stream, &Value::Null, Err(error));
                return; // where the next one begins is anybody's guess
            }
            Ok(_) if line.last() != Some(&b'\n') => return, // cut off: nothing was asked
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        if second.elapsed() >= Duration::from_secs(1) {
            (second, in_second) = (Instant::now(), 0);
        }
        in_second += 1;
        if in_second > REQUESTS_PER_SECOND {
            std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
        }
        if !answer(stream, &line, peer, shared) {
            return;
        }
    }
}

/// Answers one line; false where the client is gone.
fn answer(stream: &UnixStream, line: &[u8], peer: Peer, shared: &Shared) -> bool {
    let parsed: Result<Request, _> = serde_json::from_slice(line);
    let request = match parsed {
        Ok(request) if request.jsonrpc == "2.0" => request,
        other => {
            shared.rejected.fetch_add(1, Ordering::AcqRel);
            let why = other.err().map_or_else(|| "\"jsonrpc\" must be \"2.0\"".into(), |e| e.to_string());
            let error = RpcError { code: -32_700, message: format!("no JSON-RPC 2.0 request: {why}") };
            turned_away(shared, &error.message, Some(peer));
            return respond(stream, &Value::Null, Err(error)).is_ok();
        }
    };
    let result = match request.method.as_str() {
        "hello" => Ok(json!({
            "protocol": PROTOCOL, "process": shared.handler.name(), "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
        })),
        method => shared.handler.call(method, &request.params),
    };
    audit(&request, peer, &result, shared);
    respond(stream, &request.id, result).is_ok()
}

/// What only looks is in the audit file alone.
fn changes_something(request: &Request) -> bool {
    let changes = ["trading.", "orders.", "actor.", "faults.", "patterns.", "shutdown"];
    let asks_for_a_level = request.method == "log.level" && !request.params["level"].is_null();
    asks_for_a_level || changes.iter().any(|begin| request.method.starts_with(begin))
}

fn audit(request: &Request, peer: Peer, result: &Result<Value, RpcError>, shared: &Shared) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let method: String = request.method.chars().take(64).collect();
    let error = result.as_ref().err().map(|e| e.message.as_str());
    let params: Option<String> =
        changes_something(request).then(|| request.params.to_string().chars().take(200).collect());
    if let Some(params) = &params {
        let (socket, uid, pid) = (shared.handler.name(), peer.uid, peer.pid);
        let params = params.as_str();
        tracing::info!(target: Security.name(), socket, uid, pid, method, params, done = result.is_ok(), error, "asked");
    }
    let mut line = json!({
        "time_ms": time, "uid": peer.uid, "pid": peer.pid, "method": method, "params": params,
        "done": result.is_ok(), "error": error,
    })
    .to_string();
    line.push('\n');
    let _ = shared.audit.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
}

fn respond(mut stream: &UnixStream, id: &Value, result: Result<Value, RpcError>) -> std::io::Result<()> {
    let mut text = match result {
        Ok(value) => json!({"jsonrpc": "2.0", "id": id, "result": value}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    }
    .to_string();
    text.push('\n');
    stream.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Client;

    struct Echo;

    impl Handler for Echo {
        fn name(&self) -> &'static str {
            "echo"
        }

        fn call(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
            match method {
                "echo" => Ok(params.clone()),
                other => Err(RpcError::no_method(other, &["echo"])),
            }
        }
    }

    fn start(name: &str) -> (Server, PathBuf) {
        let folder = std::env::temp_dir().join(format!("kimera-control-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let server = Server::start(&folder.join("socket"), &folder.join("audit"), Box::new(Echo)).unwrap();
        (server, folder)
    }

    #[test]
    fn it_answers_its_owner_and_writes_down_what_was_asked() {
        let (server, folder) = start("answers");
        let socket = folder.join("socket");
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = Client::connect(&socket, Duration::from_secs(5)).unwrap();
        assert_eq!(client.call("hello", &Value::Null).unwrap().unwrap()["process"], "echo");
        assert_eq!(client.call("echo", &json!({"a": 1})).unwrap(), Ok(json!({"a": 1})));
        let error = client.call("launch.missiles", &Value::Null).unwrap().unwrap_err();
        assert!(error.code == -32_601 && error.message.contains("known: echo"), "{error:?}");
        let audit = std::fs::read_to_string(folder.join("audit")).unwrap();
        assert_eq!(audit.lines().count(), 3);
        assert!(audit.contains("\"method\":\"launch.missiles\"") && audit.contains("\"done\":false"));
        let second = Server::start(&socket, &folder.join("audit"), Box::new(Echo)).err().unwrap();
        assert!(second.message.contains("in use"), "{second}");
        drop(server);
        assert!(!socket.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nonsense_gets_an_error_and_the_next_request_an_answer() {
        let (server, folder) = start("nonsense");
        let stream = UnixStream::connect(folder.join("socket")).unwrap();
        let mut lines = BufReader::new(&stream);
        let mut ask = |bytes: &[u8]| {
            (&stream).write_all(bytes).unwrap();
            let mut answer = String::new();
            lines.read_line(&mut answer).unwrap();
            answer
        };
        let nonsense: [&[u8]; 5] = [
            b"{}\n",
            b"\xff\xfe\n",
            b"[1,2]\n",
            b"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"echo\"}\n",
            b"\n",
        ];
        for bytes in nonsense {
            assert!(ask(bytes).contains("-32700"));
        }
        assert!(ask(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"echo\"}\n").contains("\"id\":7"));
        let mut long = vec![b'x'; REQUEST_BYTES_MAX];
        long.extend_from_slice(b"yy\n");
        assert!(ask(&long).contains("at most 64 KiB"));
        assert_eq!(server.rejected(), 6);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
