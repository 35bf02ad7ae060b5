//! Names the device models, says what options each takes, and turns text such as `edu,dma_mask=0xffffffff` into a device.

use std::fmt;

use bringup_core::Device;

use crate::notices::Notices;
use crate::virtio::Cables;

/// All kinds. A new device is one more line here, and a `KIND` in its file.
// New kinds go to the end: in a machine with one of each, the others keep their addresses.
static KINDS: [DeviceKind; 7] = [
    crate::edu::KIND,
    crate::testdev::KIND,
    crate::virtio::kinds::BLK,
    crate::virtio::kinds::CONSOLE,
    crate::virtio::kinds::NET,
    crate::virtio::kinds::RNG,
    crate::cq::KIND,
];

/// A kind of device that can be made by name.
#[derive(Debug)]
pub struct DeviceKind {
    /// The first word of its specification: `edu`.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The PCI vendor and device ids that it may have.
    pub ids: &'static [(u16, u16)],
    /// What can be said about it.
    pub options: &'static [OptionDef],
    pub(crate) make: fn(&Options) -> Result<Box<dyn Device>, String>,
}

/// An option of a kind of device.
#[derive(Debug)]
pub struct OptionDef {
    /// What stands before the `=`.
    pub name: &'static str,
    /// What stands after it.
    pub value: ValueKind,
    /// What holds when the option is not given.
    pub default: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
}

/// What the value of an option looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A number: decimal, or hexadecimal after `0x`.
    Number,
    /// A size in bytes: a number, with `K`, `M`, `G` or `T` behind it if wanted.
    Bytes,
    /// `on` or `off`; the option's name alone means `on`.
    Bool,
    /// Text without a comma, such as a file's name.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Text(String),
}

impl ValueKind {
    /// One word: `number`, `bytes`, `bool`, `text` or `word`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Bytes => "bytes",
            Self::Bool => "bool",
            Self::Text => "text",
            Self::Word(_) => "word",
        }
    }

    /// What it takes, for messages.
    #[must_use]
    pub fn takes(self) -> String {
        let text = match self {
            Self::Number => "a number below 2^64, such as 255 or 0xff",
            Self::Bytes => "a number of bytes below 2^64, such as 4096, 0x1000, 64K, 1M or 2G",
            Self::Bool => "\"on\" or \"off\"",
            Self::Text => "text",
            Self::Word(words) => return words.join(", "),
        };
        text.into()
    }

    /// The value of `text` (1 and 0 for on and off); `None` if it has none.
    fn parse(self, text: &str) -> Option<Value> {
        let number = match self {
            Self::Text => return (!text.is_empty()).then(|| Value::Text(text.into())),
            Self::Word(words) => return words.contains(&text).then(|| Value::Text(text.into())),
            Self::Number => number(text),
            Self::Bytes => {
                let (digits, shift) = match text.char_indices().last()? {
                    (at, 'k' | 'K') => (&text[..at], 10),
                    (at, 'm' | 'M') => (&text[..at], 20),
                    (at, 'g' | 'G') => (&text[..at], 30),
                    (at, 't' | 'T') => (&text[..at], 40),
                    _ => (text, 0),
                };
                number(digits)?.checked_mul(1_u64 << shift)
            }
            Self::Bool => match text {
                "on" | "true" | "yes" => Some(1),
                "off" | "false" | "no" => Some(0),
                _ => None,
            },
        };
        number.map(Value::Number)
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // The standard library would take a sign.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok())?
}

/// Where the devices of one machine are made: they share what connects them, and the place for what they have to say.
#[derive(Clone, Debug, Default)]
pub struct Workshop {
    notices: Notices,
    cables: Cables,
}

impl Workshop {
    /// One for a new machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where its devices say what the host did to them: a full disk, a file that became shorter.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// As [`parse`], for a device of this workshop's machine.
    ///
    /// # Errors
    /// As of [`parse`].
    pub fn parse(&self, spec: &str) -> Result<(String, Box<dyn Device>), SpecError> {
        let mut words = spec.split(',').map(str::trim);
        let name = words.next().unwrap_or("");
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            let nearest = nearest(name, KINDS.iter().map(|kind| kind.name));
            return Err(SpecError::UnknownDevice { name: name.into(), nearest });
        };
        let mut options = Options { given: Vec::new(), workshop: self.clone() };
        for word in words {
            let (option, value) = kind.parse_option(word)?;
            if options.value(option).is_some() {
                return Err(SpecError::Repeated { device: kind.name, option });
            }
            options.given.push((option, value));
        }
        let device = (kind.make)(&options).map_err(|why| SpecError::Refused { device: kind.name, why })?;
        Ok((kind.name.into(), device))
    }
}

/// The options of one specification, checked against what its kind takes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    given: Vec<(&'static str, Value)>,
    workshop: Workshop,
}

impl Options {
    /// Where the device is to say what the host does to it.
    #[must_use]
    pub fn notices(&self) -> Notices {
        self.workshop.notices.clone()
    }

    /// The cables of the machine.
    pub(crate) fn cables(&self) -> &Cables {
        &self.workshop.cables
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// The value of a number or of a size; `None` if the option was not given.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) => None,
        }
    }

    /// The value of a text or a word; `None` if the option was not given.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            Value::Number(_) => None,
        }
    }

    /// The value of a switch; `None` if the option was not given.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.number(name).map(|value| value != 0)
    }
}

/// Why a specification names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// There is no such kind.
    #[error("unknown device \"{name}\"{}", Hint(.nearest))]
    UnknownDevice {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// The kind has no such option.
    #[error("{device} has no option \"{option}\"{}", Hint(.nearest))]
    UnknownOption {
        /// The kind.
        device: &'static str,
        /// What was given.
        option: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// An option stands there twice.
    #[error("{device}: option \"{option}\" is given twice")]
    Repeated {
        /// The kind.
        device: &'static str,
        /// The option.
        option: &'static str,
    },
    /// A value is not what its option takes.
    #[error("{device}: {option} takes {}, not \"{value}\"", .takes.takes())]
    BadValue {
        /// The kind.
        device: &'static str,
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        takes: ValueKind,
    },
    /// The options make no sense for the device.
    #[error("{device}: {why}")]
    Refused {
        /// The kind.
        device: &'static str,
        /// What is wrong.
        why: String,
    },
}

struct Hint<'a>(&'a Option<&'static str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean \"{name}\"?"),
            None => Ok(()),
        }
    }
}

/// All kinds of devices, sorted by name.
#[must_use]
pub fn kinds() -> &'static [DeviceKind] {
    &KINDS
}

/// Makes the device that `spec` describes: the name of a kind, then options, all separated by commas. Gives the kind's name
/// with it. What the device has to say of the host, and other devices that it might be connected with, are lost; see [`Workshop`].
///
/// # Errors
/// When it names no kind or an option that the kind does not have, or when a value is not what its option takes.
pub fn parse(spec: &str) -> Result<(String, Box<dyn Device>), SpecError> {
    Workshop::new().parse(spec)
}

impl DeviceKind {
    fn parse_option(&self, word: &str) -> Result<(&'static str, Value), SpecError> {
        let device = self.name;
        let (key, text) = word.split_once('=').map_or((word, None), |(key, text)| (key.trim(), Some(text.trim())));
        let Some(def) = self.options.iter().find(|def| def.name == key) else {
            let nearest = nearest(key, self.options.iter().map(|def| def.name));
            return Err(SpecError::UnknownOption { device, option: key.into(), nearest });
        };
        let text = text.unwrap_or(if def.value == ValueKind::Bool { "on" } else { "" });
        let value = def.value.parse(text);
        let bad = || SpecError::BadValue { device, option: def.name, value: text.into(), takes: def.value };
        Ok((def.name, value.ok_or_else(bad)?))
    }
}

/// The name that takes the fewest edits to reach, if few are enough for it to be a slip.
fn nearest(word: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let (distance, name) = names.map(|name| (edits(word, name), name)).min()?;
    (distance <= name.len().div_ceil(3)).then_some(name)
}

/// How many characters must be inserted, deleted or replaced to make `from` into `to`.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bringup_core::pci::BarKind;
    use bringup_core::{Bus, BusConfig, Ram};

    fn refusal(spec: &str) -> String {
        parse(spec).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_kind_is_made_by_its_name_and_has_one_of_its_ids() {
        for kind in kinds() {
            let (name, device) = parse(kind.name).unwrap();
            let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
            let id = bus.plug(&name, device).unwrap();
            let ids = (bus.config_read(id, 0, 2) as u16, bus.config_read(id, 2, 2) as u16);
            assert!(kind.ids.contains(&ids), "{name}: {ids:x?}");
        }
    }

    #[test]
    fn kinds_have_names_of_their_own_and_every_default_is_a_value_of_its_option() {
        let names: std::collections::BTreeSet<&str> = kinds().iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), kinds().len());
        for def in kinds().iter().flat_map(|kind| kind.options) {
            assert!(def.default.is_empty() || def.value.parse(def.default).is_some(), "{}", def.name);
        }
    }

    #[test]
    fn options_reach_the_device() {
        let (_, device) = parse("pci-testdev, membar=64K").unwrap();
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).unwrap()));
        let id = bus.plug("t", device).unwrap();
        let (_, bar) = bus.bar(id, 2).unwrap();
        assert_eq!((bar.size, bar.kind, bar.prefetchable), (65536, BarKind::Memory64, true));
        let (name, _) = parse("edu,dma_mask=0xffffffff,dma_time_us=10").unwrap();
        assert_eq!(name, "edu");
    }

    #[test]
    fn unknown_names_come_with_the_nearest_one() {
        assert_eq!(refusal("edo"), "unknown device \"edo\"; did you mean \"edu\"?");
        assert_eq!(refusal("testdev"), "unknown device \"testdev\"; did you mean \"pci-testdev\"?");
        assert_eq!(refusal("toaster"), "unknown device \"toaster\"");
        assert_eq!(refusal(""), "unknown device \"\"");
        assert_eq!(refusal("edu,dma-mask=1"), "edu has no option \"dma-mask\"; did you mean \"dma_mask\"?");
        assert_eq!(refusal("edu,colour=red"), "edu has no option \"colour\"");
        assert_eq!(refusal("edu,"), "edu has no option \"\"");
    }

    #[test]
    fn bad_values_come_with_what_the_option_takes() {
        let takes = "edu: dma_mask takes a number below 2^64, such as 255 or 0xff, not";
        assert_eq!(refusal("edu,dma_mask=all"), format!("{takes} \"all\""));
        assert_eq!(refusal("edu,dma_mask"), format!("{takes} \"\""));
        assert_eq!(refusal("edu,dma_mask=+1"), format!("{takes} \"+1\""));
        assert_eq!(refusal("edu,dma_mask=0x10000000000000000"), format!("{takes} \"0x10000000000000000\""));
        assert_eq!(refusal("edu,dma_mask=1,dma_mask=2"), "edu: option \"dma_mask\" is given twice");
        assert_eq!(refusal("edu,dma_time_us=18446744073709551615"), "edu: dma_time_us is more than 584 years");
        let power = "pci-testdev: membar must be a power of two from 16 bytes to 1 TiB, not";
        assert_eq!(refusal("pci-testdev,membar=3K"), format!("{power} 3072"));
        assert_eq!(refusal("pci-testdev,membar=2T"), format!("{power} 2199023255552"));
    }

    #[test]
    fn options_of_virtio_devices_are_refused_in_one_clear_line() {
        for (spec, line) in [
            ("virtio-blk,paked=on", "virtio-blk has no option \"paked\"; did you mean \"packed\"?"),
            ("virtio-net,mrg_rxbufs=on", "virtio-net has no option \"mrg_rxbufs\"; did you mean \"mrg_rxbuf\"?"),
            ("virtio-blk,packed=maybe", "virtio-blk: packed takes \"on\" or \"off\", not \"maybe\""),
            ("virtio-blk,queue-size=100", "virtio-blk: queue-size takes a power of two, not 100"),
            ("virtio-blk,num-queues=65", "virtio-blk: num-queues takes 1 to 64, not 65"),
            ("virtio-blk,size=1000", "virtio-blk: size takes a multiple of 512, up to 16G, not 1000"),
            ("virtio-rng,vectors=2049", "virtio-rng: vectors takes 0 to 2048, not 2049"),
            ("virtio-net,host_mtu=67", "virtio-net: host_mtu takes 68 to 65535, not 67"),
            ("virtio-net,queue_pairs=2,ctrl_vq=off", "virtio-net: queue_pairs=2 needs ctrl_vq=on"),
            (
                "virtio-net,peer=a,backend=none",
                "virtio-net: backend is for a device without a cable: give peer or backend",
            ),
            ("virtio-net,backend=tap", "virtio-net: backend takes loopback, none, not \"tap\""),
            ("virtio-net,mac=1:2", "virtio-net: mac takes an address such as 52:54:00:12:34:56, not \"1:2\""),
            ("virtio-net,pcap-in=/none", "virtio-net: cannot open /none: No such file or directory"),
            ("virtio-console,max_ports=2,multiport=off", "virtio-console: max_ports=2 needs multiport=on"),
            ("virtio-console,input=/none", "virtio-console: cannot open /none: No such file or directory"),
        ] {
            assert_eq!(refusal(spec), line);
        }
    }

    #[test]
    fn values_are_read_as_their_kind_says() {
        assert_eq!(ValueKind::Number.parse("0xFF"), Some(Value::Number(255)));
        assert_eq!(ValueKind::Number.parse("0x"), None);
        assert_eq!(ValueKind::Number.parse("4K"), None);
        assert_eq!(ValueKind::Bytes.parse("4k"), Some(Value::Number(4096)));
        assert_eq!(ValueKind::Bytes.parse("0x10M"), Some(Value::Number(16 << 20)));
        assert_eq!(ValueKind::Bytes.parse("K"), None);
        assert_eq!(ValueKind::Bytes.parse("99999999999999T"), None);
        assert_eq!(ValueKind::Bytes.parse("1µ"), None);
        assert_eq!(ValueKind::Bool.parse("off"), Some(Value::Number(0)));
        assert_eq!(ValueKind::Bool.parse("maybe"), None);
    }

    #[test]
    fn a_switch_without_a_value_is_on() {
        let kind = DeviceKind {
            name: "lamp",
            summary: "",
            ids: &[],
            options: &[OptionDef { name: "lit", value: ValueKind::Bool, default: "off", summary: "" }],
            make: |_| Err("a lamp is no device".into()),
        };
        let options = |word| Options { given: vec![kind.parse_option(word).unwrap()], ..Options::default() };
        assert_eq!(options("lit").flag("lit"), Some(true));
        assert_eq!(options("lit=off").flag("lit"), Some(false));
        assert_eq!(options("lit").flag("dim"), None);
    }
}
