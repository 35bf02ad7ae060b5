//! The CPU stores, a device reads.

use crate::assert_reached;
use crate::stand::{Cpu, Op, Script, outcomes, predicted};

const DATA: usize = 0;
const FLAG: usize = 1;

/// The device reads the flag, then the data.
fn reader() -> Script {
    Script { free: vec![Op::Read(FLAG), Op::Read(DATA)], ..Script::default() }
}

/// The same, when the CPU is through.
fn late_reader() -> Script {
    Script { late: true, ..reader() }
}

/// Message passing to a device; `$between` the two stores.
macro_rules! pass {
    ($between:expr) => {
        |cpu: &Cpu| {
            cpu.store(DATA, 1);
            $between(cpu);
            cpu.store(FLAG, 1);
            vec![]
        }
    };
}

#[test]
fn mp_without_barrier_lets_the_device_miss_the_data() {
    let program = pass!(|_: &Cpu| ());
    assert_reached!(outcomes(&reader(), program), ["/ 0 0", "/ 0 1", "/ 1 0", "/ 1 1"]);
    assert_eq!(predicted(&late_reader(), program), ["missing-write-barrier"]);
}

#[test]
fn mp_with_dma_wmb_is_in_order() {
    let program = pass!(Cpu::dma_wmb);
    assert_reached!(outcomes(&reader(), program), ["/ 0 0", "/ 0 1", "/ 1 1"]);
    assert!(predicted(&late_reader(), program).is_empty());
}

#[test]
fn mp_with_wmb_is_in_order() {
    let program = pass!(Cpu::wmb);
    assert_reached!(outcomes(&reader(), program), ["/ 0 0", "/ 0 1", "/ 1 1"]);
    assert!(predicted(&late_reader(), program).is_empty());
}

#[test]
fn mp_with_mb_is_in_order() {
    let program = pass!(Cpu::mb);
    assert_reached!(outcomes(&reader(), program), ["/ 0 0", "/ 0 1", "/ 1 1"]);
    assert!(predicted(&late_reader(), program).is_empty());
}

#[test]
fn mp_with_smp_wmb_is_as_without_barrier() {
    let program = pass!(Cpu::smp_wmb);
    assert_reached!(outcomes(&reader(), program), ["/ 0 0", "/ 0 1", "/ 1 0", "/ 1 1"]);
    assert_eq!(predicted(&late_reader(), program), ["missing-write-barrier"]);
}

#[test]
fn mp_with_smp_mb_is_as_without_barrier() {
    let program = pass!(Cpu::smp_mb);
    assert_reached!(outcomes(&reader(), program), ["/ 0 0", "/ 0 1", "/ 1 0", "/ 1 1"]);
    assert_eq!(predicted(&late_reader(), program), ["missing-write-barrier"]);
}

#[test]
fn mp_with_a_read_barrier_is_as_without_barrier() {
    let program = pass!(Cpu::rmb);
    assert_reached!(outcomes(&reader(), program), ["/ 0 0", "/ 0 1", "/ 1 0", "/ 1 1"]);
    assert_eq!(predicted(&late_reader(), program), ["missing-write-barrier"]);
}

#[test]
fn coww_stores_to_one_location_land_in_order() {
    let script = Script { free: vec![Op::Read(DATA), Op::Read(DATA)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        cpu.store(DATA, 1);
        cpu.store(DATA, 2);
        vec![]
    });
    assert_reached!(reached, ["/ 0 0", "/ 0 1", "/ 0 2", "/ 1 1", "/ 1 2", "/ 2 2"]);
}

#[test]
fn cowr_the_cpu_sees_its_own_store_before_anybody() {
    let script = Script { free: vec![Op::Read(DATA)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        cpu.store(DATA, 1);
        vec![cpu.load(DATA)]
    });
    assert_reached!(reached, ["1 / 0", "1 / 1"]);
}

/// Store buffering: each side stores, then looks at the other one's location.
macro_rules! publish_and_look {
    ($between:expr) => {
        outcomes(&Script { free: vec![Op::Write(FLAG, 1), Op::Read(DATA)], ..Script::default() }, |cpu| {
            cpu.store(DATA, 1);
            $between(cpu);
            vec![cpu.load(FLAG)]
        })
    };
}

#[test]
fn sb_without_barrier_lets_both_sides_miss_each_other() {
    assert_reached!(publish_and_look!(|_: &Cpu| ()), ["0 / 0", "0 / 1", "1 / 0", "1 / 1"]);
}

#[test]
fn sb_with_wmb_lets_both_sides_miss_each_other() {
    assert_reached!(publish_and_look!(Cpu::wmb), ["0 / 0", "0 / 1", "1 / 0", "1 / 1"]);
}

#[test]
fn sb_with_smp_mb_lets_both_sides_miss_each_other() {
    assert_reached!(publish_and_look!(Cpu::smp_mb), ["0 / 0", "0 / 1", "1 / 0", "1 / 1"]);
}

#[test]
fn sb_with_mb_one_side_sees_the_other() {
    assert_reached!(publish_and_look!(Cpu::mb), ["0 / 1", "1 / 0", "1 / 1"]);
}

#[test]
fn sb_with_dma_mb_one_side_sees_the_other() {
    assert_reached!(publish_and_look!(Cpu::dma_mb), ["0 / 1", "1 / 0", "1 / 1"]);
}

/// Both sides store to both locations, in opposite order; what is left in the end.
macro_rules! two_and_two {
    ($between:expr) => {
        outcomes(&Script { free: vec![Op::Write(FLAG, 1), Op::Write(DATA, 2)], ..Script::default() }, |cpu| {
            cpu.store(DATA, 1);
            $between(cpu);
            cpu.store(FLAG, 2);
            bringup_bench::rt::sleep(10_000);
            vec![cpu.load(DATA), cpu.load(FLAG)]
        })
    };
}

#[test]
fn two_plus_two_w_without_barrier_may_leave_the_first_store_of_each() {
    assert_reached!(two_and_two!(|_: &Cpu| ()), ["1 1 /", "1 2 /", "2 1 /", "2 2 /"]);
}

#[test]
fn two_plus_two_w_with_dma_wmb_leaves_the_second_store_of_one() {
    assert_reached!(two_and_two!(Cpu::dma_wmb), ["1 2 /", "2 1 /", "2 2 /"]);
}

#[test]
fn lb_is_not_produced_a_store_never_lands_before_a_load_that_precedes_it() {
    let script = Script { free: vec![Op::Read(FLAG), Op::Write(DATA, 1)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        let got = cpu.load(DATA);
        cpu.store(FLAG, 1);
        vec![got]
    });
    assert_reached!(reached, ["0 / 0", "0 / 1", "1 / 0"]);
}
