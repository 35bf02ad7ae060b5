//! The guest's programs: a statically linked busybox of the host's.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, check_regular};

const WHERE: &str = "install a statically linked one (busybox-static), or give --busybox FILE";

/// Where it is.
#[derive(Debug)]
pub(crate) struct Busybox(pub(crate) PathBuf);

impl Busybox {
    /// The one that is `given`, else the one on the PATH.
    ///
    /// # Errors
    /// When there is none, or it needs libraries, which a guest does not have.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self, Failure> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => {
                let folders = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&folders)
                    .filter(|folder| !folder.as_os_str().is_empty())
                    .map(|folder| folder.join("busybox"))
                    .find(|file| file.is_file())
                    .ok_or_else(|| Failure::new(format_args!("no busybox on the PATH: {WHERE}")))?
            }
        };
        check_regular(&path)?;
        let mut file = File::open(&path).map_err(|error| Failure::file("read", &path, &error))?;
        match needs_libraries(&mut file) {
            Some(false) => Ok(Self(path)),
            Some(true) => Err(Failure::new(format_args!(
                "{} is linked dynamically, and the guest has no libraries: {WHERE}",
                path.display()
            ))),
            None => {
                Err(Failure::new(format_args!("{} is no program for x86-64 that a guest could run", path.display())))
            }
        }
    }
}

/// Whether a program asks for an interpreter that links it; `None` if it is no program for x86-64.
fn needs_libraries(file: &mut (impl Read + Seek)) -> Option<bool> {
    const X86_64: u16 = 62;
    const INTERPRETER: u32 = 3;
    let mut header = [0; 64];
    file.read_exact(&mut header).ok()?;
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if header[..6] != *b"\x7fELF\x02\x01" || !matches!(half(16), 2 | 3) || half(18) != X86_64 {
        return None;
    }
    let table = u64::from_le_bytes(header[32..40].try_into().ok()?);
    let (size, count) = (u64::from(half(54)), u64::from(half(56)));
    for index in 0..count {
        let mut kind = [0; 4];
        file.seek(SeekFrom::Start(table.checked_add(index * size)?)).ok()?;
        file.read_exact(&mut kind).ok()?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A program of one segment of this kind.
    fn program(kind: u32) -> Cursor<Vec<u8>> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16] = 2;
        file[18] = 62;
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        Cursor::new(file)
    }

    #[test]
    fn program_with_an_interpreter_needs_libraries() {
        assert_eq!(needs_libraries(&mut program(3)), Some(true));
        assert_eq!(needs_libraries(&mut program(1)), Some(false));
    }

    #[test]
    fn what_is_no_program_is_neither() {
        assert_eq!(needs_libraries(&mut Cursor::new(b"#!/bin/sh\n")), None);
        let mut cut = program(1).into_inner();
        cut.truncate(65);
        assert_eq!(needs_libraries(&mut Cursor::new(cut)), None);
    }
}
