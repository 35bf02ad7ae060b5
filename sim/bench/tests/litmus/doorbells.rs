//! Writes to registers: what comes before them, what comes before what of them, and when they arrive.

use crate::assert_reached;
use crate::stand::{Cpu, Op, Script, outcomes, predicted};

const DATA: usize = 0;
const FLAG: usize = 1;

/// The device reads the data when its doorbell rings.
fn fetcher() -> Script {
    Script { on_write: vec![Op::Read(DATA)], ..Script::default() }
}

/// The data, `$between`, the doorbell.
macro_rules! ring {
    ($between:expr, $doorbell:ident) => {
        |cpu: &Cpu| {
            cpu.store(DATA, 1);
            $between(cpu);
            cpu.$doorbell(9);
            vec![]
        }
    };
}

#[test]
fn writel_comes_after_stores_before_it() {
    let program = ring!(|_: &Cpu| (), writel);
    assert_reached!(outcomes(&fetcher(), program), ["/ 9 1"]);
    assert!(predicted(&fetcher(), program).is_empty());
}

#[test]
fn writel_relaxed_may_arrive_before_stores_before_it() {
    let program = ring!(|_: &Cpu| (), writel_relaxed);
    assert_reached!(outcomes(&fetcher(), program), ["/ 9 0", "/ 9 1"]);
    assert_eq!(predicted(&fetcher(), program), ["doorbell-before-data"]);
}

#[test]
fn dma_wmb_does_not_order_a_relaxed_doorbell() {
    let program = ring!(Cpu::dma_wmb, writel_relaxed);
    assert_reached!(outcomes(&fetcher(), program), ["/ 9 0", "/ 9 1"]);
    assert_eq!(predicted(&fetcher(), program), ["doorbell-before-data"]);
}

#[test]
fn smp_wmb_does_not_order_a_relaxed_doorbell() {
    let program = ring!(Cpu::smp_wmb, writel_relaxed);
    assert_reached!(outcomes(&fetcher(), program), ["/ 9 0", "/ 9 1"]);
    assert_eq!(predicted(&fetcher(), program), ["doorbell-before-data"]);
}

#[test]
fn wmb_orders_a_relaxed_doorbell() {
    let program = ring!(Cpu::wmb, writel_relaxed);
    assert_reached!(outcomes(&fetcher(), program), ["/ 9 1"]);
    assert!(predicted(&fetcher(), program).is_empty());
}

#[test]
fn mb_orders_a_relaxed_doorbell() {
    let program = ring!(Cpu::mb, writel_relaxed);
    assert_reached!(outcomes(&fetcher(), program), ["/ 9 1"]);
    assert!(predicted(&fetcher(), program).is_empty());
}

#[test]
fn writes_to_one_device_arrive_in_order() {
    let reached = outcomes(&Script::default(), |cpu| {
        cpu.writel(1);
        cpu.writel_relaxed(2);
        cpu.writel(3);
        vec![]
    });
    assert_reached!(reached, ["/ 1 2 3"]);
}

#[test]
fn writes_to_two_devices_arrive_in_any_order() {
    let reached = outcomes(&Script::default(), |cpu| {
        cpu.writel(1);
        cpu.writel_second(2);
        vec![]
    });
    assert_reached!(reached, ["/ 1 2", "/ 2 1"]);
}

#[test]
fn wmb_does_not_order_writes_to_two_devices() {
    let reached = outcomes(&Script::default(), |cpu| {
        cpu.writel(1);
        cpu.wmb();
        cpu.writel_second(2);
        vec![]
    });
    assert_reached!(reached, ["/ 1 2", "/ 2 1"]);
}

#[test]
fn a_read_of_the_first_device_orders_writes_to_two_devices() {
    let reached = outcomes(&Script::default(), |cpu| {
        cpu.writel(1);
        cpu.readl();
        cpu.writel_second(2);
        vec![]
    });
    assert_reached!(reached, ["/ 1 2"]);
}

#[test]
fn a_posted_write_may_arrive_after_what_the_device_does_later() {
    let script = Script { free: vec![Op::Read(FLAG)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        cpu.writel(9);
        cpu.mb();
        cpu.store(FLAG, 1);
        cpu.mb();
        vec![]
    });
    // `1 9`: the store after it was seen before it.
    assert_reached!(reached, ["/ 0 9", "/ 9 0", "/ 9 1", "/ 1 9"]);
}

#[test]
fn readl_flushes_writes_of_its_device() {
    let script = Script { free: vec![Op::Read(FLAG)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        cpu.writel(9);
        cpu.readl();
        cpu.store(FLAG, 1);
        vec![]
    });
    assert_reached!(reached, ["/ 0 9", "/ 9 0", "/ 9 1"]);
}

#[test]
fn readl_relaxed_flushes_writes_of_its_device() {
    let script = Script { free: vec![Op::Read(FLAG)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        cpu.writel(9);
        cpu.readl_relaxed();
        cpu.store(FLAG, 1);
        vec![]
    });
    assert_reached!(reached, ["/ 0 9", "/ 9 0", "/ 9 1"]);
}

#[test]
fn a_store_after_writel_may_land_before_a_store_before_it() {
    let script = Script { free: vec![Op::Read(FLAG), Op::Read(DATA)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        cpu.store(DATA, 1);
        cpu.writel(9);
        cpu.store(FLAG, 1);
        vec![]
    });
    let wrong = reached.iter().filter(|outcome| outcome.contains("1 0")).count();
    assert!(wrong > 0, "{reached:?}");
}
