//! The driver's ring against our own devices' queues, over the bus and the PCI transport, with the monitor on.

use crate::machine::{Machine, Window};
use bringup_devices::virtio::{Chain, Host, VirtioDevice, VirtioPci};
use bringup_spec::virtio::{device_type, feature};
use kernel::error::code::ENOSPC;
use proptest::{collection::vec, prelude::*};
use std::collections::HashMap;
use virtio_ring::ring::{Memory, Queue};

/// A device that inverts what it reads into what it may write. It takes chains when it likes and gives them back in any order.
struct Inverter {
    numbers: u64,
    held: Vec<Chain>,
}

impl Inverter {
    fn next(&mut self, below: usize) -> usize {
        self.numbers = self
            .numbers
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.numbers >> 33) as usize % below
    }

    fn give(host: &mut Host<'_, '_>, chain: Chain) {
        let mut bytes = vec![0; chain.readable_len() as usize];
        host.read(&chain, 0, &mut bytes).unwrap();
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        let written = host.write(&chain, 0, &bytes).unwrap();
        host.push(0, chain, written as u32);
    }
}

impl VirtioDevice for Inverter {
    fn device_type(&self) -> u16 {
        device_type::SPI
    }

    fn features(&self) -> u128 {
        0
    }

    fn queues(&self) -> Vec<u16> {
        vec![256]
    }

    fn work(&mut self, host: &mut Host<'_, '_>) {
        for _ in 0..self.next(6) {
            match host.pop(0) {
                Some(chain) => self.held.push(chain),
                None => break,
            }
        }
        for _ in 0..self.next(6).min(self.held.len()) {
            let at = self.next(self.held.len());
            let chain = self.held.remove(at);
            Self::give(host, chain);
        }
        // It goes on by itself as long as there is something to do; then it waits for a kick.
        let mut more = !self.held.is_empty();
        if let Some(chain) = host.pop(0) {
            self.held.push(chain);
            more = true;
        }
        if more {
            host.wake_in(500);
        }
    }

    fn reset_queue(&mut self, _index: u16) {
        self.held.clear();
    }

    fn reset(&mut self) {
        self.held.clear();
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(Vec<u8>, Vec<u8>),
    Publish,
    Pop(u8),
    Disable,
    Enable,
    EnableLate,
    /// Time passes.
    Work,
    ResetQueue,
    ResetDevice,
}

fn op() -> impl Strategy<Value = Op> {
    let lens = || vec(1u8..20, 0..5);
    prop_oneof![
        12 => (lens(), lens()).prop_map(|(out, input)| Op::Add(out, input)),
        8 => Just(Op::Publish),
        6 => (1u8..5).prop_map(Op::Pop),
        2 => Just(Op::Disable),
        2 => Just(Op::Enable),
        1 => Just(Op::EnableLate),
        10 => Just(Op::Work),
        1 => Just(Op::ResetQueue),
        1 => Just(Op::ResetDevice),
    ]
}

const PLACE: usize = 256;

struct Given {
    place: usize,
    out: Vec<u8>,
    writable: usize,
    from: usize,
}

struct Driver {
    machine: Machine,
    queue: Queue<u64, Window>,
    data: Window,
    places: Vec<usize>,
    given: HashMap<u64, Given>,
    next: u64,
    wanted: u64,
}

impl Driver {
    fn new(packed: bool, bits: u8, size: u16, table: u16, numbers: u64) -> Self {
        let choice = [
            feature::INDIRECT_DESC,
            feature::EVENT_IDX,
            feature::IN_ORDER,
            feature::NOTIFICATION_DATA,
            feature::NOTIF_CONFIG_DATA,
        ];
        let chosen = choice
            .iter()
            .enumerate()
            .filter(|(at, _)| bits >> at & 1 != 0);
        let always = [
            feature::VERSION_1,
            feature::ACCESS_PLATFORM,
            feature::RING_RESET,
        ];
        let wanted = chosen
            .map(|(_, bit)| bit)
            .chain(&always)
            .fold(0, |all, bit| all | 1u64 << bit)
            | u64::from(packed) << feature::RING_PACKED;
        let inverter = Inverter {
            numbers,
            held: Vec::new(),
        };
        let offered = choice
            .into_iter()
            .chain([feature::RING_PACKED, feature::RING_RESET]);
        let device = offered.fold(VirtioPci::new(inverter), |device, bit| {
            device.offer(bit, true)
        });
        let mut machine = Machine::new(device, wanted, true);
        assert_eq!(machine.features, wanted, "all of it is offered");
        let queue = machine.queue(size, table);
        machine.driver_ok();
        let places = usize::from(size) + 1;
        let data = machine.memory(places * PLACE, 0);
        Self {
            machine,
            queue,
            data,
            places: (0..places).map(|place| place * PLACE).collect(),
            given: HashMap::new(),
            next: 0,
            wanted,
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Add(out, input) => self.add(out, input),
            Op::Publish => {
                if self.queue.publish().unwrap() {
                    self.machine.kick(self.queue.notification_data());
                }
            }
            Op::Pop(most) => (0..*most).for_each(|_| self.pop()),
            Op::Disable => self.queue.disable_interrupts().unwrap(),
            Op::Enable => {
                self.queue.enable_interrupts().unwrap();
            }
            Op::EnableLate => {
                self.queue.enable_interrupts_late().unwrap();
            }
            Op::Work => {
                let next = self.machine.bus.next_event().unwrap_or(0);
                let now = self.machine.bus.fabric.now();
                self.machine.bus.fabric.advance(next.saturating_sub(now));
                self.machine.work();
            }
            Op::ResetQueue => {
                self.machine.reset_queue();
                self.forget();
                self.machine.set_up(&self.queue);
            }
            Op::ResetDevice => {
                self.machine.negotiate(self.wanted);
                self.forget();
                self.machine.set_up(&self.queue);
                self.machine.driver_ok();
            }
        }
    }

    fn forget(&mut self) {
        let mut back = Vec::new();
        self.queue.reset(|token| back.push(token)).unwrap();
        for token in back {
            self.places.push(self.given.remove(&token).unwrap().place);
        }
        assert!(self.given.is_empty());
    }

    fn add(&mut self, out: &[u8], input: &[u8]) {
        let segments = out.len() + input.len();
        if segments == 0 || segments > usize::from(self.queue.size()) {
            return;
        }
        let place = *self.places.last().unwrap();
        let mut at = place;
        let mut segment = |len: &u8| {
            let segment = self.data.segment(at, u32::from(*len));
            at += usize::from(*len);
            segment
        };
        let readable: Vec<_> = out.iter().map(&mut segment).collect();
        let writable: Vec<_> = input.iter().map(&mut segment).collect();
        let len = |part: &[u8]| part.iter().map(|len| usize::from(*len)).sum::<usize>();
        let bytes: Vec<u8> = (0..len(out))
            .map(|at| (self.next as usize * 7 + at) as u8)
            .collect();
        match self.queue.add(&readable, &writable, self.next) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, ENOSPC);
                return;
            }
        }
        self.data.write_bytes(place, &bytes).unwrap();
        self.data
            .write_bytes(place + len(out), &vec![0x77; len(input)])
            .unwrap();
        self.places.pop();
        let given = Given {
            place,
            from: place + len(out),
            out: bytes,
            writable: len(input),
        };
        self.given.insert(self.next, given);
        self.next += 1;
    }

    fn pop(&mut self) {
        let Some(done) = self.queue.pop().unwrap() else {
            return;
        };
        let given = self.given.remove(&done.token).expect("a token that is out");
        assert_eq!(done.written as usize, given.out.len().min(given.writable));
        let mut bytes = vec![0; given.writable];
        self.data.read(given.from, &mut bytes);
        let inverted = given
            .out
            .iter()
            .map(|byte| !*byte)
            .chain(std::iter::repeat(0x77));
        assert!(inverted.take(given.writable).eq(bytes));
        self.places.push(given.place);
    }

    /// Everything comes back, to a driver that sleeps between interrupts.
    fn finish(&mut self) {
        self.step(&Op::Publish);
        while self.queue.in_flight() != 0 {
            let before = self.queue.in_flight();
            (0..before).for_each(|_| self.pop());
            if self.queue.in_flight() == 0 || self.queue.enable_interrupts().unwrap() {
                continue;
            }
            assert!(self.machine.wait(), "a lost kick or a lost interrupt");
        }
        assert_eq!(self.queue.free(), self.queue.size());
        assert_eq!(self.machine.findings(), Vec::<String>::new());
    }
}

fn run(packed: bool, bits: u8, size: u16, table: u16, numbers: u64, ops: &[Op]) {
    let mut driver = Driver::new(packed, bits, size, table, numbers);
    for op in ops {
        driver.step(op);
        assert_eq!(usize::from(driver.queue.in_flight()), driver.given.len());
    }
    driver.finish();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn split_ring_and_our_device_are_a_queue(
        bits in 0u8..32, power in 1u32..=4, table in 0u16..8, numbers: u64, ops in vec(op(), 1..150)
    ) {
        run(false, bits, 1 << power, table, numbers, &ops);
    }

    #[test]
    fn packed_ring_and_our_device_are_a_queue(
        bits in 0u8..32, size in 1u16..=16, table in 0u16..8, numbers: u64, ops in vec(op(), 1..150)
    ) {
        run(true, bits, size, table, numbers, &ops);
    }
}
