//! The entry: reads the command line and does what it says.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32};

use bringup_bench::module::Loadable;
use clap::Parser;

use crate::args::{self, Cli, Command};
use crate::conform::conform;
use crate::explain::explain;
use crate::failure::{Failure, complain};
use crate::list::list;
use crate::mutate::{Switch, mutate, try_one};
use crate::output::Out;
use crate::replay::replay;
use crate::run::run;
use crate::shrink::shrink;
use crate::upstream::upstream;
use crate::vm::vm;
use crate::zoo::zoo;

/// The exit status of a command that could not do what it was asked to.
const FAILED: u8 = 2;

/// Runs the command that the process' arguments ask for; `linked` is the driver that was built into this very program from a
/// file, if one was.
///
/// Exit status: 0 clean, 1 something was found, 2 usage, build or input error (then one line on standard error says which).
#[must_use]
pub fn main_with(linked: Option<&'static Loadable>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let Some(line) = args::one_line(&error) else { return help(&error) };
            complain(&line);
            return FAILED.into();
        }
    };
    let mut out = Out::new(cli.json, cli.verbose);
    let status = dispatch(cli.command, linked, &mut out);
    exit(status, out)
}

/// Tries one removal of a driver that was built into this very program with removals: what `bringup mutate` runs. `selected` selects
/// it, and `met` is set when it made a difference.
#[must_use]
pub fn try_removal(linked: &'static Loadable, selected: &'static AtomicU32, met: &'static AtomicBool) -> ExitCode {
    let mut out = Out::new(true, false);
    let status = match Cli::try_parse().map(|cli| cli.command) {
        Ok(Command::Mutate(arguments)) => try_one(&arguments, linked, Switch { selected, met }, &mut out),
        _ => Err(Failure::new("this program is started by bringup mutate, which knows how")),
    };
    exit(status, out)
}

/// The exit status, with the line that says why if it is that of a failure.
fn exit(status: Result<u8, Failure>, out: Out) -> ExitCode {
    let written = out.finish();
    let failure = match (status, written) {
        (Ok(status), Ok(())) => return status.into(),
        (Err(failure), _) | (Ok(_), Err(failure)) => failure,
    };
    if let Failure::Line(line) = failure {
        complain(&line);
    }
    FAILED.into()
}

fn dispatch(command: Command, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8, Failure> {
    match command {
        Command::Run(arguments) => run(&arguments, linked, out),
        Command::Conform(arguments) => conform(&arguments, linked, out),
        Command::Mutate(arguments) => mutate(&arguments, out),
        Command::Replay(arguments) => replay(&arguments, linked, out),
        Command::Shrink(arguments) => shrink(&arguments, linked, out),
        Command::List { what, virtio } => list(what, virtio, out),
        Command::Zoo(arguments) => zoo(&arguments, out),
        Command::Vm(arguments) => vm(&arguments, out),
        Command::Upstream(command) => upstream(&command, linked, out),
        Command::Explain { id } => explain(&id, out),
    }
}

fn help(error: &clap::Error) -> ExitCode {
    // Whoever asked for help and does not read it gets none.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(FAILED).into()
}
