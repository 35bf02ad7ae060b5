//! User space: open files, and the system calls on them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

use bringup_core::trace::Event;

use crate::bench::Bench;
use crate::file::{CharDevice, OpenFile};
use crate::machine::{self, Machine, try_with, with};
use crate::rt;
use crate::rt::errno::{EBADF, EBUSY, ENOENT};
use crate::task;

/// A negative error number, as the kernel returns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({})", self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(-self.0).to_string();
        match text.split_once(" (os error") {
            Some((text, _)) => write!(f, "{text} (errno {})", -self.0),
            None => write!(f, "errno {}", -self.0),
        }
    }
}

impl std::error::Error for Errno {}

/// An open file of a process. These are the system calls; they run in the task that makes them. For use inside
/// [`Bench::run`] and [`Bench::spawn`].
pub struct File {
    name: Rc<str>,
    /// What is taken in its calls, and not given back, is this module's.
    module: u32,
    pins: bool,
    inner: RefCell<Option<Box<dyn OpenFile>>>,
    pos: Cell<i64>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({})", self.name)
    }
}

/// Opens `/dev/NAME` in the running task.
///
/// # Errors
/// `ENOENT` when there is no such device, and the driver's own.
pub fn open(name: &str) -> Result<File, Errno> {
    let found = with(|m| {
        let chardev = m.chardevs.iter().find(|chardev| chardev.name == name)?;
        Some((chardev.ops.clone(), chardev.module))
    });
    let (ops, module) = found.map_or((None, 0), |(ops, module)| (Some(ops), module));
    open_ops(name, ops, module, true)
}

/// Opens a debugfs file by its path below the root of debugfs.
///
/// # Errors
/// `ENOENT` when there is no such file, and the driver's own.
pub fn open_debugfs(path: &str) -> Result<File, Errno> {
    let ops = with(|m| m.debugfs.iter().find(|node| m.debugfs_path(node) == path).and_then(|node| node.ops.clone()));
    open_ops(path, ops, 0, false)
}

/// `pins`: an open file keeps its module from being unloaded. debugfs files have no owner in Rust drivers, and do not.
fn open_ops(name: &str, ops: Option<Rc<dyn CharDevice>>, module: u32, pins: bool) -> Result<File, Errno> {
    let result = match ops {
        Some(ops) => task::in_module(module, || ops.open()),
        None => Err(ENOENT),
    };
    rt::lock::nothing_held(TO_USER);
    with(|m| {
        let code = result.as_ref().err().copied().unwrap_or(0);
        m.event(|| Event::Call { what: "open", file: name.into(), result: i64::from(code) });
        if code == 0 && pins {
            m.open_files += 1;
        }
    });
    let inner = result.map_err(Errno)?;
    Ok(File { name: name.into(), module, pins, inner: RefCell::new(Some(inner)), pos: Cell::new(0) })
}

/// When a system call ends.
const TO_USER: &str = "when it returns to user space";

impl File {
    fn call(&self, what: &'static str, f: impl FnOnce(&mut dyn OpenFile, &mut i64) -> isize) -> Result<usize, Errno> {
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return Err(Errno(EBUSY)) };
        let Some(open) = inner.as_deref_mut() else { return Err(Errno(EBADF)) };
        let mut pos = self.pos.get();
        let result = task::in_module(self.module, || f(open, &mut pos));
        self.pos.set(pos);
        rt::lock::nothing_held(TO_USER);
        with(|m| m.event(|| Event::Call { what, file: self.name.to_string(), result: result as i64 }));
        usize::try_from(result).map_err(|_| Errno(result as i32))
    }

    /// Reads into `into`, at the file's position.
    ///
    /// # Errors
    /// The driver's.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let len = into.len();
        // What the driver writes is the user's, whatever it returns.
        let lent = NonNull::from(into);
        // SAFETY: the buffer is borrowed until this returns, and `Lent` takes it back before, also when the driver panics. If
        // this never returns, either the life has crashed, after which user memory is not used (`Machine::user_memory`), or all
        // tasks are abandoned, and user memory with them.
        let buffer = Lent(with(|m| unsafe { m.user.lend(lent) }));
        self.call("read", |open, pos| open.read(buffer.0, len, pos))
    }

    /// Writes `from`, at the file's position.
    ///
    /// # Errors
    /// The driver's.
    pub fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        let buffer = with(|m| m.user.map(from.to_vec()));
        let result = self.call("write", |open, pos| open.write(buffer, from.len(), pos));
        with(|m| m.user.unmap(buffer));
        result
    }

    /// A control operation whose argument is a number.
    ///
    /// # Errors
    /// The driver's.
    pub fn ioctl(&self, command: u32, argument: usize) -> Result<usize, Errno> {
        self.call("ioctl", |open, _| open.ioctl(command, argument))
    }

    /// A control operation whose argument points to `data`, which the driver may read and write.
    ///
    /// # Errors
    /// The driver's.
    pub fn ioctl_with(&self, command: u32, data: &mut [u8]) -> Result<usize, Errno> {
        let buffer = with(|m| m.user.map(data.to_vec()));
        let result = self.call("ioctl", |open, _| open.ioctl(command, buffer));
        let bytes = with(|m| m.user.unmap(buffer));
        data.copy_from_slice(&bytes);
        result
    }

    /// Says at which position the next read or write is, as `pread` and `pwrite` do. (`lseek` itself fails on a misc device of a
    /// Rust driver: the kernel gives it none.)
    pub fn seek(&self, pos: i64) {
        self.pos.set(pos);
    }
}

/// A buffer that is lent to user memory.
struct Lent(usize);

impl Drop for Lent {
    fn drop(&mut self) {
        try_with(|m| m.user.unmap(self.0));
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let Some(inner) = self.inner.get_mut().take() else { return };
        if rt::is_crashed() || rt::current_task().is_none() {
            // Nobody can run the driver's release any more.
            std::mem::forget(inner);
            return;
        }
        task::in_module(self.module, || inner.release());
        let pinned = u32::from(self.pins);
        try_with(|m| {
            m.open_files = m.open_files.saturating_sub(pinned);
            m.event(|| Event::Call { what: "close", file: self.name.to_string(), result: 0 });
        });
    }
}

/// An open file of the bench itself: every call runs as a process of its own, to its end.
#[derive(Debug)]
pub struct BenchFile<'a> {
    bench: &'a Bench,
    file: Option<File>,
}

impl<'a> BenchFile<'a> {
    pub(crate) fn new(bench: &'a Bench, file: File) -> Self {
        Self { bench, file: Some(file) }
    }
}

impl BenchFile<'_> {
    fn with<R>(&self, name: &str, f: impl FnOnce(&File) -> Result<R, Errno>) -> Result<R, Errno> {
        let file = self.file.as_ref().ok_or(Errno(EBADF))?;
        self.bench.run(name, || f(file))?
    }

    /// Reads into `into`, at the file's position.
    ///
    /// # Errors
    /// The driver's.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        self.with("read", |file| file.read(into))
    }

    /// Writes `from`, at the file's position.
    ///
    /// # Errors
    /// The driver's.
    pub fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        self.with("write", |file| file.write(from))
    }

    /// A control operation whose argument is a number.
    ///
    /// # Errors
    /// The driver's.
    pub fn ioctl(&self, command: u32, argument: usize) -> Result<usize, Errno> {
        self.with("ioctl", |file| file.ioctl(command, argument))
    }

    /// A control operation whose argument points to `data`, which the driver may read and write.
    ///
    /// # Errors
    /// The driver's.
    pub fn ioctl_with(&self, command: u32, data: &mut [u8]) -> Result<usize, Errno> {
        self.with("ioctl", |file| file.ioctl_with(command, data))
    }

    /// Says at which position the next read or write is, as `pread` and `pwrite` do.
    pub fn seek(&self, pos: i64) {
        if let Some(file) = &self.file {
            file.seek(pos);
        }
    }
}

impl Drop for BenchFile<'_> {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.bench.is_crashed() {
            drop(file);
            return;
        }
        // A driver that fails here has filed its finding.
        let _ = self.bench.run("close", move || drop(file));
    }
}

impl Machine {
    pub(crate) fn debugfs_path(&self, node: &machine::DebugNode) -> String {
        let mut path = node.name.clone();
        if node.ops.is_none() {
            path.push('/');
        }
        let mut parent = node.parent;
        while let Some(up) = parent.and_then(|id| self.debugfs.iter().find(|node| node.id == id)) {
            path = format!("{}/{path}", up.name);
            parent = up.parent;
        }
        path
    }
}
