//! Files: open ones, and single reads and writes of them.

pub mod file;
mod kiocb;
pub(crate) mod syscall;

pub use file::{File, LocalFile};
pub use kiocb::Kiocb;
