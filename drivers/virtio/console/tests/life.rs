//! Ports of consoles: bytes both ways, control messages, and how the driver leaves.

use bringup_bench::{Bench, Errno, Report};
use bringup_core::choice::Seeded;
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::virtio::{
    Console, ConsoleOptions, ConsolePort, Echo, NoTerminal, Quirks, Terminal, VirtioPci,
};
use bringup_spec::virtio::feature;

const TIOCGWINSZ: u32 = 0x5413;
const VCON_GET_NAME: u32 = 0x8020_7601;
const EINTR: Errno = Errno(-4);
const ENXIO: Errno = Errno(-6);
const ENODEV: Errno = Errno(-19);
const ENOTTY: Errno = Errno(-25);

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
    let bench = Bench::builder().device("con", device).build().unwrap();
    bench.load(&virtio_console::BRINGUP_MODULE).unwrap();
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

/// A console with a terminal, an echo and a port that leads nowhere.
fn three_ports(terminal: &Terminal) -> Console {
    let port = |name: &str, is_console, backend| ConsolePort {
        name: name.into(),
        is_console,
        backend,
    };
    Console::new(ConsoleOptions {
        ports: vec![
            port("", true, Box::new(terminal.clone())),
            port("org.example.echo", false, Box::new(Echo::new(100_000))),
            port("nowhere", false, Box::new(NoTerminal)),
        ],
        multiport: true,
        size: Some((100, 40)),
        emergency_write: true,
        queue_size: 64,
    })
}

/// Reads until there are so many bytes.
fn read_all(file: &bringup_bench::BenchFile<'_>, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        let mut part = vec![0; len - all.len()];
        let got = file.read(&mut part).unwrap();
        assert!(got != 0, "the end after {}", all.len());
        all.extend_from_slice(&part[..got]);
    }
    all
}

#[test]
fn one_port_carries_bytes_both_ways_in_every_mode() {
    for features in MODES {
        for vectors in [0, 1, 2, 3] {
            let terminal = Terminal::default();
            let device = VirtioPci::new(Console::single(terminal.clone())).msix_vectors(vectors);
            let bench = bench(in_mode(device, features));
            let file = bench.open("vcon0").unwrap();
            let text: Vec<u8> = (0..=255).cycle().take(20_000).collect();
            assert_eq!(file.write(&text), Ok(text.len()), "{features:?}");
            assert!(terminal.take_shown() == text, "{features:?}");
            terminal.type_in(b"hello");
            assert_eq!(read_all(&file, 5), b"hello");
            // In parts.
            terminal.type_in(&text[..3000]);
            let first = read_all(&file, 1001);
            let rest = read_all(&file, 1999);
            assert!([first, rest].concat() == text[..3000]);
            drop(file);
            assert_clean(&bench.finish());
        }
    }
}

#[test]
fn it_binds_and_says_so() {
    let bench = bench(VirtioPci::new(three_ports(&Terminal::default())));
    assert_eq!(
        bench.log(),
        "virtio_console 0000:00:03.0: vcon0: 3 ports, split queues, MSI-X\n"
    );
    let mut names = bench.dev_names();
    names.sort();
    assert_eq!(names, ["vcon0", "vcon0p1", "vcon0p2"]);
    assert_clean(&bench.finish());
}

#[test]
fn ports_are_each_on_their_own() {
    for features in MODES {
        let terminal = Terminal::default();
        let bench = bench(in_mode(VirtioPci::new(three_ports(&terminal)), features));
        let console = bench.open("vcon0").unwrap();
        let echo = bench.open("vcon0p1").unwrap();
        let data: Vec<u8> = (0..=255).rev().cycle().take(30_000).collect();
        assert_eq!(echo.write(&data), Ok(data.len()));
        assert_eq!(console.write(b"prompt> "), Ok(8));
        assert!(read_all(&echo, data.len()) == data);
        assert_eq!(terminal.take_shown(), b"prompt> ");
        let mut name = [0; 32];
        assert_eq!(echo.ioctl_with(VCON_GET_NAME, &mut name), Ok(0));
        assert_eq!(&name[..17], b"org.example.echo\0");
        drop((console, echo));
        assert_clean(&bench.finish());
    }
}

#[test]
fn the_size_follows_the_terminal() {
    let terminal = Terminal::default();
    let console = three_ports(&terminal);
    let hand = console.hand();
    let bench = bench(VirtioPci::new(console));
    let file = bench.open("vcon0").unwrap();
    hand.resize(132, 50);
    bench.advance(10_000_000);
    let mut size = [0; 8];
    assert_eq!(file.ioctl_with(TIOCGWINSZ, &mut size), Ok(0));
    assert_eq!(size, [50, 0, 132, 0, 0, 0, 0, 0]);
    let echo = bench.open("vcon0p1").unwrap();
    assert_eq!(echo.ioctl_with(TIOCGWINSZ, &mut size), Err(ENOTTY));
    drop((file, echo));
    assert_clean(&bench.finish());

    // Without control messages it is in the configuration.
    let console = Console::single(terminal);
    let hand = console.hand();
    let bench = self::bench(VirtioPci::new(console));
    let file = bench.open("vcon0").unwrap();
    hand.resize(77, 33);
    // A device that was idle sees it with the next thing that happens.
    assert_eq!(file.write(b"x"), Ok(1));
    bench.advance(10_000_000);
    assert_eq!(file.ioctl_with(TIOCGWINSZ, &mut size), Ok(0));
    assert_eq!(size, [33, 0, 77, 0, 0, 0, 0, 0]);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn a_port_that_is_taken_away_is_not_there_any_more() {
    let console = three_ports(&Terminal::default());
    let hand = console.hand();
    let bench = bench(VirtioPci::new(console));
    let file = bench.open("vcon0p1").unwrap();
    let reader = bench.spawn("reader", || {
        let file = bringup_bench::open("vcon0p1")?;
        file.read(&mut [0; 10])
    });
    bench.advance(1_000_000);
    hand.remove(1);
    bench.advance(10_000_000);
    assert_eq!(bench.join(&reader).unwrap(), Err(ENODEV));
    assert_eq!(file.write(b"x"), Err(ENODEV));
    assert_eq!(bench.open("vcon0p1").err(), Some(ENXIO));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn a_signal_and_unbinding_end_a_read() {
    for unbinds in [false, true] {
        let bench = bench(VirtioPci::new(Console::single(Terminal::default())));
        let reader = bench.spawn("reader", || {
            let file = bringup_bench::open("vcon0")?;
            file.read(&mut [0; 10])
        });
        bench.advance(1_000_000);
        if unbinds {
            bench.unbind("con").unwrap();
            assert_eq!(bench.join(&reader).unwrap(), Err(ENODEV));
        } else {
            bench.signal(&reader);
            assert_eq!(bench.join(&reader).unwrap(), Err(EINTR));
        }
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_device_that_needs_a_reset_goes_on_with_its_ports() {
    let terminal = Terminal::default();
    let quirks = Quirks {
        needs_reset_after: 12,
        spurious_every: 2,
        ..Quirks::default()
    };
    let bench = bench(VirtioPci::new(three_ports(&terminal)).quirks(quirks));
    let file = bench.open("vcon0").unwrap();
    for _ in 0..30 {
        assert_eq!(file.write(b"0123456789"), Ok(10));
        terminal.type_in(b"abc");
        assert_eq!(read_all(&file, 3), b"abc");
    }
    assert!(bench.log().contains("the device is reset"));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn nonsense_in_the_rings_does_no_harm() {
    for seed in 0..40 {
        let fault = Fault {
            after: seed % 9,
            times: Some(1 + seed % 4),
            mask: Some(u64::MAX >> (seed % 60)),
            ..Fault::new(Verb::DmaWrite, Behaviour::Corrupt)
        };
        let bench = Bench::builder()
            .device(
                "con",
                in_mode(
                    VirtioPci::new(three_ports(&Terminal::default())),
                    MODES[seed as usize % MODES.len()],
                ),
            )
            .plan(Plan::new(vec![fault]))
            .build()
            .unwrap();
        if bench.load(&virtio_console::BRINGUP_MODULE).is_ok() {
            let user = bench.spawn("user", || {
                let file = bringup_bench::open("vcon0p1")?;
                file.write(&[5; 5000])?;
                file.read(&mut [0; 100])
            });
            bench.advance(60_000_000_000);
            bench.signal(&user);
            let _ = bench.join(&user).unwrap();
        }
        assert_clean(&bench.finish());
    }
}

#[test]
fn every_schedule_carries_all_bytes() {
    for seed in 0..60 {
        let terminal = Terminal::default();
        let device = VirtioPci::new(three_ports(&terminal)).msix_vectors((seed % 9) as u16);
        let bench = Bench::builder()
            .device("con", in_mode(device, MODES[seed as usize % MODES.len()]))
            .chooser(Seeded::new(seed))
            .build()
            .unwrap();
        if bench.load(&virtio_console::BRINGUP_MODULE).is_err() || bench.driver_of("con").is_none()
        {
            // There was no memory.
            assert_clean(&bench.finish());
            continue;
        }
        let jobs: Vec<_> = ["vcon0p1", "vcon0"]
            .into_iter()
            .map(|name| {
                bench.spawn("user", move || {
                    let file = bringup_bench::open(name)?;
                    let data: Vec<u8> = (0..251).cycle().take(6000).collect();
                    let mut written = 0;
                    while written < data.len() {
                        written += file.write(&data[written..])?;
                    }
                    let mut back = Vec::new();
                    while name == "vcon0p1" && back.len() < data.len() {
                        let mut part = vec![0; 700];
                        let got = file.read(&mut part)?;
                        back.extend_from_slice(&part[..got]);
                    }
                    Ok::<_, Errno>(back == data || name == "vcon0")
                })
            })
            .collect();
        for job in &jobs {
            let outcome = bench.join(job).unwrap();
            assert!(
                matches!(outcome, Ok(true) | Err(Errno(-12))),
                "{outcome:?} {seed}"
            );
        }
        assert!(!bench.log().contains("reset"), "{seed}: {}", bench.log());
        assert_clean(&bench.finish());
    }
}
