//! `bringup upstream`: input that it cannot use, and modules built in a real kernel tree where there is one.

use std::path::Path;

use crate::command::{Room, skip};

/// Names a directory that a kernel with Rust was configured and built in.
const BUILD: &str = "BRINGUP_KERNEL_BUILD";

#[test]
fn bundled_drivers_build_in_a_kernel_tree() {
    let Some(tree) = std::env::var_os(BUILD).filter(|tree| !tree.is_empty()) else {
        return skip("upstream build", &format!("{BUILD} does not name a built kernel with Rust"));
    };
    let tree = Path::new(&tree).canonicalize().expect("the kernel is there");
    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers").canonicalize().expect("they are there");
    let zoo = ["edu_caps", "edu_copy", "edu_irq", "edu_listen", "edu_steps", "edu_tick", "edu_work", "cq"];
    for (folder, name) in [("edu", "edu"), ("first", "first")].into_iter().chain(zoo.map(|name| ("zoo", name))) {
        let room = Room::new();
        let driver = drivers.join(folder).join(format!("{name}.rs"));
        let command = format!("upstream build {} --kernel-tree {}", driver.display(), tree.display());
        let said = room.bringup(&command);
        assert_eq!((said.status, said.out), (0, format!("built {name}.ko\n")), "{}", said.err);
        assert_eq!(&std::fs::read(room.path(&format!("{name}.ko"))).unwrap()[..4], b"\x7fELF");
    }
}

#[test]
fn kernel_tree_has_to_be_named() {
    let room = Room::new();
    room.put("driver.rs", "");
    assert!(room.bringup("upstream build driver.rs").refusal().contains("--kernel-tree"));
}

#[test]
fn tree_that_is_not_there_or_not_configured_is_named() {
    let room = Room::new();
    room.put("driver.rs", "");
    let refusal = |tree: &str| {
        let said = room.bringup(&format!("upstream build driver.rs --kernel-tree {tree}"));
        said.refusal().to_owned()
    };
    assert_eq!(refusal("nowhere"), "cannot find nowhere: No such file or directory");
    std::fs::create_dir(room.path("tree")).unwrap();
    assert!(refusal("tree").contains("is no configured kernel tree: it has no .config"));
    room.put("tree/.config", "CONFIG_MODULES=y\n# CONFIG_RUST is not set\n");
    assert!(refusal("tree").ends_with("is configured without Rust (CONFIG_RUST)"));
    assert_eq!(room.names(), ["driver.rs", "tree"]);
}

#[test]
fn place_where_no_module_can_be_written_is_named_before_one_is_built() {
    let room = Room::new();
    room.put("driver.rs", "");
    let said = room.bringup("upstream build driver.rs --kernel-tree nowhere --output no/driver.ko");
    assert_eq!(said.refusal(), "cannot write no/driver.ko: No such file or directory");
}

#[test]
fn driver_that_cannot_be_read_is_named_before_the_tree_is_looked_at() {
    let room = Room::new();
    for command in ["build", "run"] {
        let refusal = |driver: &str| {
            room.bringup(&format!("upstream {command} {driver} --kernel-tree nowhere")).refusal().to_owned()
        };
        assert_eq!(refusal("nothing.rs"), "cannot read nothing.rs: No such file or directory");
        assert_eq!(refusal("."), "cannot read .: it is no file");
        assert!(refusal("/dev/zero").starts_with("cannot read /dev/zero: it is a pipe, a socket or a device"));
    }
}
