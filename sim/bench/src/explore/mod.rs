//! Exploring: many lives of the same driver, each with other choices, and what they found.
//!
//! ```
//! use bringup_bench::explore::{Campaign, Strategy};
//! use bringup_bench::{Bench, life};
//!
//! let campaign = Campaign { strategy: Strategy::Random, lives: 20, ..Campaign::default() };
//! let explored = campaign.run(|chooser| {
//!     let bench = Bench::builder().boxed_chooser(chooser);
//!     // A driver is loaded, used and unloaded here.
//!     life(bench, |bench| bench.settle()).expect("a bench")
//! });
//! assert!(explored.is_clean());
//! assert_eq!(explored.lives, 20);
//! ```

mod campaign;
mod distinct;
mod exhaustive;
mod found;
mod pct;
mod plan;
mod shrink;
mod workers;

pub use campaign::{Campaign, Explored, Progress, Strategy};
pub use distinct::Distinct;
pub use found::{Cause, Found};
pub use pct::Pct;
pub use plan::FailNth;
pub use shrink::{fails_with, shrink, shrink_within};
