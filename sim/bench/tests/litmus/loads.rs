//! A device stores, the CPU loads.

use crate::assert_reached;
use crate::stand::{Cpu, Op, Script, outcomes, outcomes_with, predicted, predicted_with};

const DATA: usize = 0;
const FLAG: usize = 1;

/// The device stores the data, then the flag.
fn writer() -> Script {
    Script { free: vec![Op::Write(DATA, 1), Op::Write(FLAG, 1)], ..Script::default() }
}

/// Message passing from a device; `$between` the two loads.
macro_rules! receive {
    ($between:expr) => {
        |cpu: &Cpu| {
            let flag = cpu.load(FLAG);
            $between(cpu);
            vec![flag, cpu.load(DATA)]
        }
    };
}

#[test]
fn mp_without_barrier_lets_the_cpu_miss_the_data() {
    assert_reached!(outcomes(&writer(), receive!(|_: &Cpu| ())), ["0 0 /", "0 1 /", "1 0 /", "1 1 /"]);
    assert_eq!(predicted(&writer(), receive!(|_: &Cpu| ())), ["missing-read-barrier"]);
}

#[test]
fn mp_with_dma_rmb_is_in_order() {
    assert_reached!(outcomes(&writer(), receive!(Cpu::dma_rmb)), ["0 0 /", "0 1 /", "1 1 /"]);
    assert!(predicted(&writer(), receive!(Cpu::dma_rmb)).is_empty());
}

#[test]
fn mp_with_rmb_is_in_order() {
    assert_reached!(outcomes(&writer(), receive!(Cpu::rmb)), ["0 0 /", "0 1 /", "1 1 /"]);
    assert!(predicted(&writer(), receive!(Cpu::rmb)).is_empty());
}

#[test]
fn mp_with_mb_is_in_order() {
    assert_reached!(outcomes(&writer(), receive!(Cpu::mb)), ["0 0 /", "0 1 /", "1 1 /"]);
    assert!(predicted(&writer(), receive!(Cpu::mb)).is_empty());
}

#[test]
fn mp_with_smp_rmb_is_as_without_barrier() {
    assert_reached!(outcomes(&writer(), receive!(Cpu::smp_rmb)), ["0 0 /", "0 1 /", "1 0 /", "1 1 /"]);
    assert_eq!(predicted(&writer(), receive!(Cpu::smp_rmb)), ["missing-read-barrier"]);
}

#[test]
fn mp_with_a_write_barrier_is_as_without_barrier() {
    assert_reached!(outcomes(&writer(), receive!(Cpu::wmb)), ["0 0 /", "0 1 /", "1 0 /", "1 1 /"]);
    assert_eq!(predicted(&writer(), receive!(Cpu::wmb)), ["missing-read-barrier"]);
}

#[test]
fn mp_with_a_register_read_between_is_in_order() {
    let read = |cpu: &Cpu| {
        cpu.readl();
    };
    assert_reached!(outcomes(&writer(), receive!(read)), ["0 0 /", "0 1 /", "1 1 /"]);
}

#[test]
fn one_store_of_a_device_is_not_one_load_of_the_cpu() {
    let script = Script { free: vec![Op::WriteBoth(DATA, 1, 1)], ..Script::default() };
    let reached = outcomes(&script, |cpu| vec![cpu.load_upper(DATA), cpu.load(DATA)]);
    assert_reached!(reached, ["0 0 /", "0 1 /", "1 0 /", "1 1 /"]);
    let late = |cpu: &Cpu| vec![cpu.load_upper(DATA), cpu.load(DATA)];
    assert_eq!(predicted(&script, late), ["missing-read-barrier"]);
}

#[test]
fn corr_loads_of_one_location_never_go_back() {
    let script = Script { free: vec![Op::Write(DATA, 1), Op::Write(DATA, 2)], ..Script::default() };
    let reached = outcomes(&script, |cpu| vec![cpu.load(DATA), cpu.load(DATA)]);
    assert_reached!(reached, ["0 0 /", "0 1 /", "0 2 /", "1 1 /", "1 2 /", "2 2 /"]);
}

#[test]
fn corw_a_store_of_the_cpu_is_never_undone_for_it() {
    let script = Script { free: vec![Op::Write(DATA, 2)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        cpu.store(DATA, 1);
        vec![cpu.load(DATA), cpu.load(DATA)]
    });
    assert_reached!(reached, ["1 1 /", "1 2 /", "2 2 /"]);
}

#[test]
fn a_register_read_sees_what_the_device_stored_before() {
    let script = Script { free: vec![Op::Write(DATA, 1)], ..Script::default() };
    let reached = outcomes(&script, |cpu| {
        let before = cpu.load(DATA);
        cpu.readl();
        let once = cpu.load(DATA);
        vec![before, once, cpu.load(DATA)]
    });
    assert_reached!(reached, ["0 0 0 /", "0 0 1 /", "0 1 1 /", "1 1 1 /"]);
}

/// The device stores when its register is written, and a read of the register comes after that.
macro_rules! after_register {
    ($read:expr, $between:expr) => {
        |cpu: &Cpu| {
            cpu.writel(5);
            $read(cpu);
            $between(cpu);
            vec![cpu.load(DATA)]
        }
    };
}

fn responder() -> Script {
    Script { on_write: vec![Op::Write(DATA, 1)], ..Script::default() }
}

#[test]
fn readl_orders_later_loads_after_the_device_had_the_write() {
    let program = after_register!(Cpu::readl, |_: &Cpu| ());
    assert_reached!(outcomes(&responder(), program), ["1 / 5"]);
    assert!(predicted(&responder(), program).is_empty());
}

#[test]
fn readl_relaxed_orders_no_loads() {
    let program = after_register!(Cpu::readl_relaxed, |_: &Cpu| ());
    assert_reached!(outcomes(&responder(), program), ["0 / 5", "1 / 5"]);
    assert_eq!(predicted(&responder(), program), ["missing-read-barrier"]);
}

#[test]
fn readl_relaxed_and_dma_rmb_order_no_loads() {
    let program = after_register!(Cpu::readl_relaxed, Cpu::dma_rmb);
    assert_reached!(outcomes(&responder(), program), ["0 / 5", "1 / 5"]);
    assert_eq!(predicted(&responder(), program), ["missing-read-barrier"]);
}

#[test]
fn readl_relaxed_and_rmb_order_later_loads() {
    let program = after_register!(Cpu::readl_relaxed, Cpu::rmb);
    assert_reached!(outcomes(&responder(), program), ["1 / 5"]);
    assert!(predicted(&responder(), program).is_empty());
}

/// The device stores, then interrupts; the handler loads.
fn interrupter(pin: bool) -> Script {
    Script { free: vec![Op::Write(DATA, 1), Op::Interrupt], pin, ..Script::default() }
}

#[test]
fn a_message_comes_after_what_its_device_stored() {
    let reached = outcomes_with(&interrupter(false), Some(|cpu| vec![cpu.load(DATA)]), |_| vec![]);
    assert_reached!(reached, ["1 /"]);
}

#[test]
fn a_pin_says_nothing_about_memory() {
    let handler = |cpu: &Cpu| {
        let got = cpu.load(DATA);
        cpu.readl();
        vec![got]
    };
    // It interrupts a task: a processor that was idle, or switched to another task, sees all there is.
    let reached = outcomes_with(&interrupter(true), Some(handler), |_| vec![]);
    assert_reached!(reached, ["0 /", "1 /"]);
}

#[test]
fn a_pin_and_a_register_read_order_memory() {
    let handler = |cpu: &Cpu| {
        cpu.readl();
        vec![cpu.load(DATA)]
    };
    let reached = outcomes_with(&interrupter(true), Some(handler), |_| vec![]);
    assert_reached!(reached, ["1 /"]);
    assert!(predicted_with(&interrupter(true), Some(handler), |_| vec![]).is_empty());
}

#[test]
fn a_task_that_was_switched_to_sees_all_there_is() {
    let reached = outcomes(&writer(), |cpu| {
        bringup_bench::rt::sleep(10_000);
        vec![cpu.load(FLAG), cpu.load(DATA)]
    });
    assert_reached!(reached, ["1 1 /"]);
}

#[test]
fn a_loop_that_looks_again_in_order_breaks_no_rule() {
    let program = |cpu: &Cpu| {
        let early = (cpu.load(FLAG), cpu.load(DATA));
        cpu.dma_rmb();
        vec![early.0, cpu.load(DATA)]
    };
    assert!(predicted(&writer(), program).is_empty());
}
