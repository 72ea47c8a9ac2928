//! Complex event processing: patterns over market and order events, in a language of their own.
//!
//! * [`detectors`]: what a spike, a surge, a shift, a crash is; what looks like manipulation
//! * [`watch`]: a market under all of them
//! * [`actor`]: its seat beside the line
//! * [`rates`]: how often each is right, and how often wrong
//! * [`events`]: market and orders as events
//! * [`patterns`]: their seat behind the line; [`sets`]: those that are at work together, and how others come
//! * [`schema`]: what events there are, and their fields
//! * [`language`]: text to a pattern that is checked and compiled, mistakes with line and column
//! * [`matcher`]: a pattern over a stream, bounded in everything

pub mod actor;
pub mod detectors;
pub mod events;
pub mod language;
pub mod matcher;
pub mod patterns;
pub mod rates;
pub mod schema;
pub mod sets;
pub mod watch;

pub use actor::{Detectors, DetectorsConfig, DetectorsMeters};
pub use events::Events;
pub use language::{Mistake, Program, compile};
pub use matcher::{Bounds, Found, Matcher, Overflows};
pub use patterns::{Patterns, PatternsMeters};
pub use schema::{Event, EventType, FIELDS_MAX, Field, Schema, Type, Value};
pub use sets::{PatternSet, PatternShelf};
