//! Build script of every driver crate: drivers here are modules, as with `obj-m` in kbuild.

fn main() {
    println!("cargo:rustc-cfg=MODULE");
    // Nothing but this script itself, which cargo looks at anyway, makes it run again: without such a line any file of the package
    // would.
    println!("cargo:rerun-if-env-changed=BRINGUP_NO_SUCH_VARIABLE");
}
