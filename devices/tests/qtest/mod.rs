//! QEMU as an oracle: a machine without a CPU, whose bus, memory and clock a test drives through qtest's text protocol.

#![allow(unreachable_pub, reason = "the test program includes it as a private module")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The environment variable that names the program.
const PROGRAM: &str = "BRINGUP_QEMU";
/// The PCI slot in which the device under test sits.
const SLOT: u32 = 4;

/// A machine that runs until it is dropped.
pub struct Qemu {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have died by itself, which the test that needed it has reported.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says on the terminal that a test does nothing, and why. It goes around the test harness, which would keep what a
/// passing test prints to itself.
pub fn skip(what: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {reason}");
}

impl Qemu {
    /// Starts QEMU's `pc` machine with `device`. `None`, said on the terminal, if there is no such program here.
    ///
    /// # Panics
    /// If `BRINGUP_QEMU` names a program that cannot do it: whoever sets that wants the test.
    pub fn start(device: &str) -> Option<Self> {
        let wanted = std::env::var_os(PROGRAM);
        let program = wanted.clone().unwrap_or_else(|| "qemu-system-x86_64".into());
        let problem = match Self::spawn(&program, device) {
            Ok(qemu) => return Some(qemu),
            Err(problem) => problem,
        };
        assert!(wanted.is_none(), "{PROGRAM}={}: {problem}", program.to_string_lossy());
        skip("qemu differential", &format!("{}: {problem} (set {PROGRAM})", program.to_string_lossy()));
        None
    }

    fn spawn(program: &std::ffi::OsStr, device: &str) -> Result<Self, String> {
        let device = format!("{device},addr={SLOT}");
        let mut child = Command::new(program)
            .args(["-M", "pc", "-accel", "qtest", "-m", "64", "-display", "none", "-nodefaults"])
            .args(["-qtest", "stdio", "-qtest-log", "none", "-device", &device])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("its standard input and output are not pipes".into());
        };
        let mut qemu = Self { child, input, output: BufReader::new(output) };
        qemu.ask("inl 0xcf8").map(|_| qemu)
    }

    /// Sends a command; gives what follows the `OK`.
    fn ask(&mut self, command: &str) -> Result<String, String> {
        let sent = writeln!(self.input, "{command}").and_then(|()| self.input.flush());
        let mut line = String::new();
        while sent.is_ok() && self.output.read_line(&mut line).is_ok_and(|len| len > 0) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("OK") => return Ok(words.next().unwrap_or("").into()),
                Some("ERR" | "FAIL") => return Err(format!("{command}: {}", line.trim())),
                // Something that a device of an older QEMU prints.
                _ => line.clear(),
            }
        }
        let mut why = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut why);
        }
        Err(format!("it ended at \"{command}\": {}", why.trim()))
    }

    fn tell(&mut self, command: &str) {
        self.ask(command).unwrap();
    }

    fn value(&mut self, command: &str) -> u64 {
        let answer = self.ask(command).unwrap();
        u64::from_str_radix(answer.trim_start_matches("0x"), 16).unwrap()
    }

    fn select(&mut self, at: u16) -> u32 {
        self.tell(&format!("outl 0xcf8 {:#x}", 0x8000_0000 | SLOT << 11 | u32::from(at & !3)));
        0xcfc + u32::from(at & 3)
    }

    pub fn config_read(&mut self, at: u16, width: u8) -> u32 {
        let port = self.select(at);
        self.value(&format!("in{} {port:#x}", letter(width))) as u32
    }

    pub fn config_write(&mut self, at: u16, width: u8, value: u32) {
        let port = self.select(at);
        self.tell(&format!("out{} {port:#x} {value:#x}", letter(width)));
    }

    pub fn memory_read(&mut self, at: u64, width: u8) -> u64 {
        self.value(&format!("read{} {at:#x}", letter(width)))
    }

    pub fn memory_write(&mut self, at: u64, width: u8, value: u64) {
        self.tell(&format!("write{} {at:#x} {value:#x}", letter(width)));
    }

    pub fn port_read(&mut self, at: u64, width: u8) -> u64 {
        self.value(&format!("in{} {at:#x}", letter(width)))
    }

    pub fn port_write(&mut self, at: u64, width: u8, value: u64) {
        self.tell(&format!("out{} {at:#x} {value:#x}", letter(width)));
    }

    pub fn load(&mut self, at: u64, len: u64) -> Vec<u8> {
        let digits = self.ask(&format!("read {at:#x} {len:#x}")).unwrap();
        let pairs = digits.trim_start_matches("0x").as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    pub fn store(&mut self, at: u64, bytes: &[u8]) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.tell(&format!("write {at:#x} {:#x} 0x{digits}", bytes.len()));
    }

    /// Lets virtual time pass, and the devices' timers run.
    pub fn step(&mut self, nanos: u64) {
        self.tell(&format!("clock_step {nanos}"));
    }
}

fn letter(width: u8) -> char {
    match width {
        1 => 'b',
        2 => 'w',
        4 => 'l',
        _ => 'q',
    }
}
