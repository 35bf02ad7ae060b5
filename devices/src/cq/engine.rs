//! The rings of a copy engine, and what is in flight between them.

use std::collections::VecDeque;

use bringup_core::{Cx, Nanos};
use bringup_spec::cq::{MOST_BYTES, completion, descriptor, event};

use super::Oddity;

/// What taking a descriptor costs, in virtual nanoseconds, if nothing else is said.
pub(super) const FETCH_NS: Nanos = 200;
/// How soon a device that polls looks again at first, and at last.
pub(super) const POLL_NS: Nanos = 500;
const LONGEST_POLL_NS: Nanos = 10_000_000;

/// What does not change while the device runs, beside its rings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Completions of 16 bytes.
    pub(super) wide: bool,
    /// They are written in two stores, the phase last.
    pub(super) split_stores: bool,
    /// Copies end in any order.
    pub(super) reorder: bool,
    /// What a copy takes.
    pub(super) latency: Nanos,
    /// The bits of an id that are given back.
    pub(super) id_mask: u16,
    /// What taking a descriptor takes.
    pub(super) fetch: Nanos,
}

/// Where the rings are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rings {
    pub(super) entries: u32,
    pub(super) sq_base: u64,
    pub(super) cq_base: u64,
    pub(super) event_base: Option<u64>,
    /// The device looks at the submission ring by itself.
    pub(super) polled: bool,
    /// Descriptors are taken.
    pub(super) enabled: bool,
}

/// What the driver is to be told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// Completions were written, and an interrupt is wanted.
    pub(super) completed: bool,
    /// Something could not be done.
    pub(super) error: bool,
    /// The driver submitted more than the ring holds.
    pub(super) too_many: bool,
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    source: u64,
    destination: u64,
    len: u32,
    id: u16,
    due: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Completion {
    len: u32,
    id: u16,
    code: u32,
}

/// What the device has taken, and what it has written.
#[derive(Clone, Debug, Default)]
pub(super) struct Engine {
    /// How many descriptors the driver says it has submitted.
    pub(super) tail: u16,
    taken: u16,
    /// Completions written, all of them: the number of the pass and thus the phase come from it.
    written: u64,
    head: u16,
    flying: VecDeque<Copy>,
    done: VecDeque<Completion>,
    /// How long the device has looked at the ring in vain.
    idle: Nanos,
    /// When the next descriptor is taken.
    fetch_at: Nanos,
    /// A completion that is to become another one.
    changes: Option<u64>,
}

impl Engine {
    /// Whether something that was taken is not completed.
    pub(super) fn is_busy(&self) -> bool {
        !self.flying.is_empty() || !self.done.is_empty()
    }

    /// How many descriptors there would be to take with this tail.
    pub(super) fn untaken(&self, tail: u16) -> u32 {
        u32::from(tail.wrapping_sub(self.taken))
    }

    /// Takes a head doorbell; false if it is ahead of what was written.
    pub(super) fn take_head(&mut self, head: u16) -> bool {
        let unread = (self.written as u16).wrapping_sub(self.head);
        let moved = head.wrapping_sub(self.head);
        if moved > unread {
            return false;
        }
        self.head = head;
        true
    }

    /// Ends a copy and takes a descriptor, at most one of each, and asks to be called again if there is more to do.
    pub(super) fn work(&mut self, cx: &mut Cx<'_>, rings: &Rings, geometry: Geometry, odd: &Oddity) -> Told {
        let mut told = Told::default();
        self.change(cx, odd);
        self.land(cx, geometry, odd, &mut told);
        if rings.entries != 0 {
            self.write(cx, rings, geometry, odd, &mut told);
        }
        if rings.enabled {
            match self.fetch_at.saturating_sub(cx.now()) {
                0 => self.fetch(cx, rings, geometry, odd, &mut told),
                left => cx.wake_in(left),
            }
        }
        if let Some(due) = self.flying.iter().map(|copy| copy.due).min() {
            cx.wake_in(due.saturating_sub(cx.now()).max(1));
        }
        told
    }

    /// Ends one copy whose time has come.
    fn land(&mut self, cx: &mut Cx<'_>, geometry: Geometry, odd: &Oddity, told: &mut Told) {
        let now = cx.now();
        let ready = self.flying.iter().filter(|copy| copy.due <= now).count();
        if ready == 0 {
            return;
        }
        let at = if geometry.reorder && ready > 1 { cx.choose(ready.min(256) as u32) as usize } else { 0 };
        let Some(copy) = self.flying.remove(at) else { return };
        if odd.never_complete && odd.strikes(cx) {
            return;
        }
        let code = move_bytes(cx, &copy);
        told.error |= code != completion::OK;
        let len = if code == completion::OK { copy.len } else { 0 };
        let mut done = Completion { len, id: copy.id & geometry.id_mask, code };
        if odd.wrong_id && odd.strikes(cx) {
            done.id = if cx.choose(2) == 0 { 0xffff } else { done.id.wrapping_add(1) };
        }
        if odd.len_large && odd.strikes(cx) {
            done.len = 0xffff_fff0;
        }
        if odd.len_small && odd.strikes(cx) {
            done.len = 0;
        }
        self.done.push_back(done);
        if odd.duplicate && odd.strikes(cx) {
            self.done.push_back(done);
        }
    }

    /// Writes completions as long as there is room.
    fn write(&mut self, cx: &mut Cx<'_>, rings: &Rings, geometry: Geometry, odd: &Oddity, told: &mut Told) {
        let before = self.written as u16;
        while u32::from((self.written as u16).wrapping_sub(self.head)) < rings.entries {
            let Some(done) = self.done.pop_front() else { break };
            let entries = u64::from(rings.entries);
            let phase = u32::from((self.written / entries).is_multiple_of(2));
            let status = done.code << completion::CODE_SHIFT | phase;
            let size = if geometry.wide { completion::WIDE_SIZE } else { completion::SIZE };
            let at = rings.cq_base.wrapping_add(self.written % entries * size);
            told.error |= put(cx, at, &self.entry(done, status, geometry), geometry).is_none();
            if odd.changing && odd.strikes(cx) {
                self.changes = Some(at);
                cx.wake_in(FETCH_NS);
            }
            self.written += 1;
        }
        let after = self.written as u16;
        if after == before {
            return;
        }
        told.completed |= match rings.event_base {
            None => true,
            Some(base) => read_word(cx, base.wrapping_add(event::CQ_EVENT))
                .is_none_or(|wanted| passed(wanted as u16, after, before)),
        };
    }

    fn entry(&self, done: Completion, status: u32, geometry: Geometry) -> Vec<u8> {
        let mut bytes = done.len.to_le_bytes().to_vec();
        bytes.extend(done.id.to_le_bytes());
        if geometry.wide {
            bytes.extend(self.taken.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(status.to_le_bytes());
        } else {
            bytes.extend((status as u16).to_le_bytes());
        }
        bytes
    }

    /// Makes another completion of one that was written.
    fn change(&mut self, cx: &mut Cx<'_>, odd: &Oddity) {
        if let Some(at) = self.changes.take()
            && odd.changing
        {
            // Where the driver has taken the ring away, there is nothing to change.
            let _ = match cx.choose(2) {
                0 => cx.dma_write(at, &0xffff_fff0_u32.to_le_bytes()),
                _ => cx.dma_write(at.wrapping_add(completion::ID), &[0xff; 2]),
            };
        }
    }

    /// Takes one descriptor.
    fn fetch(&mut self, cx: &mut Cx<'_>, rings: &Rings, geometry: Geometry, odd: &Oddity, told: &mut Told) {
        let at = rings.sq_base.wrapping_add(u64::from(u32::from(self.taken) & (rings.entries - 1)) * descriptor::SIZE);
        if rings.polled {
            if !self.sees_phase(cx, at, rings) {
                self.idle = (self.idle * 2).clamp(POLL_NS, LONGEST_POLL_NS);
                cx.wake_in(self.idle);
                return;
            }
            self.idle = 0;
        } else if self.tail == self.taken && !self.looks_at_tail(cx, rings, told) {
            return;
        }
        let mut bytes = [0; descriptor::SIZE as usize];
        if cx.dma_read(at, &mut bytes).is_err() {
            told.error = true;
            return;
        }
        self.taken = self.taken.wrapping_add(1);
        let due = cx.now().saturating_add(geometry.latency);
        self.flying.push_back(Copy {
            source: number(&bytes, descriptor::SOURCE, 8),
            destination: number(&bytes, descriptor::DESTINATION, 8),
            len: number(&bytes, descriptor::LEN, 4) as u32,
            id: number(&bytes, descriptor::ID, 2) as u16,
            due,
        });
        if odd.dirty_ring && odd.strikes(cx) {
            told.error |= cx.dma_write(at, &[0xff; descriptor::FLAGS as usize]).is_err();
        }
        self.fetch_at = cx.now().saturating_add(geometry.fetch);
        cx.wake_in(geometry.fetch);
    }

    /// Whether the next descriptor is the device's own.
    fn sees_phase(&self, cx: &mut Cx<'_>, at: u64, rings: &Rings) -> bool {
        let mut flags = [0; 2];
        if cx.dma_read(at.wrapping_add(descriptor::FLAGS), &mut flags).is_err() {
            return false;
        }
        let pass = u32::from(self.taken) / rings.entries;
        let mine = if pass.is_multiple_of(2) { descriptor::PHASE } else { 0 };
        u16::from_le_bytes(flags) & descriptor::PHASE == mine
    }

    /// Asks for a doorbell for what comes next, and looks once more whether it came already.
    fn looks_at_tail(&mut self, cx: &mut Cx<'_>, rings: &Rings, told: &mut Told) -> bool {
        let Some(base) = rings.event_base else { return false };
        let wanted = u32::from(self.taken).to_le_bytes();
        told.error |= cx.dma_write(base.wrapping_add(event::SQ_EVENT), &wanted).is_err();
        let Some(tail) = read_word(cx, base.wrapping_add(event::SQ_TAIL)) else { return false };
        let tail = tail as u16;
        if self.untaken(tail) > rings.entries {
            told.too_many = true;
            return false;
        }
        self.tail = tail;
        self.tail != self.taken
    }
}

/// Copies; the code of what came of it.
fn move_bytes(cx: &mut Cx<'_>, copy: &Copy) -> u32 {
    if copy.len > MOST_BYTES {
        return completion::BAD_LEN;
    }
    let mut bytes = vec![0; copy.len as usize];
    if cx.dma_read(copy.source, &mut bytes).is_err() || cx.dma_write(copy.destination, &bytes).is_err() {
        return completion::BAD_ADDRESS;
    }
    completion::OK
}

/// Writes a completion as the geometry has it.
fn put(cx: &mut Cx<'_>, at: u64, bytes: &[u8], geometry: Geometry) -> Option<()> {
    let last = if geometry.wide { completion::WIDE_STATUS } else { completion::STATUS };
    match bytes.split_at_checked(last as usize) {
        Some((body, phase)) if geometry.split_stores => {
            cx.dma_write(at, body).ok()?;
            cx.dma_write(at.wrapping_add(last), phase).ok()
        }
        _ => cx.dma_write(at, bytes).ok(),
    }
}

fn read_word(cx: &mut Cx<'_>, at: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    cx.dma_read(at, &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn number(bytes: &[u8], at: u64, width: usize) -> u64 {
    bytes.iter().skip(at as usize).take(width).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Whether the counter came by `wanted` on its way from `old` to `new`.
fn passed(wanted: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(wanted).wrapping_sub(1) < new.wrapping_sub(old)
}
