//! `virtio-console`.

use bringup_core::Device;
use bringup_spec::virtio::{MODERN_DEVICE_BASE, VENDOR, device_type};

use super::super::{Console, ConsoleOptions, ConsolePort, Echo, Files, NoTerminal, PortBackend};
use super::{behind_pci, number, power, switch, text, with_transport, within};
use crate::registry::{DeviceKind, OptionDef, Options, ValueKind};

/// How much an echo holds.
const ECHO: usize = 64 << 10;

/// The console device.
pub(crate) const KIND: DeviceKind = DeviceKind {
    name: "virtio-console",
    summary: "virtio console, one port or several, over an echo or files",
    ids: &[(VENDOR, MODERN_DEVICE_BASE + device_type::CONSOLE), (VENDOR, 0x1003)],
    options: with_transport![
        OptionDef {
            name: "backend",
            value: ValueKind::Word(&["echo", "none"]),
            default: "echo",
            summary: "what the ports lead to, as far as no file is named",
        },
        text("input", "the file that port 0 reads from"),
        text("output", "the file that port 0 writes to"),
        number("max_ports", "1", "how many ports there are, 1 to 31"),
        switch("multiport", "on", "offer MULTIPORT"),
        text("name", "the name of port 0; the others are called bringup.1 and so on"),
        number("cols", "80", "columns, 1 to 65535"),
        number("rows", "25", "rows, 1 to 65535"),
        switch("size", "on", "offer SIZE"),
        switch("emergency-write", "on", "offer EMERG_WRITE"),
        number("queue-size", "64", "elements of a queue, a power of two to 32768"),
    ],
    make,
};

fn make(options: &Options) -> Result<Box<dyn Device>, String> {
    let multiport = options.flag("multiport").unwrap_or(true);
    let count = within(options, "max_ports", 1, 31, 1)?;
    if count > 1 && !multiport {
        return Err(format!("max_ports={count} needs multiport=on"));
    }
    let backend = || -> Box<dyn PortBackend> {
        if options.text("backend") == Some("none") { Box::new(NoTerminal) } else { Box::new(Echo::new(ECHO)) }
    };
    let (input, output) = (options.text("input"), options.text("output"));
    let first: Box<dyn PortBackend> = match (input, output, options.text("backend")) {
        (None, None, _) => backend(),
        (_, _, Some(_)) => return Err("backend is for ports without files: give input and output, or backend".into()),
        _ => Box::new(Files::open(input.map(str::as_ref), output.map(str::as_ref), options.notices())?),
    };
    let name = options.text("name").unwrap_or_default().to_owned();
    let mut ports = vec![ConsolePort { name, is_console: true, backend: first }];
    ports.extend((1..count).map(|index| ConsolePort {
        name: format!("bringup.{index}"),
        is_console: false,
        backend: backend(),
    }));
    let size = (within(options, "cols", 1, 65535, 80)? as u16, within(options, "rows", 1, 65535, 25)? as u16);
    let console = ConsoleOptions {
        ports,
        multiport,
        size: options.flag("size").unwrap_or(true).then_some(size),
        emergency_write: options.flag("emergency-write").unwrap_or(true),
        queue_size: power(options, "queue-size", 1, 32768, 64)? as u16,
    };
    behind_pci(Console::new(console), options)
}
