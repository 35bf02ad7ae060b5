//! What came of the removals, as a table or as JSON.

use std::path::PathBuf;

use serde::Serialize;

use super::attempt::Noticed;
use super::removals::{Kind, Removal};
use crate::life::VERSION;
use crate::output::{Out, Style};

/// What came of a removal.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Something noticed it.
    Noticed(Noticed),
    /// Nothing noticed it in so many lives.
    Unnoticed(u64),
    /// The driver never came by it, or it would have changed nothing, in so many lives.
    Unmet(u64),
    /// The driver does not compile without it.
    Unbuilt,
}

/// The JSON document of `bringup mutate`. Fields are only ever added.
#[derive(Serialize)]
pub(super) struct Outcomes {
    /// The release that wrote it.
    bringup: &'static str,
    /// The driver, as it was named on the command line.
    driver: String,
    /// The most lives of each removal.
    lives: u64,
    /// Rules that the driver breaks with nothing removed; they notice nothing here.
    known: Vec<String>,
    removals: Vec<Row>,
    noticed: usize,
    not_noticed: usize,
    not_reached: usize,
    not_built: usize,
    /// Per cent of those that made a difference that were noticed.
    score: u64,
    /// The exit status.
    exit: u8,
}

#[derive(Serialize)]
struct Row {
    /// `file:line`.
    place: String,
    kind: Kind,
    /// What was removed.
    removed: String,
    /// `noticed`, `not-noticed`, `not-reached` (it would have made no difference in any life) or `not-built`.
    outcome: &'static str,
    /// The rule, `exercise`, `answers`, `crash` or `does not end`.
    by: Option<String>,
    /// What was found.
    what: Option<String>,
    /// Where.
    found_at: Option<String>,
    /// The first life that showed it, from 1, or how many did not show it.
    life: Option<u64>,
    /// The devices of the machine that showed it, if it was not the first one.
    devices: Vec<String>,
    /// What was found is only advice.
    advice: bool,
}

impl Row {
    fn new(path: &str, removal: &Removal, outcome: Outcome) -> Self {
        let row = Self {
            place: format!("{path}:{}", removal.line),
            kind: removal.kind,
            removed: removal.what.clone(),
            outcome: "not-built",
            by: None,
            what: None,
            found_at: None,
            life: None,
            devices: Vec::new(),
            advice: false,
        };
        match outcome {
            Outcome::Noticed(Noticed { by, what, place, life, devices, advice }) => {
                let (by, what) = (Some(by), Some(what));
                Self { outcome: "noticed", by, what, found_at: place, life, devices, advice, ..row }
            }
            Outcome::Unnoticed(lives) => Self { outcome: "not-noticed", life: Some(lives), ..row },
            Outcome::Unmet(lives) => Self { outcome: "not-reached", life: Some(lives), ..row },
            Outcome::Unbuilt => row,
        }
    }

    fn verdict(&self) -> String {
        match (self.outcome, &self.by) {
            (_, Some(by)) => by.clone(),
            ("not-noticed", _) => "NOT NOTICED".into(),
            ("not-reached", _) => "NOT REACHED".into(),
            _ => "does not build".into(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let life = self.life.map_or_else(|| "-".into(), |life| life.to_string());
        vec![self.place.clone(), self.kind.word().into(), self.verdict(), life, self.removed.clone()]
    }
}

impl Outcomes {
    pub(super) fn new(
        driver: &str,
        lives: u64,
        known: &[String],
        rows: Vec<(PathBuf, Removal, Outcome)>,
        out: &Out,
    ) -> Self {
        let shown = |path: PathBuf| out.paths.apply(&path.to_string_lossy());
        let rows = rows.into_iter().map(|(path, removal, outcome)| Row::new(&shown(path), &removal, outcome));
        let removals: Vec<Row> = rows.collect();
        let count = |outcome: &str| removals.iter().filter(|row| row.outcome == outcome).count();
        let (noticed, not_noticed, not_reached) = (count("noticed"), count("not-noticed"), count("not-reached"));
        let built = noticed + not_noticed + not_reached;
        Self {
            bringup: VERSION,
            driver: driver.into(),
            lives,
            known: known.iter().filter(|rule| !rule.contains('@')).cloned().collect(),
            noticed,
            not_noticed,
            not_reached,
            not_built: count("not-built"),
            score: (100 * noticed).checked_div(noticed + not_noticed).unwrap_or(0) as u64,
            exit: u8::from(noticed < built),
            removals,
        }
    }

    /// Prints it; the exit status.
    pub(super) fn print(&self, out: &mut Out) -> u8 {
        let heading = ["PLACE", "REMOVED", "NOTICED BY", "LIFE", "SOURCE"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(self.removals.iter().map(Row::cells)).collect();
        out.table(&rows);
        out.line("");
        if !self.known.is_empty() {
            out.row("not counted", &format!("{}: found with nothing removed", self.known.join(", ")));
        }
        out.row("removals", &format!("{}, up to {} lives each", self.removals.len(), self.lives));
        let reached = self.noticed + self.not_noticed;
        out.row("noticed", &format!("{} of {reached} that made a difference: {} %", self.noticed, self.score));
        let missed = self.not_noticed;
        let style = if missed == 0 { Style::Green } else { Style::Red };
        let missed = out.paint(style, &self.not_noticed.to_string());
        out.row("not noticed", &missed);
        out.row("not reached", &format!("{}: in these lives they make no difference", self.not_reached));
        out.row("not built", &self.not_built.to_string());
        out.document(self);
        self.exit
    }
}
