//! The program that holds all removals of a driver.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::driver_build::DriverFile;
use crate::driver_build::compile::Refused;
use crate::driver_build::copy::Copy;
use crate::failure::{Failure, read_text};
use crate::output::{Out, Paths};

use super::edits::Edits;
use super::removals::{self, Handlers, Removal, SWITCH};

/// How often what does not build is left out before that is given up.
const PATIENCE: usize = 8;

/// A driver with removals, built.
#[derive(Debug)]
pub(super) struct Program {
    copy: Copy,
    /// The program; its removals are numbered from 1.
    pub(super) runner: PathBuf,
    /// What can be removed: the copy of the file that it is in, and the removal, in the order of their numbers.
    pub(super) removals: Vec<(PathBuf, Removal)>,
    /// The numbers of those that do not build.
    pub(super) unbuilt: BTreeSet<u32>,
}

/// A file of the driver.
struct Source {
    path: PathBuf,
    text: String,
    edits: Edits,
    removals: Vec<Removal>,
}

impl Program {
    /// Builds a driver from these files, the driver's own one first, with all that can be removed from those whose path has one of
    /// `wanted` in it; all if that is empty.
    pub(super) fn build(file: &DriverFile, paths: &[PathBuf], wanted: &[String], out: &Out) -> Result<Self, Failure> {
        let sources = sources(paths, wanted)?;
        if sources.iter().all(|source| source.removals.is_empty()) {
            let word = if wanted.is_empty() { String::new() } else { " in these files".into() };
            return Err(Failure::new(format_args!(
                "{}: there is nothing to remove{word}: no barrier, no check, no release, no register write",
                file.given
            )));
        }
        let copy = Copy::new(file, paths)?;
        let mut unbuilt = BTreeSet::new();
        for _ in 0..PATIENCE {
            let places = write(&copy, &sources, &unbuilt)?;
            let state = unbuilt.iter().fold(file.crc, |state, number: &u32| state.rotate_left(5) ^ number);
            match copy.build(state, out)? {
                Ok(runner) => {
                    let removals = sources.into_iter().flat_map(|source| {
                        let path = copy.path(&source.path);
                        source.removals.into_iter().map(move |removal| (path.clone(), removal))
                    });
                    return Ok(Self { runner, removals: removals.collect(), unbuilt, copy });
                }
                Err(refused) => {
                    let known = unbuilt.len();
                    unbuilt.extend(culprits(&copy, &sources, &places, &refused));
                    if unbuilt.len() == known {
                        return Err(copy.failure(*refused));
                    }
                }
            }
        }
        Err(Failure::new(format_args!("{}: its removals do not build, whichever are left out", file.given)))
    }

    pub(super) fn shown_paths(&self) -> Paths {
        self.copy.shown_paths()
    }
}

/// The driver's files, with what can be removed from them.
fn sources(paths: &[PathBuf], wanted: &[String]) -> Result<Vec<Source>, Failure> {
    let mut texts: Vec<(PathBuf, String, syn::File)> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let text = read_text(path)?;
        let tree = match syn::parse_file(&text) {
            Ok(tree) => tree,
            Err(error) if index == 0 => {
                let line = error.span().start().line;
                return Err(Failure::new(format_args!("cannot read {}: line {line}: {error}", path.display())));
            }
            // One that is included in the middle of something is no file by itself, and stays as it is.
            Err(_) => syn::File { shebang: None, attrs: Vec::new(), items: Vec::new() },
        };
        texts.push((path.clone(), text, tree));
    }
    let trees: Vec<syn::File> = texts.iter().map(|(.., tree)| tree.clone()).collect();
    let handlers = Handlers::of(&trees);
    let mut last = 0;
    let mut sources = Vec::new();
    for (path, text, tree) in texts {
        let shown = path.to_string_lossy();
        let is_wanted = wanted.is_empty() || wanted.iter().any(|part| shown.contains(part));
        let found = if is_wanted { removals::find(&text, &tree, &handlers, last) } else { Default::default() };
        last += found.removals.len() as u32;
        sources.push(Source { path, text, edits: found.edits, removals: found.removals });
    }
    Ok(sources)
}

/// Where removals stand in the copy of a file.
type Places = BTreeMap<PathBuf, Vec<(u32, Range<usize>)>>;

/// Writes the copy, without the removals that do not build.
fn write(copy: &Copy, sources: &[Source], unbuilt: &BTreeSet<u32>) -> Result<Places, Failure> {
    let mut places = Places::new();
    for (index, source) in sources.iter().enumerate() {
        let mut edited = source.edits.apply(&source.text, |number| !unbuilt.contains(&number));
        if index == 0 {
            edited.text.push_str(SWITCH);
        }
        copy.write(&source.path, &edited.text)?;
        places.insert(copy.path(&source.path), edited.places);
    }
    Ok(places)
}

/// The removals that the compiler's objections are about: the innermost one around each; where there is none, all in the same
/// function.
fn culprits(copy: &Copy, sources: &[Source], places: &Places, refused: &Refused) -> BTreeSet<u32> {
    let mut culprits = BTreeSet::new();
    for span in refused.places() {
        let Some(known) = places.get(&span.file_name) else { continue };
        let around = known.iter().filter(|(_, range)| range.start <= span.byte_start && span.byte_end <= range.end);
        if let Some((number, _)) = around.min_by_key(|(_, range)| range.len()) {
            culprits.insert(*number);
            continue;
        }
        culprits.extend(in_function(copy, sources, known, &span.file_name, span.byte_start));
    }
    culprits
}

/// The removals in the function that a place of a copy is in.
fn in_function(copy: &Copy, sources: &[Source], known: &[(u32, Range<usize>)], path: &Path, at: usize) -> Vec<u32> {
    let Some(source) = sources.iter().find(|source| copy.path(&source.path) == path) else { return Vec::new() };
    // The removal that is nearest is in that function, if any is.
    let distance = |range: &Range<usize>| range.start.abs_diff(at).min(range.end.abs_diff(at));
    let Some((nearest, _)) = known.iter().min_by_key(|(_, range)| distance(range)) else { return Vec::new() };
    let function = source.removals.iter().find(|removal| removal.number == *nearest).map(|removal| &removal.function);
    let same = source.removals.iter().filter(|removal| Some(&removal.function) == function);
    same.map(|removal| removal.number).collect()
}
