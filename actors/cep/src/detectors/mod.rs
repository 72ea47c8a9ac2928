//! Detectors of the model book, section 2: the statistics and state machines, each with its published values. Public data name no
//! actor, so over them all of these are *suspicions*; over our own orders they are exact.
//!
//! * [`robust`]: distances from what is usual that one outlier does not move
//! * [`jumps`]: which returns are too large for a diffusion
//! * [`shift`]: a mean that has moved
//! * [`crash`]: a fall, a collapse of the book, and what comes behind it
//! * [`conduct`]: first digits, messages for trades
//! * [`ignition`]: a burst that is taken back
//! * [`pump`]: price and volume that leap together
//! * [`discovery`]: how many of many alarms are false

pub mod conduct;
pub mod crash;
pub mod discovery;
pub mod ignition;
pub mod jumps;
pub mod pump;
pub mod robust;
pub mod shift;
