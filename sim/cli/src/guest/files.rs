//! The guest's `/p`: modules, files, and directories with all that is in them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use crate::failure::{Failure, check_regular, read, read_regular};

/// What is in it so far.
#[derive(Debug)]
pub(crate) struct Files {
    archive: Archive,
    /// The names in `/p` itself.
    taken: BTreeSet<OsString>,
    /// What directories hold that is not taken: sockets, pipes and devices are the host's.
    left_out: Vec<PathBuf>,
    most: u64,
}

impl Files {
    /// Nothing, and room for so many bytes.
    pub(crate) fn new(most: u64) -> Self {
        let mut archive = Archive::default();
        archive.directory("p");
        Self { archive, taken: BTreeSet::from(["take".into()]), left_out: Vec::new(), most }
    }

    /// Adds a module; what it is called there.
    ///
    /// # Errors
    /// When it is none, cannot be read, or its name is taken.
    pub(crate) fn module(&mut self, path: &Path) -> Result<String, Failure> {
        let bytes = read_regular(path)?;
        if let Some(why) = no_module(&bytes) {
            return Err(Failure::new(format_args!("{} is no kernel module: {why}", path.display())));
        }
        let name = self.take(path)?;
        let name = name
            .into_string()
            .map_err(|_| Failure::new(format_args!("cannot load {}: its name is not UTF-8", path.display())))?;
        self.archive.file(format!("p/{name}"), 0o644, &bytes);
        self.check_room(path)?;
        Ok(name)
    }

    /// Adds a file, or a directory with all that is in it. A link is followed if it is given itself; in a directory it stays what it is.
    ///
    /// # Errors
    /// When something cannot be read, or its name is taken.
    pub(crate) fn share(&mut self, path: &Path) -> Result<(), Failure> {
        let about = fs::metadata(path).map_err(|error| Failure::file("read", path, &error))?;
        check_regular(path)?;
        let inside = Path::new("p").join(self.take(path)?);
        if about.is_dir() {
            return self.tree(path, &inside);
        }
        // What is named itself is there to be used.
        self.file(path, &inside, about.permissions().mode() | 0o755)
    }

    /// What there is to be said of what was not taken.
    pub(crate) fn left_out(&self) -> Option<String> {
        /// So many are named.
        const NAMED: usize = 3;
        let named: Vec<_> = self.left_out.iter().take(NAMED).map(|path| path.display().to_string()).collect();
        let more = match self.left_out.len() {
            0 => return None,
            count if count > NAMED => format!(" and {} more", count - NAMED),
            _ => String::new(),
        };
        Some(format!("not shared, as they are sockets, pipes or devices: {}{more}", named.join(", ")))
    }

    /// The archive, to be gone on with.
    pub(crate) fn finish(self) -> Archive {
        self.archive
    }

    fn tree(&mut self, path: &Path, inside: &Path) -> Result<(), Failure> {
        let failed = |error| Failure::file("read", path, &error);
        self.archive.directory(inside);
        let entries = fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        // The same archive from the same files.
        paths.sort();
        for path in paths {
            let about = fs::symlink_metadata(&path).map_err(|error| Failure::file("read", &path, &error))?;
            let inside = inside.join(path.file_name().unwrap_or_default());
            if about.is_dir() {
                self.tree(&path, &inside)?;
            } else if about.is_symlink() {
                let target = fs::read_link(&path).map_err(|error| Failure::file("read", &path, &error))?;
                self.archive.link(inside, target);
            } else if about.is_file() {
                self.file(&path, &inside, about.permissions().mode())?;
            } else {
                self.left_out.push(path);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, inside: &Path, mode: u32) -> Result<(), Failure> {
        self.archive.file(inside, mode & 0o777, &read(path)?);
        self.check_room(path)
    }

    fn check_room(&self, path: &Path) -> Result<(), Failure> {
        if self.archive.len() > self.most {
            return Err(Failure::new(format_args!(
                "{} and what comes before it do not fit into {} MiB of memory; give the guest more (--memory)",
                path.display(),
                self.most >> 20
            )));
        }
        Ok(())
    }

    /// The last part of a path, as the name of something that is not there yet.
    fn take(&mut self, path: &Path) -> Result<OsString, Failure> {
        // "." has a name too.
        let whole = fs::canonicalize(path).map_err(|error| Failure::file("read", path, &error))?;
        let name: &OsStr = path
            .file_name()
            .or(whole.file_name())
            .ok_or_else(|| Failure::new(format_args!("cannot share {}: it has no name", path.display())))?;
        if !self.taken.insert(name.to_owned()) {
            return Err(Failure::new(format_args!(
                "cannot put {} into the guest: there is a /p/{} already",
                path.display(),
                name.display()
            )));
        }
        Ok(name.to_owned())
    }
}

/// Why a file is no module for x86-64.
fn no_module(bytes: &[u8]) -> Option<&'static str> {
    const RELOCATABLE: [u8; 2] = [1, 0];
    const X86_64: [u8; 2] = [62, 0];
    match bytes {
        [0x1f, 0x8b, ..] => Some("it is compressed; gunzip it first"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("it is compressed; unxz it first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("it is compressed; unzstd it first"),
        [0x7f, b'E', b'L', b'F', ..] => match (bytes.get(16..18), bytes.get(18..20)) {
            (Some(kind), Some(machine)) if kind == RELOCATABLE && machine == X86_64 => None,
            (Some(kind), Some(_)) if kind == RELOCATABLE => Some("it is for another processor than x86-64"),
            (Some(_), Some(_)) => Some("it is an ELF file of another type, such as a program"),
            _ => Some("it is cut short"),
        },
        _ => Some("it is no ELF file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        (bytes[16], bytes[18]) = (1, 62);
        bytes
    }

    fn text(files: Files) -> String {
        String::from_utf8_lossy(&files.finish().finish()).into_owned()
    }

    #[test]
    fn modules_are_told_from_what_they_are_not() {
        assert_eq!(no_module(&module()), None);
        let mut program = module();
        program[16] = 2;
        let mut foreign = module();
        foreign[18] = 183;
        for (bytes, word) in [
            (&b"hello"[..], "no ELF file"),
            (b"", "no ELF file"),
            (b"\x7fELF", "cut short"),
            (&program, "another type"),
            (&foreign, "another processor"),
            (b"\x28\xb5\x2f\xfd", "unzstd"),
        ] {
            assert!(no_module(bytes).unwrap().contains(word), "{bytes:?}");
        }
    }

    #[test]
    fn directory_is_taken_whole_and_links_in_it_stay_links() {
        let room = tempfile::tempdir().unwrap();
        let tree = room.path().join("tree");
        fs::create_dir_all(tree.join("deep/er")).unwrap();
        fs::write(tree.join("deep/er/file"), "content").unwrap();
        std::os::unix::fs::symlink("..", tree.join("deep/loop")).unwrap();
        std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
        let mut files = Files::new(1 << 20);
        files.share(&tree).unwrap();
        let left_out = files.left_out().unwrap();
        assert!(left_out.ends_with(&format!("devices: {}", tree.join("socket").display())), "{left_out}");
        let text = text(files);
        for part in ["p/tree/deep/er/file", "content", "p/tree/deep/loop"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("loop/er") && !text.contains("socket"));
    }

    #[test]
    fn name_that_is_taken_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let (a, b) = (room.path().join("a/x.ko"), room.path().join("b/x.ko"));
        for path in [&a, &b] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, module()).unwrap();
        }
        let mut files = Files::new(1 << 20);
        assert_eq!(files.module(&a).unwrap(), "x.ko");
        assert!(files.share(&b).unwrap_err().to_string().ends_with("there is a /p/x.ko already"));
    }

    #[test]
    fn more_than_the_memory_holds_is_refused_before_all_of_it_is_read() {
        let room = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(room.path().join(name), vec![0; 600_000]).unwrap();
        }
        let refusal = Files::new(1 << 20).share(room.path()).unwrap_err().to_string();
        assert!(refusal.contains("/b and what comes before it do not fit into 1 MiB"), "{refusal}");
    }

    #[test]
    fn of_much_that_is_left_out_some_is_named_and_the_rest_counted() {
        let room = tempfile::tempdir().unwrap();
        let tree = room.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            std::os::unix::net::UnixListener::bind(tree.join(name)).unwrap();
        }
        let mut files = Files::new(1 << 20);
        assert_eq!(files.left_out(), None);
        files.share(&tree).unwrap();
        assert!(files.left_out().unwrap().ends_with("/c and 2 more"));
        assert!(files.share(&tree.join("a")).is_err());
    }
}
