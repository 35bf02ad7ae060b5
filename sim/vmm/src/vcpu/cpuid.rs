//! What a vCPU says that it is: the host's CPUID, with the machine's own topology.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// The leaves for vCPU `id` of `cpus`: one thread in each core, all cores in one package.
pub(super) fn for_cpu(mut cpuid: CpuId, id: u8, cpus: u8, deadline_timer: bool) -> CpuId {
    let bits = u32::from(cpus).next_power_of_two().trailing_zeros();
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x1 => {
                entry.ebx = entry.ebx & 0x0000_ffff | u32::from(id) << 24 | u32::from(cpus) << 16;
                // Hypervisor; TSC deadline timer, which the local interrupt controller of KVM has although it is not listed.
                entry.ecx |= 1 << 31 | u32::from(deadline_timer) << 24;
                // Hyper-threading: the count of logical processors above is valid.
                entry.edx = entry.edx & !(1 << 28) | u32::from(cpus > 1) << 28;
            }
            // Caches: how many logical processors share one, how many cores there are.
            0x4 if entry.eax & 0x1f != 0 => {
                let level = entry.eax >> 5 & 7;
                let sharing = if level >= 3 { (1 << bits) - 1 } else { 0 };
                entry.eax = entry.eax & 0x0000_3fff | sharing << 14 | ((1 << bits.min(6)) - 1) << 26;
            }
            0xb | 0x1f => topology(entry, id, cpus, bits),
            0x8000_0008 => entry.ecx = entry.ecx & !0xf0ff | bits << 12 | u32::from(cpus - 1),
            0x8000_001e => {
                entry.eax = id.into();
                entry.ebx = id.into();
                entry.ecx = 0;
            }
            _ => {}
        }
    }
    cpuid
}

/// Extended topology (Intel SDM vol. 2, CPUID leaf 0BH): threads of a core, then cores of a package.
fn topology(entry: &mut kvm_cpuid_entry2, id: u8, cpus: u8, bits: u32) {
    (entry.eax, entry.ebx, entry.ecx) = match entry.index {
        0 => (0, 1, 1 << 8),
        1 => (bits, cpus.into(), 2 << 8 | 1),
        other => (0, 0, other & 0xff),
    };
    entry.edx = id.into();
}
