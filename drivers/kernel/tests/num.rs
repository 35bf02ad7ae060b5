//! `kernel::num`: which values a `Bounded` admits, and what it converts from and to.

use kernel::num::{casts, Bounded, TryIntoBounded};

#[test]
fn unsigned_bound_admits_up_to_all_ones() {
    assert_eq!(Bounded::<u8, 4>::try_new(15).map(Bounded::get), Some(15));
    assert_eq!(Bounded::<u8, 4>::try_new(16), None);
    assert_eq!(Bounded::<u64, 1>::try_new(2), None);
    assert_eq!(Bounded::<u64, 63>::try_new(1 << 63), None);
}

#[test]
fn signed_bound_admits_twos_complement_range() {
    assert_eq!(Bounded::<i8, 4>::try_new(7).map(Bounded::get), Some(7));
    assert_eq!(Bounded::<i8, 4>::try_new(-8).map(Bounded::get), Some(-8));
    assert_eq!(Bounded::<i8, 4>::try_new(8), None);
    assert_eq!(Bounded::<i8, 4>::try_new(-9), None);
    assert_eq!(Bounded::<i32, 1>::try_new(-1).map(Bounded::get), Some(-1));
    assert_eq!(Bounded::<i32, 1>::try_new(1), None);
}

#[test]
fn bound_as_wide_as_the_type_admits_everything() {
    assert_eq!(Bounded::<u64, 64>::try_new(u64::MAX).map(Bounded::get), Some(u64::MAX));
    assert_eq!(Bounded::<i64, 64>::try_new(i64::MIN).map(Bounded::get), Some(i64::MIN));
}

#[test]
fn every_byte_is_admitted_exactly_by_the_widths_it_needs() {
    for value in 0..=u8::MAX {
        let needed = 8 - value.leading_zeros().min(7);

        assert_eq!(Bounded::<u8, 1>::try_new(value).is_some(), needed <= 1);
        assert_eq!(Bounded::<u8, 3>::try_new(value).is_some(), needed <= 3);
        assert_eq!(Bounded::<u8, 7>::try_new(value).is_some(), needed <= 7);
        assert!(Bounded::<u8, 8>::try_new(value).is_some());
    }
}

#[test]
fn constants_are_checked_by_the_build() {
    const NIBBLE: Bounded<u32, 4> = Bounded::<u32, 4>::new::<0xf>();
    const LOWEST: Bounded<i16, 9> = Bounded::<i16, 9>::new::<-256>();

    assert_eq!(NIBBLE.get(), 15);
    assert_eq!(LOWEST.get(), -256);
}

#[test]
fn masked_expression_needs_no_check_at_run_time() {
    let word = std::hint::black_box(0xdead_beef_u32);

    assert_eq!(Bounded::<u32, 4>::from_expr(word & 0xf).get(), 0xf);
}

#[test]
#[should_panic(expected = "bringup-build-error")]
fn expression_that_does_not_fit_panics_where_linux_would_not_link() {
    let word = std::hint::black_box(0x10_u32);

    Bounded::<u32, 4>::from_expr(word);
}

#[test]
fn foreign_integers_fit_when_type_and_bits_do() {
    let fits: Option<Bounded<u16, 9>> = 511_i64.try_into_bounded();
    let too_many_bits: Option<Bounded<u16, 9>> = 512_u64.try_into_bounded();
    let too_wide: Option<Bounded<u16, 16>> = 0x1_0000_u32.try_into_bounded();
    let negative: Option<Bounded<u16, 9>> = (-1_i32).try_into_bounded();

    assert_eq!(fits.map(Bounded::get), Some(511));
    assert_eq!(too_many_bits, None);
    assert_eq!(too_wide, None);
    assert_eq!(negative, None);
}

#[test]
fn primitives_convert_into_bounds_with_room_and_back() {
    let byte = Bounded::<u64, 8>::from(0xff_u8);
    let wider = Bounded::<u64, 33>::from(u32::MAX);
    let signed = Bounded::<i32, 16>::from(i16::MIN);

    assert_eq!(u8::from(byte), 0xff);
    assert_eq!(u64::from(wider), 0xffff_ffff);
    assert_eq!(i16::from(signed), i16::MIN);
    assert_eq!(usize::from(byte), 255);
}

#[test]
fn single_bits_convert_like_bool() {
    assert!(Bounded::<u8, 1>::new::<1>().into_bool());
    assert!(!bool::from(Bounded::<u32, 1>::new::<0>()));
    assert_eq!(Bounded::<u16, 5>::from(true).get(), 1);
}

#[test]
fn extending_keeps_and_shrinking_checks_the_value() {
    let value = Bounded::<u32, 12>::new::<0x7f>();

    assert_eq!(value.extend::<32>().get(), 0x7f);
    assert_eq!(value.try_shrink::<7>().map(Bounded::get), Some(0x7f));
    assert_eq!(value.try_shrink::<6>(), None);
}

#[test]
fn casting_changes_the_type_and_not_the_value() {
    let narrow: Bounded<u8, 5> = Bounded::<u64, 5>::new::<31>().cast();
    let negative: Bounded<i8, 5> = Bounded::<i64, 5>::new::<-16>().cast();

    assert_eq!(narrow.get(), 31);
    assert_eq!(negative.get(), -16);
}

#[test]
fn shifts_account_for_the_bits() {
    let value = Bounded::<u16, 8>::new::<0xa4>();

    assert_eq!(value.shr::<4, 4>().get(), 0xa);
    assert_eq!(value.shl::<8, 16>().get(), 0xa400);
    assert_eq!(value.shr_exact::<2, 6>().map(Bounded::get), Some(0x29));
    assert_eq!(value.shr_exact::<3, 5>(), None);
    assert_eq!(Bounded::<i16, 8>::new::<-128>().shr::<4, 4>().get(), -8);
}

#[test]
fn operators_answer_with_the_plain_type() {
    let nine = Bounded::<u8, 4>::new::<9>();
    let five = Bounded::<u8, 3>::new::<5>();

    assert_eq!([nine + five, nine - five, nine * five, nine / five, nine % five], [14, 4, 45, 1, 4]);
    assert_eq!([nine & five, nine | five, nine ^ five, !nine], [1, 13, 12, 0xf6]);
    assert_eq!([nine + 246, nine - 9, nine * 2, nine / 2, nine % 2], [255, 0, 18, 4, 1]);
    assert_eq!([nine & 8, nine | 6, nine ^ 1], [8, 15, 8]);
    assert_eq!(-Bounded::<i8, 4>::new::<-8>(), 8);
}

#[test]
fn comparisons_cross_widths() {
    let nine = Bounded::<u8, 4>::new::<9>();
    let five = Bounded::<u8, 3>::new::<5>();

    assert!(nine > five && five < 6 && nine == 9 && nine != five);
    assert_eq!(nine.max(Bounded::<u8, 4>::new::<12>()).get(), 12);
}

#[test]
fn formats_are_those_of_the_value_and_debug_names_the_type() {
    let value = Bounded::<u16, 12>::new::<0xabc>();

    assert_eq!(format!("{value} {value:#x} {value:X} {value:o} {value:b}"), "2748 0xabc ABC 5274 101010111100");
    assert_eq!(format!("{value:6}|{value:e}"), "  2748|2.748e3");
    assert_eq!(format!("{value:?}"), "Bounded(2748)");
}

#[test]
fn casts_keep_the_value() {
    use casts::{arch::FromSafeCastArch, FromSafeCast, IntoSafeCast};

    let bytes: u64 = 4096_usize.into_safe_cast();

    assert_eq!(bytes, 4096);
    assert_eq!(usize::from_safe_cast(u32::MAX), 0xffff_ffff);
    assert_eq!(usize::from_safe_cast_arch(u64::MAX), usize::MAX);
    assert_eq!(casts::u8_as_u64(255), 255);
    assert_eq!(casts::usize_into_u8::<255>(), 255);
    assert_eq!(casts::u64_into_u32::<0xffff_ffff>(), u32::MAX);
}
