//! The first file system of a guest, made on the fly: a static busybox, modules, files, and an init that loads the modules, runs
//! commands or a shell, says how that ended and turns the guest off.

mod archive;
mod busybox;
pub(crate) mod console;
mod files;
mod init;
mod kernel_log;

use std::path::PathBuf;

use crate::failure::{Failure, read, remark};
use archive::Archive;
use busybox::Busybox;
use files::Files;

pub(crate) use init::{Channel, Purpose, failed_module_on_channel, status_on_channel, status_on_console};

/// What a guest is made of.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    /// A statically linked busybox; else the one on the PATH.
    pub(crate) busybox: Option<PathBuf>,
    /// Loaded in this order.
    pub(crate) modules: &'a [PathBuf],
    /// Files, and directories with all that is in them, for the guest's `/p`.
    pub(crate) shares: &'a [PathBuf],
    /// What happens once the modules are loaded.
    pub(crate) purpose: Purpose<'a>,
    /// Functions (`0000:00:03.0`) that are given to a driver before it is loaded, whatever other driver has them.
    pub(crate) taken: &'a [(String, String)],
    /// The modules are unloaded again, in the opposite order.
    pub(crate) unloads: bool,
    /// How its init says how it ended.
    pub(crate) channel: Channel,
    /// It comes after an initrd of the user's: nothing in that is touched.
    pub(crate) beside: bool,
    /// The most bytes that it may have.
    pub(crate) most: u64,
}

impl Guest<'_> {
    /// The archive.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it has to be, two have one name, or all of it is too much.
    pub(crate) fn archive(&self) -> Result<Vec<u8>, Failure> {
        let mut files = Files::new(self.most);
        let modules = self.modules.iter().map(|path| files.module(path)).collect::<Result<Vec<_>, _>>()?;
        for path in self.shares {
            files.share(path)?;
        }
        files.left_out().iter().for_each(|line| remark(line));
        let busybox = Busybox::find(self.busybox.as_deref())?;
        let mut archive: Archive = files.finish();
        let bin = if self.beside { "bringup/bin" } else { "bin" };
        if !self.beside {
            // The kernel makes /dev for the console before it takes this.
            ["bin", "dev", "proc", "sys", "tmp"].iter().for_each(|folder| archive.directory(folder));
        }
        archive.directory("bringup");
        archive.directory(bin);
        archive.file(format!("{bin}/busybox"), 0o755, &read(&busybox.0)?);
        archive.file("p/take", 0o755, init::take(bin).as_bytes());
        if let Purpose::Commands(commands) = self.purpose {
            archive.file("bringup/commands", 0o644, format!("{commands}\n").as_bytes());
        }
        archive.file(init::path(self.beside), 0o755, self.script(bin, &modules).as_bytes());
        Ok(archive.finish())
    }

    /// What the kernel's command line needs, so that it runs this guest's init.
    pub(crate) fn command_line(&self) -> String {
        if self.beside { format!("rdinit=/{}", init::path(true)) } else { String::new() }
    }
}
