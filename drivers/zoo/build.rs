//! Makes the zoo from its table: one module for each bug, which is a copy of its driver with the bug put in, one for each correct
//! driver, and the table itself as Rust. All are in one crate, so that they are compiled once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A file of the table.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bug: Vec<Bug>,
}

/// An entry; `docs/src/zoo.md` says what the fields mean.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Bug {
    id: String,
    class: Vec<u8>,
    title: String,
    story: String,
    reference: String,
    base: String,
    #[serde(default)]
    edits: Vec<(String, String)>,
    /// A driver of its own, instead of edits.
    file: Option<String>,
    devices: Option<Vec<String>>,
    #[serde(default)]
    plan: String,
    #[serde(default)]
    params: Vec<(String, String)>,
    workload: Option<String>,
    expect: Vec<String>,
    uncaught: Option<String>,
}

/// What a driver is used with if an entry does not say.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    devices: Vec<String>,
    workload: String,
}

fn main() {
    println!("cargo:rustc-cfg=MODULE");
    println!("cargo:rerun-if-changed=bugs");
    println!("cargo:rerun-if-changed=bases.toml");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let bases: BTreeMap<String, Base> = read_toml(Path::new("bases.toml"));
    let bugs = read_bugs();
    fs::create_dir_all(out.join("bugs")).expect("OUT_DIR can be written");

    let mut rust = String::new();
    let mut twins = BTreeSet::new();
    for bug in &bugs {
        let base = bases
            .get(&bug.base)
            .unwrap_or_else(|| panic!("{}: bases.toml has no \"{}\"", bug.id, bug.base));
        if twins.insert(bug.base.clone()) {
            let path = out.join("bugs").join(format!("twin_{}.rs", bug.base));
            let allow = "#[allow(clippy::manual_is_multiple_of, clippy::explicit_counter_loop, \
                         reason = \"as written for the oldest compiler that Linux takes, and beside a counter of the ring\")]\n";
            write_module(&mut rust, &path, &adapted(&source(&bug.base)), allow);
        }
        let text = match &bug.file {
            Some(file) => {
                assert!(bug.edits.is_empty(), "{}: either edits or a file", bug.id);
                read(Path::new(file))
            }
            // Nobody can write it: there is only the story.
            None if bug.edits.is_empty() && bug.uncaught.is_some() => continue,
            None => mutated(bug),
        };
        let path = out.join("bugs").join(format!("{}.rs", ident(&bug.id)));
        let allow = "#[allow(unused, clippy::all, clippy::undocumented_unsafe_blocks, reason = \"a bug may leave code without use, or odd\")]\n";
        write_module(&mut rust, &path, &adapted(&text), allow);
        assert!(
            !bug.expect.is_empty() || bug.uncaught.is_some(),
            "{}: caught by what, or why not?",
            bug.id
        );
        assert!(!bug.class.is_empty(), "{}: of which class?", bug.id);
        let _ = base;
    }
    rust.push_str(
        "/// All bugs, in the order of the table's files.\npub static BUGS: &[Bug] = &[\n",
    );
    for bug in &bugs {
        entry(&mut rust, bug, &bases[&bug.base]);
    }
    rust.push_str("];\n");
    fs::write(out.join("zoo.rs"), rust).expect("OUT_DIR can be written");
}

fn read(path: &Path) -> String {
    println!("cargo:rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    toml::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The entries of all files of the table, sorted by the files' names.
fn read_bugs() -> Vec<Bug> {
    let mut files: Vec<PathBuf> = fs::read_dir("bugs")
        .expect("the package has a folder of bugs")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    let bugs: Vec<Bug> = files
        .iter()
        .flat_map(|path| read_toml::<File>(path).bug)
        .collect();
    let mut ids = BTreeSet::new();
    for bug in &bugs {
        assert!(ids.insert(&bug.id), "{}: there are two of them", bug.id);
    }
    bugs
}

/// The source of a driver: one of the zoo's own, or a bundled one.
fn source(base: &str) -> String {
    let own = PathBuf::from(format!("{base}.rs"));
    let bundled = PathBuf::from(format!("../{base}/{base}.rs"));
    read(if own.is_file() { &own } else { &bundled })
}

/// The driver with the bug in it. What an edit looks for must be there exactly once: else the bug is somewhere else than meant.
fn mutated(bug: &Bug) -> String {
    assert!(
        !bug.edits.is_empty(),
        "{}: neither edits nor a file",
        bug.id
    );
    let mut text = source(&bug.base);
    for (find, replace) in &bug.edits {
        let times = text.matches(find.as_str()).count();
        assert!(
            times == 1,
            "{}: \"{find}\" is there {times} times, not once, in {}.rs",
            bug.id,
            bug.base
        );
        assert!(find != replace, "{}: \"{find}\" stays as it is", bug.id);
        text = text.replacen(find.as_str(), replace, 1);
    }
    text
}

/// A driver's file as a module of this crate: parts that drivers share are at its root, once.
fn adapted(text: &str) -> String {
    let mut adapted = String::with_capacity(text.len());
    for line in text.lines() {
        let shared = line
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'));
        match shared {
            Some(name) => {
                let _ = writeln!(adapted, "use crate::{name};");
            }
            None => {
                adapted.push_str(line);
                adapted.push('\n');
            }
        }
    }
    adapted
}

fn write_module(rust: &mut String, path: &Path, text: &str, attributes: &str) {
    // What has not changed is not compiled again.
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).expect("OUT_DIR can be written");
    }
    let name = path
        .file_stem()
        .and_then(|name| name.to_str())
        .expect("names are identifiers");
    let _ = writeln!(rust, "{attributes}#[path = {path:?}]\nmod {name};");
}

fn ident(id: &str) -> String {
    id.replace('-', "_")
}

fn entry(rust: &mut String, bug: &Bug, base: &Base) {
    let devices = bug.devices.as_ref().unwrap_or(&base.devices);
    let workload = bug.workload.as_ref().unwrap_or(&base.workload);
    let module = match (&bug.file, bug.edits.as_slice()) {
        (None, []) => "None".to_owned(),
        _ => format!("Some(&{}::BRINGUP_MODULE)", ident(&bug.id)),
    };
    let _ = writeln!(
        rust,
        "Bug {{ id: {:?}, classes: &{:?}, title: {:?}, story: {:?}, reference: {:?}, base: {:?}, edits: &{:?}, file: {:?}, \
         devices: &{devices:?}, plan: {:?}, params: &{:?}, expect: &{:?}, uncaught: {:?}, \
         module: {}, twin: &twin_{}::BRINGUP_MODULE, workload: workload::{workload} }},",
        bug.id,
        bug.class,
        bug.title,
        bug.story.trim(),
        bug.reference,
        bug.base,
        bug.edits,
        bug.file,
        bug.plan,
        bug.params,
        bug.expect,
        bug.uncaught,
        module,
        bug.base,
    );
}
