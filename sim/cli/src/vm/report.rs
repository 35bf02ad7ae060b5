//! The report of a machine: its JSON, and the text made from that.

use bringup_core::DeviceId;
use bringup_vmm::{Interrupted, Outcome};
use serde::Serialize;

use super::args::VmArgs;
use super::boot::Ended;
use super::verdict::{Verdict, word, words};
use crate::guest::console::Shown;
use crate::life::VERSION;
use crate::output::{Out, Style};
use crate::report::{FindingReport, Rendered};

/// The JSON document of `bringup vm`. Fields are only ever added.
#[derive(Serialize)]
pub(crate) struct VmReport {
    /// The release that wrote it.
    bringup: &'static str,
    kernel: String,
    cpus: u8,
    /// Bytes.
    memory: u64,
    devices: Vec<DeviceReport>,
    /// How it ended: power-off, reset, triple-fault, stopped, stuck or panicked.
    end: &'static str,
    /// What went wrong, if it is not for the guest's commands to say.
    trouble: Option<String>,
    /// The status of the guest's commands, if they came to their end.
    status: Option<i32>,
    /// The guest's console, line by line; with --run what came while our init was at work, unless all of it is wanted.
    log: Vec<String>,
    /// Lines of it that no correct driver causes.
    alarms: Vec<String>,
    /// The violated rules.
    findings: Vec<FindingReport>,
    /// Operations that crossed the waist.
    operations: u64,
    /// How often a vCPU was stopped.
    exits: u64,
    /// Doorbells that stopped none.
    doorbells: u64,
    /// How long it was on, in nanoseconds of the host's.
    up_ns: u64,
    /// The seed, if there was one.
    seed: Option<u64>,
    /// The exit status.
    exit: u8,
    #[serde(skip)]
    guest: &'static str,
    #[serde(skip)]
    rendered: Rendered,
}

#[derive(Serialize)]
struct DeviceReport {
    /// Its name in this machine.
    name: String,
    /// `vendor:device`, hexadecimal.
    id: String,
    /// Its PCI address.
    address: String,
    /// Messages that reached the guest's interrupt controllers.
    messages: u64,
    /// Interrupts that were kept back because their vector was masked, and went out later if they could.
    held_back: u64,
    /// Vectors that have one waiting at the end.
    waiting: u32,
    /// Messages to addresses where no interrupt controller listens.
    lost_messages: u64,
    /// How often it asserted its pin.
    pins: u64,
}

impl VmReport {
    pub(crate) fn new(args: &VmArgs, ended: &Ended, shown: &Shown, verdict: &Verdict, exit: u8, whole: bool) -> Self {
        let Outcome { bus, interrupts, .. } = &ended.outcome;
        let device = |id: DeviceId| {
            let (port, irq) = (bus.port(id), interrupts.get(usize::from(id.0)).copied().unwrap_or_default());
            let Interrupted { messages, lost, pins } = irq;
            let (vendor, product) = port.function().id();
            DeviceReport {
                name: port.name().to_owned(),
                id: format!("{vendor:04x}:{product:04x}"),
                address: bus.address(id),
                messages,
                held_back: port.held_back(),
                waiting: port.waiting(),
                lost_messages: lost,
                pins,
            }
        };
        let log = shown.log.iter().filter(|(stage, _)| whole || stage.is_work());
        Self {
            bringup: VERSION,
            kernel: args.kernel.display().to_string(),
            cpus: args.cpus,
            memory: args.memory,
            devices: bus.devices().map(device).collect(),
            end: word(&ended.outcome.end),
            trouble: verdict.trouble().map(str::to_owned),
            status: verdict.status,
            log: log.map(|(_, line)| line.clone()).collect(),
            alarms: shown.alarms.clone(),
            findings: bus.fabric.findings.iter().map(FindingReport::new).collect(),
            operations: bus.fabric.trace.position(),
            exits: ended.outcome.exits,
            doorbells: ended.outcome.rings,
            up_ns: u64::try_from(ended.outcome.up.as_nanos()).unwrap_or(u64::MAX),
            seed: args.seed,
            exit,
            guest: words(&ended.outcome.end),
            rendered: Rendered::new(&bus.fabric.findings),
        }
    }

    pub(crate) fn print(&self, out: &mut Out) {
        out.document(self);
        if out.is_json() {
            return;
        }
        let cpus = if self.cpus == 1 { "1 CPU".into() } else { format!("{} CPUs", self.cpus) };
        out.row("kernel", &format!("{}, {cpus}, {} MiB", self.kernel, self.memory >> 20));
        let width = |text: fn(&DeviceReport) -> &str| {
            self.devices.iter().map(|device| text(device).chars().count()).max().unwrap_or(0)
        };
        let name = width(|device| &device.name);
        for (index, device) in self.devices.iter().enumerate() {
            let label = if index == 0 { "devices" } else { "" };
            let interrupts = device.interrupts();
            out.row(label, &format!("{:<name$}  {}  {}  {interrupts}", device.name, device.id, device.address));
        }
        if self.devices.is_empty() {
            out.row("devices", "none");
        }
        let status = self.status.map_or_else(String::new, |status| format!(", status {status}"));
        let (seconds, micros) = (self.up_ns / 1_000_000_000, self.up_ns % 1_000_000_000 / 1_000);
        out.row("guest", &format!("{} after {seconds}.{micros:06} s{status}", self.guest));
        out.row("operations", &self.operations.to_string());
        let doorbells = match self.doorbells {
            0 => String::new(),
            count => format!(", and {count} doorbells without one"),
        };
        out.row("exits", &format!("{}{doorbells}", self.exits));
        for alarm in &self.alarms {
            let text = out.paint(Style::Red, alarm);
            out.row("ALARM", &text);
        }
        self.rendered.print(out);
    }
}

impl DeviceReport {
    /// Its interrupts in words.
    fn interrupts(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |count: u64, one: &str, many: &str| match count {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            count => parts.push(format!("{count} {many}")),
        };
        part(self.messages, "message", "messages");
        part(self.pins, "level", "levels");
        part(self.held_back, "held back while masked", "held back while masked");
        part(self.waiting.into(), "of them still waits", "of them still wait");
        part(
            self.lost_messages,
            "message lost: no controller is at its address",
            "messages lost: no controller is at their address",
        );
        if parts.is_empty() { "no interrupts".into() } else { parts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_accounted_for_in_words() {
        let device = DeviceReport {
            name: "edu".into(),
            id: String::new(),
            address: String::new(),
            messages: 12,
            held_back: 2,
            waiting: 1,
            lost_messages: 1,
            pins: 0,
        };
        let words = device.interrupts();
        assert!(
            words.starts_with("12 messages, 2 held back while masked, 1 of them still waits, 1 message lost"),
            "{words}"
        );
    }
}
