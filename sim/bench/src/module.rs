//! What `module!` leaves behind for the bench: how to load a module and set its parameters.

use std::any::Any;

/// What a loaded module consists of; dropping it unloads it.
pub struct Loaded(pub Box<dyn Any>);

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded(..)")
    }
}

/// Where a parameter's value is kept: one per life, on the thread of the machine.
pub trait ParamTarget: Sync {
    /// Sets the value from the text after `name=`; negative errno.
    ///
    /// # Errors
    /// When the text is no such value.
    fn set(&self, text: &str) -> Result<(), i32>;
    /// Goes back to the default, before a load.
    fn reset(&self);
}

/// One parameter of a module.
pub struct ParamDef {
    /// Its name.
    pub name: &'static str,
    /// Its Rust type, as written.
    pub ty: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The place that its value goes to.
    pub target: &'static dyn ParamTarget,
}

impl std::fmt::Debug for ParamDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.ty)
    }
}

/// A module as `module!` describes it.
#[derive(Debug)]
pub struct Loadable {
    /// Its name.
    pub name: &'static str,
    /// Its licence.
    pub license: &'static str,
    /// Who wrote it.
    pub authors: &'static [&'static str],
    /// One line.
    pub description: Option<&'static str>,
    /// Other names it is loaded by.
    pub aliases: &'static [&'static str],
    /// Firmware files it may ask for.
    pub firmware: &'static [&'static str],
    /// Symbol namespaces it imports.
    pub imports_ns: &'static [&'static str],
    /// Its parameters.
    pub params: &'static [ParamDef],
    /// Makes it; negative errno.
    pub init: fn() -> Result<Loaded, i32>,
}
