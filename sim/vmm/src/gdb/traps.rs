//! gdb's breakpoints and watchpoints, and how they become debug registers and `int3` instructions.
//!
//! There are four debug registers (Intel SDM vol. 3, §18.2). Hardware breakpoints and watchpoints have them first. What is left goes
//! to software breakpoints: those hold before the kernel has put its code where they are, and where a nested KVM does not know
//! `int3`. Only the others are written into the code.

use std::collections::BTreeSet;

use gdbstub::target::ext::breakpoints::WatchKind;
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, kvm_debug_exit_arch,
    kvm_guest_debug, kvm_guest_debug_arch,
};

use super::abilities::Abilities;

/// Why a CPU stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It made the step that it was to make.
    Step,
    /// It is at what gdb calls a software breakpoint.
    Soft,
    /// It is at a hardware breakpoint.
    Hard,
    /// It accessed what is watched from this address on.
    Watch { at: u64, kind: WatchKind },
}

/// What gdb asked for.
#[derive(Debug)]
pub(super) struct Traps {
    abilities: Abilities,
    soft: BTreeSet<u64>,
    hard: BTreeSet<u64>,
    watched: Vec<Watched>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    at: u64,
    len: u64,
    kind: WatchKind,
}

/// How many debug registers there are.
const REGISTERS: usize = 4;

impl Traps {
    /// None, on a KVM that can do this.
    pub(super) fn new(abilities: Abilities) -> Self {
        Self { abilities, soft: BTreeSet::new(), hard: BTreeSet::new(), watched: Vec::new() }
    }

    /// Adds a software breakpoint; `false` if it would have to be an `int3` and KVM does not tell of those.
    pub(super) fn add_soft(&mut self, at: u64) -> bool {
        let fits = self.soft.contains(&at) || self.takes(1);
        if fits {
            self.soft.insert(at);
        }
        fits
    }

    /// Whether there are registers for so many more of anything. Software breakpoints make room where they can do without.
    fn takes(&self, more: usize) -> bool {
        let soft = if self.abilities.int3 { 0 } else { self.soft.len() };
        self.needs() + soft + more <= REGISTERS
    }

    /// Adds a hardware breakpoint; `false` if there is no register for it.
    pub(super) fn add_hard(&mut self, at: u64) -> bool {
        let fits = self.hard.contains(&at) || self.takes(1);
        if fits {
            self.hard.insert(at);
        }
        fits
    }

    /// Adds a watchpoint; `false` if there are no registers for it, or the processor cannot watch that (reading alone).
    pub(super) fn add_watch(&mut self, at: u64, len: u64, kind: WatchKind) -> bool {
        let new = Watched { at, len, kind };
        let fits = self.abilities.watch
            && kind != WatchKind::Read
            && (1..=32).contains(&len)
            && at.checked_add(len).is_some()
            && (self.watched.contains(&new) || self.takes(pieces(new).len()));
        if fits && !self.watched.contains(&new) {
            self.watched.push(new);
        }
        fits
    }

    /// Takes one away; `false` if there was none.
    pub(super) fn remove_soft(&mut self, at: u64) -> bool {
        self.soft.remove(&at)
    }

    /// Takes one away; `false` if there was none.
    pub(super) fn remove_hard(&mut self, at: u64) -> bool {
        self.hard.remove(&at)
    }

    /// Takes one away; `false` if there was none.
    pub(super) fn remove_watch(&mut self, at: u64, len: u64, kind: WatchKind) -> bool {
        let before = self.watched.len();
        self.watched.retain(|watched| *watched != Watched { at, len, kind });
        self.watched.len() != before
    }

    fn needs(&self) -> usize {
        self.hard.len() + self.watched.iter().map(|watched| pieces(*watched).len()).sum::<usize>()
    }

    /// How they are to be set.
    pub(super) fn plan(&self) -> Plan {
        let mut slots: Vec<Slot> = Vec::new();
        slots.extend(self.hard.iter().map(|at| Slot { at: *at, len: 1, cause: Cause::Hard }));
        for watched in &self.watched {
            let cause = Cause::Watch { at: watched.at, kind: watched.kind };
            slots.extend(pieces(*watched).into_iter().map(|(at, len)| Slot { at, len, cause }));
        }
        let mut soft = self.soft.iter().copied();
        slots.extend(soft.by_ref().take(REGISTERS - slots.len()).map(|at| Slot { at, len: 1, cause: Cause::Soft }));
        Plan { slots, patches: soft.collect() }
    }
}

/// The naturally aligned pieces of what is watched, each as long as a debug register can watch.
fn pieces(Watched { at, len, .. }: Watched) -> Vec<(u64, u64)> {
    let (mut at, end) = (at, at + len);
    let mut pieces = Vec::new();
    while at < end {
        let len = [8, 4, 2, 1].into_iter().find(|len| at.is_multiple_of(*len) && at + len <= end).unwrap_or(1);
        pieces.push((at, len));
        at += len;
    }
    pieces
}

/// How breakpoints and watchpoints are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    slots: Vec<Slot>,
    /// Where `int3` is to be written.
    pub(super) patches: Vec<u64>,
}

/// What a debug register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    at: u64,
    len: u64,
    cause: Cause,
}

/// Why KVM stopped a CPU, if it was not for the debugger: an exception that is the guest's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// #DB.
    Debug,
    /// #BP.
    Breakpoint,
}

impl Plan {
    /// As KVM takes it for a CPU that runs on or makes a step. `quiet` is a flag that keeps interrupts away from a step.
    pub(super) fn debug(&self, steps: bool, quiet: u32) -> kvm_guest_debug {
        let mut debugreg = [0; 8];
        // What is set in it by the processor itself, and "exact" as for old ones.
        let mut control = 0x700;
        for (index, slot) in self.slots.iter().take(REGISTERS).enumerate() {
            debugreg[index] = slot.at;
            let kind = match slot.cause {
                Cause::Watch { kind: WatchKind::Write, .. } => 1,
                Cause::Watch { .. } => 3,
                _ => 0,
            };
            let len = match slot.len {
                1 => 0,
                2 => 1,
                8 => 2,
                _ => 3,
            };
            control |= 2 << (index * 2) | (kind | len << 2) << (16 + index * 4);
        }
        debugreg[7] = control;
        let mut flags = KVM_GUESTDBG_ENABLE;
        if !self.slots.is_empty() {
            flags |= KVM_GUESTDBG_USE_HW_BP;
        }
        if !self.patches.is_empty() {
            flags |= KVM_GUESTDBG_USE_SW_BP;
        }
        if steps {
            flags |= KVM_GUESTDBG_SINGLESTEP | quiet;
        }
        kvm_guest_debug { control: flags, arch: kvm_guest_debug_arch { debugreg }, ..Default::default() }
    }

    /// What a stop was for.
    pub(super) fn cause(&self, stop: &kvm_debug_exit_arch, steps: bool) -> Result<Cause, Own> {
        const BREAKPOINT: u32 = 3;
        const SINGLE_STEP: u64 = 1 << 14;
        if stop.exception == BREAKPOINT {
            return if self.patches.contains(&stop.pc) { Ok(Cause::Soft) } else { Err(Own::Breakpoint) };
        }
        // A register's bit may be set without its breakpoint being met, where it is not enabled.
        let hit = self.slots.iter().enumerate().find(|(index, slot)| {
            let code = !matches!(slot.cause, Cause::Watch { .. });
            stop.dr6 & 1 << index != 0 && (!code || slot.at == stop.pc)
        });
        match hit {
            Some((_, slot)) => Ok(slot.cause),
            None if steps && stop.dr6 & SINGLE_STEP != 0 => Ok(Cause::Step),
            None => Err(Own::Debug),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(exception: u32, pc: u64, dr6: u64) -> kvm_debug_exit_arch {
        kvm_debug_exit_arch { exception, pc, dr6, ..Default::default() }
    }

    #[test]
    fn software_breakpoints_have_the_registers_that_are_left_and_int3_beyond() {
        let mut traps = Traps::new(Abilities::ALL);
        assert!(traps.add_hard(0x1000) && traps.add_watch(0x2004, 4, WatchKind::Write));
        for at in [0x10, 0x20, 0x30, 0x40] {
            assert!(traps.add_soft(at));
        }
        let plan = traps.plan();
        assert_eq!(plan.patches, [0x30, 0x40]);
        let debug = plan.debug(false, 0);
        assert_eq!(debug.control, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_USE_SW_BP);
        assert_eq!(debug.arch.debugreg[..4], [0x1000, 0x2004, 0x10, 0x20]);
        // Global enables 0 to 3; register 1 watches writes (1) of 4 bytes (3).
        assert_eq!(debug.arch.debugreg[7], 0x700 | 0xaa | 0xd << 20);
    }

    #[test]
    fn what_kvm_does_not_tell_of_is_refused() {
        let mut traps = Traps::new(Abilities { int3: false, watch: false });
        assert!(!traps.add_watch(0x1000, 8, WatchKind::Write));
        for at in 0..3 {
            assert!(traps.add_soft(at) && traps.add_soft(at));
        }
        assert!(traps.add_hard(3) && !traps.add_hard(4) && !traps.add_soft(5));
        assert!(traps.plan().patches.is_empty());
        assert!(traps.remove_soft(0) && traps.add_soft(5));
    }

    #[test]
    fn fifth_that_needs_a_register_is_refused_and_one_twice_needs_one() {
        let mut traps = Traps::new(Abilities::ALL);
        for at in 0..4 {
            assert!(traps.add_hard(at) && traps.add_hard(at));
        }
        assert!(!traps.add_hard(4) && !traps.add_watch(0, 1, WatchKind::Write));
        assert!(traps.remove_hard(3) && !traps.remove_hard(3));
        assert!(traps.add_watch(0, 8, WatchKind::ReadWrite));
    }

    #[test]
    fn what_is_watched_across_a_boundary_takes_several_registers() {
        let watched = |at, len| pieces(Watched { at, len, kind: WatchKind::Write });
        assert_eq!(watched(0x1003, 5), [(0x1003, 1), (0x1004, 4)]);
        assert_eq!(watched(0x1001, 8), [(0x1001, 1), (0x1002, 2), (0x1004, 4), (0x1008, 1)]);
        assert_eq!(watched(0x1000, 16), [(0x1000, 8), (0x1008, 8)]);
        let mut traps = Traps::new(Abilities::ALL);
        assert!(!traps.add_watch(0x1001, 16, WatchKind::Write), "it needs five");
        assert!(!traps.add_watch(u64::MAX, 2, WatchKind::Write) && !traps.add_watch(0, 0, WatchKind::Write));
        assert!(!traps.add_watch(0x1000, 8, WatchKind::Read), "x86 cannot watch reading alone");
    }

    #[test]
    fn stop_is_told_from_the_guests_own_exceptions() {
        let mut traps = Traps::new(Abilities::ALL);
        assert!(traps.add_hard(0x1000) && traps.add_watch(0x2000, 8, WatchKind::Write));
        for at in [0x10, 0x20, 0x30] {
            assert!(traps.add_soft(at));
        }
        let plan = traps.plan();
        assert_eq!(plan.cause(&stop(1, 0x1000, 1), false), Ok(Cause::Hard));
        assert_eq!(plan.cause(&stop(1, 0x1234, 1), false), Err(Own::Debug));
        let watch = Cause::Watch { at: 0x2000, kind: WatchKind::Write };
        assert_eq!(plan.cause(&stop(1, 0x1234, 2 | 1 << 14), true), Ok(watch));
        assert_eq!(plan.cause(&stop(1, 0x10, 4), false), Ok(Cause::Soft));
        assert_eq!(plan.cause(&stop(3, 0x30, 0), false), Ok(Cause::Soft));
        assert_eq!(plan.cause(&stop(3, 0x31, 0), false), Err(Own::Breakpoint));
        assert_eq!(plan.cause(&stop(1, 0x31, 1 << 14), true), Ok(Cause::Step));
        assert_eq!(plan.cause(&stop(1, 0x31, 1 << 14), false), Err(Own::Debug));
    }
}
