//! The machine's memory.

use bringup_core::Ram;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::error::{Asked, Error};
use crate::layout;

/// The least memory that a machine has, in bytes: what boots lies below, and a kernel above 1 MiB.
pub const LEAST: u64 = 2 << 20;
/// The most: below the window for 64-bit BARs.
pub const MOST: u64 = 256 << 30;

/// Memory of `bytes`, a multiple of 4096, laid out as [`layout`] says, for a bus whose devices see it as it is. The host's is used
/// only for pages that are touched.
///
/// # Errors
/// When it is too little, too much, or more than the host has.
pub fn memory(bytes: u64) -> Result<Ram, Error> {
    let mib = |bytes: u64| bytes >> 20;
    let refuse = |why: String| Err(Error::Memory(why));
    if bytes < LEAST {
        let given =
            if bytes.is_multiple_of(1 << 20) { format!("{} MiB", mib(bytes)) } else { format!("{bytes} bytes") };
        return refuse(format!("{given} of memory are too few for a machine; it takes {} MiB or more", mib(LEAST)));
    }
    if !bytes.is_multiple_of(4096) {
        return refuse(format!("{bytes} bytes of memory are no whole pages of 4096"));
    }
    let info = rustix::system::sysinfo();
    let host = info.totalram.saturating_mul(info.mem_unit.into());
    if bytes > host.min(MOST) {
        let most = if host < MOST { "this host has" } else { "a machine takes at most" };
        return refuse(format!("{} MiB of memory are too much: {most} {} MiB", mib(bytes), mib(host.min(MOST))));
    }
    let low = bytes.min(layout::LOW_MEMORY_END);
    let mut ranges = vec![(GuestAddress(0), low as usize)];
    if bytes > low {
        ranges.push((GuestAddress(layout::HIGH_MEMORY), (bytes - low) as usize));
    }
    GuestMemoryMmap::from_ranges(&ranges)
        .map(Ram::open)
        .map_err(|error| Error::Memory(format!("the host does not give {} MiB of memory: {error}", mib(bytes))))
}

/// Gives the memory to a virtual machine. It must live as long as that does.
#[expect(unsafe_code, reason = "KVM maps this process' memory into a guest")]
pub(crate) fn give(vm: &VmFd, ram: &Ram) -> Result<(), Error> {
    for (slot, region) in ram.memory().iter().enumerate() {
        let Some(host) = ram.host_address(region.start_addr()) else { continue };
        let region = kvm_userspace_memory_region {
            slot: slot as u32,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: host as u64,
        };
        // A child (the terminal's guardian) has no use for it, and would have the host copy every page that the guest writes meanwhile.
        // SAFETY: the range is a mapping of this process; its content does not change.
        unsafe { libc::madvise(host.cast(), region.memory_size as usize, libc::MADV_DONTFORK) };
        // SAFETY: the range is a mapping of this process that vm-memory owns. The board keeps both until all vCPUs are gone, and all
        // of this process reads and writes it as volatile memory that others change.
        unsafe { vm.set_user_memory_region(region) }.asked_to("map the memory")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_odd_and_too_much_memory_are_refused_in_a_line() {
        for (bytes, word) in [(0, "too few"), (4096, "too few"), (LEAST + 1, "whole pages"), (1 << 50, "too much")] {
            let said = memory(bytes).unwrap_err().to_string();
            assert!(said.contains(word) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn memory_beyond_the_gap_goes_on_above_4_gib() {
        // Address space only: nothing touches it.
        let Ok(ram) = memory(4 << 30) else { return println!("SKIPPED memory above 4 GiB: this host has less") };
        let regions: Vec<_> = ram.memory().iter().map(|r| (r.start_addr().0, r.len())).collect();
        assert_eq!(regions, [(0, 3 << 30), (4 << 30, 1 << 30)]);
    }
}
