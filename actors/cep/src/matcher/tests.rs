//! The pattern language's published behaviour, and a matcher that is as plain as can be to compare with.

mod reference;

use proptest::prelude::*;

use super::*;
use crate::language::{compile, parse};
use crate::schema::{Schema, Type};

/// Events of one letter, with a number.
fn letters() -> Schema {
    let fields = [("v", Type::Int), ("k", Type::Int)];
    ["A", "B", "C", "D"].iter().fold(Schema::default(), |schema, name| schema.with("letters", name, &fields))
}

/// A stream like "c1 a2 b": letters, perhaps with a number; one a second.
fn stream(text: &str) -> Vec<Event> {
    let schema = letters();
    let event = |(i, word): (usize, &str)| {
        let ty = schema.type_of(&word[..1].to_uppercase()).expect("a letter");
        let number = word[1..].parse().unwrap_or(0);
        Event::new(ty, i as u64 + 1, i as i64 * 1_000_000_000)
            .with(0, Value::Int(number))
            .with(1, Value::Int(0))
    };
    text.split_whitespace().enumerate().map(event).collect()
}

/// Every match of a pattern: places of its events, from 1.
fn matches(pattern: &str, events: &[Event]) -> Vec<Vec<u64>> {
    let program = compile(pattern, &letters()).unwrap_or_else(|m| panic!("{pattern}: {m}")).remove(0);
    let mut matcher = Matcher::new(program, Bounds { runs: 4_096, runs_per_key: 4_096, ..Bounds::default() });
    let mut all = Vec::new();
    let mut found = |found: &Found<'_>| all.push(found.events.iter().map(|(_, e)| e.seq).collect());
    for event in events {
        matcher.event(event, &mut found);
    }
    matcher.pass(Nanos::MAX, &mut found);
    assert_eq!(matcher.overflows(), Overflows::default());
    if matcher.program.within.is_some() {
        assert!(matcher.store.is_empty(), "time is over, and something is still held");
    }
    all
}

fn found(rest: &str, events: &str) -> Vec<String> {
    let matches = matches(&format!("pattern p on letters: {rest}"), &stream(events));
    matches.iter().map(|m| m.iter().map(u64::to_string).collect()).collect()
}

#[test]
fn links_pass_over_what_they_say() {
    // a c b1 b2
    assert!(found("a:A -> b:B", "a c b b").is_empty());
    assert_eq!(found("a:A ->> b:B", "a c b b"), ["13"]);
    assert_eq!(found("a:A ->* b:B", "a c b b"), ["13", "14"]);
}

#[test]
fn loops_go_on_as_they_say() {
    // C D A1 A2 A3 D A4 B
    let events = "c d a a a d a b";
    assert_eq!(found("c:C ->> a:A+ ->> b:B", events), ["134578", "13458", "1348", "138"]);
    assert_eq!(found("c:C ->> a:A+! ->> b:B", events), ["13458", "1348", "138"]);
    let mut all = found("c:C ->> a:A+* ->> b:B within 1h", events);
    all.sort_unstable();
    assert_eq!(all, ["134578", "13458", "13478", "1348", "13578", "1358", "1378", "138"]);
    assert_eq!(found("c:C ->> a:A+ greedy ->> b:B", events), ["134578"], "as many as there are");
    assert_eq!(found("c:C ->> a:A+! greedy ->> b:B", events), ["13458"]);
}

#[test]
fn a_match_lets_go_what_it_is_told_to() {
    // Six events that fit both steps.
    let pattern = |skip: &str| found(&format!("a:A -> b:A{{2}} skip {skip}"), "a a a a a a");
    assert_eq!(pattern("none"), ["123", "234", "345", "456"]);
    assert_eq!(pattern("past_last"), ["123", "456"]);
    assert_eq!(pattern("to_first(b)"), ["123", "234", "345", "456"]);
    assert_eq!(pattern("to_last(b)"), ["123", "345"]);
    let pattern = |link: &str, skip: &str| found(&format!("b:B+ {link} c:C skip {skip}"), "b b b c");
    assert_eq!(pattern("->", "none"), ["1234", "234", "34"]);
    assert_eq!(pattern("->", "past_last"), ["1234"]);
    assert_eq!(pattern("->", "to_last(b)"), ["1234", "34"]);
    assert_eq!(pattern("->>", "none"), ["1234", "124", "14", "234", "24", "34"]);
    assert_eq!(pattern("->>", "next"), ["1234", "234", "34"]);
    assert_eq!(pattern("->>", "past_last"), ["1234"]);
}

#[test]
fn what_must_not_come_ends_a_run_and_time_makes_it_certain() {
    assert_eq!(found("a:A ->> not c:C ->> b:B", "a d b"), ["13"]);
    assert!(found("a:A ->> not c:C ->> b:B", "a c b").is_empty());
    assert_eq!(found("a:A -> not c:C ->> b:B", "a d c b"), ["14"], "only the next one counts");
    assert!(found("a:A -> not c:C ->> b:B", "a c d b").is_empty());
    assert_eq!(found("a:A ->> not b:B within 2s", "a c c b"), ["1"], "time was over before");
    assert!(found("a:A ->> not b:B within 3s", "a c c b").is_empty(), "within includes its end");
    assert_eq!(found("a:A ->> not b:B[v > a.v] within 3s", "a5 b1 b5"), ["1"]);
}

#[test]
fn groups_conditions_and_what_is_emitted() {
    assert_eq!(found("a:A ->> any(b:B | c:C -> d:D) skip none", "a c d b"), ["123", "14"]);
    assert_eq!(found("all(a:A, b:B, c:C) -> d:D", "c a b d"), ["1234"]);
    assert_eq!(found("a:A ->> b:B? ->> c:C", "a c"), ["12"]);
    assert_eq!(found("a:A+! -> b:B where sum(a.v) >= 3 skip past_last", "a1 b a1 a1 a1 b"), ["3456"]);
    let text = "pattern p on letters by k: a:A+ -> b:B emit k, count(a), avg(a.v), b.t - first(a.t), b.v / 0";
    let program = compile(text, &letters()).unwrap().remove(0);
    let mut matcher = Matcher::new(program, Bounds::default());
    let mut values = Vec::new();
    for event in stream("a1 a2 b") {
        matcher.event(&event, &mut |found| values.push(found.values.to_vec()));
    }
    let int = |value| Some(Value::Int(value));
    assert_eq!(values[0], [int(0), int(2), Some(Value::Float(1.5)), int(2_000_000_000), None]);
}

#[test]
fn partitions_do_not_see_one_another() {
    let schema = letters();
    let program = compile("pattern p on letters by k: a:A -> b:B", &schema).unwrap().remove(0);
    let mut matcher = Matcher::new(program, Bounds::default());
    let mut all = Vec::new();
    for (i, (ty, key)) in [(0, 1), (0, 2), (1, 2), (1, 1)].into_iter().enumerate() {
        let event = Event::new(ty, i as u64 + 1, 0).with(1, Value::Int(key));
        matcher.event(&event, &mut |found| all.push((found.events[0].1.seq, found.events[1].1.seq)));
    }
    assert_eq!(all, [(2, 3), (1, 4)]);
}

#[test]
fn where_there_is_no_place_the_oldest_goes_and_is_counted() {
    let program = compile("pattern p on letters: a:A ->> b:B", &letters()).unwrap().remove(0);
    let bounds = Bounds { runs_per_key: 3, runs: 8, events: 8, events_per_run: 4 };
    let mut matcher = Matcher::new(program, bounds);
    let mut all = Vec::new();
    for event in stream("a a a a a b") {
        matcher.event(&event, &mut |found| all.push(found.events[0].1.seq));
    }
    assert_eq!((all, matcher.overflows().runs), (vec![3, 4, 5], 2));
    let program = compile("pattern p on letters: a:A+ ->> b:B", &letters()).unwrap().remove(0);
    let mut matcher = Matcher::new(program, Bounds { events: 4, ..bounds });
    for event in stream("a a a a a a a a b a a b a a b b a a a a") {
        matcher.event(&event, &mut |_| {});
    }
    assert!(matcher.overflows().runs > 0);
    // A greedy step that has its most ends there, and what it has is a match.
    let program =
        compile("pattern p on letters: a:A+ greedy -> b:B skip past_last", &letters()).unwrap().remove(0);
    let mut matcher = Matcher::new(program, Bounds { events_per_run: 4, ..Bounds::default() });
    let mut all = Vec::new();
    for event in stream("a a a a a b") {
        matcher.event(&event, &mut |found| all.push(found.events.len()));
    }
    assert_eq!((all, matcher.overflows().events), (vec![4], 2));
}

/// A pattern's text, by numbers.
fn pattern(steps: &[(u8, u8, u8, u8, u8)], group: u8, within: u8, skip: u8, keyed: bool) -> String {
    let mut text = String::from("pattern p on letters");
    text += if keyed { " by k: " } else { ": " };
    let mut last_is_not = false;
    let mut fans = false;
    for (i, &(link, ty, condition, quantifier, not)) in steps.iter().enumerate() {
        let letter = ["A", "B", "C"][usize::from(ty % 3)];
        let earlier = usize::from(condition) % i.max(1);
        let condition = match condition % 9 {
            0 if i > 0 => format!("[v == s{earlier}.v]"),
            1 if i > 0 => format!("[v >= count(s{earlier})]"),
            2 if i > 0 => format!("[v != sum(s{earlier}.v)]"),
            3 => "[v >= 1]".to_owned(),
            4 if i > 0 => format!("[v < max(s{earlier}.v) + first(s{earlier}.v)]"),
            _ => String::new(),
        };
        let last = i + 1 == steps.len();
        let quantifier = match quantifier % 14 {
            0 => "+",
            1 => "+!",
            2 => {
                fans = true;
                "+*"
            }
            3 => "{2}",
            4 => "{1,2}!",
            5 => "?",
            6 if !last => "+ greedy",
            7 if !last => "{1,3}! greedy",
            8 => "{2,3}*",
            9 => "{0,2}",
            _ => "",
        };
        let links = ["->", "->>", "->>", "->*"];
        let link = links[usize::from(link % 4)];
        let step = format!("s{i}:{letter}{condition}{quantifier}");
        let both = format!("s{i}:{letter}{condition}");
        if i > 0 {
            text += &format!(" {link} ");
        }
        text += &match group % 6 {
            0 if i == 1 && !quantifier.contains("greedy") => format!("any({step} | x:C -> y:A)"),
            1 if i == 1 => format!("all({both}, x:B[v >= 1])"),
            2 if i == 1 => format!("any({both}? | x:B?)"),
            _ => step,
        };
        if not.is_multiple_of(7) {
            let link = if not.is_multiple_of(2) { "->>" } else { "->" };
            text += &format!(" {link} not n{i}:{}[v >= {}]", ["A", "B", "C"][usize::from(not % 3)], not % 2);
            last_is_not = last;
        }
    }
    if fans || last_is_not || !within.is_multiple_of(3) {
        text += &format!(" within {}s", 2 + within % 7);
    }
    if within.is_multiple_of(5) {
        text += " where count(s0) < 3";
    }
    let skips = ["none", "next", "past_last", "to_first(s0)", "to_last(s0)", "none"];
    text += &format!(" skip {}", skips[usize::from(skip % 6)]);
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, max_global_rejects: u32::MAX, ..ProptestConfig::default() })]

    /// Whatever the pattern and whatever comes: what trying everything finds, in that order.
    #[test]
    fn finds_what_trying_everything_finds(
        steps in proptest::collection::vec((0u8..4, 0u8..3, 0u8..9, 0u8..28, 0u8..42), 1..4),
        (group, within, skip, keyed) in (0u8..24, 0u8..35, 0u8..6, any::<bool>()),
        letters_of in proptest::collection::vec((0usize..3, 0i64..3, 0i64..2, 0i64..3), 1..11),
    ) {
        let text = pattern(&steps, group, within, skip, keyed);
        // Refused are those that fan out too much and the like.
        prop_assume!(compile(&text, &letters()).is_ok());
        let tree = parse(&text).unwrap().remove(0);
        let mut time = 0;
        let events: Vec<_> = letters_of.iter().enumerate().map(|(i, &(ty, v, k, gap))| {
            time += gap * 1_000_000_000;
            Event::new(ty, i as u64 + 1, time).with(0, Value::Int(v)).with(1, Value::Int(k))
        }).collect();
        prop_assert_eq!(matches(&text, &events), reference::matches(&tree, &events), "{}", text);
    }
}
