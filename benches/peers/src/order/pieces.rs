//! Kimera's decoder and order writer, with nothing between.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use kimera_protocol::order::TimeInForce;
use kimera_protocol::{FrameRef, NewOrder, OrderId, Quantity, Side, Ticker};
use kimera_venues::FrameBuffer;
use kimera_venues::binance::MarketDecoder;
use kimera_venues::binance::orders::OrderWriter;
use kimera_venues::binance::signing::Signer;

use super::{KEY, SECRET, SIZE, Writer};
use crate::input::Source;

/// Frame in, order at the bid out.
pub struct Pieces {
    decoder: MarketDecoder,
    buffer: FrameBuffer,
    writer: OrderWriter,
    bytes: Vec<u8>,
}

impl Pieces {
    /// For the market that is traded.
    ///
    /// # Errors
    /// The signer takes no such key.
    pub fn new(source: &Source<'_>) -> Result<Self> {
        let signer = Signer::new(KEY, SECRET.as_bytes()).context("the signer takes no such key")?;
        let writer = OrderWriter::new(source.instrument.clone(), &signer);
        let bytes = Vec::with_capacity(1_024);
        Ok(Self { decoder: source.decoder(), buffer: FrameBuffer::new(), writer, bytes })
    }
}

impl Writer for Pieces {
    #[inline]
    fn order(&mut self, index: usize, frame: &[u8]) -> Result<&[u8]> {
        self.buffer.begin(FrameRef::default(), 0);
        self.decoder.decode(frame, &mut self.buffer).map_err(|e| anyhow!("{e}"))?;
        let message = self.buffer.messages().first().context("an empty frame")?;
        let ticker = message.body::<Ticker>().context("no best price")?;
        let order = NewOrder {
            id: OrderId { incarnation: 1, seq: index as u64 + 1, child: 0 },
            price: ticker.bid.price,
            quantity: Quantity(SIZE),
            side: Side::Bid as u8,
            time_in_force: TimeInForce::PostOnly as u8,
            ..NewOrder::default()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        self.writer.place(&order, now, &mut self.bytes)?;
        Ok(&self.bytes)
    }
}
