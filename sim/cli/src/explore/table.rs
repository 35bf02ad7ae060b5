//! The report of a campaign: its JSON, and the text made from that.

use bringup_bench::explore::{Campaign, Explored, Found};
use bringup_core::{Severity, States};
use serde::Serialize;

use crate::args::Strategy;
use crate::life::{Life, VERSION};
use crate::output::{Out, Style, severity_style};

/// The JSON document of `bringup run --explore`. Fields are only ever added.
#[derive(Serialize)]
pub(super) struct ExploreReport {
    /// The release that wrote it.
    bringup: &'static str,
    /// The driver, as it was named on the command line.
    driver: String,
    /// The specifications of the devices.
    devices: Vec<String>,
    /// As `--strategy` takes it.
    strategy: String,
    seed: u64,
    /// How many lives there were, and in how many of them something was found that is not only advice.
    lives: u64,
    failed: u64,
    /// All lives that the strategy has were lived.
    finished: bool,
    /// How many lives differ in what crossed the waist.
    distinct: u64,
    /// The most choices of a life.
    choices: usize,
    /// Waist operations of all lives.
    operations: u64,
    /// The states that could be seen.
    states: Vec<StateReport>,
    /// In this computer's time.
    seconds: f64,
    lives_per_second: f64,
    findings: Vec<FoundReport>,
    /// The exit status.
    exit: u8,
}

#[derive(Serialize)]
struct StateReport {
    name: &'static str,
    what: &'static str,
    seen: bool,
}

/// One thing that was found.
#[derive(Serialize)]
pub(super) struct FoundReport {
    rule: &'static str,
    /// `advice`, `error` or `fatal`.
    severity: String,
    what: String,
    /// `file:line:column` in the driver's source.
    place: Option<String>,
    device: Option<String>,
    context: String,
    notes: Vec<String>,
    fix: &'static str,
    reference: &'static str,
    /// The first life that showed it, and how many did.
    life: u64,
    lives: u64,
    /// Of the short stream: its length, and how many choices are not what a quiet life's are.
    choices: usize,
    deviations: usize,
    /// The file that holds it.
    stream: String,
    /// The command that runs it again.
    reproduce: String,
    #[serde(skip)]
    worst: Severity,
    #[serde(skip)]
    rendered: String,
}

impl FoundReport {
    pub(super) fn new(found: &Found, stream: &[u8], path: String, reproduce: String) -> Self {
        let finding = &found.finding;
        Self {
            rule: finding.rule.id,
            severity: finding.rule.severity.to_string(),
            what: finding.what.clone(),
            place: finding.place.map(|place| format!("{}:{}:{}", place.file(), place.line(), place.column())),
            device: finding.device.clone(),
            context: finding.context.clone(),
            notes: finding.notes.clone(),
            fix: finding.rule.fix,
            reference: finding.rule.reference,
            life: found.life,
            lives: found.times,
            choices: stream.len(),
            deviations: stream.iter().filter(|answer| **answer != 0).count(),
            stream: path,
            reproduce,
            worst: finding.rule.severity,
            rendered: finding.to_string(),
        }
    }
}

impl ExploreReport {
    pub(super) fn new(
        life: &Life,
        campaign: &Campaign,
        strategy: Strategy,
        explored: &Explored,
        findings: Vec<FoundReport>,
        exit: u8,
    ) -> Self {
        Self {
            bringup: VERSION,
            driver: life.driver.name().into(),
            devices: life.devices.clone(),
            strategy: strategy.to_string(),
            seed: campaign.seed,
            lives: explored.lives,
            failed: explored.failed,
            finished: explored.finished,
            distinct: explored.distinct,
            choices: explored.choices,
            operations: explored.operations,
            states: states(explored.reachable, explored.coverage),
            seconds: explored.elapsed.as_secs_f64(),
            lives_per_second: explored.lives_a_second(),
            findings,
            exit,
        }
    }

    pub(super) fn print(&self, out: &mut Out) {
        out.document(self);
        if out.is_json() {
            return;
        }
        out.row("driver", &self.driver);
        out.row("devices", &self.devices.join("  "));
        out.row("strategy", &format!("{}, seed {}", self.strategy, self.seed));
        let end = if self.finished { "; these are all there are" } else { "" };
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        out.row("lives", &format!("{}{failed}, {:.0} a second{end}", self.lives, self.lives_per_second));
        out.row("distinct", &format!("{} traces, up to {} choices in a life", self.distinct, self.choices));
        let seen = self.states.iter().filter(|state| state.seen).count();
        out.row("states", &format!("{seen} of {} seen", self.states.len()));
        out.line("");
        let heading = ["STATE", "SEEN", "WHAT"].map(str::to_owned).to_vec();
        let mut rows = vec![heading];
        for state in &self.states {
            let seen = if state.seen { "yes" } else { "no" };
            rows.push(vec![state.name.into(), seen.into(), state.what.into()]);
        }
        out.table(&rows);
        out.line("");
        let worst = self.findings.iter().map(|found| found.worst).max();
        let verdict = match worst {
            None => out.paint(Style::Green, "none"),
            Some(worst) => out.paint(severity_style(worst), &self.findings.len().to_string()),
        };
        out.row("findings", &verdict);
        for found in &self.findings {
            out.line("");
            let (head, rest) = found.rendered.split_once(']').unwrap_or(("", &found.rendered));
            let head = out.paint(severity_style(found.worst), &format!("{head}]"));
            out.line(&format!("{head}{rest}"));
            out.line(&format!("   = lives: the first is number {}, {} in all", found.life, found.lives));
            out.line(&format!("   = choices: {}, {} of them not 0", found.choices, found.deviations));
            let command = out.paint(Style::Bold, &found.reproduce);
            out.line(&format!("   = run it again: {command}"));
        }
    }
}

fn states(reachable: States, seen: States) -> Vec<StateReport> {
    reachable
        .iter()
        .map(|state| StateReport { name: state.name(), what: state.what(), seen: seen.has(state) })
        .collect()
}
