//! A driver's files, copied into the cache with changes, and built there: nothing is written beside the user's own.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use super::compile::{Refused, attempt};
use super::workspace::{COPY, Workspace};
use super::{DriverFile, shown_paths};
use crate::failure::Failure;
use crate::output::{Out, Paths};
use crate::output_file;

/// The copy of a driver's files.
#[derive(Debug)]
pub(crate) struct Copy {
    file: DriverFile,
    workspace: Workspace,
    /// The directory that holds all of the driver's files.
    root: PathBuf,
    /// Keeps other processes out.
    _lock: File,
}

impl Copy {
    /// Prepares a copy of these files, the driver's own one among them.
    pub(crate) fn new(file: &DriverFile, sources: &[PathBuf]) -> Result<Self, Failure> {
        let mut root = file.absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let sources = sources.iter().filter_map(|source| source.canonicalize().ok());
        for source in sources {
            while !source.starts_with(&root) && root.pop() {}
        }
        let place = file.absolute.strip_prefix(&root).unwrap_or(&file.absolute);
        let workspace = Workspace::locate_mutation(&file.absolute, place, &file.crate_name())?;
        let lock = workspace.lock()?;
        workspace.write()?;
        Ok(Self { file: file.clone(), workspace, root, _lock: lock })
    }

    /// Where the copy of a file is.
    pub(crate) fn path(&self, source: &Path) -> PathBuf {
        let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
        self.workspace.copies().join(source.strip_prefix(&self.root).unwrap_or(&source))
    }

    /// Writes the copy of a file.
    pub(crate) fn write(&self, source: &Path, text: &str) -> Result<(), Failure> {
        let path = self.path(source);
        std::fs::create_dir_all(path.parent().unwrap_or(&path))
            .and_then(|()| output_file::write_if_changed(&path, text.as_bytes()))
            .map_err(|error| Failure::file("write to the cache in", &path, &error))
    }

    /// Builds the copy: the program, or why not.
    pub(crate) fn build(&self, state: u32, out: &Out) -> Result<Result<PathBuf, Box<Refused>>, Failure> {
        attempt(&self.workspace, &self.file.given, state, out).map(|built| built.map(|stamp| stamp.into_runner()))
    }

    /// What to say about a build that failed.
    pub(crate) fn failure(&self, refused: Refused) -> Failure {
        let paths = self.shown_paths();
        refused.failure(&self.file.given, &self.workspace, |text| self.file.show(&paths.apply(text)))
    }

    /// How paths are shown: those of the copy as those of the driver's own files.
    pub(crate) fn shown_paths(&self) -> Paths {
        // First of all: the copy may lie inside of our sources.
        let mut paths = Paths::default();
        let slash = |path: &Path| format!("{}/", path.display());
        // What the driver's own directory is called, from the one that the copy is of.
        let inner =
            self.file.absolute.parent().and_then(|own| own.strip_prefix(&self.root).ok()).unwrap_or(Path::new(""));
        let given = Path::new(&self.file.given).parent().unwrap_or(Path::new(""));
        let shown: PathBuf = given.components().chain(inner.components().map(|_| Component::ParentDir)).collect();
        let shown = if shown.as_os_str().is_empty() { String::new() } else { slash(&shown) };
        paths.show(slash(&self.workspace.copies()), shown.clone());
        // What the compiler and the program say begins where the workspace is.
        paths.show(slash(Path::new(COPY)), shown);
        paths.and(shown_paths(Some(&self.file)))
    }
}
