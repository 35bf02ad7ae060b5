//! The state in which a vCPU starts.

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;

use crate::boot::Start;
use crate::error::{Asked, Error};
use crate::layout;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// A flat segment, as its cached descriptor (Intel SDM vol. 3, §3.4.3).
fn flat(selector: u16, kind: u8, long: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        db: (!long).into(),
        s: 1,
        l: long.into(),
        g: 1,
        ..Default::default()
    }
}

/// Puts the first vCPU at the kernel's entry.
pub(super) fn set_start(fd: &VcpuFd, start: Start) -> Result<(), Error> {
    let mut sregs = fd.get_sregs().asked_to("give a vCPU's registers")?;
    // Execute, read, accessed; read, write, accessed; a busy task of 32 bits.
    let (code, data, task) = (0xb, 0x3, 0xb);
    let long = matches!(start, Start::Linux(_));
    sregs.cs = flat(0x10, code, long);
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *segment = flat(0x18, data, false);
    }
    sregs.tr = kvm_segment { limit: 0x67, selector: 0x20, type_: task, present: 1, ..Default::default() };
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = (gdt(start).len() * 8 - 1) as u16;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cr0 = CR0_PE | CR0_ET;
    let mut regs = kvm_regs { rflags: 2, rsp: layout::ZERO_PAGE, ..Default::default() };
    match start {
        Start::Pvh(entry) => {
            regs.rip = entry;
            regs.rbx = layout::START_INFO;
        }
        Start::Linux(entry) => {
            sregs.cr0 |= CR0_PG;
            sregs.cr3 = layout::PAGE_TABLES;
            sregs.cr4 |= CR4_PAE;
            sregs.efer |= EFER_LME | EFER_LMA;
            regs.rip = entry;
            regs.rsi = layout::ZERO_PAGE;
        }
    }
    fd.set_sregs(&sregs).asked_to("set a vCPU's registers")?;
    fd.set_regs(&regs).asked_to("set a vCPU's registers")
}

/// The descriptors behind the segments, for software that loads a selector before it has a table of its own: two of nothing, code,
/// data, task.
pub(crate) fn gdt(start: Start) -> [u64; 5] {
    let code = match start {
        Start::Pvh(_) => 0x00cf_9b00_0000_ffff,
        Start::Linux(_) => 0x00af_9b00_0000_ffff,
    };
    [0, 0, code, 0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067]
}

/// Memory is write-back unless something says otherwise, and string instructions are fast (Intel SDM vol. 4).
pub(super) fn set_msrs(fd: &VcpuFd) -> Result<(), Error> {
    const MISC_ENABLE: u32 = 0x1a0;
    const MTRR_DEFAULT: u32 = 0x2ff;
    let entries = [(MISC_ENABLE, 1), (MTRR_DEFAULT, 0xc06)];
    for (index, data) in entries {
        let msrs = Msrs::from_entries(&[kvm_msr_entry { index, data, ..Default::default() }])
            .map_err(|_| Error::Capability("room for model-specific registers"))?;
        // One that this processor does not have is none that its kernels need.
        let _ = fd.set_msrs(&msrs).asked_to("set a vCPU's model-specific registers")?;
    }
    Ok(())
}

/// The interrupt pins of the local interrupt controller as a PC's firmware leaves them: the old controller, and NMI
/// (MultiProcessor Specification 1.4 §3.6.2.2).
pub(super) fn set_lapic(fd: &VcpuFd) -> Result<(), Error> {
    const LVT0: usize = 0x350;
    const LVT1: usize = 0x360;
    const EXTINT: u32 = 7;
    const NMI: u32 = 4;
    let mut state = fd.get_lapic().asked_to("give a vCPU's interrupt controller")?;
    for (at, mode) in [(LVT0, EXTINT), (LVT1, NMI)] {
        for (byte, new) in state.regs[at..at + 4].iter_mut().zip((mode << 8).to_le_bytes()) {
            *byte = new as _;
        }
    }
    fd.set_lapic(&state).asked_to("set a vCPU's interrupt controller")
}
