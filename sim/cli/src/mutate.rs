//! `bringup mutate DRIVER`: each barrier, check, release and register write of a driver is removed in turn, and the driver explored
//! without it. What nothing notices is a gap: of a checker, of the exercise, or of the driver's need for it.
//!
//! All removals are built into one program, each behind a condition, and each is tried in a process of its own: a driver from which
//! something was removed may hang, or crash its process.

mod attempt;
mod calls;
mod crew;
mod edits;
mod machines;
mod outcome;
mod program;
mod provoke;
mod removals;

use std::path::PathBuf;

use crate::args::MutateArgs;
use crate::bundled;
use crate::driver_build::{DriverFile, source_root};
use crate::failure::Failure;
use crate::life::is_file;
use crate::output::Out;
use crate::plug::Plug;
use crate::progress::Progress;
use crew::Crew;
use outcome::{Outcome, Outcomes};
use program::Program;
use removals::Removal;

pub(crate) use attempt::{Switch, try_one};

pub(crate) fn mutate(args: &MutateArgs, out: &mut Out) -> Result<u8, Failure> {
    for spec in &args.device {
        Plug::parse(spec)?;
    }
    let file = driver_file(&args.driver)?;
    let sources = file.built_sources(out)?;
    let program = Program::build(&file, &sources, &args.file, out)?;
    out.paths = program.shown_paths();
    let crew = Crew::new(&program, args, file.path());
    let plain = crew.plain()?;
    let mut progress = Progress::new();
    let tried: Vec<&(PathBuf, Removal)> = program.removals.iter().collect();
    let total = tried.len() as u64;
    let outcomes: Vec<Outcome> = crew.try_all(&plain, |done| progress.show("removals", done, total))?;
    progress.clear();
    let rows = tried.into_iter().cloned().zip(outcomes).map(|((path, removal), outcome)| (path, removal, outcome));
    Ok(Outcomes::new(&args.driver, args.lives, &plain.rules, rows.collect(), out).print(out))
}

/// The file of a driver that is named, or given by its path.
fn driver_file(name: &str) -> Result<DriverFile, Failure> {
    if is_file(name) {
        return DriverFile::open(name);
    }
    let source = bundled::find(name)?.source;
    DriverFile::open_as(&source_root()?.join(source), source)
}
