//! What compiles here and would not in a kernel tree, as far as it can be told after a build.

use std::io;
use std::path::Path;

/// What a surviving `build_assert!` leaves in a program, with underscores for its hyphens: the text itself would be found in
/// every runner, since this function is part of it.
const MARKER: &[u8] = b"bringup_build_error";

/// As rustc colours it; the colour is removed where it cannot be shown.
const WARNING: &str = "\x1b[1m\x1b[33mwarning\x1b[0m";

/// The warning, a line in rustc's manner, if there is one to give.
///
/// # Errors
/// When the runner cannot be read.
pub(crate) fn warning(given: &str, runner: &Path) -> io::Result<Option<String>> {
    // Without optimisation every such assertion is there, proven or not.
    if cfg!(debug_assertions) || !has_marker(&std::fs::read(runner)?) {
        return Ok(None);
    }
    Ok(Some(format!(
        "{WARNING}: {given}: a build_assert! is left that the optimiser cannot prove (an infallible register access whose offset is \
         no constant, as a rule); the kernel's build will refuse to link it: use the try_ form\n"
    )))
}

fn has_marker(program: &[u8]) -> bool {
    program.windows(MARKER.len()).any(|window| {
        window.iter().zip(MARKER).all(|(byte, wanted)| *byte == if *wanted == b'_' { b'-' } else { *wanted })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_is_found_only_with_its_hyphens() {
        let text = ["x bringup", "build", "error: y"];
        assert!(has_marker(text.join("-").as_bytes()));
        assert!(!has_marker(text.join("_").as_bytes()));
        assert!(!has_marker(b"bringup"));
    }
}
