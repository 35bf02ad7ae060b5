//! A driver as a list of named steps, each of which a plant may change.

use bringup_core::Device;
use bringup_devices::virtio::VirtioPci;
use bringup_spec::virtio::pci::common;
use bringup_spec::virtio::status;

use crate::rig::Rig;

type Step = Box<dyn Fn(&mut Rig)>;

/// A driver, and the device that it drives.
pub(crate) struct Plan {
    device: Box<dyn Fn() -> Box<dyn Device>>,
    /// Whether it uses MSI-X.
    pub(crate) messages: bool,
    steps: Vec<(String, Step)>,
}

/// Where the steps of queue set-up stand.
fn queue_steps(index: u16) -> Vec<(String, Step)> {
    let name = |what: &str| format!("q{index} {what}");
    vec![
        (name("discover"), Box::new(move |rig| rig.discover(index))),
        (name("size"), Box::new(move |rig| rig.write_size(index))),
        (name("vector"), Box::new(|rig| rig.write_vector(0))),
        (name("vector read"), Box::new(|rig| rig.read_vector())),
        (name("addresses"), Box::new(move |rig| rig.write_addresses(index))),
        (name("enable"), Box::new(|rig| rig.enable())),
    ]
}

impl Plan {
    /// A correct driver that accepts what it wants of what is offered, and enables these queues. Its requests are added with
    /// [`then`](Self::then).
    pub(crate) fn new(device: impl Fn() -> VirtioPci + 'static, wanted: u128, queues: &[u16]) -> Self {
        Self::of(move || Box::new(device()), wanted, queues)
    }

    /// As [`new`](Self::new), for any device.
    pub(crate) fn of(device: impl Fn() -> Box<dyn Device> + 'static, wanted: u128, queues: &[u16]) -> Self {
        let mut plan = Self { device: Box::new(device), messages: false, steps: Vec::new() };
        plan.add("reset", |rig| rig.reset());
        plan.add("reset read", |rig| while rig.read_status() != 0 {});
        plan.add("acknowledge", |rig| rig.add_status(status::ACKNOWLEDGE));
        plan.add("driver", |rig| rig.add_status(status::DRIVER));
        plan.add("features read", |rig| rig.read_features());
        plan.add("features", move |rig| rig.write_features(rig.offered & wanted));
        plan.add("features ok", |rig| rig.add_status(status::FEATURES_OK));
        plan.add("features ok read", |rig| {
            rig.read_status();
        });
        plan.add("queues read", |rig| {
            rig.read(common::NUM_QUEUES, 2);
        });
        plan.add("config vector", |rig| {
            if rig.messages {
                rig.write(common::CONFIG_MSIX_VECTOR, 2, 0);
            }
        });
        plan.add("config vector read", |rig| {
            rig.read(common::CONFIG_MSIX_VECTOR, 2);
        });
        for index in queues {
            plan.steps.extend(queue_steps(*index));
        }
        plan.add("driver ok", |rig| rig.add_status(status::DRIVER_OK));
        plan.add("end", |rig| rig.reset());
        plan.add("end read", |rig| while rig.read_status() != 0 {});
        plan.add("free", |rig| rig.free_queues());
        plan.add("unbind", |rig| rig.unbind());
        plan
    }

    /// With MSI-X.
    pub(crate) fn with_messages(mut self) -> Self {
        self.messages = true;
        self
    }

    fn add(&mut self, name: &str, step: impl Fn(&mut Rig) + 'static) {
        self.steps.push((name.into(), Box::new(step)));
    }

    fn at(&self, name: &str) -> usize {
        self.steps.iter().position(|(of, _)| of == name).unwrap_or_else(|| panic!("no step {name}"))
    }

    /// Does this before the driver ends its life: what it uses the device for.
    pub(crate) fn then(mut self, step: impl Fn(&mut Rig) + 'static) -> Self {
        let at = self.at("end");
        self.steps.insert(at, ("use".into(), Box::new(step)));
        self
    }

    /// Does something after a step.
    pub(crate) fn after(mut self, name: &str, step: impl Fn(&mut Rig) + 'static) -> Self {
        let at = self.at(name) + 1;
        self.steps.insert(at, ("inserted".into(), Box::new(step)));
        self
    }

    /// Does something before a step.
    pub(crate) fn before(mut self, name: &str, step: impl Fn(&mut Rig) + 'static) -> Self {
        let at = self.at(name);
        self.steps.insert(at, ("inserted".into(), Box::new(step)));
        self
    }

    /// Does something else instead of a step.
    pub(crate) fn instead(mut self, name: &str, step: impl Fn(&mut Rig) + 'static) -> Self {
        let at = self.at(name);
        self.steps[at].1 = Box::new(step);
        self
    }

    /// Leaves a step out.
    pub(crate) fn without(self, name: &str) -> Self {
        self.instead(name, |_| {})
    }

    /// Leaves out what stands after a step, up to another one.
    pub(crate) fn skip(mut self, after: &str, until: &str) -> Self {
        let (from, to) = (self.at(after) + 1, self.at(until));
        self.steps.drain(from..to);
        self
    }

    /// Another device.
    pub(crate) fn on(mut self, device: impl Fn() -> Box<dyn Device> + 'static) -> Self {
        self.device = Box::new(device);
        self
    }

    /// Runs it on a new machine.
    pub(crate) fn run(&self) -> Rig {
        self.run_on(Rig::new((self.device)()))
    }

    /// Runs it on a new machine whose processors run while devices work.
    pub(crate) fn race(&self) -> Rig {
        self.run_on(Rig::racing((self.device)()))
    }

    fn run_on(&self, mut rig: Rig) -> Rig {
        if self.messages {
            rig.enable_messages();
        }
        self.live(&mut rig);
        rig
    }

    /// Runs it once more on a machine.
    pub(crate) fn live(&self, rig: &mut Rig) {
        for (_, step) in &self.steps {
            step(rig);
        }
    }

    /// Runs it, and demands that nothing was found.
    #[track_caller]
    pub(crate) fn is_silent(&self) -> Rig {
        assert_eq!(self.race().broken(), [], "while processors run");
        let rig = self.run();
        assert_eq!(rig.broken(), []);
        rig
    }
}

/// Runs a plan with its plant, which must break this rule only, and without it, which must break none and yet put the rule to
/// the test if `exercised`.
#[track_caller]
pub(crate) fn check(id: &str, base: &Plan, planted: &Plan) {
    let without = base.run();
    assert_eq!(without.broken(), [], "without the plant");
    let with = planted.run();
    let broken: Vec<&str> = with.broken().iter().map(|(id, _)| *id).collect();
    assert_eq!(broken, [id], "with the plant: {:?}", with.broken());
    assert!(with.bus.fabric.exercised.as_ref().unwrap().contains(id), "{id} was not noted as exercised");

    assert_eq!(base.race().broken(), [], "without the plant, while processors run");
    let racing = planted.race();
    let broken: Vec<&str> = racing.broken().iter().map(|(id, _)| *id).collect();
    let otherwise = OTHERWISE.iter().find(|(of, ..)| *of == id).map(|(_, found, _)| found.to_vec());
    assert_eq!(
        broken,
        otherwise.unwrap_or_else(|| vec![id]),
        "with the plant, while processors run: {:?}",
        racing.broken()
    );
}

const TAKEN_BACK: &str = "what the device gave back its driver may have used again: it is not looked into";

/// Rules whose planted violation is found otherwise where processors run while the device works: what is found, and why.
pub(crate) const OTHERWISE: &[(&str, &[&str], &str)] = &[
    ("CON-D-05", &[], TAKEN_BACK),
    ("CON-D-06", &[], TAKEN_BACK),
    ("IMP-CON-02", &[], TAKEN_BACK),
    ("NET-CTRL-D-15", &[], TAKEN_BACK),
    ("SUSPEND-D-06", &["SUSPEND-D-06", "SUSPEND-D-03"], "queues are looked at after each access, not only after kicks"),
];

/// A test for each rule: the name of the test, the rule's id, a plan, and what is planted in it.
macro_rules! planted {
    ($( $test:ident: $id:literal, $base:expr, $plant:expr; )*) => {
        /// The rules whose violation is planted here.
        pub(crate) const PLANTED: &[&str] = &[$($id),*];

        $(
            #[test]
            fn $test() {
                let plant: fn(crate::plan::Plan) -> crate::plan::Plan = $plant;
                crate::plan::check($id, &$base, &plant($base));
            }
        )*
    };
}
pub(crate) use planted;
