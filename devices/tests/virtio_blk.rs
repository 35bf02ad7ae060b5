//! The block device, request by request, in both ring layouts.

mod board;
mod rig;

use std::io::Write;

use bringup_devices::virtio::{Blk, BlkOptions, FileImage, MemoryImage, VirtioPci};
use bringup_spec::virtio::blk::{config, feature, request, segment, status};
use bringup_spec::virtio::{feature as ring_feature, status as device_status};
use rig::{BASIC, Buffer, IN_ORDER, INDIRECT, PACKED, Rig, Ring};

const FLUSH: u128 = 1 << feature::FLUSH;
const CONFIG_WCE: u128 = 1 << feature::CONFIG_WCE;
const DISCARD: u128 = 1 << feature::DISCARD;
const WRITE_ZEROES: u128 = 1 << feature::WRITE_ZEROES;
const ALL: u128 = BASIC | FLUSH | CONFIG_WCE | DISCARD | WRITE_ZEROES;

const MIB: u64 = 1 << 20;

struct Disk {
    rig: Rig,
    ring: Ring,
}

impl Disk {
    fn new(blk: Blk, features: u128) -> Self {
        let device = VirtioPci::new(blk).offer(ring_feature::RING_PACKED, true).offer(ring_feature::IN_ORDER, true);
        let mut rig = Rig::new(device);
        assert!(rig.negotiate(features));
        let ring = rig.queue(0, 16);
        rig.driver_ok();
        Self { rig, ring }
    }

    fn memory(features: u128) -> Self {
        Self::new(Blk::memory(MIB), features)
    }

    fn header(kind: u32, sector: u64) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
    }

    /// A request of header, buffers and a status byte: the status, and how many bytes were written.
    fn request(&mut self, kind: u32, sector: u64, buffers: &[Buffer]) -> (u8, u32) {
        let header = self.rig.out(&Self::header(kind, sector));
        let status = self.rig.room(1);
        let chain = [&[header], buffers, &[status]].concat();
        let written = self.rig.transact(&mut self.ring, &chain);
        (self.rig.bytes(status)[0], written)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> u8 {
        let data = self.rig.out(bytes);
        self.request(request::OUT, sector, &[data]).0
    }

    fn read(&mut self, sector: u64, len: u64) -> (u8, Vec<u8>) {
        let data = self.rig.room(len);
        let (status, written) = self.request(request::IN, sector, &[data]);
        assert_eq!(written, if status == status::OK { len as u32 + 1 } else { written });
        (status, self.rig.bytes(data))
    }

    fn segments(&mut self, kind: u32, segments: &[(u64, u32, u32)]) -> u8 {
        let bytes: Vec<u8> = segments
            .iter()
            .flat_map(|(sector, count, flags)| {
                [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat()
            })
            .collect();
        let data = self.rig.out(&bytes);
        self.request(kind, 0, &[data]).0
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 512) as u8).collect()
}

#[test]
fn what_was_written_is_read_in_every_layout_and_order() {
    for features in [ALL, ALL | PACKED, ALL | IN_ORDER, ALL | PACKED | IN_ORDER] {
        let mut disk = Disk::memory(features);
        let bytes = pattern(3 * 65536 + 512);
        for sector in [0, 1, 127, 1000] {
            assert_eq!(disk.write(sector, &bytes), status::OK);
            assert_eq!(disk.read(sector, bytes.len() as u64), (status::OK, bytes.clone()));
        }
        assert_eq!(disk.read(2047, 512), (status::OK, vec![0; 512]));
        assert_eq!(disk.rig.board.broken_rules(), [] as [&str; 0]);
    }
}

#[test]
fn requests_may_be_cut_into_elements_anywhere() {
    let mut disk = Disk::memory(ALL);
    let message = [Disk::header(request::OUT, 5), pattern(1024)].concat();
    let pieces: Vec<Buffer> =
        [&message[..7], &message[7..20], &message[20..600], &message[600..]].map(|part| disk.rig.out(part)).into();
    let status = disk.rig.room(1);
    disk.rig.transact(&mut disk.ring, &[&pieces[..], &[status]].concat());
    assert_eq!(disk.rig.bytes(status), [status::OK]);
    let header = disk.rig.out(&Disk::header(request::IN, 5));
    // The status byte shares an element with data.
    let (first, second) = (disk.rig.room(1000), disk.rig.room(25));
    assert_eq!(disk.rig.transact(&mut disk.ring, &[header, first, second]), 1025);
    let got = [disk.rig.bytes(first), disk.rig.bytes(second)].concat();
    assert_eq!((&got[..1024], got[1024]), (&pattern(1024)[..], status::OK));
}

#[test]
fn places_and_lengths_that_the_disk_does_not_have_fail_and_change_nothing() {
    let mut disk = Disk::memory(ALL);
    for (sector, len) in [(2048, 512), (2047, 1024), (u64::MAX, 512), (u64::MAX - 1, 1024), (0, 511), (0, 513)] {
        assert_eq!(disk.write(sector, &vec![1; len]), status::IOERR, "{sector} {len}");
        assert_eq!(disk.read(sector, len as u64).0, status::IOERR, "{sector} {len}");
    }
    assert_eq!(disk.request(request::IN, 0, &[]), (status::IOERR, 1));
    assert_eq!(disk.request(request::OUT, 0, &[]).0, status::IOERR);
    assert_eq!(disk.read(0, MIB - 512).1, vec![0; MIB as usize - 512]);
}

#[test]
fn short_headers_fail_and_chains_without_a_status_byte_come_back() {
    let mut disk = Disk::memory(ALL);
    let (short, status) = (disk.rig.out(&[0; 15]), disk.rig.room(1));
    assert_eq!(disk.rig.transact(&mut disk.ring, &[short, status]), 1);
    assert_eq!(disk.rig.bytes(status), [status::IOERR]);
    let header = disk.rig.out(&Disk::header(request::FLUSH, 0));
    assert_eq!(disk.rig.transact(&mut disk.ring, &[header]), 0);
    assert_eq!(disk.write(0, &[1; 512]), status::OK);
}

#[test]
fn requests_that_were_not_negotiated_or_do_not_exist_are_unsupported() {
    let mut disk = Disk::memory(BASIC);
    for kind in [request::FLUSH, request::DISCARD, request::WRITE_ZEROES, request::SECURE_ERASE, 2, 0x8000_0000] {
        assert_eq!(disk.request(kind, 0, &[]), (status::UNSUPP, 1), "{kind}");
    }
}

#[test]
fn id_is_the_serial_filled_up_with_zeros() {
    let serial = "0123456789".into();
    let mut disk = Disk::new(Blk::new(MemoryImage::new(MIB), BlkOptions { serial, ..BlkOptions::default() }), ALL);
    let id = disk.rig.room(20);
    assert_eq!(disk.request(request::GET_ID, 0, &[id]), (status::OK, 21));
    assert_eq!(disk.rig.bytes(id), [&b"0123456789"[..], &[0; 10]].concat());
    let short = disk.rig.room(19);
    assert_eq!(disk.request(request::GET_ID, 0, &[short]).0, status::IOERR);
}

#[test]
fn segments_are_zeroed_and_nothing_else() {
    for (kind, flags) in [(request::DISCARD, 0), (request::WRITE_ZEROES, 0), (request::WRITE_ZEROES, segment::UNMAP)] {
        let mut disk = Disk::memory(ALL);
        disk.write(0, &[0xee; 8 * 512]);
        assert_eq!(disk.segments(kind, &[(1, 2, flags), (6, 1, flags)]), status::OK);
        let sectors: Vec<u8> = disk.read(0, 8 * 512).1.chunks(512).map(|sector| sector[0] & sector[511]).collect();
        assert_eq!(sectors, [0xee, 0, 0, 0xee, 0xee, 0xee, 0, 0xee]);
    }
}

#[test]
fn wrong_segments_fail_before_any_is_touched() {
    let mut disk = Disk::memory(ALL);
    disk.write(0, &[0xee; 512]);
    for (kind, second, expected) in [
        (request::DISCARD, (0, 1, segment::UNMAP), status::UNSUPP),
        (request::DISCARD, (0, 1, 2), status::UNSUPP),
        (request::WRITE_ZEROES, (0, 1, 2), status::UNSUPP),
        (request::WRITE_ZEROES, (2048, 1, 0), status::IOERR),
        (request::DISCARD, (u64::MAX, u32::MAX, 0), status::IOERR),
    ] {
        assert_eq!(disk.segments(kind, &[(0, 1, 0), second]), expected);
    }
    assert_eq!(disk.segments(request::DISCARD, &[(0, 1, 0); 17]), status::IOERR);
    assert_eq!(disk.request(request::DISCARD, 0, &[]).0, status::IOERR);
    let half = disk.rig.out(&[0; 24]);
    assert_eq!(disk.request(request::DISCARD, 0, &[half]).0, status::IOERR);
    assert_eq!(disk.read(0, 512).1, [0xee; 512]);
}

#[test]
fn read_only_disk_says_so_and_is_not_written() {
    let options = BlkOptions { read_only: true, ..BlkOptions::default() };
    let mut disk = Disk::new(Blk::new(MemoryImage::new(MIB), options), BASIC | 1 << feature::RO);
    let offered = disk.rig.offered();
    assert!(offered >> feature::RO & 1 != 0 && offered >> feature::DISCARD & 1 == 0);
    assert_eq!(disk.write(0, &[1; 512]), status::IOERR);
    assert_eq!(disk.read(0, 512), (status::OK, vec![0; 512]));
}

#[test]
fn limits_that_were_told_are_kept() {
    let options = BlkOptions { seg_max: 2, size_max: 1024, ..BlkOptions::default() };
    let mut disk = Disk::new(Blk::new(MemoryImage::new(MIB), options), BASIC);
    assert_eq!((disk.rig.config(config::SEG_MAX, 4), disk.rig.config(config::SIZE_MAX, 4)), (2, 1024));
    let data: Vec<Buffer> = (0..3).map(|_| disk.rig.room(512)).collect();
    assert_eq!(disk.request(request::IN, 0, &data[..2]).0, status::OK);
    assert_eq!(disk.request(request::IN, 0, &data).0, status::IOERR);
    assert_eq!(disk.write(0, &[0; 1024]), status::OK);
    assert_eq!(disk.write(0, &[0; 1536]), status::IOERR);
    let whole = disk.rig.out(&[Disk::header(request::OUT, 0), vec![0; 1024]].concat());
    let status = disk.rig.room(1);
    disk.rig.transact(&mut disk.ring, &[whole, status]);
    assert_eq!(disk.rig.bytes(status), [status::OK], "the header does not count");
}

#[test]
fn configuration_tells_capacity_topology_and_queues() {
    let options = BlkOptions { queues: 4, block_size: 4096, physical_block_size: 16384, ..BlkOptions::default() };
    let mut rig = Rig::new(VirtioPci::new(Blk::new(MemoryImage::new(64 * MIB), options)));
    let fields = [
        (config::CAPACITY, 4, 131_072),
        (config::CAPACITY + 4, 4, 0),
        (config::BLK_SIZE, 4, 4096),
        (config::PHYSICAL_BLOCK_EXP, 1, 2),
        (config::NUM_QUEUES, 2, 4),
        (config::DISCARD_SECTOR_ALIGNMENT, 4, 8),
        (33, 1, 0),
        (config::LEN - 4, 4, 0),
    ];
    for (offset, width, value) in fields {
        assert_eq!(rig.config(offset, width), value, "{offset}");
    }
}

#[test]
fn cache_mode_can_be_changed_if_that_was_negotiated() {
    let mut disk = Disk::memory(ALL);
    assert_eq!(disk.rig.config(config::WRITEBACK, 1), 1);
    disk.rig.set_config(config::WRITEBACK, 1, 0);
    assert_eq!(disk.rig.config(config::WRITEBACK, 1), 0);
    disk.rig.set_config(config::CAPACITY, 1, 0);
    assert_eq!(disk.rig.config(config::CAPACITY, 4), 2048);
    let mut disk = Disk::memory(ALL & !FLUSH);
    assert_eq!(disk.rig.config(config::WRITEBACK, 1), 0);
    let mut disk = Disk::memory(ALL & !CONFIG_WCE);
    disk.rig.set_config(config::WRITEBACK, 1, 0);
    assert_eq!(disk.rig.config(config::WRITEBACK, 1), 1);
}

#[test]
fn all_queues_are_served_and_none_starves() {
    let options = BlkOptions { queues: 3, ..BlkOptions::default() };
    let mut rig = Rig::new(VirtioPci::new(Blk::new(MemoryImage::new(MIB), options)));
    assert!(rig.negotiate(BASIC | 1 << feature::MQ));
    let mut rings: Vec<Ring> = (0..3).map(|index| rig.queue(index, 16)).collect();
    rig.enable_msix();
    rig.driver_ok();
    for ring in &mut rings {
        for sector in 0..5 {
            let chain = [rig.out(&Disk::header(request::IN, sector)), rig.room(513)];
            ring.add(&mut rig.board, &chain);
        }
        rig.kick(ring);
    }
    rig.run();
    assert!(rings.iter_mut().all(|ring| ring.take_all(&rig.board).len() == 5));
    assert_eq!(rig.vectors(), [1, 2, 3]);
}

#[test]
fn request_takes_its_latency_in_virtual_time() {
    let options = BlkOptions { latency: 500_000, ..BlkOptions::default() };
    let mut disk = Disk::new(Blk::new(MemoryImage::new(MIB), options), BASIC);
    let chain = [disk.rig.out(&Disk::header(request::IN, 0)), disk.rig.room(513)];
    disk.ring.add(&mut disk.rig.board, &chain);
    disk.rig.kick(&disk.ring);
    disk.rig.board.step(499_000);
    assert_eq!(disk.ring.take(&disk.rig.board), None);
    disk.rig.board.step(10_000);
    assert!(disk.ring.take(&disk.rig.board).is_some());
}

#[test]
fn requests_under_way_are_forgotten_by_a_reset_of_their_queue() {
    let mut disk = Disk::memory(BASIC | rig::RING_RESET);
    let chain = [disk.rig.out(&Disk::header(request::IN, 0)), disk.rig.room(513)];
    disk.ring.add(&mut disk.rig.board, &chain);
    disk.rig.kick(&disk.ring);
    disk.rig.board.step(2_000);
    disk.rig.set(bringup_spec::virtio::pci::common::QUEUE_RESET, 2, 1);
    let mut ring = disk.rig.queue(0, 4);
    disk.rig.run();
    assert_eq!((disk.ring.take(&disk.rig.board), ring.take(&disk.rig.board)), (None, None));
    assert_eq!(disk.rig.transact(&mut ring, &chain), 513);
}

#[test]
fn suspension_finishes_what_is_under_way() {
    let device = VirtioPci::new(Blk::memory(MIB)).offer(ring_feature::SUSPEND, true);
    let mut rig = Rig::new(device);
    assert!(rig.negotiate(BASIC | rig::SUSPEND));
    let mut ring = rig.queue(0, 16);
    rig.driver_ok();
    let chain = [rig.out(&Disk::header(request::IN, 0)), rig.room(513)];
    ring.add(&mut rig.board, &chain);
    rig.kick(&ring);
    rig.board.step(2_000);
    let value = rig.status();
    rig.set_status(value | device_status::SUSPEND);
    assert!(ring.take(&rig.board).is_some());
    assert_ne!(rig.isr(), 0);
}

#[test]
fn memory_that_the_device_may_not_use_fails_the_request_and_is_found() {
    let mut disk = Disk::memory(BASIC);
    let data = disk.rig.out(&[7; 512]);
    // Room for the device to write in what it may only read.
    let lie = Buffer { writable: true, ..data };
    let (got, written) = disk.request(request::IN, 0, &[lie]);
    assert_eq!((got, written), (status::IOERR, 0));
    assert_eq!(disk.rig.board.broken_rules(), ["dma-direction"]);
    assert_eq!(disk.rig.bytes(data), [7; 512]);
}

#[test]
fn tables_serve_requests_as_well() {
    for features in [BASIC | INDIRECT, BASIC | INDIRECT | PACKED] {
        let mut disk = Disk::memory(features);
        let data: Vec<Buffer> = (0..40).map(|_| disk.rig.room(512)).collect();
        let (header, status) = (disk.rig.out(&Disk::header(request::IN, 3)), disk.rig.room(1));
        disk.ring.add_indirect(&mut disk.rig.board, &[&[header], &data[..], &[status]].concat());
        disk.rig.kick(&disk.ring);
        disk.rig.run();
        assert_eq!(disk.ring.take(&disk.rig.board).map(|(_, len)| len), Some(40 * 512 + 1));
        assert_eq!(disk.rig.bytes(status), [status::OK]);
    }
}

// --- Files -----------------------------------------------------------------------------------------------------------

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn on_file(file: &tempfile::NamedTempFile, features: u128) -> Disk {
    Disk::new(Blk::new(FileImage::open(file.path(), false).unwrap(), BlkOptions::default()), features)
}

#[test]
fn file_holds_what_was_written_and_has_the_length_that_it_had() {
    let file = file(&[0x11; 8192]);
    let mut disk = on_file(&file, ALL);
    assert_eq!(disk.write(2, &pattern(1024)), status::OK);
    assert_eq!(disk.segments(request::DISCARD, &[(8, 2, 0)]), status::OK);
    assert_eq!(disk.segments(request::WRITE_ZEROES, &[(12, 1, 0)]), status::OK);
    assert_eq!(disk.request(request::FLUSH, 0, &[]), (status::OK, 1));
    let mut expected = vec![0x11; 8192];
    expected[1024..2048].copy_from_slice(&pattern(1024));
    expected[4096..5120].fill(0);
    expected[6144..6656].fill(0);
    assert!(std::fs::read(file.path()).unwrap() == expected);
    assert_eq!(disk.read(0, 8192), (status::OK, expected));
}

#[test]
fn file_that_becomes_shorter_fails_what_is_missing_and_says_so_once() {
    let file = file(&[0x11; 8192]);
    let blk = Blk::new(FileImage::open(file.path(), false).unwrap(), BlkOptions::default());
    let notices = blk.notices();
    let mut disk = Disk::new(blk, ALL);
    file.as_file().set_len(4096).unwrap();
    assert_eq!(disk.read(0, 4096).0, status::OK);
    assert_eq!(disk.read(7, 1024).0, status::IOERR);
    assert_eq!(disk.read(8, 512).0, status::IOERR);
    let line = format!("cannot read {}: it became shorter than its 8192 bytes", file.path().display());
    assert_eq!(notices.take(), [line]);
}
