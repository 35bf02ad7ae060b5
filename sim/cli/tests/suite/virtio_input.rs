//! What the virtio drivers' options refuse, and what becomes of a host that cannot do its part: one line, and the right status.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use crate::command::{Room, Said, skip};
use crate::virtio::{image, pattern};

fn refusal(room: &Room, arguments: &str) -> String {
    room.bringup(arguments).refusal().to_owned()
}

#[test]
fn images_that_are_none_are_refused_with_what_to_do() {
    let room = Room::new();
    std::fs::create_dir(room.path("folder")).unwrap();
    room.put("odd.img", [0; 1000]);
    room.put("empty.img", "");
    room.put("small.img", [0; 512]);
    let before = room.names();
    for (options, line) in [
        ("image=no.img", "cannot open no.img: No such file or directory; make one with \"truncate -s 64M no.img\""),
        ("image=no/disk.img", "cannot open no/disk.img: there is no directory no"),
        ("image=folder", "folder is a directory; an image is a file, such as folder/disk.img"),
        ("image=/dev/null", "/dev/null is not a regular file; copy what is in it to one"),
        (
            "image=odd.img",
            "odd.img has 1000 bytes, not a multiple of 512; fill it up with \"truncate -s %512 odd.img\"",
        ),
        ("image=empty.img", "empty.img is empty; make it larger with \"truncate -s 64M empty.img\""),
        ("image=small.img,size=1M", "size is for a device without an image: give one of the two"),
        ("image=small.img,logical_block_size=4096", "512 bytes are no multiple of logical_block_size 4096"),
    ] {
        assert_eq!(
            refusal(&room, &format!("run virtio_blk --device virtio-blk,{options}")),
            format!("virtio-blk: {line}")
        );
    }
    assert_eq!(room.names(), before);
}

#[test]
fn image_that_another_process_has_locked_is_refused() {
    let room = Room::new();
    room.put("disk.img", image());
    // Says that it has the lock, and keeps it until its input ends.
    let mut holder = Command::new("flock");
    holder.args(["disk.img", "sh", "-c", "echo locked; cat"]).current_dir(room.path("."));
    let Ok(mut holder) = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        return skip("locked image", "there is no flock");
    };
    let mut line = [0; 7];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut line).unwrap();
    let command = "run virtio_blk --device virtio-blk,image=disk.img";
    let wait = "another process (or another device) has locked it; wait until it ends, or use a copy";
    assert_eq!(refusal(&room, command), format!("virtio-blk: disk.img is in use: {wait}"));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(room.bringup(command).status, 0);
}

#[test]
fn image_that_the_user_may_not_open_is_refused() {
    let room = Room::new();
    let path = room.put("disk.img", image());
    let mode = |mode: u32| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    if std::fs::File::open(&path).is_ok() {
        return skip("unreadable image", "the user is root, who may open everything");
    }
    let allow = "cannot open disk.img: Permission denied; allow it with \"chmod u+rw disk.img\", or add read-only=on if \
                 reading is allowed";
    assert_eq!(refusal(&room, "run virtio_blk --device virtio-blk,image=disk.img"), format!("virtio-blk: {allow}"));
    let reading = "virtio-blk: cannot open disk.img: Permission denied; allow reading with \"chmod u+r disk.img\"";
    assert_eq!(refusal(&room, "run virtio_blk --device virtio-blk,image=disk.img,read-only=on"), reading);
    mode(0o444);
    assert_eq!(refusal(&room, "run virtio_blk --device virtio-blk,image=disk.img"), format!("virtio-blk: {allow}"));
    assert_eq!(room.bringup("run virtio_blk --device virtio-blk,image=disk.img,read-only=on").status, 0);
}

#[test]
fn options_that_do_not_exist_or_take_something_else_are_named() {
    let room = Room::new();
    for (options, line) in [
        ("packd=on", "virtio-blk has no option \"packd\"; did you mean \"packed\"?"),
        ("indirect=on", "virtio-blk has no option \"indirect\""),
        ("num-queues=0", "virtio-blk: num-queues takes "),
        ("num-queues=many", "virtio-blk"),
        ("packed=perhaps", "virtio-blk"),
        ("queue-size=100", "virtio-blk: queue-size takes "),
        ("size=100", "virtio-blk: size takes a multiple of 512"),
        ("serial=longer-than-twenty-bytes", "virtio-blk: serial takes up to 20 bytes, not 24"),
        ("odd=revison", "virtio-blk: odd takes words with + between them, and \"revison\" is none"),
        ("vectors=9999", "virtio-blk: vectors takes "),
    ] {
        let said = refusal(&room, &format!("run virtio_blk --device virtio-blk,{options}"));
        assert!(said.starts_with(line), "{options}: {said}");
        let option = options.split('=').next().unwrap();
        assert!(said.contains(option), "{options}: {said}");
    }
}

#[test]
fn work_that_the_disk_is_too_small_for_is_refused_and_nothing_is_changed() {
    let room = Room::new();
    room.put("disk.img", image());
    room.put("large", pattern((1 << 20) + 1));
    let before = room.names();
    let device = "run virtio_blk --device virtio-blk,image=disk.img";
    let larger = "--input has 1048577 bytes, and /dev/vblk0 only 1048576: give the device a larger image";
    assert_eq!(refusal(&room, &format!("{device} --input large")), larger);
    assert_eq!(refusal(&room, &format!("{device} --input large --output copy")), larger);
    let depth = "--bench randwrite,count=10000,size=131072,depth=16 needs a disk of 2097152 bytes, and /dev/vblk0 has \
                 1048576: lessen size= or depth=";
    assert_eq!(refusal(&room, &format!("{device} --bench randwrite,size=128K")), depth);
    assert_eq!(room.names(), before);
    assert!(std::fs::read(room.path("disk.img")).unwrap() == image());
}

#[test]
fn writing_to_a_read_only_disk_is_refused() {
    let room = Room::new();
    room.put("disk.img", image());
    room.put("file", "x");
    let device = "run virtio_blk --device virtio-blk,image=disk.img,read-only=on";
    let read_only = "/dev/vblk0 is read-only";
    assert_eq!(refusal(&room, &format!("{device} --input file")), format!("--input writes, and {read_only}"));
    assert_eq!(refusal(&room, &format!("{device} --bench randrw")), format!("--bench randrw writes, and {read_only}"));
    assert_eq!(room.bringup(&format!("{device} --bench randread,count=20")).status, 0);
    assert_eq!(room.names(), ["disk.img", "file"]);
}

#[test]
fn words_of_bench_that_mean_nothing_are_named() {
    let room = Room::new();
    for (load, word) in [
        ("seqread", "it begins with randread, randwrite or randrw, not \"seqread\""),
        ("randread,count=0", "count takes 1 to 1099511627776, not \"0\""),
        ("randread,size=100", "size takes a multiple of 512, not 100"),
        ("randread,size=1G", "size takes 1 to 16777216, not \"1G\""),
        ("randread,depth=-1", "depth takes 1 to 256, not \"-1\""),
        ("randread,fast", "it takes count=, size= and depth=, not \"fast\""),
    ] {
        let said = refusal(&room, &format!("run virtio_blk --bench {load}"));
        assert!(said.contains(word), "{load}: {said}");
    }
}

#[test]
fn work_that_a_driver_has_no_use_for_is_refused_with_those_that_have() {
    let room = Room::new();
    room.put("file", "x");
    for (arguments, beginning, able) in [
        ("virtio_rng --bench randread", "virtio_rng has no use for --bench; drivers that have: ", "virtio_blk"),
        ("edu --bench randread", "edu has no use for --bench; drivers that have: ", "virtio_blk"),
        ("edu --output copy", "edu has no use for --output; drivers that have: ", "virtio_rng"),
        ("virtio_rng --input file", "virtio_rng has no use for --input; drivers that have: ", "edu"),
    ] {
        let said = refusal(&room, &format!("run {arguments}"));
        assert!(said.starts_with(beginning) && said.contains(able), "{said}");
    }
    assert_eq!(room.names(), ["file"]);
}

#[test]
fn output_that_cannot_be_written_is_one_line() {
    let room = Room::new();
    room.put("disk.img", image());
    std::os::unix::fs::symlink("/dev/full", room.path("full")).unwrap();
    let device = "run virtio_blk --device virtio-blk,image=disk.img";
    assert_eq!(
        refusal(&room, &format!("{device} --output no/copy")),
        "cannot write to no/copy: No such file or directory"
    );
    assert_eq!(refusal(&room, &format!("{device} --output full")), "cannot write to full: No space left on device");
    assert_eq!(refusal(&room, "run virtio_rng --output full"), "cannot write to full: No space left on device");
    assert_eq!(refusal(&room, &format!("{device} --output .")), "cannot write to .: Is a directory");
    assert_eq!(room.names(), ["disk.img", "full"]);
}

/// Runs the command where no file may grow beyond half a megabyte: what a full disk says, said by every file system.
fn cramped(room: &Room, arguments: &str) -> Said {
    let command = room.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "sh"]).arg(command.get_program());
    shell.args(command.get_args()).current_dir(room.path("."));
    let Output { status, stdout, stderr } = shell.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

#[test]
fn full_disk_below_an_image_is_the_hosts_failure_and_not_the_drivers() {
    let room = Room::new();
    // Nothing of it is there yet.
    std::fs::File::create(room.path("disk.img")).unwrap().set_len(1 << 20).unwrap();
    room.put("file", image());
    let said = cramped(&room, "run virtio_blk --device virtio-blk,image=disk.img --input file");
    assert_eq!(said.refusal(), "cannot write disk.img: File too large");
    assert!(said.out.contains("  findings    none\n") && said.out.contains("  refused     write "), "{}", said.out);
    assert!(!said.out.contains("run it again"), "{}", said.out);
    let disk = std::fs::read(room.path("disk.img")).unwrap();
    assert_eq!(disk.len(), 1 << 20);
    assert!(disk.starts_with(&image()[..256 << 10]) && disk.ends_with(&[0; 256 << 10]));
    assert_eq!(room.names(), ["disk.img", "file"]);
}

#[test]
fn full_disk_below_output_leaves_the_old_file() {
    let room = Room::new();
    room.put("disk.img", image());
    room.put("copy", "old");
    let said = cramped(&room, "run virtio_blk --device virtio-blk,image=disk.img --output copy");
    assert_eq!(said.refusal(), "cannot write to copy: File too large");
    assert_eq!(std::fs::read(room.path("copy")).unwrap(), b"old");
    assert_eq!(room.names(), ["copy", "disk.img"]);
}
