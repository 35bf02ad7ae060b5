//! Platform devices: what firmware tells of, since no bus can find it; registration and binding of their drivers.

use std::any::Any;
use std::panic::Location;
use std::rc::Rc;

use bringup_core::Place;
use bringup_core::trace::Event;

use super::errno::{EBUSY, EEXIST, ENODEV, ENXIO};
use crate::ledger::{Kind, LedgerId};
use crate::machine::{Machine, with};

/// What kind of firmware describes a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// ACPI, with the device's hardware id (`_HID`).
    Acpi(String),
    /// A device tree; what the device is compatible with is its property `compatible`.
    DeviceTree,
    /// None: board code made it.
    None,
}

/// The value of a property of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// It is there, and says no more.
    Flag,
    /// Strings, at least one.
    Texts(Vec<String>),
    /// Numbers, at least one.
    Numbers(Vec<u64>),
    /// References to nodes of the same device.
    References(Vec<Reference>),
}

/// A reference to a node, with what it says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name of a child of the device's own node.
    pub child: String,
    /// The arguments.
    pub arguments: Vec<u64>,
}

/// A node of firmware's tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, with a unit address if it has one (`uart@100`).
    pub name: String,
    /// Its properties, in the order in which firmware has them.
    pub properties: Vec<(String, Property)>,
    /// The nodes below it.
    pub children: Vec<Node>,
}

impl Node {
    /// A node without properties.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds a property.
    #[must_use]
    pub fn property(mut self, name: &str, value: Property) -> Self {
        self.properties.push((name.to_owned(), value));
        self
    }

    /// Adds a property that refers to a child of the device's own node.
    #[must_use]
    pub fn reference(self, name: &str, child: &str, arguments: &[u64]) -> Self {
        let reference = Reference { child: child.to_owned(), arguments: arguments.to_vec() };
        self.property(name, Property::References(vec![reference]))
    }
}

/// A platform device as firmware describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformDevice {
    /// Its name in the driver model, as `LNUXBEEF:00`.
    pub name: String,
    /// Who describes it.
    pub firmware: Firmware,
    /// Where its node stands in the firmware's tree, without the node's own name: `\_SB_.` or `/`.
    pub above: String,
    /// Its node.
    pub node: Node,
}

impl PlatformDevice {
    /// A device that ACPI knows by its hardware id: the `number`th with this id.
    #[must_use]
    pub fn acpi(hid: &str, number: u8) -> Self {
        Self {
            name: format!("{hid}:{number:02x}"),
            firmware: Firmware::Acpi(hid.to_owned()),
            above: "\\_SB_.".to_owned(),
            node: Node::new(&format!("D{number:03X}")),
        }
    }

    /// A device in a device tree, by its node's name below the root and what it is compatible with.
    #[must_use]
    pub fn device_tree(name: &str, compatible: &[&str]) -> Self {
        let device = Self {
            name: name.to_owned(),
            firmware: Firmware::DeviceTree,
            above: "/".to_owned(),
            node: Node::new(name),
        };
        device.texts("compatible", compatible)
    }

    fn property(mut self, name: &str, value: Property) -> Self {
        self.node = self.node.property(name, value);
        self
    }

    /// Adds a property of strings.
    #[must_use]
    pub fn texts(self, name: &str, texts: &[&str]) -> Self {
        self.property(name, Property::Texts(texts.iter().map(|text| (*text).to_owned()).collect()))
    }

    /// Adds a property of numbers.
    #[must_use]
    pub fn numbers(self, name: &str, numbers: &[u64]) -> Self {
        self.property(name, Property::Numbers(numbers.to_vec()))
    }

    /// Adds a property that only is there.
    #[must_use]
    pub fn flag(self, name: &str) -> Self {
        self.property(name, Property::Flag)
    }

    /// Adds a node below the device's own.
    #[must_use]
    pub fn child(mut self, child: Node) -> Self {
        self.node.children.push(child);
        self
    }
}

/// Names a platform device of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlatformId(usize);

/// A platform driver, as the bus layer of the kernel crate hands it to the machine.
pub trait PlatformDriver {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether it drives this device.
    fn matches(&self, device: &PlatformDevice) -> bool;

    /// Binds to a device that matched; negative errno. After an error everything must be as before.
    ///
    /// # Errors
    /// The driver's.
    fn probe(&self, device: PlatformId) -> Result<(), i32>;

    /// Lets go of a device: everything that unbinding does in Linux, in its order.
    fn remove(&self, device: PlatformId);
}

struct Known {
    description: Rc<PlatformDevice>,
    /// The driver, and when it was bound.
    binding: Option<(u32, u64)>,
    /// The bus layer's own object for it, alive as long as the machine.
    object: Option<Box<dyn Any>>,
}

struct Registered {
    id: u32,
    driver: Rc<dyn PlatformDriver>,
    ledger: LedgerId,
}

/// The platform bus of a machine.
#[derive(Default)]
pub(crate) struct PlatformState {
    devices: Vec<Known>,
    drivers: Vec<Registered>,
}

impl PlatformState {
    /// Adds a device, when the machine is built.
    pub(crate) fn add(&mut self, description: PlatformDevice) -> PlatformId {
        self.devices.push(Known { description: Rc::new(description), binding: None, object: None });
        PlatformId(self.devices.len() - 1)
    }

    /// Takes the bus layer's objects, when the machine ends.
    pub(crate) fn take_objects(&mut self) -> Vec<Box<dyn Any>> {
        self.devices.iter_mut().filter_map(|device| device.object.take()).collect()
    }

    /// Takes the drivers that are still registered, when the machine ends.
    pub(crate) fn take_drivers(&mut self) -> Vec<Rc<dyn PlatformDriver>> {
        self.drivers.drain(..).map(|registered| registered.driver).collect()
    }

    fn driver(&self, id: u32) -> Option<Rc<dyn PlatformDriver>> {
        self.drivers.iter().find(|registered| registered.id == id).map(|registered| registered.driver.clone())
    }
}

impl Machine {
    fn platform_device(&mut self, id: PlatformId) -> &mut Known {
        &mut self.platform.devices[id.0]
    }
}

/// All platform devices of the machine, in the order in which they were added.
#[must_use]
pub fn devices() -> Vec<PlatformId> {
    with(|m| (0..m.platform.devices.len()).map(PlatformId).collect())
}

/// The platform device of this name.
#[must_use]
pub fn find(name: &str) -> Option<PlatformId> {
    with(|m| m.platform.devices.iter().position(|device| device.description.name == name)).map(PlatformId)
}

/// What firmware says about a device.
#[must_use]
pub fn description(device: PlatformId) -> Rc<PlatformDevice> {
    with(|m| m.platform_device(device).description.clone())
}

/// Adds a device to the running machine, and offers it to the drivers (`platform_device_register`).
///
/// # Errors
/// `EEXIST` when the name is taken.
pub fn add_device(device: PlatformDevice) -> Result<PlatformId, i32> {
    if find(&device.name).is_some() {
        return Err(EEXIST);
    }
    let id = with(|m| m.platform.add(device));
    let drivers: Vec<u32> = with(|m| m.platform.drivers.iter().map(|registered| registered.id).collect());
    for driver in drivers {
        bind(driver, id);
    }
    Ok(id)
}

/// Registers a driver and binds it to every device that matches and has no driver yet.
///
/// # Errors
/// `EBUSY` when a driver of this name is registered.
#[track_caller]
pub fn register_driver(driver: Rc<dyn PlatformDriver>) -> Result<u32, i32> {
    register_driver_at(driver, Location::caller())
}

/// As [`register_driver`], for a place that is known.
///
/// # Errors
/// As there.
pub fn register_driver_at(driver: Rc<dyn PlatformDriver>, place: Place) -> Result<u32, i32> {
    let name = driver.name();
    let id = with(|m| {
        if m.platform.drivers.iter().any(|registered| registered.driver.name() == name) {
            return Err(EBUSY);
        }
        let id = m.id();
        let ledger = m.take(Kind::Driver, None, Some(place), (0, 0), name);
        m.platform.drivers.push(Registered { id, driver, ledger });
        Ok(id)
    })?;
    for device in devices() {
        bind(id, device);
    }
    Ok(id)
}

/// Takes a driver back; first it lets go of its devices, the one bound last first.
pub fn unregister_driver(id: u32) {
    loop {
        let last = with(|m| {
            let bound = m.platform.devices.iter().enumerate().filter_map(|(index, device)| {
                let (driver, since) = device.binding?;
                (driver == id).then_some((since, PlatformId(index)))
            });
            bound.max().map(|(_, device)| device)
        });
        match last {
            Some(device) => unbind(device),
            None => break,
        };
    }
    let gone = with(|m| {
        let index = m.platform.drivers.iter().position(|registered| registered.id == id)?;
        let registered = m.platform.drivers.remove(index);
        m.ledger.give_back(registered.ledger);
        Some(registered.driver)
    });
    drop(gone);
}

/// Offers a device to a driver. `None` if it does not match or has a driver already.
pub fn bind(driver_id: u32, device: PlatformId) -> Option<Result<(), i32>> {
    let driver = with(|m| m.platform.driver(driver_id))?;
    if !driver.matches(&description(device)) {
        return None;
    }
    with(|m| {
        m.bindings += 1;
        let binding = (driver_id, m.bindings);
        let known = m.platform_device(device);
        // Bound from here on: the driver's name stands in its messages while it probes.
        known.binding.is_none().then(|| known.binding = Some(binding))
    })?;
    let result = driver.probe(device);
    let name = driver.name();
    with(|m| {
        let code = result.err().unwrap_or(0);
        let address = m.platform_device(device).description.name.clone();
        m.event(|| Event::Probe { driver: name.into(), device: address.clone(), result: code });
        if code != 0 {
            m.platform_device(device).binding = None;
            // ENODEV and ENXIO are how a driver says that the device is not for it after all.
            if code != ENODEV && code != ENXIO {
                m.log_line(3, format!("{name} {address}: probe with driver {name} failed with error {code}"));
            }
        }
    });
    Some(result)
}

/// Lets a device's driver go of it; `false` if it has none.
pub fn unbind(device: PlatformId) -> bool {
    let Some(driver) = with(|m| {
        let (id, _) = m.platform_device(device).binding?;
        m.platform.driver(id)
    }) else {
        return false;
    };
    driver.remove(device);
    with(|m| {
        let address = m.platform_device(device).description.name.clone();
        m.event(|| Event::Unbind { driver: driver.name().into(), device: address });
        m.platform_device(device).binding = None;
    });
    true
}

/// Keeps the bus layer's object for a device (its `struct platform_device`) as long as the machine lives.
pub fn set_device_object(device: PlatformId, object: Box<dyn Any>) {
    let old = with(|m| m.platform_device(device).object.replace(object));
    drop(old);
}

/// Whether the bus layer has an object for this device; `f` sees it.
pub fn with_device_object<R>(device: PlatformId, f: impl FnOnce(&dyn Any) -> R) -> Option<R> {
    with(|m| m.platform_device(device).object.as_deref().map(f))
}
