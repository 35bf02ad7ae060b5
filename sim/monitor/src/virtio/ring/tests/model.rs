//! A driver and a device that do all right, in any order that the rules leave them: a plain queue, written into a ring of either
//! layout. The driver's arithmetic is the slowest that is right, so that it shares no slip with the followers.

use bringup_core::Barrier;
use bringup_core::dma::Direction;
use bringup_spec::virtio::feature;

use super::stand::Stand;
use crate::virtio::ring::{Element, Exposed, Returned, Setup};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Bytes of a buffer, and of a table.
const BUFFER: u64 = 4096;
const TABLE: u64 = 16 * 8;

/// Numbers that follow from a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A chain between the two.
#[derive(Clone)]
struct Chain {
    id: u16,
    elements: Vec<Element>,
    /// The slots or descriptors that it takes.
    parts: Vec<u16>,
    table: Option<u64>,
    /// Packed: the flags of its head, not stored yet.
    head_flags: u16,
}

pub(super) struct Model {
    pub(super) stand: Stand,
    packed: bool,
    setup: Setup,
    readable: u64,
    writable: u64,
    free_tables: Vec<u64>,
    /// Split: free descriptors. Packed: free ids.
    free: Vec<u16>,
    /// Slots or descriptors that are not taken.
    room: u16,
    /// Added and not published.
    prepared: Vec<Chain>,
    /// Published and not given back, oldest first.
    flying: Vec<Chain>,
    /// How many of these the device has read.
    read: usize,
    /// Running counts: entries (split) or slots (packed) that were added, published, looked at and used.
    added: u64,
    published: u64,
    told: u64,
    used: u64,
    pub(super) exposed: Vec<Exposed>,
    pub(super) returned: Vec<Returned>,
    /// The driver runs while the device works. Its kicks come late: value and width.
    racing: bool,
    late: Vec<(u32, u8)>,
}

impl Model {
    pub(super) fn new(packed: bool, size: u16, features: u128, shown: bool) -> Self {
        Self::on(Stand::new(shown), packed, size, features)
    }

    /// A driver that runs while the device works.
    pub(super) fn racing(packed: bool, size: u16, features: u128) -> Self {
        let mut stand = Stand::new(false);
        stand.race();
        Self { racing: true, ..Self::on(stand, packed, size, features) }
    }

    fn on(mut stand: Stand, packed: bool, size: u16, features: u128) -> Self {
        let len = u64::from(size);
        let lens = if packed { [16 * len, 4, 4] } else { [16 * len, 6 + 2 * len, 6 + 8 * len] };
        let [descriptors, driver, device] = lens.map(|len| stand.map(len, Direction::Bidirectional));
        let (readable, writable) = (stand.map(BUFFER, Direction::ToDevice), stand.map(BUFFER, Direction::FromDevice));
        let tables = stand.map(TABLE * 32, Direction::ToDevice);
        let features = features | 1 << feature::ACCESS_PLATFORM | u128::from(packed) << feature::RING_PACKED;
        let setup = Setup { index: 3, size, descriptors, driver, device, features };
        stand.enable(setup);
        stand.phase(|phase| phase.driver_ok = true);
        Self {
            stand,
            packed,
            setup,
            readable,
            writable,
            free_tables: (0..32).map(|index| tables + TABLE * index).collect(),
            free: (0..size).collect(),
            room: size,
            prepared: Vec::new(),
            flying: Vec::new(),
            read: 0,
            added: 0,
            published: 0,
            told: 0,
            used: 0,
            exposed: Vec::new(),
            returned: Vec::new(),
            racing: false,
            late: Vec::new(),
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.setup.has(bit)
    }

    fn size(&self) -> u64 {
        u64::from(self.setup.size)
    }

    /// AVAIL and USED at a running count of slots.
    fn available(&self, count: u64) -> u16 {
        if (count / self.size()).is_multiple_of(2) { AVAIL } else { USED }
    }

    /// A running count as a place of the ring, with its wrap counter.
    fn off_wrap(&self, count: u64) -> u16 {
        (count % self.size()) as u16 | if (count / self.size()).is_multiple_of(2) { 1 << 15 } else { 0 }
    }

    /// One step of either side, as the dice say.
    pub(super) fn step(&mut self, dice: &mut Dice) {
        match dice.roll(12) {
            0..=3 => self.add(dice),
            4..=5 => self.publish(dice),
            6 => self.look(),
            7..=8 => self.work(dice),
            9 => self.wish(dice),
            10 => self.ask(dice),
            _ => self.scribble(dice),
        }
        if !self.late.is_empty() && dice.roll(3) == 0 {
            let at = dice.roll(self.late.len() as u64) as usize;
            let (value, width) = self.late.swap_remove(at);
            self.stand.kick(value, width);
        }
        if dice.roll(4) == 0 {
            self.idle();
        }
    }

    /// Everything that was begun is brought to its end.
    pub(super) fn finish(&mut self, dice: &mut Dice) {
        self.publish(dice);
        self.idle();
        while !self.flying.is_empty() {
            self.work(dice);
        }
        self.idle();
    }

    /// Before it waits, a driver has looked whether the device is to be kicked.
    fn idle(&mut self) {
        self.look();
        for (value, width) in std::mem::take(&mut self.late) {
            self.stand.kick(value, width);
        }
        self.stand.idle();
    }

    // --- The driver ----------------------------------------------------------------------------------------------

    fn bytes(element: &Element, first: u16, second: u16) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&element.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&element.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&first.to_le_bytes());
        bytes[14..].copy_from_slice(&second.to_le_bytes());
        bytes
    }

    fn elements(&self, dice: &mut Dice, most: u64) -> Vec<Element> {
        let count = 1 + dice.roll(most);
        let readable = dice.roll(count + 1);
        let element = |dice: &mut Dice, index: u64| {
            let (len, writable) = (dice.roll(64), index >= readable);
            let base = if writable { self.writable } else { self.readable };
            Element { address: base + dice.roll(BUFFER - 64), len: len as u32, writable }
        };
        (0..count).map(|index| element(dice, index)).collect()
    }

    fn add(&mut self, dice: &mut Dice) {
        if self.room == 0 {
            return;
        }
        let table = self.has(feature::INDIRECT_DESC) && dice.roll(2) == 0;
        if self.packed { self.add_packed(dice, table) } else { self.add_split(dice, table) }
    }

    fn take_descriptor(&mut self, dice: &mut Dice) -> u16 {
        self.room -= 1;
        if self.has(feature::IN_ORDER) {
            return self.free.remove(0);
        }
        let at = dice.roll(self.free.len() as u64) as usize;
        self.free.swap_remove(at)
    }

    fn add_split(&mut self, dice: &mut Dice, table: bool) {
        // In a split ring direct descriptors may come before a table.
        let direct_room = u64::from(self.room) - u64::from(table);
        let direct = if table { dice.roll(direct_room.min(self.size() - 1) + 1) } else { direct_room };
        let mut elements = if direct == 0 { Vec::new() } else { self.elements(dice, direct) };
        let mut rest = Vec::new();
        if table {
            let room = self.size() - elements.len() as u64;
            rest = self.elements(dice, room.max(1));
            let writes = elements.iter().any(|element| element.writable);
            rest.retain(|element| element.writable || !writes);
            if rest.is_empty() {
                rest.push(Element { address: self.writable, len: 1, writable: true });
            }
        }
        let count = elements.len() + usize::from(table);
        let parts: Vec<u16> = (0..count).map(|_| self.take_descriptor(dice)).collect();
        let mut at_table = None;
        for (index, part) in parts.iter().enumerate() {
            let next = parts.get(index + 1).copied();
            let link = if next.is_some() { NEXT } else { 0 };
            let bytes = match elements.get(index) {
                Some(element) => {
                    Self::bytes(element, link | if element.writable { WRITE } else { 0 }, next.unwrap_or(9))
                }
                None => {
                    let at = self.free_tables.remove(0);
                    at_table = Some(at);
                    self.write_table(
                        at,
                        &rest,
                        |entry, count| if entry + 1 < count { (NEXT, entry + 1) } else { (0, 77) },
                    );
                    let whole = Element { address: at, len: 16 * rest.len() as u32, writable: false };
                    Self::bytes(&whole, INDIRECT, 0)
                }
            };
            self.stand.put(self.setup.descriptors + 16 * u64::from(*part), &bytes);
        }
        elements.extend(rest);
        let slot = self.setup.driver + 4 + 2 * (self.added % self.size());
        self.stand.put16(slot, parts[0]);
        self.added += 1;
        self.prepared.push(Chain { id: parts[0], elements, parts, table: at_table, head_flags: 0 });
    }

    /// Entries of a table; `link` gives what a split one has of flags and next.
    fn write_table(&mut self, at: u64, elements: &[Element], link: fn(u16, u16) -> (u16, u16)) {
        for (index, element) in elements.iter().enumerate() {
            let write = if element.writable { WRITE } else { 0 };
            let (flags, next) = link(index as u16, elements.len() as u16);
            let bytes = if self.packed {
                Self::bytes(element, 0x5a5a, write)
            } else {
                Self::bytes(element, flags | write, next)
            };
            self.stand.put(at + 16 * index as u64, &bytes);
        }
    }

    fn add_packed(&mut self, dice: &mut Dice, table: bool) {
        let most = if table { 8 } else { self.room.into() };
        let elements = self.elements(dice, most);
        let at = dice.roll(self.free.len() as u64) as usize;
        let id = self.free.swap_remove(at);
        let mut slots: Vec<(Element, u16)> = elements
            .iter()
            .enumerate()
            .map(|(index, element)| {
                let link = if index + 1 < elements.len() { NEXT } else { 0 };
                (*element, link | if element.writable { WRITE } else { 0 })
            })
            .collect();
        let mut at_table = None;
        if table {
            let at = self.free_tables.remove(0);
            at_table = Some(at);
            self.write_table(at, &elements, |_, _| (0, 0));
            slots = vec![(Element { address: at, len: 16 * elements.len() as u32, writable: false }, INDIRECT)];
        }
        let mut parts = Vec::new();
        let mut head_flags = 0;
        for (index, (element, flags)) in slots.iter().enumerate() {
            let flags = flags | self.available(self.added);
            let slot = (self.added % self.size()) as u16;
            // Only in the last one the id matters.
            let id = if index + 1 == slots.len() { id } else { 0x1234 };
            let bytes = Self::bytes(element, id, flags);
            let end = if index == 0 { 14 } else { 16 };
            self.stand.put(self.setup.descriptors + 16 * u64::from(slot), &bytes[..end]);
            if index == 0 {
                head_flags = flags;
            }
            parts.push(slot);
            self.added += 1;
            self.room -= 1;
        }
        self.prepared.push(Chain { id, elements, parts, table: at_table, head_flags });
    }

    fn publish(&mut self, dice: &mut Dice) {
        if self.prepared.is_empty() {
            return;
        }
        self.show(dice);
        if dice.roll(2) == 0 {
            // The device may come in between.
            self.work(dice);
        }
        self.stand.barrier(Barrier::Full);
    }

    fn show(&mut self, dice: &mut Dice) {
        if self.prepared.is_empty() {
            return;
        }
        self.stand.barrier(if dice.roll(2) == 0 { Barrier::Write } else { Barrier::Full });
        if self.packed {
            for chain in self.prepared.iter().rev() {
                self.stand.put16(self.setup.descriptors + 16 * u64::from(chain.parts[0]) + 14, chain.head_flags);
            }
        } else {
            self.stand.put16(self.setup.driver + 2, self.added as u16);
        }
        self.published = self.added;
        for chain in self.prepared.drain(..) {
            self.exposed.push(Exposed { id: chain.id, elements: chain.elements.clone() });
            self.flying.push(chain);
        }
    }

    /// Looks what the device wants, and kicks if it is to be kicked.
    fn look(&mut self) {
        if self.told == self.published {
            return;
        }
        if self.wants_kick() {
            let data = if self.packed { self.off_wrap(self.published) } else { self.published as u16 };
            let with_data = self.has(feature::NOTIFICATION_DATA);
            let (value, width) = (3 | if with_data { u32::from(data) << 16 } else { 0 }, if with_data { 4 } else { 2 });
            if self.racing {
                self.late.push((value, width));
            } else {
                self.stand.kick(value, width);
            }
        }
        self.told = self.published;
    }

    fn wants_kick(&mut self) -> bool {
        let (device, told, published) = (self.setup.device, self.told, self.published);
        let event_idx = self.has(feature::EVENT_IDX);
        if self.packed {
            self.stand.load(device, 4);
            let (off_wrap, flags) = (self.stand.get16(device), self.stand.get16(device + 2));
            return match flags {
                0 => true,
                1 => false,
                _ => (told..published).any(|count| self.off_wrap(count) == off_wrap),
            };
        }
        if !event_idx {
            self.stand.load(device, 2);
            return self.stand.get16(device) == 0;
        }
        let at = device + 4 + 8 * self.size();
        self.stand.load(at, 2);
        let event = self.stand.get16(at);
        (told..published).any(|count| count as u16 == event)
    }

    /// The driver says what interrupts it wants.
    fn ask(&mut self, dice: &mut Dice) {
        let (driver, size) = (self.setup.driver, self.size());
        match (self.packed, self.has(feature::EVENT_IDX)) {
            (false, false) => self.stand.put16(driver, dice.roll(2) as u16),
            (false, true) => self.stand.put16(driver + 4 + 2 * size, dice.roll(1 << 16) as u16),
            (true, false) => self.stand.put16(driver + 2, dice.roll(2) as u16),
            (true, true) => {
                self.stand.put16(driver, (dice.roll(size) | dice.roll(2) << 15) as u16);
                self.stand.put16(driver + 2, dice.roll(3) as u16);
            }
        }
    }

    /// What is the driver's it may write as it likes.
    fn scribble(&mut self, dice: &mut Dice) {
        let noise = dice.roll(u64::MAX).to_le_bytes();
        if self.packed {
            if self.room > 0 {
                self.stand.put(self.setup.descriptors + 16 * (self.added % self.size()), &noise);
            }
        } else if let Some(part) = self.free.first() {
            let at = self.setup.descriptors + 16 * u64::from(*part);
            self.stand.put(at, &noise);
            self.stand.put(at + 8, &noise);
        }
    }

    // --- The device ----------------------------------------------------------------------------------------------

    /// The device reads what is new and gives some chains back.
    fn work(&mut self, dice: &mut Dice) {
        if self.racing {
            return self.work_while_the_driver_runs(dice);
        }
        let mut writes: Vec<(u64, Vec<u8>)> = Vec::new();
        self.read = self.flying.len();
        let mut given = 0;
        while self.read > 0 && dice.roll(3) != 0 {
            self.read -= given_back(self, dice, &mut writes);
            given += 1;
        }
        self.stand.device(|stand| {
            for (at, bytes) in &writes {
                stand.place(*at, bytes);
            }
        });
        if given > 0 && dice.roll(2) == 0 {
            self.wish(dice);
        }
    }

    fn work_while_the_driver_runs(&mut self, dice: &mut Dice) {
        self.stand.begin();
        for _ in 0..=dice.roll(4) {
            self.take();
            while self.read > 0 && dice.roll(4) != 0 {
                let mut writes = Vec::new();
                self.read -= given_back(self, dice, &mut writes);
                for (at, bytes) in &writes {
                    self.stand.place(*at, bytes);
                }
                if dice.roll(4) == 0 {
                    self.wish_now(dice);
                }
            }
            for _ in 0..dice.roll(6) {
                self.drive(dice);
            }
        }
        self.stand.end();
    }

    /// The device takes what is new.
    fn take(&mut self) {
        for chain in &self.flying[self.read..] {
            for slot in chain.parts.iter().filter(|_| self.packed) {
                self.stand.fetch::<16>(self.setup.descriptors + 16 * u64::from(*slot));
            }
        }
        self.read = self.flying.len();
    }

    /// The driver does something while the device works.
    fn drive(&mut self, dice: &mut Dice) {
        self.stand.pause();
        match dice.roll(8) {
            0..=2 => self.add(dice),
            3..=4 if !self.prepared.is_empty() => self.show(dice),
            5 => self.look(),
            6 => self.ask(dice),
            _ => self.scribble(dice),
        }
        self.stand.resume();
    }

    /// The device says what kicks it wants.
    fn wish(&mut self, dice: &mut Dice) {
        self.stand.begin();
        self.wish_now(dice);
        self.stand.end();
    }

    fn wish_now(&mut self, dice: &mut Dice) {
        let (device, size) = (self.setup.device, self.size());
        let event_idx = self.has(feature::EVENT_IDX);
        let near = self.published.saturating_sub(dice.roll(3)) + dice.roll(2);
        let place = self.off_wrap(near);
        let (flags, any) = (dice.roll(2) as u16, dice.roll(8) == 0);
        let desc = dice.roll(2) == 0;
        let noise = (dice.roll(size) | dice.roll(2) << 15) as u16;
        let mut put = |at: u64, value: u16| self.stand.place(at, &value.to_le_bytes());
        match (self.packed, event_idx) {
            (false, false) => put(device, flags),
            (false, true) => put(device + 4 + 8 * size, if any { noise } else { near as u16 }),
            (true, true) if desc => {
                put(device, if any { noise } else { place });
                put(device + 2, 2);
            }
            (true, _) => put(device + 2, flags),
        }
    }
}

/// Gives one chain back, or with IN_ORDER a batch of those that are oldest; how many.
fn given_back(model: &mut Model, dice: &mut Dice, writes: &mut Vec<(u64, Vec<u8>)>) -> usize {
    let read = model.read as u64;
    let in_order = model.has(feature::IN_ORDER);
    let (from, count) = if in_order { (0, 1 + dice.roll(read) as usize) } else { (dice.roll(read) as usize, 1) };
    let batch: Vec<Chain> = model.flying.drain(from..from + count).collect();
    let mut slots = 0;
    let mut last = (0, 0);
    for (index, chain) in batch.into_iter().enumerate() {
        let all: u32 = chain.elements.iter().filter(|element| element.writable).map(|element| element.len).sum();
        let written = if index + 1 < count { all } else { dice.roll(u64::from(all) + 1) as u32 };
        last = (chain.id, written);
        slots += chain.parts.len() as u64;
        model.free_tables.extend(chain.table);
        if model.packed {
            model.free.push(chain.id);
        } else {
            model.free.extend(&chain.parts);
        }
        model.room += chain.parts.len() as u16;
        model.returned.push(Returned { id: chain.id, elements: chain.elements, written });
    }
    let (id, written) = last;
    if model.packed {
        let at = model.setup.descriptors + 16 * (model.used % model.size());
        let flags = match model.available(model.used) {
            AVAIL => AVAIL | USED,
            _ => 0,
        };
        let flags = flags | if written > 0 { WRITE } else { 0 };
        writes.push((at + 8, [&written.to_le_bytes()[..], &id.to_le_bytes()].concat()));
        writes.push((at + 14, flags.to_le_bytes().to_vec()));
        model.used += slots;
    } else {
        let at = model.setup.device + 4 + 8 * (model.used % model.size());
        let mut bytes = u32::from(id).to_le_bytes().to_vec();
        bytes.extend(written.to_le_bytes());
        writes.push((at, bytes));
        model.used += count as u64;
        writes.push((model.setup.device + 2, (model.used as u16).to_le_bytes().to_vec()));
    }
    count
}
