//! The `virtio-drivers` crate drives the block, network, entropy and console devices over the PCI transport, with and without
//! indirect descriptors and event indices.

use bringup_devices::virtio::{
    Blk, BlkOptions, Console, Loopback, MemoryImage, Net, NetOptions, Rng, Terminal, VirtioDevice, VirtioPci,
};
use bringup_interop::{Machine, broken_rules, plug, settle, transport};
use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::net::VirtIONet;
use virtio_drivers::device::rng::VirtIORng;

/// `VIRTIO_F_INDIRECT_DESC` and `VIRTIO_F_EVENT_IDX`.
const INDIRECT_DESC: u32 = 28;
const EVENT_IDX: u32 = 29;

/// Runs a test on a device in all four modes.
fn in_all_modes<D: VirtioDevice + 'static>(device: impl Fn() -> D, test: impl Fn()) {
    for (indirect, event_idx) in [(false, false), (false, true), (true, false), (true, true)] {
        let pci = VirtioPci::new(device()).offer(INDIRECT_DESC, indirect).offer(EVENT_IDX, event_idx);
        plug(Box::new(pci));
        test();
        assert_eq!(broken_rules(), [] as [&str; 0]);
    }
}

#[test]
fn blocks_are_written_read_flushed_and_identified() {
    let options = || BlkOptions { serial: "interop".into(), ..BlkOptions::default() };
    in_all_modes(
        || Blk::new(MemoryImage::new(1 << 20), options()),
        || {
            let mut disk = VirtIOBlk::<Machine, _>::new(transport()).unwrap();
            assert_eq!((disk.capacity(), disk.readonly()), (2048, false));
            for block in 0..100 {
                let bytes = [block as u8 ^ 0x5a; 4 * SECTOR_SIZE];
                disk.write_blocks(block * 4, &bytes).unwrap();
            }
            disk.flush().unwrap();
            for block in 0..100 {
                let mut bytes = [0; 4 * SECTOR_SIZE];
                disk.read_blocks(block * 4, &mut bytes).unwrap();
                assert_eq!(bytes, [block as u8 ^ 0x5a; 4 * SECTOR_SIZE]);
            }
            let mut id = [0; 20];
            let len = disk.device_id(&mut id).unwrap();
            assert_eq!(&id[..len], b"interop");
            assert!(disk.read_blocks(2048, &mut [0; SECTOR_SIZE]).is_err());
        },
    );
}

#[test]
fn read_only_disk_is_seen_as_one() {
    let options = || BlkOptions { read_only: true, ..BlkOptions::default() };
    in_all_modes(
        || Blk::new(MemoryImage::new(1 << 20), options()),
        || {
            let mut disk = VirtIOBlk::<Machine, _>::new(transport()).unwrap();
            assert!(disk.readonly());
            assert!(disk.write_blocks(0, &[0; SECTOR_SIZE]).is_err());
        },
    );
}

#[test]
fn frames_go_through_the_loop() {
    in_all_modes(
        || Net::new(Loopback::new(1_000), NetOptions::default()),
        || {
            let mut card = VirtIONet::<Machine, _, 16>::new(transport(), 2048).unwrap();
            assert_eq!(card.mac_address(), [0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);
            for len in (60..1500).step_by(37) {
                let mut buffer = card.new_tx_buffer(len);
                buffer.packet_mut().fill(len as u8);
                card.send(buffer).unwrap();
                settle();
                let received = card.receive().unwrap();
                assert_eq!(received.packet(), vec![len as u8; len]);
                card.recycle_rx_buffer(received).unwrap();
            }
        },
    );
}

#[test]
fn entropy_is_drawn() {
    in_all_modes(
        || Rng::new(7),
        || {
            let mut source = VirtIORng::<Machine, _>::new(transport()).unwrap();
            for len in [1, 16, 4096] {
                let mut bytes = vec![0; len];
                assert_eq!(source.request_entropy(&mut bytes).unwrap(), len);
                assert!(len == 1 || bytes.iter().any(|byte| *byte != bytes[0]));
            }
        },
    );
}

#[test]
fn console_sends_and_receives() {
    for (indirect, event_idx) in [(false, false), (false, true), (true, false), (true, true)] {
        let terminal = Terminal::default();
        let pci = VirtioPci::new(Console::single(terminal.clone()));
        plug(Box::new(pci.offer(INDIRECT_DESC, indirect).offer(EVENT_IDX, event_idx)));
        let mut console = VirtIOConsole::<Machine, _>::new(transport()).unwrap();
        let size = console.size().unwrap().unwrap();
        assert_eq!((size.columns, size.rows), (80, 25));
        console.send_bytes(b"hello").unwrap();
        console.send(b'!').unwrap();
        console.emergency_write(b'?').unwrap();
        assert_eq!(terminal.take_shown(), b"hello!?");
        terminal.type_in(b"typed");
        settle();
        console.ack_interrupt().unwrap();
        let typed: Vec<u8> = std::iter::from_fn(|| console.recv(true).unwrap()).collect();
        assert_eq!(typed, b"typed");
        assert_eq!(broken_rules(), [] as [&str; 0]);
    }
}
