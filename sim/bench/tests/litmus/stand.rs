//! A device that does what a test tells it, a CPU that does what a test tells it, and all the ways in which the two can meet.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bringup_bench::rt::{self, Barrier, Reach};
use bringup_bench::{Bench, Report};
use bringup_core::choice::{Chooser, Point, Quiet};
use bringup_core::{Access, Bar, Cx, Device, DeviceId, Function, Reply, Reset, Waker};

/// What a device does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Reads a location, and logs what it got.
    Read(usize),
    /// Stores to a location.
    Write(usize, u32),
    /// Stores to two locations at once.
    WriteBoth(usize, u32, u32),
    /// Raises its interrupt.
    Interrupt,
}

/// Two devices that share nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// What the first does of its own accord, one by one, from the start on.
    pub(crate) free: Vec<Op>,
    /// What the second does.
    pub(crate) second: Vec<Op>,
    /// What a device does at once when one of its registers is written.
    pub(crate) on_write: Vec<Op>,
    /// The device only starts when the CPU is through.
    pub(crate) late: bool,
    /// Its interrupts are pins, not messages.
    pub(crate) pin: bool,
}

/// Bytes between two locations: a cache line.
const LINE: usize = 64;
/// How many locations there are.
const LINES: usize = 8;

#[derive(Default)]
struct Shared {
    waker: Option<Waker>,
    iova: u64,
    script: Vec<Op>,
    on_write: Vec<Op>,
}

type Link = Arc<Mutex<Shared>>;

struct Litmus {
    link: Link,
    log: Arc<Mutex<Vec<u64>>>,
    /// The next thing that it does of its own accord.
    next: usize,
}

fn locked<T>(link: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Litmus {
    fn act(&self, cx: &mut Cx<'_>, op: Op) {
        let at = |slot: usize| locked(&self.link).iova + (slot * LINE) as u64;
        match op {
            Op::Read(slot) => {
                let mut bytes = [0; 4];
                cx.dma_read(at(slot), &mut bytes).unwrap();
                locked(&self.log).push(u64::from(u32::from_le_bytes(bytes)));
            }
            Op::Write(slot, value) => cx.dma_write(at(slot), &value.to_le_bytes()).unwrap(),
            Op::WriteBoth(slot, low, high) => {
                let both = u64::from(low) | u64::from(high) << 32;
                cx.dma_write(at(slot), &both.to_le_bytes()).unwrap();
            }
            Op::Interrupt => cx.interrupt(),
        }
    }
}

impl Device for Litmus {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x7e57).bar(Bar::memory32(0, 4096)).intx().msi(1)
    }

    fn read(&mut self, cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        // Reading it is how its interrupt is acknowledged.
        cx.set_intx(false);
        Ok(7)
    }

    fn write(&mut self, cx: &mut Cx<'_>, _at: Access, value: u64) -> Reply<()> {
        locked(&self.log).push(value);
        let ops = locked(&self.link).on_write.clone();
        ops.into_iter().for_each(|op| self.act(cx, op));
        Ok(())
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        let op = locked(&self.link).script.get(self.next).copied();
        if let Some(op) = op {
            self.next += 1;
            self.act(cx, op);
            cx.wake_in(0);
        }
    }

    fn reset(&mut self, cx: &mut Cx<'_>, _kind: Reset) {
        self.next = 0;
        locked(&self.link).waker = Some(cx.waker());
    }
}

/// The CPU, with the first device's memory and both devices' registers.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    memory: [*mut u8; 2],
    registers: [usize; 2],
}

#[track_caller]
fn barrier(kind: Barrier, reach: Reach) {
    rt::barrier(kind, reach);
}

#[expect(clippy::unused_self, reason = "a test reads as a program of one CPU")]
impl Cpu {
    #[track_caller]
    pub(crate) fn load(&self, slot: usize) -> u64 {
        // SAFETY: the stand allocated it, and it is aligned to a line.
        unsafe { rt::mem_read(self.memory[0].add(slot * LINE), 4) }
    }

    /// The upper half of what `WriteBoth` writes.
    #[track_caller]
    pub(crate) fn load_upper(&self, slot: usize) -> u64 {
        // SAFETY: as above; a line has more than 8 bytes.
        unsafe { rt::mem_read(self.memory[0].add(slot * LINE + 4), 4) }
    }

    #[track_caller]
    pub(crate) fn store(&self, slot: usize, value: u64) {
        // SAFETY: as above.
        unsafe { rt::mem_write(self.memory[0].add(slot * LINE), 4, value) };
    }

    #[track_caller]
    pub(crate) fn writel(&self, value: u64) {
        rt::mmio_write(self.registers[0], 4, value, false);
    }

    #[track_caller]
    pub(crate) fn writel_second(&self, value: u64) {
        rt::mmio_write(self.registers[1], 4, value, false);
    }

    #[track_caller]
    pub(crate) fn writel_relaxed(&self, value: u64) {
        rt::mmio_write(self.registers[0], 4, value, true);
    }

    #[track_caller]
    pub(crate) fn readl(&self) -> u64 {
        rt::mmio_read(self.registers[0], 4, false)
    }

    #[track_caller]
    pub(crate) fn readl_relaxed(&self) -> u64 {
        rt::mmio_read(self.registers[0], 4, true)
    }

    #[track_caller]
    pub(crate) fn dma_wmb(&self) {
        barrier(Barrier::Write, Reach::Memory);
    }

    #[track_caller]
    pub(crate) fn dma_rmb(&self) {
        barrier(Barrier::Read, Reach::Memory);
    }

    #[track_caller]
    pub(crate) fn dma_mb(&self) {
        barrier(Barrier::Full, Reach::Memory);
    }

    #[track_caller]
    pub(crate) fn wmb(&self) {
        barrier(Barrier::Write, Reach::All);
    }

    #[track_caller]
    pub(crate) fn rmb(&self) {
        barrier(Barrier::Read, Reach::All);
    }

    #[track_caller]
    pub(crate) fn mb(&self) {
        barrier(Barrier::Full, Reach::All);
    }

    #[track_caller]
    pub(crate) fn smp_wmb(&self) {
        barrier(Barrier::Write, Reach::Cpus);
    }

    #[track_caller]
    pub(crate) fn smp_rmb(&self) {
        barrier(Barrier::Read, Reach::Cpus);
    }

    #[track_caller]
    pub(crate) fn smp_mb(&self) {
        barrier(Barrier::Full, Reach::Cpus);
    }
}

/// What the CPU does in the device's interrupt handler, for tests that have one.
pub(crate) type Handler = fn(&Cpu) -> Vec<u64>;

/// What handlers are given.
struct Handling {
    cpu: Cpu,
    handler: Handler,
    got: RefCell<Vec<u64>>,
}

fn handle(data: *const ()) -> u32 {
    // SAFETY: it points to the `Handling` of the life, which outlives its handler.
    let handling = unsafe { &*data.cast::<Handling>() };
    let got = (handling.handler)(&handling.cpu);
    handling.got.borrow_mut().extend(got);
    rt::irq::irqreturn::HANDLED
}

/// One life: what the CPU got, then what the handler got, then what the devices logged.
fn life(
    chooser: impl Chooser + 'static,
    script: &Script,
    cpu: impl Fn(&Cpu) -> Vec<u64>,
    handler: Option<Handler>,
) -> (String, Report) {
    let log: Arc<Mutex<Vec<u64>>> = Arc::default();
    let links: [Link; 2] = Default::default();
    for (link, own) in links.iter().zip([&script.free, &script.second]) {
        let mut link = locked(link);
        (link.script, link.on_write) = (own.clone(), script.on_write.clone());
    }
    let device = |link: &Link| Litmus { link: link.clone(), log: log.clone(), next: 0 };
    let bench = Bench::builder()
        .device("first", device(&links[0]))
        .device("second", device(&links[1]))
        .chooser(chooser)
        .memory(1 << 20)
        .build()
        .unwrap();
    let ids = [DeviceId(0), DeviceId(1)];
    let got = bench
        .run("cpu", || {
            let coherent = ids.map(|id| {
                rt::pci::enable_device_mem(id);
                rt::pci::set_master(id);
                rt::dma::alloc_coherent(id, LINE * LINES, true).unwrap()
            });
            let maps = ids.map(|id| rt::pci::iomap(id, 0).unwrap().0);
            let cpu_side = Cpu { memory: coherent.map(|memory| memory.cpu.as_ptr()), registers: maps };
            for (link, memory) in links.iter().zip(coherent) {
                locked(link).iova = memory.iova;
            }
            let handling =
                Handling { cpu: cpu_side, handler: handler.unwrap_or(|_| Vec::new()), got: RefCell::default() };
            let irq = handler.map(|_| {
                let kinds = rt::irq::IrqKinds { intx: script.pin, msi: !script.pin, msix: false };
                let irq = rt::irq::alloc_vectors(ids[0], 1, 1, kinds).unwrap().first;
                // SAFETY: `handling` lives until the handler is freed below.
                let callback = unsafe { rt::Callback::new(handle, (&raw const handling).cast()) };
                (irq, rt::irq::request_irq(irq, 0, "litmus", callback, None).unwrap())
            });
            let wake = || links.iter().for_each(|link| locked(link).waker.as_ref().unwrap().wake());
            if !script.late {
                wake();
                // They may be quick.
                rt::point();
            }
            let mut got = cpu(&cpu_side);
            if script.late {
                wake();
            }
            // Whatever is under way lands, and the devices do what is left.
            rt::sleep(100_000);
            got.extend(handling.got.borrow().iter());
            if let Some((irq, id)) = irq {
                rt::irq::free_irq(irq, id);
                rt::irq::free_vectors(ids[0]);
            }
            maps.into_iter().for_each(rt::pci::iounmap);
            for (id, memory) in ids.into_iter().zip(coherent) {
                rt::dma::free_coherent(id, memory.iova);
            }
            got
        })
        .unwrap();
    let words = |list: &[u64]| list.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let outcome = format!("{} / {}", words(&got), words(&locked(&log))).trim().to_owned();
    (outcome, bench.finish())
}

/// Answers from a list, then 0; keeps how many options there were.
struct Path {
    answers: Vec<u32>,
    taken: Arc<Mutex<Vec<(u32, u32)>>>,
}

impl Chooser for Path {
    fn choose(&mut self, point: Point, options: u32) -> u32 {
        if matches!(point, Point::Allocation | Point::Segments) {
            return 0;
        }
        let mut taken = locked(&self.taken);
        let answer = self.answers.get(taken.len()).copied().unwrap_or(0);
        taken.push((answer, options));
        answer
    }
}

/// The most lives that a test may take.
const MOST_LIVES: usize = 2_000_000;

/// Lives every life there is, and gives all outcomes.
pub(crate) fn outcomes_with(
    script: &Script,
    handler: Option<Handler>,
    cpu: impl Fn(&Cpu) -> Vec<u64>,
) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut answers = Vec::new();
    for _ in 0..MOST_LIVES {
        let taken: Arc<Mutex<Vec<(u32, u32)>>> = Arc::default();
        let path = Path { answers: answers.clone(), taken: taken.clone() };
        let (outcome, _) = life(path, script, &cpu, handler);
        reached.insert(outcome);
        let taken = locked(&taken);
        let Some(last) = taken.iter().rposition(|(answer, options)| answer + 1 < *options) else { return reached };
        answers = taken.iter().take(last + 1).map(|(answer, _)| *answer).collect();
        answers[last] += 1;
    }
    panic!("more than {MOST_LIVES} lives");
}

/// As [`outcomes_with`], without interrupts.
pub(crate) fn outcomes(script: &Script, cpu: impl Fn(&Cpu) -> Vec<u64>) -> BTreeSet<String> {
    outcomes_with(script, None, cpu)
}

/// The rules that a quiet life breaks.
pub(crate) fn predicted_with(
    script: &Script,
    handler: Option<Handler>,
    cpu: impl Fn(&Cpu) -> Vec<u64>,
) -> Vec<&'static str> {
    life(Quiet, script, cpu, handler).1.rules()
}

/// As [`predicted_with`], without interrupts.
pub(crate) fn predicted(script: &Script, cpu: impl Fn(&Cpu) -> Vec<u64>) -> Vec<&'static str> {
    predicted_with(script, None, cpu)
}

/// Compares what was reached with the whole of what is allowed.
#[macro_export]
macro_rules! assert_reached {
    ($reached:expr, [$($allowed:expr),* $(,)?]) => {
        let allowed: std::collections::BTreeSet<String> = [$($allowed.trim().to_owned()),*].into();
        assert_eq!($reached, allowed);
    };
}
