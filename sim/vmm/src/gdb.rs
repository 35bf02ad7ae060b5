//! gdb at a Unix socket: the guest's CPUs are its threads, and the guest waits for it before its first instruction.
//!
//! A thread speaks with gdb. CPUs stop at a [`Stage`], where it asks their own threads for what it wants to know of them. When gdb
//! goes, by `detach` or in any other way, its breakpoints go too and the guest runs on; another one may come. When the machine ends
//! gdb is told, or, if it had stopped the guest, finds the connection closed.

mod abilities;
mod link;
mod registers;
mod socket;
mod stage;
mod target;
mod traps;

pub(crate) use abilities::Abilities;
pub(crate) use socket::Socket;
pub(crate) use stage::Stage;

use std::os::fd::AsFd;
use std::sync::Arc;

use gdbstub::common::Signal as Why;
use gdbstub::stub::state_machine::GdbStubStateMachine as State;
use gdbstub::stub::{DisconnectReason, GdbStub, MultiThreadStopReason};
use rustix::event::{PollFd, PollFlags, poll};

use crate::board::{Board, End};
use link::{Came, Link};
use target::{Guest, tid};
use traps::Cause;

/// Serves one gdb after another until the machine is over.
pub(crate) fn serve(socket: &Socket, stage: &Stage, board: &Arc<Board>) {
    while !board.is_over() {
        let mut files = [PollFd::new(socket, PollFlags::IN), PollFd::new(&board.ended, PollFlags::IN)];
        // It is called out of a wait by a signal.
        if poll(&mut files, None).is_err() || files[0].revents().is_empty() {
            continue;
        }
        let Some(file) = socket.accept() else { continue };
        if stage.stop_all().is_err() {
            return;
        }
        let mut guest = Guest::new(stage, board);
        let killed = session(Link::new(file, board), &mut guest, board);
        if killed {
            board.end(End::Stopped);
        }
        guest.release();
    }
}

/// Speaks with one gdb until one of the two goes. `true` if it wants the guest killed.
fn session(link: Link<'_>, guest: &mut Guest<'_>, board: &Board) -> bool {
    let stage = guest.stage;
    // An error is one of the connection, or of a peer that does not speak the protocol: either way, it is gone.
    let Ok(mut state) = GdbStub::new(link).run_state_machine(guest) else { return false };
    // Whether gdb waits for the guest, rather than the guest for gdb.
    let mut running = false;
    loop {
        let next = match state {
            State::Idle(mut idle) => {
                running = false;
                match idle.borrow_conn().wait(None) {
                    Came::Byte(byte) => idle.incoming_data(guest, byte),
                    _ => return false,
                }
            }
            State::Running(mut run) => {
                running = true;
                match run.borrow_conn().wait(Some(stage.news().as_fd())) {
                    Came::Byte(byte) => run.incoming_data(guest, byte),
                    Came::News => {
                        stage.news().take();
                        match stage.stop_if_hit() {
                            Some((cpu, cause)) => {
                                guest.restore();
                                run.report_stop(guest, reason(cpu, cause))
                            }
                            None => Ok(run.into()),
                        }
                    }
                    Came::End => run.report_stop(guest, last_word(board.reason().as_ref())),
                    Came::Nothing => return false,
                }
            }
            State::CtrlCInterrupt(stop) => {
                let why = running.then(|| {
                    if stage.stop_all().is_ok() {
                        guest.restore();
                    }
                    // It may have come to a breakpoint at the same moment.
                    stage.take_hit().map_or(
                        MultiThreadStopReason::SignalWithThread { tid: tid(0), signal: Why::SIGINT },
                        |(cpu, cause)| reason(cpu, cause),
                    )
                });
                stop.interrupt_handled(guest, why)
            }
            State::Disconnected(end) => return end.get_reason() == DisconnectReason::Kill,
        };
        match next {
            Ok(next) => state = next,
            Err(_) => return false,
        }
    }
}

/// What gdb is told of a CPU that stopped.
fn reason(cpu: usize, cause: Cause) -> MultiThreadStopReason<u64> {
    let tid = tid(cpu);
    match cause {
        Cause::Step => MultiThreadStopReason::SignalWithThread { tid, signal: Why::SIGTRAP },
        Cause::Soft => MultiThreadStopReason::SwBreak(tid),
        Cause::Hard => MultiThreadStopReason::HwBreak(tid),
        Cause::Watch { at, kind } => MultiThreadStopReason::Watch { tid, kind, addr: at },
    }
}

/// What gdb is told of a machine that ended.
fn last_word(end: Option<&End>) -> MultiThreadStopReason<u64> {
    match end {
        Some(End::PowerOff | End::Reset) => MultiThreadStopReason::Exited(0),
        Some(End::TripleFault) => MultiThreadStopReason::Terminated(Why::SIGSEGV),
        Some(End::Stuck(_)) => MultiThreadStopReason::Terminated(Why::SIGILL),
        Some(End::Panicked) => MultiThreadStopReason::Terminated(Why::SIGABRT),
        Some(End::Stopped) | None => MultiThreadStopReason::Terminated(Why::SIGTERM),
    }
}
