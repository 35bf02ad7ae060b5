//! What the lives of a conformance run say about each clause, and the table of it.

use std::collections::{BTreeMap, BTreeSet};

use bringup_bench::rules;
use bringup_core::{Finding, Severity};
use bringup_monitor::virtio::coverage::{CLAUSES, How};
use bringup_monitor::virtio::rules as virtio_rules;
use serde_json::{Value, json};

use super::{Lived, Scene, holds, table};
use crate::output::{Out, Style};

/// Why a clause is violated.
#[derive(Clone, Debug)]
struct Violation {
    what: String,
    /// As findings are shown, where there is one.
    finding: Option<String>,
    /// The command that shows it again.
    command: String,
}

/// A row of the table: a clause of the specification that binds drivers, or a rule that follows from what it states as a fact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) section: &'static str,
    pub(super) area: &'static str,
    pub(super) says: &'static str,
    /// The rule that it is checked by; its own id, as a rule.
    rule: &'static str,
    /// Nobody can see whether it holds.
    unseen: bool,
}

/// Areas that are about one type of device, how the ids of rules begin that are, and the kind that is of it.
const TYPES: [(&str, &str, &str); 12] = [
    ("Network", "IMP-NET", "virtio-net"),
    ("Block", "IMP-BLK", "virtio-blk"),
    ("Console", "IMP-CON", "virtio-console"),
    ("Entropy", "IMP-RNG", "virtio-rng"),
    ("Balloon", "", "virtio-balloon"),
    ("Socket", "", "virtio-vsock"),
    ("File system", "", "virtio-fs"),
    ("IOMMU", "", "virtio-iommu"),
    ("Memory", "", "virtio-mem"),
    ("I2C", "", "virtio-i2c"),
    ("GPIO", "", "virtio-gpio"),
    ("PMEM", "", "virtio-pmem"),
];

impl Row {
    /// All rows, in the order of the specification; those that are no clause come last.
    fn all() -> Vec<Self> {
        let clauses = CLAUSES.iter().map(|clause| Self {
            id: clause.id,
            section: clause.section,
            area: clause.area,
            says: clause.says,
            rule: if let How::Same(id) = clause.how { id } else { clause.id },
            unseen: matches!(clause.how, How::Unseen(_)),
        });
        let implied = virtio_rules::all()
            .filter(|rule| rule.severity > Severity::Advice && CLAUSES.iter().all(|clause| clause.id != rule.id))
            .map(|rule| Self {
                id: rule.id,
                section: rule.reference.rsplit('§').next().unwrap_or_default(),
                area: "Never to be seen (what the specification states as a fact)",
                says: rule.title,
                rule: rule.id,
                unseen: false,
            });
        let mut rows: Vec<Self> = clauses.chain(implied).collect();
        // An area may be spread over the specification; here it is one.
        let mut areas: Vec<&str> = Vec::new();
        for row in &rows {
            if !areas.contains(&row.area) {
                areas.push(row.area);
            }
        }
        rows.sort_by_key(|row| areas.iter().position(|area| *area == row.area));
        rows
    }

    fn is_clause(id: &str) -> bool {
        virtio_rules::all().any(|rule| rule.id == id) || CLAUSES.iter().any(|clause| clause.id == id)
    }

    /// Whether it can bind the driver of a device of this kind.
    fn concerns(&self, kind: &str) -> bool {
        let other = |(area, prefix, of): &(&str, &str, &str)| {
            *of != kind && (*area == self.area || (!prefix.is_empty() && self.id.starts_with(prefix)))
        };
        !TYPES.iter().any(other)
    }
}

/// What is known about each clause.
#[derive(Debug)]
pub(super) struct Verdicts {
    driver: String,
    device: String,
    lives: u64,
    /// Came up, by id.
    exercised: BTreeSet<&'static str>,
    violated: BTreeMap<&'static str, Violation>,
    /// Rules other than clauses (those of the kernel, of DMA) that the driver broke, and advice, by id.
    others: BTreeMap<&'static str, (Severity, Violation)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Violated,
    NotExercised,
    Unseen,
}

impl Verdict {
    /// What is looked at first stands first.
    pub(super) const ALL: [Self; 4] = [Self::Violated, Self::Passed, Self::NotExercised, Self::Unseen];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Violated => "VIOLATED",
            Self::NotExercised => "not exercised",
            Self::Unseen => "cannot be seen",
        }
    }

    pub(super) fn style(self) -> Style {
        match self {
            Self::Passed => Style::Green,
            Self::Violated => Style::Red,
            Self::NotExercised | Self::Unseen => Style::Dim,
        }
    }
}

impl Verdicts {
    pub(super) fn new(driver: &str, device: &str) -> Self {
        Self {
            driver: driver.into(),
            device: device.into(),
            lives: 0,
            exercised: BTreeSet::new(),
            violated: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }

    /// Judges the clauses that the scene is the stimulus for; `plain` is the account of the plain machine.
    pub(super) fn stimulus(&mut self, scene: &Scene, lived: &Lived, plain: &str) {
        let held = holds(scene, lived, plain);
        for clause in scene.clauses {
            self.exercised.insert(clause);
            if let Err(why) = &held {
                let what = format!("with {}: {why}", scene.what);
                let violation = Violation { what, finding: None, command: lived.command.clone() };
                self.violated.entry(clause).or_insert(violation);
            }
        }
    }

    /// Takes what the monitor and the other checkers found in a life.
    pub(super) fn rules(&mut self, lived: &Lived) {
        self.lives += 1;
        self.exercised.extend(&lived.report.exercised);
        for finding in &lived.report.findings {
            self.found(finding, &lived.command);
        }
    }

    fn found(&mut self, finding: &Finding, command: &str) {
        let id = finding.rule.id;
        let violation =
            Violation { what: finding.what.clone(), finding: Some(finding.to_string()), command: command.to_owned() };
        if finding.rule.severity > Severity::Advice && Row::is_clause(id) {
            self.violated.entry(id).or_insert(violation);
        } else {
            self.others.entry(id).or_insert((finding.rule.severity, violation));
        }
    }

    fn verdict(&self, row: &Row) -> Verdict {
        let known = [row.id, row.rule];
        if known.iter().any(|id| self.violated.contains_key(id)) {
            Verdict::Violated
        } else if known.iter().any(|id| self.exercised.contains(id)) {
            Verdict::Passed
        } else if row.unseen {
            Verdict::Unseen
        } else {
            Verdict::NotExercised
        }
    }

    /// Prints the table; the exit status.
    pub(super) fn print(&self, all: bool, out: &mut Out) -> u8 {
        let kind = self.device.split(',').next().unwrap_or_default();
        let judged: Vec<(Row, Verdict)> = Row::all()
            .into_iter()
            .map(|row| (row, self.verdict(&row)))
            .filter(|(row, verdict)| {
                let shown = row.concerns(kind) && *verdict != Verdict::Unseen;
                all || shown || *verdict == Verdict::Violated
            })
            .collect();
        let count = |wanted: Verdict| judged.iter().filter(|(_, verdict)| *verdict == wanted).count();
        let serious = self.others.values().filter(|(severity, _)| *severity > Severity::Advice).count();
        let exit = u8::from(count(Verdict::Violated) + serious > 0);
        out.document(&self.document(&judged, exit));
        if out.is_json() {
            return exit;
        }
        let areas = judged.chunk_by(|(a, _), (b, _)| a.area == b.area);
        if all {
            areas.for_each(|rows| table::each(rows, out));
        } else {
            let (untouched, met): (Vec<_>, Vec<_>) = areas.partition(|rows| table::is_untouched(rows));
            met.into_iter().for_each(|rows| table::short(rows, out));
            table::untouched(&untouched, out);
        }
        for (id, violation) in &self.violated {
            show(out, id, Severity::Error, violation);
        }
        for (id, (severity, violation)) in &self.others {
            show(out, id, *severity, violation);
        }
        out.line("");
        let paint = |count: usize, text: String| {
            let style = if count == 0 { Style::Green } else { Style::Red };
            out.paint(style, &text)
        };
        let violated = count(Verdict::Violated);
        let (violated, others) = (
            paint(violated, violated.to_string()),
            paint(serious, format!("{serious} rules that are no clauses of VIRTIO")),
        );
        for (label, value) in [
            ("driver", &*self.driver),
            ("device", &*self.device),
            ("lives", &*self.lives.to_string()),
            ("passed", &*count(Verdict::Passed).to_string()),
            ("not exercised", &*count(Verdict::NotExercised).to_string()),
            ("violated", &*format!("{violated}, and {others}")),
        ] {
            out.wide_row(label, value, 13);
        }
        exit
    }

    fn document(&self, judged: &[(Row, Verdict)], exit: u8) -> Value {
        let clauses: Vec<Value> = judged
            .iter()
            .map(|(row, verdict)| {
                let violation = self.violated.get(row.id).or_else(|| self.violated.get(row.rule));
                json!({
                    "id": row.id, "section": row.section, "area": row.area, "says": row.says,
                    "verdict": verdict.word().to_lowercase(),
                    "what": violation.map(|violation| &violation.what),
                    "reproduce": violation.map(|violation| &violation.command),
                })
            })
            .collect();
        let others: Vec<Value> = self
            .others
            .iter()
            .map(|(id, (severity, violation))| {
                json!({"rule": id, "severity": severity.to_string(), "what": violation.what, "reproduce": violation.command})
            })
            .collect();
        json!({
            "bringup": crate::life::VERSION, "driver": self.driver, "device": self.device, "lives": self.lives,
            "clauses": clauses, "others": others, "exit": exit,
        })
    }
}

fn show(out: &mut Out, id: &str, severity: Severity, violation: &Violation) {
    out.line("");
    match &violation.finding {
        Some(finding) => out.line(finding),
        None => {
            let clause = CLAUSES.iter().find(|clause| clause.id == id).map(|clause| clause.says);
            let title = clause.or_else(|| rules::find(id).map(|rule| rule.title)).unwrap_or_default();
            let head = out.paint(crate::output::severity_style(severity), &format!("{severity}[{id}]"));
            out.line(&format!("{head}: {title}"));
            out.line(&format!("   = {}", violation.what));
        }
    }
    let command = out.paint(Style::Bold, &violation.command);
    out.line(&format!("   = again: {command}"));
}
