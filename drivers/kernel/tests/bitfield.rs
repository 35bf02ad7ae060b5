//! `kernel::bitfield!`: where fields are, what their accessors do, and what they leave alone.

use kernel::{bitfield, num::Bounded, prelude::*};

/// What a two-bit field can say, completely.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Full,
    High,
    Super,
    SuperPlus,
}

impl From<Bounded<u16, 2>> for Speed {
    fn from(code: Bounded<u16, 2>) -> Self {
        [Speed::Full, Speed::High, Speed::Super, Speed::SuperPlus][usize::from(code)]
    }
}

impl From<Speed> for Bounded<u16, 2> {
    fn from(speed: Speed) -> Self {
        Bounded::from_expr(speed as u16 & 3)
    }
}

/// What a four-bit field can say, with gaps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lanes {
    One = 1,
    Two = 2,
    Four = 4,
}

impl TryFrom<Bounded<u16, 4>> for Lanes {
    type Error = u16;

    fn try_from(lanes: Bounded<u16, 4>) -> Result<Self, u16> {
        match lanes.get() {
            1 => Ok(Lanes::One),
            2 => Ok(Lanes::Two),
            4 => Ok(Lanes::Four),
            reserved => Err(reserved),
        }
    }
}

impl From<Lanes> for Bounded<u16, 4> {
    fn from(lanes: Lanes) -> Self {
        Bounded::from_expr(lanes as u16 & 0xf)
    }
}

bitfield! {
    /// Bits 11 and 3 to 1 belong to no field.
    struct Link(u16) {
        /// Converted and allowed to fail.
        15:12 lanes ?=> Lanes;
        10:4 credit;
        /// Inside `credit`.
        5:4 speed => Speed;
        0:0 up;
    }
}

bitfield! {
    struct Whole(u64) {
        63:0 all;
        63:63 top;
        62:1 middle;
        0:0 bottom;
    }
}

bitfield! {
    struct Byte(u8) {
        7:4 high;
        3:0 low;
    }
}

#[test]
fn constants_say_where_a_field_is() {
    assert_eq!(Link::CREDIT_MASK, 0x07f0);
    assert_eq!(Link::CREDIT_SHIFT, 4);
    assert_eq!(Link::CREDIT_RANGE, 4..=10);
    assert_eq!(Whole::ALL_MASK, u64::MAX);
    assert_eq!(Whole::MIDDLE_MASK, 0x7fff_ffff_ffff_fffe);
    assert_eq!(Whole::TOP_MASK, 1 << 63);
}

#[test]
fn getters_read_exactly_the_bits_of_the_field() {
    let link = Link::from_raw(0x4a51);

    assert_eq!(link.credit(), 0x25);
    assert_eq!(link.speed(), Speed::High);
    assert_eq!(link.lanes(), Ok(Lanes::Four));
    assert!(link.up().into_bool());
    assert_eq!(Whole::from_raw(u64::MAX).middle(), (1 << 62) - 1);
}

#[test]
fn setters_change_nothing_outside_the_field() {
    for raw in [0_u16, 0xffff, 0x0f0f, 0xa5a5] {
        let others = raw & !Link::CREDIT_MASK;

        let changed = Link::from_raw(raw).with_const_credit::<0x55>();

        assert_eq!(changed.into_raw(), others | 0x550);
    }
}

#[test]
fn setters_return_a_changed_copy() {
    let before = Byte::zeroed();

    let after = before.with_const_high::<0xf>();

    assert_eq!((before.into_raw(), after.into_raw()), (0, 0xf0));
}

#[test]
fn overlapping_fields_see_each_others_bits() {
    let link = Link::zeroed().with_speed(Speed::SuperPlus);

    assert_eq!(link.credit(), 3);
    assert_eq!(link.with_const_credit::<0x7e>().speed(), Speed::Super);
    assert_eq!(Whole::zeroed().with_all(u64::MAX).with_top(false).all(), u64::MAX >> 1);
}

#[test]
fn value_that_does_not_fit_is_refused_with_eoverflow() {
    assert_eq!(Byte::zeroed().try_with_low(15_u32).map(Byte::into_raw), Ok(15));
    assert_eq!(Byte::zeroed().try_with_low(16_u32).map(Byte::into_raw), Err(EOVERFLOW));
    assert_eq!(Byte::zeroed().try_with_low(-1_i64).map(Byte::into_raw), Err(EOVERFLOW));
}

#[test]
fn setters_take_whatever_always_fits() {
    let nibble = Bounded::<u8, 4>::new::<9>();

    assert_eq!(Byte::zeroed().with_high(nibble).into_raw(), 0x90);
    assert_eq!(Byte::zeroed().with_high(true).into_raw(), 0x10);
    assert_eq!(Whole::zeroed().with_all(7_u64).into_raw(), 7);
}

#[test]
fn fallible_field_reports_what_it_found() {
    assert_eq!(Link::from_raw(0x3000).lanes(), Err(3));
    assert_eq!(Link::from_raw(0x3000).with_lanes(Lanes::Two).into_raw(), 0x2000);
    assert_eq!(Link::zeroed().with_lanes(Lanes::One).lanes(), Ok(Lanes::One));
}

#[test]
fn raw_value_survives_the_round_trip() {
    let link: Link = 0x0c0e_u16.into();

    assert_eq!(u16::from(link), 0x0c0e);
    assert_eq!(link, Link::from_raw(0x0c0e));
}

#[test]
fn constants_can_be_built() {
    const IDLE: Byte = Byte::from_raw(0x80).with_const_low::<3>();
    const ZERO: Byte = pin_init::zeroed();

    assert_eq!((IDLE.into_raw(), ZERO.into_raw()), (0x83, 0));
}

#[test]
fn debug_shows_the_raw_value_and_every_field_in_order() {
    let link = Link::from_raw(0x3011);

    assert_eq!(
        format!("{link:?}"),
        "Link { <raw>: 0x3011, lanes: Err(3), credit: Bounded(1), speed: High, up: Bounded(1) }"
    );
}
