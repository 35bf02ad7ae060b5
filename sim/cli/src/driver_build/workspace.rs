//! The cargo workspace that a driver's file is built in: one package for the driver, one for its runner.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::source_root;
use crate::failure::{Failure, read_text};
use crate::output_file;

/// Tells the driver that it is a module, as kbuild does.
const BUILD_SCRIPT: &str = "//! Gives the driver the configuration that kbuild gives to a module.

fn main() {
    println!(\"cargo::rustc-check-cfg=cfg(MODULE)\");
    println!(\"cargo::rustc-cfg=MODULE\");
    println!(\"cargo::rerun-if-env-changed=BRINGUP_DRIVER_STATE\");
}
";

/// The directory of a workspace that copies of a driver's files stand in.
pub(crate) const COPY: &str = "bringup-copy";

/// The runner is this command, with the driver linked in.
const RUNNER: &str = "//! The bringup command with one driver linked in.

fn main() -> std::process::ExitCode {
    bringup::cli::main_with(Some(&driver::BRINGUP_MODULE))
}
";

/// The runner of a driver with removals: it tries one of them.
const MUTATION_RUNNER: &str = "//! The bringup command with one driver linked in, from which something can be removed.

use driver::bringup_mutate::{MET, SELECTED};

fn main() -> std::process::ExitCode {
    bringup::cli::try_removal(&driver::BRINGUP_MODULE, &SELECTED, &MET)
}
";

/// A driver's workspace in the cache.
#[derive(Debug)]
pub(crate) struct Workspace {
    directory: PathBuf,
    /// The runner's source.
    main: &'static str,
    /// Sets its packages apart from those of other drivers, which share a target directory with them.
    key: String,
    driver: PathBuf,
    crate_name: String,
    pub(crate) source: PathBuf,
}

impl Workspace {
    pub(crate) fn locate(driver: &Path, crate_name: &str) -> Result<Self, Failure> {
        let cache = cache_directory()?;
        let names = [driver.as_os_str(), cache.as_os_str()].map(|name| name.to_string_lossy().into_owned()).join("\0");
        // A command built for speed and one built for debugging do not take each other's runners.
        let names = format!("{names}\0{}", cfg!(debug_assertions));
        let key = format!("{crate_name}-{:08x}", crc32fast::hash(names.as_bytes()));
        let directory = cache.join("drivers").join(&key);
        let source = source_root()?;
        Ok(Self { directory, main: RUNNER, key, driver: driver.into(), crate_name: crate_name.into(), source })
    }

    /// As [`locate`](Self::locate), for a copy of the driver with removals. The copy lies in the workspace: `copy` is where the
    /// driver's file is to stand there.
    pub(crate) fn locate_mutation(driver: &Path, copy: &Path, crate_name: &str) -> Result<Self, Failure> {
        let plain = Self::locate(driver, crate_name)?;
        let key = format!("{}-mutate", plain.key);
        let directory = plain.directory.with_file_name(&key);
        let driver = directory.join(COPY).join(copy);
        Ok(Self { directory, main: MUTATION_RUNNER, key, driver, ..plain })
    }

    /// The whole of a path that begins where the workspace is.
    pub(crate) fn path_of(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// Where copies of a driver's files stand.
    pub(crate) fn copies(&self) -> PathBuf {
        self.directory.join(COPY)
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.directory.join("Cargo.toml")
    }

    pub(crate) fn stamp(&self) -> PathBuf {
        self.directory.join("stamp.json")
    }

    /// The name of the driver's package.
    pub(crate) fn driver_package(&self) -> String {
        format!("bringup-driver-{}", self.key)
    }

    /// The name of the runner's package and program.
    pub(crate) fn runner_package(&self) -> String {
        format!("bringup-runner-{}", self.key)
    }

    /// Where cargo builds: where our own sources are built, so that what they depend on need not be built again.
    pub(crate) fn target(&self) -> PathBuf {
        if let Some(wanted) = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
            return std::path::absolute(&wanted).unwrap_or_else(|_| wanted.into());
        }
        let shared = self.source.join("target");
        let writable = fs::create_dir_all(&shared).and_then(|()| make_a_file_in(&shared)).is_ok();
        if writable { shared } else { self.directory.join("target") }
    }

    /// Keeps other processes out of this workspace until the file is closed.
    pub(crate) fn lock(&self) -> Result<File, Failure> {
        let failed = |error: io::Error| Failure::file("use the cache in", &self.directory, &error);
        fs::create_dir_all(&self.directory).map_err(failed)?;
        let lock = File::create(self.directory.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(lock)
    }

    /// Writes the workspace. Files that are right already are left alone.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let root = self.source.join("Cargo.toml");
        let ours: Table = read_text(&root)?
            .parse()
            .map_err(|error: toml::de::Error| Failure::new(format_args!("{}: {}", root.display(), error.message())))?;
        let failed = |error: io::Error| Failure::file("write to the cache in", &self.directory, &error);
        let file = |name: &str, content: &str| {
            let path = self.directory.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&self.directory))
                .and_then(|()| output_file::write_if_changed(&path, content.as_bytes()))
                .map_err(failed)
        };
        file("Cargo.toml", &Self::root_manifest(&ours).to_string())?;
        file("driver/Cargo.toml", &self.driver_manifest(&ours).to_string())?;
        file("driver/build.rs", BUILD_SCRIPT)?;
        file("runner/Cargo.toml", &self.runner_manifest().to_string())?;
        file("runner/src/main.rs", self.main)?;
        // The versions that our own sources were built with; cargo strikes out what a driver does not need.
        if let Ok(lock) = fs::read_to_string(self.source.join("Cargo.lock")) {
            file("Cargo.lock", &lock)?;
        }
        // From here on the runner may be half-built.
        match fs::remove_file(self.stamp()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    fn root_manifest(ours: &Table) -> Table {
        let mut manifest = table([(
            "workspace",
            table([("resolver", "3".into()), ("members", strings(&["driver", "runner"]))]).into(),
        )]);
        if let Some(profiles) = ours.get("profile") {
            manifest.insert("profile".into(), profiles.clone());
        }
        manifest
    }

    fn driver_manifest(&self, ours: &Table) -> Table {
        // What kbuild hands to every driver.
        let zerocopy = ours
            .get("workspace")
            .and_then(|workspace| workspace.get("dependencies")?.get("zerocopy")?.get("version"))
            .cloned()
            .unwrap_or_else(|| "0.8".into());
        let dependencies = table([
            ("kernel", self.ours("drivers/kernel")),
            ("pin-init", self.ours("drivers/pin-init")),
            // Called `std`, it takes the place of the standard library, which no driver has.
            ("std", self.no_std()),
            ("zerocopy", table([("version", zerocopy.clone()), ("features", strings(&["derive"]))]).into()),
            ("zerocopy-derive", zerocopy),
        ]);
        let group = |level: &str| table([("level", level.into()), ("priority", Value::Integer(-1))]);
        // kbuild's lints, but for the ban on identifiers beyond ASCII: zerocopy's derives make such with the driver's spans.
        let lints = table([
            ("rust_2018_idioms", group("warn").into()),
            ("missing_docs", "warn".into()),
            ("unreachable_pub", "warn".into()),
            ("unsafe_op_in_unsafe_fn", "deny".into()),
            // kbuild knows every CONFIG_ name; we do not.
            ("unexpected_cfgs", "allow".into()),
        ]);
        let mut package = Self::package(&self.driver_package(), "2021");
        package.insert("build".into(), "build.rs".into());
        let path = self.driver.to_string_lossy().into_owned();
        table([
            ("package", package.into()),
            (
                "lib",
                table([("name", self.crate_name.clone().into()), ("path", path.into()), ("doctest", false.into())])
                    .into(),
            ),
            ("dependencies", dependencies.into()),
            ("lints", table([("rust", lints.into())]).into()),
        ])
    }

    fn no_std(&self) -> Value {
        let mut dependency = self.ours("drivers/no-std");
        if let Some(table) = dependency.as_table_mut() {
            table.insert("package".into(), "bringup-no-std".into());
        }
        dependency
    }

    fn runner_manifest(&self) -> Table {
        let driver = table([("package", self.driver_package().into()), ("path", "../driver".into())]);
        table([
            ("package", Self::package(&self.runner_package(), "2024").into()),
            ("dependencies", table([("bringup", self.ours("sim/cli")), ("driver", driver.into())]).into()),
        ])
    }

    fn package(name: &str, edition: &str) -> Table {
        table([
            ("name", name.into()),
            ("version", "0.0.0".into()),
            ("edition", edition.into()),
            ("publish", false.into()),
        ])
    }

    fn ours(&self, path: &str) -> Value {
        table([("path", self.source.join(path).to_string_lossy().into_owned().into())]).into()
    }
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn strings(list: &[&str]) -> Value {
    Value::Array(list.iter().map(|&text| text.into()).collect())
}

/// Makes a file and removes it: permissions alone do not say whether that works on a read-only file system.
fn make_a_file_in(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".bringup-{}", std::process::id()));
    File::create(&probe)?;
    fs::remove_file(&probe)
}

fn cache_directory() -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = variable("BRINGUP_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("bringup")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/bringup")))
        .ok_or_else(|| Failure::new("no place for the cache: set BRINGUP_CACHE to a directory"))?;
    std::path::absolute(&directory).map_err(|error| Failure::file("use the cache in", &directory, &error))
}
