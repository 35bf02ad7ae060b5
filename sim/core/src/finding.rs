//! Findings: violated rules, with what is needed to understand, repeat and mend them.

use std::fmt;
use std::panic::Location;

use crate::time::Nanos;

/// How bad a violated rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Works, but a reviewer would object.
    Advice,
    /// A bug.
    Error,
    /// The life could not go on.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Advice => "advice",
            Self::Error => "error",
            Self::Fatal => "fatal",
        })
    }
}

/// A rule that a checker holds drivers (or devices) to.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Short, stable name: `dma-unmapped`.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// How bad a violation is.
    pub severity: Severity,
    /// The section of a specification or the kernel document behind it.
    pub reference: &'static str,
    /// One line on how to mend it.
    pub fix: &'static str,
    /// The page that `bringup explain` prints, in Markdown.
    pub page: &'static str,
}

/// A place in a driver's source.
pub type Place = &'static Location<'static>;

/// One violated rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What happened, with the numbers that matter; one line.
    pub what: String,
    /// Where in the driver's source, if that is known.
    pub place: Option<Place>,
    /// The device it is about, by its name in this machine.
    pub device: Option<String>,
    /// When.
    pub at: Nanos,
    /// The number of waist operations before it, which is also its position in the trace.
    pub position: u64,
    /// The task or handler that was running.
    pub context: String,
    /// How often it happened.
    pub times: u64,
    /// More facts: who mapped it, who unmapped it, the nearest mapping, …
    pub notes: Vec<String>,
}

impl Finding {
    /// A finding without its circumstances; the fabric fills in when and in what context.
    #[must_use]
    pub fn new(rule: &'static Rule, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
            place: None,
            device: None,
            at: 0,
            position: 0,
            context: String::new(),
            times: 1,
            notes: Vec::new(),
        }
    }

    /// Says where in the source.
    #[must_use]
    pub fn at_place(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Says which device.
    #[must_use]
    pub fn on_device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.rule.severity, self.rule.id, self.what)?;
        if let Some(place) = self.place {
            write!(f, "\n  --> {}:{}:{}", place.file(), place.line(), place.column())?;
        }
        if let Some(device) = &self.device {
            write!(f, "\n   = device: {device}")?;
        }
        write!(f, "\n   = when: {} in {}, operation {}", Moment(self.at), self.context, self.position)?;
        if self.times > 1 {
            write!(f, "\n   = times: {}", self.times)?;
        }
        for note in &self.notes {
            write!(f, "\n   = note: {note}")?;
        }
        write!(f, "\n   = fix: {}\n   = see: {}; bringup explain {}", self.rule.fix, self.rule.reference, self.rule.id)
    }
}

/// Prints a moment as the kernel's log does: seconds with six decimals.
#[derive(Clone, Copy, Debug)]
pub struct Moment(pub Nanos);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000);
        f.pad(&text)
    }
}
