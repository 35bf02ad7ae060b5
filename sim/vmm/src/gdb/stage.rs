//! Where CPUs stop for a debugger.
//!
//! Each CPU is held or not. A held one comes out of the guest, finishes the instruction that it is in (KVM completes an access to a
//! device only when it is entered again), and stands still; its own thread then answers what the debugger's thread asks of it. All
//! are held from the beginning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvm_bindings::{KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_INJECT_DB, kvm_debug_exit_arch};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::signal::SIGRTMIN;

use super::abilities::Abilities;
use super::traps::{Cause, Own, Plan};
use crate::error::Error;
use crate::signal::Signal;

/// The stage of a machine.
pub(crate) struct Stage {
    /// For each CPU: whether it is held.
    held: Vec<AtomicBool>,
    state: Mutex<State>,
    changed: Condvar,
    /// Rings when a CPU came to a breakpoint.
    news: Signal,
    /// What keeps interrupts away from a CPU that makes a step, where KVM can do that.
    quiet: u32,
    abilities: Abilities,
}

#[derive(Default)]
struct State {
    cpus: Vec<Cpu>,
    plan: Plan,
    over: bool,
}

#[derive(Default)]
struct Cpu {
    /// Its thread's number, once it has one.
    thread: Option<libc::pid_t>,
    /// It stands still.
    stands: bool,
    /// It is to make one step.
    steps: bool,
    /// Why it stopped.
    hit: Option<Cause>,
    /// What it is asked.
    asked: Option<Ask>,
}

type Ask = Box<dyn FnOnce(&VcpuFd) + Send>;

/// The machine is over.
#[derive(Debug)]
pub(super) struct Over;

impl Stage {
    /// For a machine of `cpus`; `quiet` is `KVM_GUESTDBG_BLOCKIRQ` where KVM has it.
    pub(crate) fn new(cpus: u8, quiet: u32, abilities: Abilities) -> Result<Self, Error> {
        Ok(Self {
            held: (0..cpus).map(|_| AtomicBool::new(true)).collect(),
            state: Mutex::new(State { cpus: (0..cpus).map(|_| Cpu::default()).collect(), ..State::default() }),
            changed: Condvar::new(),
            news: Signal::new()?,
            quiet,
            abilities,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everybody go: the machine is over.
    pub(crate) fn end(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }

    // --- CPUs' threads -------------------------------------------------------------------------------------------

    /// The calling thread runs this CPU.
    #[expect(unsafe_code, reason = "a thread's number comes from a system call")]
    pub(crate) fn enter(&self, cpu: u8) {
        // SAFETY: it takes nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        if let Some(cpu) = self.state().cpus.get_mut(usize::from(cpu)) {
            cpu.thread = Some(thread);
        }
    }

    /// Whether a CPU is to stand still.
    pub(crate) fn holds(&self, cpu: u8) -> bool {
        self.held.get(usize::from(cpu)).is_some_and(|held| held.load(Ordering::Acquire))
    }

    /// Stands still as long as the CPU is held, and answers.
    pub(crate) fn stand(&self, cpu: u8, fd: &VcpuFd) {
        let index = usize::from(cpu);
        let mut state = self.state();
        loop {
            let goes = state.over || !self.holds(cpu);
            let Some(own) = state.cpus.get_mut(index) else { return };
            own.stands = !goes;
            if goes {
                own.asked = None;
                return;
            }
            if let Some(ask) = own.asked.take() {
                drop(state);
                ask(fd);
                state = self.state();
            } else {
                self.changed.notify_all();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// KVM stopped a CPU for the debugger's sake: holds it, or gives the guest its own exception.
    ///
    /// # Errors
    /// When KVM does not take the exception back.
    pub(crate) fn hit(&self, cpu: u8, stop: &kvm_debug_exit_arch, fd: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        let index = usize::from(cpu);
        let mut state = self.state();
        let steps = state.cpus.get(index).is_some_and(|own| own.steps);
        let own = match state.plan.cause(stop, steps) {
            Ok(cause) => {
                if let Some(own) = state.cpus.get_mut(index) {
                    own.hit = Some(cause);
                }
                if let Some(held) = self.held.get(index) {
                    held.store(true, Ordering::Release);
                }
                self.news.ring();
                return Ok(());
            }
            Err(own) => own,
        };
        let mut debug = state.plan.debug(steps, self.quiet);
        debug.control |= match own {
            Own::Debug => KVM_GUESTDBG_INJECT_DB,
            Own::Breakpoint => KVM_GUESTDBG_INJECT_BP,
        };
        fd.set_guest_debug(&debug)
    }

    // --- The debugger's thread -----------------------------------------------------------------------------------

    /// Rings when a CPU came to a breakpoint.
    pub(super) fn news(&self) -> &Signal {
        &self.news
    }

    /// What of debugging KVM does.
    pub(super) fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// How many CPUs there are.
    pub(super) fn cpus(&self) -> usize {
        self.held.len()
    }

    /// Stops all CPUs; they stand when it returns.
    pub(super) fn stop_all(&self) -> Result<(), Over> {
        for held in &self.held {
            held.store(true, Ordering::Release);
        }
        let mut state = self.state();
        loop {
            if state.over {
                return Err(Over);
            }
            if state.cpus.iter().all(|cpu| cpu.stands) {
                return Ok(());
            }
            for thread in state.cpus.iter().filter(|cpu| !cpu.stands).filter_map(|cpu| cpu.thread) {
                call(thread);
            }
            // One that was about to enter the guest did not hear it: it is called again.
            let (again, _) =
                self.changed.wait_timeout(state, Duration::from_millis(2)).unwrap_or_else(PoisonError::into_inner);
            state = again;
        }
    }

    /// Stops all CPUs if one came to a breakpoint, and says which and why.
    pub(super) fn stop_if_hit(&self) -> Option<(usize, Cause)> {
        if !self.state().cpus.iter().any(|cpu| cpu.hit.is_some()) {
            return None;
        }
        self.stop_all().ok()?;
        self.take_hit()
    }

    /// Which CPU came to a breakpoint, and to which. Of several one is told of; the others meet theirs again when they run, but for
    /// watchpoints, which are met afterwards: they are told of next.
    pub(super) fn take_hit(&self) -> Option<(usize, Cause)> {
        let mut state = self.state();
        let mut first = None;
        for (index, cpu) in state.cpus.iter_mut().enumerate() {
            if first.is_none() {
                first = cpu.hit.take().map(|cause| (index, cause));
            } else if !matches!(cpu.hit, Some(Cause::Watch { .. })) {
                cpu.hit = None;
            }
        }
        first
    }

    /// Asks a CPU that stands something, on its own thread.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        cpu: usize,
        what: impl FnOnce(&VcpuFd) -> T + Send + 'static,
    ) -> Result<T, Over> {
        let (answer, answers) = mpsc::sync_channel(1);
        {
            let mut state = self.state();
            let over = state.over;
            let cpu = state.cpus.get_mut(cpu).filter(|cpu| cpu.stands && !over).ok_or(Over)?;
            cpu.asked = Some(Box::new(move |fd| {
                let _ = answer.send(what(fd));
            }));
        }
        self.changed.notify_all();
        // If it leaves instead, the question is dropped and nothing comes.
        answers.recv().map_err(|_| Over)
    }

    /// Lets CPUs run: for each whether it makes a step, or `None` if it stays. All stand.
    pub(super) fn resume(&self, plan: &Plan, runs: &[Option<bool>]) -> Result<(), Over> {
        for (cpu, steps) in runs.iter().enumerate() {
            let debug = plan.debug(*steps == Some(true), self.quiet);
            // KVM takes what it says it has; a CPU that it fails for runs without breakpoints.
            let _ = self.ask(cpu, move |fd| fd.set_guest_debug(&debug))?;
        }
        let mut state = self.state();
        state.plan.clone_from(plan);
        if state.cpus.iter().any(|cpu| cpu.hit.is_some()) {
            // What is still to be told comes before anything else happens.
            self.news.ring();
            return Ok(());
        }
        for ((cpu, held), steps) in state.cpus.iter_mut().zip(&self.held).zip(runs) {
            if let Some(steps) = steps {
                cpu.steps = *steps;
                held.store(false, Ordering::Release);
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Forgets what was not told of: nobody asks any more.
    pub(super) fn forget_hits(&self) {
        self.state().cpus.iter_mut().for_each(|cpu| cpu.hit = None);
    }
}

/// Calls a thread of this process out of the guest.
#[expect(unsafe_code, reason = "a signal for a thread that has no handle here")]
fn call(thread: libc::pid_t) {
    // SAFETY: no pointers. The thread is one of this process; if it is gone nothing happens.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGRTMIN()) };
}
