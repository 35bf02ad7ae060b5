//! The first driver works, and the README and the book show it as it is.

use bringup_bench::Bench;
use bringup_devices::TestDev;

const SOURCE: &str = include_str!("../first.rs");

#[test]
fn it_binds_and_reports_what_it_read() {
    let bench = Bench::builder()
        .device("pci-testdev", TestDev::default())
        .build()
        .unwrap();
    bench.load(&first::BRINGUP_MODULE).unwrap();
    let report = bench.finish();
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(
        report.log_text(),
        "first 0000:00:03.0: test 0 writes at offset 0x800\n"
    );
}

#[test]
fn the_readme_shows_this_file() {
    let readme = include_str!("../../../README.md");
    let shown = readme
        .split("```rust\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(shown, SOURCE);
}

#[test]
fn the_driver_is_as_long_as_the_readme_says() {
    let code = SOURCE
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"));
    assert!(code.count() <= 36);
}
