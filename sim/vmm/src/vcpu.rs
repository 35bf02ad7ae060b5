//! A vCPU: how it starts, and the loop that takes what stops it to the board.

mod cpuid;
mod registers;

pub(crate) use registers::gdt;

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_EXIT_IO, KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, KVM_MAX_CPUID_ENTRIES, kvm_run,
};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};

use crate::board::{Board, End};
use crate::boot::Start;
use crate::error::{Asked, Error, Stuck};

/// A virtual CPU, ready to run.
pub(crate) struct Vcpu {
    id: u8,
    fd: VcpuFd,
    /// Where KVM stopped last because it could not deliver an interrupt, and how often in a row.
    undelivered: (u64, u8),
}

/// What the vCPUs of a machine have in common.
pub(crate) struct Model {
    cpuid: CpuId,
    cpus: u8,
    deadline_timer: bool,
}

impl Model {
    pub(crate) fn new(kvm: &Kvm, cpus: u8) -> Result<Self, Error> {
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).asked_to("say what its CPUs can do")?;
        Ok(Self { cpuid, cpus, deadline_timer: kvm.check_extension(Cap::TscDeadlineTimer) })
    }
}

impl Vcpu {
    /// Makes vCPU `id`. Number 0 starts at `start`; the others wait until they are woken by INIT and SIPI.
    pub(crate) fn new(vm: &VmFd, model: &Model, id: u8, start: Start) -> Result<Self, Error> {
        let fd = vm.create_vcpu(id.into()).asked_to("make a vCPU")?;
        // The host's own rate (0). A host that measured it again after KVM had started may have a stale one there, which KVM refuses
        // half-way: the TSC deadline timer never fires then. Where there is no such call the rate is right.
        let _ = fd.set_tsc_khz(0);
        let cpuid = cpuid::for_cpu(model.cpuid.clone(), id, model.cpus, model.deadline_timer);
        fd.set_cpuid2(&cpuid).asked_to("give a vCPU its CPUID")?;
        registers::set_msrs(&fd)?;
        registers::set_lapic(&fd)?;
        if id == 0 {
            registers::set_start(&fd, start)?;
        }
        Ok(Self { id, fd, undelivered: (0, 0) })
    }

    /// Its number, which is its local interrupt controller's id.
    pub(crate) fn id(&self) -> u8 {
        self.id
    }

    /// Runs the guest until the machine ends.
    pub(crate) fn run(&mut self, board: &Arc<Board>) {
        // It stays mapped as long as the vCPU is open.
        let shared: *const kvm_run = self.fd.get_kvm_run();
        if let Some(stage) = &board.stage {
            stage.enter(self.id);
        }
        while !board.is_over() {
            board.count_exit();
            // Held for a debugger, it finishes its instruction without going on to the next.
            let held = board.stage.as_ref().filter(|stage| stage.holds(self.id));
            if board.stage.is_some() {
                self.fd.set_kvm_immediate_exit(held.is_some().into());
            }
            match self.fd.run() {
                Ok(VcpuExit::IoIn(port, data)) => {
                    let unit = unit_of(shared);
                    for piece in data.chunks_mut(unit) {
                        board.port_read(port, piece);
                    }
                }
                Ok(VcpuExit::IoOut(port, data)) => {
                    let unit = unit_of(shared);
                    for piece in data.chunks(unit) {
                        board.port_write(port, piece);
                    }
                }
                Ok(VcpuExit::MmioRead(address, data)) => {
                    self.undelivered.1 = 0;
                    board.memory_read(address, data);
                }
                Ok(VcpuExit::MmioWrite(address, data)) => {
                    self.undelivered.1 = 0;
                    board.memory_write(address, data);
                }
                Ok(VcpuExit::Shutdown) => board.end(End::TripleFault),
                Ok(VcpuExit::SystemEvent(kind, _)) => board.end(match kind {
                    kvm_bindings::KVM_SYSTEM_EVENT_SHUTDOWN => End::PowerOff,
                    _ => End::Reset,
                }),
                Ok(VcpuExit::Intr | VcpuExit::Hlt | VcpuExit::IrqWindowOpen) => {}
                Ok(VcpuExit::FailEntry(reason, _)) => {
                    let why = format!("the processor refused to enter the guest (reason {reason:#x})");
                    board.end(End::Stuck(self.stuck(why, false, Vec::new())));
                }
                Ok(VcpuExit::InternalError) => {
                    if let Some(stuck) = self.internal_error(board, shared) {
                        board.end(End::Stuck(stuck));
                    }
                }
                Ok(VcpuExit::Debug(stop)) => {
                    let taken = board.stage.as_ref().map(|stage| stage.hit(self.id, &stop, &self.fd));
                    if let Some(Err(error)) = taken {
                        let why = format!("it did not take the guest's own exception back from the debugger: {error}");
                        board.end(End::Stuck(self.stuck(why, false, Vec::new())));
                    }
                }
                Ok(other) => {
                    let why = format!("it stopped for a reason that a machine like this does not have ({other:?})");
                    board.end(End::Stuck(self.stuck(why, false, Vec::new())));
                }
                Err(error) if error.errno() == libc::EINTR && held.is_some() => {
                    if let Some(stage) = held {
                        stage.stand(self.id, &self.fd);
                    }
                }
                // Called back: the loop looks why.
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
                Err(error) => {
                    let why = format!("running the guest failed: {error}");
                    board.end(End::Stuck(self.stuck(why, false, Vec::new())));
                }
            }
        }
    }

    fn stuck(&self, why: String, emulating: bool, instruction: Vec<u8>) -> Stuck {
        let at = self.fd.get_regs().map_or(0, |regs| regs.rip);
        Stuck { cpu: self.id, at, instruction, why, emulating, astray: false }
    }

    /// What KVM gave up at; `None` where it may go on.
    #[expect(unsafe_code, reason = "KVM tells why it stopped in memory that it shares")]
    fn internal_error(&mut self, board: &Board, shared: *const kvm_run) -> Option<Stuck> {
        // SAFETY: `shared` is the mapping of this vCPU, which is open. KVM wrote this part of the union for this exit, and all bit
        // patterns are valid for it.
        let (suberror, count, data) = unsafe {
            let internal = &(*shared).__bindgen_anon_1.internal;
            (internal.suberror, internal.ndata, internal.data)
        };
        if suberror == KVM_INTERNAL_ERROR_DELIVERY_EV && self.goes_on() {
            return None;
        }
        if suberror != KVM_INTERNAL_ERROR_EMULATION {
            return Some(self.stuck(format!("internal error {suberror}"), false, Vec::new()));
        }
        // Documentation/virt/kvm/api.rst, KVM_EXIT_INTERNAL_ERROR: flags, then (bit 0 of them) a length and the bytes.
        let mut bytes = Vec::new();
        if count >= 3 && data[0] & 1 != 0 {
            let raw: Vec<u8> = data[1..4].iter().flat_map(|word| word.to_le_bytes()).collect();
            let len = usize::from(raw[0]).min(15);
            bytes = raw[1..=len].to_vec();
        }
        let stuck = self.stuck("it could not carry out an instruction of the guest".into(), true, bytes);
        // An instruction that is in no memory cannot be carried out anywhere.
        let place = self.fd.translate_gva(stuck.at).ok().filter(|place| place.valid != 0);
        let astray = place.is_some_and(|place| !board.has_memory(place.physical_address));
        Some(Stuck { astray, ..stuck })
    }

    /// KVM says that an access to a device came up while an interrupt was delivered. Under an emulated AMD-V (QEMU's) it says so of
    /// the first access after a delivery, too, although nothing is wrong; the guest then goes on from where it was. Once or twice in
    /// a place is believed to be that.
    fn goes_on(&mut self) -> bool {
        const MOST: u8 = 3;
        let at = self.fd.get_regs().map_or(0, |regs| regs.rip);
        let times = if self.undelivered.0 == at { self.undelivered.1.saturating_add(1) } else { 1 };
        self.undelivered = (at, times);
        times <= MOST
    }
}

/// How many bytes each access of a port exit has: a string instruction makes several of them at once.
#[expect(unsafe_code, reason = "KVM tells why it stopped in memory that it shares")]
fn unit_of(shared: *const kvm_run) -> usize {
    // SAFETY: `shared` is the mapping of a vCPU that is open; the thread that runs it is the one that asks. For this exit KVM wrote
    // this part of the union, and all bit patterns are valid for it.
    let (reason, size) = unsafe { ((*shared).exit_reason, (*shared).__bindgen_anon_1.io.size) };
    if reason == KVM_EXIT_IO && matches!(size, 1 | 2 | 4) { size.into() } else { 1 }
}
