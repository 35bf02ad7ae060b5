//! What a driver from a file finds under the name `std`: the language and nothing else.
//!
//! kbuild compiles drivers with `no_std`, by an attribute that stable compilers take only from the source. Rust puts
//! `extern crate std` into every crate without it; a crate whose dependency *is called* `std` gets that one instead. This is that
//! dependency: `core`'s prelude and macros, so that `std::thread`, `String`, `println!` and the rest do not exist for the driver,
//! here as in the kernel, and names such as `dbg!` are the kernel crate's.

#![no_std]

#[doc(hidden)]
pub use core::{
    assert, assert_eq, assert_ne, cfg, column, compile_error, concat, debug_assert, debug_assert_eq, debug_assert_ne,
    env, file, format_args, include, include_bytes, include_str, line, matches, module_path, option_env, panic,
    stringify, todo, unimplemented, unreachable, write, writeln,
};

/// The preludes, as the compiler looks for them.
pub mod prelude {
    /// That of edition 2021.
    pub mod rust_2021 {
        pub use core::prelude::rust_2021::*;
    }
    /// That of the editions before 2021.
    pub mod v1 {
        pub use core::prelude::v1::*;
    }
}
