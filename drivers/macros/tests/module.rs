//! `module!` at the root of a crate, against a stand-in for the parts of the `kernel` crate that it names.

extern crate self as kernel;

mod module {
    use crate::{module_param::ParamDef, str::CStr};

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) struct ThisModule(*mut u8);

    impl ThisModule {
        #[allow(unsafe_code, reason = "the real one is unsafe")]
        pub(crate) const unsafe fn from_ptr(ptr: *mut u8) -> Self {
            Self(ptr)
        }
    }

    pub(crate) trait ModuleMetadata {
        const NAME: &'static CStr;
        const THIS_MODULE: ThisModule;
    }

    #[derive(Debug, PartialEq)]
    pub(crate) struct Loaded(pub(crate) &'static CStr);

    pub(crate) fn init_module<T: ModuleMetadata>() -> Result<Loaded, i32> {
        Ok(Loaded(T::NAME))
    }

    pub struct Loadable {
        pub(crate) name: &'static str,
        pub(crate) license: &'static str,
        pub(crate) authors: &'static [&'static str],
        pub(crate) description: Option<&'static str>,
        pub(crate) aliases: &'static [&'static str],
        pub(crate) firmware: &'static [&'static str],
        pub(crate) imports_ns: &'static [&'static str],
        pub(crate) params: &'static [ParamDef],
        pub(crate) init: fn() -> Result<Loaded, i32>,
    }
}

mod module_param {
    pub(crate) struct ModuleParamAccess<T>(T);

    impl<T: Copy> ModuleParamAccess<T> {
        pub(crate) const fn new(default: T) -> Self {
            Self(default)
        }

        pub(crate) fn value(&self) -> T {
            self.0
        }
    }

    #[derive(Debug, PartialEq)]
    pub(crate) struct ParamDef(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

    pub(crate) const fn param_def<T: Send + Sync + 'static>(
        _access: &'static ModuleParamAccess<T>,
        name: &'static str,
        ty: &'static str,
        description: &'static str,
    ) -> ParamDef {
        ParamDef(name, ty, description)
    }
}

mod str {
    pub(crate) use core::ffi::CStr;
}

/// Hands its keys on token by token, as `module_pci_driver!` does.
macro_rules! module_driver {
    ({ type: $type:ty, $($rest:tt)* }) => {
        struct DriverModule {
            _driver: core::marker::PhantomData<$type>,
        }

        macros::module! { type: DriverModule, $($rest)* }
    };
}

module_driver!({
    type: Disk,
    name: "sample-disk",
    authors: ["Ada", "Grace"],
    description: "A disk of moderate Größe",
    license: "GPL v2",
    alias: ["disk0"],
    firmware: ["disk.bin"],
    imports_ns: ["DMA_BUF"],
    params: {
        depth: u32 {
            default: 1 << 4,
            description: "Queue depth",
        },
        polled: bool {
            default: false,
            description: "Poll",
        },
    },
});

struct Disk;

mod below_the_root {
    use crate::module::ModuleMetadata;

    pub(crate) fn name() -> &'static core::ffi::CStr {
        <crate::LocalModule as ModuleMetadata>::NAME
    }
}

#[test]
fn log_prefix_is_the_name_with_a_nul() {
    assert_eq!(__LOG_PREFIX, b"sample-disk\0");
}

#[test]
fn metadata_is_reachable_through_local_module() {
    use crate::module::{ModuleMetadata, ThisModule};

    // SAFETY: The pointer is only compared.
    #[allow(unsafe_code, reason = "the constructor is unsafe")]
    let built_in = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };

    assert_eq!(below_the_root::name(), c"sample-disk");
    assert_eq!(<DriverModule as ModuleMetadata>::THIS_MODULE, built_in);
}

#[test]
fn parameter_has_its_default_until_set() {
    assert_eq!(module_parameters::depth.value(), 16);
    assert!(!module_parameters::polled.value());
}

#[test]
fn loadable_carries_every_key() {
    let loadable = &BRINGUP_MODULE;

    assert_eq!(loadable.name, "sample-disk");
    assert_eq!(loadable.license, "GPL v2");
    assert_eq!(loadable.authors, ["Ada", "Grace"]);
    assert_eq!(loadable.description, Some("A disk of moderate Größe"));
    assert_eq!(loadable.aliases, ["disk0"]);
    assert_eq!(loadable.firmware, ["disk.bin"]);
    assert_eq!(loadable.imports_ns, ["DMA_BUF"]);
    let depth = module_param::ParamDef("depth", "u32", "Queue depth");
    let polled = module_param::ParamDef("polled", "bool", "Poll");
    assert_eq!(loadable.params, [depth, polled]);
}

#[test]
fn init_starts_the_module_type() {
    let loaded = (BRINGUP_MODULE.init)();

    assert_eq!(loaded, Ok(module::Loaded(c"sample-disk")));
}
