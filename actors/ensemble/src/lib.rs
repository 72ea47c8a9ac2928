//! Members that forecast, and what is made of their votes.
//!
//! * [`members`]: a module a member, each an actor of its own
//! * [`pool`]: votes into one forecast (model book 3.13); [`weights`]: who counts how much (3.15), and other ways to say it: [`shadows`]
//! * [`sketch`]: what members find, on a grid, and the votes that are read out of it; [`cache`]: what they come to, remembered (3.16)
//! * [`outcomes`]: what became of forecasts (3.16)
//! * [`slow`]: slow parts of members, beside the line
//! * [`rehearsal`]: a stage to try members on
//! * [`actor`]: the stage of the main line that joins the votes at every mark

pub mod actor;
pub mod cache;
pub mod members;
pub mod outcomes;
pub mod pool;
pub mod rehearsal;
pub mod shadows;
pub mod sketch;
pub mod slow;
pub mod weights;

pub use actor::{Ensemble, EnsembleConfig, EnsembleMeters};
pub use members::{
    Contradiction, ContradictionConfig, Macro, MacroConfig, Pattern, Sentiment, SentimentConfig,
    Thermodynamic, ThermodynamicConfig,
};
pub use shadows::Weighing;
pub use slow::pattern::PatternConfig;
pub use slow::{SlowConfig, SlowMembers};
