//! `#[vtable]` traits and their implementations, against a stand-in for `ModuleMetadata`.

extern crate self as kernel;

mod module {
    pub(crate) trait ModuleMetadata {
        const NAME: &'static str;
    }
}

struct LocalModule;

impl module::ModuleMetadata for LocalModule {
    const NAME: &'static str = "local";
}

struct OtherModule;

impl module::ModuleMetadata for OtherModule {
    const NAME: &'static str = "other";
}

#[macros::vtable]
trait Lamp: Sized {
    type Data;

    fn switch(&self, on: bool) -> bool;

    fn dim(&self, _percent: u8) -> Option<Self::Data> {
        None
    }

    #[cfg(any())]
    fn blink(&self) {}
}

struct Bulb;

#[macros::vtable]
impl Lamp for Bulb {
    type Data = ();

    fn switch(&self, on: bool) -> bool {
        on
    }

    #[cfg(any())]
    fn blink(&self) {}
}

struct Dimmer<T>(T);

#[macros::vtable]
impl<T: Copy> Lamp for Dimmer<T> {
    type OwnerModule = OtherModule;
    type Data = T;
    const HAS_SWITCH: bool = false;

    fn switch(&self, _on: bool) -> bool {
        false
    }

    fn dim(&self, _percent: u8) -> Option<T> {
        Some(self.0)
    }
}

fn owner_of<L: Lamp>() -> &'static str {
    <L::OwnerModule as module::ModuleMetadata>::NAME
}

#[test]
fn flags_tell_what_is_overridden() {
    let flags = [Bulb::HAS_SWITCH, Bulb::HAS_DIM, Dimmer::<u8>::HAS_DIM];

    assert_eq!(flags, [true, false, true]);
}

#[test]
fn flag_written_by_hand_wins() {
    let flags = [Dimmer::<u8>::HAS_SWITCH];

    assert_eq!(flags, [false]);
}

#[test]
fn owner_is_the_local_module_unless_named() {
    assert_eq!(owner_of::<Bulb>(), "local");
    assert_eq!(owner_of::<Dimmer<u8>>(), "other");
}

#[test]
fn methods_stay_callable() {
    assert!(Bulb.switch(true));
    assert_eq!(Bulb.dim(1), None);
    assert!(!Dimmer(7).switch(true));
    assert_eq!(Dimmer(7).dim(1), Some(7));
}
