//! The chains that the device holds.

use super::{Element, Raw};

/// What is kept of a chain while the device holds it. The memory of one that came back serves the next.
#[derive(Debug, Default)]
pub(in crate::virtio) struct Chain {
    /// Split: the index of its first descriptor. Packed: its buffer id.
    pub(in crate::virtio) id: u16,
    /// Split: its place in the sequence of all, modulo 65536. Packed: how many slots it takes.
    pub(in crate::virtio) extent: u16,
    pub(in crate::virtio) elements: Vec<Element>,
    /// Split: its descriptors, as they were made available.
    pub(in crate::virtio) parts: Vec<(u16, Raw)>,
    /// Where its indirect table is, and its length.
    pub(in crate::virtio) table: Option<(u64, u32)>,
    /// The bytes of the table, or as much of it as a chain can have.
    pub(in crate::virtio) image: Vec<u8>,
    /// Where it stands among those in flight.
    at: usize,
}

impl Chain {
    /// Takes as many bytes of a table as can matter; `false` if they are not mapped.
    pub(in crate::virtio) fn take_table(
        &mut self,
        sight: &bringup_core::Sight<'_>,
        address: u64,
        len: u32,
        most: u32,
    ) -> bool {
        self.table = Some((address, len));
        self.image.clear();
        self.image.resize(len.min(most) as usize, 0);
        sight.peek(address, &mut self.image)
    }

    /// An entry of the table's bytes.
    pub(in crate::virtio) fn entry(&self, index: u32) -> Option<Raw> {
        let start = (index as usize).checked_mul(16)?;
        let bytes = self.image.get(start..start.checked_add(16)?)?;
        bytes.try_into().ok().map(Raw::from_bytes)
    }
}

/// Chains by a key below the queue's size, with a list of those in flight.
#[derive(Debug)]
pub(in crate::virtio) struct Chains {
    all: Vec<Chain>,
    live: Vec<u16>,
    /// Which of those in flight is looked at next.
    turn: usize,
}

impl Chains {
    pub(in crate::virtio) fn new(size: u16) -> Self {
        let mut all = Vec::new();
        all.resize_with(usize::from(size), Chain::default);
        Self { all, live: Vec::new(), turn: 0 }
    }

    /// The keys of those in flight.
    pub(in crate::virtio) fn live(&self) -> &[u16] {
        &self.live
    }

    pub(in crate::virtio) fn get(&self, key: u16) -> Option<&Chain> {
        self.all.get(usize::from(key)).filter(|chain| self.live.get(chain.at) == Some(&key))
    }

    pub(in crate::virtio) fn get_mut(&mut self, key: u16) -> Option<&mut Chain> {
        let live = &self.live;
        self.all.get_mut(usize::from(key)).filter(|chain| live.get(chain.at) == Some(&key))
    }

    /// A blank chain to fill, with the memory of the last one of this key.
    pub(in crate::virtio) fn blank(&mut self, key: u16) -> Chain {
        let mut chain = self.all.get_mut(usize::from(key)).map(std::mem::take).unwrap_or_default();
        chain.elements.clear();
        chain.parts.clear();
        chain.image.clear();
        chain.table = None;
        chain
    }

    /// The chain is in flight from now on.
    pub(in crate::virtio) fn launch(&mut self, key: u16, mut chain: Chain) {
        if let Some(place) = self.all.get_mut(usize::from(key)) {
            chain.at = self.live.len();
            *place = chain;
            self.live.push(key);
        }
    }

    /// The chain came back; what is left of it stays where it is.
    pub(in crate::virtio) fn land(&mut self, key: u16) -> Option<&mut Chain> {
        let at = self.get(key)?.at;
        self.live.swap_remove(at);
        if let Some(moved) = self.live.get(at).copied()
            && let Some(chain) = self.all.get_mut(usize::from(moved))
        {
            chain.at = at;
        }
        self.all.get_mut(usize::from(key))
    }

    /// None is in flight any more.
    pub(in crate::virtio) fn clear(&mut self) {
        self.live.clear();
    }

    /// One of those in flight after the other, round and round.
    pub(in crate::virtio) fn next_in_turn(&mut self) -> Option<u16> {
        if self.turn >= self.live.len() {
            self.turn = 0;
        }
        let key = self.live.get(self.turn).copied();
        self.turn += 1;
        key
    }
}
