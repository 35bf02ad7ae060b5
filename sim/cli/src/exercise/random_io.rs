//! `--bench`: random requests to a disk by several processes at once. What was written is known, and every read of it compared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use bringup_bench::{Errno, Job};
use serde_json::json;

use super::work::{Load, Mix};
use super::{Exercised, Session};

/// How many requests a process makes before the command looks at them.
const ROUND: u64 = 256;

/// A sequence of numbers that looks random, the same each time (splitmix64).
#[derive(Clone, Copy, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}

/// What a process has done so far.
#[derive(Debug, Default)]
struct Done {
    reads: u64,
    writes: u64,
    /// Of each request, in virtual nanoseconds.
    latencies: Vec<u32>,
    /// A block that read as something else than was written there.
    differs: Option<u64>,
}

/// One of the processes: it has every `depth`th block to itself, so that it knows what it wrote.
struct Process {
    file: bringup_bench::File,
    numbers: Numbers,
    load: Load,
    /// Its number, and how many blocks it has.
    index: u64,
    blocks: u64,
    /// What its blocks hold, by what they were filled from.
    written: HashMap<u64, u64>,
    buffer: Vec<u8>,
    expected: Vec<u8>,
}

impl Process {
    fn round(&mut self, requests: u64, done: &mut Done) -> Result<(), Errno> {
        for _ in 0..requests {
            let block = self.numbers.next() % self.blocks * self.load.depth + self.index;
            let write = match self.load.mix {
                Mix::Read => false,
                Mix::Write => true,
                Mix::Both => self.numbers.next() % 10 < 3,
            };
            let began = bringup_bench::rt::time::now();
            if write {
                let seed = self.numbers.next();
                Numbers(seed).fill(&mut self.buffer);
                self.whole(block, true)?;
                self.written.insert(block, seed);
                done.writes += 1;
            } else {
                self.whole(block, false)?;
                done.reads += 1;
                if let Some(seed) = self.written.get(&block) {
                    Numbers(*seed).fill(&mut self.expected);
                    if self.expected != self.buffer {
                        done.differs = done.differs.or(Some(block));
                    }
                }
            }
            let took = bringup_bench::rt::time::now() - began;
            done.latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// Moves a block whole: calls may do less than they were asked to.
    fn whole(&mut self, block: u64, write: bool) -> Result<(), Errno> {
        const EIO: Errno = Errno(-5);
        self.file.seek((block * self.load.size) as i64);
        let mut at = 0;
        while at < self.buffer.len() {
            let moved =
                if write { self.file.write(&self.buffer[at..])? } else { self.file.read(&mut self.buffer[at..])? };
            if moved == 0 {
                return Err(EIO);
            }
            at += moved;
        }
        Ok(())
    }
}

/// Puts the disk `/dev/NAME` of `bytes` bytes under the load and tells how it did.
pub(crate) fn run(session: &mut Session<'_>, name: &str, bytes: u64, load: Load, exercised: &mut Exercised) {
    // The caller has looked whether the disk is large enough.
    let blocks = (bytes / load.size / load.depth).max(1);
    let bench = session.bench;
    let done = Rc::new(RefCell::new(Done::default()));
    let mut processes: Vec<Option<Process>> = Vec::new();
    for index in 0..load.depth {
        let opened = bench.run("open", || bringup_bench::open(name)).and_then(|file| file);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                exercised.fail(&format!("open /dev/{name}"), error);
                return;
            }
        };
        let size = load.size as usize;
        processes.push(Some(Process {
            file,
            numbers: Numbers(index + 1),
            load,
            index,
            blocks,
            written: HashMap::new(),
            buffer: vec![0; size],
            expected: vec![0; size],
        }));
    }
    let (began, wall) = (bench.now(), Instant::now());
    let mut left = load.count;
    let mut failed = None;
    while left > 0 && failed.is_none() {
        let mut jobs: Vec<Job<(Process, Result<(), Errno>)>> = Vec::new();
        for slot in &mut processes {
            let requests = left.min(ROUND);
            let (Some(mut process), true) = (slot.take_if(|_| requests > 0), requests > 0) else { break };
            left -= requests;
            let done = done.clone();
            jobs.push(bench.spawn("bench", move || {
                let mut mine = Done::default();
                let result = process.round(requests, &mut mine);
                let mut all = done.borrow_mut();
                all.reads += mine.reads;
                all.writes += mine.writes;
                all.latencies.append(&mut mine.latencies);
                all.differs = all.differs.or(mine.differs);
                drop(all);
                (process, result)
            }));
        }
        for (job, slot) in jobs.iter().zip(&mut processes) {
            match bench.join(job) {
                Ok((process, result)) => {
                    *slot = Some(process);
                    failed = failed.or(result.err());
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        session.progress("requests", load.count - left, load.count);
    }
    let (virtual_ns, wall) = (bench.now() - began, wall.elapsed());
    session.show_log();
    // Closing is the driver's as well, and done by a process.
    let closed = bench.run("close", move || drop(processes));
    if let Some(error) = failed.or(closed.err()) {
        exercised.fail(&format!("--bench {load} on /dev/{name}"), error);
    }
    tell(&load, &mut done.borrow_mut(), virtual_ns, wall.as_secs_f64(), exercised);
}

fn tell(load: &Load, done: &mut Done, virtual_ns: u64, wall: f64, exercised: &mut Exercised) {
    let requests = done.reads + done.writes;
    done.latencies.sort_unstable();
    let percentile = |of: usize| {
        let index = (done.latencies.len() * of / 100).min(done.latencies.len().saturating_sub(1));
        done.latencies.get(index).map_or(0.0, |ns| f64::from(*ns) / 1000.0)
    };
    let rate = |seconds: f64| if seconds > 0.0 { requests as f64 / seconds } else { 0.0 };
    let (in_machine, on_host) = (rate(virtual_ns as f64 / 1e9), rate(wall));
    exercised.fact(
        "bench",
        format!("{load}: {} reads, {} writes", done.reads, done.writes),
        json!({"load": load.to_string(), "reads": done.reads, "writes": done.writes}),
    );
    exercised.fact(
        "latency",
        format!(
            "virtual: median {:.1} µs, 99 % {:.1} µs, longest {:.1} µs",
            percentile(50),
            percentile(99),
            percentile(100)
        ),
        json!({"median_us": percentile(50), "p99_us": percentile(99), "max_us": percentile(100)}),
    );
    exercised.fact(
        "rate",
        format!("{in_machine:.0} requests a virtual second; this host simulates {on_host:.0} a second"),
        json!({"virtual_per_second": in_machine, "host_per_second": on_host}),
    );
    if let Some(block) = done.differs {
        let at = block * load.size;
        exercised.wrong(format!("what was written at byte {at} reads as something else"));
    }
}
