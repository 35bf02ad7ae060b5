//! `bringup vm` with guests: our bare program, and Linux where the host has one built. Skips visibly where there is no KVM.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::command::{Room, Said, skip};

/// The bare guest program, which is built once; `None` where there is no KVM to run it.
fn guest(what: &str) -> Option<&'static Path> {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        skip(what, &format!("/dev/kvm: {error}"));
        return None;
    }
    Some(GUEST.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "-p",
                "bringup-guest",
                "--profile",
                "guest",
                "--features",
                "bare",
                "--target-dir",
            ])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // What this test is built with is not for a program without a standard library.
            .env_remove("RUSTFLAGS")
            .status();
        assert!(built.expect("cargo runs").success(), "the guest program builds");
        target.join("guest/bringup-guest")
    }))
}

/// A room with a program that is called a static busybox: the guest does not look at it.
fn room() -> Room {
    let room = Room::new();
    let mut program = b"\x7fELF\x02\x01".to_vec();
    program.resize(64, 0);
    (program[16], program[18]) = (2, 62);
    room.put("busybox", program);
    room
}

/// What the guest program says on the second serial port for a status, as our init would: `$$` is the command's process.
fn status(code: i32) -> String {
    format!("com2=bringup-status-$$={code}")
}

/// The command, with this as its last argument, where `$$` is the number of its process.
fn with_words(command: &Command, words: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" \"{words}\"")]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Runs the guest program with these words, and options of the command's.
fn run(room: &Room, guest: &Path, words: &str, options: &str) -> Said {
    let command = room.command(&format!("vm --kernel {} --memory 32 {options} --cmdline", guest.display()));
    let output = with_words(&command, words).stdin(Stdio::null()).output().expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command speaks UTF-8");
    Said { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn guest_drives_its_devices_and_the_report_accounts_for_them() {
    let Some(guest) = guest("a guest with devices") else { return };
    let room = room();

    let devices = "--device edu --device virtio-blk,size=1M --device edu --trace trace.txt";
    let said = run(&room, guest, "tests=acpi,clock,edu", devices);

    // It tries what happens without bus mastering, which no driver should.
    assert_eq!((said.status, &*said.err), (1, ""), "{}", said.out);
    assert_eq!(said.out.matches("error[").count(), 2, "{}", said.out);
    assert!(said.out.contains("error[dma-no-bus-master]: edu1 tried to write"), "{}", said.out);
    assert!(said.out.contains("\ndone\n") && !said.out.contains("FAILED") && !said.out.contains('\r'), "{}", said.out);
    for (name, address) in [("edu ", "0000:00:03.0"), ("virtio-blk ", "0000:00:04.0"), ("edu1 ", "0000:00:05.0")] {
        let row = said.out.lines().find(|line| line.contains(name) && line.contains(address)).expect("a row");
        assert_eq!(row.contains("messages, "), name.starts_with("edu"), "{row}");
    }
    assert!(said.out.contains("turned itself off after"), "{}", said.out);
    let trace = std::fs::read_to_string(room.path("trace.txt")).unwrap();
    assert!(["config read", "BAR0 write", "DMA write", "MSI  ", "INTx "].iter().all(|event| trace.contains(event)));
}

#[test]
fn report_is_there_as_json_and_the_console_with_it() {
    let Some(guest) = guest("a report as JSON") else { return };

    let said = run(&room(), guest, "tests=edu", "--device edu --json");

    let report = said.json();
    assert_eq!((said.status, &report["end"], &report["exit"]), (1, &"power-off".into(), &1.into()), "{}", said.err);
    assert_eq!(report["findings"][0]["rule"], "dma-no-bus-master");
    assert_eq!(report["devices"][0]["id"], "1234:11e8");
    assert!(report["devices"][0]["messages"].as_u64() > Some(0) && report["exits"].as_u64() > Some(0));
    assert!(report["log"].as_array().unwrap().iter().any(|line| line == "done"), "{}", report["log"]);
}

#[test]
fn status_that_the_guest_says_is_the_commands() {
    let Some(guest) = guest("a guest's status") else { return };
    let room = room();
    for (code, words) in [(0, "tests=none "), (77, "tests=none exit=reset ")] {
        let said = run(&room, guest, &(words.to_owned() + &status(code)), "--run x --busybox busybox");
        assert_eq!((said.status, &*said.err), (code, ""), "{}", said.out);
        assert!(said.out.contains(&format!("status {code}\n")), "{}", said.out);
    }
    // What another run would say is not this one's.
    let said = run(&room, guest, "tests=none com2=bringup-status-1$$=0", "--run x --busybox busybox");
    assert!(said.status == 1 && said.err.contains("turned itself off too early"), "{said:?}");
}

#[test]
fn module_that_the_guest_could_not_load_is_named() {
    let Some(guest) = guest("a guest whose module fails") else { return };
    let room = room();
    let words = format!("tests=none com2=bringup-insmod-$$=1:edu.ko {}", status(1));
    let said = run(&room, guest, &words, "--run x --busybox busybox");
    let line = "error: the guest could not load edu.ko: insmod ended with status 1, and the guest's log says why\n";
    assert_eq!((said.status, &*said.err), (1, line), "{}", said.out);
    // What it said before its init is of no use then.
    assert!(!said.out.contains("done\n"), "{}", said.out);
}

#[test]
fn guest_that_comes_to_no_end_of_its_commands_is_told_with_its_last_lines() {
    let Some(guest) = guest("a guest that ends early") else { return };
    let room = room();
    for (exit, line) in [
        ("off", "error: the guest turned itself off too early: it had not reached its init\n"),
        ("reset", "error: the guest reset itself too early: it had not reached its init\n"),
        ("triple", "error: the guest reset itself by a triple fault: it had not reached its init\n"),
    ] {
        let said = run(&room, guest, &format!("tests=none exit={exit}"), "--run x --busybox busybox");
        assert_eq!((said.status, &*said.err), (1, line), "{exit}: {}", said.out);
        assert!(said.out.contains("done\n"), "{exit}: {}", said.out);
    }
}

#[test]
fn guest_of_the_users_may_reset_and_a_triple_fault_is_told() {
    let Some(guest) = guest("a guest that resets") else { return };
    let room = room();
    for exit in ["reset", "i8042"] {
        assert_eq!(run(&room, guest, &format!("tests=none exit={exit}"), "").status, 0, "{exit}");
    }
    let said = run(&room, guest, "tests=none exit=triple", "");
    assert_eq!((said.status, &*said.err), (1, "error: the guest reset itself by a triple fault\n"));
}

#[test]
fn guest_that_hangs_is_ended_when_its_time_is_over() {
    let Some(guest) = guest("a guest that hangs") else { return };
    for exit in ["spin", "halt"] {
        let said = run(&room(), guest, &format!("tests=none exit={exit}"), "--timeout 1");
        assert_eq!((said.status, &*said.err), (1, "error: the guest took longer than --timeout allows\n"), "{exit}");
        assert!(said.out.contains("was stopped after"), "{}", said.out);
    }
}

#[test]
fn signal_ends_the_machine_and_what_there_is_is_written() {
    let Some(guest) = guest("a machine that is signalled") else { return };
    for signal in ["-INT", "-TERM", "-HUP"] {
        let room = room();
        let words = format!("vm --kernel {} --memory 32 --device edu --trace trace.jsonl --cmdline", guest.display());
        let inner = room.command(&words);
        // What runs in the background may have inherited that signals are ignored.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT,TERM,HUP").arg(inner.get_program()).args(inner.get_args());
        command.arg("tests=edu exit=spin").current_dir(room.path(".")).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.by_ref().any(|line| line.unwrap() == "done"));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let mut err = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut err).unwrap();
        assert_eq!(
            (child.wait().unwrap().code(), &*err),
            (Some(130), "error: a signal ended the machine\n"),
            "{signal}"
        );
        assert!(rest.iter().any(|line| line.contains("was stopped after")), "{rest:?}");
        assert!(std::fs::read_to_string(room.path("trace.jsonl")).unwrap().contains("bar-write"));
    }
}

#[test]
fn finding_of_the_waist_is_told_and_counts_for_more_than_the_guests_status() {
    let Some(guest) = guest("findings of a guest") else { return };
    let room = room();

    // Random accesses: some of them are to registers that edu does not have.
    let said = run(&room, guest, &format!("fuzz=1,2000 {}", status(0)), "--device edu --run x --busybox busybox");

    assert_eq!((said.status, &*said.err), (1, ""), "{}", said.out);
    assert!(said.out.contains("[bar-no-register]") || said.out.contains("[bar-width]"), "{}", said.out);
}

#[test]
fn fault_of_a_plan_reaches_the_guest() {
    let Some(guest) = guest("a guest with a fault plan") else { return };
    let room = room();
    room.put(
        "plan.toml",
        "version = 1\n[[fault]]\nverb = \"bar-read\"\ndevice = \"edu\"\naddress = 0\nlength = 4\ndo = \"all-ones\"\n",
    );

    let said = run(&room, guest, "tests=edu", "--device edu --plan plan.toml --trace trace.txt");

    assert!(said.out.contains("FAILED"), "{}", said.out);
    assert!(std::fs::read_to_string(room.path("trace.txt")).unwrap().contains("fault         bar-read: all-ones"));
}

#[test]
fn what_stands_in_a_pipe_is_typed_into_the_console() {
    let Some(guest) = guest("a console's input") else { return };
    let room = room();
    room.put("typed", "hello there\r");
    let mut command = room.command(&format!("vm --kernel {} --memory 32 --cmdline", guest.display()));
    let typed = std::fs::File::open(room.path("typed")).unwrap();

    let output = command.arg("echo").stdin(typed).output().unwrap();

    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("hello there"), "{out}");
}

#[test]
fn initrd_that_does_not_fit_is_named() {
    let Some(guest) = guest("an initrd that does not fit") else { return };
    let room = room();
    room.put("initrd", vec![0; 33 << 20]);
    let said = run(&room, guest, "", "--initrd initrd");
    assert_eq!(
        said.refusal(),
        "the initrd (33 MiB) does not fit beside the kernel into 32 MiB of memory; give it more (--memory)"
    );
}

#[test]
fn reader_that_goes_away_ends_the_guest_and_what_there_is_is_written() {
    let Some(guest) = guest("a reader that goes away") else { return };
    let room = room();
    let options = "--memory 32 --device edu --trace t.txt --timeout 300";
    let mut command = room.command(&format!("vm --kernel {} {options} --cmdline", guest.display()));
    // It would never end by itself.
    command.arg("fuzz=1,100000000 exit=spin").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let line = "error: nobody reads standard output any more, which ended the machine\n";
    assert_eq!((output.status.code(), &*err), (Some(1), line));
    assert!(room.path("t.txt").exists());
}

/// Starts the command with a standard output that is a full pipe; the end that could be read comes too.
fn blocked(room: &Room, guest: &Path, options: &str, words: &str) -> (std::process::Child, std::io::PipeReader) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    let inner = room.command(&format!("vm --kernel {} --memory 32 {options} --cmdline", guest.display()));
    // What runs in the background may have inherited that signals are ignored.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,TERM,HUP").arg(inner.get_program()).args(inner.get_args()).arg(words);
    command.current_dir(room.path(".")).stdin(Stdio::null()).stderr(Stdio::null()).stdout(writer);
    (command.spawn().unwrap(), reader)
}

#[test]
fn command_ends_in_time_though_nobody_reads_what_it_prints() {
    let Some(guest) = guest("a reader that does not read") else { return };
    // The guest is stuck at its console, or the command at its report.
    for more in ["", "--json"] {
        let room = room();
        let options = format!("--device edu --trace t.txt --timeout 1 {more}");
        let (mut child, reader) = blocked(&room, guest, &options, "tests=none exit=spin");
        assert_eq!(child.wait().unwrap().code(), Some(1), "{more}");
        assert!(room.path("t.txt").exists());
        drop(reader);
    }
}

#[test]
fn signal_ends_the_command_though_nobody_reads_its_report() {
    let Some(guest) = guest("a report that nobody reads") else { return };
    let room = room();
    let (mut child, reader) = blocked(&room, guest, "--device edu --trace t.txt --json", "tests=none");
    // The machine is over by then.
    while std::fs::metadata(room.path("t.txt")).map_or(0, |file| file.len()) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it waits for its reader");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(reader);
}

/// Runs `upstream run --door vm` with a driver of these tests in a tree whose kernel is the guest program, which has no driver to say
/// anything, and a make that has built the module already.
fn through_the_door(room: &Room, guest: &Path, driver: &str, more: &[&str]) -> Said {
    std::fs::create_dir_all(room.path("tree")).unwrap();
    std::fs::copy(guest, room.path("tree/vmlinux")).unwrap();
    room.put("tree/.config", "CONFIG_RUST=y\n");
    let mut module = std::fs::read(room.path("busybox")).unwrap();
    module[16] = 1;
    room.put(&format!("{driver}.ko"), module);
    let script = format!("#!/bin/sh\nfor word; do case $word in M=*) cp {driver}.ko ${{word#M=}}/;; esac; done\n");
    let make = room.put("make", script);
    std::fs::set_permissions(make, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", room.path("").display(), std::env::var("PATH").unwrap());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/drivers/{driver}.rs"));
    let words = format!("upstream run {} --kernel-tree tree --door vm --busybox busybox --append", file.display());
    let mut command = room.command(&words);
    command.env("PATH", &path);
    let more = more.iter().map(|word| format!("\" \"{word}")).collect::<String>();
    let words = format!("tests=none {}{more}", status(0));
    let output = with_words(&command, &words).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command speaks UTF-8");
    Said { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn door_counts_what_the_bench_found() {
    let Some(guest) = guest("upstream run --door vm") else { return };
    let said = through_the_door(&room(), guest, "leaks", &["--device", "edu"]);
    assert_eq!((said.status, &*said.err), (1, ""), "{}", said.out);
    assert!(said.out.contains("differences none") && said.out.contains("bench       a finding there"), "{}", said.out);
}

#[test]
fn door_lays_the_benchs_log_beside_that_of_the_guest() {
    let Some(guest) = guest("upstream run --door vm") else { return };
    let room = room();

    let Said { status, out, err } = through_the_door(&room, guest, "binds", &[]);
    let json = through_the_door(&room, guest, "binds", &["--json"]).out;

    assert_eq!((status, &*err), (1, ""), "{out}");
    assert!(out.contains("bench  binds 0000:00:03.0: mine  (DIFFERS)\n"), "{out}");
    assert!(out.contains("  devices     pci-testdev\n  differences 1 line\n"), "{out}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["devices"][0], &json["differences"], &json["status"]),
        (&"pci-testdev".into(), &1.into(), &0.into())
    );
}

/// A kernel tree with a built kernel.
const BUILD: &str = "BRINGUP_KERNEL_BUILD";

#[test]
fn linux_boots_or_one_line_says_why_this_kvm_cannot_run_it() {
    const WHAT: &str = "Linux in a machine";
    let Some(tree) = std::env::var_os(BUILD).filter(|tree| !tree.is_empty()) else {
        return skip(WHAT, &format!("{BUILD} does not name a built kernel with Rust"));
    };
    if guest(WHAT).is_none() {
        return;
    }
    let said = Room::new().bringup(&format!("vm --kernel {}", Path::new(&tree).join("vmlinux").display()));

    // Without a file system it gives up, which is its own; a nested KVM may give up before.
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    match said.status {
        1 => assert!(said.err.contains("the guest's kernel gave up: Kernel panic - not syncing"), "{}", said.err),
        2 => assert!(said.err.contains("use a host whose /dev/kvm is a full one"), "{}", said.err),
        status => panic!("{status}: {}", said.err),
    }
}
