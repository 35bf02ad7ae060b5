//! Many lives of what the command line or a stream file describes: what `--explore` and `shrink` live, on whatever thread.

use bringup_bench::explore::Cause;
use bringup_bench::module::Loadable;
use bringup_bench::{Bench, Report, rules};
use bringup_core::choice::{Quiet, Replay};
use bringup_core::{Chooser, Finding, Stream};
use bringup_devices::registry::Workshop;

use crate::bundled;
use crate::exercise::work::{Load, Work};
use crate::exercise::{Exercised, Session};
use crate::failure::Failure;
use crate::life::{Driver, Exercise, Life, PlanText, exerciser_of, machine, plugs_in};
use crate::matching;
use crate::output::Out;
use crate::platform::Platform;
use crate::run::{devices, mishaps};
use crate::watch::Watch;

/// What lives need to know; it can be shared by threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lives<'a> {
    module: &'static Loadable,
    exercise: Exercise,
    devices: &'a [String],
    params: &'a [(String, String)],
    plan: Option<&'a PlanText>,
    input: Option<&'a [u8]>,
    load: Option<Load>,
    thorough: bool,
    /// What the quiet life came to, for a driver of which nothing else is known.
    quiet: Option<&'a Exercised>,
}

impl<'a> Lives<'a> {
    pub(crate) fn of(life: &'a Life) -> Self {
        Self {
            module: life.driver.module(),
            exercise: life.driver.exerciser(),
            devices: &life.devices,
            params: &life.params,
            plan: life.plan.as_ref(),
            input: life.input.as_ref().map(|input| &*input.bytes),
            load: life.load,
            thorough: life.thorough,
            quiet: None,
        }
    }

    /// As they are, held to what the quiet life came to.
    pub(crate) fn expecting(self, quiet: &'a Exercised) -> Self {
        Self { quiet: Some(quiet), ..self }
    }

    /// What the quiet life comes to, if lives are to be held to it: nobody knows what the driver should answer, and its devices
    /// are not odd.
    pub(crate) fn quiet(&self) -> Option<Exercised> {
        let odd = self.devices.iter().any(|spec| spec.contains("odd="));
        if odd || self.plan.is_some() || on_host(self.devices).is_some() {
            return None;
        }
        let (_, lived, ()) = self.live_to(Box::new(Quiet), |_| ()).ok()?;
        lived.exercised.needs_comparison().then_some(lived.exercised)
    }

    /// Lives one life. What went wrong in the use of the driver is among its findings.
    pub(crate) fn live(&self, chooser: Box<dyn Chooser>) -> Result<Report, Failure> {
        self.live_to(chooser, |_| ()).map(|(report, _, ())| report)
    }

    /// Lives the quiet life (as `quiet` chooses), and refuses what is not worth a campaign: a driver that finds no device, or a use that the device
    /// has no room for.
    pub(crate) fn try_out(&self, driver: &Driver, quiet: Box<dyn Chooser>) -> Result<(), Failure> {
        let wanted = |bench: &Bench| {
            let platform = Platform::new(bench);
            let mut found = devices(bench);
            found.extend(platform.devices(bench));
            matching::wanted(bench, &found, driver.file())
        };
        let (report, exercised, wanted) = self.live_to(quiet, wanted)?;
        let loaded = exercised.loaded;
        match (wanted, exercised.exercised.refused) {
            (Some(wanted), _) if loaded && report.probe_errors.is_empty() && !report.crashed => {
                Err(Failure::new(format_args!("{} {wanted}", driver.name())))
            }
            (_, Some(line)) if report.is_clean() => Err(Failure::new(line)),
            _ => Ok(()),
        }
    }

    fn live_to<R>(
        &self,
        chooser: Box<dyn Chooser>,
        look: impl FnOnce(&Bench) -> R,
    ) -> Result<(Report, Lived, R), Failure> {
        let workshop = Workshop::new();
        let builder = machine(plugs_in(self.devices, &workshop)?, self.plan, false)?;
        let bench = builder.boxed_chooser(chooser).build().map_err(Failure::new)?;
        let watch = Watch::none();
        let mut silent = Out::silent();
        let mut session = Session::new(&bench, &mut silent, &watch);
        let params: Vec<(&str, &str)> = self.params.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut exercised = Exercised::default();
        let loaded = bench.load_with(self.module, &params);
        match loaded {
            Ok(()) => {
                let mut work = Work { input: self.input, output: None, load: self.load, thorough: self.thorough };
                exercised = (self.exercise)(&mut session, &mut work);
                if let Some(quiet) = self.quiet {
                    exercised.compare(quiet);
                }
            }
            Err(error) => exercised.fail(&format!("load {}", self.module.name), error),
        }
        let platform = Platform::new(&bench);
        let seen = look(&bench);
        let mut report = bench.finish();
        report.probe_errors.extend(platform.errors(&report.trace));
        let host = workshop.notices().take();
        let wrong = mishaps(self.plan.is_some(), &report, &exercised, !host.is_empty());
        for (what, _) in wrong.into_iter().filter(|(_, excused)| !excused) {
            let wrong = exercised.mishaps.iter().any(|mishap| mishap.wrong && mishap.what == what);
            let rule = if wrong { &rules::WRONG_ANSWER } else { &rules::CALL_FAILED };
            report.findings.push(Finding::new(rule, what));
        }
        Ok((report, Lived { exercised, loaded: loaded.is_ok() }, seen))
    }
}

/// Devices' options that name something of the host's, which lives would share.
const HOST: [&str; 7] = ["image", "input", "output", "pcap", "pcap-in", "pcap-out", "file"];

/// The option with which one of these devices stands on something of the host's.
pub(crate) fn on_host(devices: &[String]) -> Option<&'static str> {
    HOST.into_iter().find(|option| devices.iter().any(|spec| spec.contains(&format!(",{option}="))))
}

struct Lived {
    exercised: Exercised,
    loaded: bool,
}

/// What a finding without a place in the driver says, every number as `#`: tells it from others of its rule. Empty where there is a
/// place.
#[must_use]
pub fn kind(finding: &Finding) -> String {
    Cause::of(finding).what
}

/// Lives the life of a stream file again, with `module` as the driver: for tests that `bringup replay --emit-test` wrote.
///
/// What went wrong in the use of the driver (`bringup replay` shows it as FAILED) is among the findings, under the rule
/// `wrong-answer` or `call-failed`.
///
/// # Errors
/// When the text is no stream file of this release, or what it describes cannot be built: one line that says why.
pub fn replay(stream: &str, module: &'static Loadable) -> Result<Report, String> {
    let stream = Stream::parse(stream).map_err(|error| error.to_string())?;
    let plan = stream.field("plan").map(|text| PlanText { given: "the stream's plan".into(), text: text.into() });
    let params: Vec<(String, String)> =
        stream.all("param").filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
    let input = match stream.field("input") {
        Some(path) => Some(std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?),
        None => None,
    };
    let bundled = stream.field("driver").and_then(|name| bundled::all().iter().find(|driver| driver.name == name));
    let devices: Vec<String> = stream.all("device").map(str::to_owned).collect();
    let lives = Lives {
        module,
        exercise: bundled.map_or_else(|| exerciser_of(module), |driver| driver.exercise),
        devices: &devices,
        params: &params,
        plan: plan.as_ref(),
        input: input.as_deref(),
        load: stream.field("bench").map(Load::parse).transpose()?,
        thorough: stream.field("thorough").is_some(),
        quiet: None,
    };
    let quiet = lives.quiet();
    let lives = quiet.as_ref().map_or(lives, |quiet| lives.expecting(quiet));
    lives.live(Box::new(Replay::new(stream.choices.clone()))).map_err(|failure| failure.to_string())
}
