//! From nothing to Linux' init: our machine against QEMU's microvm, both under KVM, in turn, in one run.
//!
//! `BRINGUP_KERNEL=vmlinux BRINGUP_QEMU=qemu-system-x86_64 cargo bench -p bringup-vmm --bench boot`. The kernel must be able to start
//! by PVH, which both can; its init is a program of two system calls.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bringup_core::{Bus, BusConfig};
use bringup_vmm::{End, Machine, Settings, layout, memory};

const ROUNDS: usize = 5;
const LINE: &str = "console=ttyS0 panic=-1 quiet loglevel=1 reboot=t";
const SAYS: &str = "init is here";

/// A static program: says that it is there, and restarts the machine (which ends it: by a triple fault on both sides).
fn init() -> Vec<u8> {
    const AT: u64 = 0x40_0000;
    const HEADERS: usize = 64 + 56;
    let text = format!("{SAYS}\n");
    let mut code = Vec::new();
    let value = |code: &mut Vec<u8>, register: u8, value: u32| {
        code.push(0xb8 + register);
        code.extend_from_slice(&value.to_le_bytes());
    };
    // write(1, text, len); reboot(MAGIC1, MAGIC2, LINUX_REBOOT_CMD_RESTART): eax, edi, esi, edx.
    let text_at = AT as u32 + HEADERS as u32 + 2 * (4 * 5 + 2) + 2;
    for [number, first, second, third] in
        [[1, 1, text_at, text.len() as u32], [169, 0xfee1_dead, 672_274_793, 0x0123_4567]]
    {
        value(&mut code, 0, number);
        value(&mut code, 7, first);
        value(&mut code, 6, second);
        value(&mut code, 2, third);
        code.extend_from_slice(&[0x0f, 0x05]);
    }
    code.extend_from_slice(&[0xeb, 0xfe]); // for ever
    code.extend_from_slice(text.as_bytes());
    let mut file = vec![0; HEADERS];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16..20].copy_from_slice(&[2, 0, 62, 0]);
    file[20] = 1;
    file[24..32].copy_from_slice(&(AT + HEADERS as u64).to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[52..58].copy_from_slice(&[64, 0, 56, 0, 1, 0]);
    let len = (HEADERS + code.len()) as u64;
    let program = &mut file[64..];
    (program[0], program[4]) = (1, 5);
    program[16..24].copy_from_slice(&AT.to_le_bytes());
    program[24..32].copy_from_slice(&AT.to_le_bytes());
    program[32..40].copy_from_slice(&len.to_le_bytes());
    program[40..48].copy_from_slice(&len.to_le_bytes());
    program[48..56].copy_from_slice(&0x1000_u64.to_le_bytes());
    file.extend_from_slice(&code);
    file
}

/// An archive in cpio's "newc" format: the init, and the console that it says it on.
fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut entry = |name: &str, mode: u32, device: (u32, u32), content: &[u8]| {
        let fields = [1, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
        bytes.extend_from_slice(b"070701");
        for field in fields {
            bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    entry("dev", 0o040_755, (0, 0), &[]);
    entry("dev/console", 0o020_600, (5, 1), &[]);
    entry("init", 0o100_755, (0, 0), &init());
    entry("TRAILER!!!", 0, (0, 0), &[]);
    bytes
}

fn ours(kernel: &Path, initrd: &[u8]) -> Result<Duration, String> {
    let began = Instant::now();
    let (mut reader, writer) = io::pipe().map_err(|error| error.to_string())?;
    let ram = memory(256 << 20).map_err(|error| error.to_string())?;
    let bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(ram) });
    let settings = Settings {
        kernel: kernel.to_owned(),
        initrd: initrd.to_vec(),
        command_line: LINE.into(),
        cpus: 1,
        input: None,
        output: Box::new(writer),
        doorbells: true,
        seccomp: bringup_vmm::seccomp::is_available(),
        gdb: None,
    };
    let machine = Machine::new(settings, bus).map_err(|error| error.to_string())?;
    let listener = std::thread::spawn(move || seen(&mut reader, began));
    let end = machine.run().map_err(|error| error.to_string())?.end;
    let seen = listener.join().map_err(|_| "the listener panicked")?;
    seen.ok_or_else(|| match end {
        End::Stuck(stuck) => stuck.to_string(),
        other => format!("the guest's init was not reached: {other:?}"),
    })
}

fn qemu(kernel: &Path, initrd: &[u8]) -> Result<Duration, String> {
    let program = std::env::var_os("BRINGUP_QEMU").ok_or("BRINGUP_QEMU names no qemu-system-x86_64")?;
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    std::fs::write(file.path(), initrd).map_err(|error| error.to_string())?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["-M", "microvm", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-serial", "stdio", "-no-reboot", "-append", LINE, "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("QEMU: {error}"))?;
    let seen = child.stdout.take().and_then(|mut console| seen(&mut console, began));
    let _ = child.kill();
    child.wait().map_err(|error| error.to_string())?;
    seen.ok_or_else(|| "QEMU's guest did not reach its init".into())
}

/// When the init was heard on a console, from the beginning.
fn seen(console: &mut dyn io::Read, began: Instant) -> Option<Duration> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        match console.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
        }
        if String::from_utf8_lossy(&heard).contains(SAYS) {
            return Some(began.elapsed());
        }
    }
}

fn main() {
    let Some(kernel) = std::env::var_os("BRINGUP_KERNEL").map(PathBuf::from) else {
        return println!("SKIPPED boot: BRINGUP_KERNEL names no vmlinux");
    };
    let initrd = archive();
    let (mut all_ours, mut all_qemu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        match (ours(&kernel, &initrd), qemu(&kernel, &initrd)) {
            (Ok(ours), Ok(qemu)) => {
                all_ours.push(ours);
                all_qemu.push(qemu);
            }
            (ours, qemu) => return println!("SKIPPED boot: {}", ours.err().or(qemu.err()).unwrap_or_default()),
        }
    }
    let median = |list: &mut Vec<Duration>| {
        list.sort();
        list[list.len() / 2]
    };
    let (ours, qemu) = (median(&mut all_ours), median(&mut all_qemu));
    println!(
        "boot to init   ours {ours:>8.2?}   QEMU microvm {qemu:>8.2?}   ratio {:.2}",
        ours.as_secs_f64() / qemu.as_secs_f64()
    );
}
