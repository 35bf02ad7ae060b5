//! Build script of every driver crate: drivers here are modules, as with `obj-m` in kbuild.

fn main() {
    println!("cargo:rustc-cfg=MODULE");
    println!("cargo:rerun-if-changed=../module.rs");
}
