//! The queues: each one's two ends behind the same four calls, which do what its own documentation recommends.

use crossbeam_channel as crossbeam;
use disruptor::{
    BusySpin, EventPoller, Producer, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
};
use kimera_protocol::Message;
use kimera_runtime::ring::ring;
use kimera_runtime::{Inlet, Outlet};
use tokio::sync::mpsc;

/// Messages every queue holds.
pub const CAPACITY: usize = 1_024;

/// A bounded queue with one writer and one reader.
pub trait Queue {
    /// Name in the table.
    const NAME: &'static str;
    /// Writing end.
    type Input: Send;
    /// Reading end.
    type Output: Send;

    /// Both ends of a new one.
    fn make() -> (Self::Input, Self::Output);

    /// Puts a message in; false where there is no room.
    fn send(input: &mut Self::Input, message: &Message) -> bool;

    /// Shows the oldest message and lets it go; false where there is none.
    fn take(output: &mut Self::Output, see: impl FnMut(&Message)) -> bool;

    /// Puts a burst in; false where one had no room.
    #[inline]
    fn send_all(input: &mut Self::Input, burst: &[Message]) -> bool {
        burst.iter().fold(true, |sent, message| sent & Self::send(input, message))
    }

    /// Shows up to `limit` messages that wait, and lets them go.
    #[inline]
    fn take_all(output: &mut Self::Output, limit: usize, mut see: impl FnMut(&Message)) {
        for _ in 0..limit {
            if !Self::take(output, &mut see) {
                break;
            }
        }
    }
}

/// Kimera's ring, read where the message lies, as seats do.
pub struct InPlace;

impl Queue for InPlace {
    const NAME: &'static str = "Kimera ring, read in place";
    type Input = Outlet;
    type Output = Inlet;

    fn make() -> (Outlet, Inlet) {
        ring(CAPACITY)
    }

    #[inline]
    fn send(input: &mut Outlet, message: &Message) -> bool {
        input.push(message)
    }

    #[inline]
    fn take(output: &mut Inlet, mut see: impl FnMut(&Message)) -> bool {
        let Some(message) = output.peek() else { return false };
        see(message);
        output.advance();
        true
    }

    #[inline]
    fn send_all(input: &mut Outlet, burst: &[Message]) -> bool {
        input.push_all(burst)
    }

    #[inline]
    fn take_all(output: &mut Inlet, limit: usize, see: impl FnMut(&Message)) {
        output.drain(limit, |first, second| {
            first.iter().chain(second).for_each(see);
            first.len() + second.len()
        });
    }
}

/// Kimera's ring, each message taken out.
pub struct ByValue;

impl Queue for ByValue {
    const NAME: &'static str = "Kimera ring, taken out";
    type Input = Outlet;
    type Output = Inlet;

    fn make() -> (Outlet, Inlet) {
        ring(CAPACITY)
    }

    #[inline]
    fn send(input: &mut Outlet, message: &Message) -> bool {
        input.push(message)
    }

    #[inline]
    fn take(output: &mut Inlet, mut see: impl FnMut(&Message)) -> bool {
        output.pop().map(|message| see(&message)).is_some()
    }
}

/// `rtrb`, read where the message lies.
pub struct RtrbInPlace;

impl Queue for RtrbInPlace {
    const NAME: &'static str = concat!("rtrb ", env!("VERSION_RTRB"), ", read in place");
    type Input = rtrb::Producer<Message>;
    type Output = rtrb::Consumer<Message>;

    fn make() -> (Self::Input, Self::Output) {
        rtrb::RingBuffer::new(CAPACITY)
    }

    #[inline]
    fn send(input: &mut Self::Input, message: &Message) -> bool {
        input.push(*message).is_ok()
    }

    #[inline]
    fn take(output: &mut Self::Output, mut see: impl FnMut(&Message)) -> bool {
        let Ok(message) = output.peek() else { return false };
        see(message);
        output.pop().is_ok()
    }

    #[inline]
    fn send_all(input: &mut Self::Input, burst: &[Message]) -> bool {
        input.push_entire_slice(burst).is_ok()
    }

    #[inline]
    fn take_all(output: &mut Self::Output, limit: usize, see: impl FnMut(&Message)) {
        let waiting = output.slots().min(limit);
        if let Ok(chunk) = output.read_chunk(waiting) {
            let (first, second) = chunk.as_slices();
            first.iter().chain(second).for_each(see);
            chunk.commit_all();
        }
    }
}

/// `disruptor` with one producer and an event poller, which keeps the reading thread ours.
pub struct Disruptor;

impl Queue for Disruptor {
    const NAME: &'static str = concat!("disruptor ", env!("VERSION_DISRUPTOR"), ", event poller");
    type Input = SingleProducer<Message, SingleConsumerBarrier>;
    type Output = EventPoller<Message, SingleProducerBarrier>;

    fn make() -> (Self::Input, Self::Output) {
        let builder = disruptor::build_single_producer(CAPACITY, Message::default, BusySpin);
        let (poller, builder) = builder.new_event_poller();
        (builder.build(), poller)
    }

    #[inline]
    fn send(input: &mut Self::Input, message: &Message) -> bool {
        input.try_publish(|slot| *slot = *message).is_ok()
    }

    #[inline]
    fn take(output: &mut Self::Output, mut see: impl FnMut(&Message)) -> bool {
        let Ok(mut events) = output.take(1) else { return false };
        (&mut events).for_each(&mut see);
        true
    }

    #[inline]
    fn send_all(input: &mut Self::Input, burst: &[Message]) -> bool {
        let sent = input.try_batch_publish(burst.len(), |slots| {
            slots.zip(burst).for_each(|(slot, message)| *slot = *message);
        });
        sent.is_ok()
    }

    #[inline]
    fn take_all(output: &mut Self::Output, limit: usize, see: impl FnMut(&Message)) {
        if let Ok(mut events) = output.take(limit as u64) {
            (&mut events).for_each(see);
        }
    }
}

/// A queue that takes messages in and gives them out by value.
macro_rules! by_value {
    ($(#[$about:meta])* $queue:ident, $name:expr, $input:ty, $output:ty, $make:expr, $send:expr, $receive:expr) => {
        $(#[$about])*
        pub struct $queue;

        impl Queue for $queue {
            const NAME: &'static str = $name;
            type Input = $input;
            type Output = $output;

            fn make() -> (Self::Input, Self::Output) {
                $make(CAPACITY)
            }

            #[inline]
            fn send(input: &mut Self::Input, message: &Message) -> bool {
                let send: fn(&mut $input, Message) -> bool = $send;
                send(input, *message)
            }

            #[inline]
            fn take(output: &mut Self::Output, mut see: impl FnMut(&Message)) -> bool {
                let receive: fn(&mut $output) -> Option<Message> = $receive;
                receive(output).map(|message| see(&message)).is_some()
            }
        }
    };
}

by_value!(
    /// `rtrb`, each message taken out.
    RtrbByValue,
    concat!("rtrb ", env!("VERSION_RTRB"), ", taken out"),
    rtrb::Producer<Message>,
    rtrb::Consumer<Message>,
    rtrb::RingBuffer::new,
    |input, message| input.push(message).is_ok(),
    |output| output.pop().ok()
);

by_value!(
    /// `crossbeam-channel`, bounded.
    Crossbeam,
    concat!("crossbeam-channel ", env!("VERSION_CROSSBEAM_CHANNEL"), ", bounded"),
    crossbeam::Sender<Message>,
    crossbeam::Receiver<Message>,
    crossbeam::bounded,
    |input, message| input.try_send(message).is_ok(),
    |output| output.try_recv().ok()
);

by_value!(
    /// `kanal`, bounded.
    Kanal,
    concat!("kanal ", env!("VERSION_KANAL"), ", bounded"),
    kanal::Sender<Message>,
    kanal::Receiver<Message>,
    kanal::bounded,
    |input, message| matches!(input.try_send(message), Ok(true)),
    |output| output.try_recv().ok().flatten()
);

by_value!(
    /// `tokio`'s bounded channel, polled.
    Tokio,
    concat!("tokio ", env!("VERSION_TOKIO"), " mpsc, try_recv"),
    mpsc::Sender<Message>,
    mpsc::Receiver<Message>,
    mpsc::channel,
    |input, message| input.try_send(message).is_ok(),
    |output| output.try_recv().ok()
);

by_value!(
    /// `tokio`'s bounded channel, whose reader sleeps until there is something.
    TokioParked,
    concat!("tokio ", env!("VERSION_TOKIO"), " mpsc, blocking_recv (parks)"),
    mpsc::Sender<Message>,
    mpsc::Receiver<Message>,
    mpsc::channel,
    |input, message| input.blocking_send(message).is_ok(),
    |output| output.blocking_recv()
);
