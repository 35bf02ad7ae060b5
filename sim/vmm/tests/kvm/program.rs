//! The bare guest program, `bringup-guest`, built when it is first asked for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where it is. `BRINGUP_GUEST` names one that was built elsewhere.
///
/// # Panics
/// If it cannot be built.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(built) = std::env::var_os("BRINGUP_GUEST") {
            return built.into();
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "-p", "bringup-guest", "--profile", "guest", "--features", "bare"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", &target)
            // What the tests are compiled with (a sanitizer, coverage) is not for a bare machine.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the guest program is not built");
        target.join("guest/bringup-guest")
    })
}
