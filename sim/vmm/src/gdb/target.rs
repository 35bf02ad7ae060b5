//! What gdb can do with the guest.

use std::num::NonZeroUsize;

use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use vm_memory::{Bytes, GuestAddress};

use super::registers;
use super::stage::{Over, Stage};
use super::traps::Traps;
use crate::board::Board;

/// The guest, for one gdb.
pub(super) struct Guest<'a> {
    pub(super) stage: &'a Stage,
    board: &'a Board,
    traps: Traps,
    /// Where an `int3` is now, physically, and what was there.
    patched: Vec<(GuestAddress, u8)>,
    /// For each CPU what it is to do next: a step, or run; nothing if it was not said.
    next: Vec<Option<bool>>,
    /// Those of which nothing was said stay.
    locked: bool,
}

/// The number that gdb knows a CPU by.
pub(super) fn tid(cpu: usize) -> Tid {
    NonZeroUsize::MIN.saturating_add(cpu)
}

fn cpu(tid: Tid) -> usize {
    tid.get() - 1
}

const INT3: u8 = 0xcc;
const PAGE: u64 = 4096;
/// "Bad address", which gdb is told.
const FAULT: u8 = libc::EFAULT as u8;

impl<'a> Guest<'a> {
    pub(super) fn new(stage: &'a Stage, board: &'a Board) -> Self {
        Self {
            stage,
            board,
            traps: Traps::new(stage.abilities()),
            patched: Vec::new(),
            next: vec![None; stage.cpus()],
            locked: false,
        }
    }

    /// Lets the guest run as if no debugger had been there.
    pub(super) fn release(&mut self) {
        if self.stage.stop_all().is_err() {
            return;
        }
        self.restore();
        self.stage.forget_hits();
        let _ = self.stage.resume(&Traps::new(self.stage.abilities()).plan(), &vec![Some(false); self.stage.cpus()]);
    }

    /// The physical addresses of a range, page by page as far as it is mapped, each with its length.
    fn translate(&self, cpu: usize, at: u64, len: usize) -> Result<Vec<(GuestAddress, usize)>, Over> {
        self.stage.ask(cpu, move |fd| {
            let mut pieces = Vec::new();
            let mut done = 0;
            while done < len {
                let Some(here) = at.checked_add(done as u64) else { break };
                let piece = ((PAGE - here % PAGE) as usize).min(len - done);
                match fd.translate_gva(here) {
                    Ok(found) if found.valid != 0 => pieces.push((GuestAddress(found.physical_address), piece)),
                    _ => break,
                }
                done += piece;
            }
            pieces
        })
    }

    /// Writes `int3` where the plan wants it.
    fn patch(&mut self, at: u64) -> Result<(), Over> {
        let Some((physical, _)) = self.translate(0, at, 1)?.first().copied() else { return Ok(()) };
        let memory = &self.board.memory;
        // What is not memory, or not mapped, has no breakpoint. gdb was told so only if it asked for memory there.
        if let Ok(before) = memory.read_obj::<u8>(physical)
            && memory.write_obj(INT3, physical).is_ok()
        {
            self.patched.push((physical, before));
        }
        Ok(())
    }

    /// Takes all `int3` out of the code again. Where the guest has written meanwhile, that stays.
    pub(super) fn restore(&mut self) {
        let memory = &self.board.memory;
        // In the opposite order, should one have been written onto another.
        for (at, before) in self.patched.drain(..).rev() {
            if memory.read_obj::<u8>(at).is_ok_and(|now| now == INT3) {
                let _ = memory.write_obj(before, at);
            }
        }
    }
}

impl Target for Guest<'_> {
    type Arch = X86_64_SSE;
    type Error = Over;

    fn base_ops(&mut self) -> BaseOps<'_, X86_64_SSE, Over> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Guest<'_> {
    fn read_registers(&mut self, regs: &mut X86_64CoreRegs, tid: Tid) -> TargetResult<(), Self> {
        let read = self.stage.ask(cpu(tid), registers::read).map_err(TargetError::Fatal)?;
        *regs = read.map_err(|_| TargetError::NonFatal)?;
        Ok(())
    }

    fn write_registers(&mut self, regs: &X86_64CoreRegs, tid: Tid) -> TargetResult<(), Self> {
        let regs = regs.clone();
        let wrote = self.stage.ask(cpu(tid), move |fd| registers::write(fd, &regs)).map_err(TargetError::Fatal)?;
        if wrote == Ok(true) { Ok(()) } else { Err(TargetError::NonFatal) }
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let mut done = 0;
        for (at, len) in self.translate(cpu(tid), start, data.len()).map_err(TargetError::Fatal)? {
            let Some(into) = data.get_mut(done..done + len) else { break };
            if self.board.memory.read_slice(into, at).is_err() {
                break;
            }
            done += len;
        }
        if done == 0 && !data.is_empty() { Err(TargetError::Errno(FAULT)) } else { Ok(done) }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let mut left = data;
        for (at, len) in self.translate(cpu(tid), start, data.len()).map_err(TargetError::Fatal)? {
            let (now, later) = left.split_at(len.min(left.len()));
            self.board.memory.write_slice(now, at).map_err(|_| TargetError::Errno(FAULT))?;
            left = later;
        }
        if left.is_empty() { Ok(()) } else { Err(TargetError::Errno(FAULT)) }
    }

    fn list_active_threads(&mut self, thread_is_active: &mut dyn FnMut(Tid)) -> Result<(), Over> {
        (0..self.stage.cpus()).map(tid).for_each(thread_is_active);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl ThreadExtraInfo for Guest<'_> {
    fn thread_extra_info(&self, tid: Tid, buf: &mut [u8]) -> Result<usize, Over> {
        let text = format!("CPU {}", cpu(tid));
        let len = text.len().min(buf.len());
        buf.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Ok(len)
    }
}

impl MultiThreadResume for Guest<'_> {
    fn resume(&mut self) -> Result<(), Over> {
        let plan = self.traps.plan();
        for at in &plan.patches {
            self.patch(*at)?;
        }
        let others = (!self.locked).then_some(false);
        let runs: Vec<_> = self.next.iter().map(|next| next.or(others)).collect();
        self.stage.resume(&plan, &runs)
    }

    fn clear_resume_actions(&mut self) -> Result<(), Over> {
        self.next.fill(None);
        self.locked = false;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Over> {
        if let Some(next) = self.next.get_mut(cpu(tid)) {
            *next = Some(false);
        }
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Guest<'_> {
    fn set_resume_action_step(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Over> {
        if let Some(next) = self.next.get_mut(cpu(tid)) {
            *next = Some(true);
        }
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Guest<'_> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Over> {
        self.locked = true;
        Ok(())
    }
}

impl Breakpoints for Guest<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Guest<'_> {
    fn add_sw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.traps.add_soft(addr))
    }

    fn remove_sw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.traps.remove_soft(addr))
    }
}

impl HwBreakpoint for Guest<'_> {
    fn add_hw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.traps.add_hard(addr))
    }

    fn remove_hw_breakpoint(&mut self, addr: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.traps.remove_hard(addr))
    }
}

impl HwWatchpoint for Guest<'_> {
    fn add_hw_watchpoint(&mut self, addr: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(self.traps.add_watch(addr, len, kind))
    }

    fn remove_hw_watchpoint(&mut self, addr: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(self.traps.remove_watch(addr, len, kind))
    }
}
