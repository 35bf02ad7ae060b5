//! What a guest's console shows: passed on as it comes, from the moment that is wanted, and looked at for what a report needs.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::init::{BEGIN, DONE, END, LOADED};

/// Lines in a kernel's log that no correct driver causes.
const ALARMS: [&str; 8] =
    ["BUG:", "Oops", "WARNING:", "DMA-API:", "Kernel panic", "kernel BUG", "nobody cared", "Call Trace"];
/// … except these, of which the first two are printed at every boot.
const NO_ALARM: [&str; 3] = ["DMA-API: preallocated", "DMA-API: debugging enabled", "report a bug"];

/// Whether a line of a kernel's log is one that no correct driver causes.
pub(crate) fn is_alarm(line: &str) -> bool {
    ALARMS.iter().any(|alarm| line.contains(alarm)) && !NO_ALARM.iter().any(|ok| line.contains(ok))
}

/// A line without the time in front of it.
pub(crate) fn without_time(line: &str) -> &str {
    let Some((time, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else { return line };
    let is_time = time.trim().starts_with(|c: char| c.is_ascii_digit())
        && time.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '.'));
    if is_time { rest.trim_start() } else { line }
}

/// The stages of a guest that has our init.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The kernel boots.
    Boot,
    /// The modules are being loaded.
    Load,
    /// The commands run.
    Run,
    /// The modules are being unloaded.
    Unload,
    /// Everything is done.
    End,
}

impl Stage {
    /// Our init is at work.
    pub(crate) fn is_work(self) -> bool {
        matches!(self, Self::Load | Self::Run | Self::Unload)
    }

    /// In the middle of a sentence.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Boot => "it had not reached its init",
            Self::Load => "it was loading its modules",
            Self::Run => "its commands were not over",
            Self::Unload => "it was unloading its modules",
            Self::End => "it was turning itself off",
        }
    }
}

/// A mark of our init's in a line of the console.
#[derive(Debug)]
pub(crate) struct Mark<'a> {
    /// What begins.
    pub(crate) stage: Stage,
    /// What stands before it: output that did not end its line.
    pub(crate) before: &'a str,
}

impl<'a> Mark<'a> {
    /// The mark in a line, if there is one.
    pub(crate) fn find(line: &'a str) -> Option<Self> {
        let marks = [(BEGIN, Stage::Load), (LOADED, Stage::Run), (DONE, Stage::Unload), (END, Stage::End)];
        let (before, stage) = marks.into_iter().find_map(|(mark, stage)| Some((line.split_once(mark)?.0, stage)))?;
        let time = before.rfind('[').filter(|at| without_time(&before[*at..]).is_empty());
        Some(Self { stage, before: &before[..time.unwrap_or(before.len())] })
    }
}

/// What of a console is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Nothing; it is kept.
    Nothing,
    /// What comes while our init is at work, without its own marks.
    Work,
    /// All of it, each byte as it comes.
    All,
}

/// The host's end of a guest's console. All clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Console(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Another stage has begun.
    stages: Condvar,
    /// Nobody waits any longer for whoever does not read what is shown.
    given_up: AtomicBool,
}

/// The most of a log that is kept, in bytes.
const MOST_KEPT: usize = 16 << 20;
/// A line is taken to end here if it does not by itself.
const LONGEST_LINE: usize = 8 << 10;

#[derive(Debug)]
struct State {
    view: View,
    /// Carriage returns stay: standard output is a terminal that the guest draws on.
    raw: bool,
    stage: Stage,
    /// The line that comes.
    line: Vec<u8>,
    /// A carriage return that may belong to the end of a line.
    held: bool,
    /// What is shown lies here until it is written.
    shown: Vec<u8>,
    log: Vec<(Stage, String)>,
    kept: usize,
    alarms: Vec<String>,
    panic: Option<String>,
    unread: bool,
}

/// What a console has shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// How far the guest got, if our init runs there.
    pub(crate) stage: Stage,
    /// The lines, and when they came: the first 16 MiB.
    pub(crate) log: Vec<(Stage, String)>,
    /// Lines that no correct driver causes.
    pub(crate) alarms: Vec<String>,
    /// The line with which the kernel gave up.
    pub(crate) panic: Option<String>,
}

impl Console {
    /// One that shows this; `raw` as a terminal in raw mode wants it.
    pub(crate) fn new(view: View, raw: bool) -> Self {
        let state = State {
            view,
            raw,
            stage: Stage::Boot,
            line: Vec::new(),
            held: false,
            shown: Vec::new(),
            log: Vec::new(),
            kept: 0,
            alarms: Vec::new(),
            panic: None,
            unread: false,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), stages: Condvar::new(), given_up: AtomicBool::new(false) }))
    }

    /// Waits until this stage has begun, for as long as that takes.
    pub(crate) fn wait_for(&self, stage: Stage) {
        let waited = self.0.stages.wait_while(self.state(), |state| state.stage < stage);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Stops waiting for whoever does not read what is shown: the machine is to end.
    pub(crate) fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Relaxed);
    }

    /// Ends the last line and tells what there was.
    pub(crate) fn finish(&self) -> Shown {
        let mut state = self.state();
        if !state.line.is_empty() {
            state.end_line();
        }
        state.put_out(&self.0.given_up);
        Shown {
            stage: state.stage,
            log: std::mem::take(&mut state.log),
            alarms: std::mem::take(&mut state.alarms),
            panic: state.panic.take(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let before = state.stage;
        bytes.iter().for_each(|byte| state.take(*byte));
        if state.stage != before {
            self.0.stages.notify_all();
        }
        state.put_out(&self.0.given_up);
        // A reader that is gone does not stop the guest.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn take(&mut self, byte: u8) {
        if self.view == View::All {
            self.pass(byte);
        }
        match byte {
            b'\n' => self.end_line(),
            _ => {
                self.line.push(byte);
                if self.line.len() >= LONGEST_LINE {
                    self.end_line();
                }
            }
        }
    }

    /// Shows a byte; the carriage return of a line's end only to a terminal that needs it.
    fn pass(&mut self, byte: u8) {
        if std::mem::take(&mut self.held) && byte != b'\n' {
            self.shown.push(b'\r');
        }
        if byte == b'\r' && !self.raw {
            self.held = true;
        } else {
            self.shown.push(byte);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        match Mark::find(line) {
            Some(Mark { stage, before }) => {
                if !before.is_empty() {
                    self.keep(before);
                }
                self.stage = self.stage.max(stage);
            }
            None => self.keep(line),
        }
    }

    fn keep(&mut self, line: &str) {
        if line.contains("Kernel panic - not syncing") {
            self.panic.get_or_insert_with(|| without_time(line).to_owned());
        }
        if self.stage > Stage::Boot && is_alarm(line) {
            self.alarms.push(line.to_owned());
        }
        if self.view == View::Work && self.stage.is_work() {
            self.shown.extend_from_slice(line.as_bytes());
            self.shown.push(b'\n');
        }
        if self.kept < MOST_KEPT {
            self.kept += line.len() + 1;
            self.log.push((self.stage, line.to_owned()));
        }
    }

    /// Writes what is to be shown to standard output.
    fn put_out(&mut self, given_up: &AtomicBool) {
        let stdout = io::stdout();
        let mut rest = &self.shown[..];
        while !rest.is_empty() && !self.unread && self.view != View::Nothing {
            match rustix::io::write(stdout.as_fd(), rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR | Errno::AGAIN) if given_up.load(Ordering::Relaxed) => self.unread = true,
                Err(Errno::INTR) => {}
                // A filter lets the threads that come here wait for each other, but not for a file.
                Err(Errno::AGAIN) => std::thread::park_timeout(Duration::from_millis(1)),
                Err(_) => self.unread = true,
            }
        }
        self.shown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(view: View, raw: bool, bytes: &[u8]) -> (String, State) {
        let console = Console::new(view, raw);
        let mut state = Arc::try_unwrap(console.0).unwrap().state.into_inner().unwrap();
        bytes.iter().for_each(|byte| state.take(*byte));
        (String::from_utf8(std::mem::take(&mut state.shown)).unwrap(), state)
    }

    #[test]
    fn only_the_work_is_shown_and_all_is_kept() {
        let log = format!(
            "[    0.1] booting\r\n[    0.2] {BEGIN}\r\n[    0.3] edu: here\r\nhello\r\n[    0.4] {END}\r\nreboot: Power down\r\n"
        );

        let (text, state) = shown(View::Work, false, log.as_bytes());

        assert_eq!(text, "[    0.3] edu: here\nhello\n");
        assert_eq!(state.log[0], (Stage::Boot, "[    0.1] booting".to_owned()));
        assert_eq!(state.log[3], (Stage::End, "reboot: Power down".to_owned()));
    }

    #[test]
    fn everything_is_shown_byte_by_byte_and_a_terminal_gets_its_carriage_returns() {
        assert_eq!(shown(View::All, false, b"a\r\nb\rc\r\n# ").0, "a\nb\rc\n# ");
        assert_eq!(shown(View::All, true, b"a\r\n# ").0, "a\r\n# ");
    }

    #[test]
    fn alarms_are_those_of_the_work_and_a_panic_counts_whenever_it_comes() {
        let log = format!("WARNING: at boot\n{BEGIN}\n[ 1.0] BUG: in the driver\nDMA-API: preallocated 1\n");
        let (_, state) = shown(View::Nothing, false, log.as_bytes());
        assert_eq!((state.alarms, state.panic), (vec!["[ 1.0] BUG: in the driver".to_owned()], None));
        let (_, state) = shown(View::Nothing, false, b"[    0.5] Kernel panic - not syncing: no init\n");
        assert_eq!(state.panic.as_deref(), Some("Kernel panic - not syncing: no init"));
    }

    #[test]
    fn output_that_does_not_end_its_line_is_not_lost_to_a_mark() {
        let log = format!("[ 0.2] {BEGIN}\nhalf a line[    0.3] {DONE}\n");
        assert_eq!(shown(View::Work, false, log.as_bytes()).0, "half a line\n");
    }

    #[test]
    fn line_without_an_end_does_not_grow_for_ever() {
        let (_, state) = shown(View::Nothing, false, &vec![b'x'; 100_000]);
        assert!(state.line.len() < LONGEST_LINE);
    }

    #[test]
    fn time_is_taken_off_and_other_brackets_stay() {
        assert_eq!(without_time("[    1.949390] edu: x"), "edu: x");
        assert_eq!(without_time("[driver] x"), "[driver] x");
        assert_eq!(without_time("x"), "x");
    }
}
