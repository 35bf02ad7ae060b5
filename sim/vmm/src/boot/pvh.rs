//! PVH: what a kernel finds at the address in EBX.

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::{Initrd, map};
use crate::error::Error;
use crate::layout;

const MAGIC: u32 = 0x336e_c578;
/// After the start info.
const MODULES: u64 = layout::START_INFO + 0x100;
const MEMORY_MAP: u64 = layout::START_INFO + 0x200;

pub(super) fn write(memory: &GuestMemoryMmap, initrd: Option<Initrd>) -> Result<(), Error> {
    let areas: Vec<_> = map(memory)
        .into_iter()
        .map(|area| hvm_memmap_table_entry {
            addr: area.at,
            size: area.len,
            type_: if area.usable { 1 } else { 2 },
            reserved: 0,
        })
        .collect();
    let info = hvm_start_info {
        magic: MAGIC,
        version: 1,
        nr_modules: initrd.is_some().into(),
        modlist_paddr: if initrd.is_some() { MODULES } else { 0 },
        cmdline_paddr: layout::COMMAND_LINE,
        rsdp_paddr: layout::RSDP,
        memmap_paddr: MEMORY_MAP,
        memmap_entries: areas.len() as u32,
        ..Default::default()
    };
    let mut params = BootParams::new::<hvm_start_info>(&info, GuestAddress(layout::START_INFO));
    params.set_sections::<hvm_memmap_table_entry>(&areas, GuestAddress(MEMORY_MAP));
    if let Some(Initrd { at, len }) = initrd {
        let module = hvm_modlist_entry { paddr: at, size: len, ..Default::default() };
        params.set_modules::<hvm_modlist_entry>(&[module], GuestAddress(MODULES));
    }
    PvhBootConfigurator::write_bootparams::<GuestMemoryMmap>(&params, memory)
        .map_err(|_| Error::Memory("the memory ends below the kernel's start info; a machine needs 2 MiB".into()))
}
