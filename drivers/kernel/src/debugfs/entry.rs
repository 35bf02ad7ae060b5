//! The entries of debugfs: what stands in the tree, who uses it, and how it goes.

use super::handlers::{Handlers, Node};
use crate::ffi::CStr;
use crate::machine;
use crate::sync::Arc;
use bringup_bench::file::CharDevice;
use core::cell::{Cell, RefCell};
use core::panic::Location;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

/// A directory or file in the tree.
pub(super) struct Dentry {
    /// What the machine calls it.
    id: Cell<u32>,
    /// The life it belongs to: in another it is long gone.
    life: u64,
    name: String,
    parent: Option<Rc<Dentry>>,
    children: RefCell<Vec<Rc<Dentry>>>,
    removed: Cell<bool>,
    /// How many reads and writes of the file run.
    users: Cell<u32>,
}

impl Dentry {
    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// How the lock checker knows what reads and writes of it hold.
    fn class(&self) -> (usize, usize) {
        (self.key(), 3)
    }

    fn describe(&self) -> String {
        std::format!("a read or write of debugfs file {}", self.name)
    }

    /// Begins a read or write; `false` when the file is removed. Each `true` is followed by one [`put`](Self::put).
    #[track_caller]
    pub(super) fn get(&self) -> bool {
        if self.removed.get() {
            return false;
        }
        self.users.set(self.users.get() + 1);
        machine::lock::activity_begins(self.class(), self.key(), Location::caller(), || self.describe());
        true
    }

    /// Ends a read or write.
    pub(super) fn put(&self) {
        self.users.set(self.users.get() - 1);
        machine::lock::activity_ends(self.key());
        if self.removed.get() {
            machine::wake_all(self.key());
        }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.get()
    }

    /// Removes it and what is below it, and waits until nobody reads or writes any of it: C's `debugfs_remove()`.
    #[track_caller]
    fn remove(&self) {
        if self.removed.replace(true) {
            return;
        }
        let children = self.children.take();
        for child in &children {
            child.remove();
        }
        if self.life != machine::life_number() {
            return;
        }
        machine::file::debugfs_remove(self.id.get());
        machine::lock::activity_awaited(self.class(), self.key(), Location::caller(), || self.describe());
        // In a life that has crashed nobody finishes any more.
        while self.users.get() > 0 && !machine::is_crashed() {
            machine::wait(self.key(), None, false, "debugfs_remove");
        }
    }
}

/// Where an entry is made, and what making one gives.
///
/// Errors are not reported to drivers: they give a place in which everything else fails as well.
#[derive(Clone)]
pub(super) enum Place {
    /// The root of debugfs.
    Root,
    /// An entry.
    At(Rc<Dentry>),
    /// Nowhere: an error, or below one.
    Nowhere,
}

impl Place {
    fn name(&self) -> &str {
        match self {
            Self::At(dentry) => &dentry.name,
            _ => "/",
        }
    }

    fn create(
        &self,
        name: &CStr,
        caller: machine::Place,
        node: impl FnOnce(&Rc<Dentry>) -> Option<Rc<dyn CharDevice>>,
    ) -> Place {
        let parent = match self {
            Self::Root => None,
            Self::At(dentry) if !dentry.is_removed() => Some(dentry.clone()),
            _ => return Self::Nowhere,
        };
        let name = name.to_string_lossy().into_owned();
        let life = machine::life_number();
        if life == 0 || name.is_empty() || name == "." || name == ".." || name.contains('/') {
            return Self::Nowhere;
        }
        let parent_id = parent.as_ref().map(|parent| parent.id.get());
        let dentry = Rc::new(Dentry {
            id: Cell::new(0),
            life,
            name,
            parent,
            children: RefCell::default(),
            removed: Cell::new(false),
            users: Cell::new(0),
        });
        match machine::file::debugfs_create_at(parent_id, &dentry.name, node(&dentry), caller) {
            Ok(id) => {
                dentry.id.set(id);
                if let Self::At(parent) = self {
                    parent.children.borrow_mut().push(dentry.clone());
                }
                Self::At(dentry)
            }
            Err(errno) => {
                if errno == crate::error::code::EEXIST.to_errno() {
                    let (name, parent) = (&dentry.name, self.name());
                    machine::printk(3, format_args!("debugfs: '{name}' already exists in '{parent}'\n"));
                }
                Self::Nowhere
            }
        }
    }

    /// Makes a directory, for whoever calls from there.
    pub(super) fn dir(&self, name: &CStr, caller: machine::Place) -> Place {
        self.create(name, caller, |_| None)
    }

    /// Makes a file, for whoever calls from there.
    ///
    /// # Safety
    ///
    /// `data` must stay valid, and be shared only, until the file, or a directory above it, is removed.
    pub(super) unsafe fn file<T: 'static>(
        &self,
        name: &CStr,
        data: &T,
        handlers: Handlers<T>,
        caller: machine::Place,
    ) -> Place {
        // SAFETY: the caller's contract.
        self.create(name, caller, |dentry| Some(unsafe { Node::make(data, handlers, dentry.clone()) }))
    }

    /// Removes the entry and all below it.
    fn remove(&self) {
        let Self::At(dentry) = self else { return };
        dentry.remove();
        if let Some(parent) = &dentry.parent {
            parent.children.borrow_mut().retain(|child| !Rc::ptr_eq(child, dentry));
        }
    }
}

/// An entry that is removed when its owner goes.
pub(super) struct Entry {
    place: Place,
    /// Keeps the directory that it is in.
    _parent: Option<Arc<Entry>>,
}

// SAFETY: a machine has one thread, and an entry may be removed by another task than the one that made it.
unsafe impl Send for Entry {}

// SAFETY: as above, so the counts are never raced for.
unsafe impl Sync for Entry {}

impl Entry {
    pub(super) fn new(place: Place, parent: Option<Arc<Entry>>) -> Self {
        Self { place, _parent: parent }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.place.remove();
    }
}
