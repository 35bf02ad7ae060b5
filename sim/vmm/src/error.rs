//! What can be wrong with a machine before it runs, and while it does: one line each that says what to do.

use std::fmt;
use std::path::PathBuf;

/// Why there is no machine, or why it could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host has no KVM, or does not let us have it.
    #[error("cannot use /dev/kvm: {0}")]
    NoKvm(String),
    /// KVM lacks something.
    #[error("this host's KVM has no {0}; the machine needs it: use a newer kernel, or another host")]
    Capability(&'static str),
    /// KVM refused something.
    #[error("KVM refused to {what}: {why}")]
    Kvm {
        /// What it was asked to do.
        what: &'static str,
        /// What it said.
        why: kvm_ioctls::Error,
    },
    /// The host refused something.
    #[error("cannot {what}: {why}")]
    Host {
        /// What it was asked to do.
        what: &'static str,
        /// What it said.
        why: std::io::Error,
    },
    /// How much memory it is to have.
    #[error("{0}")]
    Memory(String),
    /// How many CPUs it is to have.
    #[error("{0}")]
    Cpus(String),
    /// The kernel's file.
    #[error("{}: {why}", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The first file system.
    #[error("{0}")]
    Initrd(String),
    /// The kernel's command line.
    #[error("{0}")]
    CommandLine(String),
    /// A thread cannot be put under its filter.
    #[error("cannot install a seccomp filter: {0}; the machine runs without one if it is told to (--no-seccomp)")]
    Seccomp(String),
    /// The socket for gdb.
    #[error("{}: {why}", path.display())]
    Gdb {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// KVM could not run the guest on.
    #[error("{0}")]
    Stuck(Stuck),
}

/// KVM could not run the guest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// On which vCPU.
    pub cpu: u8,
    /// Where it was (RIP).
    pub at: u64,
    /// The instruction's bytes, as far as they are known.
    pub instruction: Vec<u8>,
    /// What KVM said.
    pub why: String,
    /// It is an instruction that KVM tried to carry out in software.
    pub emulating: bool,
    /// The guest ran to where there is no memory: that is its own fault, and not the host's.
    pub astray: bool,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.astray {
            return write!(f, "the guest's CPU {} ran to {:#x}, where there is no memory", self.cpu, self.at);
        }
        write!(f, "KVM stopped CPU {} at {:#x}: {}", self.cpu, self.at, self.why)?;
        if !self.instruction.is_empty() {
            write!(f, " (bytes")?;
            for byte in &self.instruction {
                write!(f, " {byte:02x}")?;
            }
            write!(f, ")")?;
        }
        if self.emulating {
            write!(
                f,
                "; this host's KVM carries out the guest's kernel in software, as a nested one may, and does not know the \
                 instruction: use a host whose /dev/kvm is a full one"
            )?;
        }
        Ok(())
    }
}

/// Says what KVM was asked when it refuses.
pub(crate) trait Asked<T> {
    fn asked_to(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Asked<T> for Result<T, kvm_ioctls::Error> {
    fn asked_to(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|why| Error::Kvm { what, why })
    }
}

impl<T> Asked<T> for Result<T, rustix::io::Errno> {
    fn asked_to(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|why| Error::Host { what, why: why.into() })
    }
}

impl<T> Asked<T> for Result<T, std::io::Error> {
    fn asked_to(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|why| Error::Host { what, why })
    }
}
