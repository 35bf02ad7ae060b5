//! What files of the host do to devices: images that are wrong, locked, full or gone, and a process that is killed.
//!
//! Other processes are this test program again, told by the environment what to be.

mod board;
mod rig;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use bringup_devices::registry::{self, Workshop};
use bringup_devices::virtio::{Blk, BlkOptions, FileImage, VirtioPci};
use bringup_spec::virtio::blk::{feature, request, status};
use rig::{BASIC, Rig, Ring};

/// Says to this program's copy what it is, and with which file.
const ROLE: &str = "BRINGUP_TEST_ROLE";
const FILE: &str = "BRINGUP_TEST_FILE";

/// Runs this program's test `copy_of_this_program` in a role, until it says that it is ready.
fn copy(role: &str, file: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "copy_of_this_program", "--nocapture"])
        .env(ROLE, role)
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// The rest of the next line that has `mark` in it.
fn line_with(from: &mut impl BufRead, mark: &str) -> String {
    let lines = from.lines().map_while(Result::ok);
    let found = lines.filter_map(|line| line.split_once(mark).map(|(_, rest)| rest.trim().to_owned())).next();
    found.expect("the copy says so")
}

/// Nothing when the suite runs; the other process when a test calls it.
#[test]
fn copy_of_this_program() {
    let Some(file) = std::env::var_os(FILE) else { return };
    match std::env::var(ROLE).as_deref() {
        Ok("holder") => {
            let _image = FileImage::open(file.as_ref(), false).unwrap();
            println!("ready");
            // Until the other end is closed.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
        Ok("writer") => {
            let mut disk = Disk::new(file.as_ref());
            for number in 1.. {
                disk.write(number % 8, number as u8);
                assert_eq!(disk.request(request::FLUSH, 0, &[]), status::OK);
                println!("flushed {number}");
            }
        }
        _ => {}
    }
}

struct Disk {
    rig: Rig,
    ring: Ring,
    notices: bringup_devices::Notices,
}

impl Disk {
    fn new(file: &Path) -> Self {
        let blk = Blk::new(FileImage::open(file, false).unwrap(), BlkOptions::default());
        let notices = blk.notices();
        let mut rig = Rig::new(VirtioPci::new(blk));
        assert!(rig.negotiate(BASIC | 1 << feature::FLUSH));
        let ring = rig.queue(0, 4);
        rig.driver_ok();
        Self { rig, ring, notices }
    }

    fn request(&mut self, kind: u32, sector: u64, data: &[u8]) -> u8 {
        let head = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes(), data].concat();
        let chain = [self.rig.out(&head), self.rig.room(1)];
        self.rig.transact(&mut self.ring, &chain);
        self.rig.bytes(chain[1])[0]
    }

    fn write(&mut self, sector: u64, byte: u8) -> u8 {
        self.request(request::OUT, sector, &[byte; 512])
    }
}

fn image(directory: &tempfile::TempDir, len: u64) -> std::path::PathBuf {
    let path = directory.path().join("disk.img");
    File::create(&path).unwrap().set_len(len).unwrap();
    path
}

#[test]
fn what_was_flushed_is_there_after_the_process_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = image(&directory, 4096);
    let (mut child, mut stdout) = copy("writer", &path);
    let mut flushed = 0;
    while flushed < 50 {
        flushed = line_with(&mut stdout, "flushed").parse().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // It may have flushed more than was read until it was killed.
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 4096);
    for number in flushed - 7..=flushed {
        let sector = &bytes[(number % 8) as usize * 512..][..512];
        assert!(sector.iter().all(|byte| *byte == sector[0]), "no sector is half written");
        let later = sector[0].wrapping_sub(number as u8);
        assert!(later.is_multiple_of(8) && later < 128, "{number}: {}", sector[0]);
    }
}

#[test]
fn image_that_another_process_has_is_refused_until_that_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = image(&directory, 4096);
    let (mut child, mut stdout) = copy("holder", &path);
    line_with(&mut stdout, "ready");
    let refusal = FileImage::open(&path, false).unwrap_err().to_string();
    assert!(refusal.contains("is in use: another process (or another device) has locked it"), "{refusal}");
    assert!(FileImage::open(&path, true).is_err(), "readers are kept out, too");
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(FileImage::open(&path, false).is_ok());
}

#[test]
fn readers_share_an_image() {
    let directory = tempfile::tempdir().unwrap();
    let path = image(&directory, 4096);
    let _first = FileImage::open(&path, true).unwrap();
    assert!(FileImage::open(&path, true).is_ok());
    assert!(FileImage::open(&path, false).is_err());
}

/// What `--device` says about an image, without the directory's name.
fn refusal(directory: &tempfile::TempDir, name: &str) -> String {
    let spec = format!("virtio-blk,image={}/{name}", directory.path().display());
    let line = registry::parse(&spec).err().unwrap().to_string();
    assert!(!line.contains('\n'));
    line.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn images_that_cannot_be_used_are_refused_in_one_line_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("folder")).unwrap();
    std::fs::write(directory.path().join("odd"), [0; 1000]).unwrap();
    std::fs::write(directory.path().join("empty"), []).unwrap();
    for (name, line) in [
        (
            "none.img",
            "virtio-blk: cannot open none.img: No such file or directory; make one with \"truncate -s 64M none.img\"",
        ),
        ("folder", "virtio-blk: folder is a directory; an image is a file, such as folder/disk.img"),
        ("odd", "virtio-blk: odd has 1000 bytes, not a multiple of 512; fill it up with \"truncate -s %512 odd\""),
        ("empty", "virtio-blk: empty is empty; make it larger with \"truncate -s 64M empty\""),
    ] {
        assert_eq!(refusal(&directory, name), line);
    }
    assert!(refusal(&directory, "no/where.img").contains("there is no directory"));
    let device = registry::parse("virtio-blk,image=/dev/null").err().unwrap().to_string();
    assert_eq!(device, "virtio-blk: /dev/null is not a regular file; copy what is in it to one");
}

/// A file of a device that is always full stands for a full disk: its writes fail as those of one do.
#[test]
fn full_disk_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let workshop = Workshop::new();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("full")).unwrap();
    let spec = format!("virtio-console,output={}/full", directory.path().display());
    let mut board = board::Board::new_boxed(workshop.parse(&spec).unwrap().1);
    // The emergency register needs no set-up.
    for _ in 0..3 {
        board.write(4, 0x2000 + 8, 4, u64::from(b'x'));
    }
    let line = format!(
        "cannot write {}/full: No space left on device; the output from here on is not in it",
        directory.path().display()
    );
    assert_eq!(workshop.notices().take(), [line]);
    let spec = format!("virtio-net,pcap-out={}/full", directory.path().display());
    let refused = registry::parse(&spec).err().unwrap().to_string();
    assert!(refused.ends_with("No space left on device"), "{refused}");
}

#[test]
fn image_on_a_disk_that_is_full_fails_writes_and_says_so() {
    // A limit on the size of files makes writes fail beyond it, in a process of its own.
    let directory = tempfile::tempdir().unwrap();
    let path = image(&directory, 1 << 20);
    let script = format!(
        "ulimit -f 4; trap '' XFSZ; exec {:?} --exact writes_beyond_a_limit --nocapture",
        std::env::current_exe().unwrap()
    );
    let output = Command::new("bash").args(["-c", &script]).env(ROLE, "limited").env(FILE, &path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Vec<&str> = text.lines().filter_map(|line| line.split_once("said: ").map(|(_, rest)| rest)).collect();
    assert_eq!(said, ["0", "1", "1", &format!("cannot write {}: File too large", path.display())], "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
}

/// Nothing when the suite runs; the process whose files are limited when the test above calls it.
#[test]
fn writes_beyond_a_limit() {
    let (Some(file), Ok("limited")) = (std::env::var_os(FILE), std::env::var(ROLE).as_deref()) else { return };
    let mut disk = Disk::new(file.as_ref());
    for sector in [0, 1000, 1001] {
        println!("said: {}", disk.write(sector, 1));
    }
    disk.notices.take().iter().for_each(|line| println!("said: {line}"));
    let _ = std::io::stdout().flush();
}
