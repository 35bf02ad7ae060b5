//! How far something has come, on standard error: one line that is written over on a terminal, a line now and then elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a terminal is written to.
const OFTEN: Duration = Duration::from_millis(100);
/// How often anything else is: what takes less says nothing.
const SELDOM: Duration = Duration::from_secs(10);

/// Tells how far something has come, if it takes its time.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    last: Instant,
    /// Characters that stand on the terminal's line.
    shown: usize,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), last: Instant::now(), shown: 0 }
    }

    /// `done` of `of` things called `what`.
    pub(crate) fn show(&mut self, what: &str, done: u64, of: u64) {
        if done >= of {
            return self.clear();
        }
        let pause = if self.terminal { OFTEN } else { SELDOM };
        if self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        let mut line = format!("{done} of {of} {what}");
        if let Some(percent) = done.saturating_mul(100).checked_div(of) {
            let _ = write!(line, ", {percent} %");
        }
        let mut stderr = io::stderr().lock();
        // Nobody to tell is no reason to stop.
        if self.terminal {
            let _ = write!(stderr, "\r{line:<shown$}", shown = self.shown);
            self.shown = line.chars().count();
        } else {
            let _ = writeln!(stderr, "{line}");
        }
    }

    /// Leaves the line as if nothing had stood there.
    pub(crate) fn clear(&mut self) {
        if self.shown > 0 {
            let _ = write!(io::stderr(), "\r{:shown$}\r", "", shown = self.shown);
            self.shown = 0;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
