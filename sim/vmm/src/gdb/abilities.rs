//! What of debugging this host's KVM really does.
//!
//! It says that it does all of it, but a nested one may carry the guest's kernel out in software, without watchpoints and without
//! `int3`, and an AMD-V that QEMU emulates delivers `int3` to the guest whatever is asked of it. A breakpoint that cannot be had is
//! better refused than left to fail in the guest; so two guests of an instruction each are run.

use bringup_core::Ram;
use gdbstub::target::ext::breakpoints::WatchKind;
use kvm_bindings::kvm_regs;
use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::traps::Traps;
use crate::{layout, memory};

/// What can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// It tells of `int3`.
    pub(super) int3: bool,
    /// It tells of accesses to what is watched.
    pub(super) watch: bool,
}

const PAGE: usize = 4096;
const CODE: u64 = 0x800;
const WATCHED: u64 = 0x900;

impl Abilities {
    /// Tries.
    pub(crate) fn of(kvm: &Kvm) -> Self {
        // More software breakpoints than there are registers, that at the code among them.
        let mut breakpoints = Traps::new(Self::ALL);
        (0..4).for_each(|at| _ = breakpoints.add_soft(at));
        breakpoints.add_soft(CODE);
        let mut watch = Traps::new(Self::ALL);
        watch.add_watch(WATCHED, 1, WatchKind::Write);
        // int3; mov [0x900], al; and then hlt, which ends either guest.
        Self {
            int3: tells(kvm, &[0xcc, 0xf4], &breakpoints).unwrap_or(false),
            watch: tells(kvm, &[0xa2, 0x00, 0x09, 0xf4], &watch).unwrap_or(false),
        }
    }

    /// All of it.
    pub(super) const ALL: Self = Self { int3: true, watch: true };
}

/// Whether KVM stops a guest of this code, in real mode without an interrupt table, at one of these.
fn tells(kvm: &Kvm, code: &[u8], traps: &Traps) -> Option<bool> {
    let ram = Ram::open(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), PAGE)]).ok()?);
    ram.memory().write_slice(code, GuestAddress(CODE)).ok()?;
    let vm = kvm.create_vm().ok()?;
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP).ok()?;
    vm.set_tss_address(layout::KVM_TSS as usize).ok()?;
    memory::give(&vm, &ram).ok()?;
    // Without interrupt controllers: nothing waits in the kernel.
    let mut cpu = vm.create_vcpu(0).ok()?;
    let mut sregs = cpu.get_sregs().ok()?;
    (sregs.cs.base, sregs.cs.selector, sregs.idt.limit) = (0, 0, 0);
    cpu.set_sregs(&sregs).ok()?;
    cpu.set_regs(&kvm_regs { rip: CODE, rsp: WATCHED, rflags: 2, ..Default::default() }).ok()?;
    let plan = traps.plan();
    cpu.set_guest_debug(&plan.debug(false, 0)).ok()?;
    let told = match cpu.run() {
        Ok(VcpuExit::Debug(stop)) => plan.cause(&stop, false).is_ok(),
        _ => false,
    };
    // The memory outlives the machine that has it mapped.
    drop((cpu, vm));
    Some(told)
}
