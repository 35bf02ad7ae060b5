//! All that a life depends on: what the command line says, what a stream file keeps, and how one becomes the other.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use bringup_bench::explore::Cause;
use bringup_bench::module::Loadable;
use bringup_bench::rt::platform::PlatformDevice;
use bringup_bench::{Bench, Builder, Errno};
use bringup_core::choice::{Replay, Seeded};
use bringup_core::{Plan, Stream};
use bringup_devices::registry::{self, Workshop};

use crate::args::RunArgs;
use crate::bundled::{self, Bundled};
use crate::driver_build::DriverFile;
use crate::exercise::work::{Load, Takes, Work};
use crate::exercise::{self, Exercised, Session};
use crate::failure::{Failure, read, read_text};
use crate::output::Out;
use crate::plug::{Names, Plug};
use crate::suggest;

/// This release, which a stream file must be of.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the driver comes from.
#[derive(Debug)]
pub(crate) enum Driver {
    Bundled(&'static Bundled),
    /// From a file; this program has it linked in.
    File(DriverFile, &'static Loadable),
}

impl Driver {
    /// Finds a driver by name or path. One from a file that is not linked into this program is built, and then its own runner
    /// takes over: the call returns only if that fails.
    pub(crate) fn find(name: &str, linked: Option<&'static Loadable>, out: &Out) -> Result<Self, Failure> {
        if !is_file(name) {
            return bundled::find(name).map(Self::Bundled);
        }
        let file = DriverFile::open(name)?;
        match linked {
            Some(module) => Ok(Self::File(file, module)),
            None => Err(file.build_and_become(out)),
        }
    }

    /// As the user calls it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Bundled(driver) => driver.name,
            Self::File(file, _) => &file.given,
        }
    }

    /// A word for file names.
    pub(crate) fn stem(&self) -> String {
        match self {
            Self::Bundled(driver) => driver.name.into(),
            Self::File(file, _) => file.crate_name(),
        }
    }

    pub(crate) fn module(&self) -> &'static Loadable {
        match self {
            Self::Bundled(driver) => driver.module,
            Self::File(_, module) => module,
        }
    }

    /// The file that it comes from, if it comes from one.
    pub(crate) fn file(&self) -> Option<&DriverFile> {
        match self {
            Self::Bundled(_) => None,
            Self::File(file, _) => Some(file),
        }
    }

    pub(crate) fn exercise(&self, session: &mut Session<'_>, work: &mut Work<'_>) -> Exercised {
        (self.exerciser())(session, work)
    }

    /// What the driver is put through.
    pub(crate) fn exerciser(&self) -> Exercise {
        match self {
            Self::Bundled(driver) => driver.exercise,
            Self::File(_, module) => exerciser_of(module),
        }
    }

    /// Tries module parameters, so that a mistake is the user's and not a finding.
    pub(crate) fn check_params(&self, params: &[(String, String)]) -> Result<(), Failure> {
        let module = self.module();
        let driver = self.name();
        for param in module.params {
            param.target.reset();
        }
        for (name, value) in params {
            let Some(param) = module.params.iter().find(|param| param.name == *name) else {
                let known: Vec<&str> = module.params.iter().map(|param| param.name).collect();
                let hint = suggest::hint(name, known.iter().copied());
                let known =
                    if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
                return Err(Failure::new(format_args!("{driver} has no parameter \"{name}\"{hint} ({known})")));
            };
            const EEXIST: i32 = -17;
            param.target.set(value).map_err(|code| match code {
                EEXIST => Failure::new(format_args!("parameter {name} of {driver} is given twice")),
                _ => Failure::new(format_args!(
                    "parameter {name} of {driver} takes a {}, not \"{value}\": {}",
                    param.ty,
                    Errno(code)
                )),
            })?;
        }
        Ok(())
    }

    /// What of the command line its exercise has a use for.
    pub(crate) fn takes(&self) -> Takes {
        match self {
            Self::Bundled(driver) => driver.takes,
            Self::File(_, module) => twin(module).map_or(Takes::INPUT, |twin| twin.takes),
        }
    }
}

/// Uses a driver as user space would.
pub(crate) type Exercise = fn(&mut Session<'_>, &mut Work<'_>) -> Exercised;

/// What a driver that is not bundled is put through: a variant of a bundled driver through what that one is put through.
pub(crate) fn exerciser_of(module: &Loadable) -> Exercise {
    twin(module).map_or(exercise::generic, |twin| twin.exercise)
}

/// The bundled driver that this is a variant of.
pub(crate) fn twin(module: &Loadable) -> Option<&'static Bundled> {
    bundled::all().iter().find(|driver| driver.module.name == module.name)
}

pub(crate) fn is_file(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "rs")
}

/// A file that the life reads, by the name it was given.
#[derive(Debug)]
pub(crate) struct Input {
    given: String,
    pub(crate) bytes: Vec<u8>,
}

/// A fault plan: its text, and the file it was in.
#[derive(Debug)]
pub(crate) struct PlanText {
    pub(crate) given: String,
    pub(crate) text: String,
}

/// One life, ready to be run.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) driver: Driver,
    pub(crate) devices: Vec<String>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) plan: Option<PlanText>,
    pub(crate) input: Option<Input>,
    /// `--output`.
    pub(crate) output: Option<PathBuf>,
    /// `--bench`.
    pub(crate) load: Option<Load>,
    /// Nothing that the devices hold is dear to anybody: everything is tried with the driver.
    pub(crate) thorough: bool,
    /// Where its devices are made, and say what the host does to them.
    pub(crate) workshop: Workshop,
    /// What the specifications of `devices` came to, until a machine is built from them.
    plugs: RefCell<Vec<Plug>>,
    pub(crate) seed: Option<u64>,
    /// Answers to follow, instead of a seed.
    pub(crate) choices: Option<Vec<u8>>,
    /// Where they came from, if the command line named it.
    choices_given: Option<String>,
    /// Which finding the stream file that this comes from was kept for, as [`cause_text`] writes it.
    pub(crate) kept_for: Option<String>,
}

/// A cause as stream files name it.
pub(crate) fn cause_text(cause: &Cause) -> String {
    let place = cause.place.map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    let device = cause.device.as_ref().map_or_else(String::new, |device| format!(" on {device}"));
    let what = if cause.what.is_empty() { String::new() } else { format!(": {}", cause.what) };
    format!("{}{place}{device}{what}", cause.rule)
}

impl Life {
    /// The life that the command line describes. Everything that can be checked is checked before a driver is built.
    pub(crate) fn from_args(args: &RunArgs, linked: Option<&'static Loadable>, out: &Out) -> Result<Self, Failure> {
        if !is_file(&args.driver) {
            check_takes(args, bundled::find(&args.driver)?.takes)?;
        }
        // A driver from a file is built before its own runner opens what its devices stand on.
        let (workshop, mut plugs) = (Workshop::new(), Vec::new());
        for spec in &args.device {
            plugs.push(Plug::make(spec, &workshop)?);
        }
        let plan = args.plan.as_deref().map(|path| -> Result<_, Failure> {
            let plan = PlanText { given: path.display().to_string(), text: read_text(path)? };
            plan.parse().map(|_| plan)
        });
        let input = args
            .input
            .as_deref()
            .map(|path| -> Result<_, Failure> { Ok(Input { given: path.display().to_string(), bytes: read(path)? }) });
        let choices = args.choices.as_deref().map(|path| read_stream(path).map(|stream| stream.choices)).transpose()?;
        let (plan, input) = (plan.transpose()?, input.transpose()?);
        let driver = Driver::find(&args.driver, linked, out)?;
        check_takes(args, driver.takes())?;
        let devices = if args.device.is_empty() { default_devices(&driver) } else { args.device.clone() };
        let life = Self {
            driver,
            devices,
            params: args.param.clone(),
            plan,
            input,
            output: args.output.clone(),
            load: args.bench,
            thorough: false,
            workshop,
            plugs: RefCell::new(plugs),
            seed: args.seed,
            choices,
            choices_given: args.choices.as_ref().map(|path| path.display().to_string()),
            kept_for: None,
        };
        life.driver.check_params(&life.params).map(|()| life)
    }

    /// The life that a stream file holds; refuses one that could not be the same again.
    pub(crate) fn from_stream(path: &Path, linked: Option<&'static Loadable>, out: &Out) -> Result<Self, Failure> {
        let stream = read_stream(path)?;
        let refuse = |why: String| Failure::new(format_args!("{}: {why}", path.display()));
        let recorded = stream.field("bringup").unwrap_or("another release");
        if recorded != VERSION {
            return Err(refuse(format!("recorded by bringup {recorded}, and this is bringup {VERSION}")));
        }
        let name = stream.field("driver").ok_or_else(|| refuse("it does not say which driver it is of".into()))?;
        if is_file(name) {
            let file = DriverFile::open(name).map_err(|failure| refuse(failure.to_string()))?;
            let crc = format!("{:08x}", file.crc);
            if stream.field("driver-crc") != Some(&crc) {
                return Err(refuse(format!("{name} has changed since it was recorded")));
            }
            for part in stream.all("driver-part") {
                let (crc, path) = part.split_once(' ').unwrap_or(("", part));
                let path = file.part(Path::new(path));
                let bytes = read(&path).map_err(|failure| refuse(failure.to_string()))?;
                if crc != format!("{:08x}", crc32fast::hash(&bytes)) {
                    return Err(refuse(format!("{} has changed since it was recorded", path.display())));
                }
            }
        }
        let (workshop, mut plugs) = (Workshop::new(), Vec::new());
        for spec in stream.all("device") {
            plugs.push(Plug::make(spec, &workshop).map_err(|failure| refuse(failure.to_string()))?);
        }
        let plan = stream.field("plan").map(|text| {
            let given = stream.field("plan-file").unwrap_or("its plan").to_owned();
            PlanText { given, text: text.to_owned() }
        });
        if let Some(plan) = &plan {
            plan.parse().map_err(|failure| refuse(failure.to_string()))?;
        }
        let input = match stream.field("input") {
            Some(given) => {
                let bytes = read(Path::new(given)).map_err(|failure| refuse(failure.to_string()))?;
                if stream.field("input-crc") != Some(&format!("{:08x}", crc32fast::hash(&bytes))) {
                    return Err(refuse(format!("{given} has changed since it was recorded")));
                }
                Some(Input { given: given.into(), bytes })
            }
            None => None,
        };
        let load = stream.field("bench").map(Load::parse).transpose().map_err(refuse)?;
        let params: Vec<_> = stream
            .all("param")
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let life = Self {
            driver: Driver::find(name, linked, out)?,
            devices: stream.all("device").map(str::to_owned).collect(),
            params,
            plan,
            input,
            output: stream.field("output").map(PathBuf::from),
            load,
            thorough: stream.field("thorough").is_some(),
            workshop,
            plugs: RefCell::new(plugs),
            seed: stream.field("seed").and_then(|seed| seed.parse().ok()),
            choices: Some(stream.choices.clone()),
            choices_given: None,
            kept_for: stream.field("finding").map(str::to_owned),
        };
        life.driver.check_params(&life.params).map(|()| life)
    }

    /// The stream file of this life, with the choices that were taken in it, and what it is kept for.
    pub(crate) fn stream_of(&self, choices: &[u8], cause: Option<&Cause>) -> Stream {
        let mut stream = self.stream(choices);
        if let Some(cause) = cause {
            stream.fields.push(("finding".into(), cause_text(cause)));
        }
        stream
    }

    /// The stream file of this life, with the choices that were taken in it.
    pub(crate) fn stream(&self, choices: &[u8]) -> Stream {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut field = |key: &str, value: String| fields.push((key.into(), value));
        field("bringup", VERSION.into());
        field("driver", self.driver.name().into());
        if let Driver::File(file, _) = &self.driver {
            field("driver-crc", format!("{:08x}", file.crc));
            for (path, crc) in file.parts() {
                field("driver-part", format!("{crc:08x} {}", path.display()));
            }
        }
        for spec in &self.devices {
            field("device", spec.clone());
        }
        for (name, value) in &self.params {
            field("param", format!("{name}={value}"));
        }
        if let Some(plan) = &self.plan {
            field("plan-file", plan.given.clone());
            field("plan", plan.text.clone());
        }
        if let Some(input) = &self.input {
            field("input", input.given.clone());
            field("input-crc", format!("{:08x}", crc32fast::hash(&input.bytes)));
        }
        if let Some(output) = &self.output {
            field("output", output.display().to_string());
        }
        if let Some(load) = &self.load {
            field("bench", load.to_string());
        }
        if self.thorough {
            field("thorough", "yes".into());
        }
        if let Some(seed) = self.seed {
            field("seed", seed.to_string());
        }
        Stream { fields, choices: choices.to_vec() }
    }

    /// The command line that describes this life.
    pub(crate) fn command(&self) -> String {
        let mut words = vec!["bringup".into(), "run".into(), self.driver.name().to_owned()];
        let mut option = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        if !self.has_default_devices() {
            self.devices.iter().for_each(|spec| option("--device", spec));
        }
        self.params.iter().for_each(|(name, value)| option("--param", &format!("{name}={value}")));
        if let Some(plan) = &self.plan {
            option("--plan", &plan.given);
        }
        if let Some(input) = &self.input {
            option("--input", &input.given);
        }
        if let Some(output) = &self.output {
            option("--output", &output.display().to_string());
        }
        if let Some(load) = &self.load {
            option("--bench", &load.to_string());
        }
        if let Some(seed) = self.seed {
            option("--seed", &seed.to_string());
        }
        if let Some(choices) = &self.choices_given {
            option("--choices", choices);
        }
        words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// What is plugged in, as `--device` takes it.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(String::as_str)
    }

    /// Whether the devices are those that are plugged in if the command line names none.
    pub(crate) fn has_default_devices(&self) -> bool {
        self.devices == default_devices(&self.driver)
    }

    /// Describes the machine of this life; `traced`: the trace is wanted.
    pub(crate) fn builder(&self, traced: bool) -> Result<Builder, Failure> {
        let mut plugs = self.plugs.take();
        if plugs.is_empty() {
            plugs = plugs_in(&self.devices, &self.workshop)?;
        }
        let builder = machine(plugs, self.plan.as_ref(), traced)?;
        Ok(match (&self.choices, self.seed) {
            (Some(choices), _) => builder.chooser(Replay::new(choices.clone())),
            (None, Some(seed)) => builder.chooser(Seeded::new(seed)),
            (None, None) => builder,
        })
    }

    pub(crate) fn params(&self) -> Vec<(&str, &str)> {
        self.params.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

/// Makes devices as their specifications say.
pub(crate) fn plugs_in(devices: &[String], workshop: &Workshop) -> Result<Vec<Plug>, Failure> {
    devices.iter().map(|spec| Plug::make(spec, workshop)).collect()
}

/// Describes a machine with these devices; `traced`: the trace is wanted.
pub(crate) fn machine(plugs: Vec<Plug>, plan: Option<&PlanText>, traced: bool) -> Result<Builder, Failure> {
    let mut builder = Bench::builder();
    let mut names = Names::default();
    let mut platform: Vec<PlatformDevice> = Vec::new();
    for plug in plugs {
        match plug {
            Plug::Pci(kind, device) => {
                builder = builder.boxed_device(&names.next(kind), device);
            }
            Plug::Platform(device) => {
                let device = device.describe(&platform)?;
                builder = builder.platform_device(device.clone());
                platform.push(device);
            }
        }
    }
    // What becomes of a platform device is only told by the trace.
    builder = builder.trace(traced || !platform.is_empty());
    if let Some(plan) = plan {
        builder = builder.plan(plan.parse()?);
    }
    Ok(builder)
}

impl PlanText {
    pub(crate) fn parse(&self) -> Result<Plan, Failure> {
        Plan::parse(&self.text).map_err(|error| Failure::new(format_args!("bad fault plan {}: {error}", self.given)))
    }
}

/// Refuses what the driver's exercise has no use for.
fn check_takes(args: &RunArgs, takes: Takes) -> Result<(), Failure> {
    let given =
        [("--input", args.input.is_some()), ("--output", args.output.is_some()), ("--bench", args.bench.is_some())];
    let has_use = |takes: Takes, option: &str| match option {
        "--input" => takes.input,
        "--output" => takes.output,
        _ => takes.bench,
    };
    let useless = given.into_iter().find(|(option, given)| *given && !has_use(takes, option));
    let Some((option, _)) = useless else { return Ok(()) };
    let able: Vec<&str> =
        bundled::all().iter().filter(|driver| has_use(driver.takes, option)).map(|driver| driver.name).collect();
    Err(Failure::new(format_args!("{} has no use for {option}; drivers that have: {}", args.driver, able.join(", "))))
}

/// What is plugged in if the command line says nothing: a bundled driver's devices; for any other driver one of each kind.
pub(crate) fn default_devices(driver: &Driver) -> Vec<String> {
    match driver {
        Driver::Bundled(driver) => driver.default_devices.iter().map(ToString::to_string).collect(),
        Driver::File(..) => registry::kinds().iter().map(|kind| kind.name.to_owned()).collect(),
    }
}

fn read_stream(path: &Path) -> Result<Stream, Failure> {
    let bytes = read(path)?;
    // What is not text fails as what it is not: a stream.
    let text = String::from_utf8_lossy(&bytes);
    Stream::parse(&text).map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))
}

/// Quotes a word for the shell if it needs that.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_would_stumble() {
        assert_eq!(quote("edu,dma_mask=0xff"), "edu,dma_mask=0xff");
        assert_eq!(quote("my file"), "'my file'");
        assert_eq!(quote("it's"), "'it'\\''s'");
    }
}
