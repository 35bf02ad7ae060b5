//! The system calls that each role needs, as data, with the reason for each group.

use std::collections::BTreeMap;
use std::fmt;

use syscalls::Sysno;

use super::Role;

/// A system call that is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    number: Sysno,
    pub(super) only: Only,
}

impl Call {
    pub(super) fn name(&self) -> &'static str {
        self.number.name()
    }
}

/// What its arguments must be; each number is that of an argument, from 0, of which the low 32 bits count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Only {
    /// Whatever they are.
    Any,
    /// A protection of memory without execution.
    Data(u8),
    /// One of these values.
    OneOf(u8, &'static [(&'static str, u32)]),
    /// This process.
    ThisProcess(u8),
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Data(_) => f.write_str("without PROT_EXEC"),
            Self::OneOf(_, values) => {
                for (index, (name, _)) in values.iter().enumerate() {
                    write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::ThisProcess(_) => f.write_str("this process"),
        }
    }
}

/// What a role may call, by number.
pub(super) fn calls(role: Role) -> BTreeMap<i64, Call> {
    let groups: &[&[(Sysno, Only)]] = match role {
        Role::Cpu => &[EVERY, WAITING, DEVICES, CPU],
        Role::DebuggedCpu => &[EVERY, WAITING, DEVICES, DEBUGGED_CPU],
        Role::Events => &[EVERY, DEVICES, EVENTS],
        Role::Console => &[EVERY, WAITING],
        Role::Debugger => &[EVERY, WAITING, GDB],
    };
    let calls = groups.iter().flat_map(|group| group.iter());
    calls.map(|(number, only)| (i64::from(number.id()), Call { number: *number, only: *only })).collect()
}

/// What a Rust program's thread does by itself: memory, locks, time, ends; its console and its event files.
const EVERY: &[(Sysno, Only)] = &[
    // The allocator, and stacks that go.
    (Sysno::brk, Only::Any),
    (Sysno::mmap, Only::Data(2)),
    (Sysno::mprotect, Only::Data(2)),
    (Sysno::mremap, Only::Any),
    (Sysno::munmap, Only::Any),
    (Sysno::madvise, Only::Any),
    // It asks how many processors there are before it makes its ninth arena.
    (Sysno::sched_getaffinity, Only::Any),
    // Locks, channels.
    (Sysno::futex, Only::Any),
    (Sysno::sched_yield, Only::Any),
    // The clock, where the kernel does not lend it to programs.
    (Sysno::clock_gettime, Only::Any),
    // Event files, the console.
    (Sysno::read, Only::Any),
    (Sysno::write, Only::Any),
    (Sysno::close, Only::Any),
    // A debug build looks whether what it closes is open.
    (Sysno::fcntl, Only::OneOf(1, &[("F_GETFD", libc::F_GETFD as u32)])),
    // The seed of a thread's first hash map.
    (Sysno::getrandom, Only::Any),
    // Signals call a thread out of the guest and out of waits. `abort` and faults come as signals too.
    (Sysno::rt_sigreturn, Only::Any),
    (Sysno::restart_syscall, Only::Any),
    (Sysno::rt_sigprocmask, Only::Any),
    (Sysno::sigaltstack, Only::Any),
    (
        Sysno::rt_sigaction,
        Only::OneOf(
            0,
            &[("SIGABRT", libc::SIGABRT as u32), ("SIGBUS", libc::SIGBUS as u32), ("SIGSEGV", libc::SIGSEGV as u32)],
        ),
    ),
    (Sysno::getpid, Only::Any),
    (Sysno::gettid, Only::Any),
    (Sysno::tgkill, Only::ThisProcess(0)),
    (Sysno::exit, Only::Any),
    (Sysno::exit_group, Only::Any),
];

/// What devices and the board do, on whichever thread an access or an event comes to them. Their files are open before.
const DEVICES: &[(Sysno, Only)] = &[
    (Sysno::pread64, Only::Any),
    (Sysno::pwrite64, Only::Any),
    (Sysno::fdatasync, Only::Any),
    // A discarded range of an image becomes a hole.
    (Sysno::fallocate, Only::Any),
    // A recording of packets that could not be written whole loses its torn end.
    (Sysno::ftruncate, Only::Any),
    // A message that an interrupt comes by for the first time gets an event file and a route.
    (Sysno::eventfd2, Only::Any),
    // The devices' next time; which doorbells rang.
    (Sysno::epoll_wait, Only::Any),
    (Sysno::epoll_pwait, Only::Any),
    (Sysno::epoll_pwait2, Only::Any),
];

const EVENTS: &[(Sysno, Only)] = &[
    (Sysno::ioctl, Only::OneOf(1, &[ROUTING, IRQFD, IOEVENTFD, IRQ_LINE, SIGNAL_MSI, GET_IRQCHIP])),
    // It asks to be woken in time.
    (Sysno::prctl, Only::OneOf(0, &[("PR_SET_TIMERSLACK", libc::PR_SET_TIMERSLACK as u32)])),
];

const CPU: &[(Sysno, Only)] =
    &[(Sysno::ioctl, Only::OneOf(1, &[RUN, GET_REGS, ROUTING, IRQFD, IOEVENTFD, IRQ_LINE, SIGNAL_MSI, TRANSLATE]))];

const DEBUGGED_CPU: &[(Sysno, Only)] = &[(
    Sysno::ioctl,
    Only::OneOf(
        1,
        &[
            RUN,
            GET_REGS,
            ROUTING,
            IRQFD,
            IOEVENTFD,
            IRQ_LINE,
            SIGNAL_MSI,
            ("KVM_SET_REGS", kvm(WRITE, 0x82, 144)),
            ("KVM_GET_SREGS", kvm(READ, 0x83, 312)),
            ("KVM_GET_FPU", kvm(READ, 0x8c, 416)),
            ("KVM_SET_FPU", kvm(WRITE, 0x8d, 416)),
            TRANSLATE,
            ("KVM_SET_GUEST_DEBUG", kvm(WRITE, 0x9b, 72)),
        ],
    ),
)];

/// Waiting for files: also for room where the guest's console is put out.
const WAITING: &[(Sysno, Only)] = &[(Sysno::poll, Only::Any), (Sysno::ppoll, Only::Any)];

/// A debugger comes, speaks, goes. Its thread calls vCPUs out of the guest by signals.
const GDB: &[(Sysno, Only)] = &[(Sysno::accept4, Only::Any), (Sysno::recvfrom, Only::Any), (Sysno::sendto, Only::Any)];

const READ: u32 = 2;
const WRITE: u32 = 1;

/// The number of one of KVM's requests: direction, size of what is passed, KVM's letter, number.
const fn kvm(direction: u32, number: u32, size: u32) -> u32 {
    const KVM: u32 = 0xae;
    direction << 30 | size << 16 | KVM << 8 | number
}

const RUN: (&str, u32) = ("KVM_RUN", kvm(0, 0x80, 0));
const GET_REGS: (&str, u32) = ("KVM_GET_REGS", kvm(READ, 0x81, 144));
const ROUTING: (&str, u32) = ("KVM_SET_GSI_ROUTING", kvm(WRITE, 0x6a, 8));
const IRQFD: (&str, u32) = ("KVM_IRQFD", kvm(WRITE, 0x76, 32));
const IOEVENTFD: (&str, u32) = ("KVM_IOEVENTFD", kvm(WRITE, 0x79, 64));
const IRQ_LINE: (&str, u32) = ("KVM_IRQ_LINE", kvm(WRITE, 0x61, 8));
const SIGNAL_MSI: (&str, u32) = ("KVM_SIGNAL_MSI", kvm(WRITE, 0xa5, 32));
/// Where a vCPU is that KVM cannot run on.
const TRANSLATE: (&str, u32) = ("KVM_TRANSLATE", kvm(READ | WRITE, 0x85, 24));
/// Whether a line is open whose pin stays asserted.
const GET_IRQCHIP: (&str, u32) = ("KVM_GET_IRQCHIP", kvm(READ | WRITE, 0x62, 520));

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::{
        kvm_fpu, kvm_guest_debug, kvm_ioeventfd, kvm_irq_level, kvm_irq_routing, kvm_irqchip, kvm_irqfd, kvm_msi,
        kvm_regs, kvm_sregs, kvm_translation,
    };

    #[test]
    fn sizes_in_kvms_requests_are_those_of_what_is_passed() {
        let sizes = [
            ("KVM_RUN", 0),
            ("KVM_GET_REGS", size_of::<kvm_regs>()),
            ("KVM_SET_GSI_ROUTING", size_of::<kvm_irq_routing>()),
            ("KVM_IRQFD", size_of::<kvm_irqfd>()),
            ("KVM_IOEVENTFD", size_of::<kvm_ioeventfd>()),
            ("KVM_IRQ_LINE", size_of::<kvm_irq_level>()),
            ("KVM_SIGNAL_MSI", size_of::<kvm_msi>()),
            ("KVM_SET_REGS", size_of::<kvm_regs>()),
            ("KVM_GET_SREGS", size_of::<kvm_sregs>()),
            ("KVM_GET_FPU", size_of::<kvm_fpu>()),
            ("KVM_SET_FPU", size_of::<kvm_fpu>()),
            ("KVM_TRANSLATE", size_of::<kvm_translation>()),
            ("KVM_SET_GUEST_DEBUG", size_of::<kvm_guest_debug>()),
        ];
        let Only::OneOf(_, requests) = DEBUGGED_CPU[0].1 else { panic!("requests are listed") };
        let said: Vec<_> = requests.iter().map(|(name, number)| (*name, (number >> 16 & 0x3fff) as usize)).collect();
        assert_eq!(said, sizes);
        assert_eq!((GET_IRQCHIP.1 >> 16 & 0x3fff) as usize, size_of::<kvm_irqchip>());
    }

    #[test]
    fn no_role_may_open_execute_connect_or_trace() {
        let never = [
            Sysno::open,
            Sysno::openat,
            Sysno::execve,
            Sysno::execveat,
            Sysno::socket,
            Sysno::connect,
            Sysno::ptrace,
            Sysno::clone,
            Sysno::clone3,
            Sysno::fork,
            Sysno::unlink,
            Sysno::kill,
            Sysno::process_vm_writev,
            Sysno::bpf,
        ];
        for role in Role::ALL {
            let calls = calls(role);
            assert!(never.iter().all(|call| !calls.contains_key(&i64::from(call.id()))), "{role:?}");
        }
    }
}
