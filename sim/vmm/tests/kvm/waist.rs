//! What hangs on the waist hangs there behind KVM too: fault plans, hostile devices, the trace.

use bringup_core::choice::Seeded;
use bringup_core::{Plan, trace};
use bringup_devices::registry;
use bringup_vmm::{End, Outcome};

use crate::program::program;
use crate::stand::Stand;

/// Runs the guest program with edu and virtio-blk in a machine with a fault plan; gives what it said.
fn under(plan: &str, words: &str, seed: Option<u64>) -> Option<(String, Outcome)> {
    let plan = Plan::parse(plan).unwrap();
    let mut stand = Stand::booting(program(), words).plan(plan, seed.map(Seeded::new));
    for spec in ["edu", "virtio-blk"] {
        let (name, device) = registry::parse(spec).unwrap();
        stand = stand.boxed(&name, device);
    }
    let console = stand.console.clone();
    let outcome = stand.run()?;
    Some((console.text(), outcome))
}

fn fault(lines: &str) -> String {
    format!("version = 1\n[[fault]]\n{lines}\n")
}

#[test]
fn guest_notices_a_lost_interrupt_corrupt_data_and_a_register_of_all_ones() {
    let cases = [
        ("verb = \"irq\"\ndevice = \"edu\"\ndo = \"drop\"", "FAILED edu.msi"),
        ("verb = \"dma-write\"\ndevice = \"edu\"\ndo = \"corrupt\"\nmask = 1", "FAILED edu.dma"),
        (
            "verb = \"bar-read\"\ndevice = \"edu\"\nbar = 0\naddress = 0\nlength = 4\ndo = \"all-ones\"",
            "FAILED edu.ident",
        ),
    ];
    for (lines, said) in cases {
        let Some((text, outcome)) = under(&fault(lines), "tests=edu", None) else { return };
        assert!(text.contains(said), "{lines}\n{text}");
        assert_eq!(outcome.end, End::PowerOff);
    }
}

#[test]
fn delayed_interrupt_is_late_and_not_lost() {
    let plan = fault("verb = \"irq\"\ndevice = \"edu\"\ndo = \"delay\"\ndelay_ns = 3000000");
    let Some((text, outcome)) = under(&plan, "tests=edu polite", None) else { return };
    assert!(text.contains("ok edu.msi:") && text.trim_end().ends_with("done"), "{text}");
    assert_eq!(outcome.end, End::PowerOff);
}

#[test]
fn hostile_devices_do_not_end_the_machine_in_any_way_but_the_guests() {
    for seed in 1..4 {
        let plan = [
            "verb = \"bar-read\"\ndo = \"choose\"",
            "verb = \"dma-write\"\ndo = \"choose\"",
            "verb = \"config-read\"\nafter = 600\ndo = \"choose\"",
        ];
        let plan: String = plan.iter().map(|lines| format!("[[fault]]\n{lines}\n")).collect();
        let Some((text, outcome)) = under(&format!("version = 1\n{plan}"), "tests=edu,blk", Some(seed)) else { return };
        assert!(matches!(outcome.end, End::PowerOff | End::Reset | End::TripleFault), "{:?}: {text}", outcome.end);
    }
}

#[test]
fn trace_has_all_five_verbs_in_the_order_of_time() {
    let (name, device) = registry::parse("edu").unwrap();
    let stand = Stand::booting(program(), "tests=pci,edu polite").traced().boxed(&name, device);
    let Some(outcome) = stand.run() else { return };
    let records = outcome.bus.fabric.trace.records();
    let mut text = Vec::new();
    trace::write_text(&mut text, records, &["edu".into()]).unwrap();
    let text = String::from_utf8(text).unwrap();
    for word in
        ["config read", "config write", "BAR0 read", "BAR0 write", "DMA read", "DMA write", "MSI", "INTx", "works"]
    {
        assert!(text.contains(word), "no {word} in the trace");
    }
    assert!(records.is_sorted_by_key(|record| record.at));
}
