use std::sync::Arc;

use kimera_protocol::{
    Command, CommandCode, Definition, Header, InstrumentStatus, Message, NewOrder, OrderEvent, OrderId,
    OrderUpdate, Price, Quantity, Refusal, RefusalReason,
};

use super::record::last_words;
use super::*;
use crate::config::Config;

/// Keeps records instead of writing them.
struct Kept(Arc<Mutex<Vec<Record>>>);

impl<S: Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().push(Record::of(event, Category::of(event.metadata())));
    }
}

fn records_of(said: impl FnOnce()) -> Vec<Record> {
    let kept = Arc::default();
    let subscriber = tracing_subscriber::registry().with(Kept(Arc::clone(&kept)));
    tracing::subscriber::with_default(subscriber, said);
    std::mem::take(&mut *kept.lock().unwrap())
}

#[test]
fn each_category_and_level_has_a_call_site_of_its_own() {
    for category in Category::ALL {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let records = records_of(|| say_at(category, level, "x"));
            assert_eq!(records.len(), 1);
            assert_eq!((records[0].category, records[0].level), (category, level));
        }
        assert!(records_of(|| say_at(category, LogLevel::Off, "x")).is_empty());
    }
}

#[test]
fn a_line_is_one_line_whatever_is_said() {
    let records = records_of(|| {
        tracing::warn!(target: "risk", seq = 7_u64, reason = "price-collar", note = "a \"b\" c", level = 3_i64, method = "trading.\u{9b}2J\u{202e}",
            "refused\n2026-01-01T00:00:00Z INFO  system     all is well\u{1b}[2J");
    });
    let record = Record { time_us: 1_767_323_045_678_901, ..records[0].clone() };
    let text = record.text();
    assert_eq!(
        text,
        "2026-01-02T03:04:05.678901Z WARN  risk       refused\\n2026-01-01T00:00:00Z INFO  system     all is well\\u{1b}[2J  \
         seq=7 reason=price-collar note=\"a \\\"b\\\" c\" level_=3 method=\"trading.\\u{9b}2J\\u{202e}\"\n"
    );
    let json = record.json("engine");
    assert_eq!(json.matches('\n').count(), 1);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (name, value) in [("level", "warn"), ("category", "risk"), ("process", "engine")] {
        assert_eq!(object[name], value);
    }
    assert_eq!((&object["seq"], &object["level_"]), (&7.into(), &3.into()));
    assert!(object["message"].as_str().unwrap().ends_with("[2J"));
    assert_eq!(object["method"], "trading.\u{9b}2J\u{202e}", "what a program reads is what was said");
    assert!(json.is_ascii(), "and what a terminal shows is harmless");
    assert!(!record.plain().contains('\u{1b}'), "nor does it reach a person's terminal");
}

#[test]
fn what_is_logged_is_what_was_set() {
    let takes = |level| {
        struct Probe(Arc<AtomicU8>);
        impl<S: Subscriber> Layer<S> for Probe {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.fetch_add(u8::from(LOG.takes(event.metadata())), Ordering::Relaxed);
            }
        }
        let taken = Arc::new(AtomicU8::new(0));
        let subscriber = tracing_subscriber::registry().with(Probe(taken.clone()));
        tracing::subscriber::with_default(subscriber, || say_at(Category::Security, level, "x"));
        taken.load(Ordering::Relaxed) == 1
    };
    assert!(takes(LogLevel::Info) && !takes(LogLevel::Debug));
    set_level(Category::Security, LogLevel::Debug);
    assert!(takes(LogLevel::Debug) && !takes(LogLevel::Trace));
    set_level(Category::Security, LogLevel::Off);
    assert!(!takes(LogLevel::Error));
    set_level(Category::Security, LogLevel::Info);
}

#[test]
fn what_the_line_does_is_said_with_its_names_and_units() {
    let config = Config::parse(include_str!("../../config/profiles/paper.toml")).unwrap();
    let names = line::Names::of(&config, &crate::line::topology(&config)).unwrap();
    let header = Header { seq: 12_807, time: 1_723_161_257_999_001_000, instrument: 1, ..Header::default() };
    let id = OrderId { incarnation: 1, seq: 12_807, child: 0 };
    let said = |message: Message| records_of(|| line::say(&message, &names)).pop().unwrap();

    let new =
        NewOrder { id, price: Price(616_597), quantity: Quantity(1_000_000), side: 1, ..NewOrder::default() };
    let order = said(Message::new(header, new));
    assert_eq!(
        (order.category, order.level, order.message.as_str()),
        (Category::Trading, LogLevel::Info, "order")
    );
    let field = |record: &Record, name: &str| {
        record.fields.iter().find(|(n, _)| n == name).unwrap().1.to_string().replace('"', "")
    };
    for (name, value) in [
        ("seq", "12807"),
        ("order", "k1-12807-0"),
        ("feed", "feed.usdm"),
        ("side", "sell"),
        ("size", "0.01000000"),
        ("price", "61659.70000000"),
        ("market_time", "2024-08-08T23:54:17.999001Z"),
    ] {
        assert_eq!(field(&order, name), value, "{name}");
    }
    for (reason, category) in [
        (RefusalReason::PriceCollar, Category::Risk),
        (RefusalReason::Halted, Category::Risk),
        (RefusalReason::OrderToTrade, Category::Compliance),
        (RefusalReason::OwnTrade, Category::Compliance),
    ] {
        let record = said(Message::new(header, Refusal { id, reason: reason as u64, ..Refusal::default() }));
        assert_eq!((record.category, record.level), (category, LogLevel::Warn), "{reason:?}");
        assert_eq!(field(&record, "reason"), reason.name());
    }
    let rules = |tick_units: i64, status: InstrumentStatus| {
        let (lot_units, status) = (100_000, status as u64);
        let rules = Definition { tick_units, lot_units, status, ..Definition::default() };
        said(Message::new(header, rules))
    };
    let (known, closed) = (rules(50_000_000, InstrumentStatus::Trading), rules(1, InstrumentStatus::Closed));
    assert_eq!((known.level, field(&known, "tick").as_str()), (LogLevel::Info, "0.50000000"));
    assert_eq!((closed.level, field(&closed, "run").as_str()), (LogLevel::Warn, "0.10000000"));
    assert_eq!(field(&rules(50_000_000, InstrumentStatus::Closed), "status"), "closed");
    let event = |event: OrderEvent| {
        said(Message::new(header, OrderUpdate { id, event: event as u8, ..OrderUpdate::default() }))
    };
    for each in OrderEvent::ALL {
        assert_eq!(event(each).message, each.name());
    }
    assert_eq!(
        (event(OrderEvent::Filled).level, event(OrderEvent::Rejected).level),
        (LogLevel::Info, LogLevel::Warn)
    );
    let command =
        |code: CommandCode| said(Message::new(header, Command { code: code as u64, ..Command::default() }));
    assert_eq!(
        (command(CommandCode::Halt).category, command(CommandCode::Stop).category),
        (Category::Risk, Category::System)
    );
}

#[test]
fn the_last_words_of_a_process_are_its_own() {
    let record = |category: Category, message: &str| Record {
        time_us: 0,
        level: LogLevel::Info,
        category,
        message: message.into(),
        fields: Vec::new(),
    };
    let (system, trading) = (record(Category::System, "line risk died"), record(Category::Trading, "order"));
    let text = system.text() + &trading.text();
    assert!(last_words(&text).ends_with("system     line risk died"), "{}", last_words(&text));
    assert_eq!(last_words(&(system.json("engine") + &trading.json("engine"))), "line risk died");
    assert_eq!(last_words(&(text + "kimera: the disk is gone\n")), "the disk is gone");
    assert_eq!(last_words("\n\n"), "nothing in its log");
    assert_eq!(last_words("thread 'main' panicked\n"), "thread 'main' panicked");
}
