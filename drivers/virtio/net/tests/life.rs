//! Packets in and out, commands, and how the driver leaves.

use bringup_bench::{Bench, BenchFile, Errno, Report};
use bringup_core::choice::Seeded;
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::{Nanos, Plan};
use bringup_devices::virtio::{
    CableEnd, Frame, Loopback, Net, NetBackend, NetOptions, Offload, Quirks, VirtioPci,
};
use bringup_spec::virtio::feature;
use bringup_spec::virtio::net::feature as net;

const VNET_GET_MAC: u32 = 0x8006_7602;
const VNET_SET_MAC: u32 = 0x4006_7603;
const VNET_GET_MTU: u32 = 0x8004_7604;
const VNET_GET_LINK: u32 = 0x8004_7605;
const VNET_SET_RX_MODE: u32 = 0x4004_7606;
const VNET_VLAN_ADD: u32 = 0x4002_7607;
const VNET_VLAN_DEL: u32 = 0x4002_7608;

const EINTR: Errno = Errno(-4);
const ENODEV: Errno = Errno(-19);
const EINVAL: Errno = Errno(-22);
const EMSGSIZE: Errno = Errno(-90);

/// Ring and transport features, beside VERSION_1.
const MODES: [&[u32]; 5] = [
    &[],
    &[feature::EVENT_IDX, feature::INDIRECT_DESC],
    &[feature::RING_PACKED],
    &[feature::RING_PACKED, feature::EVENT_IDX],
    &[
        feature::RING_PACKED,
        feature::EVENT_IDX,
        feature::IN_ORDER,
        feature::NOTIFICATION_DATA,
    ],
];

fn in_mode(mut device: VirtioPci, features: &[u32]) -> VirtioPci {
    for bit in [
        feature::INDIRECT_DESC,
        feature::EVENT_IDX,
        feature::RING_PACKED,
        feature::IN_ORDER,
        feature::NOTIFICATION_DATA,
    ] {
        device = device.offer(bit, features.contains(&bit));
    }
    device
}

fn bench(device: VirtioPci) -> Bench {
    let bench = Bench::builder().device("net", device).build().unwrap();
    bench.load(&virtio_net::BRINGUP_MODULE).unwrap();
    bench
}

fn assert_clean(report: &Report) {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{}\n{}",
        findings.join("\n"),
        report.log_text()
    );
}

fn loopback(options: NetOptions) -> VirtioPci {
    VirtioPci::new(Net::new(Loopback::new(1000), options))
}

/// A packet to everybody, with so many bytes in all.
fn packet(seed: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    packet.extend((0..len - 14).map(|at| (at as u8).wrapping_mul(31) ^ seed));
    packet
}

fn receive(file: &BenchFile<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 70_000];
    let len = file.read(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn it_binds_and_says_what_it_found() {
    let bench = bench(loopback(NetOptions::default()));
    assert_eq!(
        bench.log(),
        "virtio_net 0000:00:03.0: vnet0: 52:54:00:12:34:56, MTU 1500, 1 pair of split queues, MSI-X\n"
    );
    assert_clean(&bench.finish());
}

#[test]
fn packets_come_back_whole_and_in_order_in_every_mode() {
    for features in MODES {
        for merged in [true, false] {
            let without = u128::from(!merged) << net::MRG_RXBUF;
            let options = NetOptions::default();
            let options = NetOptions {
                features: options.features & !without,
                ..options
            };
            let bench = bench(in_mode(loopback(options), features));
            let file = bench.open("vnet0").unwrap();
            for round in 0..40_u8 {
                let lens = [14, 60, 61, 1000, 1513, 1514];
                for len in lens {
                    assert_eq!(file.write(&packet(round, len)), Ok(len));
                }
                for len in lens {
                    assert!(receive(&file) == packet(round, len), "{features:?} {len}");
                }
            }
            drop(file);
            assert_clean(&bench.finish());
        }
    }
}

#[test]
fn large_packets_take_several_buffers_or_large_ones() {
    for merged in [true, false] {
        let options = NetOptions::default();
        let mask = (1 << net::MTU) | u128::from(merged) << net::MRG_RXBUF;
        let options = NetOptions {
            features: options.features & !(1 << net::MRG_RXBUF) | mask,
            mtu: 9000,
            ..options
        };
        let bench = bench(loopback(options));
        let file = bench.open("vnet0").unwrap();
        for len in [9014, 2036, 2037, 4084, 4085, 100] {
            assert_eq!(file.write(&packet(7, len)), Ok(len));
            assert!(receive(&file) == packet(7, len), "{merged} {len}");
        }
        let mut mtu = [0; 4];
        assert_eq!(file.ioctl_with(VNET_GET_MTU, &mut mtu), Ok(0));
        assert_eq!(u32::from_ne_bytes(mtu), 9000);
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn what_is_no_packet_is_refused() {
    let bench = bench(loopback(NetOptions::default()));
    let file = bench.open("vnet0").unwrap();
    assert_eq!(file.write(&[0; 13]), Err(EINVAL));
    assert_eq!(file.write(&[0; 1519]), Err(EMSGSIZE));
    assert_eq!(file.write(&packet(1, 1514)), Ok(1514));
    // What has no room is lost.
    let mut short = [0; 20];
    assert_eq!(file.read(&mut short), Ok(20));
    assert_eq!(short, packet(1, 1514)[..20]);
    assert_eq!(file.write(&packet(2, 60)), Ok(60));
    assert!(receive(&file) == packet(2, 60));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn addresses_modes_and_vlans_are_set_by_commands() {
    let bench = bench(loopback(NetOptions::default()));
    let file = bench.open("vnet0").unwrap();
    let mut mac = [0; 6];
    assert_eq!(file.ioctl_with(VNET_GET_MAC, &mut mac), Ok(0));
    assert_eq!(mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let mut new = [2, 3, 4, 5, 6, 7];
    assert_eq!(file.ioctl_with(VNET_SET_MAC, &mut new), Ok(0));
    assert_eq!(file.ioctl_with(VNET_GET_MAC, &mut mac), Ok(0));
    assert_eq!(mac, new);
    assert_eq!(file.ioctl_with(VNET_SET_MAC, &mut [1; 6]), Err(Errno(-99)));
    let mut up = [0; 4];
    assert_eq!(file.ioctl_with(VNET_GET_LINK, &mut up), Ok(0));
    assert_eq!(u32::from_ne_bytes(up), 1);

    // To the new address, and to somebody else's only when all are let in.
    let mut mine = packet(1, 100);
    mine[..6].copy_from_slice(&new);
    let mut other = packet(2, 100);
    other[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    let mode = |mode: u32| file.ioctl_with(VNET_SET_RX_MODE, &mut mode.to_ne_bytes());
    assert_eq!(mode(0), Ok(0));
    assert_eq!(file.write(&other), Ok(100));
    assert_eq!(file.write(&mine), Ok(100));
    assert!(receive(&file) == mine);
    assert_eq!(mode(1), Ok(0));
    assert_eq!(file.write(&other), Ok(100));
    assert!(receive(&file) == other);
    assert_eq!(mode(9), Err(EINVAL));

    let vlan = |command, id: u16| file.ioctl_with(command, &mut id.to_ne_bytes());
    assert_eq!(vlan(VNET_VLAN_ADD, 5), Ok(0));
    assert_eq!(vlan(VNET_VLAN_DEL, 5), Ok(0));
    assert_eq!(vlan(VNET_VLAN_ADD, 4096), Err(EINVAL));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn what_was_set_is_set_again_after_a_reset() {
    let quirks = Quirks {
        needs_reset_after: 20,
        ..Quirks::default()
    };
    let bench = bench(loopback(NetOptions::default()).quirks(quirks));
    let file = bench.open("vnet0").unwrap();
    let mut new = [2, 3, 4, 5, 6, 7];
    assert_eq!(file.ioctl_with(VNET_SET_MAC, &mut new), Ok(0));
    assert_eq!(
        file.ioctl_with(VNET_SET_RX_MODE, &mut 0_u32.to_ne_bytes()),
        Ok(0)
    );
    for round in 0..60_u8 {
        let mut mine = packet(round, 100);
        mine[..6].copy_from_slice(&new);
        assert_eq!(file.write(&mine), Ok(100));
        bench.advance(1_000_000);
    }
    assert!(bench.log().contains("the device is reset"));
    // What was on its way when the device was reset may be lost, as on any wire, but not what came after.
    let mut last = vec![0; 200];
    loop {
        let len = file.read(&mut last).unwrap();
        if last[..len][14] == 59 {
            break;
        }
    }
    assert_eq!(last[..6], new);
    drop(file);
    assert_clean(&bench.finish());
}

/// Sends one packet whose checksum the driver has to complete, and then one that asks for it beyond its end.
#[derive(Debug, Default)]
struct Lazy(u32);

impl NetBackend for Lazy {
    fn send(&mut self, _now: Nanos, _frame: Frame) {
        self.0 = 3;
    }

    fn receive(&mut self, _now: Nanos) -> Option<Frame> {
        self.0 = self.0.checked_sub(1)?;
        let mut frame = Frame::whole(packet(9, 80));
        let checksum = match self.0 {
            2 => Some((34, 6)),
            1 => Some((78, 6)),
            _ => None,
        };
        frame.offload = Offload {
            checksum,
            ..Offload::default()
        };
        Some(frame)
    }
}

#[test]
fn checksums_are_completed_where_there_is_room_for_them() {
    let bench = bench(VirtioPci::new(Net::new(
        Lazy::default(),
        NetOptions::default(),
    )));
    let file = bench.open("vnet0").unwrap();
    assert_eq!(file.write(&packet(0, 60)), Ok(60));
    let first = receive(&file);
    // The sum over the part, the checksum included, is that of the checksum's field as it was.
    let sum = |bytes: &[u8]| {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    };
    let was = packet(9, 80);
    assert_eq!(first[40..42], (!sum(&was[34..])).to_be_bytes());
    assert!(first[..40] == was[..40] && first[42..] == was[42..]);
    // The one that could not be completed was dropped.
    assert!(receive(&file) == was);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn two_machines_ends_of_a_cable_talk() {
    let (left, right) = CableEnd::pair(5000);
    let options = |last| NetOptions {
        mac: [2, 0, 0, 0, 0, last],
        ..NetOptions::default()
    };
    let bench = Bench::builder()
        .device("left", VirtioPci::new(Net::new(left, options(1))))
        .device("right", VirtioPci::new(Net::new(right, options(2))))
        .build()
        .unwrap();
    bench.load(&virtio_net::BRINGUP_MODULE).unwrap();
    let echo = bench.spawn("echo", || {
        let file = bringup_bench::open("vnet1")?;
        let mut bytes = [0; 2000];
        for _ in 0..50 {
            let len = file.read(&mut bytes)?;
            file.write(&bytes[..len])?;
        }
        Ok::<_, Errno>(())
    });
    let file = bench.open("vnet0").unwrap();
    for round in 0..50 {
        let sent = packet(round, 64 + usize::from(round) * 20);
        assert_eq!(file.write(&sent), Ok(sent.len()));
        assert!(receive(&file) == sent);
    }
    assert_eq!(bench.join(&echo).unwrap(), Ok(()));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn pairs_are_used_while_they_are_open() {
    let options = NetOptions::default();
    let options = NetOptions {
        features: options.features | 1 << net::MQ,
        pairs: 4,
        ..options
    };
    for vectors in [0, 2, 9] {
        let bench = bench(loopback(options).msix_vectors(vectors));
        let mut names = bench.dev_names();
        names.sort();
        assert_eq!(names, ["vnet0", "vnet0q1", "vnet0q2", "vnet0q3"]);
        let first = bench.open("vnet0").unwrap();
        let third = bench.open("vnet0q2").unwrap();
        assert_eq!(first.write(&packet(1, 100)), Ok(100));
        assert_eq!(third.write(&packet(2, 100)), Ok(100));
        drop(third);
        assert_eq!(first.write(&packet(3, 100)), Ok(100));
        drop(first);
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_signal_and_unbinding_end_a_wait_for_packets() {
    for unbinds in [false, true] {
        let bench = bench(loopback(NetOptions::default()));
        let reader = bench.spawn("reader", || {
            let file = bringup_bench::open("vnet0")?;
            file.read(&mut [0; 100])
        });
        bench.advance(1_000_000);
        if unbinds {
            bench.unbind("net").unwrap();
            assert_eq!(bench.join(&reader).unwrap(), Err(ENODEV));
        } else {
            bench.signal(&reader);
            assert_eq!(bench.join(&reader).unwrap(), Err(EINTR));
        }
        assert_clean(&bench.finish());
    }
}

#[test]
fn nonsense_in_the_rings_and_headers_does_no_harm() {
    for seed in 0..80 {
        let fault = Fault {
            after: seed % 11,
            times: Some(1 + seed % 6),
            mask: Some(u64::MAX >> (seed % 60)),
            ..Fault::new(Verb::DmaWrite, Behaviour::Corrupt)
        };
        let bench = Bench::builder()
            .device(
                "net",
                in_mode(
                    loopback(NetOptions::default()),
                    MODES[seed as usize % MODES.len()],
                ),
            )
            .plan(Plan::new(vec![fault]))
            .build()
            .unwrap();
        if bench.load(&virtio_net::BRINGUP_MODULE).is_ok() {
            let user = bench.spawn("user", || {
                let file = bringup_bench::open("vnet0")?;
                for round in 0..5 {
                    file.write(&packet(round, 700))?;
                    let _ = file.read(&mut [0; 2000])?;
                }
                Ok::<_, Errno>(())
            });
            bench.advance(100_000_000_000);
            bench.signal(&user);
            let _ = bench.join(&user).unwrap();
        }
        assert_clean(&bench.finish());
    }
}

#[test]
fn every_schedule_carries_all_packets() {
    for seed in 0..60 {
        let device = loopback(NetOptions::default()).msix_vectors((seed % 4) as u16);
        let bench = Bench::builder()
            .device("net", in_mode(device, MODES[seed as usize % MODES.len()]))
            .chooser(Seeded::new(seed))
            .build()
            .unwrap();
        if bench.load(&virtio_net::BRINGUP_MODULE).is_err() || bench.driver_of("net").is_none() {
            // There was no memory.
            assert_clean(&bench.finish());
            continue;
        }
        let reader = bench.spawn("reader", || {
            let file = bringup_bench::open("vnet0")?;
            for round in 0..30 {
                let mut bytes = [0; 2000];
                let len = file.read(&mut bytes)?;
                if bytes[..len] != packet(round, 200) {
                    return Ok(false);
                }
            }
            Ok::<_, Errno>(true)
        });
        let writer = bench.spawn("writer", || {
            let file = bringup_bench::open("vnet0")?;
            for round in 0..30 {
                file.write(&packet(round, 200))?;
            }
            Ok::<_, Errno>(())
        });
        let sent = bench.join(&writer).unwrap();
        if sent.is_err() {
            bench.signal(&reader);
        }
        let read = bench.join(&reader).unwrap();
        assert!(
            matches!(
                (sent, read),
                (Ok(()), Ok(true)) | (Err(Errno(-12)), _) | (_, Err(Errno(-12)))
            ),
            "{seed}: {sent:?} {read:?}"
        );
        assert!(!bench.log().contains("reset"), "{seed}: {}", bench.log());
        assert_clean(&bench.finish());
    }
}
