//! `actix`: a message to an actor's mailbox, on the same thread and on another one.

use std::hint::black_box;
use std::time::Instant;

use actix::{Actor, Addr, Arbiter, Context, Handler, MessageResult, System, SystemRunner};
use anyhow::{Result, ensure};
use kimera_protocol::{Message, RollingHash};
use kimera_runtime::plan::pin_to_core;

use super::queues::CAPACITY;
use super::{BURST, expected, glance, nanoseconds_each, read_all};

/// Name in the tables of one thread.
pub const NAME: &str = concat!("actix ", env!("VERSION_ACTIX"), ", mailbox");
/// Name in the table of two threads.
pub const NAME_PARKED: &str = concat!("actix ", env!("VERSION_ACTIX"), ", mailbox (parks)");

/// A message for the actor to look at.
struct Look(Message);

impl actix::Message for Look {
    type Result = ();
}

/// A message to be sent back.
struct Return(Message);

impl actix::Message for Return {
    type Result = Message;
}

/// What the actor has seen, asked for and forgotten.
struct Tell;

impl actix::Message for Tell {
    type Result = (u64, u64);
}

/// Adds up a glance of each message; hashes every word where nothing is timed.
#[derive(Default)]
struct Reader {
    sum: u64,
    hash: RollingHash,
    hashes: bool,
}

impl Actor for Reader {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(CAPACITY);
    }
}

impl Handler<Look> for Reader {
    type Result = ();

    #[inline]
    fn handle(&mut self, look: Look, _: &mut Self::Context) {
        self.sum = self.sum.wrapping_add(glance(black_box(&look.0)));
        if self.hashes {
            read_all(&mut self.hash, &look.0);
        }
    }
}

impl Handler<Return> for Reader {
    type Result = MessageResult<Return>;

    #[inline]
    fn handle(&mut self, message: Return, _: &mut Self::Context) -> MessageResult<Return> {
        MessageResult(message.0)
    }
}

impl Handler<Tell> for Reader {
    type Result = MessageResult<Tell>;

    fn handle(&mut self, _: Tell, _: &mut Self::Context) -> MessageResult<Tell> {
        self.hashes = false;
        MessageResult((std::mem::take(&mut self.sum), std::mem::take(&mut self.hash).value()))
    }
}

/// Actors on this thread and on another one.
pub struct Mailbox {
    system: SystemRunner,
    here: Addr<Reader>,
    there: Addr<Reader>,
    arbiter: Arbiter,
}

impl Mailbox {
    /// Starts the runtime of this thread, and another thread on `core` with one of its own.
    pub fn new(core: Option<usize>) -> Self {
        let system = System::new();
        let (here, there, arbiter) = system.block_on(async {
            let arbiter = Arbiter::new();
            arbiter.spawn_fn(move || {
                let _ = core.is_some_and(pin_to_core);
            });
            let there = Reader::start_in_arbiter(&arbiter.handle(), |_| Reader::default());
            (Reader::default().start(), there, arbiter)
        });
        Self { system, here, there, arbiter }
    }

    /// The hash of what the actor saw, message by message and in bursts.
    ///
    /// # Errors
    /// The actor is gone.
    pub fn received(&self, source: &[Message]) -> Result<(String, u64)> {
        let here = self.system.block_on(async { Reader { hashes: true, ..Reader::default() }.start() });
        let hash = self.system.block_on(async {
            send(&here, source, 1).await?;
            send(&here, source, BURST).await?;
            anyhow::Ok(here.send(Tell).await?.1)
        })?;
        Ok((NAME.to_owned(), hash))
    }

    /// Nanoseconds a message on one thread, awaited behind every `burst` of them.
    ///
    /// # Errors
    /// The actor is gone, or has not seen everything.
    pub fn hop(&self, source: &[Message], passes: usize, burst: usize) -> Result<Vec<f64>> {
        let (each, sum) = self.system.block_on(async {
            let since = Instant::now();
            for _ in 0..passes {
                send(&self.here, black_box(source), burst).await?;
            }
            let each = nanoseconds_each(since, passes * source.len());
            anyhow::Ok((each, self.here.send(Tell).await?.0))
        })?;
        ensure!(sum == expected(source, passes * source.len()), "{NAME} lost a message");
        Ok(vec![each])
    }

    /// The hash of what an actor on another thread sent back.
    ///
    /// # Errors
    /// The actor is gone.
    pub fn returned(&self, source: &[Message]) -> Result<(String, u64)> {
        let mut hash = RollingHash::default();
        self.system.block_on(async {
            for message in source {
                read_all(&mut hash, &self.there.send(Return(*message)).await?);
            }
            anyhow::Ok(())
        })?;
        Ok((NAME_PARKED.to_owned(), hash.value()))
    }

    /// Nanoseconds a message between two threads: half a round trip.
    ///
    /// # Errors
    /// The actor is gone, or something was lost.
    pub fn trip(&self, source: &[Message], trips: usize) -> Result<Vec<f64>> {
        let (each, sum) = self.system.block_on(async {
            let (since, mut sum) = (Instant::now(), 0u64);
            for message in source.iter().cycle().take(trips) {
                sum = sum.wrapping_add(glance(&self.there.send(Return(*message)).await?));
            }
            anyhow::Ok((nanoseconds_each(since, 2 * trips), sum))
        })?;
        ensure!(sum == expected(source, trips), "{NAME_PARKED} lost a message");
        Ok(vec![each])
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.arbiter.stop();
    }
}

async fn send(to: &Addr<Reader>, source: &[Message], burst: usize) -> Result<()> {
    for messages in source.chunks(burst) {
        let Some((last, before)) = messages.split_last() else { continue };
        before.iter().for_each(|message| to.do_send(Look(*message)));
        to.send(Look(*last)).await?;
    }
    Ok(())
}
