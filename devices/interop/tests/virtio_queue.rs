//! The driver's side of rust-vmm's `virtio-queue`, which it has for tests, fills the rings of our block device.

use bringup_core::dma::{DIRTY, Direction, MappingKind, NewMapping, device_memory};
use bringup_core::pci::{command, offset};
use bringup_core::{Bus, BusConfig, DeviceId, Ram};
use bringup_devices::virtio::{Blk, VirtioPci};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};

/// Where things are in the BAR that the capabilities point to; the transport's tests show that they do.
const BAR: u8 = 4;
const NOTIFY: u64 = 0x3000;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// The mock does not come around: a ring serves as many requests as it has entries.
const SIZE: u16 = 256;

fn set(bus: &mut Bus, id: DeviceId, register: u64, width: u8, value: u64) {
    bus.bar_write(id, BAR, register, width, value, None);
}

fn run(bus: &mut Bus) {
    while let Some(at) = bus.next_event() {
        let now = bus.fabric.now();
        bus.fabric.advance(at.saturating_sub(now));
        while let Some(due) = bus.due_device() {
            bus.work(due);
        }
    }
}

#[test]
fn blocks_come_and_go_through_rings_that_the_mock_wrote() {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
    let id = bus.plug("blk", Box::new(VirtioPci::new(Blk::memory(1 << 20)))).unwrap();
    bus.config_write(id, offset::COMMAND, 2, (command::MEMORY | command::BUS_MASTER).into());
    // One piece of memory, at the same addresses for the device and for the mock, which has a view of its own.
    let physical = bus.fabric.ram.alloc(1 << 16, DIRTY).unwrap();
    let memory = device_memory(&bus.fabric.ram);
    memory.iommu().set_open(true);
    let (direction, kind) = (Direction::Bidirectional, MappingKind::Coherent);
    let wanted = NewMapping { physical, len: 1 << 16, mask: u64::MAX, direction, kind, place: None, at: 0 };
    let start = bus.port(id).io_space().map(&wanted).unwrap();
    assert_eq!(memory.iommu().map(&wanted), Some(start));
    memory.write_slice(&[0; 0x4000], GuestAddress(start)).unwrap();
    let queue = MockSplitQueue::create(&memory, GuestAddress(start), SIZE);
    // It puts its used ring into its available ring when it has more than a few entries: this one is elsewhere.
    let used = GuestAddress(start + 0x2000);
    assert!(queue.avail_addr().0 + 6 + 2 * u64::from(SIZE) <= used.0);

    set(&mut bus, id, 0x14, 1, 3);
    set(&mut bus, id, 0x08, 4, 1);
    set(&mut bus, id, 0x0c, 4, 3);
    set(&mut bus, id, 0x14, 1, 11);
    set(&mut bus, id, 0x18, 2, SIZE.into());
    for (register, address) in [(0x20, queue.desc_table_addr()), (0x28, queue.avail_addr()), (0x30, used)] {
        set(&mut bus, id, register, 4, address.0 & 0xffff_ffff);
        set(&mut bus, id, register + 4, 4, address.0 >> 32);
    }
    set(&mut bus, id, 0x1c, 2, 1);
    set(&mut bus, id, 0x14, 1, 15);
    let (header, data, status) = (start + 0x4000, start + 0x5000, start + 0x6000);
    for turn in 0..u64::from(SIZE) / 2 {
        let bytes = [turn as u8; 1024];
        for (kind, flags) in [(1_u64, 0), (0, WRITE)] {
            memory.write_slice(&kind.to_le_bytes(), GuestAddress(header)).unwrap();
            memory.write_slice(&turn.to_le_bytes(), GuestAddress(header + 8)).unwrap();
            memory.write_slice(if kind == 1 { &bytes } else { &[0; 1024] }, GuestAddress(data)).unwrap();
            let chain = [(header, 16, NEXT, 1), (data, 1024, flags | NEXT, 2), (status, 1, WRITE, 0)]
                .map(|(address, len, flags, next)| RawDescriptor::from(Descriptor::new(address, len, flags, next)));
            queue.add_desc_chains(&chain, 0).unwrap();
            set(&mut bus, id, NOTIFY, 2, 0);
            run(&mut bus);
            assert_eq!(memory.read_obj::<u8>(GuestAddress(status)).unwrap(), 0, "{turn} {kind}");
        }
        let mut got = [0; 1024];
        memory.read_slice(&mut got, GuestAddress(data)).unwrap();
        assert_eq!(got, bytes);
        let index = 2 * turn + 2;
        assert_eq!(memory.read_obj::<u16>(GuestAddress(used.0 + 2)).unwrap(), index as u16);
        let element = memory.read_obj::<[u32; 2]>(GuestAddress(used.0 + 4 + 8 * (index - 1))).unwrap();
        assert_eq!(element, [0, 1025]);
    }
    assert!(bus.fabric.findings.is_empty());
}
