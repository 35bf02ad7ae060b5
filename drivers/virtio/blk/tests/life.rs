//! What the driver does for its users.

mod board;

use board::*;
use bringup_bench::Errno;
use bringup_devices::virtio::{BlkOptions, VirtioPci};
use bringup_spec::virtio::feature;

/// Ioctls, by their numbers in Linux.
const BLKROGET: u32 = 0x125e;
const BLKFLSBUF: u32 = 0x1261;
const BLKSSZGET: u32 = 0x1268;
const BLKGETSIZE64: u32 = 0x8008_1272;
const BLKDISCARD: u32 = 0x1277;
const BLKZEROOUT: u32 = 0x127f;
const VBLK_GET_ID: u32 = 0x8014_7600;

const EINVAL: Errno = Errno(-22);
const ENOSPC: Errno = Errno(-28);
const EROFS: Errno = Errno(-30);
const ENOTTY: Errno = Errno(-25);

const MIB: u64 = 1 << 20;

fn plain() -> VirtioPci {
    disk(MIB, BlkOptions::default())
}

#[test]
fn it_binds_and_says_what_it_found() {
    let bench = bench(plain());
    assert_eq!(bench.driver_of("disk"), Some("virtio_blk"));
    assert_eq!(
        bench.log(),
        "virtio_blk 0000:00:03.0: vblk0: 2048 sectors, blocks of 512, 1 split queue of 256, MSI-X\n"
    );
    assert_clean(&bench.finish());
}

#[test]
fn a_transitional_function_is_driven_through_its_modern_interface() {
    let bench = bench(plain().transitional(true));
    assert_eq!(bench.driver_of("disk"), Some("virtio_blk"));
    assert_clean(&bench.finish());
}

#[test]
fn what_was_written_is_read_back_in_every_mode() {
    for (name, features) in MODES {
        let bench = bench(in_mode(plain(), features));
        let file = bench.open("vblk0").unwrap();
        let data = pattern(1, 200_000);
        file.seek(512);
        assert_eq!(file.write(&data), Ok(data.len()), "{name}");
        let mut back = vec![0; data.len()];
        file.seek(512);
        assert_eq!(file.read(&mut back), Ok(data.len()), "{name}");
        assert!(back == data, "{name}");
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn odd_positions_and_lengths_leave_their_neighbours_alone() {
    let bench = bench(plain());
    let file = bench.open("vblk0").unwrap();
    let mut model = pattern(2, 64 << 10);
    assert_eq!(file.write(&model), Ok(model.len()));
    for (at, len) in [
        (1_usize, 1_usize),
        (510, 4),
        (511, 513),
        (1000, 24),
        (1025, 20_000),
        (512, 1024),
        (0, 511),
        (33_000, 16_385),
    ] {
        let bytes = pattern(at as u64 + 7, len);
        file.seek(at as i64);
        assert_eq!(file.write(&bytes), Ok(len));
        model[at..at + len].copy_from_slice(&bytes);
        let mut part = vec![0; len + 2];
        file.seek(at as i64);
        assert_eq!(file.read(&mut part), Ok(len + 2));
        assert!(part == model[at..at + len + 2], "{at} {len}");
    }
    let mut whole = vec![0; model.len()];
    file.seek(0);
    assert_eq!(file.read(&mut whole), Ok(model.len()));
    assert!(whole == model);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn the_disk_ends_where_it_ends() {
    let bench = bench(plain());
    let file = bench.open("vblk0").unwrap();
    file.seek(MIB as i64 - 100);
    assert_eq!(file.write(&[1; 300]), Ok(100));
    assert_eq!(file.write(&[1; 300]), Err(ENOSPC));
    assert_eq!(file.write(&[]), Ok(0));
    assert_eq!(file.read(&mut [0; 10]), Ok(0));
    file.seek(MIB as i64 - 10);
    let mut bytes = [0; 50];
    assert_eq!(file.read(&mut bytes), Ok(10));
    assert_eq!(bytes[..10], [1; 10]);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn it_answers_what_disks_are_asked() {
    let options = BlkOptions {
        serial: "serial-42".into(),
        ..BlkOptions::default()
    };
    let bench = bench(disk(MIB, options));
    let file = bench.open("vblk0").unwrap();
    let mut size = [0; 8];
    assert_eq!(file.ioctl_with(BLKGETSIZE64, &mut size), Ok(0));
    assert_eq!(u64::from_ne_bytes(size), MIB);
    let mut block = [0; 4];
    assert_eq!(file.ioctl_with(BLKSSZGET, &mut block), Ok(0));
    assert_eq!(u32::from_ne_bytes(block), 512);
    assert_eq!(file.ioctl_with(BLKROGET, &mut block), Ok(0));
    assert_eq!(u32::from_ne_bytes(block), 0);
    assert_eq!(file.ioctl(BLKFLSBUF, 0), Ok(0));
    let mut id = [0xff; 20];
    assert_eq!(file.ioctl_with(VBLK_GET_ID, &mut id), Ok(0));
    assert_eq!(&id[..10], b"serial-42\0");
    assert_eq!(file.ioctl(0x5555, 0), Err(ENOTTY));
    drop(file);
    assert_clean(&bench.finish());
}

fn range(start: u64, len: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&start.to_ne_bytes());
    bytes[8..].copy_from_slice(&len.to_ne_bytes());
    bytes
}

#[test]
fn zeroing_makes_zeros_with_and_without_a_request_for_it() {
    for write_zeroes in [true, false] {
        let options = BlkOptions {
            write_zeroes,
            ..BlkOptions::default()
        };
        let bench = bench(disk(MIB, options));
        let file = bench.open("vblk0").unwrap();
        assert_eq!(file.write(&[7; 100_000]), Ok(100_000));
        assert_eq!(file.ioctl_with(BLKZEROOUT, &mut range(512, 65_536)), Ok(0));
        assert_eq!(file.ioctl_with(BLKZEROOUT, &mut range(1, 512)), Err(EINVAL));
        assert_eq!(
            file.ioctl_with(BLKZEROOUT, &mut range(MIB, 512)),
            Err(EINVAL)
        );
        let mut back = vec![1; 100_000];
        file.seek(0);
        assert_eq!(file.read(&mut back), Ok(100_000));
        assert!(back[..512].iter().all(|byte| *byte == 7));
        assert!(back[512..512 + 65_536].iter().all(|byte| *byte == 0));
        assert!(back[512 + 65_536..].iter().all(|byte| *byte == 7));
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn discarding_needs_a_device_that_can() {
    let bench = bench(plain());
    let file = bench.open("vblk0").unwrap();
    assert_eq!(file.ioctl_with(BLKDISCARD, &mut range(0, 65_536)), Ok(0));
    drop(file);
    assert_clean(&bench.finish());

    let options = BlkOptions {
        discard: false,
        ..BlkOptions::default()
    };
    let bench = board::bench(disk(MIB, options));
    let file = bench.open("vblk0").unwrap();
    assert_eq!(
        file.ioctl_with(BLKDISCARD, &mut range(0, 65_536)),
        Err(Errno(-95))
    );
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn a_read_only_disk_is_not_written() {
    let options = BlkOptions {
        read_only: true,
        ..BlkOptions::default()
    };
    let bench = bench(disk(MIB, options));
    let file = bench.open("vblk0").unwrap();
    assert!(bench.log().contains("read-only"));
    assert_eq!(file.write(&[1; 512]), Err(EROFS));
    assert_eq!(file.ioctl_with(BLKZEROOUT, &mut range(0, 512)), Err(EROFS));
    assert_eq!(file.read(&mut [0; 512]), Ok(512));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn limits_of_the_device_are_kept() {
    // Blocks, segments, their sizes, and queues of all kinds.
    for (block_size, seg_max, size_max, queue_size) in [
        (512, 1, 0, 256),
        (512, 2, 512, 8),
        (4096, 254, 0, 256),
        (4096, 8, 512, 16),
        (512, 254, 1000, 4),
        (2048, 3, 4096, 4),
        (512, 254, 0, 4),
    ] {
        let options = BlkOptions {
            block_size,
            physical_block_size: block_size,
            seg_max,
            size_max,
            queue_size,
            ..BlkOptions::default()
        };
        for features in [&[][..], &[feature::INDIRECT_DESC], &[feature::RING_PACKED]] {
            let device = in_mode(disk(MIB, options.clone()), features);
            let bench = bench(device);
            let file = bench.open("vblk0").unwrap();
            let data = pattern(3, 70_001);
            file.seek(777);
            assert_eq!(file.write(&data), Ok(data.len()), "{options:?}");
            let mut back = vec![0; data.len()];
            file.seek(777);
            assert_eq!(file.read(&mut back), Ok(data.len()), "{options:?}");
            assert!(back == data, "{options:?}");
            drop(file);
            assert_clean(&bench.finish());
        }
    }
}

#[test]
fn a_queue_that_no_request_fits_into_is_refused() {
    let options = BlkOptions {
        queue_size: 2,
        ..BlkOptions::default()
    };
    let bench = bench(disk(MIB, options));
    assert_eq!(bench.driver_of("disk"), None);
    assert!(bench.log().contains("this disk cannot be used"));
    assert_clean(&bench.finish());
}

#[test]
fn several_queues_serve_several_users() {
    let options = BlkOptions {
        queues: 4,
        ..BlkOptions::default()
    };
    for vectors in [0, 1, 2, 3, 5, 64] {
        let bench = bench(disk(MIB, options.clone()).msix_vectors(vectors));
        let jobs: Vec<_> = (0..8_u64)
            .map(|user| {
                bench.spawn("user", move || {
                    let file = bringup_bench::open("vblk0")?;
                    let data = pattern(user + 1, 40_000);
                    let at = user as i64 * 100_000 + 13;
                    file.seek(at);
                    file.write(&data)?;
                    let mut back = vec![0; data.len()];
                    file.seek(at);
                    file.read(&mut back)?;
                    Ok::<_, Errno>(back == data)
                })
            })
            .collect();
        for job in &jobs {
            assert_eq!(bench.join(job).unwrap(), Ok(true), "{vectors}");
        }
        let kind = if vectors == 0 { "INTx" } else { "MSI-X" };
        assert!(bench
            .log()
            .contains(&format!("4 split queues of 256, {kind}")));
        assert_clean(&bench.finish());
    }
}

#[test]
fn writers_of_parts_of_a_block_do_not_undo_each_other() {
    let bench = bench(plain());
    let jobs: Vec<_> = (0..8_u8)
        .map(|user| {
            bench.spawn("writer", move || {
                let file = bringup_bench::open("vblk0")?;
                for round in 0..4 {
                    file.seek(round * 512 + i64::from(user) * 64);
                    file.write(&[user + 1; 64])?;
                }
                Ok::<_, Errno>(())
            })
        })
        .collect();
    for job in &jobs {
        assert_eq!(bench.join(job).unwrap(), Ok(()));
    }
    let file = bench.open("vblk0").unwrap();
    let mut back = vec![0; 2048];
    assert_eq!(file.read(&mut back), Ok(2048));
    let expected: Vec<u8> = (0..2048).map(|at| (at % 512 / 64) as u8 + 1).collect();
    assert!(back == expected);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn two_disks_have_names_of_their_own_and_give_them_back() {
    let builder = bringup_bench::Bench::builder()
        .device("one", disk(MIB, BlkOptions::default()))
        .device("two", disk(2 * MIB, BlkOptions::default()));
    let bench = loaded(builder);
    assert_eq!(bench.dev_names(), ["vblk0", "vblk1"]);
    bench.unbind("one").unwrap();
    assert_eq!(bench.dev_names(), ["vblk1"]);
    bench.bind("one").unwrap();
    let mut names = bench.dev_names();
    names.sort();
    assert_eq!(names, ["vblk0", "vblk1"]);
    assert_clean(&bench.finish());
}

#[test]
fn a_reader_that_is_done_first_leaves_no_other_waiting_for_its_interrupt() {
    for (name, features) in MODES {
        let bench = bench(in_mode(plain(), features));
        let began = bench.now();
        let jobs: Vec<_> = (0..5_usize)
            .map(|reader| {
                bench.spawn("reader", move || {
                    let file = bringup_bench::open("vblk0")?;
                    let mut bytes = [0; 4096];
                    for round in 0..20 + 7 * reader {
                        file.seek((4096 * ((reader * 31 + round) % 256)) as i64);
                        file.read(&mut bytes)?;
                    }
                    Ok::<_, Errno>(())
                })
            })
            .collect();
        for job in &jobs {
            assert_eq!(bench.join(job), Ok(Ok(())), "{name}");
        }
        // A request whose interrupt is lost is met by the driver's patience, which is ten seconds.
        assert!(bench.now() - began < 1_000_000_000, "{name}");
        assert_clean(&bench.finish());
    }
}
