//! What a guest's access to a device costs: from the guest to the device's register and back, against a loop that does nothing but run
//! the vCPU. `cargo bench -p bringup-vmm --bench exits` prints the ratio of the two, measured in turn in one run.

#![expect(
    unsafe_code,
    reason = "guests are assembly between two labels of this program, and memory of it is mapped into one"
)]

#[path = "../tests/kvm/code.rs"]
mod code;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bringup_core::{Access, Bar, Bus, BusConfig, Cx, Device, Function, Reply, Reset};
use bringup_vmm::{Machine, Settings, layout, memory};
use code::{guest_code, kernel};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// How often the guest reads the register in one round.
const READS: u32 = 20_000;
const ROUNDS: usize = 7;

// Decoding on, then reads of the first register for ever. RBX is the BAR.
guest_code!(
    reads,
    "mov ebx, 0xe0018000", // 00:03.0 in ECAM
    "mov word ptr [rbx + 4], 2",
    "mov ebx, [rbx + 0x10]",
    "2: mov eax, [rbx]",
    "jmp 2b",
);

/// When the register was read for the first time and for the last.
type Times = Arc<Mutex<Vec<Instant>>>;

/// A register that stops its machine when it was read often enough.
struct Clock {
    reads: u32,
    times: Times,
    done: std::sync::mpsc::Sender<()>,
}

impl Device for Clock {
    fn function(&self) -> Function {
        Function::new(0x1234, 0x5678).bar(Bar::memory32(0, 4096))
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        if self.reads == 0 || self.reads == READS {
            self.times.lock().unwrap().push(Instant::now());
        }
        if self.reads == READS {
            // The listener stops the machine, and may have gone since.
            let _ = self.done.send(());
        }
        self.reads += 1;
        Ok(self.reads.into())
    }

    fn write(&mut self, _cx: &mut Cx<'_>, _at: Access, _value: u64) -> Reply<()> {
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

fn each(times: &[Instant]) -> Duration {
    match times {
        [first, last, ..] => last.duration_since(*first) / READS,
        _ => panic!("the guest did not read"),
    }
}

fn ours() -> Result<Duration, bringup_vmm::Error> {
    let times = Times::default();
    let mut bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(memory(16 << 20)?) });
    let (done, listener) = std::sync::mpsc::channel();
    bus.plug("clock", Box::new(Clock { reads: 0, times: times.clone(), done })).expect("an empty bus");
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("kernel");
    std::fs::write(&path, kernel(reads())).expect("a file");
    let settings = Settings {
        kernel: path,
        initrd: Vec::new(),
        command_line: String::new(),
        cpus: 1,
        input: None,
        output: Box::new(std::io::sink()),
        doorbells: true,
        seccomp: bringup_vmm::seccomp::is_available(),
        gdb: None,
    };
    let machine = Machine::new(settings, bus)?;
    let stopper = machine.stopper();
    let stop = std::thread::spawn(move || {
        let _ = listener.recv();
        stopper.stop();
    });
    machine.run()?;
    stop.join().expect("it only waits");
    let times = times.lock().expect("nobody panicked");
    Ok(each(&times))
}

/// A machine of nothing but a vCPU and memory, and a loop that answers reads with zeros.
fn bare() -> Result<Duration, kvm_ioctls::Error> {
    const AT: u64 = 0x20_0000;
    let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 << 20)]).expect("memory");
    ram.write_slice(reads(), GuestAddress(AT)).expect("it fits");
    // The first 4 GiB as they are, in pages of 1 GiB.
    ram.write_obj(0x2003_u64, GuestAddress(0x1000)).expect("it fits");
    for gib in 0..4_u64 {
        // Pages of 2 MiB: not every processor has larger ones.
        ram.write_obj(0x3003 + gib * 0x1000, GuestAddress(0x2000 + gib * 8)).expect("it fits");
        for page in 0..512_u64 {
            let entry = gib << 30 | page << 21 | 0x83;
            ram.write_obj(entry, GuestAddress(0x3000 + gib * 0x1000 + page * 8)).expect("it fits");
        }
    }
    let kvm = Kvm::new()?;
    let vm = kvm.create_vm()?;
    vm.set_tss_address(layout::KVM_TSS as usize)?;
    vm.create_irq_chip()?;
    let host = ram.get_host_address(GuestAddress(0)).expect("memory");
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: 16 << 20,
        userspace_addr: host as u64,
    };
    // SAFETY: the memory outlives the machine, which ends with this function.
    unsafe { vm.set_user_memory_region(region) }?;
    let mut vcpu = vm.create_vcpu(0)?;
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
    let mut sregs = vcpu.get_sregs()?;
    let flat = |kind, l| kvm_segment {
        limit: !0,
        selector: 8,
        type_: kind,
        present: 1,
        s: 1,
        l,
        db: 1 - l,
        g: 1,
        ..Default::default()
    };
    sregs.cs = flat(0xb, 1);
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.ss] {
        *segment = flat(3, 0);
    }
    sregs.cr0 = 1 << 31 | 1 << 4 | 1;
    sregs.cr3 = 0x1000;
    sregs.cr4 = 1 << 5;
    sregs.efer = 1 << 10 | 1 << 8;
    vcpu.set_sregs(&sregs)?;
    let mut regs = vcpu.get_regs()?;
    (regs.rip, regs.rflags) = (AT, 2);
    vcpu.set_regs(&regs)?;
    let (mut count, mut times) = (0, Vec::new());
    while count <= READS + 1 {
        match vcpu.run()? {
            VcpuExit::MmioRead(_, into) => {
                // The first one is of configuration space, and asks for the BAR.
                into.copy_from_slice(&(layout::MEMORY32.start as u32).to_le_bytes()[..into.len()]);
                if count == 1 || count == READS + 1 {
                    times.push(Instant::now());
                }
                count += 1;
            }
            VcpuExit::MmioWrite(..) => {}
            other => panic!("{other:?}"),
        }
    }
    Ok(each(&times))
}

fn main() {
    let (mut all_bare, mut all_ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        match (bare(), ours()) {
            (Ok(bare), Ok(ours)) => {
                all_bare.push(bare);
                all_ours.push(ours);
            }
            (bare, ours) => {
                let why = ours.err().map(|e| e.to_string()).or(bare.err().map(|e| e.to_string()));
                return println!("SKIPPED exits: {}", why.unwrap_or_default());
            }
        }
    }
    let median = |list: &mut Vec<Duration>| {
        list.sort();
        list[list.len() / 2]
    };
    let (bare, ours) = (median(&mut all_bare), median(&mut all_ours));
    println!("exit to a loop that does nothing, and back   {bare:>10.2?}");
    println!(
        "exit to a device's register, and back        {ours:>10.2?}   ratio {:.2}",
        ours.as_secs_f64() / bare.as_secs_f64()
    );
}
