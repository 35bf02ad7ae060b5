//! Commands that are killed in the middle of writing to a disk.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::command::Room;
use crate::virtio::{image, pattern};

/// Begins, and comes back when the driver has its disk: writing goes on.
fn begin(room: &Room, arguments: &str) -> Child {
    let inner = room.command(arguments);
    // What runs in the background may have inherited that signals are ignored.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT,TERM")
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(room.path("."));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("vblk0"), "{line}");
    child
}

fn kill(mut child: Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().code().is_none(), "it ended by itself, and is to be killed");
}

/// Waits until the file is as `wanted`; the command is at work meanwhile.
fn wait_for(room: &Room, name: &str, wanted: impl Fn(&[u8]) -> bool) {
    while !wanted(&std::fs::read(room.path(name)).unwrap()) {
        std::thread::yield_now();
    }
}

#[test]
fn image_outlives_a_kill_amid_writes() {
    for signal in ["-KILL", "-INT", "-TERM"] {
        let room = Room::new();
        room.put("disk.img", image());
        let child = begin(
            &room,
            "run virtio_blk --device virtio-blk,image=disk.img --bench randwrite,count=1000000000 --trace trace.txt \
             --save-choices life",
        );
        wait_for(&room, "disk.img", |disk| disk != image());
        kill(child, signal);
        assert_eq!(std::fs::read(room.path("disk.img")).unwrap().len(), 1 << 20);
        assert_eq!(room.names(), ["disk.img"], "{signal}");
        // The lock is gone, and all of it can be read and written.
        let said = room.bringup("run virtio_blk --device virtio-blk,image=disk.img --bench randrw,count=100");
        assert_eq!((said.status, &*said.err), (0, ""), "{signal}: {}", said.out);
    }
}

#[test]
fn what_was_flushed_is_there_and_sectors_are_whole_after_a_kill_amid_input() {
    let room = Room::new();
    let (first, second) = (pattern(400_000), vec![0x5a; 32 << 20]);
    room.put("disk.img", vec![0; 32 << 20]);
    room.put("file", &first);
    room.put("large", &second);
    let said = room.bringup("run virtio_blk --device virtio-blk,image=disk.img --input file");
    assert!(said.out.contains("  flushed\n"), "{}", said.out);
    let before = std::fs::read(room.path("disk.img")).unwrap();
    assert!(before.starts_with(&first));
    let child = begin(&room, "run virtio_blk --device virtio-blk,image=disk.img --input large");
    wait_for(&room, "disk.img", |disk| disk[..512] != before[..512]);
    kill(child, "-KILL");
    let after = std::fs::read(room.path("disk.img")).unwrap();
    assert_eq!(after.len(), 32 << 20);
    let sectors = after.chunks(512).zip(before.chunks(512)).zip(second.chunks(512));
    assert!(sectors.into_iter().all(|((now, old), new)| now == old || now == new));
    assert_eq!(room.bringup("run virtio_blk --device virtio-blk,image=disk.img").status, 0);
}

#[test]
fn output_of_a_run_that_is_killed_is_not_taken_for_a_whole_one() {
    let room = Room::new();
    room.put("disk.img", vec![7; 64 << 20]);
    room.put("copy", "old");
    let child = begin(&room, "run virtio_blk --device virtio-blk,image=disk.img --output copy");
    kill(child, "-KILL");
    assert_eq!(std::fs::read(room.path("copy")).unwrap(), b"old");
    // What is left of it says by its name what it is.
    let left: Vec<String> = room.names().into_iter().filter(|name| name != "copy" && name != "disk.img").collect();
    assert!(left.iter().all(|name| name.starts_with(".copy.") && name.ends_with(".part")), "{left:?}");
}
