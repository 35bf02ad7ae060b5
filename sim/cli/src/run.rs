//! `bringup run`: one life of a driver, from power-on to the report.

use std::path::PathBuf;

use bringup_bench::module::Loadable;
use bringup_bench::{Bench, Report};

use crate::args::RunArgs;
use crate::driver_build::shown_paths;
use crate::exercise::work::Work;
use crate::exercise::{Exercised, Mishap, Session};
use crate::explore::explore;
use crate::failure::{Failure, complain};
use crate::life::{Life, quote};
use crate::lives::Lives;
use crate::matching::wanted;
use crate::output::Out;
use crate::output_file::{self, Pending};
use crate::platform::Platform;
use crate::report::{DeviceReport, RunReport};
use crate::trace_file::TraceFile;
use crate::watch::Watch;

/// ENODEV and ENXIO are how a driver says that the device is not for it after all.
pub(crate) const NOT_MINE: [i32; 2] = [-19, -6];

/// What is to be written beside the report.
pub(crate) struct Outputs {
    pub(crate) trace: Option<TraceFile>,
    /// Where the stream goes; if not said, a life with findings is saved in the current directory.
    pub(crate) save: Option<PathBuf>,
    /// The stream file that this life comes from: it is not saved again.
    pub(crate) replayed: Option<PathBuf>,
}

pub(crate) fn run(args: &RunArgs, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8, Failure> {
    if let Some(lives) = args.explore {
        return explore(args, lives, linked, out);
    }
    let trace = args.trace.as_deref().map(TraceFile::new).transpose()?;
    let life = Life::from_args(args, linked, out)?;
    live(&life, &Outputs { trace, save: args.save_choices.clone(), replayed: None }, out)
}

/// Runs a life and tells what happened in it; the exit status.
pub(crate) fn live(life: &Life, outputs: &Outputs, out: &mut Out) -> Result<u8, Failure> {
    out.paths = shown_paths(life.driver.file());
    if let Some(trace) = &outputs.trace {
        trace.check_devices(life.devices())?;
    }
    let mut output = match &life.output {
        // The life is the same; the file is the first one's.
        Some(path) if outputs.replayed.is_some() => Some(Pending::nowhere(path)),
        Some(path) => Some(Pending::create(path).map_err(|error| Failure::file("write to", path, &error))?),
        None => None,
    };
    let bench = life.builder(outputs.trace.is_some())?.build().map_err(Failure::new)?;
    let watch = Watch::new(life, out);
    let mut session = Session::new(&bench, out, &watch);
    let (mut exercised, loaded) = use_driver(life, &mut session, &watch, output.as_mut());
    let printed = session.printed();
    let platform = Platform::new(&bench);
    let mut devices = devices(&bench);
    devices.extend(platform.devices(&bench));
    let wanted = if loaded { wanted(&bench, &devices, life.driver.file()) } else { None };
    watch.stage("being unloaded");
    let mut report = bench.finish();
    drop(watch);
    let host = life.workshop.notices().take();
    report.probe_errors.extend(platform.errors(&report.trace));
    report.log.iter().skip(printed).for_each(|line| out.log(line));
    if let Some(wanted) = wanted.filter(|_| report.probe_errors.is_empty() && !report.crashed) {
        return Err(Failure::new(format_args!("{} {wanted}", life.driver.name())));
    }
    match exercised.refused.take() {
        Some(line) if report.is_clean() => return Err(Failure::new(line)),
        Some(line) => exercised.wrong(line),
        None => {}
    }

    let lives = Lives::of(life);
    if exercised.needs_comparison()
        && !report.stream.choices.is_empty()
        && let Some(quiet) = lives.quiet()
    {
        exercised.compare(&quiet);
    }
    let mishaps = mishaps(life.plan.is_some(), &report, &exercised, !host.is_empty());
    let found = !report.is_clean() || mishaps.iter().any(|(_, excused)| !excused);
    let mut failures: Vec<Failure> = host.into_iter().map(Failure::Line).collect();
    if let (Some(output), Some(path)) = (output, &life.output) {
        match output.finish() {
            Ok(true) => {}
            // Where that is the driver's doing, it was said.
            Ok(false) if found || !failures.is_empty() => {}
            Ok(false) => {
                failures.push(Failure::new(format_args!("{} is not written: not all of it came", path.display())));
            }
            Err(error) => failures.push(Failure::file("write to", path, &error)),
        }
    }
    let stream = match save(life, outputs, &report, found) {
        Ok(path) => path,
        Err(failure) => {
            failures.push(failure);
            None
        }
    };
    if let Some(trace) = &outputs.trace
        && let Err(failure) = trace.write(&report.trace, &report.devices, &out.paths)
    {
        failures.push(failure);
    }
    let exit = if failures.is_empty() { u8::from(found) } else { 2 };
    let reproduce = match &stream {
        Some(path) => Some(format!("bringup replay {}", quote(&path.display().to_string()))),
        None if !report.findings.is_empty() || found || life.seed.is_some() => Some(life.command()),
        None => None,
    };
    let devices = devices.into_iter().map(|device| device.with_probe_error(&report.probe_errors)).collect();
    let report = RunReport::new(life, &report, devices, &exercised, &mishaps, reproduce, exit);
    report.print(out);
    if failures.is_empty() {
        return Ok(exit);
    }
    failures.iter().for_each(|failure| complain(&failure.to_string()));
    Err(Failure::Told)
}

/// Loads the driver and uses it; also whether it could be loaded.
fn use_driver(
    life: &Life,
    session: &mut Session<'_>,
    watch: &Watch,
    output: Option<&mut Pending>,
) -> (Exercised, bool) {
    let loaded = session.bench.load_with(life.driver.module(), &life.params());
    session.show_log();
    let mut exercised = Exercised::default();
    watch.stage("being used");
    match loaded {
        Ok(()) => {
            let input = life.input.as_ref().map(|input| &*input.bytes);
            let thorough = life.thorough;
            exercised = life.driver.exercise(session, &mut Work { input, output, load: life.load, thorough });
        }
        Err(error) => exercised.fail(&format!("load {}", life.driver.module().name), error),
    }
    (exercised, loaded.is_ok())
}

pub(crate) fn devices(bench: &Bench) -> Vec<DeviceReport> {
    let found: Vec<_> = bench.with_bus(|bus| {
        bus.devices()
            .map(|id| (bus.port(id).name().to_owned(), bus.port(id).function().id(), bus.address(id)))
            .collect()
    });
    found
        .into_iter()
        .map(|(name, (vendor, device), address)| {
            let driver = bench.driver_of(&name).map(str::to_owned);
            DeviceReport { name, id: format!("{vendor:04x}:{device:04x}"), address, driver, probe_error: None }
        })
        .collect()
}

/// What went wrong in the use of the driver, and whether the machine excuses it: an error that the driver reports is no
/// wonder where memory ran out or a plan breaks things, and a wrong answer none where a plan changes data. So it is where the host
/// failed a device (`host_failed`), with a full disk say.
pub(crate) fn mishaps(planned: bool, report: &Report, exercised: &Exercised, host_failed: bool) -> Vec<(String, bool)> {
    let broken = planned || host_failed;
    let troubled = broken || report.stats.failed_allocations > 0;
    let probes =
        report.probe_errors.iter().filter(|(_, _, code)| !NOT_MINE.contains(code)).map(|(driver, device, code)| {
            Mishap { what: format!("probe of {device} by {driver}: {}", bringup_bench::Errno(*code)), wrong: false }
        });
    probes
        .chain(exercised.mishaps.iter().cloned())
        // What a crashed machine answers is not the driver's doing; the finding says what was.
        .filter(|mishap| !report.crashed || mishap.wrong)
        .map(|mishap| (mishap.what, if mishap.wrong { broken } else { troubled }))
        .collect()
}

/// Saves the life where that was asked for, or where it is worth it; the stream file that holds it.
fn save(life: &Life, outputs: &Outputs, report: &Report, found: bool) -> Result<Option<PathBuf>, Failure> {
    if outputs.replayed.is_some() {
        return Ok(outputs.replayed.clone());
    }
    let text = life.stream(&report.stream.choices).to_string();
    let path = match &outputs.save {
        Some(path) => path.clone(),
        None if found => {
            format!("bringup-{}-{:08x}.stream", life.driver.stem(), crc32fast::hash(text.as_bytes())).into()
        }
        None => return Ok(None),
    };
    output_file::write(&path, text.as_bytes()).map_err(|error| Failure::file("save the choices to", &path, &error))?;
    Ok(Some(path))
}
