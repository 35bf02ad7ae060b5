//! The command line of `bringup vm`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::args::number;
use crate::failure::Failure;
use crate::plug::PLATFORM;

/// What `bringup vm` takes.
#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    /// The kernel: vmlinux (an ELF file) or bzImage.
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: PathBuf,
    /// The first file system, an archive as Linux takes it; what --module, --share and --run make comes behind it.
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// More of the kernel's command line, which is "console=ttyS0 panic=-1 printk.time=1" (may be repeated).
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) cmdline: Vec<String>,
    /// The guest's memory, in MiB without a unit: 512, 512M, 2G.
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = size)]
    pub(crate) memory: u64,
    /// How many CPUs the guest has.
    #[arg(long, value_name = "N", default_value = "1", value_parser = cpus)]
    pub(crate) cpus: u8,
    /// Plug in a device: KIND or KIND,OPTION=VALUE,… (may be repeated).
    #[arg(long, value_name = "SPEC")]
    pub(crate) device: Vec<String>,
    /// Put a kernel module into the guest's /p and load it, before anything else runs (may be repeated).
    #[arg(long, value_name = "FILE")]
    pub(crate) module: Vec<PathBuf>,
    /// Put a file, or a directory with all that is in it, into the guest's /p, which is on its PATH (may be repeated).
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) share: Vec<PathBuf>,
    /// Run these commands in the guest, print its log meanwhile, and turn it off; else whoever is at the console gets a shell.
    #[arg(long, value_name = "COMMANDS", allow_hyphen_values = true)]
    pub(crate) run: Option<String>,
    /// A statically linked busybox for that; else the one on the PATH.
    #[arg(long, value_name = "FILE")]
    pub(crate) busybox: Option<PathBuf>,
    /// End the machine if it has not ended by itself after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Write the trace: .perfetto-trace or .json (for ui.perfetto.dev), .txt, .jsonl, .pcapng (packets).
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// What goes wrong in the machine (TOML; see bringup list faults).
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Where devices and faults have a choice, let chance decide.
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) seed: Option<u64>,
    /// Wait for gdb at a Unix socket (target remote SOCKET) before the guest's first instruction.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) gdb: Option<PathBuf>,
    /// Let the machine's threads make any system call.
    #[arg(long)]
    pub(crate) no_seccomp: bool,
    /// Let every doorbell stop the CPU that rings it.
    #[arg(long)]
    pub(crate) no_doorbells: bool,
}

/// Refuses devices that are no PCI devices.
///
/// # Errors
/// When there is one.
pub(crate) fn check_devices(specs: &[String]) -> Result<(), Failure> {
    let kind = |spec: &str| spec.split(',').next().unwrap_or_default().to_owned();
    match specs.iter().find(|spec| PLATFORM.iter().any(|platform| platform.name == kind(spec))) {
        None => Ok(()),
        Some(spec) => Err(Failure::new(format_args!(
            "cannot plug {spec} into a virtual machine: what its firmware tells of are PCI devices"
        ))),
    }
}

/// Refuses a place where no socket can be.
///
/// # Errors
/// When its path is longer than one of a socket may be, or its directory is not there.
pub(crate) fn check_socket(path: &Path) -> Result<(), Failure> {
    // `sun_path`, with a zero at its end.
    const LONGEST: usize = 107;
    let refuse = |why: String| Failure::new(format_args!("cannot make a socket for gdb at {}: {why}", path.display()));
    let len = path.as_os_str().as_bytes().len();
    if len > LONGEST {
        return Err(refuse(format!(
            "a socket's path has at most {LONGEST} bytes, and this one has {len}; name a shorter one"
        )));
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(refuse(format!("there is no directory {}", directory.display())));
    }
    if path.is_dir() {
        return Err(refuse("it is a directory".into()));
    }
    Ok(())
}

/// A size in bytes, of a number of MiB or one with a unit.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let refuse = || "it takes a number of MiB, or one with a unit: 512, 512M, 2G".to_owned();
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 20),
    };
    // The standard library would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse());
    }
    let count: u64 = digits.parse().map_err(|_| refuse())?;
    count.checked_mul(1 << shift).ok_or_else(|| format!("{text} is more than any machine has"))
}

fn cpus(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(cpus @ 1..=254) => Ok(cpus),
        _ => Err("a machine has 1 to 254 CPUs".into()),
    }
}

/// A span of at least a second.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("it takes a number of seconds, from 1 to a year".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_mib_unless_they_say_otherwise() {
        assert_eq!([size("512"), size("512M"), size("2G")], [Ok(512 << 20), Ok(512 << 20), Ok(2 << 30)]);
        for wrong in ["", "M", "-1", "+1", "1.5G", "lots", "1T", "99999999999999999999", "99999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn machines_have_as_many_cpus_as_ids() {
        assert_eq!((cpus("1"), cpus("254")), (Ok(1), Ok(254)));
        assert!(["0", "255", "300", "-1", "two"].iter().all(|wrong| cpus(wrong).is_err()));
    }
}
