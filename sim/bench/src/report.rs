//! What a life leaves: the log, the findings, the stream that repeats it, and numbers.

use std::collections::BTreeSet;

use bringup_core::trace::Record;
use bringup_core::{Finding, Nanos, Point, Severity, States, Stream, Uncovered};

pub use crate::machine::{LogLine, Stats};

/// The report of a life.
#[derive(Debug, Default)]
pub struct Report {
    /// The kernel log.
    pub log: Vec<LogLine>,
    /// Every violated rule.
    pub findings: Vec<Finding>,
    /// The choices of the life; with the same driver and devices they repeat it.
    pub stream: Stream,
    /// The trace, if it was on.
    pub trace: Vec<Record>,
    /// The names of the devices, by their number in the trace.
    pub devices: Vec<String>,
    /// Numbers.
    pub stats: Stats,
    /// Waist operations.
    pub operations: u64,
    /// Choices taken.
    pub choices: usize,
    /// Choices taken of each kind, by [`Point::index`].
    pub points: [u32; Point::COUNT],
    /// The waist operations as one number: lives in which the same was done have the same one.
    pub digest: u64,
    /// The states that the machine got into.
    pub seen: States,
    /// Those that it could have got into.
    pub could_see: States,
    /// How long the life took, in virtual nanoseconds.
    pub duration: Nanos,
    /// Drivers that refused a device: driver, device, negative errno.
    pub probe_errors: Vec<(String, String, i32)>,
    /// The rules that monitors put to the test, violated or not, by id; none unless [`Builder::note_exercised`] asked for them.
    ///
    /// [`Builder::note_exercised`]: crate::Builder::note_exercised
    pub exercised: BTreeSet<&'static str>,
    /// Coherent memory that the memory model lost sight of, because the driver took raw pointers into it.
    pub uncovered: Vec<Uncovered>,
    /// Whether the life ended early: a driver panicked, or a task hung.
    pub crashed: bool,
}

impl Report {
    /// Whether no rule was violated; advice does not count.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.rule.severity == Severity::Advice)
    }

    /// The ids of the violated rules, in the order in which they were.
    #[must_use]
    pub fn rules(&self) -> Vec<&'static str> {
        self.findings.iter().map(|finding| finding.rule.id).collect()
    }

    /// The log as text, one line a message, without times.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.log.iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// The trace as text.
    #[must_use]
    pub fn trace_text(&self) -> String {
        let mut out = Vec::new();
        // Writing to memory cannot fail.
        let _ = bringup_core::trace::write_text(&mut out, &self.trace, &self.devices);
        String::from_utf8_lossy(&out).into_owned()
    }
}
