//! Machines with a guest of a few instructions, for tests that need no more.
#![allow(dead_code, reason = "each test uses some of it")]

use std::io::Write;

use bringup_core::{Bus, BusConfig};
use bringup_vmm::{End, Error, Input, Machine, Settings, layout, memory};

/// `mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt; jmp`: turns the machine off.
pub(crate) const POWER_OFF: &[u8] = &[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4, 0xeb, 0xfd];

/// `xor rax, rax; inc rax; mov [0x200000], rax; jmp -13`: counts, for ever.
pub(crate) const COUNT: &[u8] =
    &[0x48, 0x31, 0xc0, 0x48, 0xff, 0xc0, 0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, 0xeb, 0xf3];

/// An ELF file of this code at 1 MiB, entered in long mode.
pub(crate) fn kernel(code: &[u8]) -> tempfile::NamedTempFile {
    const HEADERS: usize = 64 + 56;
    let mut elf = vec![0; HEADERS];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62; // x86-64
    elf[24..32].copy_from_slice(&layout::KERNEL.to_le_bytes());
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
    elf[54..56].copy_from_slice(&56_u16.to_le_bytes());
    elf[56..58].copy_from_slice(&1_u16.to_le_bytes());
    let program = &mut elf[64..];
    program[0] = 1;
    program[8..16].copy_from_slice(&(HEADERS as u64).to_le_bytes());
    program[24..32].copy_from_slice(&layout::KERNEL.to_le_bytes());
    for at in [32, 40] {
        program[at..at + 8].copy_from_slice(&4096_u64.to_le_bytes());
    }
    elf.extend_from_slice(code);
    elf.resize(HEADERS + 4096, 0x90);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&elf).unwrap();
    file
}

/// Settings for a guest of this code. The file must live until the machine is made.
pub(crate) fn settings(kernel: &tempfile::NamedTempFile) -> Settings {
    Settings {
        kernel: kernel.path().into(),
        initrd: Vec::new(),
        command_line: String::new(),
        cpus: 1,
        input: None::<Input>,
        output: Box::new(std::io::sink()),
        doorbells: true,
        seccomp: bringup_vmm::seccomp::is_available(),
        gdb: None,
    }
}

/// A machine of 16 MiB without devices. `None`, and a line, where there is no KVM.
pub(crate) fn machine(settings: Settings) -> Option<Machine> {
    let bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(memory(16 << 20).unwrap()) });
    match Machine::new(settings, bus) {
        Ok(machine) => Some(machine),
        Err(error @ (Error::NoKvm(_) | Error::Capability(_))) => {
            skipped(&format!("a guest: {error}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether KVM lets the guest's kernel run on the processor. One that carries it out in software, as a nested one may, has neither
/// `int3` nor watchpoints.
pub(crate) fn kvm_is_full() -> bool {
    let int3 = kernel(&[0xcc]);
    let Some(machine) = machine(settings(&int3)) else { return false };
    let full = matches!(machine.run().unwrap().end, End::TripleFault);
    if !full {
        skipped("what needs a full KVM: this host's carries out the guest's kernel in software");
    }
    full
}

/// Says what is not tested here, where the harness does not hide it.
pub(crate) fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}");
}
