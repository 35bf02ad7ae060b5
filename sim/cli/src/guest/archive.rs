//! Writes archives in cpio's "newc" format, which Linux takes as its first file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// An archive in the making.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// Adds a directory. Those above it must be there.
    pub(crate) fn directory(&mut self, name: impl AsRef<OsStr>) {
        self.entry(name.as_ref(), 0o040_755, &[]);
    }

    /// Adds a file of less than 4 GiB with these permission bits.
    pub(crate) fn file(&mut self, name: impl AsRef<OsStr>, mode: u32, content: &[u8]) {
        self.entry(name.as_ref(), 0o100_000 | mode & 0o7777, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: impl AsRef<OsStr>, target: impl AsRef<OsStr>) {
        self.entry(name.as_ref(), 0o120_777, target.as_ref().as_bytes());
    }

    /// How long it is so far.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The whole archive.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(OsStr::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &OsStr, mode: u32, content: &[u8]) {
        self.inode += 1;
        let (name, len) = (name.as_bytes(), u32::try_from(content.len()).unwrap_or(u32::MAX));
        // inode, mode, uid, gid, links, mtime, size, device, device of a node, length of the name, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_trailer_ends_them() {
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.file("init", 0o755, b"#!");
        archive.link("bin/sh", "busybox");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.match_indices("070701").map(|(at, _)| at % 4).collect::<Vec<_>>(), [0, 0, 0, 0]);
        assert_eq!(&bytes[14..22], b"000041ed");
        assert!(text.contains("TRAILER!!!") && text.contains("busybox"));
    }
}
