//! The waist against independent models: configuration space and BAR sizing, MSI-X delivery, I/O address spaces.

use std::collections::{BTreeMap, VecDeque};

use bringup_core::dma::{Direction, IoSpace, MappingKind, NewMapping, RAM_BASE};
use bringup_core::pci::{BarKind, ConfigSpace, ExtendedCapability, Msix};
use bringup_core::{Access, Bar, Bus, BusConfig, Cx, Device, DeviceId, Function, Ram, Reply, Reset};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, Permissions};

/// A function with a BAR of each kind: 16 MiB prefetchable 64-bit in 0 and 1, 4 KiB in 2, 64 bytes of I/O in 3.
fn four_bars() -> Function {
    Function::new(0x1234, 0x5678)
        .class(0x020000)
        .revision(7)
        .bar(Bar::memory64(0, 16 << 20).prefetchable())
        .bar(Bar::memory32(2, 4096))
        .bar(Bar::io(3, 64))
        .msi(4)
        .intx()
}

/// What the specification says of each BAR register, written down independently: bits that stay, and what they are.
const BAR_RULES: [(u16, u32, u32); 6] = [
    (0x10, 0x00ff_ffff, 0x0000_000c), // 64-bit, prefetchable, 16 MiB
    (0x14, 0x0000_0000, 0x0000_0000), // its upper half: all address bits
    (0x18, 0x0000_0fff, 0x0000_0000), // 32-bit, 4 KiB
    (0x1c, 0x0000_003f, 0x0000_0001), // I/O, 64 bytes
    (0x20, 0xffff_ffff, 0x0000_0000), // not implemented
    (0x24, 0xffff_ffff, 0x0000_0000),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bars_hold_what_was_written_within_their_size(writes in prop::collection::vec((0_u16..24, prop::sample::select(vec![1_u8, 2, 4]), any::<u32>()), 0..60)) {
        let mut config = ConfigSpace::new(&four_bars());
        let mut model: BTreeMap<u16, u8> = (0x10..0x28).map(|at| {
            let (_, _, flags) = BAR_RULES[usize::from((at - 0x10) / 4)];
            (at, flags.to_le_bytes()[usize::from(at % 4)])
        }).collect();
        for (at, width, value) in writes {
            let at = 0x10 + at / u16::from(width) * u16::from(width);
            config.write(at, width, value);
            for lane in 0..u16::from(width) {
                let byte = at + lane;
                let (_, fixed, flags) = BAR_RULES[usize::from((byte - 0x10) / 4)];
                let shift = u32::from(byte % 4) * 8;
                let (fixed, flags) = ((fixed >> shift) as u8, (flags >> shift) as u8);
                model.insert(byte, value.to_le_bytes()[usize::from(lane)] & !fixed | flags);
            }
            for (byte, expected) in &model {
                prop_assert_eq!(config.read(*byte, 1) as u8, *expected, "byte {:#x}", byte);
            }
        }
    }

    #[test]
    fn what_is_read_only_never_changes(writes in prop::collection::vec((0_u16..64, any::<u32>()), 0..100)) {
        let mut config = ConfigSpace::new(&four_bars());
        let before: Vec<u32> = [0x00, 0x08, 0x2c, 0x34].iter().map(|at| config.read(*at, 4)).collect();
        for (dword, value) in writes {
            config.write(dword * 4, 4, value);
        }
        let after: Vec<u32> = [0x00, 0x08, 0x2c, 0x34].iter().map(|at| config.read(*at, 4)).collect();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn lanes_read_back_the_same_at_every_width(writes in prop::collection::vec((0_u16..256, any::<u32>()), 0..40)) {
        let mut config = ConfigSpace::new(&four_bars());
        for (at, value) in writes {
            config.write(at & !3, 4, value);
        }
        for at in (0..256).step_by(4) {
            let bytes: u32 = (0..4).map(|lane| config.read(at + lane, 1) << (8 * lane)).sum();
            let halves = config.read(at, 2) | config.read(at + 2, 2) << 16;
            prop_assert_eq!(config.read(at, 4), bytes);
            prop_assert_eq!(config.read(at, 4), halves);
        }
    }
}

#[test]
fn sizing_gives_the_size_of_each_bar() {
    let mut config = ConfigSpace::new(&four_bars());
    for at in [0x10, 0x14, 0x18, 0x1c, 0x20] {
        config.write(at, 4, u32::MAX);
    }
    let size64 = !(u64::from(config.read(0x10, 4) & !15) | u64::from(config.read(0x14, 4)) << 32) + 1;
    assert_eq!(size64, 16 << 20);
    assert_eq!(!(config.read(0x18, 4) & !15) + 1, 4096);
    assert_eq!(!(config.read(0x1c, 4) & !3) + 1, 64);
    assert_eq!(config.read(0x20, 4), 0);
    assert_eq!(config.bar_address(0, BarKind::Memory64) & 0xff_ffff, 0);
}

#[test]
fn the_capability_list_leads_to_every_capability_once() {
    let function = four_bars().bar(Bar::memory32(4, 4096)).express().flr().msix(Msix {
        vectors: 3,
        table: (4, 0),
        pending: (4, 0x800),
    });
    let config = ConfigSpace::new(&function);
    let mut at = config.read(0x34, 1) as u16;
    let mut ids = Vec::new();
    while at != 0 {
        ids.push(config.read(at, 1));
        at = config.read(at + 1, 1) as u16;
    }
    assert_eq!(ids, [0x05, 0x11, 0x10]);
    assert_eq!(config.size(), 4096);
}

#[test]
fn extended_capabilities_form_a_list_of_their_own() {
    let extended =
        |id, body: &[u8]| ExtendedCapability { id, version: 1, body: body.into(), writable: vec![0xff; body.len()] };
    let function =
        four_bars().extended_capability(extended(0x0003, &[1; 8])).extended_capability(extended(0x000b, &[2; 5]));
    let mut config = ConfigSpace::new(&function);
    let mut at = 0x100;
    let mut seen = Vec::new();
    while at != 0 {
        let header = config.read(at, 4);
        seen.push((header & 0xffff, config.read(at + 4, 1)));
        at = (header >> 20) as u16;
    }
    assert_eq!(seen, [(0x0003, 1), (0x000b, 2)]);
    config.write(0x104, 2, 0xbeef);
    assert_eq!(config.read(0x104, 4), 0x0101_beef);
}

#[test]
fn function_level_reset_starts_from_either_capability_and_clears_what_was_set() {
    for function in [four_bars().flr(), four_bars().express().flr()] {
        let express = function == four_bars().express().flr();
        let mut config = ConfigSpace::new(&function);
        config.write(0x04, 2, 0x7);
        config.write(0x18, 4, 0xe000_0000);
        let mut at = config.read(0x34, 1) as u16;
        while ![0x10, 0x13].contains(&config.read(at, 1)) {
            at = config.read(at + 1, 1) as u16;
        }
        let (register, bit) = if express { (at + 8, 0x8000) } else { (at + 4, 1) };
        assert!(config.write(register, 2, bit).reset);
        assert_eq!(config.read(register, 2) & bit, 0, "the bit reads as zero");
        config.reset();
        assert_eq!((config.read(0x04, 2), config.read(0x18, 4)), (0, 0));
    }
}

#[test]
fn a_pin_is_seen_only_while_it_is_neither_disabled_nor_replaced_by_messages() {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
    let id = bus.plug("pin", Box::new(Pin)).unwrap();
    bus.config_write(id, 0x04, 2, 0x6);
    bus.bar_write(id, 0, 0, 4, 1, None);
    assert!(bus.intx(id));
    assert_eq!(bus.config_read(id, 0x06, 2) & 8, 8);
    bus.config_write(id, 0x04, 2, 0x406);
    assert!(!bus.intx(id));
    assert_eq!(bus.config_read(id, 0x06, 2) & 8, 8, "it is pending all the same");
    bus.config_write(id, 0x04, 2, 0x6);
    assert!(bus.intx(id));
    let msi = bus.port(id).config().msi_offset().unwrap();
    bus.config_write(id, msi + 2, 2, 1);
    assert!(!bus.intx(id));
}

/// Drives its pin to what is written.
struct Pin;

impl Device for Pin {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x0005).bar(Bar::memory32(0, 0x1000)).intx().msi(1)
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(0)
    }

    fn write(&mut self, cx: &mut Cx<'_>, _at: Access, value: u64) -> Reply<()> {
        cx.set_intx(value != 0);
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

// --- MSI-X ---------------------------------------------------------------------------------------------------------

/// A device whose register at 0 raises the vector written to it; MSI-X table at 0x1000, pending bits at 0x1800.
struct Raiser;

const VECTORS: u16 = 5;

impl Device for Raiser {
    fn function(&self) -> Function {
        let msix = Msix { vectors: VECTORS, table: (0, 0x1000), pending: (0, 0x1800) };
        Function::new(0x1234, 0x0002).bar(Bar::memory32(0, 0x2000)).msix(msix)
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(0)
    }

    fn write(&mut self, cx: &mut Cx<'_>, _at: Access, value: u64) -> Reply<()> {
        cx.send_message(value as u16);
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

#[derive(Clone, Debug)]
enum Step {
    Fire(u16),
    Mask(u16, bool),
    MaskFunction(bool),
    Enable(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let vector = 0..VECTORS;
    prop::collection::vec(
        prop_oneof![
            4 => vector.clone().prop_map(Step::Fire),
            3 => (vector, any::<bool>()).prop_map(|(v, on)| Step::Mask(v, on)),
            1 => any::<bool>().prop_map(Step::MaskFunction),
            1 => any::<bool>().prop_map(Step::Enable),
        ],
        0..80,
    )
}

proptest! {
    #[test]
    fn messages_are_neither_lost_nor_duplicated_and_masked_ones_are_pended(steps in steps()) {
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
        let id = bus.plug("raiser", Box::new(Raiser)).unwrap();
        bus.config_write(id, 0x04, 2, 0x6);
        let cap = bus.port(id).config().msix_offset().unwrap();
        for vector in 0..VECTORS {
            bus.bar_write(id, 0, 0x1008 + u64::from(vector) * 16, 4, 100 + u64::from(vector), None);
        }
        // The model: PCIe 6.0 §6.1.4, in four lines.
        let mut masked = [true; VECTORS as usize];
        let (mut function_masked, mut enabled) = (false, false);
        let mut pending = [false; VECTORS as usize];
        let mut expected: VecDeque<u32> = VecDeque::new();
        for step in steps {
            match step {
                Step::Fire(vector) => {
                    bus.bar_write(id, 0, 0, 4, u64::from(vector), None);
                    let v = usize::from(vector);
                    if enabled && (masked[v] || function_masked) {
                        pending[v] = true;
                    } else if enabled {
                        expected.push_back(100 + u32::from(vector));
                    }
                }
                Step::Mask(vector, on) => {
                    bus.bar_write(id, 0, 0x100c + u64::from(vector) * 16, 4, u64::from(on), None);
                    masked[usize::from(vector)] = on;
                }
                Step::MaskFunction(on) => function_masked = on,
                Step::Enable(on) => enabled = on,
            }
            if matches!(step, Step::MaskFunction(_) | Step::Enable(_)) {
                let control = u32::from(enabled) << 15 | u32::from(function_masked) << 14;
                bus.config_write(id, cap + 2, 2, control);
            }
            if enabled && !function_masked {
                for v in 0..usize::from(VECTORS) {
                    if pending[v] && !masked[v] {
                        pending[v] = false;
                        expected.push_back(100 + v as u32);
                    }
                }
            }
            let got: Vec<u32> = std::iter::from_fn(|| bus.take_message().map(|m| m.data)).collect();
            prop_assert_eq!(got, expected.drain(..).collect::<Vec<_>>());
            let bits = (0..VECTORS as usize).fold(0, |bits, v| bits | u64::from(pending[v]) << v);
            prop_assert_eq!(bus.bar_read(id, 0, 0x1800, 8, None), bits);
        }
    }
}

#[test]
fn messages_wait_for_bus_mastering_in_vain_and_are_found() {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
    let id = bus.plug("raiser", Box::new(Raiser)).unwrap();
    bus.config_write(id, 0x04, 2, 0x2);
    let cap = bus.port(id).config().msix_offset().unwrap();
    bus.config_write(id, cap + 2, 2, 0x8000);
    bus.bar_write(id, 0, 0x100c, 4, 0, None);
    bus.bar_write(id, 0, 0, 4, 0, None);
    assert!(bus.take_message().is_none());
    assert_eq!(bus.fabric.findings[0].rule.id, "msi-no-bus-master");
}

// --- I/O address space -----------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Space {
    Map { len: u64, direction: Direction },
    Unmap(prop::sample::Index),
    Touch { index: prop::sample::Index, from: i64, len: u64, write: bool },
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(vec![Direction::Bidirectional, Direction::ToDevice, Direction::FromDevice])
}

fn space() -> impl Strategy<Value = Vec<Space>> {
    prop::collection::vec(
        prop_oneof![
            3 => (1_u64..20000, direction()).prop_map(|(len, direction)| Space::Map { len, direction }),
            1 => any::<prop::sample::Index>().prop_map(Space::Unmap),
            4 => (any::<prop::sample::Index>(), -10_i64..21000, 0_u64..9000, any::<bool>())
                .prop_map(|(index, from, len, write)| Space::Touch { index, from, len, write }),
        ],
        0..60,
    )
}

proptest! {
    #[test]
    fn an_address_space_admits_exactly_what_is_mapped(steps in space()) {
        let space = IoSpace::new();
        space.set_open(true);
        // The model: for every address, which way data may flow. A plain list of ranges, looked at byte by byte.
        let mut model: Vec<(u64, u64, Direction)> = Vec::new();
        let mut physical = RAM_BASE;
        for step in steps {
            match step {
                Space::Map { len, direction } => {
                    let new = NewMapping { physical: GuestAddress(physical), len, mask: u64::MAX, direction, kind: MappingKind::Coherent, place: None, at: 0 };
                    let iova = space.map(&new).unwrap();
                    physical += 0x10000;
                    prop_assert!(model.iter().all(|(at, other, _)| iova + len <= *at || at + other <= iova));
                    model.push((iova, len, direction));
                }
                Space::Unmap(index) if !model.is_empty() => {
                    let (iova, ..) = model.remove(index.index(model.len()));
                    prop_assert!(space.unmap(iova, 1).is_some());
                    prop_assert!(space.unmap(iova, 1).is_none());
                }
                Space::Touch { index, from, len, write } if !model.is_empty() => {
                    let (base, ..) = model[index.index(model.len())];
                    let at = base.wrapping_add_signed(from);
                    let may = |address: u64| model.iter().any(|(iova, len, direction)| {
                        let flows = match direction { Direction::Bidirectional => true, Direction::ToDevice => !write, Direction::FromDevice => write };
                        (*iova..iova + len).contains(&address) && flows
                    });
                    let allowed = (at..at + len.max(1)).all(may);
                    let access = if write { Permissions::Write } else { Permissions::Read };
                    prop_assert_eq!(space.fault(at, len, access).is_none(), allowed);
                    if len > 0 {
                        use vm_memory::Iommu;
                        prop_assert_eq!(space.translate(GuestAddress(at), len as usize, access).is_ok(), allowed);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Copies `count` bytes from `source` to `destination` when its register is written.
struct Copier(u64, u64);

impl Device for Copier {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x0003).bar(Bar::memory32(0, 0x1000))
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(0)
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        match at.offset {
            0 => self.0 = value,
            8 => self.1 = value,
            _ => {
                let mut bytes = vec![0; value as usize];
                if cx.dma_read(self.0, &mut bytes).is_ok() {
                    // Its failure is in the findings.
                    let _ = cx.dma_write(self.1, &bytes);
                }
            }
        }
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

fn copier() -> (Bus, DeviceId) {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
    let id = bus.plug("copier", Box::new(Copier(0, 0))).unwrap();
    bus.config_write(id, 0x04, 2, 0x6);
    (bus, id)
}

fn map(bus: &mut Bus, id: DeviceId, len: u64, direction: Direction) -> (u64, GuestAddress) {
    let physical = bus.fabric.ram.alloc(len, 0).unwrap();
    let new = NewMapping { physical, len, mask: u64::MAX, direction, kind: MappingKind::Streaming, place: None, at: 0 };
    (bus.port(id).io_space().map(&new).unwrap(), physical)
}

#[test]
fn a_device_moves_data_between_its_mappings_and_nowhere_else() {
    let (mut bus, id) = copier();
    let (from, at) = map(&mut bus, id, 100, Direction::ToDevice);
    let (to, there) = map(&mut bus, id, 100, Direction::FromDevice);
    bus.fabric.ram.memory().write_slice(&[7; 100], at).unwrap();
    for (register, value) in [(0, from), (8, to), (16, 100)] {
        bus.bar_write(id, 0, register, 8, value, None);
    }
    let mut got = [0; 100];
    bus.fabric.ram.memory().read_slice(&mut got, there).unwrap();
    assert_eq!(got, [7; 100]);
    assert!(bus.fabric.findings.is_empty());
    bus.bar_write(id, 0, 16, 8, 101, None);
    assert_eq!(bus.fabric.findings[0].rule.id, "dma-overrun");
    for (register, value) in [(0, to), (16, 4)] {
        bus.bar_write(id, 0, register, 8, value, None);
    }
    assert_eq!(bus.fabric.findings[1].rule.id, "dma-direction");
}

#[test]
fn dma_through_the_devices_view_is_gated_and_found_as_other_dma_is() {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
    let id = bus.plug("viewer", Box::new(Viewer)).unwrap();
    let (iova, _) = map(&mut bus, id, 16, Direction::ToDevice);
    bus.config_write(id, 0x04, 2, 0x2);
    bus.bar_write(id, 0, 0, 8, iova, None);
    assert_eq!(bus.fabric.findings.pop().unwrap().rule.id, "dma-no-bus-master");
    bus.config_write(id, 0x04, 2, 0x6);
    bus.bar_write(id, 0, 0, 8, iova, None);
    assert!(bus.fabric.findings.is_empty());
    bus.bar_write(id, 0, 0, 8, iova + 12, None);
    assert_eq!(bus.fabric.findings.pop().unwrap().rule.id, "dma-overrun");
    bus.port(id).io_space().unmap(iova, 1);
    bus.bar_write(id, 0, 0, 8, iova, None);
    assert_eq!(bus.fabric.findings.pop().unwrap().rule.id, "dma-after-unmap");
}

/// Reads eight bytes through its view of memory, at the address written.
struct Viewer;

impl Device for Viewer {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x0007).bar(Bar::memory32(0, 0x1000))
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Err(bringup_core::Refusal::NotYet(u64::MAX))
    }

    fn write(&mut self, cx: &mut Cx<'_>, _at: Access, value: u64) -> Reply<()> {
        // Its failure is in the findings.
        let _ = cx.memory().read_obj::<u64>(GuestAddress(value));
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

#[test]
fn a_device_that_never_answers_is_found_and_the_access_ends() {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
    let id = bus.plug("viewer", Box::new(Viewer)).unwrap();
    bus.config_write(id, 0x04, 2, 0x2);
    assert_eq!(bus.bar_read(id, 0, 0, 4, None), 0xffff_ffff);
    assert_eq!(bus.fabric.findings[0].rule.id, "watchdog-device");
    assert!(bus.fabric.now() < 10_000_000_000);
}

#[test]
fn dma_that_a_driver_starts_after_turning_bus_mastering_off_is_found() {
    let (mut bus, id) = copier();
    let (from, _) = map(&mut bus, id, 100, Direction::Bidirectional);
    bus.config_write(id, 0x04, 2, 0x2);
    bus.bar_write(id, 0, 0, 8, from, None);
    bus.bar_write(id, 0, 16, 4, 8, None);
    assert_eq!(bus.fabric.findings[0].rule.id, "dma-no-bus-master");
}

#[test]
fn a_full_address_space_is_refused() {
    struct Large;
    impl Device for Large {
        fn function(&self) -> Function {
            Function::new(0x1234, 0x0008).bar(Bar::memory32(0, 1 << 30))
        }
        fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
            Ok(0)
        }
        fn write(&mut self, _cx: &mut Cx<'_>, _at: Access, _value: u64) -> Reply<()> {
            Ok(())
        }
        fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
    }
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
    assert!(bus.plug("one", Box::new(Large)).is_ok());
    assert!(matches!(bus.plug("two", Box::new(Large)), Err(bringup_core::PlugError::NoRoom(_))));
}

#[test]
fn a_removed_device_reads_as_ones_and_reaches_nothing() {
    let (mut bus, id) = copier();
    bus.remove(id);
    assert_eq!(bus.bar_read(id, 0, 0, 4, None), 0xffff_ffff);
    assert_eq!(bus.config_read(id, 0, 2), 0xffff);
    bus.bar_write(id, 0, 16, 4, 64, None);
    assert!(bus.fabric.findings.is_empty());
}
