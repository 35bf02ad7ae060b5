//! What the driver does for its users, and how it leaves.

use bringup_bench::{Bench, Errno, Report};
use bringup_core::choice::Seeded;
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::Edu;

const FACTORIAL: u32 = 0xc004_6500;
const ENODEV: Errno = Errno(-19);
const ETIMEDOUT: Errno = Errno(-110);

fn bench() -> Bench {
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .trace(true)
        .build()
        .unwrap();
    bench.load(&edu::BRINGUP_MODULE).unwrap();
    bench
}

fn bench_with(fault: Fault) -> Bench {
    let plan = Plan::new(vec![fault]);
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .plan(plan)
        .build()
        .unwrap();
    bench.load(&edu::BRINGUP_MODULE).unwrap();
    bench
}

fn assert_clean(report: &Report) {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn it_binds_says_so_and_lets_go() {
    let bench = bench();
    assert_eq!(bench.driver_of("edu"), Some("edu"));
    assert_eq!(bench.log(), "edu 0000:00:03.0: edu 1.0, MSI\n");
    bench.unload("edu").unwrap();
    assert_eq!(bench.driver_of("edu"), None);
    assert_clean(&bench.finish());
}

#[test]
fn what_was_written_is_read_back_from_the_same_place() {
    let bench = bench();
    let file = bench.open("edu").unwrap();
    let data: Vec<u8> = (0..=255).cycle().take(1000).collect();
    file.seek(77);
    assert_eq!(file.write(&data), Ok(1000));
    let mut back = vec![0; 1000];
    file.seek(77);
    assert_eq!(file.read(&mut back), Ok(1000));
    assert_eq!(back, data);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn the_buffer_ends_where_it_ends() {
    let bench = bench();
    let file = bench.open("edu").unwrap();
    assert_eq!(file.write(&[1; 5000]), Ok(4096));
    assert_eq!(file.write(&[1]), Err(Errno(-28)));
    assert_eq!(file.read(&mut [0; 10]), Ok(0));
    file.seek(4090);
    assert_eq!(file.read(&mut [0; 10]), Ok(6));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn factorials_come_through_the_interrupt() {
    let bench = bench();
    let file = bench.open("edu").unwrap();
    for (number, expected) in [
        (0_u32, 1_u32),
        (5, 120),
        (12, 479_001_600),
        (13, 1_932_053_504),
        (20, 2_192_834_560),
    ] {
        let mut argument = number.to_ne_bytes();
        assert_eq!(file.ioctl_with(FACTORIAL, &mut argument), Ok(0));
        assert_eq!(u32::from_ne_bytes(argument), expected);
    }
    assert_eq!(bench.stats().interrupts, 5);
    assert_eq!(file.ioctl(1, 0), Err(Errno(-25)));
    assert_eq!(file.ioctl(FACTORIAL, 0), Err(Errno(-14)));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn a_lost_interrupt_ends_in_a_time_out_and_the_next_operation_works() {
    let bench = bench_with(Fault {
        times: Some(1),
        ..Fault::new(Verb::Irq, Behaviour::Drop)
    });
    let file = bench.open("edu").unwrap();
    assert_eq!(file.write(b"lost"), Err(ETIMEDOUT));
    assert_eq!(file.write(b"kept"), Ok(4));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn a_device_that_never_finishes_is_left_in_bounded_time() {
    let bench = bench_with(Fault::new(Verb::Time, Behaviour::Drop));
    let file = bench.open("edu").unwrap();
    assert_eq!(file.write(b"data"), Err(ETIMEDOUT));
    assert_eq!(file.write(b"data"), Err(ETIMEDOUT));
    drop(file);
    assert!(bench.log().contains("edu 1.0"));
    let report = bench.finish();
    assert_clean(&report);
    assert!(report.log_text().contains("did not come to rest"));
}

#[test]
fn unbinding_ends_an_operation_that_is_under_way() {
    for seed in 0..40 {
        let chooser = Seeded::new(seed);
        let bench = Bench::builder()
            .device("edu", Edu::default())
            .chooser(chooser)
            .build()
            .unwrap();
        if bench.load(&edu::BRINGUP_MODULE).is_err() || bench.driver_of("edu").is_none() {
            assert_clean(&bench.finish());
            continue;
        }
        let job = bench.spawn("writer", || bringup_bench::open("edu")?.write(&[7; 4096]));
        bench.advance(seed * 4_000_000);
        bench.unbind("edu").unwrap();
        let outcome = bench.join(&job).unwrap();
        assert!(
            matches!(outcome, Ok(4096) | Err(ENODEV | Errno(-12 | -2))),
            "{outcome:?}"
        );
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_file_that_is_open_across_unbind_gets_no_device() {
    let bench = bench();
    let file = bench.open("edu").unwrap();
    bench.unbind("edu").unwrap();
    assert_eq!(file.write(b"late"), Err(ENODEV));
    assert_eq!(bench.open("edu").err(), Some(Errno(-2)));
    drop(file);
    bench.bind("edu").unwrap();
    assert_eq!(bench.open("edu").unwrap().write(b"back"), Ok(4));
    assert_clean(&bench.finish());
}

#[test]
fn a_device_that_is_pulled_out_ends_its_operation() {
    let bench = bench();
    let job = bench.spawn("writer", || bringup_bench::open("edu")?.write(&[7; 4096]));
    bench.advance(20_000_000);
    bench.surprise_remove("edu").unwrap();
    assert_eq!(bench.join(&job).unwrap(), Err(ENODEV));
    assert_clean(&bench.finish());
}

#[test]
fn a_signal_ends_a_wait() {
    let bench = bench();
    let job = bench.spawn("writer", || bringup_bench::open("edu")?.write(&[7; 4096]));
    bench.advance(20_000_000);
    bench.signal(&job);
    assert_eq!(bench.join(&job).unwrap(), Err(Errno(-4)));
    assert_eq!(bench.open("edu").unwrap().write(b"next"), Ok(4));
    assert_clean(&bench.finish());
}

#[test]
fn another_device_of_the_same_class_is_left_alone() {
    let bench = Bench::builder()
        .device("testdev", bringup_devices::TestDev::default())
        .build()
        .unwrap();
    bench.load(&edu::BRINGUP_MODULE).unwrap();
    assert_eq!(bench.driver_of("testdev"), None);
    assert_eq!(bench.log(), "");
    assert_clean(&bench.finish());
}

#[test]
fn two_processes_share_the_device() {
    let bench = bench();
    let jobs: Vec<_> = (0_u8..4)
        .map(|n| {
            bench.spawn("user", move || {
                let file = bringup_bench::open("edu")?;
                let at = i64::from(n) * 1024;
                file.seek(at);
                file.write(&[n + 1; 1024])?;
                let mut back = [0; 1024];
                file.seek(at);
                file.read(&mut back)?;
                Ok::<_, Errno>(back)
            })
        })
        .collect();
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(bench.join(job).unwrap(), Ok([n as u8 + 1; 1024]));
    }
    assert_clean(&bench.finish());
}
