//! debugfs: what its files show and take, and how entries come and go.

use bringup_bench::{open_debugfs, Bench, Errno};
use bringup_core::{Access, Cx, Device, Function, Reply, Reset};
use kernel::debugfs::{Dir, File, Scope};
use kernel::device::Core;
use kernel::dma::Coherent;
use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Mutex;
use kernel::uaccess::UserSliceReader;
use kernel::{new_mutex, pci};
use std::cell::Cell;

type BoxedFile<T> = Pin<KBox<File<T>>>;

fn boxed<T>(file: impl PinInit<File<T>, core::convert::Infallible>) -> BoxedFile<T> {
    KBox::pin_init(file, GFP_KERNEL).unwrap()
}

/// Makes a file in the directory `t`, lets user space and `f` at it, and takes it away.
fn with_file<T>(make: impl FnOnce(&Dir) -> BoxedFile<T>, f: impl FnOnce(&Bench, &T)) {
    let bench = Bench::builder().build().unwrap();
    let (file, dir) = bench
        .run("setup", || {
            let dir = Dir::new(c"t");
            (make(&dir), dir)
        })
        .unwrap();
    f(&bench, &file);
    bench.run("teardown", || drop(file)).unwrap();
    assert_eq!(bench.debugfs_paths(), ["t/"]);
    bench.run("teardown", || drop(dir)).unwrap();
    assert_eq!(bench.debugfs_paths(), [] as [&str; 0]);
    let report = bench.finish();
    assert!(report.is_clean(), "{:?}", report.findings);
}

const INVALID: core::result::Result<usize, Errno> = Err(Errno(-22));

#[test]
fn value_shows_as_its_debug_form_and_a_newline() {
    with_file(
        |dir| boxed(dir.read_only_file(c"range", 3u8..7)),
        |bench, _| {
            assert_eq!(bench.debugfs_read("t/range").unwrap(), b"3..7\n");
            assert_eq!(bench.debugfs_write("t/range", b"1..2"), INVALID);
        },
    );
}

#[test]
fn atomic_is_shown_and_set() {
    with_file(
        |dir| boxed(dir.read_write_file(c"level", Atomic::new(-4i32))),
        |bench, level| {
            assert_eq!(bench.debugfs_read("t/level").unwrap(), b"-4\n");
            assert_eq!(bench.debugfs_write("t/level", b" 12\n"), Ok(4));
            assert_eq!(level.load(Relaxed), 12);
            assert_eq!(bench.debugfs_write("t/level", b"twelve"), INVALID);
            assert_eq!(bench.debugfs_write("t/level", b"\xff"), INVALID);
            assert_eq!(bench.debugfs_write("t/level", b"0000000000000000000001"), INVALID);
            assert_eq!(bench.debugfs_write("t/level", b"000000000000000000001"), Ok(21));
            assert_eq!(level.load(Relaxed), 1);
        },
    );
}

#[test]
fn mutex_can_be_write_only() {
    with_file(
        |dir| boxed(dir.write_only_file(c"name", new_mutex!('?'))),
        |bench, name: &Mutex<char>| {
            assert_eq!(bench.debugfs_write("t/name", b"x"), Ok(1));
            assert_eq!(*name.lock(), 'x');
            assert_eq!(bench.debugfs_read("t/name").err(), Some(Errno(-22)));
        },
    );
}

fn show_hex(value: &Atomic<u32>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{:#x}", value.load(Relaxed))
}

fn add_length(value: &Atomic<u32>, reader: &mut UserSliceReader) -> Result {
    value.add(reader.len() as u32, Relaxed);
    Ok(())
}

#[test]
fn callbacks_show_and_take() {
    with_file(
        |dir| boxed(dir.read_write_callback_file(c"sum", Atomic::new(250u32), &show_hex, &add_length)),
        |bench, _| {
            assert_eq!(bench.debugfs_write("t/sum", b"12345"), Ok(5));
            assert_eq!(bench.debugfs_read("t/sum").unwrap(), b"0xff");
        },
    );
}

#[test]
fn callback_can_be_a_closure() {
    with_file(
        |dir| boxed(dir.read_callback_file(c"double", 21u8, &|value, f| writeln!(f, "{}", value * 2))),
        |bench, _| assert_eq!(bench.debugfs_read("t/double").unwrap(), b"42\n"),
    );
}

#[test]
fn bytes_are_read_and_written_by_position() {
    with_file(
        |dir| boxed(dir.read_write_binary_file(c"blob", new_mutex!(*b"abcdef"))),
        |bench, blob: &Mutex<[u8; 6]>| {
            let result = bench.run("user", || {
                let file = open_debugfs("t/blob")?;
                let mut chunk = [0; 4];
                let read = file.read(&mut chunk)?;
                let written = file.write(b"XYZ")?;
                let past_the_end = (file.write(b"!")?, file.read(&mut chunk)?);
                file.seek(1);
                Ok((read, written, past_the_end, file.write(b"_")?))
            });
            assert_eq!(result.unwrap(), Ok::<_, Errno>((4, 2, (0, 0), 1)));
            assert_eq!(&*blob.lock(), b"a_cdXY");
        },
    );
}

#[test]
fn vector_gives_its_bytes() {
    with_file(
        |dir| boxed(dir.read_binary_file(c"vector", kernel::kvec![1u16.to_be(), 2u16.to_be()].unwrap())),
        |bench, _: &KVec<u16>| assert_eq!(bench.debugfs_read("t/vector").unwrap(), [0, 1, 0, 2]),
    );
}

std::thread_local! {
    static SHOWN: Cell<u32> = const { Cell::new(0) };
}

/// Shows so many letters, and counts how often it does.
fn show_letters(count: &usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    SHOWN.set(SHOWN.get() + 1);
    (0..*count).try_for_each(|index| f.write_str(if index % 2 == 0 { "a" } else { "b" }))
}

#[test]
fn text_is_made_once_for_one_reading_and_anew_after_a_seek() {
    with_file(
        |dir| boxed(dir.read_callback_file(c"letters", 5usize, &show_letters)),
        |bench, _| {
            let result = bench.run("user", || {
                let file = open_debugfs("t/letters")?;
                let mut chunk = [0; 2];
                let counts =
                    [file.read(&mut chunk)?, file.read(&mut chunk)?, file.read(&mut chunk)?, file.read(&mut chunk)?];
                let shown = SHOWN.get();
                file.seek(3);
                file.read(&mut chunk)?;
                Ok((counts, shown, chunk, SHOWN.get()))
            });
            assert_eq!(result.unwrap(), Ok::<_, Errno>(([2, 2, 1, 0], 1, *b"ba", 2)));
        },
    );
}

#[test]
fn text_as_long_as_a_page_is_made_again_in_a_larger_buffer() {
    with_file(
        |dir| boxed(dir.read_callback_file(c"letters", 4096usize, &show_letters)),
        |bench, _| {
            assert_eq!(bench.debugfs_read("t/letters").unwrap().len(), 4096);
            assert_eq!(SHOWN.get(), 2);
        },
    );
}

#[test]
fn scope_fills_its_directory_and_removes_it_before_its_value() {
    let bench = Bench::builder().build().unwrap();
    let scope = bench.run("setup", || {
        let counters = [Atomic::new(1u32), Atomic::new(2u32)];
        KBox::pin_init(
            Scope::dir(counters, c"unit", |counters, dir| {
                let inner = dir.dir(c"counters");
                inner.read_write_file(c"a", &counters[0]);
                inner.write_only_callback_file(c"b", &counters[1], &add_length);
                dir.read_only_file(c"both", counters);
            }),
            GFP_KERNEL,
        )
    });
    let scope = scope.unwrap().unwrap();

    assert_eq!(bench.debugfs_paths(), ["unit/", "unit/counters/", "unit/counters/a", "unit/counters/b", "unit/both"]);
    bench.debugfs_write("unit/counters/b", b"12345").unwrap();
    assert_eq!(bench.debugfs_read("unit/both").unwrap(), b"[1, 7]\n");
    assert_eq!(scope[1].load(Relaxed), 7);
    bench.run("teardown", || drop(scope)).unwrap();

    assert_eq!(bench.debugfs_paths(), [] as [&str; 0]);
    assert!(bench.finish().is_clean());
}

#[test]
fn directory_stays_while_something_in_it_does() {
    let bench = Bench::builder().build().unwrap();

    let inner = bench.run("setup", || Dir::new(c"outer").subdir(c"inner")).unwrap();
    assert_eq!(bench.debugfs_paths(), ["outer/", "outer/inner/"]);
    bench.run("teardown", || drop(inner)).unwrap();

    assert_eq!(bench.debugfs_paths(), [] as [&str; 0]);
}

#[test]
fn name_that_is_taken_gives_a_directory_in_which_nothing_is_made() {
    let bench = Bench::builder().build().unwrap();

    bench
        .run("driver", || {
            let first = Dir::new(c"twice");
            let second = Dir::new(c"twice");
            let file = boxed(second.read_only_file(c"lost", 1));
            let _ = (second.subdir(c"lost too"), first.subdir(c"a/b"), first.subdir(c".."));
            assert_eq!(**file, 1);
            assert_eq!(bench.debugfs_paths(), ["twice/"]);
        })
        .unwrap();

    assert_eq!(bench.log(), "debugfs: 'twice' already exists in '/'\n");
    assert!(bench.finish().is_clean());
}

#[test]
fn open_file_of_a_removed_entry_answers_with_an_io_error() {
    let bench = Bench::builder().build().unwrap();

    let results = bench.run("driver", || {
        let dir = Dir::new(c"t");
        let file = boxed(dir.read_write_file(c"level", Atomic::new(1i8)));
        let open = open_debugfs("t/level").unwrap();
        drop(file);
        (open.read(&mut [0; 4]), open.write(b"1"), open_debugfs("t/level").err())
    });

    assert_eq!(results, Ok((Err(Errno(-5)), Err(Errno(-5)), Some(Errno(-2)))));
}

/// Sleeps for a microsecond before it shows.
fn show_slowly(value: &u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    kernel::machine::sleep(1_000);
    write!(f, "{value}")
}

#[test]
fn removal_waits_for_a_reader() {
    let bench = Bench::builder().build().unwrap();
    let (dir, file) = bench
        .run("setup", || {
            let dir = Dir::new(c"t");
            let file = boxed(dir.read_callback_file(c"slow", 5u32, &show_slowly));
            (dir, file)
        })
        .unwrap();

    let reader = bench.spawn("reader", || {
        let mut text = [0; 1];
        open_debugfs("t/slow").and_then(|file| file.read(&mut text)).map(|_| text)
    });
    bench.advance(500);
    assert!(!reader.is_done());
    bench.run("teardown", || drop((file, dir))).unwrap();

    assert_eq!(bench.join(&reader).unwrap(), Ok(*b"5"));
    assert!(bench.finish().is_clean());
}

#[test]
fn without_a_machine_nothing_is_made() {
    let dir = Dir::new(c"nowhere");
    let file = boxed(dir.read_only_file(c"file", 3));

    assert_eq!(**file, 3);
}

/// A device without registers.
struct Blank;

impl Device for Blank {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x0001)
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(0)
    }

    fn write(&mut self, _cx: &mut Cx<'_>, _at: Access, _value: u64) -> Reply<()> {
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

kernel::module_pci_driver! {
    type: DmaSharer,
    name: "dma_sharer",
    authors: ["Bringup"],
    description: "Shows the memory that it shares with its device",
    license: "GPL",
}

kernel::pci_device_table!(IDS, (), [(pci::DeviceId::from_class(0, 0), ())]);

#[pin_data]
struct DmaSharer {
    #[pin]
    ring: File<Coherent<[u8]>>,
    dir: Dir,
}

impl pci::Driver for DmaSharer {
    type IdInfo = ();
    type Data<'bound> = Self;

    const ID_TABLE: pci::IdTable<()> = &IDS;

    fn probe<'bound>(pdev: &'bound pci::Device<Core<'_>>, _: Option<&'bound ()>) -> impl PinInit<Self, Error> + 'bound {
        let dir = Dir::new(c"t");
        try_pin_init!(Self {
            ring <- dir.read_binary_file(c"ring", Coherent::from_slice(pdev.as_ref(), b"0123456789", GFP_KERNEL)),
            dir,
        })
    }
}

#[test]
fn memory_shared_with_a_device_gives_its_bytes() {
    let bench = Bench::builder().device("blank", Blank).build().unwrap();
    bench.load(&BRINGUP_MODULE).unwrap();

    assert_eq!(bench.debugfs_read("t/ring").unwrap(), b"0123456789");
    let tail = bench.run("user", || {
        let mut tail = [0; 16];
        let file = open_debugfs("t/ring")?;
        file.seek(7);
        let counts = (file.read(&mut tail)?, file.read(&mut tail)?);
        file.seek(11);
        Ok::<_, Errno>((counts, file.read(&mut tail)?))
    });

    assert_eq!(tail.unwrap(), Ok(((3, 0), 0)));
    assert!(bench.finish().is_clean());
}
