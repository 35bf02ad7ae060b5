//! The bundled virtio drivers on the command line: what they do to an image, and that they do it again.

use crate::command::Room;
use serde_json::{Value, json};

/// Bytes of which no two stretches are the same.
pub(crate) fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(7) >> 23) as u8).collect()
}

/// A disk with something on every sector: 1 MiB.
pub(crate) fn image() -> Vec<u8> {
    pattern(1 << 20)
}

fn content(room: &Room, name: &str) -> Vec<u8> {
    std::fs::read(room.path(name)).unwrap()
}

fn crc32(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

/// What of a bench's report is the same each time: all but what the host did.
fn reproducible(mut report: Value) -> Value {
    report["exercise"]["rate"]["host_per_second"] = Value::Null;
    report
}

#[test]
fn image_that_nothing_is_asked_of_stays_byte_for_byte() {
    for options in ["", ",packed=on", ",num-queues=4", ",packed=on,num-queues=4,event_idx=off,queue-size=4"] {
        let room = Room::new();
        room.put("disk.img", image());
        let report = room.bringup(&format!("run virtio_blk --device virtio-blk,image=disk.img{options} --json")).json();
        assert_eq!((&report["exit"], &report["findings"]), (&json!(0), &json!([])), "{options}: {report}");
        assert_eq!(report["exercise"]["read"], json!({"bytes": 1 << 20, "crc32": crc32(&image()), "to": null}));
        assert_eq!(report["exercise"]["rewritten"]["places"], 3);
        assert!(content(&room, "disk.img") == image(), "{options}");
        assert_eq!(room.names(), ["disk.img"]);
    }
}

#[test]
fn input_lands_at_sector_0_and_the_rest_of_the_image_stays() {
    for options in ["", ",packed=on,num-queues=2", ",logical_block_size=4096", ",queue_reset=off,indirect_desc=off"] {
        let room = Room::new();
        let input: Vec<u8> = pattern(300_001).iter().map(|byte| !byte).collect();
        room.put("disk.img", image());
        room.put("file", &input);
        let command = format!("run virtio_blk --device virtio-blk,image=disk.img{options} --input file --json");
        let report = room.bringup(&command).json();
        assert_eq!(report["exit"], 0, "{options}: {report}");
        let written = json!({"bytes": 300_001, "crc32": crc32(&input), "flushed": true});
        assert_eq!(report["exercise"]["written"], written);
        assert_eq!(report["exercise"]["read back"]["same"], true);
        let expected = [&input[..], &image()[300_001..]].concat();
        assert!(content(&room, "disk.img") == expected, "{options}");
    }
}

#[test]
fn output_equals_the_image_or_what_was_written_to_it() {
    let room = Room::new();
    room.put("disk.img", image());
    room.put("file", "not even a sector");
    let whole = room.bringup("run virtio_blk --device virtio-blk,image=disk.img --output whole");
    assert_eq!(whole.status, 0, "{whole:?}");
    assert!(whole.out.contains("  to whole\n"), "{}", whole.out);
    assert!(content(&room, "whole") == image());
    let part = room.bringup("run virtio_blk --device virtio-blk,image=disk.img --input file --output part");
    assert_eq!(part.status, 0, "{part:?}");
    assert_eq!(content(&room, "part"), b"not even a sector");
    assert_eq!(room.names(), ["disk.img", "file", "part", "whole"]);
}

#[test]
fn read_only_image_is_read_and_shared() {
    let room = Room::new();
    let path = room.put("disk.img", image());
    // Another reader is no obstacle.
    let other = std::fs::File::open(path).unwrap();
    other.lock_shared().unwrap();
    let said = room.bringup("run virtio_blk --device virtio-blk,image=disk.img,read-only=on --output copy");
    assert_eq!((said.status, &*said.err), (0, ""), "{}", said.out);
    assert!(content(&room, "copy") == image());
    let said = room.bringup("run virtio_blk --device virtio-blk,image=disk.img,read-only=on");
    assert!(said.out.contains("  rewritten   nothing: the disk is read-only\n"), "{}", said.out);
    assert!(content(&room, "disk.img") == image());
}

#[test]
fn two_disks_are_used_at_once_and_each_is_named() {
    let room = Room::new();
    room.put("a.img", image());
    room.put("b.img", pattern(512 * 9));
    room.put("file", "for the first one");
    let devices = "--device virtio-blk,image=a.img --device virtio-blk,image=b.img,packed=on";
    let report = room.bringup(&format!("run virtio_blk {devices} --input file --json")).json();
    assert_eq!((&report["exit"], &report["findings"]), (&json!(0), &json!([])), "{report}");
    assert_eq!(report["exercise"]["vblk0 written"]["bytes"], 17);
    assert_eq!(report["exercise"]["vblk1 disk"], json!({"node": "vblk1", "bytes": 4608, "block": 512}));
    assert!(content(&room, "a.img").starts_with(b"for the first one"));
    assert!(content(&room, "b.img") == pattern(512 * 9));
}

#[test]
fn same_image_twice_is_refused_because_it_is_in_use() {
    let room = Room::new();
    room.put("disk.img", image());
    let device = "--device virtio-blk,image=disk.img";
    let said = room.bringup(&format!("run virtio_blk {device} {device}"));
    assert!(said.refusal().contains("disk.img is in use: another process (or another device) has locked it"));
}

#[test]
fn bench_tells_reads_and_writes_and_is_the_same_again() {
    for (load, reads, writes) in
        [("randread", 600..=600, 0..=0), ("randwrite", 0..=0, 600..=600), ("randrw", 350..=490, 110..=250)]
    {
        let run = || {
            let room = Room::new();
            room.put("disk.img", image());
            let device = "--device virtio-blk,image=disk.img,num-queues=2";
            let command = format!("run virtio_blk {device} --bench {load},count=600,depth=8 --seed 11 --json");
            (reproducible(room.bringup(&command).json()), content(&room, "disk.img"))
        };
        let (report, after) = run();
        assert_eq!((&report["exit"], &report["findings"]), (&json!(0), &json!([])), "{report}");
        let exercise = &report["exercise"];
        assert_eq!(exercise["bench"]["load"], format!("{load},count=600,size=4096,depth=8"));
        let count = |what: &str| exercise["bench"][what].as_u64().unwrap();
        assert!(reads.contains(&count("reads")) && writes.contains(&count("writes")), "{exercise}");
        assert_eq!(count("reads") + count("writes"), 600);
        let [median, p99, max] =
            ["median_us", "p99_us", "max_us"].map(|name| exercise["latency"][name].as_f64().unwrap());
        assert!(0.0 < median && median <= p99 && p99 <= max, "{exercise}");
        assert!(exercise["rate"]["virtual_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(after == image(), load == "randread", "{load}");
        assert!((report, after) == run(), "{load} is another one the second time");
    }
}

#[test]
fn life_with_a_disk_is_replayed_to_the_same_trace() {
    for work in ["--input file --output copy", "--bench randrw,count=100,size=1K,depth=3", ""] {
        let room = Room::new();
        room.put("disk.img", image());
        room.put("file", pattern(70_000));
        let command = format!("run virtio_blk --device virtio-blk,image=disk.img,packed=on --seed 3 {work}");
        let first = room.bringup(&format!("{command} --save-choices life --trace a.txt --json"));
        assert_eq!(first.status, 0, "{first:?}");
        let copied = room.path("copy").exists().then(|| content(&room, "copy"));
        room.put("disk.img", image());
        let again = room.bringup("replay life --trace b.txt --json");
        // The command that runs it again is another one.
        let [mut first, mut again] = [&first, &again].map(|said| reproducible(said.json()));
        first["reproduce"] = Value::Null;
        again["reproduce"] = Value::Null;
        assert_eq!(first, again, "{work}");
        assert!(content(&room, "a.txt") == content(&room, "b.txt"), "{work}");
        assert_eq!(copied, room.path("copy").exists().then(|| content(&room, "copy")));
    }
}

#[test]
fn replay_leaves_the_file_of_output_alone() {
    let room = Room::new();
    room.put("disk.img", image());
    room.bringup("run virtio_blk --device virtio-blk,image=disk.img --output copy --save-choices life");
    room.put("copy", "mine");
    let said = room.bringup("replay life");
    assert_eq!((said.status, &*said.err), (0, ""));
    assert_eq!(content(&room, "copy"), b"mine");
}

#[test]
fn random_bytes_are_written_to_a_file_the_same_each_time() {
    let room = Room::new();
    for (name, options) in [("a", ""), ("b", ""), ("c", ",packed=on")] {
        let said = room.bringup(&format!("run virtio_rng --device virtio-rng{options} --output {name} --json")).json();
        assert_eq!((&said["exit"], &said["exercise"]["random"]["bytes"]), (&json!(0), &json!(1 << 20)), "{said}");
        assert_eq!(said["exercise"]["random"]["crc32"], crc32(&content(&room, name)));
    }
    assert_eq!(content(&room, "a").len(), 1 << 20);
    assert!(content(&room, "a") == content(&room, "b"));
}

#[test]
fn module_beside_a_driver_that_has_changed_is_named_by_replay() {
    let room = Room::at("parts");
    let main = "//! In two files.\nuse kernel::prelude::*;\nmod part;\nmodule! {\n    type: Two,\n    name: \"two\",\n    \
                authors: [\"Bringup\"],\n    description: \"In two files\",\n    license: \"GPL\",\n}\nstruct Two;\n\
                impl kernel::Module for Two {\n    fn init(_: &'static ThisModule) -> Result<Self> {\n        \
                pr_info!(\"{}\\n\", part::NUMBER);\n        Ok(Self)\n    }\n}\n";
    room.put("two.rs", main);
    room.put("part.rs", "//! A part.\npub(crate) const NUMBER: u8 = 1;\n");
    let said = room.bringup("run two.rs --save-choices life");
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(room.bringup("replay life").out, said.out);
    room.put("part.rs", "//! A part.\npub(crate) const NUMBER: u8 = 2;\n");
    assert_eq!(room.bringup("replay life").refusal(), "life: part.rs has changed since it was recorded");
    std::fs::remove_file(room.path("part.rs")).unwrap();
    assert_eq!(room.bringup("replay life").refusal(), "life: cannot read part.rs: No such file or directory");
}

#[test]
fn file_goes_through_network_and_console_and_comes_back_the_same() {
    for (driver, sent) in [("virtio_net", "sent"), ("virtio_console", "typed")] {
        for options in ["", ",packed=on"] {
            let room = Room::new();
            let input = pattern(20_000);
            room.put("file", &input);
            let device = driver.replace('_', "-");
            let command = format!("run {driver} --device {device}{options} --input file --output back --json");
            let report = room.bringup(&command).json();
            assert_eq!((&report["exit"], &report["findings"]), (&json!(0), &json!([])), "{driver}{options}: {report}");
            assert_eq!(report["exercise"][sent]["bytes"], 20_000, "{report}");
            assert!(content(&room, "back") == input, "{driver}{options}: {report}");
        }
    }
}

#[test]
fn every_packet_is_in_the_file_though_none_comes_back() {
    for options in ["", ",packed=on", ",queue-size=2"] {
        let room = Room::new();
        room.put("file", pattern(100 * 1400));
        let command = format!("run virtio_net --device virtio-net,pcap-out=out.pcapng{options} --input file --json");
        let report = room.bringup(&command).json();
        assert_eq!((&report["exit"], &report["exercise"]["sent"]["packets"]), (&json!(0), &json!(100)), "{report}");
        let file = content(&room, "out.pcapng");
        for piece in pattern(100 * 1400).chunks(1400) {
            assert!(file.windows(piece.len()).any(|window| window == piece), "{options}");
        }
    }
}

#[test]
fn packets_of_the_trace_are_those_that_were_sent_and_came_back() {
    let room = Room::new();
    room.put("file", pattern(3 * 1400));
    let report = room.bringup("run virtio_net --input file --trace packets.pcapng --json").json();
    assert_eq!((&report["exit"], &report["exercise"]["sent"]["packets"]), (&json!(0), &json!(3)), "{report}");
    let packets = bringup_devices::virtio::read_packets(&room.path("packets.pcapng")).unwrap();
    let holding = |piece: &[u8]| packets.iter().filter(|(_, packet)| packet.ends_with(piece)).count();
    // The default peer sends everything back.
    assert_eq!(pattern(3 * 1400).chunks(1400).map(holding).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(packets.is_sorted_by_key(|(at, _)| *at));
}
