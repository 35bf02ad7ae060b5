//! What a guest's console shows: passed on as it comes, from the moment that is wanted, and looked at for what a report needs.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bringup_vmm::Stopper;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::init::{BEGIN, DONE, END, LOADED, MARK, mark};
use super::kernel_log::KernelLog;
pub(crate) use super::kernel_log::{is_alarm, without_time};

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
    /// What stands behind it.
    after: &'a str,
}

impl<'a> Mark<'a> {
    /// The mark in a line, if there is one.
    pub(crate) fn find(line: &'a str) -> Option<Self> {
        if !line.contains(MARK) {
            return None;
        }
        let marks = [(BEGIN, Stage::Load), (LOADED, Stage::Run), (DONE, Stage::Unload), (END, Stage::End)];
        let find =
            |(words, stage): (&str, _)| line.split_once(&mark(words)).map(|(before, after)| (stage, before, after));
        let (stage, before, after) = marks.into_iter().find_map(find)?;
        let time = before.rfind('[').filter(|at| without_time(&before[*at..]).is_empty());
        Some(Self { stage, before: &before[..time.unwrap_or(before.len())], after })
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
    /// The exit status for whoever wants the command to end, 0 if nobody does.
    given_up: AtomicU8,
    /// Whoever read what is shown is gone.
    gone: AtomicBool,
    /// What then ends.
    machine: OnceLock<Stopper>,
}

/// The most of a log that is kept, in bytes and in lines.
const MOST_KEPT: (usize, usize) = (16 << 20, 1 << 18);
/// As many alarms, which are lines too.
const MOST_ALARMS: (usize, usize) = (1 << 20, 1000);
/// A line is taken to end here if it does not by itself, …
const LONGEST_LINE: usize = 8 << 10;
/// … but for its last bytes, in which something may have begun that is not to be torn.
const UNTORN: usize = 1 << 10;
/// What can be written to a pipe that has room (PIPE_BUF), without waiting.
const AT_ONCE: usize = 4 << 10;
/// How long the end of the command waits for somebody who does not read.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often waits look at what else there is.
const TICK: Duration = Duration::from_millis(100);

/// Lines, up to a limit.
#[derive(Debug)]
struct Lines<T> {
    lines: Vec<T>,
    bytes: usize,
    most: (usize, usize),
}

impl<T> Lines<T> {
    fn new(most: (usize, usize)) -> Self {
        Self { lines: Vec::new(), bytes: 0, most }
    }

    /// Whether a line is taken; instead of the first that is not, there is one that says so.
    fn push(&mut self, text: &str, line: impl Fn(String) -> T) {
        let is_full = |lines: &Self| lines.bytes >= lines.most.0 || lines.lines.len() >= lines.most.1;
        if is_full(self) {
            return;
        }
        self.bytes += text.len() + 1;
        self.lines.push(line(text.to_owned()));
        if is_full(self) {
            self.lines.push(line("bringup: no more than this is kept".into()));
        }
    }
}

#[derive(Debug)]
struct State {
    view: View,
    /// Carriage returns stay: standard output is a terminal that the guest draws on.
    raw: bool,
    /// There are no marks: the kernel's log counts from its first line.
    unmarked: bool,
    /// How far the guest is by the kernel's log, …
    logged: Stage,
    /// … and by what its programs print: they take different ways to the console, and one may be late.
    printed: Stage,
    /// The line that comes.
    line: Vec<u8>,
    /// What programs have printed of a line that one of the kernel's tore apart.
    torn: String,
    kernel: KernelLog,
    /// A carriage return that may belong to the end of a line.
    held: bool,
    /// What is shown lies here until it is written.
    shown: Vec<u8>,
    log: Lines<(Stage, String)>,
    alarms: Lines<String>,
    /// Those that came while programs had begun and the log had not said so, which it may never do (`printk.devkmsg=off`).
    early: Lines<String>,
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
    /// Lines of the kernel's log that no correct driver causes: the first thousand.
    pub(crate) alarms: Vec<String>,
    /// The line with which the kernel gave up.
    pub(crate) panic: Option<String>,
}

impl Console {
    /// One that shows this; `raw` as a terminal in raw mode wants it.
    pub(crate) fn new(view: View, raw: bool) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::new(view, raw)),
            stages: Condvar::new(),
            given_up: AtomicU8::new(0),
            gone: AtomicBool::new(false),
            machine: OnceLock::new(),
        }))
    }

    /// Nothing there tells when the work begins: the kernel's log is judged from its first line.
    pub(crate) fn without_init(self) -> Self {
        self.state().unmarked = true;
        self
    }

    /// Ends this machine when nobody reads any more what is shown, as it goes with commands in a pipeline.
    pub(crate) fn ends(&self, machine: Stopper) {
        // There is one machine.
        let _ = self.0.machine.set(machine);
    }

    /// Whether nobody reads any more what is shown.
    pub(crate) fn is_deserted(&self) -> bool {
        self.0.gone.load(Ordering::Relaxed)
    }

    /// Waits until this stage has begun, for as long as that takes.
    pub(crate) fn wait_for(&self, stage: Stage) {
        let waited = self.0.stages.wait_while(self.state(), |state| state.stage() < stage);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Stops waiting for whoever does not read what is shown: the command is to end, with this status.
    pub(crate) fn give_up(&self, exit: u8) {
        self.0.given_up.store(exit, Ordering::Relaxed);
    }

    /// Ends the last line and tells what there was. What the command does from here on is printing: if it is to end, it does so also
    /// where nobody reads that.
    pub(crate) fn finish(&self) -> Shown {
        let shared = self.0.clone();
        // Without it, it is one who does not read who decides.
        let _ = std::thread::Builder::new().name("patience".into()).spawn(move || shared.be_patient());
        let mut state = self.state();
        state.end_last_line();
        state.put_out(&self.0, true);
        Shown {
            stage: state.stage(),
            log: std::mem::take(&mut state.log.lines),
            alarms: std::mem::take(&mut state.alarms.lines),
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
        let before = state.stage();
        bytes.iter().for_each(|byte| state.take(*byte));
        if state.stage() != before {
            self.0.stages.notify_all();
        }
        state.put_out(&self.0, false);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Ends the command, if it is to end, once nobody has read what it prints for a while.
    fn be_patient(&self) {
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            std::thread::sleep(TICK);
            let blocked =
                !has_room(io::stdout().as_fd(), Duration::ZERO) || !has_room(io::stderr().as_fd(), Duration::ZERO);
            let ends = self.given_up.load(Ordering::Relaxed) != 0;
            waited = if ends && blocked { waited + TICK } else { Duration::ZERO };
        }
        std::process::exit(self.given_up.load(Ordering::Relaxed).into());
    }
}

/// Whether something can be written, or cannot but without waiting; waits so long for that.
fn has_room(file: BorrowedFd<'_>, wait: Duration) -> bool {
    let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    match poll(&mut [PollFd::from_borrowed_fd(file, PollFlags::OUT)], Some(&wait)) {
        Ok(ready) => ready > 0,
        Err(error) => error != Errno::INTR,
    }
}

impl State {
    fn new(view: View, raw: bool) -> Self {
        Self {
            view,
            raw,
            unmarked: false,
            logged: Stage::Boot,
            printed: Stage::Boot,
            line: Vec::new(),
            torn: String::new(),
            kernel: KernelLog::default(),
            held: false,
            shown: Vec::new(),
            log: Lines::new(MOST_KEPT),
            alarms: Lines::new(MOST_ALARMS),
            early: Lines::new(MOST_ALARMS),
            panic: None,
            unread: false,
        }
    }

    fn stage(&self) -> Stage {
        self.logged.max(self.printed)
    }

    fn take(&mut self, byte: u8) {
        if self.view == View::All {
            self.pass(byte);
        }
        if byte == b'\n' {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line);
            return;
        }
        self.line.push(byte);
        if self.line.len() >= LONGEST_LINE {
            let rest = self.line.split_off(LONGEST_LINE - UNTORN);
            let line = std::mem::replace(&mut self.line, rest);
            self.end_line(&line);
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

    /// A line of the console: the kernel's, what a program prints, or the kernel's in the middle of a program's. (The kernel keeps
    /// its own lines whole.)
    fn end_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        let Some(at) = self.kernel.find(line) else {
            let line = std::mem::take(&mut self.torn) + line;
            return self.end_printed(line.trim_end_matches('\r'));
        };
        self.torn.push_str(&line[..at]);
        if self.torn.len() >= LONGEST_LINE {
            let torn = std::mem::take(&mut self.torn);
            self.end_printed(&torn);
        }
        self.end_logged(&line[at..]);
    }

    /// What there is of a line when nothing more comes.
    fn end_last_line(&mut self) {
        if !self.line.is_empty() || !self.torn.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line);
        }
        let torn = std::mem::take(&mut self.torn);
        if !torn.is_empty() {
            self.end_printed(torn.trim_end_matches('\r'));
        }
        if self.logged == Stage::Boot {
            self.alarms.lines.append(&mut self.early.lines);
        }
    }

    /// A line of the kernel's log.
    fn end_logged(&mut self, line: &str) {
        if let Some(mark) = Mark::find(line) {
            self.logged = self.logged.max(mark.stage);
            return;
        }
        if line.contains("Kernel panic - not syncing") {
            self.panic.get_or_insert_with(|| without_time(line).to_owned());
        }
        if is_alarm(line) {
            if self.unmarked || self.logged > Stage::Boot {
                self.alarms.push(line, |line| line);
            } else if self.printed > Stage::Boot {
                self.early.push(line, |line| line);
            }
        }
        self.keep(self.logged, line);
    }

    /// A line that a program printed.
    fn end_printed(&mut self, line: &str) {
        // What begins a stage that has begun is no mark, but a command's print of the kernel's log.
        let Some(mark) = Mark::find(line).filter(|mark| mark.stage > self.printed) else {
            return self.keep(self.printed, line);
        };
        if !mark.before.is_empty() {
            self.keep(self.printed, mark.before);
        }
        self.printed = mark.stage;
        if !mark.after.is_empty() {
            self.keep(self.printed, mark.after);
        }
    }

    fn keep(&mut self, stage: Stage, line: &str) {
        if self.view == View::Work && stage.is_work() {
            self.shown.extend_from_slice(line.as_bytes());
            self.shown.push(b'\n');
        }
        self.log.push(line, |line| (stage, line));
    }

    /// Writes what is to be shown to standard output. Unless this is the `last` time, what nobody reads is left when the machine is to
    /// end.
    fn put_out(&mut self, shared: &Shared, last: bool) {
        let stdout = io::stdout();
        let mut written = 0;
        while written < self.shown.len() && !self.unread && self.view != View::Nothing {
            if !has_room(stdout.as_fd(), TICK) {
                if !last && shared.given_up.load(Ordering::Relaxed) != 0 {
                    break;
                }
                continue;
            }
            let end = self.shown.len().min(written + AT_ONCE);
            match rustix::io::write(stdout.as_fd(), &self.shown[written..end]) {
                Ok(count) => written += count,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => {
                    self.unread = true;
                    if error == Errno::PIPE {
                        shared.gone.store(true, Ordering::Relaxed);
                        shared.machine.get().inspect(|machine| machine.stop());
                    }
                }
            }
        }
        if self.unread || self.view == View::Nothing {
            self.shown.clear();
        } else {
            self.shown.drain(..written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(view: View, raw: bool, bytes: &[u8]) -> State {
        let mut state = State::new(view, raw);
        bytes.iter().for_each(|byte| state.take(*byte));
        state
    }

    fn shown(view: View, raw: bool, bytes: &[u8]) -> (String, State) {
        let mut state = state(view, raw, bytes);
        state.end_last_line();
        (String::from_utf8(std::mem::take(&mut state.shown)).unwrap(), state)
    }

    /// Both marks of a stage.
    fn marks(at: &str, words: &str) -> String {
        format!("{}\r\n[    {at}] {}\r\n", mark(words), mark(words))
    }

    #[test]
    fn only_the_work_is_shown_and_all_is_kept() {
        let (begin, end) = (marks("0.200000", BEGIN), marks("0.400000", END));
        let log = format!(
            "[    0.100000] booting\r\n{begin}[    0.300000] edu: here\r\nhello\r\n{end}[    0.500000] reboot: Power down\r\n"
        );

        let (text, state) = shown(View::Work, false, log.as_bytes());

        assert_eq!(text, "[    0.300000] edu: here\nhello\n");
        let log = state.log.lines;
        assert_eq!(log[0], (Stage::Boot, "[    0.100000] booting".to_owned()));
        assert_eq!(log[3], (Stage::End, "[    0.500000] reboot: Power down".to_owned()));
    }

    #[test]
    fn nothing_that_commands_print_is_lost_however_late_the_kernels_log_is() {
        let printed = format!("{}\r\nfirst\r\nsecond\r\n{}\r\n", mark(BEGIN), mark(END));
        let logged = [
            "[    1.000000] boot\r\n".to_owned(),
            format!("[    2.000000] {}\r\n", mark(BEGIN)),
            "[    3.000000] edu: here\r\n".to_owned(),
            format!("[    4.000000] {}\r\n", mark(END)),
        ];
        // The kernel's lines come at any place, torn into what is printed, each before or after the others.
        for from in 0..=printed.len() {
            for step in [0, 1, 7, printed.len()] {
                let at = |line: usize| (from + line * step).min(printed.len());
                let mut log = printed[..at(0)].to_owned();
                for (index, line) in logged.iter().enumerate() {
                    log += line;
                    log += if index + 1 < logged.len() {
                        &printed[at(index)..at(index + 1)]
                    } else {
                        &printed[at(index)..]
                    };
                }
                let (text, state) = shown(View::Work, false, log.as_bytes());
                let mut lines: Vec<_> = text.lines().collect();
                lines.sort_unstable();
                assert_eq!(lines, ["[    3.000000] edu: here", "first", "second"], "{log}");
                assert_eq!((state.stage(), state.alarms.lines.len()), (Stage::End, 0));
            }
        }
    }

    #[test]
    fn everything_is_shown_byte_by_byte_and_a_terminal_gets_its_carriage_returns() {
        assert_eq!(shown(View::All, false, b"a\r\nb\rc\r\n# ").0, "a\nb\rc\n# ");
        assert_eq!(shown(View::All, true, b"a\r\n# ").0, "a\r\n# ");
    }

    #[test]
    fn alarms_are_those_of_the_work_and_a_panic_counts_whenever_it_comes() {
        let begin = marks("0.500000", BEGIN);
        let log = format!(
            "[    0.100000] WARNING: at boot\n{begin}[    1.000000] BUG: in the driver\n[    2.000000] DMA-API: preallocated 1\n"
        );
        let (_, state) = shown(View::Nothing, false, log.as_bytes());
        assert_eq!(state.alarms.lines, ["[    1.000000] BUG: in the driver"]);
        assert_eq!(state.panic, None);
        let (_, state) = shown(View::Nothing, false, b"[    0.500000] Kernel panic - not syncing: no init\n");
        assert_eq!(state.panic.as_deref(), Some("Kernel panic - not syncing: no init"));
    }

    #[test]
    fn alarms_of_a_guest_without_our_init_count_from_the_first_line() {
        let mut state = State::new(View::All, false);
        state.unmarked = true;
        b"[    0.100000] WARNING: at boot\nWARNING: by a program\n".iter().for_each(|byte| state.take(*byte));
        assert_eq!(state.alarms.lines, ["[    0.100000] WARNING: at boot"]);
    }

    #[test]
    fn what_commands_print_is_not_judged_as_the_kernels_nor_is_its_log_printed_again() {
        let (begin, run) = (marks("0.500000", BEGIN), marks("0.600000", LOADED));
        let old = "[    0.100000] WARNING: at boot\r\n";
        let mark = format!("[    0.500000] {}\r\n", mark(BEGIN));
        let log = format!("{old}{begin}{run}Kernel panic - not syncing: x\r\nBUG: y\r\n{old}{mark}Call Trace:\r\n");
        let (text, state) = shown(View::Work, false, log.as_bytes());
        assert_eq!((state.alarms.lines.len(), state.panic), (0, None));
        // All of it is the commands' output.
        assert_eq!(
            text.replace('\n', "\r\n"),
            format!("Kernel panic - not syncing: x\r\nBUG: y\r\n{old}{mark}Call Trace:\r\n")
        );
    }

    #[test]
    fn alarm_that_the_kernel_prints_into_a_commands_line_is_one() {
        let log = format!("{}half[    1.000000] BUG: z\r\n a line\r\n", marks("0.500000", BEGIN));
        let (text, state) = shown(View::Work, false, log.as_bytes());
        assert_eq!(state.alarms.lines, ["[    1.000000] BUG: z"]);
        assert_eq!(text, "[    1.000000] BUG: z\nhalf a line\n");
    }

    #[test]
    fn mark_of_another_run_is_what_a_command_prints() {
        let other = mark(END).replace(&super::super::init::token().to_string(), "1x");
        let log = format!("{}{other}\nsay '{END}'\nmore\n", marks("0.500000", BEGIN));
        assert_eq!(shown(View::Work, false, log.as_bytes()).0, format!("{other}\nsay '{END}'\nmore\n"));
    }

    #[test]
    fn output_that_does_not_end_its_line_is_not_lost_to_a_mark_however_long_it_is() {
        for length in (0..3 * LONGEST_LINE).step_by(101).chain(LONGEST_LINE - 60..LONGEST_LINE + 60) {
            let log = format!("{}{}{}", marks("0.200000", BEGIN), "x".repeat(length), marks("0.300000", END));
            let (text, state) = shown(View::Work, false, log.as_bytes());
            assert_eq!((text.replace('\n', "").len(), state.stage()), (length, Stage::End), "{length}");
        }
    }

    #[test]
    fn kernel_whose_log_says_nothing_of_the_work_is_judged_all_the_same() {
        let log = format!("{}\n{}\n[    1.000000] BUG: x\n", mark(BEGIN), mark(LOADED));
        assert_eq!(shown(View::Work, false, log.as_bytes()).1.alarms.lines.len(), 1);
        // One that is only late says that it was not of the work.
        let log = format!("{log}[    2.000000] {}\n", mark(BEGIN));
        assert_eq!(shown(View::Work, false, log.as_bytes()).1.alarms.lines.len(), 0);
    }

    #[test]
    fn lines_do_not_grow_for_ever_and_neither_does_their_number() {
        let state = state(View::Nothing, false, &vec![b'x'; 100_000]);
        assert!(state.line.len() < LONGEST_LINE);
        let mut lines = Lines::new((100, 10));
        (0..1000).for_each(|_| lines.push("", |line| line));
        assert_eq!((lines.lines.len(), lines.lines.last().unwrap().contains("no more")), (11, true));
        let mut lines = Lines::new((100, 10));
        (0..1000).for_each(|_| lines.push(&"x".repeat(60), |line| line));
        assert_eq!(lines.lines.len(), 3);
    }
}
