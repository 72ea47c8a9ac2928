//! What is refused, and where it says the mistake is.

use proptest::prelude::*;

use super::compile;
use crate::schema::{Schema, Type};

fn schema() -> Schema {
    Schema::default()
        .with(
            "order",
            "New",
            &[("id", Type::Int), ("actor", Type::Int), ("side", Type::Symbol), ("qty", Type::Float)],
        )
        .with(
            "order",
            "Fill",
            &[("id", Type::Int), ("actor", Type::Int), ("side", Type::Symbol), ("qty", Type::Float)],
        )
        .with("order", "Cancel", &[("id", Type::Int), ("actor", Type::Int)])
        .with("trade", "Trade", &[("price", Type::Float), ("side", Type::Symbol)])
        .with_symbols(&["buy", "sell"])
}

/// The mistake of a text, as a person reads it.
fn mistake(text: &str) -> String {
    match compile(text, &schema()) {
        Ok(_) => panic!("nothing is wrong with: {text}"),
        Err(mistake) => mistake.to_string(),
    }
}

#[test]
fn the_example_is_a_pattern() {
    let text = "# large, a fill on the other side, gone\n\
        pattern spoof_like on order by actor:\n\
          big:New[qty >= 5 * 0.5 and side == sell]\n\
          ->> hit:Fill[side != big.side]\n\
          ->> out:Cancel[id == big.id]\n\
        within 2s skip past_last emit actor, big.id, out.t - hit.t\n\
        pattern second on trade: a:Trade+! greedy -> b:Trade[price > max(a.price)]";
    let programs = compile(text, &schema()).unwrap();
    assert_eq!(programs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["spoof_like", "second"]);
    assert_eq!(programs[0].bindings, ["big", "hit", "out"]);
}

#[test]
fn each_mistake_is_named_where_it_is() {
    for (text, expected) in [
        ("pattern", "line 1, column 8: expected the pattern's name, found the end of the text"),
        ("pattern p on order:\n  a:New $ b:Fill", "line 2, column 9: '$' is not of the language"),
        (
            "pattern p on book: a:New",
            "line 1, column 14: there is no stream \"book\"; there are order, trade",
        ),
        (
            "pattern p on order: a:Nwe",
            "line 1, column 23: there is no event \"Nwe\"; these streams have New, Fill, Cancel",
        ),
        (
            "pattern p on order: a:Trade",
            "line 1, column 23: Trade is an event of \"trade\", which comes not behind \"on\"",
        ),
        (
            "pattern p on order: a:New[qyt > 1]",
            "line 1, column 27: New has no field \"qyt\"; it has id, actor, side, qty, t, seq",
        ),
        (
            "pattern p on order: a:New[qty > side]",
            "line 1, column 27: a number and a word do not go together here",
        ),
        (
            "pattern p on order: a:New[qty]",
            "line 1, column 27: expected something true or false, found a number",
        ),
        ("pattern p on order: a:New -> a:Fill", "line 1, column 30: there is a step \"a\" already"),
        (
            "pattern p on order: a:New[id == b.id] -> b:Fill",
            "line 1, column 33: \"b\" is no step that has come by here; those are: a",
        ),
        (
            "pattern p on order: a:New ->> not b:Fill",
            "line 1, column 21: what must not come at the end needs \"within\": without it nobody knows when to stop waiting",
        ),
        (
            "pattern p on order: not b:Fill -> a:New",
            "line 1, column 25: what must not come stands behind a step that has come, not before the first",
        ),
        (
            "pattern p on order: a:New+* -> b:Fill",
            "line 1, column 21: all combinations of a step without end need \"within\"",
        ),
        (
            "pattern p on order: a:New -> b:Fill+ greedy",
            "line 1, column 21: \"greedy\" at the end of a pattern: nobody knows when no more will come",
        ),
        (
            "pattern p on order: a:New? greedy -> b:Fill",
            "line 1, column 21: \"greedy\" is for a step that comes, and may come more than once",
        ),
        (
            "pattern p on order: a:New?",
            "line 1, column 21: every step is optional: nothing at all would be a match",
        ),
        (
            "pattern p on order: a:New{0,} greedy -> b:Fill",
            "line 1, column 21: \"greedy\" is for a step that comes, and may come more than once",
        ),
        (
            "pattern p on order: all(a:New?, b:Fill)",
            "line 1, column 25: every step of an \"all\" has to come",
        ),
        (
            "pattern p on order: any(a:New | b:New[id == a.id])",
            "line 1, column 45: \"a\" is no step that has come by here; those are: b",
        ),
        (
            "pattern p on order: a:New{40} -> b:New{40}",
            "line 1, column 21: no match has less than 64 events, the most there may be",
        ),
        ("pattern p on order: a:New{3,2}", "line 1, column 26: that many times is never"),
        (
            "pattern p on order: a:New{99}",
            "line 1, column 27: expected a number of times, at most 64, found 99",
        ),
        (
            "pattern p on order: a:New within 2x",
            "line 1, column 34: 2x has a unit that is none of ns, us, ms, s, m, h, d",
        ),
        (
            "pattern p on order: a:New within 2",
            "line 1, column 34: expected a duration, like 2s or 500ms, found 2",
        ),
        (
            "pattern p on order: a:New skip past",
            "line 1, column 32: \"past\" is none of none, next, past_last, to_first(STEP), to_last(STEP)",
        ),
        (
            "pattern p on order: a:New skip to_last(c)",
            "line 1, column 40: \"c\" is no step that has come by here; those are: a",
        ),
        (
            "pattern p on order by id, price: a:New",
            "line 1, column 27: New has no field \"price\"; it has id, actor, side, qty, t, seq",
        ),
        (
            "pattern p on order: a:New emit qty",
            "line 1, column 32: \"qty\" is no key and no word; a step's field is written STEP.qty",
        ),
        ("pattern p on order: a:New[sum(a.side) > 1]", "line 1, column 33: \"side\" is a word, not a number"),
        (
            "pattern p on order: a:New[median(a.qty) > 1]",
            "line 1, column 27: \"median\" is none of count, sum, min, max, avg, first, last",
        ),
        (
            "pattern p on order: a:New ->* b:New ->* c:New ->* d:New ->* e:New ->* f:New",
            "line 1, column 21: more than 4 links and quantifiers that fan out (->*, +*)",
        ),
        (
            "pattern p on order: all(a:New, b:New, c:New, d:New, e:New)",
            "line 1, column 25: \"all\" takes at most 4 steps",
        ),
        (
            "pattern p on order: a:New\npattern p on order: a:New",
            "line 2, column 9: pattern \"p\" is there already, at line 1, column 9",
        ),
        ("pattern p on order: a:New within 99999999999d", "line 1, column 34: 99999999999d is too long"),
    ] {
        assert_eq!(mistake(text), expected);
    }
    let sum = format!("pattern p on order: a:New[{}1 > 0]", "1 + ".repeat(100_000));
    assert!(
        mistake(&sum).ends_with("more than 256 operators in a pattern"),
        "and so is the stack for a long sum"
    );
    let nots = |i: usize| format!(" ->> any(not n{i}:New | not m{i}:Fill)");
    let ways = format!("pattern p on order: a:New{} ->> z:New", (0..30).map(nots).collect::<String>());
    assert!(mistake(&ways).ends_with("more than 256 ways lead to here"), "2^30 are not tried");
    let deep = format!("pattern p on order: a:New[{}1{} > 0]", "(".repeat(40), ")".repeat(40));
    assert!(mistake(&deep).contains("more than 32 levels"), "the stack is finite");
}

proptest! {
    /// Whatever stands there: programs or a mistake with a place, and no panic.
    #[test]
    fn any_text_is_read_or_refused(text in "(pattern |p |on order|: |a:New|b:Fill|\\[| id|==|1|2s|\\]|->|->>|->\\*| not |any\\(|\\||all\\(|\\)|\\+|\\{2\\}|\\?|!| greedy| within| where| skip next| emit|,|\\.|count\\(|#|\n|\u{e9}|[ -~]){0,24}") {
        if let Err(mistake) = compile(&text, &schema()) {
            let lines = text.split('\n').count() as u32;
            prop_assert!((1..=lines).contains(&mistake.place.line) && mistake.place.column >= 1);
        }
        let behind = format!("pattern p on order: {text}");
        let _ = compile(&behind, &schema());
    }
}
