//! How user space uses the drivers of the zoo; a driver with a bug and its twin are used alike.

use bringup_bench::{Bench, Errno};

pub mod cq;
pub mod edu;
pub mod life;
pub mod virtqueue;

/// Uses a driver that was loaded, as user space would, and says what went wrong. The module is unloaded after it.
pub type Workload = fn(&Bench, &mut Trouble);

/// What user space met.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Answers that are wrong.
    pub(crate) wrong: Vec<String>,
    /// Calls that failed.
    pub(crate) failed: Vec<String>,
}

impl Trouble {
    /// An answer that is wrong, whatever the machine is like.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    /// A call that a correct driver answers, in a machine in which nothing fails.
    pub fn failed(&mut self, what: &str, error: Errno) {
        self.failed.push(format!("{what} failed: {error}"));
    }

    /// What a call gave, unless it failed.
    pub fn check<T>(&mut self, what: &str, result: Result<T, Errno>) -> Option<T> {
        result.map_err(|error| self.failed(what, error)).ok()
    }
}
