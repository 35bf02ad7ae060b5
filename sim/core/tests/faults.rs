//! Every behaviour of a fault plan on every verb it applies to.

use bringup_core::dma::{Direction, MappingKind, NewMapping};
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::{Access, Bar, Bus, BusConfig, Cx, Device, DeviceId, Function, Plan, Ram, Reply, Reset};
use vm_memory::{Bytes, GuestAddress};

/// Register 0 counts its writes and holds the last one; 8 copies four bytes in from the address written; 12 copies them out; 16
/// interrupts; 20 asks for a wake-up in 10 ns, whose number register 24 gives.
#[derive(Default)]
struct Probe {
    value: u64,
    writes: u64,
    reads: u64,
    copied: [u8; 4],
    wakes: u64,
    dma_failed: bool,
}

impl Device for Probe {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x0004).bar(Bar::memory32(0, 0x1000)).msi(1)
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        Ok(match at.offset {
            0 => {
                self.reads += 1;
                self.value
            }
            4 => self.writes,
            8 => u64::from(u32::from_le_bytes(self.copied)),
            12 => u64::from(self.dma_failed),
            16 => self.reads,
            _ => self.wakes,
        })
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        match at.offset {
            0 => {
                self.value = value;
                self.writes += 1;
            }
            8 => self.dma_failed = cx.dma_read(value, &mut self.copied).is_err(),
            12 => self.dma_failed = cx.dma_write(value, &self.copied).is_err(),
            16 => cx.interrupt(),
            _ => cx.wake_in(10),
        }
        Ok(())
    }

    fn work(&mut self, _cx: &mut Cx<'_>) {
        self.wakes += 1;
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

struct Machine {
    bus: Bus,
    id: DeviceId,
    iova: u64,
    physical: GuestAddress,
}

/// A machine in which the first operation of `verb` on register `address` goes wrong.
fn machine(verb: Verb, behaviour: Behaviour, address: Option<u64>) -> Machine {
    let fault = Fault {
        device: Some("probe".into()),
        address,
        times: Some(1),
        delay_ns: (behaviour == Behaviour::Delay).then_some(1000),
        mask: (behaviour == Behaviour::Corrupt).then_some(0xf0),
        ..Fault::new(verb, behaviour)
    };
    let plan = Plan::new(vec![fault]);
    plan.check().unwrap();
    let ram = Ram::new(1 << 20).unwrap();
    let mut bus = Bus::new(BusConfig { plan, ..BusConfig::quiet(ram) });
    let id = bus.plug("probe", Box::new(Probe::default())).unwrap();
    if verb != Verb::ConfigWrite {
        bus.config_write(id, 4, 2, 6);
        let msi = bus.port(id).config().msi_offset().unwrap();
        bus.config_write(id, msi + 2, 2, 1);
    }
    let physical = bus.fabric.ram.alloc(4096, 0).unwrap();
    bus.fabric.ram.memory().write_slice(&[1, 2, 3, 4], physical).unwrap();
    let new = NewMapping {
        physical,
        len: 64,
        mask: u64::MAX,
        direction: Direction::Bidirectional,
        kind: MappingKind::Coherent,
        place: None,
        at: 0,
    };
    let iova = bus.port(id).io_space().map(&new).unwrap();
    Machine { bus, id, iova, physical }
}

impl Machine {
    fn read(&mut self, offset: u64) -> u64 {
        self.bus.bar_read(self.id, 0, offset, 4, None)
    }

    fn write(&mut self, offset: u64, value: u64) {
        self.bus.bar_write(self.id, 0, offset, 4, value, None);
    }

    fn memory(&self) -> [u8; 4] {
        self.bus.fabric.ram.memory().read_obj(self.physical).unwrap()
    }

    fn pass(&mut self, span: u64) {
        self.bus.fabric.advance(span);
        while self.bus.arrive() {}
        if let Some(id) = self.bus.due_device() {
            self.bus.work(id);
        }
    }
}

#[test]
fn bar_reads() {
    let read = |behaviour| {
        let mut m = machine(Verb::BarRead, behaviour, Some(0));
        m.write(0, 0x12);
        let before = m.bus.fabric.now();
        let first = m.read(0);
        (first, m.read(0), m.bus.fabric.now() - before, m.read(16))
    };
    assert_eq!(read(Behaviour::Drop).0, 0xffff_ffff);
    assert_eq!(read(Behaviour::AllOnes).0, 0xffff_ffff);
    assert_eq!(read(Behaviour::Error).0, 0xffff_ffff);
    assert_eq!(read(Behaviour::Corrupt).0, 0xe2);
    assert_eq!(read(Behaviour::Corrupt).1, 0x12);
    assert!(read(Behaviour::Delay).2 >= 1000);
    assert_eq!(read(Behaviour::Duplicate).3, 3);
}

#[test]
fn a_dropped_read_does_not_reach_the_device() {
    let mut m = machine(Verb::BarRead, Behaviour::Drop, Some(0));
    m.read(0);
    assert_eq!(m.read(16), 0);
}

#[test]
fn bar_writes() {
    let write = |behaviour, later| {
        let mut m = machine(Verb::BarWrite, behaviour, Some(0));
        m.write(0, 0x12);
        if later {
            m.pass(2000);
        }
        (m.read(0), m.read(4))
    };
    assert_eq!(write(Behaviour::Drop, true), (0, 0));
    assert_eq!(write(Behaviour::Error, true), (0, 0));
    assert_eq!(write(Behaviour::Corrupt, true), (0xe2, 1));
    assert_eq!(write(Behaviour::Duplicate, true), (0x12, 2));
    assert_eq!(write(Behaviour::Delay, false), (0, 0));
    assert_eq!(write(Behaviour::Delay, true), (0x12, 1));
}

#[test]
fn config_accesses() {
    let read = |behaviour| {
        let mut m = machine(Verb::ConfigRead, behaviour, Some(0));
        (m.bus.config_read(m.id, 0, 2), m.bus.config_read(m.id, 0, 2))
    };
    assert_eq!(read(Behaviour::AllOnes), (0xffff, 0x1234));
    assert_eq!(read(Behaviour::Drop), (0xffff, 0x1234));
    assert_eq!(read(Behaviour::Corrupt), (0x12c4, 0x1234));
    let write = |behaviour, later| {
        let mut m = machine(Verb::ConfigWrite, behaviour, Some(4));
        m.bus.config_write(m.id, 4, 2, 6);
        if later {
            m.pass(2000);
        }
        m.bus.config_read(m.id, 4, 2)
    };
    assert_eq!(write(Behaviour::Drop, true), 0);
    assert_eq!(write(Behaviour::Delay, false), 0);
    assert_eq!(write(Behaviour::Delay, true), 6);
    assert_eq!(write(Behaviour::Duplicate, false), 6);
}

#[test]
fn dma_reads() {
    let read = |behaviour| {
        let mut m = machine(Verb::DmaRead, behaviour, None);
        m.write(8, m.iova);
        (m.read(8) as u32, m.read(12))
    };
    assert_eq!(read(Behaviour::Drop), (0, 0));
    assert_eq!(read(Behaviour::Error), (0, 1));
    assert_eq!(read(Behaviour::AllOnes), (0xffff_ffff, 0));
    assert_eq!(read(Behaviour::Corrupt), (0xf4f3_f2f1, 0));
    assert_eq!(read(Behaviour::Delay), (0x0403_0201, 0));
}

#[test]
fn dma_writes() {
    let write = |behaviour| {
        let mut m = machine(Verb::DmaWrite, behaviour, None);
        m.write(8, m.iova);
        m.bus.fabric.ram.memory().write_slice(&[0; 4], m.physical).unwrap();
        m.write(12, m.iova);
        (m.memory(), m.read(12))
    };
    assert_eq!(write(Behaviour::Drop), ([0; 4], 0));
    assert_eq!(write(Behaviour::Error), ([0; 4], 1));
    assert_eq!(write(Behaviour::Corrupt), ([0xf1, 0xf2, 0xf3, 0xf4], 0));
    assert_eq!(write(Behaviour::Duplicate), ([1, 2, 3, 4], 0));
}

#[test]
fn interrupts() {
    let messages = |behaviour, later| {
        let mut m = machine(Verb::Irq, behaviour, None);
        m.write(16, 1);
        if later {
            m.pass(2000);
        }
        std::iter::from_fn(|| m.bus.take_message()).count()
    };
    assert_eq!(messages(Behaviour::Drop, true), 0);
    assert_eq!(messages(Behaviour::Duplicate, false), 2);
    assert_eq!(messages(Behaviour::Delay, false), 0);
    assert_eq!(messages(Behaviour::Delay, true), 1);
}

#[test]
fn time() {
    let wakes = |behaviour, span| {
        let mut m = machine(Verb::Time, behaviour, None);
        m.write(20, 1);
        m.pass(20);
        m.pass(span);
        m.read(24)
    };
    assert_eq!(wakes(Behaviour::Drop, 1_000_000), 0);
    assert_eq!(wakes(Behaviour::Delay, 10), 0);
    assert_eq!(wakes(Behaviour::Delay, 2000), 1);
    assert_eq!(wakes(Behaviour::Duplicate, 10), 2);
}

#[test]
fn a_wake_up_is_delayed_once_and_then_comes() {
    let mut m = machine(Verb::Time, Behaviour::Delay, None);
    m.bus.fabric.advance(1);
    m.write(20, 1);
    m.pass(20);
    m.pass(1100);
    m.pass(1100);
    assert_eq!(m.read(24), 1);
}

#[test]
fn harmless_faults_excuse_nothing() {
    for (verb, behaviour) in [
        (Verb::ConfigRead, Behaviour::Duplicate),
        (Verb::ConfigRead, Behaviour::Delay),
        (Verb::BarRead, Behaviour::Delay),
    ] {
        let mut m = machine(verb, behaviour, None);
        m.bus.config_read(m.id, 0, 2);
        m.read(24);
        m.write(8, m.iova ^ 0xf000);
        assert_eq!(m.bus.fabric.findings[0].rule.id, "dma-unmapped", "{verb:?} {behaviour:?}");
    }
}

#[test]
fn behaviours_that_mean_nothing_for_a_verb_are_refused() {
    for (verb, behaviour) in
        [(Verb::Irq, Behaviour::AllOnes), (Verb::Time, Behaviour::Corrupt), (Verb::BarWrite, Behaviour::AllOnes)]
    {
        assert!(!behaviour.applies_to(verb));
    }
}

#[test]
fn what_a_misled_device_does_is_not_held_against_its_driver() {
    let mut m = machine(Verb::BarWrite, Behaviour::Corrupt, Some(8));
    m.write(8, m.iova); // arrives with other bits: the device reads from elsewhere
    assert!(m.bus.fabric.findings.is_empty());
    let mut honest = machine(Verb::BarWrite, Behaviour::Corrupt, Some(0x100));
    honest.write(8, honest.iova ^ 0xf000);
    assert_eq!(honest.bus.fabric.findings[0].rule.id, "dma-unmapped");
}
