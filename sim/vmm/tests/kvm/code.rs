//! Guests of a few instructions: position-independent code that starts in long mode at privilege level 0, with the first 4 GiB of
//! memory mapped as they are. Plain moves, port accesses and jumps only: a nested KVM carries them out in software and knows few others.

/// Makes a function that gives the machine code of some assembly.
macro_rules! guest_code {
    ($name:ident, $($line:literal),+ $(,)?) => {
        std::arch::global_asm!(
            ".pushsection .rodata",
            concat!("guest_", stringify!($name), "_begin:"),
            $($line,)+
            concat!("guest_", stringify!($name), "_end:"),
            ".popsection",
        );

        pub(crate) fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("guest_", stringify!($name), "_begin")]
                static BEGIN: u8;
                #[link_name = concat!("guest_", stringify!($name), "_end")]
                static END: u8;
            }
            // SAFETY: the labels enclose constant bytes of one section.
            unsafe {
                let (begin, end) = (&raw const BEGIN, &raw const END);
                std::slice::from_raw_parts(begin, end.offset_from_unsigned(begin))
            }
        }
    };
}
pub(crate) use guest_code;

/// An ELF file with this code, to be entered at its first byte by Linux' 64-bit protocol.
pub(crate) fn kernel(code: &[u8]) -> Vec<u8> {
    const AT: u64 = 0x20_0000;
    let mut file = vec![0; 64 + 56];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62; // x86-64
    file[24..32].copy_from_slice(&AT.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[54..56].copy_from_slice(&56_u16.to_le_bytes());
    file[56..58].copy_from_slice(&1_u16.to_le_bytes());
    let program = &mut file[64..];
    program[0] = 1;
    program[8..16].copy_from_slice(&120_u64.to_le_bytes());
    program[24..32].copy_from_slice(&AT.to_le_bytes());
    for at in [32, 40] {
        program[at..at + 8].copy_from_slice(&(code.len() as u64).to_le_bytes());
    }
    file.extend_from_slice(code);
    file
}
