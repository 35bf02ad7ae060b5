//! Oddities that the specification allows and that a driver must live with: stimuli for conformance runs, as data.

use bringup_core::Nanos;

/// What is odd about a device. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Feature bits that are offered besides the device's own: unknown or reserved ones (virtio 1.4 §2.2.1).
    pub unknown_features: u128,
    /// A capability of a type that does not exist stands first (§4.1.4.1).
    pub unknown_capability: bool,
    /// A common configuration capability in a BAR that does not exist stands first (§4.1.4.1).
    pub reserved_bar: bool,
    /// The capabilities are this many bytes longer than they need be (§4.1.4.1), at most 8; a multiple of 4.
    pub longer_capabilities: u8,
    /// The structures are said to be as long as the BAR has room (§4.1.4.1).
    pub huge_lengths: bool,
    /// A vendor data capability of another vendor stands first (§4.1.4.8).
    pub vendor_capability: bool,
    /// Another revision id (§4.1.2.2).
    pub revision: Option<u8>,
    /// The configuration space is this many bytes longer than the type has it (§2.5.1).
    pub longer_config: u16,
    /// This many times the configuration changes while the driver reads a field of it in several accesses (§2.5.1): the first part
    /// is of another value than the last, and the generation says so. A driver that does not compare generations ends with a value
    /// that never was.
    pub config_changes: u32,
    /// After every so many kicks, queues and configuration raise an interrupt without cause (§2.7.7.1); never if 0.
    pub spurious_every: u32,
    /// All queues are notified at one address: the multiplier is 0 (§4.1.4.4).
    pub one_notify_address: bool,
    /// Status reads as before for so long after 0 was written to it, in virtual nanoseconds, and what is written to the common
    /// configuration meanwhile is lost (§2.4.1, §4.1.4.3.1).
    pub slow_reset: Nanos,
    /// A queue says for so long that it is being reset, in virtual nanoseconds, and cannot be set up meanwhile (§2.6.1.1).
    pub slow_queue_reset: Nanos,
    /// No vector is ever to be had: what is written to vector registers reads back as none (§4.1.5.1.2).
    pub no_vectors: bool,
    /// The device never agrees to what the driver accepted (§2.2.2).
    pub refuse_features: bool,
    /// The device needs a reset after this many kicks (§2.1.2); never if 0.
    pub needs_reset_after: u32,
}
