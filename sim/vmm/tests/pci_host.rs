//! The host bridge: what a guest's accesses come to.

use std::sync::{Arc, Mutex};

use bringup_core::pci::{Bar, ConfigChange};
use bringup_core::{Access, Bus, BusConfig, Cx, Device, DeviceId, Function, Ram, Reply, Reset};
use bringup_vmm::layout::{self, ECAM};
use bringup_vmm::pci_host::{Changed, PciHost};

/// What reached a device: BAR, offset, width, and the value if it was a write.
type Reached = Arc<Mutex<Vec<(u8, u64, u8, Option<u64>)>>>;

/// A device of plain memory that notes what reaches it.
struct Noting {
    function: Function,
    reached: Reached,
}

impl Device for Noting {
    fn function(&self) -> Function {
        self.function.clone()
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        self.reached.lock().unwrap().push((at.bar, at.offset, at.width, None));
        Ok(0x1111_1111_1111_1111 * (at.offset % 16))
    }

    fn write(&mut self, _cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        self.reached.lock().unwrap().push((at.bar, at.offset, at.width, Some(value)));
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

struct Machine {
    host: PciHost,
    bus: Bus,
    reached: Reached,
}

impl Machine {
    /// Two devices, in slots 3 and 4: a conventional one and a PCI Express one. Both decode.
    fn new() -> Self {
        let ram = Ram::new(1 << 20).unwrap();
        let mut bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(ram) });
        let reached = Reached::default();
        let bars =
            |function: Function| function.bar(Bar::memory32(0, 0x1000)).bar(Bar::io(1, 16)).bar(Bar::memory64(2, 32));
        for function in [bars(Function::new(0x1234, 1)), bars(Function::new(0x1234, 2)).express()] {
            let name = format!("{function:?}");
            let id = bus.plug(&name, Box::new(Noting { function, reached: Arc::clone(&reached) })).unwrap();
            bus.config_write(id, 4, 2, 3);
        }
        Self { host: PciHost::new(), bus, reached }
    }

    fn ids(&self) -> [DeviceId; 2] {
        let mut ids = self.bus.devices();
        [ids.next().unwrap(), ids.next().unwrap()]
    }

    fn bar(&self, device: usize, index: u8) -> u64 {
        self.bus.bar(self.ids()[device], index).unwrap().0
    }

    fn port_in<const N: usize>(&mut self, port: u16) -> [u8; N] {
        let mut into = [0x5a; N];
        self.host.port_read(&mut self.bus, port, &mut into);
        into
    }

    fn port_out(&mut self, port: u16, from: &[u8]) -> Option<Changed> {
        self.host.port_write(&mut self.bus, port, from)
    }

    fn read<const N: usize>(&mut self, address: u64) -> [u8; N] {
        let mut into = [0x5a; N];
        self.host.memory_read(&mut self.bus, address, &mut into);
        into
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Option<Changed> {
        self.host.memory_write(&mut self.bus, address, from)
    }

    fn select(&mut self, slot: u32, register: u32) {
        self.port_out(0xcf8, &(1_u32 << 31 | slot << 11 | register).to_le_bytes());
    }

    fn reached(&self) -> Vec<(u8, u64, u8, Option<u64>)> {
        std::mem::take(&mut self.reached.lock().unwrap())
    }
}

fn ecam(slot: u64, function: u64, register: u64) -> u64 {
    ECAM.start + (slot << 15 | function << 12 | register)
}

#[test]
fn both_ways_to_configuration_space_lead_to_the_same_bytes() {
    let mut machine = Machine::new();
    for (slot, ids) in [(0, 0x0008_1b36), (3, 0x0001_1234), (4, 0x0002_1234)] {
        machine.select(slot, 0);
        assert_eq!(machine.port_in(0xcfc), u32::to_le_bytes(ids));
        for register in (0..256).step_by(4) {
            machine.select(slot, register);
            let memory: [u8; 4] = machine.read(ecam(slot.into(), 0, register.into()));
            assert_eq!(machine.port_in::<4>(0xcfc), memory, "{slot} {register:#x}");
            let high: [u8; 2] = machine.port_in(0xcfe);
            assert_eq!((machine.port_in::<1>(0xcfd)[0], high), (memory[1], [memory[2], memory[3]]));
        }
    }
}

#[test]
fn the_address_register_takes_32_bits_at_once_and_has_only_the_bits_that_mean_something() {
    let mut machine = Machine::new();
    machine.port_out(0xcf8, &[0xff; 4]);
    assert_eq!(machine.port_in(0xcf8), [0xfc, 0xff, 0xff, 0x80]);
    machine.port_out(0xcfb, &[1]);
    machine.port_out(0xcf8, &[0, 0]);
    assert_eq!(machine.port_in(0xcf8), [0xfc, 0xff, 0xff, 0x80], "narrow accesses are not for it");
    assert_eq!((machine.port_in(0xcf8), machine.port_in(0xcfa)), ([0xff], [0xff, 0xff]));
}

#[test]
fn data_ports_are_nobodys_while_the_address_register_does_not_enable_them() {
    let mut machine = Machine::new();
    machine.port_out(0xcf8, &(3_u32 << 11 | 4).to_le_bytes());
    assert_eq!(machine.port_in(0xcfc), [0xff; 4]);
    assert_eq!(machine.port_out(0xcfc, &[0, 0]), None);
    assert_eq!(machine.read::<1>(ecam(3, 0, 4)), [3]);
}

#[test]
fn an_access_that_runs_out_of_the_data_ports_is_answered_as_far_as_they_go() {
    let mut machine = Machine::new();
    machine.select(3, 0);
    assert_eq!(machine.port_in(0xcfe), [0x01, 0x00, 0xff, 0xff]);
    assert_eq!(machine.port_in(0xcfd), [0x12, 0x01]);
    assert_eq!(machine.port_in(0xcfb), [0xff, 0x34]);
}

#[test]
fn what_is_not_there_reads_as_all_ones_and_takes_no_write() {
    let mut machine = Machine::new();
    for address in [ecam(1, 0, 0), ecam(3, 1, 0), ecam(5, 0, 0), ecam(31, 7, 0xffc), ECAM.end, 0xc800_0000, 0x1234] {
        assert_eq!(machine.read(address), [0xff; 4], "{address:#x}");
        assert_eq!(machine.write(address, &[0; 4]), None);
    }
    for address in [0x8000_0800_u32, 0x8000_1900, 0x8001_1800, 0x8000_2800] {
        machine.port_out(0xcf8, &address.to_le_bytes());
        assert_eq!(machine.port_in(0xcfc), [0xff; 4], "{address:#x}");
        assert_eq!(machine.port_out(0xcfc, &[0; 4]), None);
    }
    assert_eq!(machine.reached(), []);
}

#[test]
fn extended_configuration_space_is_that_of_pci_express_functions_and_all_ones_elsewhere() {
    let mut machine = Machine::new();
    assert_eq!(machine.read(ecam(3, 0, 0x100)), [0xff; 4]);
    assert_eq!(machine.read(ecam(4, 0, 0x100)), [0; 4], "an empty list");
    assert_eq!(machine.read(ecam(0, 0, 0x100)), [0xff; 4]);
    assert_eq!(machine.read(ecam(4, 0, 0xffc)), [0; 4]);
}

#[test]
fn configuration_accesses_of_8_bytes_and_across_a_dword_reach_every_byte() {
    let mut machine = Machine::new();
    let eight: [u8; 8] = machine.read(ecam(3, 0, 0));
    assert_eq!(eight, [0x34, 0x12, 0x01, 0x00, 0x03, 0x00, 0x00, 0x00]);
    assert_eq!(machine.read(ecam(3, 0, 2)), [0x01, 0x00, 0x03, 0x00]);
    // A 64-bit BAR at once; its lower half is as it was.
    let changed = machine.write(ecam(3, 0, 0x18), &0x90_0000_0000_u64.to_le_bytes());
    let change = ConfigChange { bars: 0b1000, ..ConfigChange::default() };
    assert_eq!(changed, Some(Changed { device: machine.ids()[0], change }));
    assert_eq!(machine.bar(0, 2), 0x90_0000_0000);
}

#[test]
fn a_write_says_what_it_changed_of_which_device() {
    let mut machine = Machine::new();
    let [first, second] = machine.ids();
    let changed = |device, change| Some(Changed { device, change });
    let bars = |bars| ConfigChange { bars, ..ConfigChange::default() };
    assert_eq!(machine.write(ecam(4, 0, 0x10), &0xd000_0000_u32.to_le_bytes()), changed(second, bars(1)));
    machine.select(3, 4);
    let command = ConfigChange { command: true, ..ConfigChange::default() };
    assert_eq!(machine.port_out(0xcfc, &[0, 0]), changed(first, command));
    assert_eq!(machine.port_out(0xcfc, &[0, 0]), None, "it held this already");
    assert_eq!(machine.write(ecam(3, 0, 0), &[0; 4]), None, "ids are read-only");
    assert_eq!(machine.write(ecam(0, 0, 4), &[7, 1]), None, "the bridge itself is not the machine's to follow");
    assert_eq!(machine.read(ecam(0, 0, 4)), [4, 1]);
}

#[test]
fn aligned_accesses_reach_the_device_as_they_are() {
    let mut machine = Machine::new();
    let bar = machine.bar(0, 0);
    assert_eq!(machine.read(bar + 1), [0x11]);
    assert_eq!(machine.read(bar + 2), [0x22; 2]);
    assert_eq!(machine.read(bar + 4), [0x44; 4]);
    assert_eq!(machine.read(bar + 8), [0x88; 8]);
    machine.write(bar + 0xff8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let write = (0, 0xff8, 8, Some(0x0807_0605_0403_0201));
    assert_eq!(machine.reached(), [(0, 1, 1, None), (0, 2, 2, None), (0, 4, 4, None), (0, 8, 8, None), write]);
}

#[test]
fn misaligned_accesses_reach_the_device_in_aligned_pieces() {
    let mut machine = Machine::new();
    let bar = machine.bar(0, 0);
    assert_eq!(machine.read(bar + 3), [0x33, 0x44, 0x44, 0x66]);
    assert_eq!(machine.reached(), [(0, 3, 1, None), (0, 4, 2, None), (0, 6, 1, None)]);
    machine.write(bar + 6, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let pieces = [(0, 6, 2, Some(0x0201)), (0, 8, 4, Some(0x0605_0403)), (0, 12, 2, Some(0x0807))];
    assert_eq!(machine.reached(), pieces);
    machine.write(bar + 4, &[9; 20]);
    let widths: Vec<(u64, u8)> = machine.reached().iter().map(|(_, offset, width, _)| (*offset, *width)).collect();
    assert_eq!(widths, [(4, 4), (8, 8), (16, 8)]);
}

#[test]
fn an_access_over_the_end_of_a_bar_goes_on_in_what_lies_behind() {
    let mut machine = Machine::new();
    let (first, second) = (machine.bar(0, 0), machine.bar(1, 0));
    assert_eq!(second, first + 0x1000);
    machine.write(first + 0xffe, &[1, 2, 3, 4]);
    assert_eq!(machine.reached(), [(0, 0xffe, 2, Some(0x0201)), (0, 0, 2, Some(0x0403))]);
    let last = machine.bar(1, 2);
    assert_eq!(machine.read(last + 30), [0xee, 0xee, 0xff, 0xff], "behind the last one there is nothing");
}

#[test]
fn io_bars_answer_at_their_ports() {
    let mut machine = Machine::new();
    let bar = machine.bar(1, 1) as u16;
    assert_eq!(machine.port_in(bar + 4), [0x44; 4]);
    machine.port_out(bar + 1, &[1, 2]);
    assert_eq!(machine.reached(), [(1, 4, 4, None), (1, 1, 1, Some(1)), (1, 2, 1, Some(2))]);
    assert_eq!(machine.port_in(bar + 16), [0xff; 4]);
    assert_eq!(machine.read(bar.into()), [0xff; 4], "memory space is another one");
}

#[test]
fn an_io_bar_beyond_the_last_port_is_out_of_reach() {
    let mut machine = Machine::new();
    machine.write(ecam(3, 0, 0x14), &0x1_0000_u32.to_le_bytes());
    assert_eq!(machine.bar(0, 1), 0x1_0000);
    assert_eq!(machine.port_in(0xfffe), [0xff; 4]);
    machine.port_out(0xfffe, &[0; 4]);
    assert_eq!(machine.reached(), []);
}

#[test]
fn a_moved_bar_answers_where_it_is_now_and_nowhere_else() {
    let mut machine = Machine::new();
    let old = machine.bar(0, 2);
    machine.write(ecam(3, 0, 0x18), &u64::MAX.to_le_bytes());
    assert_eq!(machine.read(u64::MAX - 15), [0; 8], "the last 32 bytes of all");
    assert_eq!(machine.read(u64::MAX - 1), [0xee, 0xee, 0xff, 0xff], "behind the end there is the beginning");
    assert_eq!(machine.reached(), [(2, 16, 8, None), (2, 30, 2, None)]);
    assert_eq!(machine.read(old), [0xff; 4]);
}

#[test]
fn a_bar_in_the_way_of_configuration_space_is_hidden_by_it() {
    let mut machine = Machine::new();
    machine.write(ecam(3, 0, 0x10), &(ECAM.start as u32).to_le_bytes());
    assert_eq!(machine.read(ECAM.start), 0x0008_1b36_u32.to_le_bytes());
    assert_eq!(machine.reached(), []);
}

#[test]
fn nothing_reaches_a_device_whose_decoding_is_off() {
    let mut machine = Machine::new();
    let (memory, io) = (machine.bar(0, 0), machine.bar(0, 1) as u16);
    machine.write(ecam(3, 0, 4), &[1, 0]);
    assert_eq!((machine.read(memory), machine.port_in(io + 1)), ([0xff; 4], [0x11]));
    machine.write(ecam(3, 0, 4), &[2, 0]);
    assert_eq!((machine.read(memory + 1), machine.port_in(io)), ([0x11], [0xff; 4]));
    assert_eq!(machine.reached(), [(1, 1, 1, None), (0, 1, 1, None)]);
}

#[test]
fn findings_of_a_guest_that_breaks_a_rule_everywhere_are_counted_and_do_not_pile_up() {
    let mut bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(Ram::new(1 << 20).unwrap()) });
    let (name, device) = bringup_devices::registry::parse("edu").unwrap();
    let id = bus.plug(&name, device).unwrap();
    bus.config_write(id, 4, 2, 2);
    let start = bus.bar(id, 0).unwrap().0;
    let mut host = PciHost::new();
    for offset in 0x1000..0x2000 {
        host.memory_read(&mut bus, start + offset, &mut [0]);
    }
    let findings = &bus.fabric.findings;
    assert!(findings.iter().all(|finding| finding.rule.id == "bar-no-register"), "{findings:?}");
    assert_eq!((findings.len(), findings.iter().map(|finding| finding.times).sum::<u64>()), (64, 0x1000));
}
