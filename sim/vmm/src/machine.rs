//! A machine under KVM, from its settings to its end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bringup_core::Bus;
use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_SET_GUEST_DEBUG2, KVM_GUESTDBG_BLOCKIRQ, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config,
};
use kvm_ioctls::{Cap, Kvm, VmFd};
use rustix::event::{PollFd, PollFlags, poll};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::signal::{Killable, SIGRTMIN, block_signal, register_signal_handler};

use crate::board::{Board, End, Outcome};
use crate::boot::{self, Images};
use crate::error::{Asked, Error};
use crate::escape::Escape;
use crate::gdb::{self, Abilities, Socket, Stage};
use crate::seccomp::{self, Filter, Role};
use crate::serial::Output;
use crate::vcpu::{Model, Vcpu, gdt};
use crate::{acpi, events::Events, layout, memory};

/// How a machine is made.
pub struct Settings {
    /// The kernel: an ELF file (vmlinux) or a bzImage.
    pub kernel: PathBuf,
    /// The first file system; empty for none.
    pub initrd: Vec<u8>,
    /// The kernel's command line.
    pub command_line: String,
    /// 1 to 254 vCPUs, and as many as the host's KVM allows.
    pub cpus: u8,
    /// Where what is typed into the console comes from.
    pub input: Option<Input>,
    /// Where the console's output goes.
    pub output: Output,
    /// Doorbells do not stop the CPU that rings them.
    pub doorbells: bool,
    /// Each thread that the guest can reach may make only the system calls that it needs: see [`seccomp`](crate::seccomp).
    pub seccomp: bool,
    /// A Unix socket for gdb. The guest waits for it before its first instruction.
    pub gdb: Option<PathBuf>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("kernel", &self.kernel).field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

/// A source of what is typed.
#[derive(Debug)]
pub struct Input {
    /// Read until its end, or that of the machine.
    pub file: OwnedFd,
    /// Ctrl-A x ends the machine, Ctrl-A twice is one for the guest: for a terminal, whose every other key goes to the guest.
    pub escape: bool,
}

/// The most vCPUs: those whose ids fit into a byte.
const MOST_CPUS: u8 = 254;

/// A machine that can be started.
pub struct Machine {
    board: Arc<Board>,
    vcpus: Vec<Vcpu>,
    input: Option<Input>,
    seccomp: bool,
    gdb: Option<Socket>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("vcpus", &self.vcpus.len()).finish_non_exhaustive()
    }
}

/// Stops a machine from outside, once or often, before or after its end.
#[derive(Clone)]
pub struct Stopper(std::sync::Weak<Board>);

impl std::fmt::Debug for Stopper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}

impl Stopper {
    /// Ends the machine with [`End::Stopped`].
    pub fn stop(&self) {
        if let Some(board) = self.0.upgrade() {
            board.end(End::Stopped);
        }
    }
}

impl Machine {
    /// Puts a machine together: the bus' memory becomes the guest's, its devices the guest's devices. The bus must have been made
    /// over [`memory`](crate::memory()) and with [`layout::windows`].
    ///
    /// # Errors
    /// When the host's KVM cannot be used, the kernel cannot be loaded, or the settings make no sense.
    pub fn new(settings: Settings, bus: Bus) -> Result<Self, Error> {
        let Settings { kernel, initrd, command_line, cpus, input, output, doorbells, seccomp, gdb } = settings;
        if cpus == 0 || cpus > MOST_CPUS {
            return Err(Error::Cpus(format!("a machine has 1 to {MOST_CPUS} CPUs, not {cpus}")));
        }
        if seccomp && !seccomp::is_available() {
            return Err(Error::Seccomp("this host's kernel has none (CONFIG_SECCOMP_FILTER)".into()));
        }
        // What is wrong with the settings is said also where there is no KVM.
        let tables = acpi::tables(cpus);
        let images = Images { kernel: &kernel, initrd: &initrd, command_line: &command_line, tables: &tables };
        let start = boot::load(&images, &bus.fabric.ram)?;
        for (index, descriptor) in gdt(start).into_iter().enumerate() {
            let at = GuestAddress(layout::GDT + index as u64 * 8);
            let written = bus.fabric.ram.memory().write_obj(descriptor, at);
            written.map_err(|_| Error::Memory("there is no memory for the first descriptor table".into()))?;
        }
        let kvm = open_kvm()?;
        let most = kvm.get_max_vcpus();
        if usize::from(cpus) > most {
            return Err(Error::Cpus(format!("this host's KVM takes {most} CPUs, not {cpus}")));
        }
        let gdb = gdb.as_deref().map(Socket::listen).transpose()?;
        let vm = make_vm(&kvm)?;
        memory::give(&vm, &bus.fabric.ram)?;
        let model = Model::new(&kvm, cpus)?;
        let vcpus = (0..cpus).map(|id| Vcpu::new(&vm, &model, id, start)).collect::<Result<_, _>>()?;
        let stage = gdb.is_some().then(|| stage(&kvm, cpus)).transpose()?;
        let board = Arc::new(Board::new(vm, bus, output, doorbells, stage)?);
        Ok(Self { board, vcpus, input, seccomp, gdb })
    }

    /// Something that stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::downgrade(&self.board))
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When a thread or the host's means for it cannot be had. What KVM makes of the guest is in the outcome.
    pub fn run(self) -> Result<Outcome, Error> {
        let Self { board, vcpus, input, seccomp, gdb } = self;
        // A vCPU's thread is called out of the guest by a signal; the handler has nothing to do.
        extern "C" fn called(_: i32, _: *mut libc::siginfo_t, _: *mut std::ffi::c_void) {}
        register_signal_handler(SIGRTMIN(), called).map_err(io::Error::from).asked_to("take a signal")?;
        let events = Events::new(&board)?;
        let filter = |role| seccomp.then(|| Filter::new(role)).transpose();
        let cpu = filter(if gdb.is_some() { Role::DebuggedCpu } else { Role::Cpu })?;
        // Its file goes when this function is left: threads cannot take it away.
        let gdb = gdb.map(Arc::new);
        let mut threads = Vec::new();
        let started = (|| {
            threads.push(spawn("events", &board, filter(Role::Events)?, move |board| events.run(board))?);
            if let Some(input) = input {
                let filter = filter(Role::Console)?;
                threads.push(spawn("console", &board, filter, move |board| read_console(&input, board))?);
            }
            if let Some(socket) = gdb.clone() {
                let path = socket.path().display();
                eprintln!("gdb: waiting on {path}; (gdb) target remote {path}");
                threads.push(spawn("debugger", &board, filter(Role::Debugger)?, move |board| {
                    if let Some(stage) = &board.stage {
                        gdb::serve(&socket, stage, board);
                    }
                })?);
            }
            // The first one last: with it the guest runs.
            for mut vcpu in vcpus.into_iter().rev() {
                threads.push(spawn(&format!("cpu{}", vcpu.id()), &board, cpu.clone(), move |board| vcpu.run(board))?);
            }
            Ok(())
        })();
        if started.is_err() {
            board.end(End::Stopped);
        }
        // Until it is over; a signal's handler may have run.
        while !board.is_over() {
            let _ = poll(&mut [PollFd::new(&board.ended, PollFlags::IN)], None);
        }
        for thread in threads {
            join(thread);
        }
        started?;
        // All who shared it are gone, but for a stopper that is at it this moment.
        let mut board = board;
        loop {
            match Arc::try_unwrap(board) {
                Ok(board) => return Ok(board.into_outcome()),
                Err(shared) => board = shared,
            }
            std::thread::yield_now();
        }
    }
}

/// Opens KVM, or says what stands in the way and what to do.
fn open_kvm() -> Result<Kvm, Error> {
    let kvm = Kvm::new().map_err(|why| {
        let why = io::Error::from(why);
        Error::NoKvm(match why.kind() {
            io::ErrorKind::NotFound => {
                "there is none; load the module kvm_intel or kvm_amd, and turn virtualization on in the firmware \
                                        (in a virtual machine: nested virtualization)"
                    .into()
            }
            io::ErrorKind::PermissionDenied => {
                "it is not yours to open; add your user to its group (usually kvm)".into()
            }
            // A node without a driver behind it.
            _ => format!("{why}; load the module kvm_intel or kvm_amd"),
        })
    })?;
    match kvm.get_api_version() {
        version if version == KVM_API_VERSION as i32 => {}
        // Nobody who knows the request.
        -1 => {
            return Err(Error::NoKvm(
                "what is there is not KVM; it must be the device that the module kvm makes (10:232)".into(),
            ));
        }
        version => {
            let why =
                format!("it speaks version {version} of its interface, not {KVM_API_VERSION}; use a newer kernel");
            return Err(Error::NoKvm(why));
        }
    }
    for (capability, name) in [
        (Cap::Irqchip, "interrupt controllers (KVM_CAP_IRQCHIP)"),
        (Cap::Pit2, "timer (KVM_CAP_PIT2)"),
        (Cap::UserMemory, "memory slots (KVM_CAP_USER_MEMORY)"),
        (Cap::Irqfd, "irqfd (KVM_CAP_IRQFD)"),
        (Cap::Ioeventfd, "ioeventfd (KVM_CAP_IOEVENTFD)"),
        (Cap::IrqRouting, "interrupt routing (KVM_CAP_IRQ_ROUTING)"),
        (Cap::ImmediateExit, "way to call a vCPU back (KVM_CAP_IMMEDIATE_EXIT)"),
    ] {
        if !kvm.check_extension(capability) {
            return Err(Error::Capability(name));
        }
    }
    Ok(kvm)
}

/// Where a debugger stops the vCPUs.
fn stage(kvm: &Kvm, cpus: u8) -> Result<Stage, Error> {
    if !kvm.check_extension(Cap::SetGuestDebug) {
        return Err(Error::Capability("way to debug a guest (KVM_CAP_SET_GUEST_DEBUG)"));
    }
    // A step that ended in an interrupt's handler would be of little use.
    let flags = kvm.check_extension_raw(KVM_CAP_SET_GUEST_DEBUG2.into());
    Stage::new(cpus, u32::try_from(flags).unwrap_or(0) & KVM_GUESTDBG_BLOCKIRQ, Abilities::of(kvm))
}

/// A virtual machine with its interrupt controllers and its timer.
fn make_vm(kvm: &Kvm) -> Result<VmFd, Error> {
    let vm = kvm.create_vm().asked_to("make a virtual machine")?;
    // Where the processor needs them, before the first vCPU.
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP).asked_to("keep a page for itself")?;
    vm.set_tss_address(layout::KVM_TSS as usize).asked_to("keep pages for itself")?;
    vm.create_irq_chip().asked_to("make interrupt controllers")?;
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(pit).asked_to("make a timer")?;
    Ok(vm)
}

/// A thread of the machine. If it panics the machine ends, instead of waiting for it for ever.
fn spawn(
    name: &str,
    board: &Arc<Board>,
    filter: Option<Filter>,
    run: impl FnOnce(&Arc<Board>) + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    struct Fuse(Arc<Board>);
    impl Drop for Fuse {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.end(End::Panicked);
            }
        }
    }
    let fuse = Fuse(board.clone());
    let (ready, readiness) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        leave_signals();
        let filtered = filter.map_or(Ok(()), |filter| filter.install());
        let goes_on = filtered.is_ok();
        let _ = ready.send(filtered);
        if goes_on {
            run(&fuse.0);
        }
    });
    let thread = thread.asked_to("start a thread")?;
    // If nothing came it panicked, which ends the machine.
    readiness.recv().unwrap_or(Ok(())).map(|()| thread)
}

/// Leaves the signals that are for the process to the threads that it had before: their handlers may do what a filter does not allow.
fn leave_signals() {
    let theirs = [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGTSTP,
        libc::SIGCONT,
        libc::SIGCHLD,
        libc::SIGWINCH,
        libc::SIGALRM,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ];
    for signal in theirs {
        // One that is blocked already is refused.
        let _ = block_signal(signal);
    }
}

/// Waits for a thread, calling it out of the guest, or a wait, until it has seen that the machine is over.
fn join(thread: JoinHandle<()>) {
    while !thread.is_finished() {
        // It may have been about to enter the guest: a signal that came before is of no use, so there is another.
        let _ = thread.kill(SIGRTMIN());
        std::thread::sleep(Duration::from_millis(2));
    }
    // If it panicked the machine's end says so.
    let _ = thread.join();
}

/// Has the guest receive what is typed.
fn read_console(input: &Input, board: &Arc<Board>) {
    let mut escape = Escape::new(input.escape);
    let mut buffer = [0; 256];
    while !board.is_over() {
        let mut files = [PollFd::new(&input.file, PollFlags::IN), PollFd::new(&board.ended, PollFlags::IN)];
        if poll(&mut files, None).is_err() {
            continue;
        }
        if files[0].revents().is_empty() {
            continue;
        }
        let count = match rustix::io::read(&input.file, &mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            // It was closed at its other end.
            Err(_) => return,
        };
        let typed = escape.pass(&buffer[..count]);
        board.type_in(&typed.bytes);
        if typed.ends {
            board.end(End::Stopped);
        }
    }
}
