//! Layouts of virtqueues (virtio 1.4 §2.7, §2.8).

/// The largest size of a queue.
pub const MAX_SIZE: u16 = 32768;

/// Flags of a descriptor, in both layouts (§2.7.5, §2.8.13).
pub mod desc {
    /// Another descriptor of the chain follows.
    pub const NEXT: u16 = 1;
    /// The device writes the buffer; else it reads it.
    pub const WRITE: u16 = 2;
    /// The buffer holds a table of descriptors.
    pub const INDIRECT: u16 = 4;
    /// Bytes of a descriptor.
    pub const SIZE: u64 = 16;
}

/// Split virtqueues (§2.7).
pub mod split {
    /// Byte offset of the 64-bit address in a descriptor.
    pub const DESC_ADDR: u64 = 0;
    /// Of the 32-bit length.
    pub const DESC_LEN: u64 = 8;
    /// Of the 16-bit flags.
    pub const DESC_FLAGS: u64 = 12;
    /// Of the 16-bit index of the next.
    pub const DESC_NEXT: u64 = 14;
    /// Byte offset of the flags in the available ring.
    pub const AVAIL_FLAGS: u64 = 0;
    /// Of the index.
    pub const AVAIL_IDX: u64 = 2;
    /// Of the first entry.
    pub const AVAIL_RING: u64 = 4;
    /// Bytes of an entry.
    pub const AVAIL_ENTRY: u64 = 2;
    /// Bytes besides the entries: flags, index, `used_event`.
    pub const AVAIL_EXTRA: u64 = 6;
    /// Flag: the driver wants no interrupts.
    pub const AVAIL_NO_INTERRUPT: u16 = 1;
    /// Byte offset of the flags in the used ring.
    pub const USED_FLAGS: u64 = 0;
    /// Of the index.
    pub const USED_IDX: u64 = 2;
    /// Of the first entry.
    pub const USED_RING: u64 = 4;
    /// Bytes of an entry: 32-bit id, 32-bit length.
    pub const USED_ENTRY: u64 = 8;
    /// Bytes besides the entries: flags, index, `avail_event`.
    pub const USED_EXTRA: u64 = 6;
    /// Flag: the device wants no kicks.
    pub const USED_NO_NOTIFY: u16 = 1;
    /// Alignment of the descriptor table (§2.7.1).
    pub const DESC_ALIGN: u64 = 16;
    /// Of the available ring.
    pub const AVAIL_ALIGN: u64 = 2;
    /// Of the used ring.
    pub const USED_ALIGN: u64 = 4;
}

/// Packed virtqueues (§2.8).
pub mod packed {
    /// Byte offset of the 64-bit address in a descriptor.
    pub const DESC_ADDR: u64 = 0;
    /// Of the 32-bit length.
    pub const DESC_LEN: u64 = 8;
    /// Of the 16-bit buffer id.
    pub const DESC_ID: u64 = 12;
    /// Of the 16-bit flags.
    pub const DESC_FLAGS: u64 = 14;
    /// Flag: equals the driver's wrap counter when available.
    pub const AVAIL: u16 = 1 << 7;
    /// Flag: equals the device's wrap counter when used.
    pub const USED: u16 = 1 << 15;
    /// Byte offset of offset and wrap counter in an event suppression structure.
    pub const EVENT_OFF_WRAP: u64 = 0;
    /// Of its flags.
    pub const EVENT_FLAGS: u64 = 2;
    /// Bytes of an event suppression structure.
    pub const EVENT_SIZE: u64 = 4;
    /// Bit of the wrap counter beside the offset.
    pub const EVENT_WRAP: u16 = 1 << 15;
    /// Events are wanted.
    pub const EVENT_ENABLE: u16 = 0;
    /// They are not.
    pub const EVENT_DISABLE: u16 = 1;
    /// One is wanted for a certain descriptor (with EVENT_IDX).
    pub const EVENT_DESC: u16 = 2;
    /// Alignment of the ring (§2.8.11).
    pub const RING_ALIGN: u64 = 16;
    /// Of both event suppression structures.
    pub const EVENT_ALIGN: u64 = 4;
}
