//! `virtio-net`.

use bringup_core::Device;
use bringup_spec::virtio::net::feature;
use bringup_spec::virtio::{MODERN_DEVICE_BASE, VENDOR, device_type};

use super::super::{Loopback, Mac, Net, NetBackend, NetOptions, NoPeer, PacketWriter, Recorded, Replayed};
use super::{behind_pci, number, power, switch, text, with_transport, within};
use crate::registry::{DeviceKind, OptionDef, Options, ValueKind};

/// The features that can be switched: names as of QEMU, bits, and whether they are offered if nothing is said.
const SWITCHES: &[(&str, u32, bool)] = &[
    ("csum", feature::CSUM, true),
    ("guest_csum", feature::GUEST_CSUM, true),
    ("host_tso4", feature::HOST_TSO4, true),
    ("host_tso6", feature::HOST_TSO6, true),
    ("host_ecn", feature::HOST_ECN, true),
    ("host_uso", feature::HOST_USO, true),
    ("guest_tso4", feature::GUEST_TSO4, true),
    ("guest_tso6", feature::GUEST_TSO6, true),
    ("guest_ecn", feature::GUEST_ECN, true),
    ("guest_uso4", feature::GUEST_USO4, true),
    ("guest_uso6", feature::GUEST_USO6, true),
    ("mrg_rxbuf", feature::MRG_RXBUF, true),
    ("status", feature::STATUS, true),
    ("ctrl_vq", feature::CTRL_VQ, true),
    ("ctrl_rx", feature::CTRL_RX, true),
    ("ctrl_vlan", feature::CTRL_VLAN, true),
    ("ctrl_rx_extra", feature::CTRL_RX_EXTRA, true),
    ("ctrl_mac_addr", feature::CTRL_MAC_ADDR, true),
    ("ctrl_guest_offloads", feature::CTRL_GUEST_OFFLOADS, true),
    ("guest_announce", feature::GUEST_ANNOUNCE, true),
];

/// The network device.
pub(crate) const KIND: DeviceKind = DeviceKind {
    name: "virtio-net",
    summary: "virtio network device on a loop, a cable to another one, or packet files",
    ids: &[(VENDOR, MODERN_DEVICE_BASE + device_type::NETWORK), (VENDOR, 0x1000)],
    options: with_transport![
        OptionDef {
            name: "backend",
            value: ValueKind::Word(&["loopback", "none"]),
            default: "loopback",
            summary: "what it is plugged into, if not a cable: a loop that brings back what is sent, or nothing",
        },
        text("peer", "the name of a cable to another virtio-net, which is given the same name"),
        text("pcap-in", "a pcapng file: its packets arrive at their times"),
        text("pcap-out", "a pcapng file: what is sent is written to it"),
        text("mac", "its address, such as 52:54:00:12:34:56"),
        number("queue_pairs", "1", "pairs of queues, 1 to 64; MQ is offered from 2 on"),
        number("queue-size", "256", "elements of a queue, a power of two to 32768"),
        number("host_mtu", "", "offer MTU with this value, 68 to 65535"),
        number("speed", "", "offer SPEED_DUPLEX with so many megabits a second"),
        OptionDef {
            name: "duplex",
            value: ValueKind::Word(&["full", "half"]),
            default: "",
            summary: "offer SPEED_DUPLEX with this",
        },
        number("latency_ns", "20000", "virtual nanoseconds that a frame takes through a loop or a cable"),
        switch("csum", "on", "offer CSUM"),
        switch("guest_csum", "on", "offer GUEST_CSUM"),
        switch("host_tso4", "on", "offer HOST_TSO4"),
        switch("host_tso6", "on", "offer HOST_TSO6"),
        switch("host_ecn", "on", "offer HOST_ECN"),
        switch("host_uso", "on", "offer HOST_USO"),
        switch("guest_tso4", "on", "offer GUEST_TSO4"),
        switch("guest_tso6", "on", "offer GUEST_TSO6"),
        switch("guest_ecn", "on", "offer GUEST_ECN"),
        switch("guest_uso4", "on", "offer GUEST_USO4"),
        switch("guest_uso6", "on", "offer GUEST_USO6"),
        switch("mrg_rxbuf", "on", "offer MRG_RXBUF"),
        switch("status", "on", "offer STATUS"),
        switch("ctrl_vq", "on", "offer CTRL_VQ"),
        switch("ctrl_rx", "on", "offer CTRL_RX"),
        switch("ctrl_vlan", "on", "offer CTRL_VLAN"),
        switch("ctrl_rx_extra", "on", "offer CTRL_RX_EXTRA"),
        switch("ctrl_mac_addr", "on", "offer CTRL_MAC_ADDR"),
        switch("ctrl_guest_offloads", "on", "offer CTRL_GUEST_OFFLOADS"),
        switch("guest_announce", "on", "offer GUEST_ANNOUNCE"),
    ],
    make,
};

fn make(options: &Options) -> Result<Box<dyn Device>, String> {
    let defaults = NetOptions::default();
    let offered = |bit: u32, on: bool| u128::from(on) << bit;
    let mut features = SWITCHES.iter().fold(offered(feature::MAC, true), |features, (name, bit, default)| {
        features | offered(*bit, options.flag(name).unwrap_or(*default))
    });
    let speed = options.number("speed").map(|_| within(options, "speed", 0, 0x7fff_ffff, 0)).transpose()?;
    let duplex = options.text("duplex").map(|duplex| u8::from(duplex == "full"));
    let pairs = within(options, "queue_pairs", 1, 64, 1)? as u16;
    features |= offered(feature::MQ, pairs > 1)
        | offered(feature::MTU, options.number("host_mtu").is_some())
        | offered(feature::SPEED_DUPLEX, speed.is_some() || duplex.is_some());
    if pairs > 1 && options.flag("ctrl_vq") == Some(false) {
        return Err(format!("queue_pairs={pairs} needs ctrl_vq=on"));
    }
    let net = NetOptions {
        mac: options.text("mac").map_or(Ok(defaults.mac), mac)?,
        features,
        pairs,
        queue_size: power(options, "queue-size", 1, 32768, 256)? as u16,
        mtu: within(options, "host_mtu", 68, 65535, 1500)? as u16,
        speed: speed.map_or(u32::MAX, |speed| speed as u32),
        duplex: duplex.unwrap_or(0xff),
    };
    behind_pci(Net::from_box(backend(options)?, net), options)
}

fn backend(options: &Options) -> Result<Box<dyn NetBackend>, String> {
    let delay = within(options, "latency_ns", 0, 1 << 60, 20_000)?;
    let mut backend: Box<dyn NetBackend> = match (options.text("peer"), options.text("backend")) {
        (Some(_), Some(_)) => return Err("backend is for a device without a cable: give peer or backend".into()),
        (Some(name), None) => {
            let end = options.cables().end(name, delay);
            Box::new(end.ok_or_else(|| format!("two devices are on the cable {name} already"))?)
        }
        (None, Some("none")) => Box::new(NoPeer),
        (None, None) if options.text("pcap-in").is_some() || options.text("pcap-out").is_some() => Box::new(NoPeer),
        (None, _) => Box::new(Loopback::new(delay)),
    };
    if let Some(path) = options.text("pcap-in") {
        let replayed = Replayed::open(backend, path.as_ref()).map_err(|error| error.to_string())?;
        backend = Box::new(replayed);
    }
    if let Some(path) = options.text("pcap-out") {
        let writer = PacketWriter::create(path.as_ref(), options.notices()).map_err(|error| error.to_string())?;
        backend = Box::new(Recorded::new(backend, writer));
    }
    Ok(backend)
}

/// An address of six bytes.
fn mac(text: &str) -> Result<Mac, String> {
    let wrong = || format!("mac takes an address such as 52:54:00:12:34:56, not \"{text}\"");
    let byte = |part: &str| {
        let plain = part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
        plain.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let bytes: Vec<u8> = text.split(':').map(byte).collect::<Option<_>>().ok_or_else(wrong)?;
    let mac = Mac::try_from(bytes).map_err(|_| wrong())?;
    if mac[0] & 1 != 0 {
        return Err(format!("mac takes the address of one device, and {text} is a group's"));
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_that_are_made_of_are_those_that_are_listed() {
        for (name, _, default) in SWITCHES {
            let word = if *default { "on" } else { "off" };
            assert!(KIND.options.iter().any(|option| option.name == *name && option.default == word), "{name}");
        }
    }

    #[test]
    fn addresses_are_six_bytes_of_one_device() {
        assert_eq!(mac("52:54:00:aB:34:56"), Ok([0x52, 0x54, 0, 0xab, 0x34, 0x56]));
        for wrong in
            ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5", "+2:54:00:12:34:56", "01:00:00:00:00:00"]
        {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
