//! User memory as drivers see it, through the argument of an `ioctl`.

use bringup_bench::{Bench, Errno};
use kernel::miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};
use std::cell::RefCell;

module! {
    type: Prober,
    name: "prober",
    authors: ["Bringup"],
    description: "Runs a test's code in an ioctl",
    license: "GPL",
}

/// What the next `ioctl` does with the user's buffer.
type Probe = std::boxed::Box<dyn FnOnce(UserPtr, usize) -> Result<isize>>;

std::thread_local! {
    static PROBE: RefCell<Option<Probe>> = const { RefCell::new(None) };
}

#[pin_data]
struct Prober {
    #[pin]
    _device: MiscDeviceRegistration<Handle>,
}

impl kernel::InPlaceModule for Prober {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let options = MiscDeviceOptions { name: c"prober" };
        try_pin_init!(Self { _device <- MiscDeviceRegistration::register(options) })
    }
}

struct Handle;

#[vtable]
impl MiscDevice for Handle {
    type Ptr = KBox<Self>;

    fn open(_file: &kernel::fs::File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Handle, GFP_KERNEL)?)
    }

    fn ioctl(_handle: &Handle, _file: &kernel::fs::File, cmd: u32, arg: usize) -> Result<isize> {
        let probe = PROBE.take().ok_or(ENODATA)?;
        probe(UserPtr::from_addr(arg), cmd as usize)
    }
}

/// Runs `probe` on a user's buffer that holds `bytes`; returns what it returned, and what the buffer holds then.
fn on_buffer(
    bytes: &[u8],
    probe: impl FnOnce(UserPtr, usize) -> Result<isize> + 'static,
) -> (core::result::Result<usize, i32>, std::vec::Vec<u8>) {
    PROBE.set(Some(std::boxed::Box::new(probe)));
    let bench = Bench::builder().build().unwrap();
    bench.load(&BRINGUP_MODULE).unwrap();
    let mut buffer = bytes.to_vec();
    let file = bench.open("prober").unwrap();
    let result = file.ioctl_with(bytes.len() as u32, &mut buffer);
    drop(file);
    let report = bench.finish();
    assert_eq!(report.rules(), [] as [&str; 0]);
    (result.map_err(|Errno(errno)| errno), buffer)
}

const FAULT: core::result::Result<usize, i32> = Err(-14);

#[test]
fn reader_goes_forward_over_what_it_reads_and_skips() {
    let (result, _) = on_buffer(&[1, 2, 0, 0, 0, 9, 8, 7, 6], |ptr, len| {
        let mut reader = UserSlice::new(ptr, len).reader();
        let first = reader.read::<u8>()?;
        let second = reader.read::<u32>()?;
        reader.skip(2)?;
        let mut rest = [0; 2];
        reader.read_slice(&mut rest)?;
        assert_eq!((first, second.to_le_bytes(), rest), (1, [2, 0, 0, 0], [7, 6]));
        assert!(reader.is_empty());
        Ok(len as isize)
    });

    assert_eq!(result, Ok(9));
}

#[test]
fn reading_more_than_is_left_faults_and_moves_nothing() {
    let (result, _) = on_buffer(&[1, 2, 3], |ptr, len| {
        let mut reader = UserSlice::new(ptr, len).reader();
        assert_eq!(reader.read::<u32>().err(), Some(EFAULT));
        assert_eq!(reader.skip(4).err(), Some(EFAULT));
        assert_eq!(reader.read::<[u8; 3]>()?, [1, 2, 3]);
        Ok(reader.len() as isize)
    });

    assert_eq!(result, Ok(0));
}

#[test]
fn bad_address_faults() {
    let read = |ptr: fn(UserPtr) -> UserPtr| {
        on_buffer(&[0; 4], move |at, len| UserSlice::new(ptr(at), len).reader().read::<u32>().map(|_| 0)).0
    };

    assert_eq!(read(|_| UserPtr::from_addr(0)), FAULT);
    assert_eq!(read(|_| UserPtr::from_addr(usize::MAX - 1)), FAULT);
    assert_eq!(read(|at| at.wrapping_byte_add(1)), FAULT);
    assert_eq!(read(|at| at), Ok(0));
}

#[test]
fn fault_half_way_leaves_what_was_read_and_zeroes() {
    let (result, _) = on_buffer(&[5, 6, 7], |ptr, _len| {
        let mut reader = UserSlice::new(ptr, 8).reader();
        let mut out = [0xff; 8];
        assert_eq!(reader.read_slice(&mut out).err(), Some(EFAULT));
        assert_eq!(out, [5, 6, 7, 0, 0, 0, 0, 0]);
        Ok(reader.len() as isize)
    });

    assert_eq!(result, Ok(8));
}

#[test]
fn fault_half_way_leaves_what_was_written() {
    let (result, buffer) =
        on_buffer(&[0; 5], |ptr, _len| UserSlice::new(ptr, 9).writer().write_slice(&[3; 9]).map(|()| 0));

    assert_eq!((result, buffer.as_slice()), (FAULT, &[3; 5][..]));
}

#[test]
fn writer_goes_forward_and_stops_at_its_room() {
    let (result, buffer) = on_buffer(&[0; 7], |ptr, len| {
        let mut writer = UserSlice::new(ptr, len).writer();
        writer.write(&0x0403_0201u32)?;
        assert_eq!(writer.write(&0u32).err(), Some(EFAULT));
        writer.write_slice(&[9, 9])?;
        Ok(writer.len() as isize)
    });

    assert_eq!((result, buffer.as_slice()), (Ok(1), &[1, 2, 3, 4, 9, 9, 0][..]));
}

#[test]
fn reader_and_writer_of_one_slice_are_independent() {
    let (result, buffer) = on_buffer(b"abc", |ptr, len| {
        let (reader, mut writer) = UserSlice::new(ptr, len).reader_writer();
        let mut bytes = KVec::from_elem(b'>', 1, GFP_KERNEL)?;
        reader.read_all(&mut bytes, GFP_KERNEL)?;
        assert_eq!(&bytes[..], b">abc");
        writer.write_slice(&bytes[..3])?;
        Ok(0)
    });

    assert_eq!((result, buffer.as_slice()), (Ok(0), &b">ab"[..]));
}

#[test]
fn clone_reads_the_same_place_again() {
    let (result, _) = on_buffer(&[4, 5], |ptr, len| {
        let mut reader = UserSlice::new(ptr, len).reader();
        reader.skip(1)?;
        let again = reader.clone_reader().read::<u8>()?;
        Ok((reader.read::<u8>()? * again).into())
    });

    assert_eq!(result, Ok(25));
}

#[test]
fn file_positions_cut_what_is_copied() {
    let (result, buffer) = on_buffer(&[0; 4], |ptr, len| {
        let mut writer = UserSlice::new(ptr, len).writer();
        let mut pos = 2;
        assert_eq!(writer.write_slice_file(b"hello", &mut pos)?, 3);
        assert_eq!(writer.write_slice_file(b"hello", &mut pos)?, 0);
        assert_eq!(writer.write_slice_file(b"hello", &mut 9)?, 0);
        assert_eq!(writer.write_slice_file(b"hello", &mut -1).err(), Some(EINVAL));
        assert_eq!(writer.write_slice_partial(b"hello", 1)?, 1);

        let mut reader = UserSlice::new(ptr, len).reader();
        let mut out = *b".......";
        assert_eq!(reader.read_slice_file(&mut out, &mut pos)?, 2);
        assert_eq!((out, pos, reader.len()), (*b".....ll", 7, 2));
        Ok(0)
    });

    assert_eq!((result, buffer.as_slice()), (Ok(0), &b"lloe"[..]));
}

#[test]
fn string_ends_at_its_nul_or_where_the_buffer_does() {
    let (result, _) = on_buffer(b"name\0junk", |ptr, len| {
        let read = |room: usize, len: usize| {
            let mut buffer = [0xff; 16];
            let text = UserSlice::new(ptr, len).reader().strcpy_into_buf(&mut buffer[..room]);
            text.map(|text| text.to_bytes().to_vec())
        };
        assert_eq!(read(16, len)?, b"name");
        assert_eq!(read(5, len)?, b"name");
        assert_eq!(read(3, len)?, b"na");
        assert_eq!(read(0, len).err(), Some(EINVAL));
        assert_eq!(read(16, 4).err(), Some(EFAULT));
        Ok(0)
    });

    assert_eq!(result, Ok(0));
}

#[test]
fn copying_with_a_spinlock_held_is_found() {
    let sleepy = |ptr: UserPtr, len| {
        kernel::machine::preempt_disable();
        let read = UserSlice::new(ptr, len).reader().read::<u8>();
        kernel::machine::preempt_enable();
        read.map(|_| 0)
    };
    PROBE.set(Some(std::boxed::Box::new(sleepy)));
    let bench = Bench::builder().build().unwrap();
    bench.load(&BRINGUP_MODULE).unwrap();

    let _ = bench.open("prober").unwrap().ioctl_with(1, &mut [0]);

    let report = bench.finish();
    assert_eq!(report.rules(), ["sleep-in-atomic"]);
    let place = report.findings[0].place.unwrap();
    assert!(place.file().ends_with("uaccess.rs") && place.file().contains("tests"), "{place}");
}
