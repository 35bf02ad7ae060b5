//! Oddities that the specification allows and that a driver must live with: stimuli for conformance runs, as data.

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
    /// While the driver reads its configuration, it changes this many times (§2.5.1): what was read before is stale.
    pub config_changes: u32,
    /// After every so many kicks, queues and configuration raise an interrupt without cause (§2.7.7.1); never if 0.
    pub spurious_every: u32,
}
