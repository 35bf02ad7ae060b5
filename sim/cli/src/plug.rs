//! `--device`: what a specification plugs in, a PCI device that is modelled here or a platform device that firmware tells of.

use bringup_bench::rt::platform::PlatformDevice;
use bringup_core::Device;
use bringup_devices::registry::{self, Workshop};

use crate::failure::Failure;
use crate::suggest;

/// Something to plug in.
pub(crate) enum Plug {
    /// A device model, and the name of its kind.
    Pci(String, Box<dyn Device>),
    /// What firmware says.
    Platform(Platform),
}

impl std::fmt::Debug for Plug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pci(kind, _) => f.debug_tuple("Pci").field(kind).finish(),
            Self::Platform(platform) => f.debug_tuple("Platform").field(platform).finish(),
        }
    }
}

/// A platform device, as far as its specification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    identity: Identity,
    /// In the order in which they were given.
    properties: Vec<(String, Values)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    /// Its hardware id.
    Acpi(String),
    /// Its node's name, and what it is compatible with.
    DeviceTree(String, Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    Numbers(Vec<u64>),
    Texts(Vec<String>),
}

/// A kind of platform device, as `bringup list devices` shows it.
#[derive(Debug)]
pub(crate) struct PlatformKind {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) options: &'static [PlatformOption],
}

/// An option of a kind of platform device.
#[derive(Debug)]
pub(crate) struct PlatformOption {
    /// What stands before the `=`.
    pub(crate) name: &'static str,
    /// What stands after it, in a word.
    pub(crate) value: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) default: Option<&'static str>,
}

const PROPERTY: PlatformOption = PlatformOption {
    name: "NAME",
    value: "value",
    summary: "a property: numbers or texts, separated by semicolons",
    default: Some("none"),
};

/// The kinds that there are besides the device models.
pub(crate) static PLATFORM: [PlatformKind; 2] = [
    PlatformKind {
        name: "acpi",
        summary: "a platform device that ACPI describes; has no registers",
        options: &[
            PlatformOption { name: "hid", value: "text", summary: "its hardware id, such as LNUXBEEF", default: None },
            PlatformOption {
                name: "compatible",
                value: "text",
                summary: "its property compatible",
                default: Some("none"),
            },
            PROPERTY,
        ],
    },
    PlatformKind {
        name: "of",
        summary: "a platform device that a device tree describes; has no registers",
        options: &[
            PlatformOption { name: "name", value: "text", summary: "its node's name, such as fan@100", default: None },
            PlatformOption {
                name: "compatible",
                value: "text",
                summary: "what it is compatible with, such as acme,fan; separated by semicolons",
                default: None,
            },
            PROPERTY,
        ],
    },
];

impl Plug {
    /// Understands a specification: a kind, then options, separated by commas.
    ///
    /// # Errors
    /// When there is no such kind, or its options are not what it takes.
    pub(crate) fn parse(spec: &str) -> Result<Self, Failure> {
        Self::make(spec, &Workshop::new())
    }

    /// As [`parse`](Self::parse), for the machine of a workshop.
    pub(crate) fn make(spec: &str, workshop: &Workshop) -> Result<Self, Failure> {
        let (kind, options) = spec.split_once(',').unwrap_or((spec, ""));
        if let Some(kind) = PLATFORM.iter().find(|known| known.name == kind) {
            return Platform::parse(kind, options).map(Self::Platform);
        }
        let ours = || registry::kinds().iter().map(|kind| kind.name);
        if !ours().any(|known| known == kind) {
            let hint = suggest::hint(kind, ours().chain(PLATFORM.iter().map(|kind| kind.name)));
            return Err(Failure::new(format_args!("unknown device \"{kind}\"{hint}")));
        }
        workshop.parse(spec).map(|(kind, device)| Self::Pci(kind, device)).map_err(Failure::new)
    }
}

/// Gives devices of one kind different names: `edu`, `edu1`, …
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    /// The name of the next device of this kind.
    pub(crate) fn next(&mut self, kind: String) -> String {
        let same = self.0.iter().filter(|known| **known == kind).count();
        let name = if same == 0 { kind.clone() } else { format!("{kind}{same}") };
        self.0.push(kind);
        name
    }
}

impl Platform {
    fn parse(kind: &PlatformKind, options: &str) -> Result<Self, Failure> {
        let kind = kind.name;
        let refuse = |why: &str| Failure::new(format_args!("{kind}: {why}"));
        let mut given = properties(options).map_err(|why| refuse(&why))?;
        let mut take = |name: &str| {
            let at = given.iter().position(|(given, _)| given == name)?;
            Some(given.remove(at).1).filter(|value| !value.is_empty())
        };
        let identity = if kind == "acpi" {
            let hid = take("hid").ok_or_else(|| refuse("it needs hid=ID, such as hid=LNUXBEEF"))?;
            let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
            if !matches!(hid.len(), 7 | 8) || !hid.chars().all(known) {
                let why =
                    format!("hid takes seven or eight capital letters and digits, such as LNUXBEEF, not \"{hid}\"");
                return Err(refuse(&why));
            }
            Identity::Acpi(hid)
        } else {
            let name = take("name").ok_or_else(|| refuse("it needs name=NODE, such as name=fan@100"))?;
            if name.contains('/') {
                return Err(refuse(&format!("name takes the name of a node below the root, not \"{name}\"")));
            }
            let compatible =
                take("compatible").ok_or_else(|| refuse("it needs compatible=TEXT, such as compatible=acme,fan"))?;
            Identity::DeviceTree(name, texts(&compatible))
        };
        let properties = given.into_iter().map(|(name, value)| {
            // What it is compatible with is text, whatever it looks like.
            let values = if name == "compatible" { Values::Texts(texts(&value)) } else { Values::of(&value) };
            (name, values)
        });
        Ok(Self { identity, properties: properties.collect() })
    }

    /// The device as the machine takes it; `earlier` are those that come before it.
    ///
    /// # Errors
    /// When its name is taken.
    pub(crate) fn describe(&self, earlier: &[PlatformDevice]) -> Result<PlatformDevice, Failure> {
        let mut device = match &self.identity {
            Identity::Acpi(hid) => {
                let same = |device: &&PlatformDevice| device.name.rsplit_once(':').is_some_and(|(id, _)| id == hid);
                let number = u8::try_from(earlier.iter().filter(same).count())
                    .map_err(|_| Failure::new(format_args!("there are too many devices with the id {hid}")))?;
                let mut device = PlatformDevice::acpi(hid, number);
                // The scope is shared by all ids, and a path names one device.
                device.node.name = format!("D{:03X}", earlier.len());
                device
            }
            Identity::DeviceTree(name, compatible) => {
                let compatible: Vec<&str> = compatible.iter().map(String::as_str).collect();
                PlatformDevice::device_tree(name, &compatible)
            }
        };
        if earlier.iter().any(|other| other.name == device.name) {
            return Err(Failure::new(format_args!("two devices are called \"{}\"", device.name)));
        }
        for (name, values) in &self.properties {
            device = match values {
                Values::Numbers(numbers) => device.numbers(name, numbers),
                Values::Texts(texts) => device.texts(name, &texts.iter().map(String::as_str).collect::<Vec<_>>()),
            };
        }
        Ok(device)
    }
}

impl Values {
    /// Numbers if each part is one, else texts.
    fn of(value: &str) -> Self {
        let parts = texts(value);
        let number = |part: &String| match part.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            // The standard library would take a sign.
            None => part.starts_with(|c: char| c.is_ascii_digit()).then(|| part.parse().ok())?,
        };
        match parts.iter().map(number).collect::<Option<Vec<u64>>>() {
            Some(numbers) => Self::Numbers(numbers),
            None => Self::Texts(parts),
        }
    }
}

fn texts(value: &str) -> Vec<String> {
    value.split(';').map(str::to_owned).collect()
}

/// The names and values in `options`. A comma that no name follows belongs to the value before it: `compatible=acme,fan`.
fn properties(options: &str) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for part in options.split(',').filter(|_| !options.is_empty()) {
        match (part.split_once('='), found.last_mut()) {
            (Some((name, value)), _) if !name.is_empty() => {
                if found.iter().any(|(known, _)| known == name) {
                    return Err(format!("\"{name}\" is given twice"));
                }
                found.push((name.into(), value.into()));
            }
            (None, Some((_, value))) => *value = format!("{value},{part}"),
            _ => return Err(format!("it takes NAME=VALUE, not \"{part}\"")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bringup_bench::rt::platform::{Node, Property};

    fn platform(spec: &str) -> Platform {
        match Plug::parse(spec).expect("a device") {
            Plug::Platform(platform) => platform,
            Plug::Pci(kind, _) => panic!("{kind} is no platform device"),
        }
    }

    fn refusal(spec: &str) -> String {
        Plug::parse(spec).expect_err("refused").to_string()
    }

    #[test]
    fn commas_and_semicolons_stand_in_values() {
        let fan =
            platform("of,name=fan@100,compatible=acme,fan;acme,thing,blades=4;0x10,label=7up").describe(&[]).unwrap();
        let node = Node::new("fan@100")
            .property("compatible", Property::Texts(vec!["acme,fan".into(), "acme,thing".into()]))
            .property("blades", Property::Numbers(vec![4, 16]))
            .property("label", Property::Texts(vec!["7up".into()]));
        assert_eq!((&*fan.name, fan.node), ("fan@100", node));
    }

    #[test]
    fn acpi_devices_of_one_id_are_numbered_and_have_paths_of_their_own() {
        let first = platform("acpi,hid=LNUXBEEF").describe(&[]).unwrap();
        let other = platform("acpi,hid=ACME0001").describe(std::slice::from_ref(&first)).unwrap();
        let second = platform("acpi,hid=LNUXBEEF").describe(&[first, other.clone()]).unwrap();
        assert_eq!((&*other.name, &*second.name), ("ACME0001:00", "LNUXBEEF:01"));
        assert_eq!((&*other.node.name, &*second.node.name), ("D001", "D002"));
    }

    #[test]
    fn name_that_is_taken_is_refused() {
        let fan = platform("of,name=fan,compatible=a");
        let first = fan.describe(&[]).unwrap();
        assert_eq!(fan.describe(&[first]).unwrap_err().to_string(), "two devices are called \"fan\"");
    }

    #[test]
    fn refusals_say_what_is_wanted() {
        assert_eq!(refusal("acpi"), "acpi: it needs hid=ID, such as hid=LNUXBEEF");
        assert_eq!(refusal("of,name=x"), "of: it needs compatible=TEXT, such as compatible=acme,fan");
        assert_eq!(refusal("of,compatible=x"), "of: it needs name=NODE, such as name=fan@100");
        assert_eq!(refusal("acpi,hid=LNUXBEEF,x=1,x=2"), "acpi: \"x\" is given twice");
        assert_eq!(refusal("acpi,hid"), "acpi: it takes NAME=VALUE, not \"hid\"");
        assert!(refusal("acpi,hid=lnuxbeef").contains("capital letters"));
        assert_eq!(refusal("acpy"), "unknown device \"acpy\"; did you mean \"acpi\"?");
    }
}
