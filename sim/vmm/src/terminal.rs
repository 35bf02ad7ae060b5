//! A terminal in raw mode, with its settings back at the end whatever that is.
//!
//! [`Terminal`] puts them back when it is dropped, and around a stop (SIGTSTP, SIGCONT). For ends that run none of our code (SIGKILL,
//! SIGQUIT, abort, a filter's) a child of this process, the guardian, waits for the end of a pipe whose other end only this process
//! has, and puts them back then.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};

/// A terminal in raw mode: what is typed comes at once, unechoed, and no key is a signal. Output is processed as before.
pub struct Terminal {
    held: &'static Held,
    guardian: Option<Guardian>,
    /// The handlers that were there before ours.
    handlers: Option<[libc::sigaction; 2]>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("file", &self.held.file)
            .field("guardian", &self.guardian)
            .finish_non_exhaustive()
    }
}

/// What the signals' handlers need. It is never freed: one may be at it.
struct Held {
    file: OwnedFd,
    old: libc::termios,
    raw: libc::termios,
}

#[derive(Debug)]
struct Guardian {
    pid: libc::pid_t,
    /// Open as long as this process lives.
    _alive: OwnedFd,
}

/// The terminal that a stopped process lets go of.
static HELD: AtomicPtr<Held> = AtomicPtr::new(ptr::null_mut());

impl Terminal {
    /// Puts a terminal into raw mode; `None` if the file is none. In the background, the process stops until it is in front.
    ///
    /// Best called before the process has much memory and many threads: it makes a child.
    ///
    /// # Errors
    /// When the terminal does not take the settings (it was hung up, say), or there can be no child.
    pub fn raw(file: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        if !rustix::termios::isatty(file) {
            return Ok(None);
        }
        let file = file.try_clone_to_owned()?;
        let fd = file.as_raw_fd();
        let old = settings(fd)?;
        // The guardian is there first: it does nothing to a terminal that is not as we set it.
        set(fd, &raw_of(old))?;
        let raw = settings(fd)?;
        let held: &'static Held = Box::leak(Box::new(Held { file, old, raw }));
        let mut this = Self { held, guardian: None, handlers: None };
        this.guardian = Some(Guardian::start(held)?);
        let free =
            HELD.compare_exchange(ptr::null_mut(), ptr::from_ref(held).cast_mut(), Ordering::AcqRel, Ordering::Relaxed);
        if free.is_ok() {
            this.handlers = Some([handle(libc::SIGTSTP, stop), handle(libc::SIGCONT, go_on)]);
        }
        Ok(Some(this))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some([stop, go_on]) = self.handlers.take() {
            put_back(libc::SIGTSTP, &stop);
            put_back(libc::SIGCONT, &go_on);
            HELD.store(ptr::null_mut(), Ordering::Release);
        }
        self.held.restore();
        if let Some(guardian) = self.guardian.take() {
            guardian.dismiss();
        }
    }
}

impl Held {
    /// Puts the old settings back. In the background only if the terminal is still as we set it: by then it is another's.
    fn restore(&self) {
        let fd = self.file.as_raw_fd();
        if in_front(fd) || settings(fd).is_ok_and(|now| same(&now, &self.raw)) {
            without_stopping(|| {
                let _ = set(fd, &self.old);
            });
        }
    }
}

// What follows is also done by handlers and by the guardian: nothing of it may allocate or lock.

/// SIGTSTP: gives the terminal back as it was, then stops.
#[expect(unsafe_code, reason = "a signal handler stops its process")]
extern "C" fn stop(_: libc::c_int) {
    with_held(|held| held.restore());
    // SAFETY: these take no pointers.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

/// SIGCONT: takes it again, if it is in front now.
extern "C" fn go_on(_: libc::c_int) {
    with_held(|held| {
        let fd = held.file.as_raw_fd();
        if in_front(fd) {
            without_stopping(|| {
                let _ = set(fd, &held.raw);
            });
        }
    });
}

#[expect(unsafe_code, reason = "a signal handler reads what it needs through a pointer, and keeps errno")]
fn with_held(act: impl FnOnce(&Held)) {
    // SAFETY: the pointer is null or that of a `Held` that is never freed. errno is this thread's.
    unsafe {
        let errno = *libc::__errno_location();
        if let Some(held) = HELD.load(Ordering::Acquire).as_ref() {
            act(held);
        }
        *libc::__errno_location() = errno;
    }
}

fn raw_of(mut settings: libc::termios) -> libc::termios {
    settings.c_iflag &= !(libc::IGNBRK
        | libc::BRKINT
        | libc::PARMRK
        | libc::ISTRIP
        | libc::INLCR
        | libc::IGNCR
        | libc::ICRNL
        | libc::IXON);
    settings.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
    settings.c_cflag = settings.c_cflag & !(libc::CSIZE | libc::PARENB) | libc::CS8;
    settings.c_cc[libc::VMIN] = 1;
    settings.c_cc[libc::VTIME] = 0;
    settings
}

fn same(a: &libc::termios, b: &libc::termios) -> bool {
    (a.c_iflag, a.c_oflag, a.c_cflag, a.c_lflag, a.c_cc) == (b.c_iflag, b.c_oflag, b.c_cflag, b.c_lflag, b.c_cc)
}

#[expect(unsafe_code, reason = "libc's calls for terminals, which a handler and a forked child may make")]
fn settings(fd: RawFd) -> io::Result<libc::termios> {
    // SAFETY: all bit patterns are valid for the structure, and the call fills it.
    unsafe {
        let mut settings = std::mem::zeroed();
        if libc::tcgetattr(fd, &raw mut settings) == 0 { Ok(settings) } else { Err(io::Error::last_os_error()) }
    }
}

#[expect(unsafe_code, reason = "as above")]
fn set(fd: RawFd, settings: &libc::termios) -> io::Result<()> {
    // At once: output that a terminal holds back must not hold us.
    // SAFETY: the pointer is valid for the call.
    if unsafe { libc::tcsetattr(fd, libc::TCSANOW, settings) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the terminal is this process group's, or that of no group that we could know.
#[expect(unsafe_code, reason = "as above")]
fn in_front(fd: RawFd) -> bool {
    // SAFETY: these take no pointers.
    let (front, own) = unsafe { (libc::tcgetpgrp(fd), libc::getpgrp()) };
    front == own || front == -1
}

/// Sets a terminal without being stopped for it where the process is in the background (SIGTTOU).
#[expect(unsafe_code, reason = "a signal is blocked for the calling thread")]
fn without_stopping(act: impl FnOnce()) {
    // SAFETY: the sets are this function's, and filled before they are read.
    unsafe {
        let (mut set, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut old);
        act();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, ptr::null_mut());
    }
}

/// Installs a handler where nobody else has one; returns what was there.
#[expect(unsafe_code, reason = "a signal gets a handler")]
fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> libc::sigaction {
    // SAFETY: the structures are this function's; the handler does only what handlers may do.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut old);
        if old.sa_sigaction == libc::SIG_DFL {
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = handler as *const () as libc::sighandler_t;
            new.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&raw mut new.sa_mask);
            libc::sigaction(signal, &raw const new, ptr::null_mut());
        }
        old
    }
}

#[expect(unsafe_code, reason = "a signal gets its handler back")]
fn put_back(signal: libc::c_int, old: &libc::sigaction) {
    // SAFETY: it is what `sigaction` returned for this signal.
    unsafe { libc::sigaction(signal, old, ptr::null_mut()) };
}

impl Guardian {
    #[expect(
        unsafe_code,
        reason = "a child without a program of its own: there may be none on this machine that sets terminals"
    )]
    fn start(held: &Held) -> io::Result<Self> {
        let (reader, alive) = pipe_with(PipeFlags::CLOEXEC)?;
        // SAFETY: the child has a copy of this thread alone, with all signals blocked, and does only what may be done after a fork
        // of a process with threads: system calls.
        let (pid, failed) = unsafe {
            let (mut all, mut old) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
            let pid = libc::fork();
            if pid == 0 {
                guard(held, reader.as_raw_fd());
            }
            let failed = io::Error::last_os_error();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, ptr::null_mut());
            (pid, failed)
        };
        if pid < 0 { Err(failed) } else { Ok(Self { pid, _alive: alive }) }
    }

    /// Sends it away: the terminal is as it was.
    #[expect(unsafe_code, reason = "a child is ended and waited for")]
    fn dismiss(self) {
        // SAFETY: it is our child, and nobody else waits for it, so the number is its own. A signal that cannot be refused: it may
        // have been stopped.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            while libc::waitpid(self.pid, ptr::null_mut(), 0) < 0 && *libc::__errno_location() == libc::EINTR {}
        }
    }
}

/// The guardian's life. All signals are blocked, that of setting a terminal from the background with them.
#[expect(unsafe_code, reason = "a forked child makes system calls only")]
fn guard(held: &Held, alive: RawFd) -> ! {
    let terminal = held.file.as_raw_fd();
    // SAFETY: no pointers but to local memory. It must hold nothing of its parent's open: files would stay locked, pipes without end.
    unsafe {
        // A signal to the parent's group is not for it.
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_NAME, c"bringup-tty".as_ptr());
        let (low, high) = (terminal.min(alive), terminal.max(alive));
        for (first, last) in [(0, low - 1), (low + 1, high - 1), (high + 1, i32::MAX)] {
            if first <= last && libc::syscall(libc::SYS_close_range, first, last, 0) != 0 {
                // A kernel before 5.9.
                (first..=last.min(4096)).for_each(|file| {
                    libc::close(file);
                });
            }
        }
        let mut byte = 0_u8;
        while libc::read(alive, (&raw mut byte).cast(), 1) < 0 && *libc::__errno_location() == libc::EINTR {}
        // The parent is gone. Who was faster than we (a shell) set the terminal for itself.
        if settings(terminal).is_ok_and(|now| same(&now, &held.raw)) {
            let _ = set(terminal, &held.old);
        }
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let file = tempfile::tempfile().unwrap();
        assert!(Terminal::raw(file.as_fd()).unwrap().is_none());
    }
}
