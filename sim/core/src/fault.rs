//! Fault plans: what goes wrong in the machine, as data applied at the waist.

use serde::Deserialize;

use crate::time::Nanos;

/// The version of the plan file format.
pub const PLAN_VERSION: u32 = 1;

/// One of the waist's verbs, by direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// The CPU reads configuration space.
    ConfigRead,
    /// The CPU writes configuration space.
    ConfigWrite,
    /// The CPU reads from a BAR.
    BarRead,
    /// The CPU writes to a BAR.
    BarWrite,
    /// The device reads memory.
    DmaRead,
    /// The device writes memory.
    DmaWrite,
    /// The device interrupts (a message, or raising its pin).
    Irq,
    /// A wake-up that the device asked for is due.
    Time,
}

impl Verb {
    /// All of them, in the order in which `bringup list faults` prints them.
    pub const ALL: [Self; 8] = [
        Self::ConfigRead,
        Self::ConfigWrite,
        Self::BarRead,
        Self::BarWrite,
        Self::DmaRead,
        Self::DmaWrite,
        Self::Irq,
        Self::Time,
    ];

    /// The word used in plan files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ConfigRead => "config-read",
            Self::ConfigWrite => "config-write",
            Self::BarRead => "bar-read",
            Self::BarWrite => "bar-write",
            Self::DmaRead => "dma-read",
            Self::DmaWrite => "dma-write",
            Self::Irq => "irq",
            Self::Time => "time",
        }
    }

    const fn is_read(self) -> bool {
        matches!(self, Self::ConfigRead | Self::BarRead | Self::DmaRead)
    }

    const fn has_data(self) -> bool {
        !matches!(self, Self::Irq | Self::Time)
    }
}

/// What a matching operation does instead of the right thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// It is lost: a write does not arrive, a read never reaches the device (the CPU gets all ones, a device's buffer
    /// stays as it was), an interrupt or wake-up does not come.
    Drop,
    /// It happens `delay_ns` later: a CPU's read or a device's DMA takes that long, a posted write or an interrupt or a
    /// wake-up arrives that much later.
    Delay,
    /// It happens twice.
    Duplicate,
    /// Its data are changed by XOR with `mask` (each byte of DMA with the mask's lowest byte).
    Corrupt,
    /// Its data read as all ones.
    AllOnes,
    /// It fails: the CPU gets all ones and a device gets an abort; a write does not arrive.
    Error,
    /// Its data are what the choice stream says, byte by byte: a hostile device.
    Choose,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Drop, Self::Delay, Self::Duplicate, Self::Corrupt, Self::AllOnes, Self::Error, Self::Choose];

    /// The word used in plan files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Delay => "delay",
            Self::Duplicate => "duplicate",
            Self::Corrupt => "corrupt",
            Self::AllOnes => "all-ones",
            Self::Error => "error",
            Self::Choose => "choose",
        }
    }

    /// One line on what it does.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Drop => "the operation is lost; a CPU read gives all ones",
            Self::Delay => "the operation takes, or arrives, delay_ns later",
            Self::Duplicate => "the operation happens twice",
            Self::Corrupt => "the data are XORed with mask",
            Self::AllOnes => "the data are all ones",
            Self::Error => "the operation fails: all ones for the CPU, an abort for the device",
            Self::Choose => "the data are taken from the choice stream: a hostile device",
        }
    }

    /// Whether the behaviour means something for `verb`.
    #[must_use]
    pub const fn applies_to(self, verb: Verb) -> bool {
        match self {
            Self::Drop | Self::Delay | Self::Duplicate => true,
            Self::Corrupt | Self::Choose => verb.has_data(),
            Self::AllOnes => verb.is_read(),
            Self::Error => verb.has_data(),
        }
    }
}

/// One fault: which operations it meets, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which verb.
    pub verb: Verb,
    /// Only this device (its name in the machine, as `edu` or `edu1`); any if absent.
    #[serde(default)]
    pub device: Option<String>,
    /// Only this BAR, for BAR verbs.
    #[serde(default)]
    pub bar: Option<u8>,
    /// Only operations that touch this offset (BAR, configuration space), IOVA (DMA) or vector (interrupts).
    #[serde(default)]
    pub address: Option<u64>,
    /// With `address`: the length in bytes of the range that is met; 1 if absent.
    #[serde(default)]
    pub length: Option<u64>,
    /// How many matching operations pass unharmed first.
    #[serde(default)]
    pub after: u64,
    /// How many are harmed after that; all if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// What becomes of them.
    #[serde(rename = "do")]
    pub behaviour: Behaviour,
    /// For `delay`, in virtual nanoseconds.
    #[serde(default)]
    pub delay_ns: Option<Nanos>,
    /// For `corrupt`; one bit (1) if absent.
    #[serde(default)]
    pub mask: Option<u64>,
}

impl Fault {
    /// A fault that meets every operation of `verb`; its fields say more.
    #[must_use]
    pub const fn new(verb: Verb, behaviour: Behaviour) -> Self {
        Self {
            verb,
            behaviour,
            device: None,
            bar: None,
            address: None,
            length: None,
            after: 0,
            times: None,
            delay_ns: None,
            mask: None,
        }
    }
}

/// A fault plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format's version.
    pub version: u32,
    /// The faults; the first that matches an operation applies.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

/// Why a plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is not TOML, or has a key or word that does not exist.
    #[error("{0}")]
    Syntax(String),
    /// It has no version line.
    #[error("it does not say its version: begin it with \"version = {PLAN_VERSION}\"")]
    NoVersion,
    /// Another release wrote it.
    #[error("it is of version {0}; this bringup reads version {PLAN_VERSION}")]
    Version(i64),
    /// A fault makes no sense.
    #[error("fault {index}: {what}")]
    Fault {
        /// One-based.
        index: usize,
        /// What is wrong with it.
        what: String,
    },
}

impl Plan {
    /// A plan made in code.
    #[must_use]
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { version: PLAN_VERSION, faults }
    }

    /// Reads a plan file (TOML).
    ///
    /// # Errors
    /// When it cannot be read, is of another version, or a fault in it makes no sense.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| PlanError::Syntax(one_line(text, &e)))?;
        match table.get("version") {
            None => return Err(PlanError::NoVersion),
            Some(toml::Value::Integer(version)) if *version == i64::from(PLAN_VERSION) => {}
            Some(toml::Value::Integer(version)) => return Err(PlanError::Version(*version)),
            Some(other) => return Err(PlanError::Syntax(format!("version is {other}, not a number"))),
        }
        let plan: Self = toml::from_str(text).map_err(|e| PlanError::Syntax(one_line(text, &e)))?;
        plan.check()?;
        Ok(plan)
    }

    /// Checks that every fault makes sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), PlanError> {
        for (index, fault) in self.faults.iter().enumerate() {
            let (verb, word) = (fault.verb.word(), fault.behaviour.word());
            let bad = |what: String| Err(PlanError::Fault { index: index + 1, what });
            if !fault.behaviour.applies_to(fault.verb) {
                return bad(format!("\"{word}\" means nothing for \"{verb}\"; see bringup list faults"));
            }
            if fault.behaviour == Behaviour::Delay && fault.delay_ns.is_none() {
                return bad("\"delay\" needs delay_ns = NANOSECONDS".into());
            }
            if fault.bar.is_some() && !matches!(fault.verb, Verb::BarRead | Verb::BarWrite) {
                return bad(format!("\"bar\" means nothing for \"{verb}\""));
            }
            if fault.bar.is_some_and(|bar| bar > 5) {
                return bad("a function has BARs 0 to 5".into());
            }
            if fault.length.is_some() && fault.address.is_none() {
                return bad("\"length\" means nothing without \"address\"".into());
            }
            if fault.mask.is_some() && fault.behaviour != Behaviour::Corrupt {
                return bad(format!("\"mask\" means nothing for \"{word}\""));
            }
            if fault
                .mask
                .is_some_and(|mask| mask == 0 || (matches!(fault.verb, Verb::DmaRead | Verb::DmaWrite) && mask > 0xff))
            {
                return bad(
                    "the mask changes nothing, or is for more than the one byte that DMA is corrupted by".into()
                );
            }
            if fault.delay_ns.is_some() && fault.behaviour != Behaviour::Delay {
                return bad(format!("\"delay_ns\" means nothing for \"{word}\""));
            }
            if fault.length == Some(0) {
                return bad("length = 0 meets nothing".into());
            }
        }
        Ok(())
    }
}

/// What is wrong and where, without the text of the plan, which may be anything.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line =
        error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
    let message: String = error.message().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("line {line}: {message}")
}

/// What the waist has to do to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The behaviour.
    pub behaviour: Behaviour,
    /// For delays.
    pub delay: Nanos,
    /// For corruption.
    pub mask: u64,
}

/// A plan at work: the plan and how often each of its faults matched.
#[derive(Debug, Default)]
pub struct Faults {
    active: Vec<(Fault, u64)>,
}

impl Faults {
    /// Puts a plan to work.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { active: plan.faults.into_iter().map(|fault| (fault, 0)).collect() }
    }

    /// Whether there is no fault at all (the fast path).
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// What becomes of an operation on `device` that touches `len` bytes from `address`.
    pub fn meet(&mut self, verb: Verb, device: &str, bar: u8, address: u64, len: u64) -> Option<Applied> {
        for (fault, met) in &mut self.active {
            let matches = fault.verb == verb
                && fault.device.as_deref().is_none_or(|name| name == device)
                && fault.bar.is_none_or(|wanted| wanted == bar)
                && fault.address.is_none_or(|from| {
                    let to = from.saturating_add(fault.length.unwrap_or(1));
                    address < to && address.saturating_add(len.max(1)) > from
                });
            if !matches {
                continue;
            }
            *met += 1;
            let harmed = *met > fault.after && fault.times.is_none_or(|times| *met - fault.after <= times);
            if harmed {
                return Some(Applied {
                    behaviour: fault.behaviour,
                    delay: fault.delay_ns.unwrap_or(0),
                    mask: fault.mask.unwrap_or(1),
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_range_after_its_count_and_as_often_as_it_says() {
        let plan = "version = 1\n[[fault]]\nverb = \"bar-read\"\ndevice = \"edu\"\nbar = 0\naddress = 0x20\nlength = 4\nafter = 1\ntimes = 2\ndo = \"all-ones\"\n";
        let mut faults = Faults::new(Plan::parse(plan).unwrap());
        let mut meet = |address| faults.meet(Verb::BarRead, "edu", 0, address, 4).is_some();
        assert_eq!([meet(0x24), meet(0x20), meet(0x20), meet(0x22), meet(0x20)], [false, false, true, true, false]);
    }

    #[test]
    fn plans_that_make_no_sense_are_refused_with_the_reason() {
        let refuse = |text: &str| Plan::parse(text).unwrap_err().to_string();
        assert!(refuse("").contains("version = 1"));
        assert!(refuse("version = 2").contains("version 2"));
        assert!(refuse("version = 1\n[[fault]]\nverb = \"irq\"\ndo = \"all-ones\"").contains("means nothing"));
        assert!(refuse("version = 1\n[[fault]]\nverb = \"irq\"\ndo = \"delay\"").contains("delay_ns"));
        assert!(refuse("version = 1\n[[fault]]\nverb = \"bar-raed\"\ndo = \"drop\"").contains("bar-raed"));
        assert!(refuse("version = 1\nfalt = 3").contains("falt"));
        assert!(refuse("version = ").contains("line 1"));
    }
}
