// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! What both layouts keep: which chains the device has, and how a chain is written down.

use super::*;

/// A chain that did not come back.
#[derive(Debug)]
struct InFlight<T> {
    token: T,
    /// Counts chains as they are added.
    serial: u64,
    /// Bytes that the device may write.
    writable: u32,
    /// Descriptors or slots that it takes.
    slots: u16,
}

/// What taking a chain back gives.
pub(super) struct Taken<T> {
    pub(super) id: u16,
    pub(super) slots: u16,
    pub(super) completion: Completion<T>,
}

/// How a chain is going to be written down.
pub(super) struct Plan {
    /// It goes into a table.
    pub(super) table: bool,
    /// Descriptors or slots that it takes.
    pub(super) slots: u16,
}

#[derive(Debug)]
pub(super) struct State<M, T> {
    pub(super) shape: Shape,
    pub(super) areas: Areas<M>,
    /// By id: the first descriptor of a split queue's chain, the buffer id of a packed one's.
    in_flight: KVVec<Option<InFlight<T>>>,
    /// Chains that did not come back.
    pub(super) count: u16,
    /// Descriptors or slots that are free.
    pub(super) free: u16,
    /// How many chains were added ever. A chain's serial number is one of them; they do not come round.
    pub(super) added: u64,
    /// How many of them the device was shown.
    pub(super) shown: u64,
    /// With IN_ORDER: the id of the chain that must come back next.
    pub(super) oldest: u16,
    /// With IN_ORDER: the id of the last chain of a batch that is being handed out, and what was written to it.
    pub(super) batch: Option<(u16, u32)>,
    /// The device broke the rules.
    pub(super) broken: bool,
}

impl<M: Memory, T> State<M, T> {
    pub(super) fn new(shape: Shape, areas: Areas<M>) -> Result<Self> {
        shape.check()?;
        let [descriptors, driver, device, tables] = shape.areas();
        let fits = |area: &M, len: usize, align: DmaAddress| {
            area.size() >= len && area.address() & (align - 1) == 0
        };
        if !fits(&areas.descriptors, descriptors, 16)
            || !fits(&areas.driver, driver, 4)
            || !fits(&areas.device, device, 4)
            || areas.tables.as_ref().map_or(0, Memory::size) < tables
        {
            return Err(EINVAL);
        }
        let mut in_flight = KVVec::with_capacity(usize::from(shape.size), GFP_KERNEL)?;
        for _ in 0..shape.size {
            in_flight.push_within_capacity(None).map_err(|_| ENOMEM)?;
        }
        Ok(Self {
            in_flight,
            count: 0,
            free: shape.size,
            added: 0,
            shown: 0,
            oldest: 0,
            batch: None,
            broken: false,
            shape,
            areas,
        })
    }

    /// The device broke the rules: nothing it says counts any more.
    #[cold]
    pub(super) fn fail(&mut self) -> Error {
        self.broken = true;
        EIO
    }

    #[inline]
    pub(super) fn check(&self) -> Result {
        if self.broken {
            Err(EIO)
        } else {
            Ok(())
        }
    }

    /// Whether a chain of so many segments has room, and how it is written down.
    #[inline]
    pub(super) fn plan(&self, segments: usize) -> Result<Plan> {
        self.check()?;
        // A chain is no longer than the queue, tables included (§2.7.5.3.1, §2.8.19).
        if segments == 0 || segments > usize::from(self.shape.size) {
            return Err(EINVAL);
        }
        let table = self.areas.tables.is_some()
            && segments > 1
            && segments <= usize::from(self.shape.table);
        let slots = if table { 1 } else { segments as u16 };
        if slots > self.free {
            return Err(ENOSPC);
        }
        Ok(Plan { table, slots })
    }

    /// How many bytes the device may write to a chain.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the chain is too long (§2.7.5.2).
    #[inline]
    pub(super) fn writable(out: &[Segment], input: &[Segment]) -> Result<u32> {
        let bytes = |part: &[Segment]| part.iter().map(|one| u64::from(one.len)).sum::<u64>();
        let writable = bytes(input);
        if bytes(out) + writable > MAX_BYTES {
            return Err(EINVAL);
        }
        Ok(u32::try_from(writable).unwrap_or(u32::MAX))
    }

    /// A chain was written down.
    #[inline]
    pub(super) fn insert(&mut self, id: u16, token: T, slots: u16, writable: u32) {
        if let Some(entry) = self.in_flight.get_mut(usize::from(id)) {
            *entry = Some(InFlight {
                token,
                serial: self.added,
                writable,
                slots,
            });
        }
        self.added += 1;
        self.count += 1;
        self.free -= slots;
    }

    /// How many chains the device has: those that it was shown.
    #[inline]
    pub(super) fn at_device(&self) -> u16 {
        // What is not shown is among those in flight, so it fits.
        self.count - (self.added - self.shown) as u16
    }

    /// How many bytes the device may write to a chain that it has; 0 if it has none of that id.
    pub(super) fn room_of(&self, id: u16) -> u32 {
        let chain = self.in_flight.get(usize::from(id));
        chain
            .and_then(Option::as_ref)
            .map_or(0, |chain| chain.writable)
    }

    /// Takes a chain back: it must be one that the device has, and no more may be written than it holds.
    #[inline]
    pub(super) fn take(&mut self, id: u32, written: u32) -> Result<Taken<T>> {
        let shown = self.shown;
        let entry = usize::try_from(id)
            .ok()
            .and_then(|id| self.in_flight.get_mut(id));
        let taken = entry.and_then(|entry| {
            entry.take_if(|chain| chain.serial < shown && written <= chain.writable)
        });
        let Some(chain) = taken else {
            return Err(self.fail());
        };
        self.count -= 1;
        self.free += chain.slots;
        Ok(Taken {
            // It was an index below the size.
            id: id as u16,
            slots: chain.slots,
            completion: Completion {
                token: chain.token,
                written,
            },
        })
    }

    /// With IN_ORDER: how many chains that the device has, from the oldest, end with this id. `after` gives the id that
    /// follows one that takes so many slots.
    pub(super) fn batch_len(&self, id: u16, after: impl Fn(u16, u16) -> u16) -> Option<u16> {
        let mut at = self.oldest;
        for len in 1..=self.at_device() {
            let slots = self.in_flight.get(usize::from(at))?.as_ref()?.slots;
            if at == id {
                return Some(len);
            }
            at = after(at, slots);
        }
        None
    }

    /// With IN_ORDER: the next chain of the batch. Those before the last were used whole, as far as can be known (§2.7.9,
    /// §2.8.8).
    pub(super) fn next_of_batch(&mut self) -> Option<(u16, u32)> {
        let (last, written) = self.batch?;
        let id = self.oldest;
        if id == last {
            self.batch = None;
            return Some((id, written));
        }
        let whole = self.in_flight.get(usize::from(id))?.as_ref()?.writable;
        Some((id, whole))
    }

    /// Takes everything back without the device, and clears the memory.
    pub(super) fn restart(&mut self, mut each: impl FnMut(T)) -> Result {
        for entry in &mut self.in_flight {
            if let Some(chain) = entry.take() {
                each(chain.token);
            }
        }
        self.count = 0;
        self.free = self.shape.size;
        (self.added, self.shown) = (0, 0);
        self.oldest = 0;
        self.batch = None;
        self.broken = false;
        for area in [
            &self.areas.descriptors,
            &self.areas.driver,
            &self.areas.device,
        ] {
            const ZEROS: [u8; 64] = [0; 64];
            let mut at = 0;
            while at < area.size() {
                let piece = ZEROS.len().min(area.size() - at);
                area.write_bytes(at, ZEROS.get(..piece).unwrap_or(&ZEROS))?;
                at += piece;
            }
        }
        Ok(())
    }

    /// Writes a chain into its table, whose descriptors follow each other, and gives where the table is. `second` gives
    /// the two fields that end a descriptor, in their order in memory, for its place, its flag and whether it is the last.
    #[inline]
    pub(super) fn write_table(
        &self,
        id: u16,
        out: &[Segment],
        input: &[Segment],
        fields: impl Fn(u16, u16, bool) -> (u16, u16),
    ) -> Result<Segment> {
        let tables = self.areas.tables.as_ref().ok_or(EINVAL)?;
        let start = usize::from(id) * usize::from(self.shape.table) * DESCRIPTOR;
        let mut at = start;
        let mut index = 0u16;
        for (segment, flag, last) in segments(out, input) {
            let (first, second) = fields(index, flag, last);
            tables.write_bytes(at, &descriptor(segment, first, second))?;
            at += DESCRIPTOR;
            index = index.wrapping_add(1);
        }
        Ok(Segment {
            address: tables.address() + start as DmaAddress,
            len: (at - start) as u32,
        })
    }
}

/// A descriptor's bytes; the two 16-bit fields stand in this order in memory.
#[inline]
pub(super) fn descriptor(segment: &Segment, first: u16, second: u16) -> [u8; DESCRIPTOR] {
    let [a0, a1, a2, a3, a4, a5, a6, a7] = segment.address.to_le_bytes();
    let [l0, l1, l2, l3] = segment.len.to_le_bytes();
    let [f0, f1] = first.to_le_bytes();
    let [s0, s1] = second.to_le_bytes();
    [
        a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, s0, s1,
    ]
}

/// Each segment of a chain with its WRITE flag, and whether it is the last.
#[inline]
pub(super) fn segments<'a>(
    out: &'a [Segment],
    input: &'a [Segment],
) -> impl Iterator<Item = (&'a Segment, u16, bool)> {
    let last = (out.len() + input.len()).wrapping_sub(1);
    let readable = out.iter().map(|segment| (segment, 0));
    let writable = input.iter().map(|segment| (segment, WRITE));
    // By its trait's name: initialisers have a `chain` too.
    Iterator::chain(readable, writable)
        .enumerate()
        .map(move |(index, (segment, flag))| (segment, flag, index == last))
}

/// Whether the event that the other side named lies in the run of entries from `old` to before `new`, which are
/// free-running (§2.7.7.2).
#[inline]
pub(super) fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
