//! Memory barriers: what comes before them is seen before what comes after.
//!
//! The orderings are those of the Linux kernel memory model.

#![expect(private_bounds, reason = "nobody else defines an ordering")]

use crate::machine;

/// What a barrier keeps in order, as its argument.
pub mod ordering {
    pub use crate::sync::atomic::ordering::Full;

    /// Reads before it stay before reads after it.
    pub struct Read;

    /// Writes before it stay before writes after it.
    pub struct Write;
}

pub use ordering::{Full, Read, Write};

/// The orderings that a barrier can have.
trait MemoryBarrier {
    /// As the machine calls it.
    const KIND: machine::Barrier;
}

impl MemoryBarrier for Full {
    const KIND: machine::Barrier = machine::Barrier::Full;
}

impl MemoryBarrier for Read {
    const KIND: machine::Barrier = machine::Barrier::Read;
}

impl MemoryBarrier for Write {
    const KIND: machine::Barrier = machine::Barrier::Write;
}

/// What every barrier is. A point: devices may work, and interrupts arrive.
#[track_caller]
fn run<T: MemoryBarrier>(reach: machine::Reach) {
    if super::in_task() {
        machine::barrier(T::KIND, reach);
    }
}

/// Orders memory and device accesses, as all processors and devices see them: `mb(Full)` is C's `mb()`, `mb(Read)` its
/// `rmb()`, `mb(Write)` its `wmb()`.
///
/// It orders relaxed accesses to registers, too. A write to a register that was made before it may still be under way after it.
///
/// # Examples
///
/// ```
/// use kernel::sync::barrier::{mb, Full, Read, Write};
///
/// mb(Read);
/// mb(Write);
/// mb(Full);
/// ```
#[doc(alias = "rmb")]
#[doc(alias = "wmb")]
#[track_caller]
pub fn mb<T: MemoryBarrier>(_: T) {
    run::<T>(machine::Reach::All);
}

/// Orders memory accesses as other processors see them; for what devices see use [`dma_mb`]: to them it orders nothing.
#[doc(alias = "smp_rmb")]
#[doc(alias = "smp_wmb")]
#[track_caller]
pub fn smp_mb<T: MemoryBarrier>(_: T) {
    run::<T>(machine::Reach::Cpus);
}

/// Orders accesses to memory that is shared with devices, as these see them. Relaxed accesses to registers it does not order.
#[doc(alias = "dma_rmb")]
#[doc(alias = "dma_wmb")]
#[track_caller]
pub fn dma_mb<T: MemoryBarrier>(_: T) {
    run::<T>(machine::Reach::Memory);
}
