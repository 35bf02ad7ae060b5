//! `bringup vm`: what cannot be a machine, each with one clear line and exit status 2.

use std::process::Command;

use crate::command::{Room, Said, skip};

/// A kernel that is only looked for, and an ELF file that is called a static busybox.
fn room() -> Room {
    let room = Room::new();
    room.put("kernel", "a kernel");
    room.put("busybox", elf(2));
    room.put("good.ko", elf(1));
    room
}

/// The head of an ELF file for x86-64 of this type: 1 for what is to be linked, 2 for a program.
fn elf(kind: u8) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01".to_vec();
    file.resize(64, 0);
    (file[16], file[18]) = (kind, 62);
    file
}

fn refusal(room: &Room, arguments: &str) -> String {
    room.bringup(&format!("vm {arguments}")).refusal().to_owned()
}

#[test]
fn kernel_has_to_be_named_and_readable() {
    let room = room();
    assert!(refusal(&room, "").contains("--kernel"));
    assert_eq!(refusal(&room, "--kernel nowhere"), "cannot read nowhere: No such file or directory");
    assert_eq!(refusal(&room, "--kernel ."), "cannot read .: Is a directory");
}

#[test]
fn sizes_and_counts_that_no_machine_has_are_named() {
    let room = room();
    for (option, words) in [
        ("--memory 0", "0 MiB of memory are too few for a machine; it takes 2 MiB or more"),
        ("--memory 1", "1 MiB of memory are too few for a machine"),
        ("--seed x", "it takes a number from 0 to 18446744073709551615"),
        ("--memory lots", "it takes a number of MiB, or one with a unit: 512, 512M, 2G"),
        ("--memory -1", "'-1'"),
        ("--memory 999999G", "are too much: "),
        ("--memory 99999999999999G", "is more than any machine has"),
        ("--cpus 0", "a machine has 1 to 254 CPUs"),
        ("--cpus 300", "a machine has 1 to 254 CPUs"),
        ("--timeout 0", "it takes a number of seconds"),
    ] {
        let said = refusal(&room, &format!("--kernel kernel {option}"));
        assert!(said.contains(words), "{option}: {said}");
    }
}

#[test]
fn devices_that_cannot_be_plugged_in_are_named() {
    let room = room();
    room.put("disk.img", vec![0; 4096]);
    assert_eq!(refusal(&room, "--kernel kernel --device edo"), "unknown device \"edo\"; did you mean \"edu\"?");
    assert!(refusal(&room, "--kernel kernel --device acpi,hid=LNUXBEEF").starts_with("cannot plug acpi,hid=LNUXBEEF"));
    // At once, whatever its options are.
    let why = "cannot plug acpi into a virtual machine: what its firmware tells of are PCI devices";
    assert_eq!(refusal(&room, "--kernel kernel --device acpi"), why);
    let twice = "--kernel kernel --device virtio-blk,image=disk.img --device virtio-blk,image=disk.img";
    assert!(refusal(&room, twice).starts_with("virtio-blk: disk.img is in use"));
    let many = "--kernel kernel".to_owned() + &" --device edu".repeat(29);
    assert_eq!(refusal(&room, &many), "a bus holds 28 devices");
}

#[test]
fn files_for_the_guest_that_cannot_be_used_are_named() {
    let room = room();
    room.put("text.ko", "no module");
    room.put("zst.ko", b"\x28\xb5\x2f\xfd");
    room.put("program.ko", elf(2));
    for (option, said) in [
        ("--module nowhere.ko", "cannot read nowhere.ko: No such file or directory"),
        ("--module text.ko", "text.ko is no kernel module: it is no ELF file"),
        ("--module zst.ko", "zst.ko is no kernel module: it is compressed; unzstd it first"),
        ("--module program.ko", "program.ko is no kernel module: it is an ELF file of another type, such as a program"),
        ("--share nowhere", "cannot read nowhere: No such file or directory"),
        ("--module good.ko --share good.ko", "cannot put good.ko into the guest: there is a /p/good.ko already"),
        ("--initrd nowhere", "cannot read nowhere: No such file or directory"),
    ] {
        assert_eq!(refusal(&room, &format!("--kernel kernel --busybox busybox {option}")), said);
    }
}

#[test]
fn what_may_never_end_is_refused_and_not_waited_for() {
    let room = room();
    let made = Command::new("mkfifo").arg(room.path("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo makes a pipe");
    for file in ["pipe", "/dev/zero"] {
        let said =
            format!("cannot read {file}: it is a pipe, a socket or a device; put what it gives into a regular file");
        let options =
            ["initrd", "plan", "module", "share", "run x --busybox"].map(|o| format!("--kernel kernel --{o}"));
        for option in options.iter().map(String::as_str).chain(["--kernel"]) {
            assert_eq!(refusal(&room, &format!("{option} {file}")), said, "{option}");
        }
    }
}

#[test]
fn what_a_shared_directory_holds_that_is_no_file_is_named() {
    let room = room();
    std::fs::create_dir(room.path("tree")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(room.path("tree/socket")).unwrap();
    let said = room.bringup("vm --kernel kernel --busybox busybox --share tree");
    assert_eq!(said.status, 2);
    assert!(said.err.starts_with("note: not shared, as they are sockets, pipes or devices: tree/socket\n"), "{said:?}");
}

#[test]
fn places_where_no_socket_for_gdb_can_be_are_named() {
    let room = room();
    let gdb = |path: &str| refusal(&room, &format!("--kernel kernel --gdb {path}"));
    assert_eq!(gdb("no/gdb"), "cannot make a socket for gdb at no/gdb: there is no directory no");
    assert_eq!(gdb("."), "cannot make a socket for gdb at .: it is a directory");
    assert!(gdb(&"x".repeat(108)).ends_with("has at most 107 bytes, and this one has 108; name a shorter one"));
}

#[test]
fn guest_needs_a_busybox_that_needs_nothing() {
    let room = room();
    let none = room.bringup_with("vm --kernel kernel --run true", &[("PATH", "")]);
    assert!(none.refusal().starts_with("no busybox on the PATH: install"), "{none:?}");
    assert!(refusal(&room, "--kernel kernel --run true --busybox kernel").ends_with("that a guest could run"));
    let this = std::env::current_exe().unwrap();
    let dynamic = refusal(&room, &format!("--kernel kernel --run true --busybox {}", this.display()));
    assert!(dynamic.contains("is linked dynamically"), "{dynamic}");
    assert!(refusal(&room, "--kernel kernel --busybox busybox").starts_with("nothing has a use for the busybox"));
}

#[test]
fn plans_and_traces_that_cannot_be_are_refused_before_anything_runs() {
    let room = room();
    room.put("plan", "version = 7");
    assert_eq!(refusal(&room, "--kernel kernel --plan nowhere"), "cannot read nowhere: No such file or directory");
    assert!(refusal(&room, "--kernel kernel --plan plan").starts_with("bad fault plan plan: it is of version 7"));
    assert!(refusal(&room, "--kernel kernel --trace t.pcap").contains("cannot tell the form of the trace"));
    assert!(refusal(&room, "--kernel kernel --trace t.pcapng").starts_with("t.pcapng would be empty"));
    std::fs::create_dir(room.path("dir.txt")).unwrap();
    let trace = |name: &str| refusal(&room, &format!("--kernel kernel --trace {name}"));
    assert_eq!(trace("no/t.txt"), "cannot write the trace to no/t.txt: No such file or directory");
    assert_eq!(trace("dir.txt"), "cannot write the trace to dir.txt: Is a directory");
    // One that could be written is not there before there is a trace, nor is anything beside it.
    assert!(trace("t.txt").starts_with("kernel: "));
    assert_eq!(room.names(), ["busybox", "dir.txt", "good.ko", "kernel", "plan"]);
}

#[test]
fn file_that_is_no_kernel_is_named() {
    let room = room();
    for content in [&b"hello, world"[..], &[0; 4096], b"\x7fELF", b"\x7fELF\x02\x01 and no more than that"] {
        room.put("kernel", content);
        assert!(refusal(&room, "--kernel kernel").starts_with("kernel: "));
    }
}

#[test]
fn no_kvm_is_one_line_that_says_what_to_do() {
    // A /dev of its own, with nothing in it, and a kernel that could be loaded: one segment, of a program's head, at 1 MiB.
    let room = room();
    let mut kernel = elf(2);
    kernel[26] = 0x10; // the entry
    kernel[32] = 64; // the program headers
    (kernel[54], kernel[56]) = (56, 1);
    let words: [u64; 7] = [1, 0, 0, 0x10_0000, 64, 64, 0];
    kernel.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    room.put("kernel", kernel);
    let inner = room.command("vm --kernel kernel");
    let words = inner.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let script = format!("mount -t tmpfs none /dev && exec {} {words}", inner.get_program().to_string_lossy());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", &script]).current_dir(room.path("."));
    let Ok(output) = command.output() else { return skip("a host without KVM", "there is no unshare") };
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    if err.starts_with("unshare:") || err.starts_with("mount:") {
        return skip("a host without KVM", err.trim());
    }
    let said = Said { status: output.status.code().unwrap_or(-1), out: String::new(), err };
    assert!(said.refusal().starts_with("cannot use /dev/kvm: there is none; load the module"), "{said:?}");
}

#[test]
fn doors_refuse_what_is_the_other_doors() {
    let room = room();
    room.put("driver.rs", "");
    let refusal =
        |more: &str| room.bringup(&format!("upstream run driver.rs --kernel-tree nowhere {more}")).refusal().to_owned();
    assert!(refusal("--door vm --drive if=none").starts_with("--drive is QEMU's"));
    assert!(refusal("--timeout 3").contains("--door vm"));
    assert!(refusal("--no-seccomp").contains("--door vm"));
    assert!(refusal("--door sea").contains("qemu, vm"));
    assert!(refusal("--door vm --device acpi").starts_with("cannot plug acpi into a virtual machine"));
    assert_eq!(refusal("--door vm"), "cannot find nowhere: No such file or directory");
}
