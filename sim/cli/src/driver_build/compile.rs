//! Runs cargo on a driver's workspace and sorts what it says.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::parity;
use super::stamp::{Stamp, dependencies};
use super::workspace::Workspace;
use crate::failure::{Failure, reason};
use crate::output::Out;

/// One line of `cargo build --message-format=json`, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-message")]
    Compiler { package_id: String, message: Diagnostic },
    #[serde(rename = "compiler-artifact")]
    Artifact { package_id: String, target: Target, filenames: Vec<PathBuf>, executable: Option<PathBuf> },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
    spans: Vec<Span>,
}

/// Where in a file the compiler objects to something.
#[derive(Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) file_name: PathBuf,
    pub(crate) byte_start: usize,
    pub(crate) byte_end: usize,
    is_primary: bool,
}

impl Diagnostic {
    /// Whether it says something itself, rather than how many others there were.
    fn is_telling(&self) -> bool {
        matches!(&*self.level, "error" | "warning" | "error: internal compiler error")
            && (!self.spans.is_empty()
                || !(self.message.starts_with("aborting due") || self.message.ends_with("emitted")))
    }

    fn is_error(&self) -> bool {
        self.level.starts_with("error")
    }
}

/// Builds the runner. `state` changes with the driver: cargo itself goes by times, and would take a file for old that was moved
/// into the place of a newer one. `show` gets the errors and warnings about the driver when the build fails.
pub(crate) fn compile(
    workspace: &Workspace,
    given: &str,
    state: u32,
    out: &Out,
    show: impl Fn(&str),
) -> Result<Stamp, Failure> {
    match attempt(workspace, given, state, out)? {
        Ok(stamp) => Ok(stamp),
        Err(refused) => Err(refused.failure(given, workspace, show)),
    }
}

/// Builds the runner as [`compile`] does; a build that fails is an answer, too.
pub(crate) fn attempt(
    workspace: &Workspace,
    given: &str,
    state: u32,
    out: &Out,
) -> Result<Result<Stamp, Box<Refused>>, Failure> {
    let failed = |error: io::Error| Failure::new(format_args!("cannot build {given} with cargo: {}", reason(&error)));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--offline", "--message-format=json-diagnostic-rendered-ansi", "--manifest-path"])
        .arg(workspace.manifest())
        .args(["--package", &workspace.runner_package()])
        // The profile that this program was built with: what both depend on has been built in it.
        .args(if cfg!(debug_assertions) { None } else { Some("--release") })
        .env("CARGO_TARGET_DIR", workspace.target())
        .env("BRINGUP_DRIVER_STATE", format!("{state:08x}"))
        // Configuration and toolchain are those of our sources.
        .current_dir(&workspace.source)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let stderr = cargo.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is what there is to show.
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let mut build = Build::default();
    let mut progress = Progress::new(given, out);
    for line in cargo.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line.map_err(failed)?;
        if let Ok(message) = serde_json::from_str(&line) {
            build.take(workspace, message, &mut progress);
        }
    }
    drop(progress);
    let status = cargo.wait().map_err(failed)?;
    let stderr = stderr.and_then(|reader| reader.join().ok()).unwrap_or_default();
    match build.runner.take() {
        Some(runner) if status.success() => {
            let mut warnings = build.warnings;
            warnings.extend(parity::warning(given, &runner).map_err(failed)?);
            let stamp = Stamp::new(runner, build.sources, warnings).map_err(failed)?;
            stamp.save(&workspace.stamp()).map_err(failed)?;
            Ok(Ok(stamp))
        }
        _ => Ok(Err(Box::new(Refused { build, stderr }))),
    }
}

/// A build that failed, and what cargo said.
#[derive(Debug)]
pub(crate) struct Refused {
    build: Build,
    stderr: String,
}

impl Refused {
    /// Where in the driver's files the errors are.
    pub(crate) fn places(&self) -> &[Span] {
        &self.build.places
    }

    /// As a line; what the compiler says is shown before.
    pub(crate) fn failure(self, given: &str, workspace: &Workspace, show: impl Fn(&str)) -> Failure {
        self.build.failure(given, &self.stderr, workspace, show)
    }
}

/// What cargo has said so far.
#[derive(Debug, Default)]
struct Build {
    runner: Option<PathBuf>,
    /// The driver's own files.
    sources: Vec<PathBuf>,
    errors: Vec<String>,
    /// Where those are.
    places: Vec<Span>,
    warnings: Vec<String>,
    /// The runner does not build, which is the driver's doing too.
    runner_error: Option<String>,
    /// The first error in our own crates.
    our_error: Option<String>,
}

impl Build {
    fn take(&mut self, workspace: &Workspace, message: Message, progress: &mut Progress<'_>) {
        match message {
            Message::Compiler { package_id, message } if message.is_telling() => {
                let error = message.is_error();
                let rendered = message.rendered.unwrap_or(message.message);
                if package_id.contains(&workspace.driver_package()) {
                    if error {
                        self.errors.push(rendered);
                        let primary = message.spans.into_iter().filter(|span| span.is_primary);
                        // rustc is run where the workspace is.
                        let whole = |span: Span| Span { file_name: workspace.path_of(&span.file_name), ..span };
                        self.places.extend(primary.map(whole));
                    } else {
                        self.warnings.push(rendered);
                    }
                } else if error && package_id.contains(&workspace.runner_package()) {
                    self.runner_error.get_or_insert(rendered);
                } else if error {
                    self.our_error.get_or_insert(rendered);
                }
            }
            Message::Artifact { package_id, target, filenames, executable } => {
                progress.step(&target.name);
                if package_id.contains(&workspace.runner_package()) {
                    self.runner = executable;
                } else if package_id.contains(&workspace.driver_package()) {
                    self.sources.extend(filenames.iter().find_map(|library| sources(library)).unwrap_or_default());
                }
            }
            Message::Compiler { .. } | Message::Other => {}
        }
    }

    fn failure(self, given: &str, stderr: &str, workspace: &Workspace, show: impl Fn(&str)) -> Failure {
        self.warnings.iter().chain(&self.errors).for_each(|message| show(message));
        if !self.errors.is_empty() {
            let count = self.errors.len();
            let errors = if count == 1 { "1 error".into() } else { format!("{count} errors") };
            return Failure::new(format_args!("{given} does not compile: {errors}"));
        }
        if let Some(error) = &self.our_error {
            show(error);
            let source = workspace.source.display();
            return Failure::new(format_args!(
                "cannot build {given}: Bringup's own sources in {source} do not compile"
            ));
        }
        match &self.runner_error {
            Some(error) if error.contains("BRINGUP_MODULE") => Failure::new(format_args!(
                "{given} declares no module (no BRINGUP_MODULE): it needs one module!, module_pci_driver! or the like, at its top level"
            )),
            Some(error) => {
                show(error);
                Failure::new(format_args!("{given} compiles, but cannot be linked into its runner"))
            }
            None => {
                let said = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
                let fetch = if said.contains("offline") {
                    format!(
                        " (cargo fetch --manifest-path {}/Cargo.toml gets what is missing)",
                        workspace.source.display()
                    )
                } else {
                    String::new()
                };
                Failure::new(format_args!("cannot build {given}: cargo says: {said}{fetch}"))
            }
        }
    }
}

/// The files that a library was compiled from, by the dependency file that rustc leaves beside it; `None` if it is none.
fn sources(library: &Path) -> Option<Vec<PathBuf>> {
    let name = library.file_stem()?.to_str()?.strip_prefix("lib")?;
    let listed = std::fs::read_to_string(library.with_file_name(format!("{name}.d"))).ok()?;
    let is_source = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rs");
    Some(dependencies(&listed).into_iter().filter(is_source).collect())
}

/// A line on the terminal that says how far the build is, and is gone when the build is over.
struct Progress<'a> {
    given: &'a str,
    on: bool,
    done: usize,
}

impl<'a> Progress<'a> {
    fn new(given: &'a str, out: &Out) -> Self {
        let progress = Self { given, on: out.is_lively() && io::stderr().is_terminal(), done: 0 };
        progress.say("");
        progress
    }

    fn step(&mut self, name: &str) {
        self.done += 1;
        self.say(&format!(" ({}: {name})", self.done));
    }

    fn say(&self, what: &str) {
        if self.on {
            // Progress that cannot be shown is not missed.
            let _ = write!(io::stderr(), "\r\x1b[Kbuilding {}{what}", self.given);
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.on {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
