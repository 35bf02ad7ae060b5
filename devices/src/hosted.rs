//! How what the host says, and its files' names, stand in messages.

use std::io;
use std::path::Path;

/// What the system said, without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// A path on one line.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string().replace(|c: char| c.is_control(), "?")
}
