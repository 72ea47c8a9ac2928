//! Orders against the venue's process: our requests checked by its own code, its reports read by ours; and its account
//! after a kill.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use kimera_protocol::{
    FillBook, Instrument, InstrumentId, NewOrder, OrderId, OrderRecord, OrderState, Price, Quantity, Side,
    TimeInForce, VenueId,
};
use kimera_venues::binance::account::read_trades;
use kimera_venues::binance::orders::{Asked, OrderWriter, Response, Verdict, read_response};
use kimera_venues::binance::signing::Signer;
use kimera_venues::binance::user_data::{UserEvent, read_user_event};
use serde_json::Value;
use tungstenite::{Message, WebSocket};

const KEY: &str = "paper";
const SECRET: &str = "a secret of the test";
const LOT: i64 = 100_000;

struct Venue {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Venue {
    fn start(folder: &std::path::Path, more: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let endpoints = folder.join("endpoints.json");
        let _ = std::fs::remove_file(&endpoints);
        let child = Command::new(env!("CARGO_BIN_EXE_kimera"))
            .args(["venue", "--speed", "5", "--endpoints", endpoints.to_str().unwrap()])
            .args(["--account", folder.join("account.jsonl").to_str().unwrap()])
            .args(more)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("KIMERA_PAPER_KEY", KEY)
            .env("KIMERA_PAPER_SECRET", SECRET)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !endpoints.exists() {
            std::thread::yield_now();
        }
        let text: Value = serde_json::from_slice(&std::fs::read(&endpoints).unwrap()).unwrap();
        let address = text["markets"][1][1].as_str().unwrap().parse().unwrap();
        let venue = Self { child, address, folder: folder.to_owned() };
        venue.http("POST", "/kimera/v1/clock/start?delay_ms=0");
        // Until the recorded snapshot has been played there is no book to trade against.
        venue.http("GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=5");
        venue
    }

    fn http(&self, method: &str, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nX-MBX-APIKEY: {KEY}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
    }

    fn signed(&self, method: &str, path: &str, query: &str) -> Value {
        let text = format!("{query}{}timestamp={}", if query.is_empty() { "" } else { "&" }, self.now_ms());
        let signature = Signer::new(KEY, SECRET.as_bytes()).unwrap().sign(text.as_bytes());
        self.http(method, &format!("{path}?{text}&signature={}", std::str::from_utf8(&signature).unwrap()))
    }

    fn now_ms(&self) -> i64 {
        self.http("GET", "/fapi/v1/time")["serverTime"].as_i64().unwrap()
    }

    /// Best bid and ask in ticks of 0.10.
    fn best(&self) -> (i64, i64) {
        let book = self.http("GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=5");
        let tick =
            |side: &str| instrument().parse_price(book[side][0][0].as_str().unwrap().as_bytes()).unwrap().0;
        (tick("bids"), tick("asks"))
    }

    fn connect(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        tungstenite::client(format!("ws://{}{path}", self.address), stream).unwrap().0
    }

    fn private(&self) -> WebSocket<TcpStream> {
        let key = self.http("POST", "/fapi/v1/listenKey");
        self.connect(&format!("/private/ws/{}", key["listenKey"].as_str().unwrap()))
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn instrument() -> Instrument {
    Instrument::new(InstrumentId(1), VenueId(1), "BTCUSDT", 10_000_000, LOT).unwrap()
}

fn order(seq: u64, side: Side, price: i64, lots: i64, tif: TimeInForce) -> NewOrder {
    NewOrder {
        id: OrderId { incarnation: 1, seq, child: 0 },
        price: Price(price),
        quantity: Quantity(lots * LOT),
        side: side as u8,
        time_in_force: tif as u8,
        ..NewOrder::default()
    }
}

struct Client {
    writer: OrderWriter,
    socket: WebSocket<TcpStream>,
}

impl Client {
    fn new(venue: &Venue) -> Self {
        let signer = Signer::new(KEY, SECRET.as_bytes()).unwrap();
        Self { writer: OrderWriter::new(instrument(), &signer), socket: venue.connect("/ws-fapi/v1") }
    }

    fn ask(&mut self, write: impl FnOnce(&mut OrderWriter, &mut Vec<u8>)) -> Response {
        let mut text = Vec::new();
        write(&mut self.writer, &mut text);
        self.socket.send(Message::text(String::from_utf8(text).unwrap())).unwrap();
        let Message::Text(answer) = self.socket.read().unwrap() else { panic!("no text") };
        read_response(answer.as_bytes()).unwrap().unwrap_or_else(|| panic!("not ours: {answer}"))
    }

    fn place(&mut self, venue: &Venue, order: &NewOrder) -> Verdict {
        let now = venue.now_ms();
        self.ask(|w, out| w.place(order, now, out).unwrap()).verdict
    }
}

/// The next event about an order of ours.
fn next_event(private: &mut WebSocket<TcpStream>) -> kimera_protocol::OrderUpdate {
    loop {
        let Message::Text(text) = private.read().unwrap() else { continue };
        if let UserEvent::Order(update) = read_user_event(&instrument(), text.as_bytes()).unwrap() {
            return update;
        }
    }
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("kimera-orders-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn orders_live_at_the_venue_and_survive_its_death() {
    let venue = Venue::start(&folder("life"), &[]);
    let (mut client, mut private) = (Client::new(&venue), venue.private());
    let (_, ask) = venue.best();

    // One that takes: whole, at once.
    let taker = order(1, Side::Bid, ask + 200, 2, TimeInForce::GoodTillCancel);
    assert_eq!(client.place(&venue, &taker), Verdict::Done);
    let mut record = OrderRecord::new(taker);
    while record.state != OrderState::Filled {
        assert!(!record.apply(&next_event(&mut private)).is_alarm());
    }

    // One that would take and must not, one that rests, one that rests far away and is cancelled.
    let crossing = order(2, Side::Bid, ask + 500, 2, TimeInForce::PostOnly);
    assert_eq!(client.place(&venue, &crossing), Verdict::Refused(-5022));
    let (resting, away) = (
        order(3, Side::Bid, ask - 5_000, 5, TimeInForce::PostOnly),
        order(4, Side::Ask, ask + 9_000, 5, TimeInForce::PostOnly),
    );
    assert_eq!((client.place(&venue, &resting), client.place(&venue, &away)), (Verdict::Done, Verdict::Done));
    assert_eq!(client.place(&venue, &resting), Verdict::Refused(-4116), "its identity is in use");
    let now = venue.now_ms();
    let cancelled = client.ask(|w, out| w.cancel(away.id, now, out));
    assert_eq!((cancelled.asked, cancelled.verdict), (Asked::Cancel, Verdict::Done));
    let again = client.ask(|w, out| w.cancel(away.id, now, out));
    assert_eq!(again.verdict, Verdict::Refused(-2011));
    let late = client.ask(|w, out| w.status(resting.id, now - 600_000, out));
    assert_eq!(late.verdict, Verdict::Refused(-1021), "a timestamp long past its window");

    let before = venue.signed("GET", "/fapi/v1/openOrders", "");
    assert_eq!(before.as_array().map(Vec::len), Some(1));
    assert_eq!(before[0]["clientOrderId"], resting.id.to_text().as_str());
    let account = venue.signed("GET", "/fapi/v2/account", "");

    // Killed outright: what was told is still true.
    let path = venue.folder.clone();
    drop(venue);
    let venue = Venue::start(&path, &[]);
    assert_eq!(
        venue.signed("GET", "/fapi/v1/openOrders", "")[0]["clientOrderId"],
        before[0]["clientOrderId"]
    );
    assert_eq!(venue.signed("GET", "/fapi/v2/account", ""), account);
    let mut client = Client::new(&venue);
    let now = venue.now_ms();
    let status = client.ask(|w, out| w.status(resting.id, now, out));
    assert_eq!((status.verdict, status.standing, status.filled), (Verdict::Done, true, 0));
    assert_eq!(venue.signed("DELETE", "/fapi/v1/allOpenOrders", "symbol=BTCUSDT")["code"], 200);
    assert_eq!(venue.signed("GET", "/fapi/v1/openOrders", ""), Value::Array(vec![]));
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_maker_is_filled_by_the_recorded_market_and_a_dropped_fill_is_missed() {
    for (name, more, told) in [("maker", &[][..], true), ("dropped", &["--drop-fill", "1"], false)] {
        let venue = Venue::start(&folder(name), more);
        let (mut client, mut private) = (Client::new(&venue), venue.private());
        // Both sides of the best prices: the recorded market moves through one of them soon.
        let (bid, ask) = venue.best();
        let orders = [
            order(1, Side::Bid, bid - 1, 2, TimeInForce::PostOnly),
            order(2, Side::Ask, ask + 1, 2, TimeInForce::PostOnly),
        ];
        for order in &orders {
            client.place(&venue, order);
        }
        let position = |venue: &Venue| {
            let account = venue.signed("GET", "/fapi/v2/account", "");
            let text = account["positions"][0]["positionAmt"].as_str().unwrap().to_owned();
            kimera_protocol::fixed::parse_decimal(text.as_bytes(), 8).unwrap()
        };
        while position(&venue) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(venue.signed("DELETE", "/fapi/v1/allOpenOrders", "symbol=BTCUSDT")["code"], 200);
        // What the private stream has said by the time a later order is acknowledged there is all it will say.
        let marker = order(9, Side::Bid, bid - 9_000, 2, TimeInForce::PostOnly);
        assert_eq!(client.place(&venue, &marker), Verdict::Done);
        let mut seen = FillBook::default();
        let mut told_position = 0;
        loop {
            let update = next_event(&mut private);
            if update.id == marker.id {
                break;
            }
            told_position += seen.signed_fill(&update);
        }
        assert_eq!(told_position == position(&venue), told, "{name}: {told_position}");
        let trades = venue.signed("GET", "/fapi/v1/userTrades", "symbol=BTCUSDT");
        let trades = read_trades(&instrument(), trades.to_string().as_bytes()).unwrap();
        let sum: i64 = trades.iter().map(|t| t.quantity.0 * if t.side == Side::Bid { 1 } else { -1 }).sum();
        assert_eq!(sum == position(&venue), told, "a trade that is lost is nowhere");
        assert!(trades.iter().all(|t| t.maker));
        std::fs::remove_dir_all(&venue.folder).unwrap();
    }
}
