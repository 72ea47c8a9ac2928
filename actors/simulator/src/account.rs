//! The venue's own truth about our account: orders, trades, position, balance. Every happening is on disk before it is
//! told to anyone; a venue that starts again reads them back.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use kimera_runtime::files::{self, File};
use serde::{Deserialize, Serialize};

use crate::matching::{Depth, Happening, Matching, OrderSide, Placement, Units};

/// A happening and when, in the venue's milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Venue time.
    pub time_ms: i64,
    /// What happened.
    pub happening: Happening,
}

/// An order as the account remembers it, resting or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderInfo {
    /// As placed.
    pub placement: Placement,
    /// The venue's identifier.
    pub order_id: u64,
    /// Filled so far.
    pub filled: Units,
    /// The venue's word for its state.
    pub status: &'static str,
    /// Time of the last change.
    pub time_ms: i64,
}

/// A trade of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradeInfo {
    /// The order.
    pub order_id: u64,
    /// Identifier.
    pub trade_id: u64,
    /// Side.
    pub side: OrderSide,
    /// Price.
    pub price: Units,
    /// Size.
    pub size: Units,
    /// Fee in 1e-8 of the quote asset.
    pub fee: Units,
    /// Rested.
    pub maker: bool,
    /// When.
    pub time_ms: i64,
}

/// The account.
pub struct Account {
    /// Orders that rest, and the position.
    pub matching: Matching,
    file: Option<File>,
    orders: BTreeMap<u64, OrderInfo>,
    trades: Vec<TradeInfo>,
    /// Balance in 1e-16 of the quote asset: what was put in, less what was paid, plus what was received.
    cash: i128,
}

const FINE: i128 = 100_000_000;

impl Account {
    /// An account with `balance` (1e-8), kept in `path` where there is one. What the file holds is taken up again.
    ///
    /// # Errors
    /// Where the file cannot be read or written. A last line that was cut off is dropped: it was told to nobody.
    pub fn open(
        path: Option<&Path>,
        balance: Units,
        matching: Matching,
        depth: &dyn Depth,
    ) -> io::Result<Self> {
        let cash = i128::from(balance) * FINE;
        let mut account = Self { matching, file: None, orders: BTreeMap::new(), trades: Vec::new(), cash };
        let Some(path) = path else { return Ok(account) };
        let mut good = 0u64;
        if files::exists(path) {
            let content = files::read(path)?;
            let mut reader = BufReader::new(&content[..]);
            let mut line = String::new();
            while reader.read_line(&mut line)? > 0 {
                let whole = line.ends_with('\n');
                match serde_json::from_str::<Record>(&line) {
                    Ok(record) if whole => {
                        account.matching.restore(&record.happening, depth);
                        account.remember(&record);
                        good += line.len() as u64;
                    }
                    _ if !whole => break,
                    Ok(_) | Err(_) => {
                        let text = format!("{}: byte {good}: not an account record", path.display());
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                }
                line.clear();
            }
        }
        let file = File::append(path)?;
        file.set_len(good)?;
        account.file = Some(file);
        Ok(account)
    }

    /// Puts happenings on disk and into memory.
    ///
    /// # Errors
    /// Where the disk refuses: nothing may be told then.
    pub fn book(&mut self, happenings: &[Happening], time_ms: i64) -> io::Result<()> {
        let mut text = String::new();
        let records: Vec<_> = happenings.iter().map(|h| Record { time_ms, happening: h.clone() }).collect();
        for record in &records {
            text.push_str(&serde_json::to_string(record)?);
            text.push('\n');
        }
        if let Some(file) = &mut self.file {
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
        }
        records.iter().for_each(|record| self.remember(record));
        Ok(())
    }

    fn remember(&mut self, record: &Record) {
        let time_ms = record.time_ms;
        match &record.happening {
            Happening::Accepted { order_id, placement } => {
                let info = OrderInfo {
                    placement: placement.clone(),
                    order_id: *order_id,
                    filled: 0,
                    status: "NEW",
                    time_ms,
                };
                self.orders.insert(*order_id, info);
            }
            Happening::Filled { order_id, trade_id, price, size, total, fee, maker } => {
                let Some(order) = self.orders.get_mut(order_id) else { return };
                order.filled = *total;
                order.status = if *total == order.placement.size { "FILLED" } else { "PARTIALLY_FILLED" };
                order.time_ms = time_ms;
                let side = order.placement.side;
                let sign = if side == OrderSide::Buy { 1 } else { -1 };
                self.cash -= sign * i128::from(*price) * i128::from(*size) + i128::from(*fee) * FINE;
                let trade = TradeInfo {
                    order_id: *order_id,
                    trade_id: *trade_id,
                    side,
                    price: *price,
                    size: *size,
                    fee: *fee,
                    maker: *maker,
                    time_ms,
                };
                self.trades.push(trade);
            }
            Happening::Canceled { order_id } => self.end(*order_id, "CANCELED", time_ms),
            Happening::Expired { order_id } => self.end(*order_id, "EXPIRED", time_ms),
        }
    }

    fn end(&mut self, order_id: u64, status: &'static str, time_ms: i64) {
        if let Some(order) = self.orders.get_mut(&order_id) {
            order.status = status;
            order.time_ms = time_ms;
        }
    }

    /// An order by the venue's identifier.
    #[must_use]
    pub fn order(&self, order_id: u64) -> Option<&OrderInfo> {
        self.orders.get(&order_id)
    }

    /// The newest order of a client's identifier.
    #[must_use]
    pub fn order_of_client(&self, client_id: &str) -> Option<&OrderInfo> {
        self.orders.values().rev().find(|o| o.placement.client_id == client_id)
    }

    /// Every order, oldest first.
    pub fn orders(&self) -> impl ExactSizeIterator<Item = &OrderInfo> {
        self.orders.values()
    }

    /// Orders that rest.
    pub fn open_orders(&self) -> impl Iterator<Item = &OrderInfo> {
        self.orders.values().filter(|o| matches!(o.status, "NEW" | "PARTIALLY_FILLED"))
    }

    /// Trades, oldest first.
    #[must_use]
    pub fn trades(&self) -> &[TradeInfo] {
        &self.trades
    }

    /// Balance in 1e-16 of the quote asset, positions at cost not included.
    #[must_use]
    pub fn cash(&self) -> i128 {
        self.cash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::VenueBook;
    use crate::matching::{Fees, Tif};

    #[test]
    fn what_was_told_survives_and_a_cut_line_was_told_to_nobody() {
        let path = std::env::temp_dir().join(format!("kimera-account-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut book = VenueBook::default();
        book.snapshot(
            r#"{"lastUpdateId":5,"bids":[["10.00","1.000"]],"asks":[["11.00","2.000"]]}"#,
            &mut Vec::new(),
        );
        let open = || {
            Account::open(Some(&path), 1_000 * 100_000_000, Matching::new(Fees::default()), &book).unwrap()
        };
        let place = |account: &mut Account, id: &str, price: i64| {
            let placement = Placement {
                client_id: id.into(),
                side: OrderSide::Buy,
                price: price * 100_000_000,
                size: 100_000_000,
                tif: Tif::Gtc,
                reduce_only: false,
            };
            let (_, happenings) = account.matching.place(placement, &book).unwrap();
            account.book(&happenings, 7).unwrap();
        };
        let mut account = open();
        place(&mut account, "a", 11);
        place(&mut account, "b", 10);
        let (cash, position) = (account.cash(), account.matching.position());
        drop(account);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"time_ms\":9,\"happ");
        std::fs::write(&path, &bytes).unwrap();
        let mut again = open();
        assert_eq!((again.cash(), again.matching.position(), again.trades().len()), (cash, position, 1));
        assert_eq!(again.open_orders().map(|o| o.placement.client_id.as_str()).collect::<Vec<_>>(), ["b"]);
        place(&mut again, "c", 9);
        drop(again);
        assert_eq!(open().order_of_client("c").map(|o| (o.order_id, o.status)), Some((3, "NEW")));
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.replace_range(0..5, "xxxxx");
        std::fs::write(&path, text).unwrap();
        let broken = Account::open(Some(&path), 0, Matching::new(Fees::default()), &book);
        assert!(broken.is_err(), "a damaged record is not passed over");
        std::fs::remove_file(&path).unwrap();
    }
}
