//! Linux' 64-bit protocol: `boot_params`, and the page tables that it starts with (Documentation/arch/x86/boot.rst).

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Initrd, map};
use crate::error::Error;
use crate::layout;

pub(super) fn write(
    memory: &GuestMemoryMmap,
    header: Option<setup_header>,
    line_len: usize,
    initrd: Option<Initrd>,
) -> Result<(), Error> {
    let mut params = boot_params { hdr: header.unwrap_or_default(), ..Default::default() };
    params.hdr.type_of_loader = 0xff;
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = 0x5372_6448;
    params.hdr.cmd_line_ptr = layout::COMMAND_LINE as u32;
    params.hdr.cmdline_size = line_len as u32;
    params.hdr.kernel_alignment = params.hdr.kernel_alignment.max(0x20_0000);
    if let Some(Initrd { at, len }) = initrd {
        // It was put below 4 GiB.
        params.hdr.ramdisk_image = at as u32;
        params.hdr.ramdisk_size = len as u32;
    }
    params.acpi_rsdp_addr = layout::RSDP;
    let areas = map(memory);
    params.e820_entries = areas.len() as u8;
    for (entry, area) in params.e820_table.iter_mut().zip(&areas) {
        *entry = boot_e820_entry { addr: area.at, size: area.len, r#type: if area.usable { 1 } else { 2 } };
    }
    let boot = BootParams::new::<boot_params>(&params, GuestAddress(layout::ZERO_PAGE));
    LinuxBootConfigurator::write_bootparams::<GuestMemoryMmap>(&boot, memory)
        .map_err(|_| Error::Memory("the memory ends below the kernel's parameters; a machine needs 2 MiB".into()))?;
    write_page_tables(memory)
        .map_err(|_| Error::Memory("the memory ends below the first page tables; a machine needs 2 MiB".into()))
}

/// The first 4 GiB as they are, in pages of 2 MiB.
fn write_page_tables(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 0x80;
    const TABLE: u64 = 0x1000;
    let put = |table: u64, index: u64, entry: u64| memory.write_obj(entry, GuestAddress(table + index * 8));
    let (top, middle) = (layout::PAGE_TABLES, layout::PAGE_TABLES + TABLE);
    put(top, 0, middle | PRESENT_WRITABLE)?;
    for gib in 0..4 {
        let bottom = middle + TABLE * (gib + 1);
        put(middle, gib, bottom | PRESENT_WRITABLE)?;
        for page in 0..512 {
            put(bottom, page, gib << 30 | page << 21 | LARGE | PRESENT_WRITABLE)?;
        }
    }
    Ok(())
}
