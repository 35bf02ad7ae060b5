//! `bringup conform DRIVER`: a virtio driver is tried in many machines, odd ones among them, and each clause of VIRTIO 1.4 that binds
//! drivers is said to be passed, violated or not exercised.
//!
//! Rules that a monitor checks are passed when they came up and nothing was found. Clauses that need a stimulus are passed when the
//! driver works in the machine that provokes it as it does in the plain one.

mod scenes;
mod table;
mod verdict;

use bringup_bench::module::Loadable;
use bringup_bench::{Bench, Report};
use bringup_core::choice::Seeded;
use bringup_core::{Finding, Severity};
use bringup_devices::registry;

use crate::args::ConformArgs;
use crate::driver_build::shown_paths;
use crate::exercise::work::Work;
use crate::exercise::{Exercised, Session};
use crate::failure::Failure;
use crate::life::{Driver, quote};
use crate::output::Out;
use crate::plug::Plug;
use crate::progress::Progress;
use crate::run::NOT_MINE;
use crate::watch::Watch;
use scenes::{Expect, SCENES, Scene};
use verdict::Verdicts;

/// A device's specification with more options; those that it has already are the user's to say.
fn spec(base: &str, options: &str) -> String {
    let name = |option: &str| option.split('=').next().unwrap_or(option).to_owned();
    let given: Vec<String> = base.split(',').skip(1).map(name).collect();
    let more = options.split(',').filter(|option| !option.is_empty() && !given.contains(&name(option)));
    more.fold(base.to_owned(), |spec, option| format!("{spec},{option}"))
}

/// The odd devices that a virtio driver is tried with, as specifications that add to `base`.
pub(crate) fn odd_devices(base: &str) -> impl Iterator<Item = String> {
    SCENES.iter().skip(1).map(move |scene| spec(base, scene.options))
}

/// What a life in one machine came to.
pub(super) struct Lived {
    /// What went wrong, if the device was not bound or the exercise has something to object to. Findings speak for themselves.
    pub(super) why: Option<String>,
    /// The driver loads and takes the device, or has tried to.
    met: bool,
    /// What the exercise found out and the driver said: the same where the machine is as good as the same.
    pub(super) account: String,
    pub(super) report: Report,
    /// The command that runs it again.
    pub(super) command: String,
}

pub(crate) fn conform(args: &ConformArgs, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8, Failure> {
    if let Some(spec) = &args.device {
        // What kind of device it is comes before what its options are.
        if !spec.starts_with("virtio-") && Plug::parse(spec).is_ok() {
            return Err(Failure::new(format_args!("\"{spec}\" is no virtio device, and conform is about those")));
        }
        Plug::parse(spec)?;
    }
    let driver = Driver::find(&args.driver, linked, out)?;
    driver.check_params(&args.param)?;
    out.paths = shown_paths(driver.file());
    let base = match &args.device {
        Some(spec) => spec.clone(),
        None => device_for(&driver, &args.param, out)?,
    };
    let mut verdicts = Verdicts::new(driver.name(), &base);
    let mut progress = Progress::new();
    let seeds = args.seeds;
    let lives = SCENES.len() as u64 * (seeds + 1);
    let mut done = 0;
    let mut plain: Option<Lived> = None;
    for scene in SCENES {
        let spec = spec(&base, scene.options);
        let lived = live(&driver, &args.param, &spec, None, out)?;
        if plain.is_none() && !lived.met {
            let name = driver.name();
            return Err(Failure::new(format_args!("{name} does not bind to {base}: it is for another device")));
        }
        verdicts.rules(&lived);
        if scene.provokes(base.split(',').next().unwrap_or_default()) {
            verdicts.stimulus(scene, &lived, plain.as_ref().unwrap_or(&lived));
        }
        for seed in 1..=seeds {
            done += 1;
            progress.show("lives", done, lives);
            let lived = live(&driver, &args.param, &spec, Some(seed), out)?;
            verdicts.rules(&lived);
        }
        done += 1;
        progress.show("lives", done, lives);
        plain.get_or_insert(lived);
    }
    progress.clear();
    Ok(verdicts.print(args.all, out))
}

/// The virtio device that the driver binds to.
fn device_for(driver: &Driver, params: &[(String, String)], out: &Out) -> Result<String, Failure> {
    let kinds: Vec<&str> =
        registry::kinds().iter().map(|kind| kind.name).filter(|name| name.starts_with("virtio-")).collect();
    for kind in &kinds {
        let bench = build(&[(*kind).to_owned()], None)?;
        let watch = Watch::over(driver, out, format!("bringup conform {}", driver.name()));
        // A driver that does not load binds to nothing.
        let bound = bench.load_with(driver.module(), &pairs(params)).is_ok() && bench.driver_of(kind).is_some();
        let refused = bench.finish().probe_errors.iter().any(|(_, _, code)| !NOT_MINE.contains(code));
        drop(watch);
        if bound || refused {
            return Ok((*kind).to_owned());
        }
    }
    let kinds = kinds.join(", ");
    Err(Failure::new(format_args!(
        "{} is no virtio driver, or has no device here: it binds to none of {kinds}",
        driver.name()
    )))
}

fn build(specs: &[String], seed: Option<u64>) -> Result<Bench, Failure> {
    let mut builder = Bench::builder().note_exercised();
    for spec in specs {
        match Plug::parse(spec)? {
            Plug::Pci(kind, device) => builder = builder.boxed_device(&kind, device),
            Plug::Platform(_) => {
                return Err(Failure::new(format_args!("\"{spec}\" is no virtio device, and conform is about those")));
            }
        }
    }
    if let Some(seed) = seed {
        builder = builder.chooser(Seeded::new(seed));
    }
    builder.build().map_err(Failure::new)
}

fn pairs(params: &[(String, String)]) -> Vec<(&str, &str)> {
    params.iter().map(|(name, value)| (&**name, &**value)).collect()
}

/// One life in the machine with this device.
fn live(
    driver: &Driver,
    params: &[(String, String)],
    spec: &str,
    seed: Option<u64>,
    out: &Out,
) -> Result<Lived, Failure> {
    let seed_words = seed.map_or_else(String::new, |seed| format!(" --seed {seed}"));
    let params_words: String =
        params.iter().map(|(name, value)| format!(" --param {}", quote(&format!("{name}={value}")))).collect();
    let command = format!("bringup run {} --device {}{params_words}{seed_words}", quote(driver.name()), quote(spec));
    let kind = spec.split(',').next().unwrap_or(spec);
    let bench = build(&[spec.to_owned()], seed)?;
    let watch = Watch::over(driver, out, command.clone());
    let mut silent = Out::silent();
    let mut session = Session::new(&bench, &mut silent, &watch);
    let mut exercised = Exercised::default();
    match bench.load_with(driver.module(), &pairs(params)) {
        Ok(()) => {
            watch.stage("being used");
            // What is in a file is somebody's.
            let thorough = !spec.contains(",image=");
            exercised = driver.exercise(&mut session, &mut Work { thorough, ..Work::default() });
        }
        Err(error) => exercised.fail("load it", error),
    }
    let bound = bench.driver_of(kind).is_some();
    watch.stage("being unloaded");
    let report = bench.finish();
    drop(watch);
    Ok(Lived::new(&exercised, bound, report, command))
}

impl Lived {
    fn new(exercised: &Exercised, bound: bool, report: Report, command: String) -> Self {
        let why = if let Some((driver, device, code)) = report.probe_errors.first() {
            Some(format!("the probe of {device} by {driver} fails: {}", bringup_bench::Errno(*code)))
        } else if let Some(mishap) = exercised.mishaps.first() {
            Some(mishap.what.clone())
        } else if exercised.refused.is_some() {
            exercised.refused.clone()
        } else if !bound {
            Some("the driver does not bind to the device".into())
        } else {
            None
        };
        let facts = exercised.facts.iter().map(|fact| format!("{}: {}\n", fact.name, fact.value));
        let account = facts.chain([report.log_text()]).collect();
        let met = bound || report.crashed || !report.probe_errors.is_empty() || !report.findings.is_empty();
        Self { why, met, account, report, command }
    }
}

impl Lived {
    /// The rules that were broken.
    fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.report.findings.iter().filter(|finding| finding.rule.severity > Severity::Advice)
    }
}

/// Whether the driver did in this scene what it was to do; why not, otherwise. What it does wrong in the plain machine, too, is not
/// the scene's doing.
fn holds(scene: &Scene, lived: &Lived, plain: &Lived) -> Result<(), String> {
    let known = |id: &str| plain.broken().any(|finding| finding.rule.id == id);
    let news = lived.broken().find(|finding| !known(finding.rule.id));
    match (scene.expect, &lived.why, news) {
        (Expect::GivesUp, ..) => return Ok(()),
        (_, Some(why), _) => return Err(why.clone()),
        (_, None, Some(finding)) => return Err(format!("{}: {}", finding.rule.id, finding.what)),
        (Expect::Works, None, None) => return Ok(()),
        (Expect::Same, None, None) => {}
    }
    let plain = &plain.account;
    let differs = lived.account.lines().zip(plain.lines()).find(|(here, plain)| here != plain);
    match differs {
        Some((here, there)) => Err(format!("it says \"{here}\" where it says \"{there}\" in the plain machine")),
        None if lived.account.len() != plain.len() => Err("it says more, or less, than in the plain machine".into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_the_user_gave_stand() {
        assert_eq!(spec("virtio-blk", ""), "virtio-blk");
        assert_eq!(spec("virtio-blk,size=1M", "packed=on,vectors=1"), "virtio-blk,size=1M,packed=on,vectors=1");
        assert_eq!(spec("virtio-blk,packed=off", "packed=on,odd=revision"), "virtio-blk,packed=off,odd=revision");
    }
}
