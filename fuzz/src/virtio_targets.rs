//! What the virtio target does with its input. Shared with the tests that run the seeds and random inputs on stable (devices/tests).

use bringup_core::dma::{DIRTY, Direction, MappingKind, NewMapping};
use bringup_core::{Bus, BusConfig, DeviceId, Ram};
use bringup_devices::registry;
use vm_memory::{Bytes as _, GuestAddress};

/// The devices that the first byte chooses from.
pub(crate) const DEVICES: [&str; 6] = [
    "virtio-blk,size=64K,packed=on,in_order=on,num-queues=2,queue-size=8,suspend=on",
    "virtio-net,packed=on,in_order=on,queue_pairs=2,queue-size=8,host_mtu=1000,suspend=on",
    "virtio-rng,packed=on,in_order=on,suspend=on",
    "virtio-console,packed=on,in_order=on,max_ports=3,queue-size=8,suspend=on",
    "virtio-blk,size=64K,read-only=on,queue-size=2,notification_data=on,notif_config_data=on,size-max=1024",
    "virtio-net,mrg_rxbuf=off,ctrl_vq=off,queue-size=4",
];

/// Where the structures are, and the registers that set a queue up; the driver's own knowledge.
const BAR: u8 = 4;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const STATUS: u64 = 0x14;
const QUEUE: u64 = 0x16;

/// The memory that the device may use: two pieces with guards around them in the machine's memory.
const PIECE: u64 = 8192;
/// Quanta that the device gets for one action.
const QUANTA: usize = 8;

struct Hostile {
    bus: Bus,
    id: DeviceId,
    /// First address for the device, and where it is.
    pieces: [(u64, GuestAddress); 2],
    /// What the second piece holds, which the device may only read.
    read_only: Vec<u8>,
    /// Rings are packed, as far as the driver asked for that.
    packed: bool,
    /// The queues as the driver set them up.
    queues: [Place; QUEUES as usize],
}

/// A queue whose ring is where it should be: how many elements, and where the next chain goes.
#[derive(Clone, Copy, Default)]
struct Place {
    size: u16,
    next: u16,
    wrapped: bool,
}

/// Bytes of the first piece for each queue: descriptors, then driver area and device area.
const AREA: u64 = 1024;
/// How many queues have an area.
const QUEUES: u64 = 4;
/// Lengths of elements, among them those that requests have.
const LENGTHS: [u32; 8] = [16, 12, 1, 512, 60, 2, 1500, 4095];

impl Hostile {
    fn new(device: u8) -> Option<Self> {
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).ok()?));
        let spec = DEVICES.get(usize::from(device) % DEVICES.len())?;
        let (name, device) = registry::parse(spec).ok()?;
        let id = bus.plug(&name, device).ok()?;
        bus.config_write(id, 4, 2, 6);
        let mut piece = |direction| {
            let physical = bus.fabric.ram.alloc(PIECE + 2 * 4096, DIRTY)?;
            let inside = GuestAddress(physical.0 + 4096);
            let wanted = NewMapping {
                physical: inside,
                len: PIECE,
                mask: u64::MAX,
                direction,
                kind: MappingKind::Coherent,
                place: None,
                at: 0,
            };
            Some((bus.port(id).io_space().map(&wanted)?, inside))
        };
        let pieces = [piece(Direction::Bidirectional)?, piece(Direction::ToDevice)?];
        let read_only = vec![DIRTY; PIECE as usize];
        Some(Self { bus, id, pieces, read_only, packed: false, queues: [Place::default(); QUEUES as usize] })
    }

    fn set(&mut self, register: u64, width: u8, value: u64) {
        self.bus.bar_write(self.id, BAR, register, width, value, None);
    }

    /// Negotiates: all that is offered, or a part of it.
    fn negotiate(&mut self, mask: u64) {
        self.set(STATUS, 1, 0);
        self.set(STATUS, 1, 3);
        for window in 0..3_u64 {
            self.set(0, 4, window);
            let offered = self.bus.bar_read(self.id, BAR, 4, 4, None);
            self.set(8, 4, window);
            let kept = if window == 1 { offered & !(mask >> 32 & 0x1fc) } else { offered & !(mask & 0xffff_ffff) };
            self.set(12, 4, kept);
            if window == 1 {
                self.packed = kept & 4 != 0;
            }
        }
        self.set(STATUS, 1, 11);
    }

    /// Sets a queue up in the first piece, in its area or somewhere else.
    fn queue(&mut self, index: u64, size: u64, place: u64) {
        let (base, at) = self.pieces[0];
        let area = index % QUEUES * AREA;
        if place == 0 && size < 16 {
            let zeros = [0; AREA as usize];
            let _ = self.bus.fabric.ram.memory().write_slice(&zeros, GuestAddress(at.0 + area));
            self.queues[(index % QUEUES) as usize] = Place { size: size as u16, next: 0, wrapped: false };
        }
        self.set(QUEUE, 2, index);
        self.set(0x18, 2, size);
        for (nth, register) in [0x20, 0x28, 0x30].into_iter().enumerate() {
            let address = base + (area + nth as u64 * 256 + place) % PIECE;
            self.set(register, 4, address & 0xffff_ffff);
            self.set(register + 4, 4, address >> 32);
        }
        self.set(0x1c, 2, 1);
    }

    /// Makes a chain available as a driver would, with a header at its start, and kicks. The lengths are of the table, three bits
    /// each; from element `writable` on the device is to write.
    fn submit(&mut self, queue: u64, header: &[u8; 16], elements: u16, writable: u16, lengths: u64) {
        let Some(&Place { size, next, wrapped }) = self.queues.get(queue as usize) else { return };
        let elements = elements.min(size);
        if elements == 0 {
            return;
        }
        self.store(1, 0, header);
        self.read_only[..16].copy_from_slice(header);
        let area = queue * AREA;
        let mut place = (next % size, wrapped);
        for index in 0..elements {
            let at = u64::from(index) * 1024;
            let writes = index >= writable;
            let address = if writes { self.pieces[0].0 + QUEUES * AREA + at } else { self.pieces[1].0 + at };
            let len = LENGTHS[(lengths >> (3 * index) & 7) as usize];
            let mut flags = u16::from(index + 1 < elements) | u16::from(writes) << 1;
            let (slot, last) = if self.packed {
                flags |= if place.1 { 1 << 15 } else { 1 << 7 };
                (place.0, [queue as u16, flags])
            } else {
                (index, [flags, index + 1])
            };
            let [third, fourth] = last.map(u16::to_le_bytes);
            let bytes = [&address.to_le_bytes()[..], &len.to_le_bytes(), &third, &fourth].concat();
            self.store(0, area + u64::from(slot) * 16, &bytes);
            place = if place.0 + 1 == size { (0, !place.1) } else { (place.0 + 1, place.1) };
        }
        let place = if self.packed {
            Place { size, next: place.0, wrapped: place.1 }
        } else {
            self.store(0, area + 256 + 4 + u64::from(next % size) * 2, &[0, 0]);
            self.store(0, area + 256 + 2, &next.wrapping_add(1).to_le_bytes());
            Place { next: next.wrapping_add(1), ..self.queues[queue as usize] }
        };
        self.queues[queue as usize] = place;
        self.set(NOTIFY + queue * 4, 2, queue);
    }

    /// Writes memory that the device may look at.
    fn store(&mut self, piece: usize, offset: u64, bytes: &[u8]) {
        let (_, at) = self.pieces[piece % 2];
        let offset = offset % (PIECE - bytes.len() as u64);
        let _ = self.bus.fabric.ram.memory().write_slice(bytes, GuestAddress(at.0 + offset));
    }

    fn run(&mut self) {
        for _ in 0..QUANTA {
            let Some(at) = self.bus.next_event() else { return };
            let now = self.bus.fabric.now();
            self.bus.fabric.advance(at.saturating_sub(now));
            let Some(device) = self.bus.due_device() else { return };
            self.bus.work(device);
        }
    }

    /// What lies around the pieces, and what the device may only read, is as it was.
    fn check(&self) {
        let memory = self.bus.fabric.ram.memory();
        for (_, at) in self.pieces {
            for guard in [at.0 - 4096, at.0 + PIECE] {
                let mut bytes = [0; 4096];
                let _ = memory.read_slice(&mut bytes, GuestAddress(guard));
                assert!(bytes.iter().all(|byte| *byte == DIRTY), "the device wrote outside of its memory");
            }
        }
        let mut bytes = vec![0; PIECE as usize];
        let _ = memory.read_slice(&mut bytes, self.pieces[1].1);
        assert!(bytes == self.read_only, "the device wrote what it may only read");
    }
}

/// A driver that does what the bytes say: valid things by default, anything now and then. The first byte is the device; eight more
/// make an action each.
pub(crate) fn hostile_driver(data: &[u8]) {
    let Some((device, actions)) = data.split_first() else { return };
    let Some(mut hostile) = Hostile::new(*device) else { return };
    let (base, readable) = (hostile.pieces[0].0, hostile.pieces[1].0);
    for action in actions.chunks_exact(8).take(512) {
        let [kind, small, a, b, value @ ..] = action else { return };
        let (value, place) = (
            u64::from(u32::from_le_bytes(*value.as_array().unwrap_or(&[0; 4]))),
            u64::from(u16::from_le_bytes([*a, *b])),
        );
        let small64 = u64::from(*small);
        match kind % 24 {
            0 => hostile.negotiate(value << 16 | place),
            1 => hostile.queue(small64 % 9, 1 << (value % 4), if place & 1 == 0 { 0 } else { place & !15 }),
            2 => hostile.queue(small64, value & 0xffff, place),
            3 => hostile.set(STATUS, 1, 15),
            4 => hostile.set(STATUS, 1, small64),
            5 | 6 => hostile.set(NOTIFY + small64 % 9 * 4, 2, small64 % 9),
            16.. => {
                // A request, a packet, a command: what begins with a small number is one of many devices.
                let first = value & [0x0f, 0x0f0f, 0xff0f, 0xffff][usize::from(small >> 6)];
                let mut header = [0; 16];
                header[..4].copy_from_slice(&(first as u32).to_le_bytes());
                header[8] = small >> 3 & 15;
                let (elements, writable) = (1 + u16::from(a & 3), u16::from(a >> 2 & 7));
                let lengths = value >> 16 | u64::from(*b) << 16;
                hostile.submit(small64 % QUEUES, &header, elements, writable, lengths);
            }
            7 | 8 => {
                let address = if small & 64 == 0 { base + value % PIECE } else { readable + value % PIECE };
                let address = if small & 128 == 0 { address } else { value << 32 | value };
                let len = u32::from(*a) << (small & 7);
                let flags = (u16::from(*b) & 7) | u16::from(b >> 3 & 3) << 7 | u16::from(b >> 5 & 1) << 15;
                let bytes =
                    [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &flags.to_le_bytes()]
                        .concat();
                hostile.store(0, (value >> 16) & !15, &bytes);
            }
            9 => hostile.store(0, place, &(value as u16).to_le_bytes()),
            10 => hostile.store(0, place, &(value as u32).to_le_bytes()),
            11 => {
                let offset = place % (PIECE - 8);
                hostile.store(1, offset, &value.to_le_bytes());
                hostile.read_only[offset as usize..][..8].copy_from_slice(&value.to_le_bytes());
            }
            12 => hostile.set(DEVICE + small64 % 128, 1 << (a & 3), value),
            13 => drop(hostile.bus.bar_read(hostile.id, BAR, (place % 0x4000) & !7, 1 << (small & 3), None)),
            14 => hostile.set(place % 0x40, 1 << (small & 1), value),
            _ => drop(hostile.bus.config_write(hostile.id, ((place % 0x100) & !3) as u16, 4, value as u32)),
        }
        hostile.run();
    }
    hostile.check();
}
