//! Seccomp filters: each thread of a machine that a guest can reach may make the system calls that it needs, and no others.
//!
//! A call that is not on the list ends the process with one line that names it (exit status 2): the thread may be a guest's by then,
//! so nothing is cleaned up. While a thread panics such a call only fails, so that the panic's message comes out, with a backtrace
//! that has no names, and the machine ends as it does after any panic. It also only fails where the C library's allocator asks for
//! one of two files that it can do without.

mod allowed;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use syscalls::Sysno;
use vmm_sys_util::signal::register_signal_handler;

use crate::error::Error;
use allowed::{Call, Only};

/// What a thread of the machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It runs a vCPU and carries what the guest does there to the devices.
    Cpu,
    /// As [`Cpu`](Self::Cpu), with a debugger that may stop it and ask for its registers.
    DebuggedCpu,
    /// It waits for the devices' time, and for doorbells.
    Events,
    /// It reads what is typed.
    Console,
    /// It speaks with gdb.
    Debugger,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::DebuggedCpu, Self::Events, Self::Console, Self::Debugger];

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::DebuggedCpu => "cpu (with gdb)",
            Self::Events => "events",
            Self::Console => "console",
            Self::Debugger => "debugger",
        }
    }
}

/// What the threads of a role may do: the system calls by name, in the order of their numbers, each with what its arguments must be
/// (nothing: whatever they are).
#[must_use]
pub fn allowed(role: Role) -> Vec<(&'static str, String)> {
    let calls = allowed::calls(role);
    calls.values().map(|call| (call.name(), call.only.to_string())).collect()
}

/// Whether this host's kernel has such filters (`CONFIG_SECCOMP`).
#[must_use]
#[expect(unsafe_code, reason = "a system call without pointers")]
pub fn is_available() -> bool {
    // SAFETY: it asks for a number, and takes none of the other arguments.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 }
}

/// A filter, ready to be installed.
#[derive(Clone, Debug)]
pub struct Filter {
    role: Role,
    program: BpfProgram,
}

impl Filter {
    /// The filter for a role, and the handler that says what it stopped.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new(role: Role) -> Result<Self, Error> {
        register_signal_handler(libc::SIGSYS, denied).map_err(|error| failed(&io::Error::from(error)))?;
        let rules = allowed::calls(role).into_iter().map(|(number, call)| Ok((number, rules(&call)?)));
        let rules = rules.collect::<Result<BTreeMap<_, _>, _>>();
        let filter = rules
            .and_then(|rules| SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, TargetArch::x86_64));
        let program = filter.and_then(BpfProgram::try_from).map_err(|error| failed(&error))?;
        Ok(Self { role, program })
    }

    /// Puts the calling thread under the filter, for good. Its children are too.
    ///
    /// # Errors
    /// When the kernel has no seccomp.
    pub fn install(&self) -> Result<(), Error> {
        ROLE.set(self.role.name());
        // The allocator gets itself ready for a thread when that first asks for memory, and may look into files.
        drop(std::hint::black_box(Box::new(self.role)));
        seccompiler::apply_filter(&self.program).map_err(|error| failed(&error))
    }
}

fn failed(why: &dyn std::fmt::Display) -> Error {
    Error::Seccomp(why.to_string())
}

/// The conditions under which a call is allowed: one of these rules must hold, or there is none.
fn rules(call: &Call) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    use SeccompCmpArgLen::Dword;
    let one =
        |argument, operator, value| SeccompRule::new(vec![SeccompCondition::new(argument, Dword, operator, value)?]);
    match call.only {
        Only::Any => Ok(Vec::new()),
        Only::Data(argument) => {
            let executable = libc::PROT_EXEC as u64;
            Ok(vec![one(argument, SeccompCmpOp::MaskedEq(executable), 0)?])
        }
        Only::OneOf(argument, values) => {
            values.iter().map(|(_, value)| one(argument, SeccompCmpOp::Eq, u64::from(*value))).collect()
        }
        Only::ThisProcess(argument) => Ok(vec![one(argument, SeccompCmpOp::Eq, u64::from(std::process::id()))?]),
    }
}

thread_local! {
    /// What this thread is, for the handler: without a destructor, and made at compile time, so that a handler may read it.
    static ROLE: Cell<&'static str> = const { Cell::new("another") };
}

/// Says which call the filter stopped, and ends the process. Only what a signal handler may do is done here.
#[expect(unsafe_code, reason = "what the kernel tells a signal handler comes as pointers")]
extern "C" fn denied(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    const SYS_SECCOMP: c_int = 1;
    // SAFETY: the kernel gives a handler a valid siginfo_t of 128 bytes. For this signal the call's number is at byte 24
    // (sigaction(2): si_call_addr, si_syscall, si_arch).
    let (code, number) = unsafe { ((*info).si_code, *info.cast::<c_int>().add(6)) };
    if code != SYS_SECCOMP {
        // Sent by somebody, not by a filter.
        return;
    }
    // SAFETY: the kernel gives a handler the thread's context, which nobody else uses as long as the handler runs.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let path = registers[libc::REG_RSI as usize] as *const libc::c_char;
    if std::thread::panicking() || i64::from(number) == libc::SYS_openat && is_dispensable(path) {
        // The call's result.
        registers[libc::REG_RAX as usize] = -i64::from(libc::EACCES);
        return;
    }
    let mut line = Line { bytes: [0; 320], len: 0 };
    line.push("bringup: thread ");
    line.push(ROLE.get());
    line.push(" made a system call that it has no need for: ");
    line.push(usize::try_from(number).ok().and_then(Sysno::new).map_or("an unknown one", |call| call.name()));
    line.push(" (number ");
    line.push_number(number.unsigned_abs());
    line.push("); its seccomp filter ended the machine. If the guest is to be trusted, run it without the filter (--no-seccomp), and report this\n");
    // SAFETY: the buffer is valid for its length; both calls are allowed in handlers and by every filter.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len);
        libc::_exit(2);
    }
}

/// Whether a file is one that the allocator of the C library asks for, without need of an answer: whether memory that is given back may
/// be promised to others, and how many processors there are.
#[expect(unsafe_code, reason = "a system call's argument is a pointer")]
fn is_dispensable(path: *const libc::c_char) -> bool {
    let files = [c"/proc/sys/vm/overcommit_memory", c"/sys/devices/system/cpu/online"];
    // SAFETY: the thread was about to pass the pointer to the kernel as that of a string. If it lied it faults here, which ends the
    // process as well.
    !path.is_null() && files.into_iter().any(|file| unsafe { libc::strcmp(path, file.as_ptr()) } == 0)
}

/// A line that is put together without an allocator.
struct Line {
    bytes: [u8; 320],
    len: usize,
}

impl Line {
    fn push(&mut self, text: &str) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *to = from;
            self.len += 1;
        }
    }

    fn push_number(&mut self, number: u32) {
        let digit = |place: u32| (number / place % 10) as usize;
        let places = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1000, 100, 10, 1];
        let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        for place in places.into_iter().filter(|place| *place == 1 || number >= *place) {
            self.push(digits[digit(place)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_without_an_allocator_has_its_numbers_and_ends_where_its_room_does() {
        let mut line = Line { bytes: [0; 320], len: 0 };
        for number in [0, 7, 40, 257, u32::MAX] {
            line.push_number(number);
            line.push(" ");
        }
        assert_eq!(&line.bytes[..line.len], b"0 7 40 257 4294967295 ");
        line.push(&"x".repeat(400));
        assert_eq!(line.len, 320);
    }

    #[test]
    fn every_role_has_a_filter_that_the_kernel_would_take() {
        for role in Role::ALL {
            // BPF_MAXINSNS of the kernel.
            assert!(Filter::new(role).unwrap().program.len() <= 4096);
        }
    }
}
