//! The door of QEMU: software emulation, and QEMU's own devices.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Result;
use crate::args::UpstreamArgs;
use crate::failure::{Failure, reason};
use crate::guest::console::{Mark, is_alarm};
use crate::guest::{Channel, Guest, Purpose, status_on_console};

/// QEMU's machine has so much memory, in MiB.
const MEMORY: &str = "256";

impl UpstreamArgs {
    /// Builds the module, boots the tree's kernel under QEMU with the devices, loads the module, runs the commands, unloads it.
    /// Prints the guest's log; `true` if no alarm was in it and the commands succeeded.
    pub(super) fn boot_qemu(&self, work: &Path, out: &mut dyn Write) -> Result<bool> {
        let module = self.build(work)?;
        let image = self.image()?;
        let initrd = work.join("initrd.cpio");
        let guest = Guest {
            busybox: self.busybox.clone(),
            modules: &[module],
            shares: &self.file,
            purpose: Purpose::Commands(self.run.as_deref().unwrap_or(":")),
            taken: &[],
            unloads: true,
            channel: Channel::Console,
            beside: false,
            most: 256 << 20,
        };
        fs::write(&initrd, guest.archive()?).map_err(|error| Failure::file("write", &initrd, &error))?;
        let mut qemu = Command::new(std::env::var_os("BRINGUP_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into()));
        qemu.args(["-M", "q35,accel=tcg", "-m", MEMORY, "-nographic", "-no-reboot", "-kernel"]).arg(image);
        qemu.arg("-initrd").arg(&initrd);
        qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 quiet loglevel=7 {}", self.append));
        for drive in &self.drive {
            qemu.args(["-drive", drive]);
        }
        for device in &self.device {
            qemu.args(["-device", device]);
        }
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| {
            let program = qemu.get_program().to_string_lossy();
            Failure::new(format_args!(
                "cannot run {program}: {}; install QEMU or name it in BRINGUP_QEMU",
                reason(&error)
            ))
        })?;
        let console = child.stdout.take();
        let outcome = console.map(|console| watch(console, out)).unwrap_or_default();
        // The guest powers off by itself; one that hangs after its last line is ended here.
        if outcome.status.is_some() {
            let _ = child.kill();
        }
        let _ = child.wait();
        match outcome.status {
            None if outcome.begun => Err(Failure::new("the guest ended before its commands did")),
            None => Err(Failure::new(
                "the guest never reached its init; the kernel needs PVH or bzImage, a serial console and initramfs support",
            )),
            Some(0) => Ok(!outcome.alarmed),
            Some(code) => {
                let _ = writeln!(out, "the commands in the guest ended with status {code}");
                Ok(false)
            }
        }
    }
}

/// What the guest's console showed.
#[derive(Default)]
struct Outcome {
    begun: bool,
    alarmed: bool,
    status: Option<i32>,
}

/// Prints what the guest says once its init runs, until it says how its commands ended.
fn watch(console: impl io::Read, out: &mut dyn Write) -> Outcome {
    let mut outcome = Outcome::default();
    for line in BufReader::new(console).split(b'\n').map_while(io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if let Some(code) = status_on_console(line) {
            outcome.status = Some(code);
            break;
        }
        let line = match Mark::find(line) {
            Some(mark) => {
                outcome.begun = true;
                mark.before
            }
            None => line,
        };
        if outcome.begun && !line.is_empty() {
            outcome.alarmed |= is_alarm(line);
            // A reader that is gone does not stop the guest.
            let _ = writeln!(out, "{line}");
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_work_is_printed_and_the_status_ends_it() {
        let token = std::process::id();
        let console = format!(
            "[ 0.1] BUG: at boot\r\n[ 0.2] --- bringup {token}: the guest begins ---\r\n[ 0.3] edu: here\r\n\r\n\
             half[ 0.4] --- bringup {token}: the commands are over ---\r\n--- bringup {token}: status 3\r\nmore\r\n"
        );
        let mut out = Vec::new();

        let outcome = watch(console.as_bytes(), &mut out);

        assert_eq!((outcome.begun, outcome.alarmed, outcome.status), (true, false, Some(3)));
        assert_eq!(out, b"[ 0.3] edu: here\nhalf\n");
    }
}
