//! The report of a life: its JSON, and the text made from that.

use bringup_bench::{Errno, Report};
use bringup_core::{Finding, Severity};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exercise::Exercised;
use crate::life::{Driver, Life, VERSION};
use crate::output::{Out, Style, severity_style};

/// The JSON document of `bringup run` and `bringup replay`. Fields are only ever added.
#[derive(Serialize)]
pub(crate) struct RunReport {
    /// The release that wrote it.
    bringup: &'static str,
    /// The driver, as it was named on the command line.
    driver: String,
    /// Whether it came from a file.
    from_file: bool,
    /// What was plugged in.
    devices: Vec<DeviceReport>,
    /// The kernel log.
    log: Vec<LogReport>,
    /// What the exercise found out, by name.
    exercise: Map<String, Value>,
    /// What went wrong in the use of the driver.
    mishaps: Vec<MishapReport>,
    /// The violated rules.
    findings: Vec<FindingReport>,
    /// Operations that crossed the waist.
    operations: u64,
    /// Interrupt handlers entered.
    interrupts: u64,
    /// Allocations asked for, and how many of them were made to fail.
    allocations: u64,
    failed_allocations: u64,
    /// Choices taken.
    choices: usize,
    /// The seed, if there was one.
    seed: Option<u64>,
    /// How long the life took, in virtual nanoseconds.
    virtual_ns: u64,
    /// Whether it ended early.
    crashed: bool,
    /// The command that runs this life again.
    reproduce: Option<String>,
    /// The exit status.
    exit: u8,
    #[serde(skip)]
    devices_were_named: bool,
    #[serde(skip)]
    rows: Vec<(String, String)>,
    #[serde(skip)]
    rendered: Rendered,
}

/// A device of the machine.
#[derive(Serialize)]
pub(crate) struct DeviceReport {
    /// Its name in this machine.
    pub(crate) name: String,
    /// `vendor:device`, hexadecimal; of a platform device `acpi:HID` or `of:COMPATIBLE`.
    pub(crate) id: String,
    /// Its PCI address; of a platform device where firmware has its node.
    pub(crate) address: String,
    /// The driver it was bound to.
    pub(crate) driver: Option<String>,
    /// Why a driver that matched is not bound.
    pub(crate) probe_error: Option<String>,
}

#[derive(Serialize)]
struct LogReport {
    /// Virtual nanoseconds.
    at: u64,
    /// 0 (emergency) to 7 (debug).
    level: u8,
    text: String,
}

#[derive(Serialize)]
struct MishapReport {
    what: String,
    /// Whether the machine (a fault plan, failing allocations) explains it; then it is no failure.
    excused: bool,
}

/// A violated rule.
#[derive(Serialize)]
pub(crate) struct FindingReport {
    rule: &'static str,
    /// `advice`, `error` or `fatal`.
    severity: String,
    what: String,
    /// `file:line:column` in the driver's source.
    place: Option<String>,
    device: Option<String>,
    /// Virtual nanoseconds.
    at: u64,
    /// Waist operations before it: its position in the trace.
    position: u64,
    /// The task or handler that was running.
    context: String,
    /// How often it happened.
    times: u64,
    notes: Vec<String>,
    fix: &'static str,
    reference: &'static str,
}

impl FindingReport {
    pub(crate) fn new(finding: &Finding) -> Self {
        Self {
            rule: finding.rule.id,
            severity: finding.rule.severity.to_string(),
            what: finding.what.clone(),
            place: finding.place.map(|place| format!("{}:{}:{}", place.file(), place.line(), place.column())),
            device: finding.device.clone(),
            at: finding.at,
            position: finding.position,
            context: finding.context.clone(),
            times: finding.times,
            notes: finding.notes.clone(),
            fix: finding.rule.fix,
            reference: finding.rule.reference,
        }
    }
}

/// Findings as text.
pub(crate) struct Rendered(Vec<(Severity, String)>);

impl Rendered {
    pub(crate) fn new(findings: &[Finding]) -> Self {
        Self(findings.iter().map(|finding| (finding.rule.severity, finding.to_string())).collect())
    }

    /// Prints how many there are, then each.
    pub(crate) fn print(&self, out: &mut Out) {
        let worst = self.0.iter().map(|(severity, _)| *severity).max().unwrap_or(Severity::Advice);
        let verdict = match self.0.len() {
            0 => out.paint(Style::Green, "none"),
            count => out.paint(severity_style(worst), &count.to_string()),
        };
        out.row("findings", &verdict);
        for (severity, text) in &self.0 {
            out.line("");
            let (head, rest) = text.split_once(']').map_or(("", &**text), |(head, rest)| (head, rest));
            let head =
                if head.is_empty() { String::new() } else { out.paint(severity_style(*severity), &format!("{head}]")) };
            out.line(&format!("{head}{rest}"));
        }
    }
}

impl DeviceReport {
    pub(crate) fn with_probe_error(mut self, errors: &[(String, String, i32)]) -> Self {
        let error = errors.iter().rfind(|(_, device, _)| *device == self.name);
        self.probe_error = error.map(|(driver, _, code)| format!("{driver}: {}", Errno(*code)));
        self
    }

    fn state(&self) -> String {
        match (&self.driver, &self.probe_error) {
            (Some(driver), _) => format!("bound to {driver}"),
            (None, Some(error)) => format!("refused by {error}"),
            (None, None) => "not bound".into(),
        }
    }
}

impl RunReport {
    pub(crate) fn new(
        life: &Life,
        report: &Report,
        devices: Vec<DeviceReport>,
        exercised: &Exercised,
        mishaps: &[(String, bool)],
        reproduce: Option<String>,
        exit: u8,
    ) -> Self {
        Self {
            bringup: VERSION,
            driver: life.driver.name().into(),
            from_file: matches!(life.driver, Driver::File(..)),
            devices,
            log: report
                .log
                .iter()
                .map(|line| LogReport { at: line.at, level: line.level, text: line.text.clone() })
                .collect(),
            exercise: exercised.facts.iter().map(|fact| (fact.name.clone(), fact.value.clone())).collect(),
            mishaps: mishaps
                .iter()
                .map(|(what, excused)| MishapReport { what: what.clone(), excused: *excused })
                .collect(),
            findings: report.findings.iter().map(FindingReport::new).collect(),
            operations: report.operations,
            interrupts: report.stats.interrupts,
            allocations: report.stats.allocations,
            failed_allocations: report.stats.failed_allocations,
            choices: report.choices,
            seed: life.seed,
            virtual_ns: report.duration,
            crashed: report.crashed,
            reproduce,
            exit,
            devices_were_named: !life.has_default_devices() || matches!(life.driver, Driver::Bundled(_)),
            rows: exercised.facts.iter().map(|fact| (fact.name.clone(), fact.text.clone())).collect(),
            rendered: Rendered::new(&report.findings),
        }
    }

    pub(crate) fn print(&self, out: &mut Out) {
        out.document(self);
        if out.is_json() {
            return;
        }
        if !self.log.is_empty() {
            out.line("");
        }
        let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, text) in &self.rows {
            out.wide_row(label, text, width);
        }
        if !self.rows.is_empty() {
            out.line("");
        }
        out.row("driver", &self.driver);
        self.print_devices(out);
        out.row("operations", &self.operations.to_string());
        out.row("interrupts", &self.interrupts.to_string());
        let failed = if self.failed_allocations > 0 {
            format!(", {} made to fail", self.failed_allocations)
        } else {
            String::new()
        };
        out.row("allocations", &format!("{}{failed}", self.allocations));
        out.row(
            "time",
            &format!("{}.{:06} s virtual", self.virtual_ns / 1_000_000_000, self.virtual_ns % 1_000_000_000 / 1_000),
        );
        let seed = self.seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
        out.row("choices", &format!("{}{seed}", self.choices));
        self.print_mishaps(out);
        self.rendered.print(out);
        if let Some(command) = &self.reproduce {
            out.line("");
            let command = out.paint(Style::Bold, command);
            out.line(&format!("run it again: {command}"));
        }
    }

    fn print_devices(&self, out: &mut Out) {
        // Devices that nobody asked for and nobody took are not worth a line.
        let worth =
            |device: &&DeviceReport| self.devices_were_named || device.driver.is_some() || device.probe_error.is_some();
        let devices: Vec<&DeviceReport> = self.devices.iter().filter(worth).collect();
        let width = |text: fn(&DeviceReport) -> &str| {
            devices.iter().map(|device| text(device).chars().count()).max().unwrap_or(0)
        };
        let (name, id, address) = (width(|device| &device.name), width(|device| &device.id), width(|d| &d.address));
        for (index, device) in devices.iter().enumerate() {
            let label = if index == 0 { "devices" } else { "" };
            let place = format!("{:<name$}  {:<id$}  {:<address$}", device.name, device.id, device.address);
            out.row(label, &format!("{place}  {}", device.state()));
        }
        if devices.is_empty() {
            out.row("devices", "none");
        }
    }

    fn print_mishaps(&self, out: &mut Out) {
        for mishap in &self.mishaps {
            if mishap.excused {
                out.row("refused", &mishap.what);
            } else {
                let text = out.paint(Style::Red, &mishap.what);
                out.row("FAILED", &text);
            }
        }
    }
}
