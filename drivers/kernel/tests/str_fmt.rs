//! Strings, numbers out of text, formatting, and the names of errors.

#![allow(unsafe_code, reason = "C strings come in through pointers")]

use core::fmt::Write as _;
use kernel::b_str;
use kernel::error::{from_err_ptr, from_result, to_result};
use kernel::fmt::HashedPtr;
use kernel::prelude::*;
use kernel::str::parse_int::ParseInt;
use kernel::str::{kstrtobool, kstrtobool_bytes, BStr, CStrExt, CString, Formatter, NullTerminatedFormatter};

const __LOG_PREFIX: &[u8] = b"str_fmt\0";

/// What `fmt!` makes of its arguments.
macro_rules! text {
    ($($args:tt)*) => { CString::try_from_fmt(fmt!($($args)*)).unwrap().to_str().unwrap() };
}

#[test]
fn byte_strings_escape_what_is_not_printable() {
    let bytes = BStr::from_bytes(b"a\t\n\r\"\\\x00\xff~");
    assert_eq!(text!("{bytes}"), r#"a\t\n\r"\\x00\xff~"#);
    assert_eq!(text!("{bytes:?}"), r#""a\t\n\r\"\\\x00\xff~""#);
}

#[test]
fn c_strings_escape_what_is_not_printable_and_nothing_else() {
    let string = c"say \"\\\" \t \xe9";
    assert_eq!(text!("{}", *string), r#"say "\" \x09 \xe9"#);
}

#[test]
fn byte_strings_are_cut_and_compared() {
    assert!(b_str!("virtio0").strip_prefix(b_str!("virtio")) == Some(b_str!("0")));
    assert!(b_str!("virtio0").strip_prefix(b_str!("pci")).is_none());
    assert!(&b_str!("virtio")[..4] == b_str!("virt"));
    assert_eq!((b_str!("é").len(), b_str!("").is_empty()), (2, true));
}

#[test]
fn formatted_c_string_holds_the_text_and_one_nul() {
    let string = CString::try_from_fmt(fmt!("{}-{:#x}", "irq", 48)).unwrap();
    assert_eq!(string.to_bytes_with_nul(), b"irq-0x30\0");
    assert_eq!(CString::try_from_fmt(fmt!("a{}b", '\0')).err(), Some(EINVAL));
    assert_eq!(CString::try_from_fmt(fmt!("")).unwrap().to_bytes_with_nul(), b"\0");
}

#[test]
fn c_strings_change_case_in_copies_and_in_place() {
    let mut copy = c"Net\xc0".to_ascii_uppercase().unwrap();
    assert_eq!(&*copy, c"NET\xc0");
    copy.make_ascii_lowercase();
    assert_eq!(&*copy, c"net\xc0");
    assert_eq!(&*c"A".to_cstring().unwrap(), c"A");
    assert_eq!(&*CStrExt::to_ascii_lowercase(c"A").unwrap(), c"a");
}

#[test]
fn c_string_comes_back_from_its_pointer() {
    let string = c"eth0";
    // SAFETY: the pointer is that of a constant.
    let back: &CStr = unsafe { CStr::from_char_ptr(string.as_char_ptr()) };
    assert_eq!(back, string);
}

#[test]
fn formatter_fails_when_the_buffer_is_full_but_keeps_what_fits() {
    let mut buffer = [b'.'; 6];
    let mut writer = Formatter::new(&mut buffer);
    assert!(writer.write_str("abcd").is_ok());
    assert!(writer.write_str("efg").is_err());
    assert_eq!(writer.bytes_written(), 7);
    assert_eq!(&buffer, b"abcdef");
}

#[test]
fn null_terminated_formatter_takes_text_whole_or_not_at_all() {
    let mut buffer = [b'.'; 6];
    let mut writer = NullTerminatedFormatter::new(&mut buffer).unwrap();
    assert!(writer.write_str("abc").is_ok());
    assert!(writer.write_str("def").is_err());
    assert!(writer.write_str("de").is_ok());
    assert!(writer.write_str("f").is_err());
    assert_eq!(&buffer, b"abcde\0");
    assert!(NullTerminatedFormatter::new(&mut []).is_none());
}

#[test]
fn truth_values_are_read_from_their_first_two_characters() {
    let yes = ["1", "y", "Yes", "t", "TRUE", "on", "oN\n", "e", "enable"];
    let no = ["0", "n", "No", "f", "false", "off", "OFF", "d", "disabled"];
    for word in yes {
        assert_eq!(kstrtobool_bytes(word.as_bytes()), Ok(true), "{word}");
    }
    for word in no {
        assert_eq!(kstrtobool_bytes(word.as_bytes()), Ok(false), "{word}");
    }
    for word in ["", "o", "2", " 1", "oops"] {
        assert_eq!(kstrtobool_bytes(word.as_bytes()), Err(EINVAL), "{word}");
    }
    assert_eq!(kstrtobool(c"on"), Ok(true));
}

#[test]
fn integers_are_read_with_prefix_and_sign() {
    assert_eq!(i64::from_str(b_str!("0")), Ok(0));
    assert_eq!(u8::from_str(b_str!("0xFf")), Ok(255));
    assert_eq!(u8::from_str(b_str!("0X10")), Ok(16));
    assert_eq!(i16::from_str(b_str!("017")), Ok(15));
    assert_eq!(i16::from_str(b_str!("0o17")), Ok(15));
    assert_eq!(i16::from_str(b_str!("-0B101")), Ok(-5));
    assert_eq!(u32::from_str(b_str!("+7")), Ok(7));
    assert_eq!(i8::from_str(b_str!("-128")), Ok(-128));
    assert_eq!(i64::from_str(b_str!("-9223372036854775808")), Ok(i64::MIN));
    assert_eq!(u64::from_str(b_str!("18446744073709551615")), Ok(u64::MAX));
    assert_eq!(u8::from_str(b_str!("-0")), Ok(0));
}

#[test]
fn integers_that_are_none_or_do_not_fit_are_invalid() {
    for text in ["", "-", "0x", "08", "1 ", "1\n", "ten", "0xg", "--1", "99999999999999999999"] {
        assert_eq!(i64::from_str(BStr::from_bytes(text.as_bytes())), Err(EINVAL), "{text:?}");
    }
    assert_eq!(u8::from_str(b_str!("256")), Err(EINVAL));
    assert_eq!(i8::from_str(b_str!("128")), Err(EINVAL));
    assert_eq!(i8::from_str(b_str!("-129")), Err(EINVAL));
    assert_eq!(usize::from_str(b_str!("-1")), Err(EINVAL));
    assert_eq!(i32::from_str(BStr::from_bytes(b"1\xff")), Err(EINVAL));
}

#[test]
fn pointers_show_no_address() {
    let value = 5u8;
    let (reference, pointer) = (&value, &raw const value);
    assert_eq!(text!("{:p} {pointer:p}", reference), "(____ptrval____) (____ptrval____)");
    assert_eq!(text!("{pointer:>18p}|"), "  (____ptrval____)|");
    assert_eq!(text!("{pointer:024p}|"), "(____ptrval____)|");
    assert_eq!(text!("{:p}", HashedPtr(pointer)), "(____ptrval____)");
}

#[test]
fn pointers_that_are_no_addresses_show_their_number() {
    let null = core::ptr::null::<u8>();
    assert_eq!(text!("{null:p}"), "0x0000000000000000");
    assert_eq!(text!("{:p}", EIO.to_ptr::<u8>()), "0xfffffffffffffffb");
    assert_eq!(text!("{null:024p}"), "0x0000000000000000000000");
    assert_eq!(text!("{null:>20p}"), "  0x0000000000000000");
    assert_eq!(text!("{null:0100p}").len(), 31);
}

#[test]
fn types_of_the_kernel_and_of_drivers_have_a_displayed_form() {
    struct Lba(u64);

    impl kernel::fmt::Display for Lba {
        fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
            write!(f, "sector {}", self.0)
        }
    }

    let boxed = KBox::new(Lba(8), GFP_KERNEL).unwrap();
    assert_eq!(text!("{} {boxed} {:?} {:02x}", Lba(1), Some(2), 10), "sector 1 sector 8 Some(2) 0a");
}

#[test]
fn errors_print_their_names_and_the_nameless_their_numbers() {
    assert_eq!(format!("{EINVAL:?}"), "EINVAL");
    assert_eq!(format!("{:?}", Error::from_errno(-517)), "EPROBE_DEFER");
    assert_eq!(format!("{EFSBADCRC:?} {EFSCORRUPTED:?}"), "EBADMSG EUCLEAN");
    assert_eq!(format!("{EFTYPE:?} {ENOGRACE:?}"), "Error(134) Error(531)");
    assert_eq!(format!("{:?}", Error::from_errno(-4095)), "Error(4095)");
    assert_eq!(EHWPOISON.name(), Some(c"EHWPOISON"));
}

#[test]
fn errors_have_linuxs_numbers() {
    let numbers = [EPERM, ENOMEM, ENOTSUPP, EDEADLK, ELOOP, EL2NSYNC, EOPNOTSUPP, ETIMEDOUT, ERESTARTSYS, EHWPOISON];
    assert_eq!(numbers.map(Error::to_errno), [-1, -12, -524, -35, -40, -45, -95, -110, -512, -133]);
}

#[test]
fn number_that_no_error_has_becomes_invalid() {
    assert_eq!(Error::from_errno(0), EINVAL);
    assert_eq!(Error::from_errno(5), EINVAL);
    assert_eq!(Error::from_errno(-4096), EINVAL);
    assert_eq!(Error::from_errno(i32::MIN), EINVAL);
}

#[test]
fn c_conventions_translate_both_ways() {
    assert_eq!((to_result(0), to_result(3), to_result(-19)), (Ok(()), Ok(()), Err(ENODEV)));
    assert_eq!(from_result(|| Ok(7)), 7);
    assert_eq!(from_result::<isize, _>(|| Err(EAGAIN)), -11);
    let mut value = 0u8;
    assert_eq!(from_err_ptr(&raw mut value), Ok(&raw mut value));
    assert_eq!(from_err_ptr(EBUSY.to_ptr::<u8>()), Err(EBUSY));
    assert_eq!(from_err_ptr(core::ptr::null_mut::<u8>()), Ok(core::ptr::null_mut()));
}

#[test]
fn foreign_errors_have_numbers() {
    assert_eq!(Error::from(kernel::alloc::AllocError), ENOMEM);
    assert_eq!(Error::from(u8::try_from(300).unwrap_err()), EINVAL);
    assert_eq!(Error::from(core::str::from_utf8(core::hint::black_box(&[0xff])).unwrap_err()), EINVAL);
    assert_eq!(Error::from(core::fmt::Error), EINVAL);
}

#[test]
fn debugging_macro_returns_what_it_prints() {
    assert_eq!(kernel::dbg!(1 + 1), 2);
    assert_eq!(kernel::dbg!(1, "two"), (1, "two"));
    kernel::dbg!();
}

#[test]
fn warn_on_returns_its_condition() {
    assert!(kernel::warn_on!(1 > 0));
    assert!(!kernel::warn_on!(1 < 0));
}
