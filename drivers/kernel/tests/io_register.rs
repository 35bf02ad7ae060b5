//! `kernel::io` and `kernel::io::register!`: which accesses the methods make, of what width, where, and for whom.

#![allow(unsafe_code, reason = "a backend of its own and views of local memory")]

use core::{cell::RefCell, marker::PhantomData, panic::Location, ptr};
use kernel::{
    io::{
        io_project, io_read, io_write,
        poll::read_poll_timeout_atomic,
        register,
        register::{Array, RegisterBase, WithBase},
        Io, IoBackend, IoBase, IoCapable, IoCopyable, IoSysMap, MmioRaw, Region, SysMem,
    },
    num::Bounded,
    prelude::*,
    ptr::KnownSize,
    time::Delta,
};
use std::vec::Vec;

/// Where the memory of the test backend starts: high, and aligned for everything.
const BASE: usize = 0xffff_8000_0000_0000;

/// `(what, offset, width, value)`.
type Access = (&'static str, usize, usize, u64);

thread_local! {
    static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![0; 0x1000]);
    static LOG: RefCell<Vec<(Access, u32)>> = const { RefCell::new(Vec::new()) };
}

/// The accesses since the last call.
fn accesses() -> Vec<Access> {
    LOG.take().into_iter().map(|(access, _line)| access).collect()
}

/// The lines of this file that the accesses since the last call are attributed to.
fn lines() -> Vec<u32> {
    LOG.take().into_iter().map(|(_access, line)| line).collect()
}

fn record(access: Access, caller: &Location<'_>) {
    LOG.with_borrow_mut(|log| log.push((access, caller.line())));
}

fn poke(offset: usize, bytes: &[u8]) {
    MEMORY.with_borrow_mut(|memory| memory[offset..][..bytes.len()].copy_from_slice(bytes));
}

/// A view of the test backend.
struct View<'a, T: ?Sized>(*mut T, PhantomData<&'a ()>);

impl<T: ?Sized> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for View<'_, T> {}

impl<'a, T: ?Sized + KnownSize> IoBase<'a> for View<'a, T> {
    type Backend = Backend;
    type Target = T;

    fn as_view(self) -> Self {
        self
    }
}

/// Keeps the memory in a vector and a log of the accesses.
struct Backend;

impl IoBackend for Backend {
    type View<'a, T: ?Sized + KnownSize> = View<'a, T>;

    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T {
        view.0
    }

    unsafe fn project_view<'a, T: ?Sized + KnownSize, U: ?Sized + KnownSize>(
        _view: Self::View<'a, T>,
        ptr: *mut U,
    ) -> Self::View<'a, U> {
        View(ptr, PhantomData)
    }
}

macro_rules! widths {
    ($($ty:ident)*) => {$(
        impl IoCapable<$ty> for Backend {
            #[track_caller]
            fn io_read(view: View<'_, $ty>) -> $ty {
                let offset = view.0.addr() - BASE;
                let value = MEMORY.with_borrow(|memory| {
                    $ty::from_le_bytes(memory[offset..][..size_of::<$ty>()].try_into().unwrap())
                });
                let access = ("read", offset, size_of::<$ty>(), u64::from(value));
                record(access, Location::caller());
                value
            }

            #[track_caller]
            fn io_write(view: View<'_, $ty>, value: $ty) {
                let offset = view.0.addr() - BASE;
                poke(offset, &value.to_le_bytes());
                let access = ("write", offset, size_of::<$ty>(), u64::from(value));
                record(access, Location::caller());
            }
        }
    )*};
}

widths!(u8 u16 u32 u64);

/// A device's registers; owns its mapping, as a BAR does.
struct Bar;

const BAR_SIZE: usize = 0x200;

impl<'a> IoBase<'a> for &'a Bar {
    type Backend = Backend;
    type Target = Region<BAR_SIZE>;

    fn as_view(self) -> View<'a, Region<BAR_SIZE>> {
        let base = ptr::without_provenance_mut(BASE);
        View(Region::ptr_from_raw_parts_mut(base, 2 * BAR_SIZE), PhantomData)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Off,
    On,
}

impl From<Bounded<u32, 1>> for Mode {
    fn from(bit: Bounded<u32, 1>) -> Self {
        if bit.into_bool() {
            Mode::On
        } else {
            Mode::Off
        }
    }
}

impl From<Mode> for Bounded<u32, 1> {
    fn from(mode: Mode) -> Self {
        (mode == Mode::On).into()
    }
}

#[derive(Debug, PartialEq)]
struct Version(u32);

impl TryFrom<Bounded<u32, 8>> for Version {
    type Error = Error;

    fn try_from(version: Bounded<u32, 8>) -> Result<Self> {
        if version == 0 {
            Err(EINVAL)
        } else {
            Ok(Self(version.get()))
        }
    }
}

impl From<Version> for Bounded<u32, 8> {
    fn from(version: Version) -> Self {
        Bounded::from_expr(version.0 & 0xff)
    }
}

/// Blocks of the device that serve one queue each.
struct QueueBlock;

struct Admin;
impl RegisterBase<QueueBlock> for Admin {
    const BASE: usize = 0x100;
}

struct Bulk;
impl RegisterBase<QueueBlock> for Bulk {
    const BASE: usize = 0x180;
}

register! {
    /// Fixed.
    CONTROL(u32) @ 0x10 {
        15:8 version ?=> Version;
        7:4 burst;
        0:0 mode => Mode;
    }

    /// Alias of a fixed register.
    CONTROL_RAW(u32) => CONTROL {
        31:0 bits;
    }

    DOORBELL(u16) @ 0x1e {
        15:0 tail;
    }

    ID(u8) @ 0x3 {
        7:0 id;
    }

    /// Array, side by side.
    SCRATCH(u32)[4] @ 0x20 {
        31:0 word;
    }

    /// Array with gaps.
    VECTOR(u8)[4, stride = 8] @ 0x44 {
        0:0 masked;
    }

    /// Alias of one of an array.
    FIRMWARE(u32) => SCRATCH[3] {
        31:16 major;
        15:0 minor;
    }

    /// Relative.
    LEVEL(u16) @ QueueBlock + 0x2 {
        15:0 entries;
    }

    /// Alias of a relative register.
    LEVEL_BYTES(u16) => QueueBlock + LEVEL {
        15:8 high;
        7:0 low;
    }

    /// Relative array.
    SLOT(u32)[3] @ QueueBlock + 0x10 {
        31:0 word;
    }

    /// Relative array with gaps.
    TIMER(u16)[2, stride = 0x10] @ QueueBlock + 0x24 {
        15:0 ticks;
    }

    /// Alias of one of a relative array.
    SLOT_ERROR(u32) => QueueBlock + SLOT[2] {
        31:31 error;
    }

    /// Larger than what the build knows, within what there is.
    BEYOND(u32) @ 0x3fc {
        31:0 word;
    }

    OUTSIDE(u32) @ 0x400 {
        31:0 word;
    }
}

#[test]
fn fixed_register_is_accessed_once_at_its_offset_and_width() {
    poke(0x10, &0x0000_2071_u32.to_le_bytes());

    let control = Bar.read(CONTROL);
    let id = Bar.read(ID);
    Bar.write(DOORBELL, DOORBELL::zeroed().with_tail(0x1234_u16));

    assert_eq!((control.mode(), control.burst().get(), id.id().get()), (Mode::On, 7, 0));
    assert_eq!(control.version(), Ok(Version(0x20)));
    assert_eq!(accesses(), [("read", 0x10, 4, 0x2071), ("read", 0x3, 1, 0), ("write", 0x1e, 2, 0x1234)]);
}

#[test]
fn value_says_where_a_fixed_register_is_written() {
    let control = CONTROL::zeroed().with_mode(Mode::On);

    Bar.write_reg(control);
    Bar.write((), control);
    Bar.write(control, control);
    let checked = Bar.try_write_reg(control);

    assert_eq!(checked, Ok(()));
    assert_eq!(accesses(), [("write", 0x10, 4, 1); 4]);
}

#[test]
fn conversion_that_fails_is_reported_by_the_getter() {
    assert_eq!(CONTROL::zeroed().version(), Err(EINVAL));
    assert_eq!(CONTROL::zeroed().with_version(Version(3)).into_raw(), 0x300);
}

#[test]
fn update_reads_and_then_writes_the_changed_value() {
    poke(0x10, &0xff00_00f0_u32.to_le_bytes());

    Bar.update(CONTROL, |control| control.with_mode(Mode::On));
    let checked = Bar.try_update(CONTROL, CONTROL::with_const_burst::<3>);

    assert_eq!(checked, Ok(()));
    assert_eq!(
        accesses(),
        [
            ("read", 0x10, 4, 0xff00_00f0),
            ("write", 0x10, 4, 0xff00_00f1),
            ("read", 0x10, 4, 0xff00_00f1),
            ("write", 0x10, 4, 0xff00_0031),
        ]
    );
}

#[test]
fn alias_has_other_fields_at_the_same_place() {
    poke(0x10, &[1, 2, 3, 4]);

    assert_eq!(Bar.read(CONTROL_RAW).bits(), 0x0403_0201);
    assert_eq!(accesses(), [("read", 0x10, 4, 0x0403_0201)]);
}

#[test]
fn array_elements_are_one_stride_apart() {
    Bar.write(SCRATCH::at(2), SCRATCH::from(7));
    Bar.write(Array::at(3), VECTOR::zeroed().with_masked(true));
    Bar.read(SCRATCH::at(0));

    assert_eq!(accesses(), [("write", 0x28, 4, 7), ("write", 0x5c, 1, 1), ("read", 0x20, 4, 0)]);
}

#[test]
fn array_index_at_the_size_has_no_location() {
    assert!(SCRATCH::try_at(3).is_some());
    assert!(SCRATCH::try_at(4).is_none());
    assert!(SLOT::of::<Bulk>().try_at(2).is_some());
    assert!(SLOT::of::<Bulk>().try_at(3).is_none());
}

#[test]
#[should_panic(expected = "bringup-build-error")]
fn array_index_out_of_bounds_panics_where_linux_would_not_link() {
    Bar.read(SCRATCH::at(std::hint::black_box(4)));
}

#[test]
fn alias_of_an_element_is_where_the_element_is() {
    Bar.update(FIRMWARE, |firmware| firmware.with_major(2_u16).with_minor(5_u16));

    assert_eq!(accesses(), [("read", 0x2c, 4, 0), ("write", 0x2c, 4, 0x2_0005)]);
}

#[test]
fn relative_register_is_once_in_each_block() {
    Bar.write(LEVEL::of::<Admin>(), LEVEL::from(1));
    Bar.write(WithBase::of::<Bulk>(), LEVEL::from(0x203));

    assert_eq!(Bar.read(LEVEL_BYTES::of::<Bulk>()).high(), 2);
    assert_eq!(accesses(), [("write", 0x102, 2, 1), ("write", 0x182, 2, 0x203), ("read", 0x182, 2, 0x203)]);
}

#[test]
fn relative_array_counts_from_the_block() {
    Bar.write(SLOT::of::<Bulk>().at(1), SLOT::from(9));
    Bar.write(WithBase::of::<Admin>().at(2), SLOT::from(1 << 31));
    Bar.read(TIMER::of::<Admin>().at(1));

    assert!(Bar.read(SLOT_ERROR::of::<Admin>()).error().into_bool());
    assert_eq!(
        accesses(),
        [("write", 0x194, 4, 9), ("write", 0x118, 4, 1 << 31), ("read", 0x134, 2, 0), ("read", 0x118, 4, 1 << 31),]
    );
}

#[test]
fn checked_access_goes_by_the_real_size() {
    assert!(Bar.try_read(BEYOND).is_ok());
    assert_eq!(Bar.try_read(OUTSIDE).map(OUTSIDE::into_raw), Err(EINVAL));
    assert_eq!(Bar.try_write_reg(OUTSIDE::zeroed()), Err(EINVAL));
    assert_eq!(Bar.try_update(OUTSIDE, |_| unreachable!("there is nothing to update")), Err(EINVAL));
    assert_eq!(accesses(), [("read", 0x3fc, 4, 0)]);
}

#[test]
fn checked_access_refuses_what_is_misaligned_or_wraps() {
    assert_eq!(Bar.try_read32(2), Err(EINVAL));
    assert_eq!(Bar.try_write16(1, 7), Err(EINVAL));
    assert_eq!(Bar.try_read8(2 * BAR_SIZE), Err(EINVAL));
    assert_eq!(Bar.try_read32(usize::MAX - 3), Err(EINVAL));
    assert_eq!(accesses(), []);
}

#[test]
fn offsets_are_accessed_with_the_width_in_the_name() {
    poke(0x30, &[1, 2, 3, 4, 5, 6, 7, 8]);

    assert_eq!((Bar.read8(0x33), Bar.read16(0x32), Bar.read32(0x30)), (4, 0x0403, 0x0403_0201));
    assert_eq!(Bar.try_read64(0x30), Ok(0x0807_0605_0403_0201));
    Bar.write8(0xaa, 0x1ff);
    Bar.write16(0xbbbb, 0x1fe);
    Bar.write32(0xcccc_cccc, 0x1fc);
    assert_eq!(
        accesses()[4..],
        [("write", 0x1ff, 1, 0xaa), ("write", 0x1fe, 2, 0xbbbb), ("write", 0x1fc, 4, 0xcccc_cccc)]
    );
}

#[test]
#[should_panic(expected = "bringup-build-error")]
fn infallible_access_beyond_what_the_build_knows_panics_where_linux_would_not_link() {
    Bar.read32(std::hint::black_box(BAR_SIZE));
}

#[test]
#[should_panic(expected = "bringup-build-error")]
fn infallible_misaligned_access_panics_where_linux_would_not_link() {
    Bar.read32(std::hint::black_box(0x11));
}

#[test]
fn debug_of_a_register_shows_the_raw_value_and_the_fields() {
    let control = CONTROL::from(0x0000_2071);

    assert_eq!(
        format!("{control:?}"),
        "CONTROL { <raw>: 0x2071, version: Ok(Version(32)), burst: Bounded(7), mode: On }"
    );
}

#[test]
fn accesses_are_attributed_to_the_calling_line() {
    let first = line!();
    Bar.read(CONTROL);
    Bar.write_reg(CONTROL::zeroed());
    Bar.update(SCRATCH::at(0), |scratch| scratch);
    Bar.write32(0, 0x10);
    let _ = Bar.try_read16(0x1e);
    let _ = Bar.try_write_reg(CONTROL::zeroed());
    let _ = Bar.try_update(CONTROL, |control| control);
    io_read!(queues(), [panic: 0].head);
    io_write!(queues(), [panic: 0].head, 1);

    let expected = [1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9].map(|after| first + after);
    assert_eq!(lines(), expected);
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Clone, Copy, Debug, PartialEq)]
struct Queue {
    head: u32,
    tail: u16,
    flags: [u8; 2],
    base: u64,
}

/// Four queues, not known to be as many.
fn queues() -> View<'static, [Queue]> {
    View(ptr::slice_from_raw_parts_mut(ptr::without_provenance_mut(BASE + 0x800), 4), PhantomData)
}

#[test]
fn parts_of_a_typed_view_are_accessed_with_their_own_width() {
    let all = View(ptr::without_provenance_mut::<[Queue; 4]>(BASE + 0x800), PhantomData);

    io_write!(all, [build: 1].tail, 0x55aa);
    io_write!(all, [panic: 3].flags[build: 1], 7);
    io_write!(all, [build: 2].base, 1 << 40);
    let head = io_read!(all, [panic: 0].head);

    assert_eq!(head, 0);
    assert_eq!(
        accesses(),
        [("write", 0x814, 2, 0x55aa), ("write", 0x837, 1, 7), ("write", 0x828, 8, 1 << 40), ("read", 0x800, 4, 0),]
    );
}

#[test]
fn tried_part_out_of_bounds_is_erange_and_no_access() {
    let read = |n: usize| -> Result<u16> { Ok(io_read!(queues(), [try: n].tail)) };
    let write = |n: usize| -> Result {
        io_write!(queues(), [try: n].tail, 1);
        Ok(())
    };

    assert_eq!((read(3), read(4)), (Ok(0), Err(ERANGE)));
    assert_eq!((write(3), write(4)), (Ok(()), Err(ERANGE)));
    assert_eq!(accesses(), [("read", 0x834, 2, 0), ("write", 0x834, 2, 1)]);
}

#[test]
#[should_panic(expected = "out of bounds")]
fn panicking_part_out_of_bounds_panics() {
    io_read!(queues(), [panic: 4].tail);
}

#[test]
fn projected_view_is_a_view_of_the_part() {
    let middle = io_project!(queues(), [panic: 1..3]);
    let base = io_project!(middle, [panic: 1].base);

    assert_eq!((middle.len(), middle.is_empty(), middle.size()), (2, false, 32));
    base.write_val(3);
    assert_eq!(base.read_val(), 3);
    assert_eq!(accesses(), [("write", 0x828, 8, 3), ("read", 0x828, 8, 3)]);
}

#[test]
fn owner_of_a_mapping_can_be_projected_without_a_reference() {
    let bytes = Bar.try_cast::<[u32; 8]>().map(|words| io_read!(words, [build: 4]));

    assert_eq!(bytes, Ok(0));
    assert_eq!(accesses(), [("read", 0x10, 4, 0)]);
}

#[test]
fn cast_to_what_does_not_fit_or_align_is_refused() {
    let odd = View(Region::<8>::ptr_from_raw_parts_mut(ptr::without_provenance_mut(BASE + 4), 12), PhantomData);

    assert!(odd.try_cast::<[u32; 3]>().is_ok());
    assert_eq!(odd.try_cast::<[u32; 4]>().err(), Some(EINVAL));
    assert_eq!(odd.try_cast::<u64>().err(), Some(EINVAL));
}

#[test]
fn region_must_be_whole_aligned_words_of_its_least_size() {
    assert_eq!(MmioRaw::<Region<16>>::new_region(0x1000, 16).map(|raw| raw.size()), Ok(16));
    assert_eq!(MmioRaw::<Region<16>>::new_region(0x1000, 32).map(|raw| raw.addr()), Ok(0x1000));
    assert_eq!(MmioRaw::<Region<16>>::new_region(0x1000, 12).err(), Some(EINVAL));
    assert_eq!(MmioRaw::<Region<16>>::new_region(0x1000, 18).err(), Some(EINVAL));
    assert_eq!(MmioRaw::<Region<16>>::new_region(0x1002, 16).err(), Some(EINVAL));
}

#[test]
fn memory_is_read_and_written_through_its_view() {
    let mut memory = [Queue { head: 1, tail: 2, flags: [3, 4], base: 5 }; 3];
    // SAFETY: The array outlives the view, and is not touched otherwise until its last use.
    let view = unsafe { SysMem::new(&raw mut memory) };

    io_write!(view, [build: 1].tail, 0xabcd);
    io_project!(view, [build: 2]).copy_write(Queue { head: 9, tail: 9, flags: [9; 2], base: 9 });
    let copied = io_project!(view, [build: 0]).copy_read();

    assert_eq!((copied, memory[1].tail), (memory[0], 0xabcd));
    assert_eq!(memory[2], Queue { head: 9, tail: 9, flags: [9; 2], base: 9 });
}

#[test]
fn slices_are_copied_byte_for_byte_at_any_alignment() {
    let mut memory = core::array::from_fn::<u64, 4, _>(|n| n as u64);
    let bytes = ptr::slice_from_raw_parts_mut((&raw mut memory).cast::<u8>(), 32);
    // SAFETY: The array outlives the view, and is not touched otherwise until its last use.
    let view: IoSysMap<'_, [u8]> = unsafe { SysMem::new(bytes) }.into();
    let data: Vec<u8> = (100..121).collect();

    let part = io_project!(view, [panic: 3..24]);
    part.copy_from_slice(&data);
    let mut back = [0; 21];
    part.copy_to_slice(&mut back);

    assert_eq!(back, *data);
    assert_eq!(memory.as_bytes()[..3], [0, 0, 0]);
    assert_eq!((memory.as_bytes()[23], memory[3]), (120, 3));
}

#[test]
#[should_panic(expected = "lengths of I/O memory and slice")]
fn copying_between_different_lengths_panics() {
    let mut memory = [0_u8; 4];
    // SAFETY: The array outlives the view, and is not touched otherwise until its last use.
    let view = unsafe { SysMem::new(ptr::slice_from_raw_parts_mut(&raw mut memory[0], 4)) };

    view.copy_to_slice(&mut [0; 3]);
}

#[test]
fn whole_values_are_copied_as_their_bytes() {
    let mut memory = Queue { head: 1, tail: 2, flags: [3, 4], base: 5 };
    // SAFETY: The value outlives the view, and is not touched otherwise until its last use.
    let view: IoSysMap<'_, Queue> = unsafe { SysMem::new(&raw mut memory) }.into();

    let read = <kernel::io::IoSysMapBackend as IoCopyable>::copy_read(view);

    assert_eq!(read, memory);
}

#[test]
fn atomic_polling_stops_at_the_accepted_value() {
    let mut asked = 0;

    let outcome = read_poll_timeout_atomic(
        || {
            asked += 1;
            Ok(asked)
        },
        |value| *value == 3,
        Delta::from_micros(0),
        10,
    );

    assert_eq!((outcome, asked), (Ok(3), 3));
}

#[test]
fn atomic_polling_gives_up_after_so_many_tries() {
    let mut asked = 0;

    let outcome = read_poll_timeout_atomic(
        || {
            asked += 1;
            Ok(asked)
        },
        |_| false,
        Delta::from_micros(0),
        4,
    );

    assert_eq!((outcome, asked), (Err(ETIMEDOUT), 4));
}

#[test]
fn polling_passes_on_the_error_of_a_read() {
    let outcome = read_poll_timeout_atomic(|| Bar.try_read32(2), |_| true, Delta::from_micros(0), 4);

    assert_eq!(outcome, Err(EINVAL));
}
