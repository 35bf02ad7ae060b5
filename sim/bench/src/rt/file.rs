//! What a driver offers to user space: misc devices and debugfs entries; and user memory.

use std::panic::Location;
use std::rc::Rc;

use bringup_core::Place;

use super::errno::{EEXIST, EFAULT, ENOENT, ENOMEM};
use super::point::AtPoint;
use super::sched;
use crate::file::UserMemory;
pub use crate::file::{CharDevice, OpenFile};
use crate::ledger::Kind;
use crate::machine::{Chardev, DebugNode, Machine, with};

/// Registers a misc device under `/dev/NAME` (`misc_register`).
///
/// # Errors
/// `EEXIST` when the name is taken.
#[track_caller]
pub fn misc_register(name: &'static str, ops: Rc<dyn CharDevice>) -> Result<u32, i32> {
    misc_register_at(name, ops, Location::caller())
}

/// As [`misc_register`], for a place that is known.
///
/// # Errors
/// As there.
pub fn misc_register_at(name: &'static str, ops: Rc<dyn CharDevice>, place: Place) -> Result<u32, i32> {
    with(|m| {
        m.check_sleep("misc_register", place);
        if m.chardevs.iter().any(|chardev| chardev.name == name) {
            return Err(EEXIST);
        }
        if m.refuses("misc_register", place) {
            return Err(ENOMEM);
        }
        let id = m.id();
        let ledger = m.take(Kind::Chardev, None, Some(place), (0, 0), name);
        m.chardevs.push(Chardev { id, module: m.module, name: name.into(), ops, ledger });
        Ok(id)
    })
}

/// Takes a misc device back (`misc_deregister`). Files that are open stay open.
pub fn misc_deregister(id: u32) {
    let gone = with(|m| {
        let index = m.chardevs.iter().position(|chardev| chardev.id == id)?;
        let chardev = m.chardevs.remove(index);
        m.ledger.give_back(chardev.ledger);
        Some(chardev)
    });
    drop(gone);
}

/// Makes a debugfs directory (`ops` is `None`) or file below `parent` (the root if `None`).
///
/// # Errors
/// `EEXIST` when the name is taken, `ENOENT` when the parent is gone.
#[track_caller]
pub fn debugfs_create(parent: Option<u32>, name: &str, ops: Option<Rc<dyn CharDevice>>) -> Result<u32, i32> {
    debugfs_create_at(parent, name, ops, Location::caller())
}

/// As [`debugfs_create`], for a place that is known.
///
/// # Errors
/// As there.
pub fn debugfs_create_at(
    parent: Option<u32>,
    name: &str,
    ops: Option<Rc<dyn CharDevice>>,
    place: Place,
) -> Result<u32, i32> {
    with(|m| {
        if parent.is_some_and(|parent| !m.debugfs.iter().any(|node| node.id == parent)) {
            return Err(ENOENT);
        }
        if m.debugfs.iter().any(|node| node.parent == parent && node.name == name) {
            return Err(EEXIST);
        }
        let id = m.id();
        let ledger = m.take(Kind::Debugfs, None, Some(place), (0, 0), "");
        m.debugfs.push(DebugNode { id, parent, name: name.into(), ops, ledger });
        Ok(id)
    })
}

/// Removes a debugfs entry and all below it (`debugfs_remove`). Nothing of it runs afterwards.
pub fn debugfs_remove(id: u32) {
    let mut doomed = vec![id];
    while let Some(id) = doomed.pop() {
        let gone = with(|m| {
            doomed.extend(m.debugfs.iter().filter(|node| node.parent == Some(id)).map(|node| node.id));
            let index = m.debugfs.iter().position(|node| node.id == id)?;
            let node = m.debugfs.remove(index);
            m.ledger.give_back(node.ledger);
            Some(node)
        });
        drop(gone);
    }
}

/// Copies from user memory.
///
/// # Errors
/// `EFAULT` when any byte of the range is not the caller's; nothing is copied then.
#[track_caller]
pub fn copy_from_user(address: usize, into: &mut [u8]) -> Result<(), i32> {
    sched::might_sleep_at(READ, Location::caller());
    let at = with(|m| {
        m.user_memory()?.read(address, into)?;
        Some(m.at_point())
    });
    at.ok_or(EFAULT).map(AtPoint::pass)
}

/// Copies to user memory.
///
/// # Errors
/// `EFAULT` when any byte of the range is not the caller's; nothing is copied then.
#[track_caller]
pub fn copy_to_user(address: usize, from: &[u8]) -> Result<(), i32> {
    sched::might_sleep_at(WRITE, Location::caller());
    let at = with(|m| {
        m.user_memory()?.write(address, from)?;
        Some(m.at_point())
    });
    at.ok_or(EFAULT).map(AtPoint::pass)
}

impl Machine {
    /// The memory of the running task's process; `None` in a life that has crashed, where buffers may be gone that were lent.
    fn user_memory(&mut self) -> Option<&mut UserMemory> {
        (!self.crashed).then_some(&mut self.user)
    }
}

/// Copies to user memory up to the first byte that is not the caller's; returns how many bytes that were.
#[track_caller]
pub fn copy_out(address: usize, from: &[u8]) -> usize {
    let place = Location::caller();
    let copied = with(|m| {
        m.check_sleep(WRITE, place);
        let user = m.user_memory()?;
        let there = user.available(address, from.len());
        user.write(address, &from[..there])?;
        Some((there, m.at_point()))
    });
    let Some((there, at)) = copied else { return 0 };
    at.pass();
    there
}

/// Copies from user memory up to the first byte that is not the caller's; returns how many bytes that were.
#[track_caller]
pub fn copy_in(address: usize, into: &mut [u8]) -> usize {
    let place = Location::caller();
    let copied = with(|m| {
        m.check_sleep(READ, place);
        let user = m.user_memory()?;
        let there = user.available(address, into.len());
        user.read(address, &mut into[..there])?;
        Some((there, m.at_point()))
    });
    let Some((there, at)) = copied else { return 0 };
    at.pass();
    there
}

const READ: &str = "a copy from user memory";
const WRITE: &str = "a copy to user memory";
