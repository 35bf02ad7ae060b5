//! Tries removals, several at once, each in a process of its own.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::args::MutateArgs;
use crate::failure::{Failure, reason};

use super::attempt::{EXERCISE, LONGEST, Noticed, Tried};
use super::outcome::Outcome;
use super::program::Program;

/// How long a process may take that does not end when its lives have taken their time.
const GRACE: Duration = Duration::from_secs(30);
/// How long a driver may run without a call into the kernel before it is taken for lost, in milliseconds: many removals end like
/// that, and each takes so long.
const PATIENCE_MS: &str = "3000";

/// Those who try.
pub(super) struct Crew<'a> {
    program: &'a Program,
    args: &'a MutateArgs,
    /// The driver's path.
    driver: &'a Path,
    jobs: usize,
}

impl<'a> Crew<'a> {
    pub(super) fn new(program: &'a Program, args: &'a MutateArgs, driver: &'a Path) -> Self {
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        let jobs = args.jobs.map_or_else(processors, usize::from);
        Self { program, args, driver, jobs }
    }

    /// The driver as it is: what it does wrong is not what a removal is noticed by.
    pub(super) fn plain(&self) -> Result<Tried, Failure> {
        let driver = &self.args.driver;
        match self.attempt(0, &[], None)? {
            Ended::Tried(Tried { noticed: Some(Noticed { by, what, devices, .. }), .. })
                if by == EXERCISE && devices.is_empty() =>
            {
                Err(Failure::new(format_args!(
                    "{driver} does not do what it is for with nothing removed: {what} (bringup run {driver} says more)"
                )))
            }
            Ended::Tried(tried) => Ok(tried),
            Ended::Otherwise(noticed) => Err(Failure::new(format_args!(
                "{driver} comes to nothing with nothing removed: {} (bringup run {driver} says more)",
                noticed.what
            ))),
        }
    }

    /// Tries all removals; what came of them, in their order. `done` is told how many have been tried.
    pub(super) fn try_all(&self, plain: &Tried, mut done: impl FnMut(u64)) -> Result<Vec<Outcome>, Failure> {
        let removals = &self.program.removals;
        let next = AtomicUsize::new(0);
        let mut outcomes: Vec<Option<Outcome>> = vec![None; removals.len()];
        thread::scope(|scope| {
            let (sender, receiver) = channel();
            for _ in 0..self.jobs.min(removals.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some((_, removal)) = removals.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let outcome = self.outcome(removal.number, plain);
                        let failed = outcome.is_err();
                        // Nobody listens any more when another one failed.
                        if sender.send((removal.number, outcome)).is_err() || failed {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for (count, (number, outcome)) in receiver.iter().enumerate() {
                // Nobody begins another one.
                let outcome = outcome.inspect_err(|_| next.store(removals.len(), Ordering::Relaxed))?;
                if let Some(place) = outcomes.get_mut(number as usize - 1) {
                    *place = Some(outcome);
                }
                done(count as u64 + 1);
            }
            Ok(())
        })?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn outcome(&self, number: u32, plain: &Tried) -> Result<Outcome, Failure> {
        if self.program.unbuilt.contains(&number) {
            return Ok(Outcome::Unbuilt);
        }
        Ok(match self.attempt(number, &plain.rules, Some(plain.account))? {
            Ended::Otherwise(noticed) | Ended::Tried(Tried { noticed: Some(noticed), .. }) => Outcome::Noticed(noticed),
            Ended::Tried(tried) if tried.met => Outcome::Unnoticed(tried.lives),
            Ended::Tried(tried) => Outcome::Unmet(tried.lives),
        })
    }

    /// Tries one removal.
    fn attempt(&self, number: u32, known: &[String], account: Option<u32>) -> Result<Ended, Failure> {
        let args = self.args;
        let mut command = Command::new(&self.program.runner);
        command.arg("mutate").arg(self.driver).args(["--json", "--removal", &number.to_string()]);
        command.args(["--lives", &args.lives.to_string()]);
        for spec in &args.device {
            command.args(["--device", spec]);
        }
        for (name, value) in &args.param {
            command.args(["--param", &format!("{name}={value}")]);
        }
        if let Some(account) = account {
            command.args(["--account", &account.to_string()]);
        }
        for rule in known {
            command.args(["--known", rule]);
        }
        if std::env::var_os("BRINGUP_PATIENCE_MS").is_none() {
            command.env("BRINGUP_PATIENCE_MS", PATIENCE_MS);
        }
        let failed = |error: std::io::Error| Failure::file("start", &self.program.runner, &error);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let (said, complained) = (text(child.stdout.take()), text(child.stderr.take()));
        let said = said.recv_timeout(LONGEST + GRACE);
        let late = said.is_err();
        let status = end(&mut child, late).map_err(|error| Failure::new(reason(&error)))?;
        if late {
            return Ok(Ended::otherwise("does not end", "its lives do not come to an end"));
        }
        let complained = complained.recv().unwrap_or_default();
        self.ended(status, &said.unwrap_or_default(), &complained)
    }

    fn ended(&self, status: ExitStatus, said: &str, complained: &str) -> Result<Ended, Failure> {
        match (status.code(), status.signal()) {
            (Some(0), _) => serde_json::from_str(said).map(Ended::Tried).map_err(|_| {
                Failure::new(format_args!("{} says what nobody understands", self.program.runner.display()))
            }),
            // The watch has ended it.
            (Some(1), _) => Ok(Ended::otherwise("watchdog-lockup", "it hangs in a loop of its own")),
            (None, Some(signal)) => {
                Ok(Ended::otherwise("crash", &format!("it takes its process down, with signal {signal}")))
            }
            (Some(101), _) => Ok(Ended::otherwise("crash", "it takes its process down, with a panic")),
            _ => {
                let line = complained.lines().last().unwrap_or("it gives no reason");
                Err(Failure::new(line.strip_prefix("error: ").unwrap_or(line)))
            }
        }
    }
}

/// How a process ended.
enum Ended {
    Tried(Tried),
    /// Without an account.
    Otherwise(Noticed),
}

impl Ended {
    fn otherwise(by: &str, what: &str) -> Self {
        Self::Otherwise(Noticed { by: by.into(), what: what.into(), ..Noticed::default() })
    }
}

/// All that comes out of a pipe, once it is closed.
fn text(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        // Who does not wait for it does not want it.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Waits for the end of a process, or brings it about.
fn end(child: &mut Child, kill: bool) -> std::io::Result<ExitStatus> {
    if kill {
        // It may have ended meanwhile.
        let _ = child.kill();
    }
    child.wait()
}
