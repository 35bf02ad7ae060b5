//! `bringup vm`: the device models under a real kernel, in a machine of our own.

pub(crate) mod args;
pub(crate) mod boot;
mod report;
pub(crate) mod verdict;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use bringup_core::{Finding, Plan, Severity};
use bringup_devices::registry::Workshop;
use bringup_vmm::{Input, Terminal, seccomp};

use crate::failure::{Failure, check_regular, complain, read_regular, read_text, reason, remark};
use crate::guest::console::{Console, Stage, View};
use crate::guest::{Channel, Guest, Purpose};
use crate::life::PlanText;
use crate::output::Out;
use crate::trace_file::TraceFile;
use args::{VmArgs, check_devices, check_socket};
use boot::Boot;
use report::VmReport;
use verdict::Verdict;

/// The kernel's command line, before what the user adds: a guest that panics reboots, which ends the machine; lines of its log are told
/// by their time.
pub(crate) const COMMAND_LINE: &str = "console=ttyS0 panic=-1 printk.time=1";

/// How many of the last lines of a guest that did not get to its work are shown.
const LAST_LINES: usize = 40;

/// Does what `bringup vm …` asks for.
///
/// # Errors
/// When there can be no such machine on this host, or something that it is made of cannot be used.
pub(crate) fn vm(args: &VmArgs, out: &mut Out) -> Result<u8, Failure> {
    let trace = args.trace.as_deref().map(TraceFile::new).transpose()?;
    if let Some(trace) = &trace {
        trace.check_devices(args.device.iter().map(String::as_str))?;
    }
    let plan = match &args.plan {
        Some(path) => {
            check_regular(path)?;
            PlanText { given: path.display().to_string(), text: read_text(path)? }.parse()?
        }
        None => Plan::default(),
    };
    // Before anything is made for it.
    check_regular(&args.kernel)?;
    let readable = File::open(&args.kernel).and_then(|mut kernel| kernel.read(&mut [0]));
    readable.map_err(|error| Failure::file("read", &args.kernel, &error))?;
    check_devices(&args.device)?;
    args.gdb.as_deref().map(check_socket).transpose()?;
    trace.as_ref().map(TraceFile::check_place).transpose()?;
    let purpose = args.purpose();
    let typist = Typist::of(purpose, io::stdin().is_terminal(), out.is_json())?;
    let (initrd, more) = args.initrd(purpose)?;
    // With commands it is the work that is wanted, not how the kernel boots.
    let whole = out.verbose || !matches!(purpose, Some(Purpose::Commands(_)));
    let view = match (out.is_json(), whole) {
        (true, _) => View::Nothing,
        (false, true) => View::All,
        (false, false) => View::Work,
    };
    let console = Console::new(view, io::stdin().is_terminal() && io::stdout().is_terminal());
    let console = if purpose.is_none() { console.without_init() } else { console };
    let Typed { input, raw } = typist.input(&console)?;
    let workshop = Workshop::new();
    let boot = Boot {
        kernel: &args.kernel,
        initrd,
        command_line: args.command_line(&more),
        memory: args.memory,
        cpus: args.cpus,
        devices: &args.device,
        workshop: &workshop,
        plan,
        seed: args.seed,
        traced: trace.is_some(),
        console: console.clone(),
        input,
        timeout: args.timeout,
        doorbells: !args.no_doorbells,
        seccomp: filters(args.no_seccomp),
        gdb: args.gdb.as_deref(),
    };
    let ended = boot.run()?;
    drop(raw);
    // Files come before what somebody may not read.
    let mut failures: Vec<Failure> = workshop.notices().take().into_iter().map(Failure::Line).collect();
    let bus = &ended.outcome.bus;
    if let Some(trace) = &trace {
        let devices: Vec<String> = bus.devices().map(|id| bus.port(id).name().to_owned()).collect();
        if let Err(failure) = trace.write(bus.fabric.trace.records(), &devices, &out.paths) {
            failures.push(failure);
        }
    }
    let shown = console.finish();
    let verdict = Verdict::of(&ended, &shown, purpose);
    let mut talked = shown.log.iter().any(|(stage, _)| whole || stage.is_work());
    if view == View::Work && verdict.line.is_some() && !shown.stage.is_work() {
        talked = true;
        let boot: Vec<&str> = shown.log.iter().filter(|(stage, _)| !stage.is_work()).map(|(_, line)| &**line).collect();
        boot.iter().skip(boot.len().saturating_sub(LAST_LINES)).for_each(|line| out.line(line));
    }
    let found = has_errors(&bus.fabric.findings) || !shown.alarms.is_empty();
    let exit = if failures.is_empty() { verdict.with_findings(found) } else { 2 };
    if talked {
        out.line("");
    }
    VmReport::new(args, &ended, &shown, &verdict, exit, whole).print(out);
    verdict.trouble().iter().for_each(|line| complain(line));
    failures.iter().for_each(|failure| complain(&failure.to_string()));
    Ok(exit)
}

/// Whether the machine's threads are put under their filters: unless the user says no, or the host's kernel has none, which is a
/// developer's own then.
pub(crate) fn filters(no_seccomp: bool) -> bool {
    let can = seccomp::is_available();
    if !can && !no_seccomp {
        remark(
            "this host's kernel has no seccomp filters (CONFIG_SECCOMP_FILTER): the machine runs without them, as with --no-seccomp",
        );
    }
    can && !no_seccomp
}

/// Whether a rule was violated; advice does not count.
pub(crate) fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.rule.severity != Severity::Advice)
}

impl VmArgs {
    /// What our init is for, if one is needed.
    fn purpose(&self) -> Option<Purpose<'_>> {
        match &self.run {
            Some(commands) => Some(Purpose::Commands(commands)),
            None if self.module.is_empty() && self.share.is_empty() => None,
            None => Some(Purpose::Shell),
        }
    }

    /// The first file system, and what the kernel's command line needs for it.
    fn initrd(&self, purpose: Option<Purpose<'_>>) -> Result<(Vec<u8>, String), Failure> {
        let mut initrd = self.initrd.as_deref().map(read_regular).transpose()?.unwrap_or_default();
        let Some(purpose) = purpose else {
            if let Some(busybox) = &self.busybox {
                return Err(Failure::new(format_args!(
                    "nothing has a use for the busybox {}: there is no --run, --module or --share",
                    busybox.display()
                )));
            }
            return Ok((initrd, String::new()));
        };
        let guest = Guest {
            busybox: self.busybox.clone(),
            modules: &self.module,
            shares: &self.share,
            purpose,
            taken: &[],
            unloads: false,
            channel: Channel::Serial,
            beside: self.initrd.is_some(),
            most: self.memory,
        };
        // Linux unpacks one archive after the other; an uncompressed one begins at a multiple of four.
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend(guest.archive()?);
        Ok((initrd, guest.command_line()))
    }

    /// The kernel's command line, with `more` before the user's own words.
    fn command_line(&self, more: &str) -> String {
        let quiet = if self.run.is_some() { "quiet loglevel=7" } else { "" };
        let words = [COMMAND_LINE, quiet, more].into_iter().chain(self.cmdline.iter().map(String::as_str));
        words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// What is typed into the console.
#[derive(Debug, Default)]
struct Typed {
    input: Option<Input>,
    /// The terminal that it comes from: as it was when this is dropped.
    raw: Option<Terminal>,
}

/// Who types into the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typist {
    /// Nobody: a guest that runs commands has no terminal, so that Ctrl-C ends it as it does any other command.
    Nobody,
    /// Whoever is at the terminal.
    Terminal,
    /// Whatever reads the console of the user's own guest gets the bytes as they come.
    File,
    /// Our init's guest gets them when there is somebody to read them, and is told of their end.
    Pipe,
}

impl Typist {
    /// Who types where standard input is a `terminal` or not.
    fn of(purpose: Option<Purpose<'_>>, terminal: bool, json: bool) -> Result<Self, Failure> {
        match (purpose, terminal) {
            (Some(Purpose::Shell), true) if json => Err(Failure::new(
                "with --json nothing of the console is shown, so nobody can use its shell at a terminal: \
                 give commands by --run, or by a file or a pipe as standard input",
            )),
            (Some(Purpose::Commands(_)), true) => Ok(Self::Nobody),
            (None, true) if json => Ok(Self::Nobody),
            (_, true) => Ok(Self::Terminal),
            (None, false) => Ok(Self::File),
            (Some(_), false) => Ok(Self::Pipe),
        }
    }

    /// What is typed into the console.
    fn input(self, console: &Console) -> Result<Typed, Failure> {
        let refused = |error: io::Error| Failure::new(format_args!("cannot read standard input: {}", reason(&error)));
        let stdin = io::stdin();
        let file = || stdin.as_fd().try_clone_to_owned().map_err(refused);
        match self {
            Self::Nobody => Ok(Typed::default()),
            Self::Terminal => {
                let file = file()?;
                let raw = Terminal::raw(stdin.as_fd()).map_err(refused)?;
                if raw.is_some() {
                    eprintln!("Ctrl-A x ends the machine");
                }
                Ok(Typed { input: Some(Input { file, escape: true }), raw })
            }
            Self::File => Ok(Typed { input: Some(Input { file: file()?, escape: false }), raw: None }),
            Self::Pipe => {
                // While a kernel sets its serial port up it throws away what has come: a pipe's bytes wait until there is somebody to
                // read them.
                let (reader, writer) = io::pipe().map_err(refused)?;
                let console = console.clone();
                let typist = move || {
                    console.wait_for(Stage::Run);
                    // It ends with the machine.
                    let _ = type_all(io::stdin().lock(), writer, END_AGAIN);
                };
                // Nobody waits for it: it may sit at an input that never ends.
                std::thread::Builder::new().name("typist".into()).spawn(typist).map_err(refused)?;
                Ok(Typed { input: Some(Input { file: reader.into(), escape: false }), raw: None })
            }
        }
    }
}

/// Ctrl-D, by which a terminal tells whoever reads from it that nothing more comes.
const NO_MORE: u8 = 4;
/// It is said to one reader, and the next one asks again: a shell, after the program that it ran.
const END_AGAIN: Duration = Duration::from_millis(500);

/// Types all that is read, and then that it ended, as often as somebody may ask, until nobody takes it.
fn type_all(mut from: impl Read, mut to: impl Write, again: Duration) -> io::Result<()> {
    let (mut buffer, mut last) = ([0; 4096], b'\n');
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What cannot be read on has ended as well.
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        to.write_all(&buffer[..count])?;
        last = buffer[count - 1];
    }
    if !matches!(last, b'\n' | b'\r') {
        // In the middle of a line Ctrl-D means something else.
        to.write_all(b"\n")?;
    }
    loop {
        to.write_all(&[NO_MORE])?;
        std::thread::sleep(again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes.
    struct Guest<'a>(&'a mut Vec<u8>, usize);

    impl Write for Guest<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn end_of_what_is_typed_is_said_behind_it_until_nobody_takes_it() {
        for (typed, taken) in
            [("", "\x04\x04"), ("ls\n", "ls\n\x04\x04"), ("ls", "ls\n\x04\x04"), ("ls\r", "ls\r\x04\x04")]
        {
            let mut got = Vec::new();
            let gone = type_all(typed.as_bytes(), Guest(&mut got, taken.len()), Duration::ZERO);
            assert_eq!((gone.is_err(), &*got), (true, taken.as_bytes()), "{typed:?}");
        }
    }

    #[test]
    fn shell_that_nobody_could_see_is_refused_at_a_terminal() {
        let refusal = Typist::of(Some(Purpose::Shell), true, true).unwrap_err().to_string();
        assert!(refusal.contains("give commands by --run"), "{refusal}");
        let of = |purpose, terminal, json| Typist::of(purpose, terminal, json).unwrap();
        assert_eq!(of(Some(Purpose::Shell), false, true), Typist::Pipe);
        assert_eq!(of(Some(Purpose::Shell), true, false), Typist::Terminal);
        assert_eq!(of(Some(Purpose::Commands("")), true, false), Typist::Nobody);
        assert_eq!((of(None, true, false), of(None, true, true)), (Typist::Terminal, Typist::Nobody));
        assert_eq!(of(None, false, false), Typist::File);
    }
}
