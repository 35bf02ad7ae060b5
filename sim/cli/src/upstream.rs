//! `bringup upstream`: builds a driver's file, as it is, inside a real kernel tree, and runs it there behind a door.

mod beside;
mod in_vm;
mod qemu;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bringup_bench::module::Loadable;

use crate::args::{Door, UpstreamArgs, UpstreamCommand};
use crate::failure::{Failure, read, read_regular, reason};
use crate::output::Out;
use crate::output_file;

type Result<T> = std::result::Result<T, Failure>;

/// Does what `bringup upstream …` asks for.
///
/// # Errors
/// When the tree cannot build modules, the driver does not compile there, or the guest does not come up.
pub(crate) fn upstream(command: &UpstreamCommand, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8> {
    let (arguments, runs) = match command {
        UpstreamCommand::Build(arguments) => (arguments, false),
        UpstreamCommand::Run(arguments) => (arguments, true),
    };
    match arguments.door {
        Door::Vm if runs => return in_vm::run(arguments, linked, out),
        _ if arguments.timeout.is_some() => return Err(Failure::new("--timeout goes with upstream run --door vm")),
        _ if arguments.no_seccomp => return Err(Failure::new("--no-seccomp goes with upstream run --door vm")),
        _ => {}
    }
    if let Some(target) = arguments.output.as_deref().filter(|_| !runs) {
        output_file::check(target).map_err(|error| Failure::file("write", target, &error))?;
    }
    let work = Work::new()?;
    if runs {
        let clean = arguments.boot_qemu(&work.0, &mut io::stdout())?;
        return Ok(if clean { 0 } else { 1 });
    }
    let built = arguments.build(&work.0)?;
    let name = built.file_name().map(PathBuf::from).unwrap_or_default();
    let target = arguments.output.clone().unwrap_or(name);
    output_file::write(&target, &read(&built)?).map_err(|error| Failure::file("write", &target, &error))?;
    println!("built {}", target.display());
    Ok(0)
}

/// A directory that is gone when the work is done.
struct Work(PathBuf);

impl Work {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("bringup-upstream-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| Failure::file("make", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed from the temporary directory is the system's to clean up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl UpstreamArgs {
    fn name(&self) -> Result<String> {
        let stem = self.driver.file_stem().and_then(|stem| stem.to_str());
        stem.map(str::to_owned)
            .ok_or_else(|| Failure::new(format_args!("cannot read {}: it is no file", self.driver.display())))
    }

    /// What the module is called: as the file, unless the kernel has a module of that name built in and would take it for
    /// loaded.
    fn module_name(&self) -> Result<String> {
        let name = self.name()?;
        // Not every tree has the list; then the kernel has the last word.
        let built_in = fs::read_to_string(self.kernel_tree.join("modules.builtin")).unwrap_or_default();
        let taken = built_in
            .lines()
            .filter_map(|path| Path::new(path.trim()).file_stem()?.to_str())
            .any(|other| other.replace('-', "_") == name.replace('-', "_"));
        Ok(if taken { format!("bringup_{name}") } else { name })
    }

    /// The tree, and how its kernel is configured.
    fn tree(&self) -> Result<(PathBuf, String)> {
        read_regular(&self.driver)?;
        let tree =
            fs::canonicalize(&self.kernel_tree).map_err(|error| Failure::file("find", &self.kernel_tree, &error))?;
        let config = fs::read_to_string(tree.join(".config")).map_err(|_| {
            Failure::new(format_args!(
                "{} is no configured kernel tree: it has no .config; give the directory that the kernel was built in",
                tree.display()
            ))
        })?;
        if !config.contains("CONFIG_RUST=y") {
            return Err(Failure::new(format_args!(
                "the kernel in {} is configured without Rust (CONFIG_RUST)",
                tree.display()
            )));
        }
        Ok((tree, config))
    }

    /// The tree's kernel, as something that boots.
    fn image(&self) -> Result<PathBuf> {
        let images = ["vmlinux", "arch/x86/boot/bzImage"].map(|path| self.kernel_tree.join(path));
        images.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            let tree = self.kernel_tree.display();
            Failure::new(format_args!("no kernel in {tree}: neither vmlinux nor arch/x86/boot/bzImage"))
        })
    }

    /// Builds the module; returns where it is.
    fn build(&self, work: &Path) -> Result<PathBuf> {
        let (name, module) = (self.name()?, self.module_name()?);
        let (tree, config) = self.tree()?;
        let folder = self.driver.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        copy_sources(folder, work).map_err(|error| Failure::file("copy the sources in", folder, &error))?;
        let kbuild = work.join("Kbuild");
        let objects = if module == name {
            format!("obj-m := {name}.o\n")
        } else {
            // A module of one object that is called otherwise.
            format!("obj-m := {module}.o\n{module}-y := {name}.o\n")
        };
        fs::write(&kbuild, objects).map_err(|error| Failure::file("write", &kbuild, &error))?;
        let mut make = Command::new("make");
        make.arg("-s").arg("-C").arg(&tree).arg(format!("M={}", work.display())).arg("modules");
        if config.contains("CONFIG_CC_IS_CLANG=y") {
            make.arg("LLVM=1");
        }
        let output = make.stdin(Stdio::null()).output().map_err(|error| {
            Failure::new(format_args!("cannot run make, which building a kernel module needs: {}", reason(&error)))
        })?;
        let said = [output.stdout, output.stderr].concat();
        let shown =
            String::from_utf8_lossy(&said).replace(&format!("{name}.rs:"), &format!("{}:", self.driver.display()));
        eprint!("{shown}");
        if !output.status.success() {
            let (driver, tree) = (self.driver.display(), tree.display());
            return Err(Failure::new(format_args!("{driver} does not build in {tree}")));
        }
        Ok(work.join(format!("{module}.ko")))
    }
}

fn copy_sources(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name();
        // Links are not followed: a tree may contain itself.
        if entry.file_type()?.is_dir() && !["tests", "benches", "target", ".git"].iter().any(|skip| name == *skip) {
            fs::create_dir_all(&target)?;
            copy_sources(&path, &target)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
