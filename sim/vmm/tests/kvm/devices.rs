//! Devices that a guest reaches through traps, and doorbells that do not trap.

use bringup_core::pci::Doorbell;
use bringup_core::{Access, Bar, Cx, Device, Function, Reply, Reset};
use bringup_devices::Edu;
use bringup_vmm::End;

use crate::code::guest_code;
use crate::stand::Stand;

// 00:03.0 by 0xCF8: memory decoding on; then edu's identification at the BAR that the firmware gave it, byte by byte to the console.
guest_code!(
    asks_edu,
    "mov dx, 0xcf8",
    "mov eax, 0x80001804",
    "out dx, eax",
    "mov dx, 0xcfc",
    "mov ax, 2",
    "out dx, ax",
    "mov dx, 0xcf8",
    "mov eax, 0x80001810",
    "out dx, eax",
    "mov dx, 0xcfc",
    "in eax, dx",
    "mov ebx, eax",
    "mov eax, [rbx]",
    "mov dx, 0x3f8",
    "mov ecx, 4",
    "2: out dx, al",
    "shr eax, 8",
    "dec ecx",
    "jnz 2b",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

#[test]
fn register_of_a_device_is_read_through_a_trap() {
    let stand = Stand::new(asks_edu()).device("edu", Edu::default());
    let console = stand.console.clone();
    let Some(outcome) = stand.run() else { return };
    assert_eq!(console.bytes(), 0x0100_00ed_u32.to_le_bytes());
    assert!(outcome.bus.fabric.findings.is_empty(), "{:?}", outcome.bus.fabric.findings);
}

/// Counts what rings it.
#[derive(Default)]
struct Gong {
    rings: u32,
    others: u32,
}

const BELL: Doorbell = Doorbell { bar: 0, offset: 0x10, width: 2, value: 5 };

impl Device for Gong {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x5678).bar(Bar::memory32(0, 4096)).doorbell(BELL)
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        Ok(if at.offset == 0 { self.rings.into() } else { self.others.into() })
    }

    fn write(&mut self, _cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if (at.offset, at.width, value) == (BELL.offset, BELL.width, BELL.value) {
            self.rings += 1;
        } else {
            self.others += 1;
        }
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        *self = Self::default();
    }
}

// Rings once, and once with another value; moves the BAR by a megabyte; rings there, and where it was before. Then tells how often it
// rang and what else came.
guest_code!(
    rings,
    "mov ebx, 0xe0018000", // 00:03.0 in ECAM
    "mov edi, [rbx + 0x10]",
    "mov word ptr [rbx + 4], 2",
    "mov word ptr [rdi + 0x10], 5",
    "mov eax, [rdi]", // a read behind it: by now it has arrived
    "mov word ptr [rdi + 0x10], 6",
    "mov word ptr [rbx + 4], 0",
    "mov esi, edi",
    "add edi, 0x100000",
    "mov [rbx + 0x10], edi",
    "mov word ptr [rbx + 4], 2",
    "mov word ptr [rdi + 0x10], 5",
    "mov eax, [rdi]",
    "mov word ptr [rsi + 0x10], 5",
    "mov eax, [rdi]",
    "add al, 0x30",
    "mov dx, 0x3f8",
    "out dx, al",
    "mov eax, [rdi + 4]",
    "add al, 0x30",
    "out dx, al",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

#[test]
fn doorbell_follows_its_bar_arrives_before_the_next_access_and_only_for_its_value() {
    for doorbells in [true, false] {
        let stand = Stand::new(rings()).device("gong", Gong::default()).doorbells(doorbells);
        let console = stand.console.clone();
        let Some(outcome) = stand.run() else { return };
        assert_eq!((outcome.end, &*console.text()), (End::PowerOff, "21"));
        assert_eq!(outcome.rings, if doorbells { 2 } else { 0 });
    }
}

/// Interrupts when it is written to, and never lets go.
struct Nag;

impl Device for Nag {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x5679).bar(Bar::memory32(0, 4096)).intx().msi(1)
    }

    fn read(&mut self, cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(cx.now() / 1_000_000)
    }

    fn write(&mut self, cx: &mut Cx<'_>, _at: Access, _value: u64) -> Reply<()> {
        cx.interrupt();
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

// Opens the line of the device at the interrupt controller (level, vector 0x30; interrupts stay off), has it
// interrupt, and does not acknowledge it for three seconds.
guest_code!(
    lets_it_nag,
    "mov ebx, 0xe0018000", // 00:03.0 in ECAM
    "mov word ptr [rbx + 4], 2",
    "mov edi, [rbx + 0x10]",
    "mov esi, 0xfec00000",
    "mov dword ptr [rsi], 0x24", // the entry of line 10
    "mov dword ptr [rsi + 0x10], 0x8030",
    "mov dword ptr [rdi], 1",
    "mov ebx, [rdi]",
    "add ebx, 3000",
    "2: mov eax, [rdi]",
    "cmp eax, ebx",
    "jb 2b",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

// The same with the line masked.
guest_code!(
    does_not_listen,
    "mov ebx, 0xe0018000",
    "mov word ptr [rbx + 4], 2",
    "mov edi, [rbx + 0x10]",
    "mov dword ptr [rdi], 1",
    "mov ebx, [rdi]",
    "add ebx, 3000",
    "2: mov eax, [rdi]",
    "cmp eax, ebx",
    "jb 2b",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

// Masked for three seconds first, then open for six.
guest_code!(
    listens_late,
    "mov ebx, 0xe0018000",
    "mov word ptr [rbx + 4], 2",
    "mov edi, [rbx + 0x10]",
    "mov dword ptr [rdi], 1",
    "mov ebx, [rdi]",
    "add ebx, 3000",
    "2: mov eax, [rdi]",
    "cmp eax, ebx",
    "jb 2b",
    "mov esi, 0xfec00000",
    "mov dword ptr [rsi], 0x24",
    "mov dword ptr [rsi + 0x10], 0x8030",
    "add ebx, 6000",
    "3: mov eax, [rdi]",
    "cmp eax, ebx",
    "jb 3b",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

fn rules_of(code: &'static [u8]) -> Option<Vec<&'static str>> {
    let outcome = Stand::new(code).device("nag", Nag).run()?;
    assert_eq!(outcome.end, End::PowerOff);
    Some(outcome.bus.fabric.findings.iter().map(|finding| finding.rule.id).collect())
}

#[test]
fn pin_that_nobody_acknowledges_is_found_if_its_line_is_open() {
    let Some(rules) = rules_of(lets_it_nag()) else { return };
    assert_eq!(rules, ["irq-stuck"]);
    assert_eq!(rules_of(does_not_listen()).unwrap_or_default(), [""; 0]);
    assert_eq!(rules_of(listens_late()).unwrap_or_default(), ["irq-stuck"]);
}

// MSI on, with bus mastering, to an address in memory.
guest_code!(
    sends_it_away,
    "mov ebx, 0xe0018000",
    "mov word ptr [rbx + 4], 6",
    "mov edi, [rbx + 0x10]",
    "mov dword ptr [rbx + 0x44], 0x123000",
    "mov dword ptr [rbx + 0x48], 0",
    "mov word ptr [rbx + 0x4c], 0x30",
    "mov word ptr [rbx + 0x42], 1",
    "mov dword ptr [rdi], 1",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

#[test]
fn message_to_where_no_interrupt_controller_listens_is_found() {
    let Some(rules) = rules_of(sends_it_away()) else { return };
    assert_eq!(rules, ["msi-nowhere"]);
}

/// Has more doorbells than are looked at together, and counts what rings.
#[derive(Default)]
struct Carillon(u64);

impl Carillon {
    const BELLS: u64 = 40;
}

impl Device for Carillon {
    fn function(&self) -> Function {
        let bell = |index| Doorbell { bar: 0, offset: 0x100 + index * 2, width: 2, value: 1 };
        (0..Self::BELLS)
            .fold(Function::new(0x1234, 0x567a).bar(Bar::memory32(0, 4096)), |all, index| all.doorbell(bell(index)))
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(self.0)
    }

    fn write(&mut self, _cx: &mut Cx<'_>, _at: Access, _value: u64) -> Reply<()> {
        self.0 += 1;
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        self.0 = 0;
    }
}

// Rings all bells and reads how often it rang; again and again, 20 times. Any other number than it must be is said.
guest_code!(
    rings_all,
    "mov ebx, 0xe0018000",
    "mov word ptr [rbx + 4], 2",
    "mov edi, [rbx + 0x10]",
    "xor ebp, ebp",
    "mov r8d, 20",
    "3: mov ecx, 40",
    "lea rsi, [rdi + 0x100]",
    "2: mov word ptr [rsi], 1",
    "add esi, 2",
    "dec ecx",
    "jnz 2b",
    "add ebp, 40",
    "mov eax, [rdi]",
    "cmp eax, ebp",
    "je 4f",
    "mov dx, 0x3f8",
    "mov al, 0x21",
    "out dx, al",
    "4: dec r8d",
    "jnz 3b",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

#[test]
fn doorbells_are_there_before_the_next_access_however_many_rang() {
    let stand = Stand::new(rings_all()).device("carillon", Carillon::default());
    let console = stand.console.clone();
    let Some(outcome) = stand.run() else { return };
    assert_eq!((&*console.text(), outcome.rings), ("", 20 * Carillon::BELLS));
}

// Rings, and turns memory decoding off at once; and on again; 50 times.
guest_code!(
    rings_and_leaves,
    "mov ebx, 0xe0018000",
    "mov word ptr [rbx + 4], 2",
    "mov edi, [rbx + 0x10]",
    "mov ecx, 50",
    "2: mov word ptr [rdi + 0x10], 5",
    "mov word ptr [rbx + 4], 0",
    "mov word ptr [rbx + 4], 2",
    "dec ecx",
    "jnz 2b",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

#[test]
fn doorbell_arrives_before_the_configuration_write_that_follows_it() {
    let Some(outcome) = Stand::new(rings_and_leaves()).device("gong", Gong::default()).run() else { return };
    assert!(outcome.bus.fabric.findings.is_empty(), "{:#?}", outcome.bus.fabric.findings);
    assert_eq!(outcome.rings, 50);
}

// MSI to the right address, but for its upper half.
guest_code!(
    sends_it_far_away,
    "mov ebx, 0xe0018000",
    "mov word ptr [rbx + 4], 6",
    "mov edi, [rbx + 0x10]",
    "mov dword ptr [rbx + 0x44], 0xfee00000",
    "mov dword ptr [rbx + 0x48], 1",
    "mov word ptr [rbx + 0x4c], 0x30",
    "mov word ptr [rbx + 0x42], 1",
    "mov dword ptr [rdi], 1",
    "mov dx, 0x604",
    "mov ax, 0x2000",
    "out dx, ax",
);

#[test]
fn message_above_4_gib_goes_nowhere() {
    let Some(rules) = rules_of(sends_it_far_away()) else { return };
    assert_eq!(rules, ["msi-nowhere"]);
}

guest_code!(runs_astray, "mov eax, 0xd0000000", "jmp rax");

#[test]
fn guest_that_runs_to_where_there_is_no_memory_is_to_blame_for_it() {
    let Some(outcome) = Stand::new(runs_astray()).run() else { return };
    let End::Stuck(stuck) = outcome.end else { panic!("{:?}", outcome.end) };
    assert!(stuck.astray && stuck.to_string().contains("ran to 0xd0000000"), "{stuck}");
}
