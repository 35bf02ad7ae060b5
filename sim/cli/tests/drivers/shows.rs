//! A module with two debugfs files: one that is read, one that is only written.

use core::str::FromStr;

use kernel::{debugfs::Dir, prelude::*, str::CString};
