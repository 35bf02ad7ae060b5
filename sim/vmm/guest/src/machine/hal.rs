//! What the `virtio-drivers` crate asks of its host: memory, and BARs. Physical and virtual addresses are the same here.
#![expect(unsafe_code, reason = "the crate's Hal is an unsafe trait")]

use core::ptr::NonNull;

use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use super::dma::Dma;
use crate::pci::{Address, Pci};

/// This program as a host of drivers.
pub(crate) struct Bare;

// SAFETY: memory is given out once, zeroed and aligned; `mmio_phys_to_virt` is asked for BARs, which are mapped where they are.
unsafe impl Hal for Bare {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match pages.checked_mul(PAGE_SIZE).and_then(Dma::new) {
            Some(memory) => {
                (memory.address(), NonNull::new(memory.address() as *mut u8).unwrap_or(NonNull::dangling()))
            }
            // 0 is the crate's word for "none".
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(paddr as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as u64
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// Configuration space for the crate: ECAM where there is one.
pub(crate) struct Configuration(pub(crate) Pci);

impl ConfigurationAccess for Configuration {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        self.0.read32(Address { device: function.device, function: function.function }, u16::from(offset))
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, value: u32) {
        self.0.write32(Address { device: function.device, function: function.function }, u16::from(offset), value);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0)
    }
}
