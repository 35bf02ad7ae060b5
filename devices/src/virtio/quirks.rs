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

impl Quirks {
    /// The words that [`parse`](Self::parse) knows, and what each makes of a device.
    pub const WORDS: [(&'static str, &'static str); 16] = [
        ("huge-lengths", "structures are said to be as long as the BAR has room"),
        ("longer-capabilities", "capabilities are eight bytes longer than they need be"),
        ("longer-config", "the configuration space is 300 bytes longer than the type has it"),
        ("needs-reset", "the device needs a reset after its third kick"),
        ("no-vectors", "no MSI-X vector is ever to be had"),
        ("one-notify-address", "all queues are notified at one address"),
        ("refused-features", "the device never agrees to what the driver accepted"),
        ("reserved-bar", "a capability in a BAR that does not exist stands first"),
        ("revision", "the revision id is 77"),
        ("slow-queue-reset", "the reset of a queue takes 50 µs"),
        ("slow-reset", "a reset takes 50 µs"),
        (
            "spurious-interrupts",
            "every second kick is followed by interrupts of queues and configuration without cause",
        ),
        ("torn-config", "the configuration changes while it is read, five times"),
        ("unknown-capability", "a capability of a type that does not exist stands first"),
        ("unknown-features", "feature bits are offered that nobody knows"),
        ("vendor-data", "another vendor's capability stands first"),
    ];

    /// Oddities by their words, with `+` between them.
    ///
    /// # Errors
    /// Names the word that is none, and those that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut quirks = Self::default();
        for word in text.split('+') {
            quirks.set(word).ok_or_else(|| {
                let known: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
                format!("odd takes words with + between them, and \"{word}\" is none (there are {})", known.join(", "))
            })?;
        }
        Ok(quirks)
    }

    fn set(&mut self, word: &str) -> Option<()> {
        const SLOW: Nanos = 50_000;
        match word {
            "huge-lengths" => self.huge_lengths = true,
            "longer-capabilities" => self.longer_capabilities = 8,
            "longer-config" => self.longer_config = 300,
            "needs-reset" => self.needs_reset_after = 3,
            "no-vectors" => self.no_vectors = true,
            "one-notify-address" => self.one_notify_address = true,
            "refused-features" => self.refuse_features = true,
            "reserved-bar" => self.reserved_bar = true,
            "revision" => self.revision = Some(77),
            "slow-queue-reset" => self.slow_queue_reset = SLOW,
            "slow-reset" => self.slow_reset = SLOW,
            "spurious-interrupts" => self.spurious_every = 2,
            "torn-config" => self.config_changes = 5,
            "unknown-capability" => self.unknown_capability = true,
            // Reserved for types, for rings and for later.
            "unknown-features" => self.unknown_features = (1 << 42) | (1 << 44) | (1 << 49) | (1 << 126),
            "vendor-data" => self.vendor_capability = true,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_makes_a_device_odd_in_its_own_way() {
        let odd: Vec<Quirks> = Quirks::WORDS.iter().map(|(word, _)| Quirks::parse(word).unwrap()).collect();
        for (at, quirks) in odd.iter().enumerate() {
            assert_ne!(*quirks, Quirks::default());
            assert!(!odd[..at].contains(quirks));
        }
    }

    #[test]
    fn words_add_up_and_others_are_named() {
        let both = Quirks::parse("revision+huge-lengths").unwrap();
        assert_eq!(both, Quirks { revision: Some(77), huge_lengths: true, ..Quirks::default() });
        assert!(Quirks::parse("revision+").unwrap_err().contains("\"\" is none"));
    }
}
