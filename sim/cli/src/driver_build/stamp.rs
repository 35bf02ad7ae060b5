//! The stamp of a runner: what went into it, to know whether it is still the right one.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output_file;

/// What a build left.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The program.
    pub(crate) runner: PathBuf,
    /// Each file that went into it, with its CRC-32.
    inputs: Vec<(PathBuf, u32)>,
    /// The driver's own files.
    pub(crate) sources: Vec<PathBuf>,
    /// What there is to say about the driver.
    pub(crate) warnings: Vec<String>,
}

impl Stamp {
    /// Takes the inputs from the dependency file that cargo leaves beside a program; the manifests above them count too.
    pub(crate) fn new(runner: PathBuf, driver_sources: Vec<PathBuf>, warnings: Vec<String>) -> io::Result<Self> {
        let listed = fs::read_to_string(runner.with_extension("d"))?;
        let sources = dependencies(&listed);
        let mut files: BTreeSet<PathBuf> = BTreeSet::new();
        for source in sources {
            files.extend(
                source.ancestors().skip(1).map(|directory| directory.join("Cargo.toml")).filter(|path| path.is_file()),
            );
            // A build script that lists what is in a directory names the directory.
            if source.is_dir() {
                files.extend(files_in(&source)?);
            } else {
                files.insert(source);
            }
        }
        let inputs = files.into_iter().map(|path| checksum(&path).map(|crc| (path, crc))).collect::<io::Result<_>>()?;
        Ok(Self { runner, inputs, sources: driver_sources, warnings })
    }

    pub(crate) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        output_file::write(path, &serde_json::to_vec(self)?)
    }

    /// The program alone.
    pub(crate) fn into_runner(self) -> PathBuf {
        self.runner
    }

    /// A number that changes with any of the inputs.
    pub(crate) fn state_of_inputs(&self) -> u32 {
        let mut state = crc32fast::Hasher::new();
        for (path, _) in &self.inputs {
            state.update(&checksum(path).unwrap_or_default().to_le_bytes());
        }
        state.finalize()
    }

    /// The driver's own files, with the CRC-32 that each had.
    pub(crate) fn crc_of_sources(&self) -> impl Iterator<Item = (&Path, u32)> {
        let sources = self.inputs.iter().filter(|(path, _)| self.sources.contains(path));
        sources.map(|(path, crc)| (&**path, *crc))
    }

    /// Whether the runner is there and everything is as it was when it was built.
    pub(crate) fn holds(&self) -> bool {
        self.runner.is_file() && self.inputs.iter().all(|(path, crc)| checksum(path).is_ok_and(|now| now == *crc))
    }
}

/// The files of a directory and of those in it.
fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // A link is what it leads to, unless that would lead in circles.
        if entry.file_type()?.is_dir() { files.extend(files_in(&entry.path())?) } else { files.push(entry.path()) }
    }
    files.retain(|path| path.is_file());
    Ok(files)
}

fn checksum(path: &Path) -> io::Result<u32> {
    fs::read(path).map(|content| crc32fast::hash(&content))
}

/// The right-hand side of a dependency file in the syntax of make, as cargo writes it: a backslash before a space keeps it in the
/// name, any other one is the name's.
pub(crate) fn dependencies(text: &str) -> Vec<PathBuf> {
    let Some((_, list)) = text.lines().next().and_then(|line| line.split_once(": ")) else { return Vec::new() };
    let mut names = vec![String::new()];
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        let last = names.len() - 1;
        match c {
            '\\' if chars.peek() == Some(&' ') => names[last].extend(chars.next()),
            ' ' => names.push(String::new()),
            _ => names[last].push(c),
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_stay_whole() {
        let found = dependencies("/t/run: /a/b\\c.rs /a/my\\ driver.rs\n\n/a/b.rs:\n");
        assert_eq!(found, [PathBuf::from("/a/b\\c.rs"), PathBuf::from("/a/my driver.rs")]);
    }

    #[test]
    fn directory_among_the_inputs_stands_for_its_files() {
        let room = tempfile::tempdir().unwrap();
        let (runner, table) = (room.path().join("run"), room.path().join("tables/inner/bugs.toml"));
        fs::create_dir_all(table.parent().unwrap()).unwrap();
        fs::write(&runner, "").unwrap();
        fs::write(&table, "one").unwrap();
        let listed = format!("{}: {}\n", runner.display(), room.path().join("tables").display());
        fs::write(room.path().join("run.d"), listed).unwrap();
        let stamp = Stamp::new(runner, Vec::new(), Vec::new()).unwrap();
        assert!(stamp.holds());
        fs::write(&table, "two").unwrap();
        assert!(!stamp.holds());
    }

    #[test]
    fn stamp_holds_until_an_input_changes() {
        let room = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = room.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (runner, source) = (file("run", ""), file("driver.rs", "one"));
        file("run.d", &format!("{}: {}\n", runner.display(), source.display()));
        let stamp = Stamp::new(runner, Vec::new(), Vec::new()).unwrap();
        assert!(stamp.holds());
        file("driver.rs", "two");
        assert!(!stamp.holds());
    }
}
