//! `kernel::ptr`: rounding to alignments, and projections of pointers that are never dereferenced.

#![allow(unsafe_code, reason = "writes through a projected pointer")]

use core::mem::offset_of;
use kernel::{
    prelude::*,
    ptr::{const_align_up, project, Alignable, Alignment, KnownSize},
};

#[test]
fn only_powers_of_two_are_alignments() {
    assert_eq!(Alignment::new_checked(0), None);
    assert_eq!(Alignment::new_checked(24), None);
    assert_eq!(Alignment::new_checked(1), Some(Alignment::of::<u8>()));
    assert_eq!(Alignment::new_checked(1 << 63).map(Alignment::log2), Some(63));
}

#[test]
fn alignment_gives_its_mask_and_logarithm() {
    let page = Alignment::new::<0x1000>();

    assert_eq!((page.as_usize(), page.as_nonzero().get()), (0x1000, 0x1000));
    assert_eq!((page.log2(), page.mask()), (12, !0xfff));
}

#[test]
fn rounding_moves_to_the_nearest_multiple() {
    let line = Alignment::new::<64>();

    assert_eq!([0_usize, 1, 63, 64, 65].map(|n| n.align_down(line)), [0, 0, 0, 64, 64]);
    assert_eq!([0_usize, 1, 64, 65].map(|n| n.align_up(line)), [0, 64, 64, 128].map(Some));
    assert_eq!([1, 64, 65].map(|n| const_align_up(n, line)), [64, 64, 128].map(Some));
}

#[test]
fn rounding_up_past_the_type_is_none() {
    let page = Alignment::new::<0x1000>();

    assert_eq!(u16::MAX.align_up(page), None);
    assert_eq!(usize::MAX.align_up(page), None);
    assert_eq!(const_align_up(usize::MAX - 1, page), None);
}

#[test]
fn alignment_wider_than_the_type_has_only_zero() {
    let page = Alignment::new::<0x1000>();

    assert_eq!((200_u8.align_down(page), 200_u8.align_up(page)), (0, None));
    assert_eq!(0_u8.align_up(page), Some(0));
}

#[test]
fn sizes_of_slices_come_from_the_pointer() {
    let slice = core::ptr::slice_from_raw_parts(core::ptr::without_provenance::<u32>(0x1000), 5);

    assert_eq!(KnownSize::size(slice), 20);
    assert_eq!((<[u32]>::MIN_SIZE, <[u32; 5]>::MIN_SIZE), (0, 20));
    assert_eq!(<[u32]>::MIN_ALIGN, Alignment::new::<4>());
}

#[repr(C)]
struct Descriptor {
    address: u64,
    length: u32,
    tags: (u16, [u8; 3]),
}

/// Larger than a simulated task's stack, and than anything it may be measured on.
#[repr(C)]
struct Huge {
    before: [u8; 64 << 10],
    ring: [Descriptor; 1000],
}

#[test]
fn fields_are_found_where_the_compiler_put_them() {
    let descriptor = core::ptr::without_provenance::<Descriptor>(0x1000);

    let length: *const u32 = project!(descriptor, .length);
    let tag: *const u8 = project!(descriptor, .tags.1[build: 2]);

    assert_eq!(length.addr() - 0x1000, offset_of!(Descriptor, length));
    assert_eq!(tag.addr() - 0x1000, offset_of!(Descriptor, tags.1) + 2);
}

#[test]
fn mutable_pointers_project_to_mutable_pointers() {
    let mut descriptor = Descriptor { address: 1, length: 2, tags: (3, [4, 5, 6]) };

    let address: *mut u64 = project!(mut &raw mut descriptor, .address);
    // SAFETY: A projection of a valid pointer is valid.
    unsafe { *address = 7 };

    assert_eq!((descriptor.address, descriptor.length, descriptor.tags), (7, 2, (3, [4, 5, 6])));
}

#[test]
fn paths_mix_fields_positions_and_ranges() {
    let huge = core::ptr::without_provenance_mut::<Huge>(0x10_0000);

    let part = project!(mut huge, .ring[panic: 10..20][panic: 2..][panic: ..4]);
    let whole = project!(mut part, [panic: ..]);

    let ring = 0x10_0000 + offset_of!(Huge, ring);
    assert_eq!(part.addr(), ring + 12 * size_of::<Descriptor>());
    assert_eq!((part.len(), whole.len(), whole.addr()), (4, 4, part.addr()));
}

fn tried(slice: *const [u32], range: core::ops::Range<usize>) -> Result<usize> {
    Ok(project!(slice, [try: range]).len())
}

#[test]
fn tried_indices_out_of_bounds_are_erange() {
    let four = core::ptr::slice_from_raw_parts(core::ptr::without_provenance::<u32>(0x1000), 4);

    assert_eq!(tried(four, 1..4), Ok(3));
    assert_eq!(tried(four, 4..4), Ok(0));
    assert_eq!(tried(four, 1..5), Err(ERANGE));
    #[expect(clippy::reversed_empty_ranges, reason = "the case under test")]
    let reversed = tried(four, 3..2);
    assert_eq!(reversed, Err(ERANGE));
}

#[test]
fn tried_position_at_the_length_is_erange() {
    let ring = core::ptr::without_provenance::<[Descriptor; 4]>(0x1000);

    let outcome = (|| -> Result<*const u32> { Ok(project!(ring, [try: 4].length)) })();

    assert_eq!(outcome, Err(ERANGE));
}

#[test]
#[should_panic(expected = "index 4 is out of bounds for a length of 4")]
fn panicking_index_out_of_bounds_panics() {
    let ring = core::ptr::without_provenance::<[Descriptor; 4]>(0x1000);

    project!(ring, [panic: std::hint::black_box(4)].length);
}

#[test]
#[should_panic(expected = "bringup-build-error")]
fn build_index_out_of_bounds_panics_where_linux_would_not_link() {
    let ring = core::ptr::without_provenance::<[Descriptor; 4]>(0x1000);

    project!(ring, [build: std::hint::black_box(4)].length);
}
