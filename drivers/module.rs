//! Build script of every driver crate: drivers here are modules, as with `obj-m` in kbuild.

use std::path::Path;

fn main() {
    println!("cargo:rustc-cfg=MODULE");
    // Drivers' packages lie at different depths below this file.
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = Path::new(&package).ancestors().map(|folder| folder.join("module.rs"));
    if let Some(script) = script.into_iter().find(|file| file.is_file()) {
        println!("cargo:rerun-if-changed={}", script.display());
    }
}
