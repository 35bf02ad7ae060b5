//! What doorbells that do not stop the CPU are worth: random reads of 4 KiB from virtio-blk by the bare guest program, with and
//! without them. `cargo bench -p bringup-vmm --bench doorbells` prints the ratios, measured in turn in one run.

#[path = "../tests/kvm/program.rs"]
mod program;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bringup_core::{Bus, BusConfig};
use bringup_devices::registry;
use bringup_vmm::{Machine, Settings, layout, memory};

const ROUNDS: usize = 7;
/// Reads of a round.
const READS: u32 = 1000;

#[derive(Clone, Default)]
struct Console(Arc<Mutex<Vec<u8>>>);

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nanoseconds of a read, as the guest measured them.
fn round(words: &str, doorbells: bool) -> Result<f64, String> {
    let ram = memory(64 << 20).map_err(|error| error.to_string())?;
    let mut bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(ram) });
    let (name, device) = registry::parse("virtio-blk,latency_ns=0").map_err(|error| error.to_string())?;
    bus.plug(&name, device).map_err(|error| error.to_string())?;
    let console = Console::default();
    let settings = Settings {
        kernel: program::program().to_owned(),
        initrd: Vec::new(),
        command_line: words.into(),
        cpus: 1,
        input: None,
        output: Box::new(console.clone()),
        doorbells,
        seccomp: bringup_vmm::seccomp::is_available(),
        gdb: None,
    };
    let machine = Machine::new(settings, bus).map_err(|error| error.to_string())?;
    machine.run().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&console.0.lock().expect("nobody panicked")).into_owned();
    let each = text
        .lines()
        .filter(|line| line.starts_with("bench "))
        .find_map(|line| line.trim_end().strip_suffix(" ns each")?.rsplit(' ').next()?.parse().ok());
    each.ok_or_else(|| format!("the guest measured nothing: {text}"))
}

fn main() {
    for (what, words) in [("polled", format!("bench=blk,{READS}")), ("by interrupt", format!("bench=irq,{READS}"))] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            match (round(&words, false), round(&words, true)) {
                (Ok(slow), Ok(fast)) => {
                    without.push(slow);
                    with.push(fast);
                }
                (slow, fast) => {
                    return println!("SKIPPED doorbells: {}", slow.err().or(fast.err()).unwrap_or_default());
                }
            }
        }
        let median = |list: &mut Vec<f64>| {
            list.sort_by(f64::total_cmp);
            list[list.len() / 2] / 1000.0
        };
        let (without, with) = (median(&mut without), median(&mut with));
        println!(
            "4 KiB read, {what:<12}  stopping the CPU {without:>8.1} µs   by ioeventfd {with:>8.1} µs   ratio {:.2}",
            with / without
        );
    }
}
