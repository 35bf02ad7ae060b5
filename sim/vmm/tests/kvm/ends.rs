//! How machines end, and what passes their serial ports.

use std::io::Write as _;
use std::os::fd::OwnedFd;

use bringup_vmm::End;

use crate::code::guest_code;
use crate::stand::Stand;

guest_code!(power_off, "mov dx, 0x604", "mov ax, 0x2000", "out dx, ax", "2: hlt", "jmp 2b");
guest_code!(reset_by_acpi, "mov dx, 0xcf9", "mov al, 6", "out dx, al", "2: hlt", "jmp 2b");
guest_code!(reset_by_keyboard, "mov al, 0xfe", "out 0x64, al", "2: hlt", "jmp 2b");
// Without an interrupt table every exception is a triple fault.
guest_code!(triple_fault, "xor edx, edx", "mov eax, 1", "div edx");
guest_code!(halts, "2: cli", "hlt", "jmp 2b");
guest_code!(spins, "2: jmp 2b");

fn end_of(code: &'static [u8]) -> Option<End> {
    Stand::new(code).run().map(|outcome| outcome.end)
}

#[test]
fn guest_ends_its_machine_in_each_of_the_ways_of_a_pc() {
    for (code, end) in [
        (power_off(), End::PowerOff),
        (reset_by_acpi(), End::Reset),
        (reset_by_keyboard(), End::Reset),
        (triple_fault(), End::TripleFault),
    ] {
        let Some(got) = end_of(code) else { return };
        assert_eq!(got, end);
    }
}

#[test]
fn machine_is_stopped_from_outside_whether_its_guest_sleeps_or_spins_on_any_number_of_cpus() {
    for (code, cpus) in [(halts(), 1), (spins(), 1), (spins(), 3), (halts(), 2)] {
        let Some(machine) = Stand::new(code).cpus(cpus).build() else { return };
        let stopper = machine.stopper();
        let running = std::thread::spawn(move || machine.run().unwrap());
        stopper.stop();
        assert_eq!(running.join().unwrap().end, End::Stopped);
        // It is gone: there is nothing to stop any more.
        stopper.stop();
    }
}

guest_code!(
    says,
    "lea rsi, [rip + 4f]",
    "mov dx, 0x3f8",
    "mov ecx, 6",
    "rep outsb",
    "mov dx, 0x2f8",
    "mov al, 0x37",
    "out dx, al",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
    "4: .ascii \"hello\\n\"",
);

#[test]
fn string_output_arrives_byte_by_byte_and_each_port_has_its_reader() {
    let stand = Stand::new(says());
    let console = stand.console.clone();
    let Some(outcome) = stand.run() else { return };
    assert_eq!((&*console.text(), &*outcome.said), ("hello\n", &b"7"[..]));
}

// Sends back all that comes, until a full stop.
guest_code!(
    echoes,
    "2: mov dx, 0x3fd",
    "3: in al, dx",
    "test al, 1",
    "jz 3b",
    "mov dx, 0x3f8",
    "in al, dx",
    "out dx, al",
    "cmp al, 0x2e",
    "jne 2b",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

#[test]
fn more_input_than_the_port_holds_reaches_the_guest_whole_and_in_order() {
    let sent: String = (0..400).map(|n| char::from(b'a' + (n % 26) as u8)).chain(['.']).collect();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(sent.as_bytes()).unwrap();
    let stand = Stand::new(echoes()).input(OwnedFd::from(reader));
    let console = stand.console.clone();
    let Some(outcome) = stand.run() else { return };
    assert_eq!((outcome.end, console.text()), (End::PowerOff, sent));
}
