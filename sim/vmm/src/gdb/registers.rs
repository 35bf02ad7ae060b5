//! A CPU's registers as gdb has them.

use gdbstub_arch::x86::reg::{X86_64CoreRegs, X86SegmentRegs, X87FpuInternalRegs};
use kvm_bindings::{kvm_fpu, kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;

/// Reads all of a CPU.
pub(super) fn read(fd: &VcpuFd) -> Result<X86_64CoreRegs, kvm_ioctls::Error> {
    let (regs, sregs, fpu) = (fd.get_regs()?, fd.get_sregs()?, fd.get_fpu()?);
    Ok(to_gdb(&regs, &sregs, &fpu))
}

/// Writes all of a CPU but its segments, whose descriptors gdb does not know; `false` if those were to change.
pub(super) fn write(fd: &VcpuFd, new: &X86_64CoreRegs) -> Result<bool, kvm_ioctls::Error> {
    let mut fpu = fd.get_fpu()?;
    if segments(&fd.get_sregs()?) != new.segments {
        return Ok(false);
    }
    fd.set_regs(&general(new))?;
    set_fpu(&mut fpu, new);
    fd.set_fpu(&fpu)?;
    Ok(true)
}

fn segments(sregs: &kvm_sregs) -> X86SegmentRegs {
    X86SegmentRegs {
        cs: sregs.cs.selector.into(),
        ss: sregs.ss.selector.into(),
        ds: sregs.ds.selector.into(),
        es: sregs.es.selector.into(),
        fs: sregs.fs.selector.into(),
        gs: sregs.gs.selector.into(),
    }
}

fn to_gdb(regs: &kvm_regs, sregs: &kvm_sregs, fpu: &kvm_fpu) -> X86_64CoreRegs {
    let mut st = [[0; 10]; 8];
    for (to, from) in st.iter_mut().zip(&fpu.fpr) {
        to.copy_from_slice(&from[..10]);
    }
    X86_64CoreRegs {
        regs: [
            regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.rsp, regs.r8, regs.r9, regs.r10,
            regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
        ],
        // The upper half is reserved (Intel SDM vol. 1, §3.4.3).
        eflags: regs.rflags as u32,
        rip: regs.rip,
        segments: segments(sregs),
        st,
        fpu: X87FpuInternalRegs {
            fctrl: fpu.fcw.into(),
            fstat: fpu.fsw.into(),
            ftag: full_tags(fpu.ftwx),
            fioff: fpu.last_ip as u32,
            fooff: fpu.last_dp as u32,
            fop: fpu.last_opcode.into(),
            ..X87FpuInternalRegs::default()
        },
        xmm: fpu.xmm.map(u128::from_le_bytes),
        mxcsr: fpu.mxcsr,
    }
}

fn general(new: &X86_64CoreRegs) -> kvm_regs {
    let [rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15] = new.regs;
    // Bit 1 is always set.
    let rflags = u64::from(new.eflags) | 2;
    let rip = new.rip;
    kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

fn set_fpu(fpu: &mut kvm_fpu, new: &X86_64CoreRegs) {
    // Bits that no processor has would be a fault at the next entry.
    const MXCSR: u32 = 0xffff;
    for (to, from) in fpu.fpr.iter_mut().zip(&new.st) {
        to[..10].copy_from_slice(from);
    }
    fpu.fcw = new.fpu.fctrl as u16;
    fpu.fsw = new.fpu.fstat as u16;
    fpu.ftwx = short_tags(new.fpu.ftag);
    fpu.xmm = new.xmm.map(u128::to_le_bytes);
    fpu.mxcsr = new.mxcsr & MXCSR;
}

/// KVM has a bit for each floating point register, set if it is in use; gdb has two, both set if it is not.
fn full_tags(short: u8) -> u32 {
    (0..8).filter(|index| short & 1 << index == 0).fold(0, |tags, index| tags | 3 << (index * 2))
}

fn short_tags(full: u32) -> u8 {
    (0..8).filter(|index| full >> (index * 2) & 3 != 3).fold(0, |tags, index| tags | 1 << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_comes_back_as_it_went() {
        let regs = kvm_regs {
            rax: 1,
            rbx: 2,
            rcx: 3,
            rdx: 4,
            rsi: 5,
            rdi: 6,
            rsp: 7,
            rbp: 8,
            r8: 9,
            r9: 10,
            r10: 11,
            r11: 12,
            r12: 13,
            r13: 14,
            r14: 15,
            r15: 16,
            rip: 17,
            rflags: 0x246,
        };
        let mut fpu = kvm_fpu { fcw: 0x37f, fsw: 0x3800, ftwx: 0xa5, mxcsr: 0x1f80, ..Default::default() };
        fpu.xmm[15] = [7; 16];
        fpu.fpr[3][..10].copy_from_slice(&[9; 10]);
        let seen = to_gdb(&regs, &kvm_sregs::default(), &fpu);
        // gdb's order: RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP.
        assert_eq!(seen.regs[..8], [1, 2, 3, 4, 5, 6, 8, 7]);
        assert_eq!(general(&seen), regs);
        let mut back = kvm_fpu::default();
        set_fpu(&mut back, &seen);
        assert_eq!(back, fpu);
    }

    #[test]
    fn tags_of_floating_point_registers_are_both_bits_or_none() {
        assert_eq!(full_tags(0), 0xffff);
        assert_eq!(full_tags(0b1000_0001), 0x3ffc);
        assert!((0..=255).all(|short| short_tags(full_tags(short)) == short));
    }
}
