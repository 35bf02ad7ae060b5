//! What compiles here and would not in a kernel tree, as far as it can be told after a build.

use std::io;
use std::path::{Path, PathBuf};

use super::source::std_uses;

/// What a surviving `build_assert!` leaves in a program, with underscores for its hyphens: the text itself would be found in
/// every runner, since this function is part of it.
const MARKER: &[u8] = b"bringup_build_error";

/// As rustc colours it; the colour is removed where it cannot be shown.
const WARNING: &str = "\x1b[1m\x1b[33mwarning\x1b[0m";

/// The warnings, each a line in rustc's manner.
///
/// # Errors
/// When the runner or a source cannot be read.
pub(crate) fn warnings(given: &str, sources: &[PathBuf], runner: &Path) -> io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for source in sources {
        let bytes = std::fs::read(source)?;
        for found in std_uses(&String::from_utf8_lossy(&bytes)) {
            let (file, line, what) = (source.display(), found.line, found.what);
            warnings.push(format!(
                "{WARNING}: {file}:{line}: {what} is not available in the kernel; use core:: or kernel::\n"
            ));
        }
    }
    // Without optimisation every such assertion is there, proven or not.
    if !cfg!(debug_assertions) && has_marker(&std::fs::read(runner)?) {
        warnings.push(format!(
            "{WARNING}: {given}: a build_assert! is left that the optimiser cannot prove (an infallible register access whose \
             offset is no constant, as a rule); the kernel's build will refuse to link it: use the try_ form\n"
        ));
    }
    Ok(warnings)
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

    #[test]
    fn each_use_of_the_standard_library_is_a_line_with_its_place() {
        let room = tempfile::tempdir().unwrap();
        let source = room.path().join("driver.rs");
        std::fs::write(&source, "\nuse std::fs;\n").unwrap();
        let found = warnings("driver.rs", std::slice::from_ref(&source), &source).unwrap();
        let place = format!("{WARNING}: {}:2: std:: is not", source.display());
        assert!(found.len() == 1 && found[0].starts_with(&place), "{found:?}");
    }
}
