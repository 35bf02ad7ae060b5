//! Drivers from files: each is a crate of its own, linked with this command into a runner that then takes this process' place.
//!
//! What stands in the cache for a driver is a small cargo workspace and a stamp: the files that went into the runner, by their
//! check sums. While they are as they were, the runner is started without asking cargo.

pub(crate) mod compile;
pub(crate) mod copy;
mod parity;
pub(crate) mod source;
mod stamp;
mod workspace;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, reason};
use crate::output::{Out, Paths, errors_are_colourful};
use stamp::Stamp;
use workspace::Workspace;

/// A driver's source file.
#[derive(Clone, Debug)]
pub(crate) struct DriverFile {
    /// As the user wrote it.
    pub(crate) given: String,
    absolute: PathBuf,
    /// CRC-32 of the file.
    pub(crate) crc: u32,
}

impl DriverFile {
    pub(crate) fn open(given: &str) -> Result<Self, Failure> {
        let content = crate::failure::read(Path::new(given))?;
        let absolute = std::fs::canonicalize(given).map_err(|error| Failure::file("read", Path::new(given), &error))?;
        if absolute.to_str().is_none() {
            return Err(Failure::new(format_args!("cannot build {given}: cargo takes no path that is not UTF-8")));
        }
        Ok(Self { given: given.into(), absolute, crc: crc32fast::hash(&content) })
    }

    /// As [`open`](Self::open), for a file that users know by another name than its path.
    pub(crate) fn open_as(path: &Path, given: &str) -> Result<Self, Failure> {
        Ok(Self { given: given.into(), ..Self::open(&path.to_string_lossy())? })
    }

    /// Where it is, whatever the current directory.
    pub(crate) fn path(&self) -> &Path {
        &self.absolute
    }

    /// The file's stem as the name of a crate.
    pub(crate) fn crate_name(&self) -> String {
        let stem = self.absolute.file_stem().unwrap_or_default().to_string_lossy();
        let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
    }

    /// Builds the runner if it has to be built, and becomes it, with the arguments that this process has. Returns if that fails.
    pub(crate) fn build_and_become(&self, out: &Out) -> Failure {
        // The lock goes with this process' image, when the runner is already running and cannot be replaced under it.
        match self.runner(out) {
            Ok((runner, _lock)) => {
                let error = Command::new(&runner).arg0("bringup").args(std::env::args_os().skip(1)).exec();
                Failure::file("start", &runner, &error)
            }
            Err(failure) => failure,
        }
    }

    fn runner(&self, out: &Out) -> Result<(PathBuf, File), Failure> {
        let workspace = Workspace::locate(&self.absolute, &self.crate_name())?;
        let lock = workspace.lock()?;
        let known = Stamp::load(&workspace.stamp());
        let state = known.as_ref().map_or(self.crc, Stamp::state_of_inputs);
        let built = match known.filter(Stamp::holds) {
            Some(stamp) => {
                out.verbose(&format!("{}: taken from the cache", self.given));
                stamp
            }
            None => {
                out.verbose(&format!("{}: building", self.given));
                workspace.write()?;
                compile::compile(&workspace, &self.given, state, out, |text| self.show(text))?
            }
        };
        // As after a build: what rustc objects to is said each time.
        for warning in &built.warnings {
            self.show(warning);
        }
        Ok((built.runner, lock))
    }

    /// Builds the driver's runner, if it has to be built, and tells which files the driver consists of: its own one first.
    pub(crate) fn built_sources(&self, out: &Out) -> Result<Vec<PathBuf>, Failure> {
        self.runner(out)?;
        let parts = self.parts();
        let directory = self.absolute.parent().unwrap_or(Path::new(""));
        let parts = parts.into_iter().map(|(path, _)| directory.join(path));
        Ok(std::iter::once(self.absolute.clone()).chain(parts).collect())
    }

    /// The driver's other files, as they were when its runner was built: each by its path from the driver's directory, with its
    /// CRC-32.
    pub(crate) fn parts(&self) -> Vec<(PathBuf, u32)> {
        let known = Workspace::locate(&self.absolute, &self.crate_name()).ok();
        let Some(stamp) = known.and_then(|workspace| Stamp::load(&workspace.stamp())) else { return Vec::new() };
        let directory = self.absolute.parent().unwrap_or(Path::new(""));
        let mut parts: Vec<(PathBuf, u32)> = stamp
            .crc_of_sources()
            .filter(|(path, _)| *path != self.absolute)
            .map(|(path, crc)| (path.strip_prefix(directory).unwrap_or(path).to_owned(), crc))
            .collect();
        parts.sort();
        parts
    }

    /// Where one of the [`parts`](Self::parts) is, as the user would write it.
    pub(crate) fn part(&self, path: &Path) -> PathBuf {
        Path::new(&self.given).parent().unwrap_or(Path::new("")).join(path)
    }

    /// The platform devices that the driver's tables name, by its text.
    pub(crate) fn platform_names(&self) -> Vec<source::PlatformName> {
        let known = Workspace::locate(&self.absolute, &self.crate_name()).ok();
        let known = known.and_then(|workspace| Stamp::load(&workspace.stamp())).map(|stamp| stamp.sources);
        let files = known.filter(|files| !files.is_empty()).unwrap_or_else(|| vec![self.absolute.clone()]);
        // A file that has gone meanwhile names nothing.
        let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
        texts.flat_map(|text| source::platform_names(&text)).collect()
    }

    /// Shows one of rustc's messages, with the driver's path as the user gave it.
    fn show(&self, rendered: &str) {
        let text = shown_paths(Some(self)).apply(rendered);
        let text = if errors_are_colourful() { text } else { without_colour(&text) };
        // Nobody to tell is no reason to stop.
        let _ = write!(io::stderr(), "{text}");
    }
}

/// How paths are shown: those in the driver's directory as the user wrote them, our own from the top of our sources.
pub(crate) fn shown_paths(driver: Option<&DriverFile>) -> Paths {
    let directory = |path: &Path| match path.as_os_str().is_empty() {
        true => String::new(),
        false => format!("{}/", path.display()),
    };
    let mut paths = Paths::default();
    if let Some(driver) = driver
        && let (Some(absolute), Some(given)) = (driver.absolute.parent(), Path::new(&driver.given).parent())
    {
        paths.show(directory(absolute), directory(given));
    }
    if let Ok(root) = source_root() {
        paths.show(directory(&root), String::new());
    }
    paths
}

/// Where the sources of the kernel crate and of this command are.
pub(crate) fn source_root() -> Result<PathBuf, Failure> {
    let is_ours =
        |root: &Path| root.join("drivers/kernel/Cargo.toml").is_file() && root.join("sim/cli/Cargo.toml").is_file();
    if let Some(root) = std::env::var_os("BRINGUP_SOURCE").filter(|value| !value.is_empty()) {
        let root = std::path::absolute(&root).map_err(|error| Failure::new(reason(&error)))?;
        // Without a slash at the end, which would not be in the paths that the compiler shows.
        let root: PathBuf = root.components().collect();
        return if is_ours(&root) {
            Ok(root)
        } else {
            Err(Failure::new(format_args!("BRINGUP_SOURCE is {}, and Bringup's sources are not there", root.display())))
        };
    }
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"));
    if is_ours(built_from) {
        return Ok(built_from.to_owned());
    }
    Err(Failure::new(
        "a driver from a file is built against Bringup's sources, which are no longer where this program was built; \
         set BRINGUP_SOURCE to the directory that has them",
    ))
}

/// Removes the escape sequences that colour rustc's messages.
fn without_colour(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_removed_and_the_text_stays() {
        assert_eq!(without_colour("\x1b[1m\x1b[91merror\x1b[0m: in a map"), "error: in a map");
    }

    #[test]
    fn crate_names_are_identifiers() {
        let file = |name: &str| DriverFile { given: name.into(), absolute: name.into(), crc: 0 };
        assert_eq!(file("/a/my-driver.v2.rs").crate_name(), "my_driver_v2");
        assert_eq!(file("/a/8250.rs").crate_name(), "_8250");
    }
}
