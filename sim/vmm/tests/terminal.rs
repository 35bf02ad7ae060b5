//! A terminal gets its settings back whatever becomes of the process that had it in raw mode. That process is this program again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use bringup_vmm::Terminal;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Termios, tcgetattr};

const CASE: &str = "BRINGUP_TERMINAL_CASE";

/// A terminal of which we are the keyboard and the screen.
struct Pty {
    master: File,
    /// Its settings from before.
    old: Termios,
}

impl Pty {
    /// A new one, with a process that has it in raw mode and then does what the case says.
    fn with(case: &str) -> (Self, Child, BufReader<std::process::ChildStdout>) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let this = Self { old: tcgetattr(&slave).unwrap(), master: master.into() };
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["case_in_a_process_of_its_own", "--exact", "--nocapture"]).env(CASE, case);
        let mut child = child.stdin(slave).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        assert!(says(&mut lines, "raw"), "{case}");
        (this, child, lines)
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn is_as_before(&self) -> bool {
        let now = tcgetattr(&self.master).unwrap();
        (now.input_modes, now.output_modes, now.control_modes, now.local_modes)
            == (self.old.input_modes, self.old.output_modes, self.old.control_modes, self.old.local_modes)
    }

    /// Waits until no process has the terminal open any more: its guardian is gone too.
    fn wait_for_all(&mut self) {
        while self.master.read(&mut [0; 64]).is_ok_and(|len| len != 0) {}
    }
}

/// Reads lines until one is this, or all were read.
fn says(lines: &mut impl BufRead, wanted: &str) -> bool {
    lines.lines().map_while(Result::ok).any(|line| line.ends_with(wanted))
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn case_in_a_process_of_its_own() {
    let Ok(case) = std::env::var(CASE) else { return };
    let terminal = Terminal::raw(std::io::stdin().as_fd()).unwrap().unwrap();
    println!("\nraw");
    let key = || {
        let mut key = [0];
        rustix::io::read(std::io::stdin(), &mut key).map(|_| key[0])
    };
    match case.as_str() {
        "drop" => drop(terminal),
        "panic" => {
            let _held = terminal;
            panic!("as it was asked to");
        }
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        "filter" => {
            bringup_vmm::seccomp::Filter::new(bringup_vmm::seccomp::Role::Console).unwrap().install().unwrap();
            drop(File::open("/etc/passwd"));
        }
        // It waits for the test.
        "wait" => while key().is_ok() {},
        "keys" => {
            for _ in 0..2 {
                println!("\nkey {}", key().unwrap());
            }
            drop(terminal);
        }
        other => panic!("no case {other:?}"),
    }
}

#[test]
fn settings_are_back_after_every_end_of_the_process() {
    let filter = bringup_vmm::seccomp::is_available().then_some("filter");
    for case in ["drop", "panic", "exit", "abort"].into_iter().chain(filter) {
        let (mut pty, mut child, _lines) = Pty::with(case);
        child.wait().unwrap();
        pty.wait_for_all();
        assert!(pty.is_as_before(), "{case}");
    }
}

#[test]
fn settings_are_back_after_a_signal_that_ends_the_process_even_one_that_it_cannot_see() {
    for signal in [Signal::KILL, Signal::QUIT, Signal::TERM, Signal::INT, Signal::HUP, Signal::SYS] {
        let (mut pty, mut child, _lines) = Pty::with("wait");
        assert!(pty.is_raw());
        kill_process(pid(&child), signal).unwrap();
        child.wait().unwrap();
        pty.wait_for_all();
        assert!(pty.is_as_before(), "{signal:?}");
    }
}

#[test]
fn keys_come_at_once_unechoed_and_output_stays_processed() {
    let (mut pty, mut child, mut lines) = Pty::with("keys");
    assert!(tcgetattr(&pty.master).unwrap().output_modes.contains(OutputModes::OPOST));
    // Ctrl-C is a key.
    pty.master.write_all(b"\x03").unwrap();
    assert!(says(&mut lines, "key 3"));
    pty.master.write_all(b"x").unwrap();
    assert!(says(&mut lines, "key 120"));
    assert!(child.wait().unwrap().success());
    let mut echoed = Vec::new();
    let _ = pty.master.read_to_end(&mut echoed);
    assert_eq!(echoed, b"");
}

#[test]
fn stopped_process_lets_go_of_the_terminal_and_takes_it_again() {
    let (mut pty, mut child, mut lines) = Pty::with("keys");
    for key in [b'a', b'b'] {
        kill_process(pid(&child), Signal::TSTP).unwrap();
        let (_, status) = waitpid(Some(pid(&child)), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped() && pty.is_as_before());
        kill_process(pid(&child), Signal::CONT).unwrap();
        // Without an end of a line.
        pty.master.write_all(&[key]).unwrap();
        assert!(says(&mut lines, &format!("key {key}")));
    }
    assert!(child.wait().unwrap().success());
    pty.wait_for_all();
    assert!(pty.is_as_before());
}

#[test]
fn terminal_that_another_has_set_meanwhile_is_left_as_it_is() {
    let (mut pty, mut child, _lines) = Pty::with("wait");
    let mut settings = tcgetattr(&pty.master).unwrap();
    settings.local_modes |= LocalModes::ECHO;
    rustix::termios::tcsetattr(&pty.master, rustix::termios::OptionalActions::Now, &settings).unwrap();
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    pty.wait_for_all();
    assert!(pty.is_raw() && tcgetattr(&pty.master).unwrap().local_modes.contains(LocalModes::ECHO));
}
