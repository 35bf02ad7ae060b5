//! `bringup upstream`: builds a driver's file, as it is, inside a real kernel tree, and runs it there under QEMU.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::args::{UpstreamArgs, UpstreamCommand};
use crate::cpio::Archive;
use crate::failure::{Failure, read, reason};
use crate::output_file;

type Result<T> = std::result::Result<T, Failure>;

/// Does what `bringup upstream …` asks for.
///
/// # Errors
/// When the tree cannot build modules, the driver does not compile there, or the guest does not come up.
pub(crate) fn upstream(command: &UpstreamCommand) -> Result<u8> {
    let (arguments, runs) = match command {
        UpstreamCommand::Build(arguments) => (arguments, false),
        UpstreamCommand::Run(arguments) => (arguments, true),
    };
    let work = Work::new()?;
    if runs {
        let clean = arguments.boot(&work.0, &mut io::stdout())?;
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

/// Lines in a kernel's log that no correct driver causes.
const ALARMS: [&str; 8] =
    ["BUG:", "Oops", "WARNING:", "DMA-API:", "Kernel panic", "kernel BUG", "nobody cared", "Call Trace"];
/// … except this one, which the DMA debugging code prints at boot.
const NO_ALARM: [&str; 3] = ["DMA-API: preallocated", "DMA-API: debugging enabled", "report a bug"];

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

    /// Builds the module; returns where it is.
    fn build(&self, work: &Path) -> Result<PathBuf> {
        let (name, module) = (self.name()?, self.module_name()?);
        read(&self.driver)?;
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

    /// Builds the module, boots the tree's kernel under QEMU with the devices, loads the module, runs the commands, unloads it.
    /// Prints the guest's log; `true` if no alarm was in it and the commands succeeded.
    fn boot(&self, work: &Path, out: &mut dyn Write) -> Result<bool> {
        let module = self.build(work)?;
        let images = ["vmlinux", "arch/x86/boot/bzImage"].map(|path| self.kernel_tree.join(path));
        let image = images.iter().find(|path| path.is_file()).ok_or_else(|| {
            let tree = self.kernel_tree.display();
            Failure::new(format_args!("no kernel in {tree}: neither vmlinux nor arch/x86/boot/bzImage"))
        })?;
        let initrd = work.join("initrd.cpio");
        fs::write(&initrd, self.archive(&self.module_name()?, &module)?)
            .map_err(|error| Failure::file("write", &initrd, &error))?;
        let mut qemu = Command::new(std::env::var_os("BRINGUP_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into()));
        qemu.args(["-M", "q35,accel=tcg", "-m", "256", "-nographic", "-no-reboot", "-kernel"]).arg(image);
        qemu.arg("-initrd").arg(&initrd);
        qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 quiet loglevel=7 {}", self.append));
        for drive in &self.drive {
            qemu.args(["-drive", drive]);
        }
        for device in &self.device {
            qemu.args(["-device", device]);
        }
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| {
            let program = qemu.get_program().to_string_lossy();
            Failure::new(format_args!(
                "cannot run {program}: {}; install QEMU or name it in BRINGUP_QEMU",
                reason(&error)
            ))
        })?;
        let console = child.stdout.take();
        let outcome = console.map(|console| watch(console, out)).unwrap_or_default();
        // The guest powers off by itself; one that hangs after its last line is ended here.
        if outcome.status.is_some() {
            let _ = child.kill();
        }
        let _ = child.wait();
        match outcome.status {
            None if outcome.begun => Err(Failure::new("the guest ended before its commands did")),
            None => Err(Failure::new(
                "the guest never reached its init; the kernel needs PVH or bzImage, a serial console and initramfs support",
            )),
            Some(0) => Ok(!outcome.alarmed),
            Some(code) => {
                let _ = writeln!(out, "the commands in the guest ended with status {code}");
                Ok(false)
            }
        }
    }

    fn archive(&self, name: &str, module: &Path) -> Result<Vec<u8>> {
        let busybox = self.busybox.clone().map_or_else(find_busybox, Ok)?;
        let mut archive = Archive::default();
        for folder in ["bin", "dev", "proc", "sys", "tmp", "p"] {
            archive.directory(folder);
        }
        archive.file("bin/busybox", 0o755, &read(&busybox)?);
        archive.file(&format!("p/{name}.ko"), 0o644, &read(module)?);
        archive.file("p/take", 0o755, TAKE.as_bytes());
        for file in &self.file {
            let inside = file.file_name().and_then(|name| name.to_str()).unwrap_or("file");
            archive.file(&format!("p/{inside}"), 0o755, &read(file)?);
        }
        let commands = self.run.as_deref().unwrap_or(":");
        let init = format!(
            "#!/bin/busybox sh\n\
             /bin/busybox --install -s /bin\n\
             export PATH=/bin:/p\n\
             mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev 2>/dev/null\n\
             mount -t debugfs d /sys/kernel/debug 2>/dev/null\n\
             cd /p; echo; echo '{BEGIN}'\n\
             insmod /p/{name}.ko; status=$?\n\
             [ $status = 0 ] && {{ ( {commands}\n); status=$?; rmmod {name} || status=$?; }}\n\
             echo; echo \"{STATUS}$status\"\n\
             poweroff -f\n"
        );
        archive.file("init", 0o755, init.as_bytes());
        Ok(archive.finish())
    }
}

/// What the guest's console showed.
#[derive(Default)]
struct Outcome {
    begun: bool,
    alarmed: bool,
    status: Option<i32>,
}

/// Prints what the guest says once its init runs, until it says how its commands ended.
fn watch(console: impl io::Read, out: &mut dyn Write) -> Outcome {
    let mut outcome = Outcome::default();
    for line in BufReader::new(console).split(b'\n').map_while(io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if let Some(code) = line.strip_prefix(STATUS) {
            outcome.status = code.trim().parse().ok();
            break;
        }
        if line == BEGIN {
            outcome.begun = true;
        } else if outcome.begun && !line.is_empty() {
            outcome.alarmed |=
                ALARMS.iter().any(|alarm| line.contains(alarm)) && !NO_ALARM.iter().any(|ok| line.contains(ok));
            // A reader that is gone does not stop the guest.
            let _ = writeln!(out, "{line}");
        }
    }
    outcome
}

/// For the guest's commands: `take VENDOR:DEVICE DRIVER` gives functions to a driver, also if one of the kernel's has them.
const TAKE: &str = r#"#!/bin/sh
for function in /sys/bus/pci/devices/*; do
    [ "$(cat $function/vendor):$(cat $function/device)" = "0x${1%%:*}:0x${1##*:}" ] || continue
    [ -e $function/driver ] && echo ${function##*/} > $function/driver/unbind
    echo $2 > $function/driver_override
    echo ${function##*/} > /sys/bus/pci/drivers_probe
done
"#;

const BEGIN: &str = "--- bringup: the guest begins ---";
const STATUS: &str = "--- bringup: status ";

fn find_busybox() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("busybox")).find(|file| file.is_file()).ok_or_else(|| {
        Failure::new("no busybox on the PATH: install a statically linked one (busybox-static), or give --busybox FILE")
    })
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
