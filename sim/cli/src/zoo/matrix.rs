//! The matrix: a row for each bug, and what it all comes to.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use zoo::Bug;

use super::hunt::Hunt;
use super::{median, rounded};

/// What the hunts for a bug, and the lives of its twin, came to.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) bug: &'static Bug,
    /// One for each seed.
    pub(crate) hunts: Vec<Hunt>,
    pub(crate) twin: Hunt,
}

impl Row {
    /// Caught with every seed, by what is meant to catch it.
    pub(crate) fn is_caught(&self) -> bool {
        !self.hunts.is_empty() && self.hunts.iter().all(|hunt| hunt.by.is_some())
    }

    /// How often something was found in lives of the twin.
    pub(crate) fn false_alarms(&self) -> u64 {
        self.twin.others.values().sum()
    }

    /// Caught if it is meant to be, and the twin is not blamed.
    pub(crate) fn is_as_expected(&self) -> bool {
        (self.bug.uncaught.is_some() || self.is_caught()) && self.false_alarms() == 0
    }

    /// The rules that caught it.
    pub(crate) fn by(&self) -> Vec<&'static str> {
        let mut rules: Vec<&'static str> = self.hunts.iter().filter_map(|hunt| hunt.by).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// The median of the lives up to the first finding.
    pub(crate) fn median_lives(&self) -> Option<u64> {
        median(self.hunts.iter().map(|hunt| hunt.lives).collect())
    }

    /// The median of the times to the first finding.
    pub(crate) fn median_time(&self) -> Option<Duration> {
        median(self.hunts.iter().map(|hunt| hunt.elapsed).collect())
    }

    /// The row as a line of text.
    pub(crate) fn line(&self) -> String {
        let id = self.bug.id;
        let outcome = match (self.bug.uncaught, self.is_caught()) {
            (Some(_), false) => "not caught, as known".to_owned(),
            (_, true) => format!(
                "caught by {} after {} lives, {}",
                self.by().join(", "),
                self.median_lives().unwrap_or(0),
                rounded(self.median_time().unwrap_or_default())
            ),
            (None, false) => {
                let missed = self.hunts.iter().filter(|hunt| hunt.by.is_none()).count();
                let mut others: Vec<&str> = self.hunts.iter().flat_map(|hunt| hunt.others.keys().copied()).collect();
                others.sort_unstable();
                others.dedup();
                let others = if others.is_empty() { "nothing".into() } else { others.join(", ") };
                format!("NOT CAUGHT with {missed} of {} seeds; else found: {others}", self.hunts.len())
            }
        };
        let alarms = match self.false_alarms() {
            0 => String::new(),
            number => {
                let rules: Vec<&str> = self.twin.others.keys().copied().collect();
                let first = self.twin.first_other.as_deref().unwrap_or_default();
                format!("; {number} FALSE ALARMS on the twin: {}; first: {first}", rules.join(", "))
            }
        };
        format!("{id:<34} {outcome}{alarms}")
    }

    /// The row for JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.bug.id,
            "classes": self.bug.classes,
            "caught": self.is_caught(),
            "by": self.by(),
            "lives": self.median_lives(),
            "seconds": self.median_time().map(|time| time.as_secs_f64()),
            "false_alarms": self.false_alarms(),
            "twin_lives": self.twin.lives,
            "uncaught": self.bug.uncaught,
        })
    }
}

/// What all rows come to.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) caught: usize,
    /// Of those that can be.
    pub(crate) of: usize,
    pub(crate) uncatchable: usize,
    pub(crate) false_alarms: u64,
    /// Of the medians.
    pub(crate) median: Duration,
}

pub(crate) fn summary(rows: &[Row]) -> Summary {
    let catchable: Vec<&Row> = rows.iter().filter(|row| row.bug.uncaught.is_none()).collect();
    let caught: Vec<&&Row> = catchable.iter().filter(|row| row.is_caught()).collect();
    Summary {
        caught: caught.len(),
        of: catchable.len(),
        uncatchable: rows.len() - catchable.len(),
        false_alarms: rows.iter().map(Row::false_alarms).sum(),
        median: median(caught.iter().filter_map(|row| row.median_time()).collect()).unwrap_or_default(),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caught, of, uncatchable, false_alarms, median } = self;
        write!(f, "{caught} of {of} caught, {false_alarms} false alarms, median time {}", rounded(*median))?;
        if *uncatchable > 0 {
            write!(f, "; {uncatchable} more that nothing can catch")?;
        }
        Ok(())
    }
}
