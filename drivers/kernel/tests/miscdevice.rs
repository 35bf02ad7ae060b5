//! Misc devices: registration, the life of an open file, and what user space gets from reads, writes and `ioctl`.

use bringup_bench::{open, Bench, Errno};
use kernel::fs::{file::flags, File, Kiocb};
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use std::cell::{Cell, RefCell};

module! {
    type: Devices,
    name: "devices",
    authors: ["Bringup"],
    description: "Two misc devices",
    license: "GPL",
    params: {
        second: bool {
            default: false,
            description: "Whether to register the first name a second time",
        },
    },
}

#[pin_data]
struct Devices {
    #[pin]
    _mute: MiscDeviceRegistration<Mute>,
    #[pin]
    _tape: MiscDeviceRegistration<Tape>,
}

impl kernel::InPlaceModule for Devices {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let name = if module_parameters::second.value() { c"mute" } else { c"tape" };
        try_pin_init!(Self {
            _mute <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"mute" }),
            _tape <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }
}

/// A device that can only be opened.
struct Mute;

#[vtable]
impl MiscDevice for Mute {
    type Ptr = KBox<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        dev_info!(misc.device(), "opened\n");
        Ok(KBox::new(Mute, GFP_KERNEL)?)
    }
}

std::thread_local! {
    /// The bytes of the tape's last write.
    static WRITTEN: RefCell<std::vec::Vec<u8>> = const { RefCell::new(std::vec::Vec::new()) };
    /// A reference to a file that its driver keeps.
    static KEPT: RefCell<Option<ARef<File>>> = const { RefCell::new(None) };
    /// How many tapes are open.
    static OPEN: Cell<u32> = const { Cell::new(0) };
    /// How long the tape's `open` sleeps, in nanoseconds.
    static SLOW: Cell<u64> = const { Cell::new(0) };
}

/// A device whose contents are the letters of the alphabet, and that takes eight bytes a write.
struct Tape;

#[vtable]
impl MiscDevice for Tape {
    type Ptr = KBox<Self>;

    fn open(file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        kernel::machine::sleep(SLOW.get());
        assert_eq!(file.flags() & flags::O_ACCMODE, flags::O_RDWR);
        let tape = KBox::new(Tape, GFP_KERNEL)?;
        OPEN.set(OPEN.get() + 1);
        Ok(tape)
    }

    fn release(tape: KBox<Self>, _file: &File) {
        drop(tape);
        OPEN.set(OPEN.get() - 1);
    }

    fn read_iter(mut kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let _tape: &Tape = kiocb.file();
        iov.simple_read_from_buffer(kiocb.ki_pos_mut(), b"abcdefghijklmnopqrstuvwxyz")
    }

    fn write_iter(mut kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let mut bytes = [0; 8];
        let count = iov.copy_from_iter(&mut bytes);
        assert!(count == 8 || iov.is_empty());
        *kiocb.ki_pos_mut() += count as i64;
        WRITTEN.set(bytes[..count].to_vec());
        match &bytes[..count] {
            b"fail" => Err(EIO),
            _ => Ok(count),
        }
    }

    fn ioctl(_tape: &Tape, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            0 => KEPT.set(Some(file.into())),
            1 => return Err(ENOIOCTLCMD),
            _ => return Ok(arg as isize),
        }
        Ok(0)
    }
}

fn bench() -> Bench {
    let bench = Bench::builder().build().unwrap();
    bench.load(&BRINGUP_MODULE).unwrap();
    bench
}

#[test]
fn operations_that_a_driver_lacks_are_refused_as_linux_does() {
    let bench = bench();

    let file = bench.open("mute").unwrap();
    let results = (file.read(&mut [0; 4]), file.write(&[0; 4]), file.ioctl(0, 0));
    drop(file);

    assert_eq!(results, (Err(Errno(-22)), Err(Errno(-22)), Err(Errno(-25))));
    let report = bench.finish();
    assert_eq!(report.log_text(), "misc mute: opened\n");
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn position_moves_with_what_is_read_and_written() {
    let bench = bench();
    let file = bench.open("tape").unwrap();
    let mut letters = [0; 4];

    assert_eq!(file.read(&mut letters), Ok(4));
    assert_eq!(file.write(b"123456789"), Ok(8));
    assert_eq!(WRITTEN.take(), b"12345678");
    assert_eq!(file.read(&mut letters), Ok(4));
    assert_eq!(&letters, b"mnop");
    file.seek(24);
    assert_eq!((file.read(&mut letters), file.read(&mut letters)), (Ok(2), Ok(0)));
    // What a read does not fill stays as it was.
    assert_eq!(&letters, b"yzop");
}

#[test]
fn failed_write_leaves_the_position() {
    let bench = bench();
    let file = bench.open("tape").unwrap();
    let mut letter = [0];

    assert_eq!(file.write(b"fail"), Err(Errno(-5)));

    assert_eq!((file.read(&mut letter), letter), (Ok(1), *b"a"));
}

#[test]
fn negative_position_never_reaches_the_driver() {
    let bench = bench();
    let file = bench.open("tape").unwrap();

    file.seek(-1);

    assert_eq!((file.read(&mut [0]), file.write(&[0])), (Err(Errno(-22)), Err(Errno(-22))));
}

#[test]
fn ioctl_returns_what_the_driver_does_except_its_own_word_for_unknown() {
    let bench = bench();
    let file = bench.open("tape").unwrap();

    assert_eq!(file.ioctl(1, 0), Err(Errno(-25)));
    assert_eq!(file.ioctl(2, 77), Ok(77));
}

#[test]
fn kept_reference_puts_the_release_off() {
    let bench = bench();
    let file = bench.open("tape").unwrap();
    file.ioctl(0, 0).unwrap();

    drop(file);
    let while_kept = OPEN.get();
    bench.run("put", || drop(KEPT.take())).unwrap();

    assert_eq!((while_kept, OPEN.get()), (1, 0));
}

#[test]
fn name_that_is_taken_fails_the_load_and_leaves_nothing() {
    let bench = Bench::builder().build().unwrap();

    let result = bench.load_with(&BRINGUP_MODULE, &[("second", "y")]);

    assert_eq!((result, bench.dev_names().len()), (Err(Errno(-17)), 0));
    assert!(bench.finish().is_clean());
}

#[test]
fn device_is_gone_after_unload() {
    let bench = bench();

    bench.unload("devices").unwrap();

    assert_eq!(bench.open("tape").err(), Some(Errno(-2)));
}

#[test]
fn device_does_not_go_away_while_it_is_opened() {
    SLOW.set(1_000);
    let bench = bench();

    let opener = bench.spawn("opener", || open("tape").map(drop));
    bench.advance(500);
    let at = bench.now();
    bench.unload("devices").unwrap();

    assert!(opener.is_done() && bench.now() >= at + 500, "{} {}", at, bench.now());
    assert_eq!((bench.join(&opener).unwrap(), OPEN.get()), (Ok(()), 0));
    SLOW.set(0);
    assert!(bench.finish().is_clean());
}
