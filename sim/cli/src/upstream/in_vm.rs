//! The door of our own machine: the same devices, so the driver's log can be laid beside the one that it has on the bench.

use bringup_bench::module::Loadable;
use bringup_core::Plan;
use bringup_devices::registry::{self, Workshop};
use serde::Serialize;

use super::beside::{BenchLine, Line, beside, differences, is_of_driver, print};
use super::{Result, Work};
use crate::args::UpstreamArgs;
use crate::failure::{Failure, complain};
use crate::guest::console::{Console, View, without_time};
use crate::guest::{Channel, Guest, Purpose};
use crate::life::{Driver, VERSION, machine, plugs_in, quote};
use crate::matching;
use crate::output::{Out, Style};
use crate::report::{FindingReport, Rendered};
use crate::run::devices;
use crate::vm::args::check_devices;
use crate::vm::boot::Boot;
use crate::vm::verdict::Verdict;
use crate::vm::{COMMAND_LINE, filters, has_errors};
use crate::watch::Watch;

/// The guest's memory, in bytes.
const MEMORY: u64 = 512 << 20;

/// What the bench made of the driver.
struct Benched {
    /// What is plugged in, as `--device` takes it.
    devices: Vec<String>,
    /// Addresses of functions that it bound to, and the names under which it did.
    bound: Vec<(String, String)>,
    log: Vec<BenchLine>,
    findings: usize,
    /// A rule was violated there; advice does not count.
    wrong: bool,
}

/// The JSON document of `bringup upstream run --door vm`. Fields are only ever added.
#[derive(Serialize)]
struct DoorReport<'a> {
    bringup: &'static str,
    driver: String,
    /// What was plugged in, there and here.
    devices: &'a [String],
    /// The driver's lines of both logs, side by side.
    log: &'a [Line],
    differences: usize,
    /// Lines of the kernel's log that no correct driver causes.
    alarms: &'a [String],
    /// What the waist found in the real kernel's use of the devices.
    findings: Vec<FindingReport>,
    /// How many findings the bench has.
    bench_findings: usize,
    /// The status of the guest's commands, if they came to their end.
    status: Option<i32>,
    trouble: Option<&'a str>,
    exit: u8,
}

/// Runs the driver on the bench and in a machine with the tree's kernel, and compares.
pub(super) fn run(args: &UpstreamArgs, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8> {
    if !args.drive.is_empty() {
        return Err(Failure::new("--drive is QEMU's; with --door vm a disk is --device virtio-blk,image=FILE"));
    }
    check_devices(&args.device)?;
    let given = args.driver.display().to_string();
    args.name()?;
    args.tree()?;
    let kernel = args.image()?;
    let driver = Driver::find(&given, linked, out)?;
    let benched = Benched::of(&driver, &args.device, out)?;
    let work = Work::new()?;
    let module = args.build(&work.0)?;
    let commands = args.run.as_deref().unwrap_or(":");
    let guest = Guest {
        busybox: args.busybox.clone(),
        modules: &[module],
        shares: &args.file,
        purpose: Purpose::Commands(commands),
        taken: &benched.bound,
        unloads: true,
        channel: Channel::Serial,
        beside: false,
        most: MEMORY,
    };
    let view = match (out.is_json(), out.verbose) {
        (true, _) => View::Nothing,
        (false, true) => View::All,
        (false, false) => View::Work,
    };
    let console = Console::new(view, false);
    let workshop = Workshop::new();
    let ended = Boot {
        kernel: &kernel,
        initrd: guest.archive()?,
        command_line: format!("{COMMAND_LINE} quiet loglevel=7 {}", args.append),
        memory: MEMORY,
        cpus: 1,
        devices: &benched.devices,
        workshop: &workshop,
        plan: Plan::default(),
        seed: None,
        traced: false,
        console: console.clone(),
        input: None,
        timeout: args.timeout,
        doorbells: true,
        seccomp: filters(args.no_seccomp),
        gdb: None,
    }
    .run()?;
    drop(work);
    let shown = console.finish();
    let verdict = Verdict::of(&ended, &shown, Some(guest.purpose));
    let names = names(&driver, &args.module_name()?, &benched.bound);
    let work = shown.log.iter().filter(|(stage, _)| stage.is_work());
    let linux: Vec<_> = work
        .map(|(stage, line)| (*stage, without_time(line).to_owned()))
        .filter(|(_, line)| is_of_driver(line, &names))
        .collect();
    let bench: Vec<_> = benched.log.into_iter().filter(|line| is_of_driver(&line.text, &names)).collect();
    let lines = beside(&bench, &linux);
    let findings = &ended.outcome.bus.fabric.findings;
    let found = differences(&lines) > 0 || !shown.alarms.is_empty() || has_errors(findings) || benched.wrong;
    let exit = verdict.with_findings(found);
    let report = DoorReport {
        bringup: VERSION,
        driver: given,
        devices: &benched.devices,
        log: &lines,
        differences: differences(&lines),
        alarms: &shown.alarms,
        findings: findings.iter().map(FindingReport::new).collect(),
        bench_findings: benched.findings,
        status: verdict.status,
        trouble: verdict.trouble(),
        exit,
    };
    report.print(&Rendered::new(findings), out);
    verdict.trouble().iter().for_each(|line| complain(line));
    Ok(exit)
}

/// What the driver goes by in a log: its module, the kernel's name for that, its drivers.
fn names(driver: &Driver, module: &str, bound: &[(String, String)]) -> Vec<String> {
    let mut names = vec![driver.module().name.to_owned(), module.replace('-', "_")];
    names.extend(bound.iter().map(|(_, name)| name.clone()));
    names
}

impl Benched {
    /// Loads the driver on the bench and unloads it, with the devices that are given, else with one of each kind that it binds to.
    fn of(driver: &Driver, given: &[String], out: &Out) -> Result<Self> {
        if !given.is_empty() {
            return Self::with(driver, given.to_vec(), out);
        }
        let kinds: Vec<String> = registry::kinds().iter().map(|kind| kind.name.to_owned()).collect();
        let all = Self::with(driver, kinds.clone(), out)?;
        // One of a kind: its place in the list is that of its address.
        let first = 3;
        let wanted = kinds.into_iter().enumerate().filter(|(index, _)| {
            let address = format!("0000:00:{:02x}.0", index + first);
            all.bound.iter().any(|(bound, _)| *bound == address)
        });
        Self::with(driver, wanted.map(|(_, kind)| kind).collect(), out)
    }

    fn with(driver: &Driver, specs: Vec<String>, out: &Out) -> Result<Self> {
        let workshop = Workshop::new();
        let bench = machine(plugs_in(&specs, &workshop)?, None, false)?.build().map_err(Failure::new)?;
        let watch = Watch::over(driver, out, format!("bringup run {}", quote(driver.name())));
        let loaded = bench.load_with(driver.module(), &[]);
        let found = devices(&bench);
        let wanted = matching::wanted(&bench, &found, driver.file());
        watch.stage("being unloaded");
        let report = bench.finish();
        drop(watch);
        if let Err(error) = loaded {
            return Err(Failure::new(format_args!("{} does not load on the bench: {error}", driver.name())));
        }
        if let Some(wanted) = wanted.filter(|_| report.probe_errors.is_empty() && !report.crashed) {
            return Err(Failure::new(format_args!("{} {wanted}", driver.name())));
        }
        let bound = found.into_iter().filter_map(|device| Some((device.address, device.driver?)));
        const DEBUG: u8 = 7;
        let log = report.log.iter().flat_map(|line| {
            line.text.lines().map(|text| BenchLine { text: text.to_owned(), debug: line.level >= DEBUG })
        });
        Ok(Self {
            devices: specs,
            bound: bound.collect(),
            log: log.collect(),
            findings: report.findings.len(),
            wrong: has_errors(&report.findings),
        })
    }
}

impl DoorReport<'_> {
    fn print(&self, findings: &Rendered, out: &mut Out) {
        out.document(self);
        if out.is_json() {
            return;
        }
        out.line("");
        print(self.log, out);
        if !self.log.is_empty() {
            out.line("");
        }
        out.row("driver", &self.driver);
        out.row("devices", &self.devices.join(", "));
        let verdict = match self.differences {
            0 => out.paint(Style::Green, "none between the bench's log and Linux's"),
            1 => out.paint(Style::Red, "1 line"),
            count => out.paint(Style::Red, &format!("{count} lines")),
        };
        out.row("differences", &verdict);
        for alarm in self.alarms {
            let text = out.paint(Style::Red, alarm);
            out.row("ALARM", &text);
        }
        if self.bench_findings > 0 {
            let again = quote(&self.driver);
            let text = match self.bench_findings {
                1 => format!("a finding there: bringup run {again} shows it"),
                count => format!("{count} findings there: bringup run {again} shows them"),
            };
            out.row("bench", &text);
        }
        if let Some(status) = self.status.filter(|status| *status != 0) {
            out.row("status", &out.paint(Style::Red, &status.to_string()));
        }
        findings.print(out);
    }
}
