//! A guest under gdb: what a debugger asks for happens, and nothing hangs when one of the two goes.

#![expect(unsafe_code, reason = "guests are assembly between two labels of this program")]

#[allow(dead_code, reason = "the macro alone is used")]
#[path = "kvm/code.rs"]
mod code;
mod gdb_client;
mod tiny;

use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;

use bringup_vmm::{End, Outcome, Stopper};
use gdb_client::{Client, packet_of};
use tiny::{COUNT, POWER_OFF, kernel, kvm_is_full, machine, settings};

const START: u64 = 0x10_0000;
/// Where [`COUNT`] comes by in each round: before it counts, before it stores, after.
const BEFORE: u64 = START + 3;
const STORE: u64 = START + 6;
const AFTER: u64 = START + 14;
/// Where it stores.
const COUNTER: u64 = 0x20_0000;

/// A machine that runs on a thread of its own.
struct Running {
    socket: PathBuf,
    stopper: Stopper,
    thread: JoinHandle<Outcome>,
    _room: tempfile::TempDir,
}

impl Running {
    fn start(code: &[u8], cpus: u8) -> Option<Self> {
        let room = tempfile::tempdir().unwrap();
        let socket = room.path().join("gdb");
        let kernel = kernel(code);
        let machine = machine(bringup_vmm::Settings { cpus, gdb: Some(socket.clone()), ..settings(&kernel) })?;
        let stopper = machine.stopper();
        let thread = std::thread::spawn(move || machine.run().unwrap());
        Some(Self { socket, stopper, thread, _room: room })
    }

    fn end(self) -> End {
        self.stopper.stop();
        self.thread.join().unwrap().end
    }
}

#[test]
fn guest_waits_for_gdb_before_its_first_instruction() {
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    assert!(gdb.ask("?").starts_with("T05") || gdb.ask("?").starts_with("S05"));
    assert_eq!((gdb.rip(), gdb.memory(COUNTER)), (START, 0));
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn step_carries_out_one_instruction() {
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    let mut places = Vec::new();
    for _ in 0..4 {
        let stop = gdb.ask("vCont;s:1");
        assert!(stop.starts_with("T05thread:01"), "{stop}");
        places.push(gdb.rip());
    }
    assert_eq!(places, [BEFORE, STORE, AFTER, BEFORE]);
    assert_eq!((gdb.register(0, 0), gdb.memory(COUNTER)), (1, 1));
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn breakpoints_stop_before_their_instruction_each_time() {
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    for (kind, word, at) in [(0, "swbreak", BEFORE), (1, "hwbreak", AFTER)] {
        let mut counts = Vec::new();
        for _ in 0..3 {
            assert_eq!(gdb.ask(&format!("Z{kind},{at:x},1")), "OK");
            let stop = gdb.ask("vCont;c");
            assert!(stop.contains("thread:01") && stop.contains(word), "{stop}");
            assert_eq!(gdb.rip(), at);
            counts.push(gdb.register(0, 0));
            // As gdb does: away, a step, and there again.
            assert_eq!(gdb.ask(&format!("z{kind},{at:x},1")), "OK");
            assert!(gdb.ask("vCont;s:1").starts_with("T05"));
        }
        assert_eq!((counts[1] - counts[0], counts[2] - counts[1]), (1, 1), "{counts:?}");
    }
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn memory_and_registers_are_written_and_what_is_not_mapped_is_refused() {
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    // Across the end of a page.
    assert_eq!(gdb.ask("M200ffc,8:1122334455667788"), "OK");
    assert_eq!(gdb.memory(0x20_0ffc), 0x8877_6655_4433_2211);
    for nowhere in ["m900000000000,8", "m10000000000,8", "mffffffffffffffff,2", "mffffff000,4", "M9000000000,1:00"] {
        let answer = gdb.ask(nowhere);
        assert!(answer.starts_with('E'), "{nowhere}: {answer}");
    }
    let all = gdb.ask("g");
    let changed = format!("efbeadde00000000{}", &all[16..]);
    assert_eq!(gdb.ask(&format!("G{changed}")), "OK");
    assert_eq!(gdb.register(0, 0), 0xdead_beef);
    // CS, at byte 140: its descriptor is not gdb's to say.
    let segment = format!("{}0500{}", &changed[..280], &changed[284..]);
    assert!(gdb.ask(&format!("G{segment}")).starts_with('E'));
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn ctrl_c_stops_a_guest_that_runs() {
    use std::io::Write;
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    let mut counts = Vec::new();
    for _ in 0..3 {
        gdb.send("vCont;c");
        gdb.0.write_all(&[3]).unwrap();
        let stop = gdb.receive();
        assert!(stop.starts_with("T02"), "{stop}");
        counts.push(gdb.memory(COUNTER));
    }
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn gdb_that_goes_takes_its_breakpoints_along_and_the_guest_runs_on() {
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut count = 0;
    for goodbye in ["D", ""] {
        let mut gdb = Client::connect(&running.socket);
        assert_eq!(gdb.ask(&format!("Z0,{STORE:x},1")), "OK");
        assert!(gdb.ask("vCont;c").contains("swbreak"));
        if !goodbye.is_empty() {
            assert_eq!(gdb.ask(goodbye), "OK");
        }
        drop(gdb);
        // The next one finds the guest further on.
        loop {
            let mut gdb = Client::connect(&running.socket);
            let now = gdb.memory(COUNTER);
            let code = gdb.memory(STORE);
            assert_eq!(code, u64::from_le_bytes(COUNT[6..14].try_into().unwrap()));
            if now > count {
                count = now;
                break;
            }
        }
    }
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn kill_ends_the_machine() {
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    gdb.send("k");
    assert_eq!(running.thread.join().unwrap().end, End::Stopped);
    assert!(!running.socket.exists());
}

#[test]
fn machine_that_ends_while_gdb_waits_tells_it() {
    let Some(running) = Running::start(POWER_OFF, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    assert_eq!(gdb.ask("vCont;c"), "W00");
    assert_eq!(running.thread.join().unwrap().end, End::PowerOff);
    assert!(!running.socket.exists());
}

#[test]
fn machine_ends_though_gdb_holds_the_guest_or_never_came_or_does_not_read() {
    let Some(running) = Running::start(COUNT, 2) else { return };
    assert_eq!(running.end(), End::Stopped);

    let Some(running) = Running::start(COUNT, 2) else { return };
    let mut gdb = Client::connect(&running.socket);
    assert_eq!(gdb.rip(), START);
    assert_eq!(running.end(), End::Stopped);
    assert_eq!(gdb.receive(), "");

    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    gdb.0.set_nonblocking(true).unwrap();
    // Questions until the machine takes no more, since nobody takes its answers.
    let question = packet_of(&format!("m{START:x},400"));
    let mut full = 0;
    while full < 1000 {
        match std::io::Write::write(&mut gdb.0, &question) {
            Ok(_) => full = 0,
            Err(_) => {
                full += 1;
                std::thread::yield_now();
            }
        }
    }
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn what_is_no_packet_ends_a_connection_and_not_the_machine() {
    use std::io::Write;
    let Some(running) = Running::start(COUNT, 1) else { return };
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"$#00",
        b"$g#00",
        &[0xff; 10_000],
        b"$vCont;s:9999999999#xx",
        b"$m#6d",
        b"\x03\x03",
    ] {
        let mut gdb = Client::connect(&running.socket);
        // It may be closed before all was written.
        let _ = gdb.0.write_all(garbage);
    }
    let packets = [
        "m",
        "mx,y",
        "m0,ffffffffffffffff",
        "vCont;s:77",
        "Hg99",
        "g",
        "Z2,0,ffffffffffffffff",
        "Z0,0",
        "P0=0",
        "G00",
        "qXfer:features:read:target.xml:ffffffff,ffffffff",
    ];
    for packet in packets {
        let mut gdb = Client::connect(&running.socket);
        gdb.send(packet);
        gdb.0.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = std::io::copy(&mut gdb.0, &mut std::io::sink());
    }
    let mut gdb = Client::connect(&running.socket);
    assert!(gdb.ask("g").len() > 500);
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn registers_that_gdb_sets_hold_though_the_guest_was_stopped_in_an_access() {
    use std::io::Write;
    // mov edx, 0x3fd; in al, dx; mov bl, 1; jmp -5: nearly all of its time passes in accesses that KVM completes when it goes on.
    let reads = [0xba, 0xfd, 0x03, 0x00, 0x00, 0xec, 0xb3, 0x01, 0xeb, 0xfb];
    let Some(running) = Running::start(&reads, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    for _ in 0..50 {
        gdb.send("vCont;c");
        gdb.0.write_all(&[3]).unwrap();
        assert!(gdb.receive().starts_with("T02"));
        // RAX with all bits, RIP at `mov bl, 1`: what is left of the access must touch neither.
        let all = gdb.ask("g");
        let place = (START + 6).to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(gdb.ask(&format!("Gffffffffffffffff{}{place}{}", &all[16..256], &all[272..])), "OK");
        assert!(gdb.ask("vCont;s:1").starts_with("T05"));
        assert_eq!((gdb.register(0, 0), gdb.rip()), (u64::MAX, START + 8));
    }
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn packets_at_random_do_not_end_the_machine() {
    use std::io::Write;
    let Some(running) = Running::start(COUNT, 2) else { return };
    // What kills the guest on purpose is left out: its letters are.
    let letters = b"?gGmMpPXZzcsCSDHTqQvFfirRbB0123456789abcdef,;:.#-+=";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..200 {
        let mut gdb = Client::connect(&running.socket);
        for _ in 0..draw(8) + 1 {
            let packet: String = (0..draw(24)).map(|_| char::from(letters[draw(letters.len())])).collect();
            let _ = gdb.0.write_all(&packet_of(&packet));
        }
        let _ = gdb.0.write_all(&[3]);
        let _ = gdb.0.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut gdb.0, &mut std::io::sink());
    }
    let mut gdb = Client::connect(&running.socket);
    assert!(gdb.ask("g").len() > 500);
    assert_eq!(running.end(), End::Stopped);
}

/// Puts `jmp` to itself at 0x8000, starts the second CPU there (INIT, SIPI with vector 8), and stays.
const TWO: &[u8] = &[
    0xc7, 0x04, 0x25, 0x00, 0x80, 0x00, 0x00, 0xeb, 0xfe, 0x00, 0x00, // mov dword [0x8000], 0xfeeb
    0xb8, 0x00, 0x03, 0xe0, 0xfe, // mov eax, 0xfee00300
    0xc7, 0x00, 0x00, 0x45, 0x0c, 0x00, // mov dword [rax], 0xc4500
    0xc7, 0x00, 0x08, 0x46, 0x0c, 0x00, // mov dword [rax], 0xc4608
    0xff, 0xc3, 0xeb, 0xfc, // inc ebx; jmp -4
];

#[test]
fn cpus_are_threads_and_one_that_steps_leaves_the_other_where_it_is() {
    use std::io::Write;
    if !kvm_is_full() {
        return;
    }
    let Some(running) = Running::start(TWO, 2) else { return };
    let mut gdb = Client::connect(&running.socket);
    assert_eq!(gdb.ask("qfThreadInfo"), "m01,02");
    // Until the second one is where it stays: RIP 0 in a segment at 0x8000.
    let breakpoint = START + 28;
    assert_eq!(gdb.ask(&format!("Z1,{breakpoint:x},1")), "OK");
    assert!(gdb.ask("vCont;c").contains("thread:01"));
    assert_eq!(gdb.ask(&format!("z1,{breakpoint:x},1")), "OK");
    loop {
        gdb.send("vCont;c");
        gdb.0.write_all(&[3]).unwrap();
        assert!(gdb.receive().starts_with("T02"));
        if gdb.register(1, 16) == 0 {
            break;
        }
    }
    // The second one steps, alone: the first one counts no further.
    let before = gdb.register(0, 3);
    for _ in 0..10 {
        let stop = gdb.ask("vCont;s:2");
        assert!(stop.contains("thread:02"), "{stop}");
    }
    assert_eq!((gdb.register(0, 3), gdb.register(1, 16)), (before, 0));
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn watchpoint_stops_after_a_write_and_has_its_register() {
    if !kvm_is_full() {
        return;
    }
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    assert_eq!(gdb.ask(&format!("Z2,{COUNTER:x},8")), "OK");
    let stop = gdb.ask("vCont;c");
    assert!(stop.contains("watch:") && stop.contains("200000"), "{stop}");
    assert_eq!((gdb.rip(), gdb.memory(COUNTER)), (AFTER, 1));
    for at in [0x1000, 0x2000, 0x3000] {
        assert_eq!(gdb.ask(&format!("Z1,{at:x},1")), "OK");
    }
    assert_eq!(gdb.ask("Z1,4000,1"), "E16", "there is no register for it");
    assert_eq!(running.end(), End::Stopped);
}

// Reads what will be patched and stores it, for ever; `patched` is never reached.
code::guest_code!(
    reads_code,
    "2: mov rax, [rip + 3f]",
    "mov [0x200000], rax",
    "jmp 2b",
    "3: mov rbx, 0x1122334455667788",
);
/// How long what is patched is.
const PATCHED: usize = 10;

/// Whether KVM tells of a guest's `int3`, as a breakpoint beyond the debug registers is taken or refused.
fn takes_int3(gdb: &mut Client, at: u64) -> bool {
    for elsewhere in [0x1000, 0x2000, 0x3000, 0x4000] {
        assert_eq!(gdb.ask(&format!("Z1,{elsewhere:x},1")), "OK");
    }
    let taken = gdb.ask(&format!("Z0,{at:x},1"));
    assert!(["OK", "E16"].contains(&&*taken), "{taken}");
    if taken != "OK" {
        // A processor that has them must not be taken for one that has not.
        let emulated = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| info.contains("QEMU"));
        assert!(emulated || !kvm_is_full());
        tiny::skipped("breakpoints by int3: this host's KVM does not tell of them");
    }
    taken == "OK"
}

#[test]
fn int3_is_in_the_code_only_while_the_guest_runs() {
    use std::io::Write;
    let guest = reads_code();
    let Some(running) = Running::start(guest, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    let at = START + (guest.len() - PATCHED) as u64;
    let code = gdb.memory(at);
    if !takes_int3(&mut gdb, at) {
        return;
    }
    gdb.send("vCont;c");
    gdb.0.write_all(&[3]).unwrap();
    assert!(gdb.receive().starts_with("T02"));
    assert_eq!(gdb.memory(at), code);
    // What the guest read itself, once it has come that far.
    while gdb.memory(COUNTER) == 0 {
        gdb.send("vCont;c");
        gdb.0.write_all(&[3]).unwrap();
        gdb.receive();
    }
    assert_eq!(gdb.memory(COUNTER), code & !0xff | 0xcc);
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn software_breakpoint_beyond_the_debug_registers_stops_each_time() {
    let Some(running) = Running::start(COUNT, 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    if !takes_int3(&mut gdb, BEFORE) {
        return;
    }
    for round in 0..3 {
        assert_eq!(gdb.ask(&format!("Z0,{BEFORE:x},1")), "OK");
        let stop = gdb.ask("vCont;c");
        assert!(stop.contains("swbreak"), "{stop}");
        assert_eq!((gdb.rip(), gdb.register(0, 0)), (BEFORE, round));
        assert_eq!(gdb.ask(&format!("z0,{BEFORE:x},1")), "OK");
        assert!(gdb.ask("vCont;s:1").starts_with("T05"));
    }
    assert_eq!(running.end(), End::Stopped);
}

#[test]
fn int3_of_the_guest_is_the_guests() {
    // It has no interrupt table: its own int3 is a triple fault.
    let Some(running) = Running::start(&[0x90, 0xcc, 0x90], 1) else { return };
    let mut gdb = Client::connect(&running.socket);
    if !takes_int3(&mut gdb, START + 0x800) {
        return;
    }
    assert_eq!(gdb.ask("vCont;c"), "X0b");
    assert_eq!(running.thread.join().unwrap().end, End::TripleFault);
}

#[test]
fn gdb_itself_steps_breaks_and_detaches() {
    if Command::new("gdb").arg("--version").output().is_err() {
        return tiny::skipped("the real gdb: there is none on the PATH (Debian: gdb)");
    }
    let Some(running) = Running::start(COUNT, 2) else { return };
    let script = [
        "set architecture i386:x86-64".into(),
        format!("target remote {}", running.socket.display()),
        "info threads".into(),
        "break *0x100006".into(),
        "continue".into(),
        "stepi".into(),
        "printf \"at %#lx rax %ld stored %ld\\n\", $rip, $rax, *(long *)0x200000".into(),
        "continue".into(),
        "printf \"rax %ld\\n\", $rax".into(),
        "detach".into(),
    ];
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-batch", "-nx"]);
    for line in &script {
        gdb.args(["-ex", line]);
    }
    let output = gdb.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for expected in ["CPU 1", "at 0x10000e rax 1 stored 1", "rax 2", "detached"] {
        assert!(said.contains(expected), "no {expected:?} in:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(running.end(), End::Stopped);
}
