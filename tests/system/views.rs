//! Features as a table and the book at an instant, over the shipped recording.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;

const TAPE: &str = "data/binance-20240808";

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn good(arguments: &[&str]) -> String {
    let output = kimera(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("kimera-views-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn book(at: &str, feed: &str) -> Value {
    serde_json::from_str(&good(&["book", "--on", TAPE, "--at", at, "--feed", feed, "--json"])).unwrap()
}

fn prices(levels: &Value) -> Vec<f64> {
    levels.as_array().unwrap().iter().map(|l| l[0].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_table_is_the_same_in_both_forms_and_no_book_is_crossed() {
    let folder = Folder::new("table");
    let (parquet, csv) = (folder.file("f.parquet"), folder.file("f.csv"));
    good(&["features", "--on", TAPE, "--out", &parquet, "--every", "1s"]);
    good(&["features", "--on", TAPE, "--out", &csv, "--every", "1s"]);
    let text = std::fs::read_to_string(&csv).unwrap();
    let mut lines = text.lines();
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<_>> = lines.map(|line| line.split(',').collect()).collect();
    // Two feeds, a row a second each.
    assert!(rows.len() > 650 && rows.len() < 700, "{}", rows.len());
    assert_eq!(names.len(), 3 + 9 + 11 + 11);
    let column = |name: &str| names.iter().position(|n| *n == name).unwrap();
    let (bid, ask, microprice) = (column("bid"), column("ask"), column("microprice"));
    let known = rows.iter().filter(|row| row[column("microprice_status")] == "ok");
    let mut count = 0;
    for row in known {
        let of = |i: usize| row[i].parse::<f64>().unwrap();
        assert!(of(bid) < of(ask) && (of(bid)..=of(ask)).contains(&of(microprice)), "{row:?}");
        count += 1;
    }
    assert!(count > 600, "{count} rows with a fair price");
    let never_known = |name: &str| rows.iter().all(|row| row[column(name)].is_empty());
    assert!(!never_known("imbalance") && !never_known("two_scales_variance"), "estimators have warmed up");
    let reader = SerializedFileReader::new(std::fs::File::open(&parquet).unwrap()).unwrap();
    let mut same = 0;
    for (row, text) in reader.get_row_iter(None).unwrap().map(Result::unwrap).zip(&rows) {
        assert_eq!(row.get_long(0).unwrap().to_string(), text[0]);
        assert_eq!(row.get_string(2).unwrap(), text[2]);
        for i in 3..21 {
            let number = row.get_double(i).ok();
            assert_eq!(number, text[i].parse().ok(), "column {} of {text:?}", names[i]);
        }
        same += 1;
    }
    assert_eq!(same, rows.len());
}

#[test]
fn the_book_is_in_order_and_agrees_with_the_table() {
    let folder = Folder::new("book");
    let table = good(&["features", "--on", TAPE, "--out", "-", "--feed", "feed.usdm"]);
    for at in ["+20s", "+60s", "+5m", "2024-08-08T23:58:00.5Z", "100000"] {
        let book = book(at, "feed.usdm");
        assert_eq!(book["state"], "synchronised", "{book}");
        let (bids, asks) = (prices(&book["bids"]), prices(&book["asks"]));
        assert!(bids.len() == 10 && bids.is_sorted_by(|a, b| a > b), "{book}");
        assert!(asks.len() == 10 && asks.is_sorted_by(|a, b| a < b) && bids[0] < asks[0], "{book}");
        let is_before = |line: &&str| {
            line.split(',').next().and_then(|seq| seq.parse::<u64>().ok()) <= book["seq"].as_u64()
        };
        let last: Vec<_> = table.lines().skip(1).take_while(is_before).last().unwrap().split(',').collect();
        assert_eq!((last[3].parse().ok(), last[4].parse().ok()), (Some(bids[0]), Some(asks[0])), "{book}");
    }
    assert!(book("+1s", "feed.usdm")["state"].as_str().unwrap().starts_with("not synchronised"));
    let svg = folder.file("b.svg");
    let text = good(&["book", "--on", TAPE, "--at", "+60s", "--levels", "3", "--svg", &svg]);
    let picture = std::fs::read_to_string(&svg).unwrap();
    let shown: Vec<_> = text.lines().filter(|line| line.contains('█') || line.contains('▏')).collect();
    assert_eq!((shown.len(), picture.matches("<title>").count()), (6, 6));
    for line in shown {
        let price = line.split_whitespace().next().unwrap();
        assert!(picture.contains(&format!(">{price}</text>")), "{price} is in the picture, too");
    }
}

#[test]
fn what_cannot_be_shown_is_said() {
    let folder = Folder::new("wrong");
    let says = |arguments: &[&str], what: &str| {
        let output = kimera(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(what), "{arguments:?}: {said}");
    };
    says(&["book", "--on", TAPE, "--at", "soon"], "write 2024-08-08T23:55:00Z");
    says(&["book", "--on", TAPE, "--at", "+9h"], "goes from 2024-08-08T23:54:15");
    says(&["book", "--on", TAPE, "--at", "+9s", "--feed", "feed.coin"], "there are feed.spot, feed.usdm");
    says(&["book", "--on", "/nowhere", "--at", "+9s"], "neither a run's state directory");
    says(&["book", "--on", TAPE, "--at", "+9s", "--svg", "/nowhere/b.svg"], "cannot write /nowhere/b.svg");
    says(&["features", "--on", TAPE, "--out", "table.xlsx"], ".parquet or .csv");
    says(&["features", "--on", TAPE, "--out", "/nowhere/f.csv"], "cannot write /nowhere/f.csv");
    let full = folder.file("full.parquet");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    says(&["features", "--on", TAPE, "--out", &full, "--every", "1s"], "cannot write");
    assert!(!Path::new(&full).exists(), "what was begun is gone");
}
