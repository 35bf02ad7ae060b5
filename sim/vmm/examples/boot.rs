//! Boots a kernel with an edu device on its PCI bus: `boot KERNEL [INITRD [COMMAND LINE]]`. `bringup vm` does more.

use std::fs;

use bringup_core::{Bus, BusConfig};
use bringup_devices::Edu;
use bringup_vmm::{Machine, Settings, layout, memory, seccomp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kernel = arguments.next().ok_or("usage: boot KERNEL [INITRD [COMMAND LINE]]")?;
    let initrd = arguments.next().map(fs::read).transpose()?.unwrap_or_default();
    let command_line = arguments.next().unwrap_or_else(|| "console=ttyS0 panic=-1".into());

    let mut bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(memory(256 << 20)?) });
    bus.plug("edu", Box::new(Edu::default()))?;
    let settings = Settings {
        kernel: kernel.into(),
        initrd,
        command_line,
        cpus: 1,
        input: None,
        output: Box::new(std::io::stdout()),
        doorbells: true,
        seccomp: seccomp::is_available(),
        gdb: None,
    };
    let outcome = Machine::new(settings, bus)?.run()?;
    println!("{:?} after {} exits in {:?}", outcome.end, outcome.exits, outcome.up);
    for finding in &outcome.bus.fabric.findings {
        println!("{}: {}", finding.rule.id, finding.what);
    }
    Ok(())
}
