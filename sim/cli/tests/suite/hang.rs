//! Lives that do not end by themselves: a driver in a loop of its own, and a user who has seen enough.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::Room;
use serde_json::json;

fn spins() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/spins.rs").display().to_string()
}

/// Short, but long enough for a busy machine to get through a healthy life.
const PATIENCE: [(&str, &str); 1] = [("BRINGUP_PATIENCE_MS", "3000")];

#[test]
fn driver_in_a_loop_of_its_own_is_ended_and_named() {
    let room = Room::new();
    for (param, log, stage) in
        [("", "", "loaded"), (" --param late=1", "[    0.000000] spins: going round\n", "unloaded")]
    {
        let said = room.bringup_with(&format!("run {}{param}", spins()), &PATIENCE);
        assert_eq!((said.status, &*said.out), (1, log));
        let line = format!("error: {} hangs: it has run for 3 seconds while being {stage}", spins());
        assert!(said.err.starts_with(&line) && said.err.lines().count() == 1, "{}", said.err);
    }
    assert!(room.names().is_empty());
}

#[test]
fn driver_in_a_loop_of_its_own_is_a_finding_in_json() {
    let report = Room::new().bringup_with(&format!("run {} --json", spins()), &PATIENCE).json();
    assert_eq!((&report["exit"], &report["crashed"]), (&json!(1), &json!(true)));
    assert_eq!(report["findings"][0]["rule"], "watchdog-lockup");
    assert_eq!(report["reproduce"], format!("bringup run {}", spins()));
}

#[test]
fn healthy_driver_is_left_alone_by_a_short_patience() {
    let said = Room::new().bringup_with("run edu --seed 4", &PATIENCE);
    assert_eq!((said.status, &*said.err), (0, ""));
}

/// The same command with the signals as a terminal has them: what runs in the background inherits that they are ignored.
fn listening(command: &Command) -> Command {
    let mut through = Command::new("env");
    through.arg("--default-signal=INT,TERM").arg(command.get_program()).args(command.get_args());
    through.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        through.current_dir(directory);
    }
    through
}

#[test]
fn interrupted_run_ends_by_the_signal_and_leaves_no_file() {
    for (signal, number) in [("-INT", 2), ("-TERM", 15)] {
        let room = Room::new();
        let arguments = format!("run {} --param late=1 --trace trace.txt --save-choices life", spins());
        let mut child =
            listening(&room.command(&arguments)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.contains("going round"), "{line}");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(number));
        assert!(room.names().is_empty(), "{:?}", room.names());
    }
}
