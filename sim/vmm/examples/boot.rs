//! Boots a kernel with an edu device on its PCI bus: `boot KERNEL [INITRD [COMMAND LINE]]`.

use std::fs;

use bringup_core::{Bus, BusConfig};
use bringup_devices::registry;
use bringup_vmm::{Machine, Settings, layout, memory};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kernel = arguments.next().ok_or("usage: boot KERNEL [INITRD [COMMAND LINE]]")?;
    let initrd = arguments.next().map(fs::read).transpose()?.unwrap_or_default();
    let command_line = arguments.next().unwrap_or_else(|| "console=ttyS0 panic=-1".into());

    let mut bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(memory(256 << 20)?) });
    for spec in std::env::var("DEVICES").unwrap_or_else(|_| "edu".into()).split(' ') {
        let (name, device) = registry::parse(spec)?;
        let id = bus.plug(&name, device)?;
        let port = bus.port(id);
        if let Some(monitor) = bringup_monitor::for_function(port.function(), port.config()) {
            bus.watch(id, monitor);
        }
    }
    bus.fabric.trace.enable(std::env::var_os("TRACE").is_some());
    let settings = Settings {
        kernel: kernel.into(),
        initrd,
        command_line,
        cpus: std::env::var("CPUS").map_or(Ok(1), |cpus| cpus.parse())?,
        input: None,
        output: Box::new(std::io::stdout()),
        doorbells: std::env::var_os("NO_DOORBELLS").is_none(),
        seccomp: std::env::var_os("NO_SECCOMP").is_none() && bringup_vmm::seccomp::is_available(),
        gdb: std::env::var_os("GDB").map(Into::into),
    };
    let outcome = Machine::new(settings, bus)?.run()?;
    println!("{:?} after {} exits, {} rings in {:?}", outcome.end, outcome.exits, outcome.rings, outcome.up);
    for finding in &outcome.bus.fabric.findings {
        println!("{}: {}", finding.rule.id, finding.what);
    }
    if let Some(path) = std::env::var_os("TRACE") {
        let names: Vec<String> = outcome.bus.devices().map(|id| outcome.bus.port(id).name().to_owned()).collect();
        bringup_core::trace::write_text(&mut fs::File::create(path)?, outcome.bus.fabric.trace.records(), &names)?;
    }
    Ok(())
}
