//! The procedural macros of Linux 7.3's Rust API, written anew for drivers that run in userspace.
//!
//! Drivers reach them through the `kernel` crate, which re-exports this one; every expansion names its items
//! `::kernel::...`. What Linux refuses to expand is refused here too, so that a driver that builds here builds there.

// One module for each kind of expansion.
mod export;
mod kunit;
mod module;
mod vtable;

mod concat_idents;
mod paste;

mod fmt;
mod for_lt;

// What they parse and build with.
mod identifier;
mod ordered_keys;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// The tokens of an expansion, or the compile errors that say why there is none.
fn finish(expansion: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expansion.unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Declares the driver crate to be a kernel module.
///
/// It stands at the crate root, once. The keys keep this order, and a comma follows each value:
///
/// | key | value | |
/// |---|---|---|
/// | `type` | the type that implements `Module` or `InPlaceModule` | required |
/// | `name` | ASCII string without NUL; also the prefix of `pr_*!` lines | required |
/// | `authors` | list of ASCII strings | |
/// | `description` | string | |
/// | `license` | ASCII string | required |
/// | `alias` | list of ASCII strings | |
/// | `firmware` | list of ASCII strings: files the driver may request | |
/// | `imports_ns` | list of ASCII strings: symbol namespaces | |
/// | `params` | `{ name: type { default: value, description: "...", }, }` | |
///
/// A parameter's type is one of `i8`, `u8`, `i16`, `u16`, `i32`, `u32`, `i64`, `u64`, `isize`, `usize`, `bool`. Its
/// value is read with `module_parameters::name.value()`. The default is evaluated inside `mod module_parameters`.
///
/// At the crate root appear `__LOG_PREFIX`, `LocalModule`, `module_parameters` and `BRINGUP_MODULE`, and the type gets
/// its `ModuleMetadata`.
///
/// Differs from Linux: instead of init and exit symbols, a `.modinfo` section and parameter descriptors for the loader,
/// the hidden static `BRINGUP_MODULE` (a `kernel::module::Loadable`) carries all of it, so that many drivers fit into
/// one process.
///
/// # Errors
///
/// An unknown, duplicate, missing or misplaced key, a string that is not ASCII where it must be, and an unsupported
/// parameter type are compile errors at the token in question.
///
/// # Examples
///
/// A whole driver crate:
///
/// ```ignore
/// use kernel::prelude::*;
///
/// module! {
///     type: Doorman,
///     name: "doorman",
///     authors: ["Ada Example"],
///     description: "Greets whoever loads it",
///     license: "GPL",
///     params: {
///         greetings: u32 {
///             default: 1,
///             description: "How many times to greet",
///         },
///     },
/// }
///
/// struct Doorman;
///
/// impl kernel::Module for Doorman {
///     fn init(_module: &'static ThisModule) -> Result<Self> {
///         for _ in 0..module_parameters::greetings.value() {
///             pr_info!("Good morning\n");
///         }
///         Ok(Self)
///     }
/// }
/// ```
#[proc_macro]
pub fn module(input: TokenStream) -> TokenStream {
    let info = parse_macro_input!(input as module::ModuleInfo);
    module::module(&info).into()
}

/// Makes a trait, or an implementation of one, a table of optional operations.
///
/// On a trait it adds `const USE_VTABLE_ATTR: ()`, `type OwnerModule: ModuleMetadata` unless the trait has one, and for
/// each method `foo` a `const HAS_FOO: bool = false`. On an `impl` block it sets `USE_VTABLE_ATTR`, sets `OwnerModule`
/// to `crate::LocalModule` and each `HAS_*` of a method that is there to `true`, except for those written by hand. A
/// method's `#[cfg]`s also apply to its constant.
///
/// Whoever calls the operations looks at `HAS_*` first; the default body of an optional method is never run and should
/// be `build_error!(VTABLE_DEFAULT_ERROR)`.
///
/// # Errors
///
/// Anything but a trait or an `impl` block, and a method with a raw name (`r#type`), is a compile error.
///
/// # Examples
///
/// ```
/// # extern crate self as kernel;
/// # pub mod module { pub trait ModuleMetadata {} }
/// # struct LocalModule;
/// # impl module::ModuleMetadata for LocalModule {}
/// # use macros::vtable;
/// # const VTABLE_DEFAULT_ERROR: &str = "";
/// # macro_rules! build_error { ($why:expr) => { panic!("{}", $why) } }
/// #[vtable]
/// pub trait Lamp: Sized {
///     fn switch(&self, on: bool);
///     fn dim(&self, _percent: u8) {
///         build_error!(VTABLE_DEFAULT_ERROR)
///     }
/// }
///
/// struct Bulb;
///
/// #[vtable]
/// impl Lamp for Bulb {
///     fn switch(&self, _on: bool) {}
/// }
///
/// # fn main() {
/// assert!(Bulb::HAS_SWITCH && !Bulb::HAS_DIM);
/// # }
/// ```
///
/// An implementation without the attribute does not compile:
///
/// ```compile_fail,E0046
/// # extern crate self as kernel;
/// # pub mod module { pub trait ModuleMetadata {} }
/// # use macros::vtable;
/// #[vtable]
/// pub trait Lamp: Sized {
///     fn dim(&self, _percent: u8) {}
/// }
///
/// struct Bulb;
///
/// impl Lamp for Bulb {}
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn vtable(attr: TokenStream, input: TokenStream) -> TokenStream {
    parse_macro_input!(attr as syn::parse::Nothing);
    finish(vtable::vtable(parse_macro_input!(input)))
}

/// Marks a function that C code calls by name.
///
/// Differs from Linux: no C code is there to call it and no header to compare it with, so the function keeps its
/// mangled name and its signature is only checked for what C could call at all.
///
/// # Errors
///
/// A function that is not `extern "C"`, that is `async`, or that is generic over types or constants is a compile error.
///
/// # Examples
///
/// ```
/// #[macros::export]
/// pub extern "C" fn rust_helper_answer() -> i32 {
///     42
/// }
///
/// assert_eq!(rust_helper_answer(), 42);
/// ```
///
/// ```compile_fail
/// #[macros::export]
/// pub fn rust_helper_answer() -> i32 {
///     42
/// }
/// ```
#[proc_macro_attribute]
pub fn export(attr: TokenStream, input: TokenStream) -> TokenStream {
    parse_macro_input!(attr as syn::parse::Nothing);
    finish(export::export(&parse_macro_input!(input)))
}

/// [`core::format_args!`] with each argument wrapped in `kernel::fmt::Adapter`.
///
/// Positional (`{}`, `{0}`), named (`{x}` with `x = ...`) and inline (`{x}` from the scope) arguments are wrapped;
/// format specifications are handed on. A width or precision given by name is taken from the scope: `{:w$}` needs a
/// variable `w: usize`, because an argument `w = 3` would be wrapped and then is no `usize`.
///
/// # Errors
///
/// The format string must be a plain string literal. Linux 7.3's own `fmt!` produces nonsense for some inputs; those
/// are compile errors that say how to write it instead:
///
/// - `a == b`, `a <= b` or any other unparenthesised `=` in an argument,
/// - a trailing comma after the arguments when the format string also has inline arguments,
/// - `\u{e9}` and the like in the format string.
///
/// # Examples
///
/// ```
/// # extern crate self as kernel;
/// # pub mod fmt {
/// #     pub struct Adapter<T>(pub T);
/// #     impl<T: core::fmt::Display> core::fmt::Display for Adapter<T> {
/// #         fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { self.0.fmt(f) }
/// #     }
/// #     impl<T: core::fmt::LowerHex> core::fmt::LowerHex for Adapter<T> {
/// #         fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { self.0.fmt(f) }
/// #     }
/// # }
/// # fn main() {
/// let status = 0x1f;
/// let line = macros::fmt!("{name}: {status:#x}, {} left", 3, name = "disk").to_string();
///
/// assert_eq!(line, "disk: 0x1f, 3 left");
/// # }
/// ```
#[proc_macro]
pub fn fmt(input: TokenStream) -> TokenStream {
    finish(fmt::fmt(input.into()))
}

/// Joins two identifiers into one, which is found in the scope of the second.
///
/// # Errors
///
/// Anything but two identifiers with a comma between them, or a result that is no identifier, is a compile error.
///
/// # Examples
///
/// ```
/// const STATUS_READY: u32 = 0x40;
///
/// assert_eq!(macros::concat_idents!(STATUS_, READY), 0x40);
/// ```
#[proc_macro]
pub fn concat_idents(input: TokenStream) -> TokenStream {
    finish(concat_idents::concat_idents(&parse_macro_input!(input)))
}

/// Replaces each `[<a b>]` in its input by the identifier `ab`.
///
/// The pieces are identifiers and literals; a string literal loses its quotes, a raw identifier its `r#`. After a piece
/// may stand modifiers, each after a colon: `lower` and `upper` change its case, `span` makes compiler messages about
/// the whole identifier point at this piece (at most one).
///
/// # Errors
///
/// Other tokens inside `[< >]`, unknown modifiers and a result that is no identifier are compile errors.
///
/// # Examples
///
/// ```
/// macro_rules! registers {
///     ($($name:ident = $offset:literal),*) => {
///         macros::paste! {
///             $(const fn [<$name:lower _offset>]() -> usize { $offset })*
///         }
///     };
/// }
///
/// registers!(CAP = 0x0, STATUS = 0x1c);
///
/// assert_eq!(cap_offset() + status_offset(), 0x1c);
/// ```
///
/// ```compile_fail
/// macros::paste! { fn [<a:camel>]() {} }
/// ```
#[proc_macro]
pub fn paste(input: TokenStream) -> TokenStream {
    finish(paste::expand(input.into()))
}

/// Turns a module of `#[test]` functions into a KUnit test suite.
///
/// A test takes no argument and returns `()` or `Result`. From the first test on, `assert!` and `assert_eq!` are
/// KUnit's: they take no message, and `assert_eq!` asks no `Debug` of its operands.
///
/// Differs from Linux: there is no KUnit; the tests are host tests, run by `cargo test` under their path in the crate
/// instead of the suite's name, the module is gated on `cfg(test)` instead of `CONFIG_KUNIT`, and the error of a
/// returned `Result` must be `Debug`.
///
/// # Errors
///
/// A module without a body, or a suite name of more than 255 bytes, is a compile error.
///
/// # Examples
///
/// ```
/// # use macros::kunit_tests;
/// #[kunit_tests(doorman)]
/// mod tests {
///     #[test]
///     fn two_and_two_are_four() {
///         assert_eq!(2 + 2, 4);
///     }
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
#[allow(clippy::test_attr_in_doctest, reason = "the example shows the form; tests/kunit.rs runs such tests")]
pub fn kunit_tests(attr: TokenStream, input: TokenStream) -> TokenStream {
    let suite = parse_macro_input!(attr as syn::Ident);
    finish(kunit::kunit_tests(&suite, parse_macro_input!(input)))
}

/// The type that implements `kernel::types::ForLt` for a type with a lifetime in it.
///
/// `ForLt!(for<'a> Bar<'a>)` names the lifetime; in the short form `ForLt!(Bar<'_>)` or `ForLt!(&u32)` every elided
/// lifetime is that one. A type without any lifetime is accepted too. The type must be well-formed for every lifetime;
/// where that does not follow from its form, the compiler is made to check it, which it can do only for types that
/// mention no generic parameter.
///
/// # Examples
///
/// ```
/// # extern crate self as kernel;
/// # pub mod types {
/// #     pub mod for_lt {
/// #         pub trait ForLt { type Of<'a>: 'a; }
/// #         pub trait CovariantForLt: ForLt {}
/// #         pub trait WithLt<'a> { type Of: 'a; }
/// #         pub struct UnsafeForLtImpl<T: ?Sized, WF, const N: usize>(core::marker::PhantomData<(WF, T)>);
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF, const N: usize> ForLt for UnsafeForLtImpl<T, WF, N> {
/// #             type Of<'a> = <T as WithLt<'a>>::Of;
/// #         }
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF> CovariantForLt for UnsafeForLtImpl<T, WF, 1> {}
/// #     }
/// # }
/// # use macros::ForLt;
/// # use types::for_lt::ForLt;
/// struct Bar<'a>(&'a [u8]);
/// type AnyBar = ForLt!(Bar<'_>);
///
/// fn first(bar: <AnyBar as ForLt>::Of<'_>) -> u8 {
///     bar.0[0]
/// }
/// # fn main() {
/// assert_eq!(first(Bar(&[7])), 7);
/// # }
/// ```
#[proc_macro]
#[allow(non_snake_case, reason = "the macro has the name of the trait it implements")]
pub fn ForLt(input: TokenStream) -> TokenStream {
    for_lt::for_lt(&parse_macro_input!(input)).into()
}

/// The type that implements `kernel::types::CovariantForLt` for a type with a lifetime in it.
///
/// Takes the same forms as [`ForLt!`](ForLt!) and proves in addition that the type is covariant in its lifetime, which
/// makes `CovariantForLt::cast_ref` available.
///
/// # Errors
///
/// A type that is not covariant, such as `fn(&u32)` or `Mutex<&u32>`, does not compile.
///
/// # Examples
///
/// ```
/// # extern crate self as kernel;
/// # pub mod types {
/// #     pub mod for_lt {
/// #         pub trait ForLt { type Of<'a>: 'a; }
/// #         pub trait CovariantForLt: ForLt {}
/// #         pub trait WithLt<'a> { type Of: 'a; }
/// #         pub struct UnsafeForLtImpl<T: ?Sized, WF, const N: usize>(core::marker::PhantomData<(WF, T)>);
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF, const N: usize> ForLt for UnsafeForLtImpl<T, WF, N> {
/// #             type Of<'a> = <T as WithLt<'a>>::Of;
/// #         }
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF> CovariantForLt for UnsafeForLtImpl<T, WF, 1> {}
/// #     }
/// # }
/// # use macros::CovariantForLt;
/// # fn check<F: types::for_lt::CovariantForLt>() {}
/// # fn main() {
/// check::<CovariantForLt!((&[u8], Option<&u32>))>();
/// # }
/// ```
///
/// Contravariant:
///
/// ```compile_fail
/// # extern crate self as kernel;
/// # pub mod types {
/// #     pub mod for_lt {
/// #         pub trait ForLt { type Of<'a>: 'a; }
/// #         pub trait CovariantForLt: ForLt {}
/// #         pub trait WithLt<'a> { type Of: 'a; }
/// #         pub struct UnsafeForLtImpl<T: ?Sized, WF, const N: usize>(core::marker::PhantomData<(WF, T)>);
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF, const N: usize> ForLt for UnsafeForLtImpl<T, WF, N> {
/// #             type Of<'a> = <T as WithLt<'a>>::Of;
/// #         }
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF> CovariantForLt for UnsafeForLtImpl<T, WF, 1> {}
/// #     }
/// # }
/// # use macros::CovariantForLt;
/// # fn check<F: types::for_lt::CovariantForLt>() {}
/// # fn main() {
/// check::<CovariantForLt!(fn(&u32))>();
/// # }
/// ```
///
/// Invariant:
///
/// ```compile_fail
/// # extern crate self as kernel;
/// # pub mod types {
/// #     pub mod for_lt {
/// #         pub trait ForLt { type Of<'a>: 'a; }
/// #         pub trait CovariantForLt: ForLt {}
/// #         pub trait WithLt<'a> { type Of: 'a; }
/// #         pub struct UnsafeForLtImpl<T: ?Sized, WF, const N: usize>(core::marker::PhantomData<(WF, T)>);
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF, const N: usize> ForLt for UnsafeForLtImpl<T, WF, N> {
/// #             type Of<'a> = <T as WithLt<'a>>::Of;
/// #         }
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF> CovariantForLt for UnsafeForLtImpl<T, WF, 1> {}
/// #     }
/// # }
/// # use macros::CovariantForLt;
/// # fn check<F: types::for_lt::CovariantForLt>() {}
/// # fn main() {
/// check::<CovariantForLt!(core::cell::Cell<&u32>)>();
/// # }
/// ```
///
/// Well-formed for `'static` only:
///
/// ```compile_fail
/// # extern crate self as kernel;
/// # pub mod types {
/// #     pub mod for_lt {
/// #         pub trait ForLt { type Of<'a>: 'a; }
/// #         pub trait CovariantForLt: ForLt {}
/// #         pub trait WithLt<'a> { type Of: 'a; }
/// #         pub struct UnsafeForLtImpl<T: ?Sized, WF, const N: usize>(core::marker::PhantomData<(WF, T)>);
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF, const N: usize> ForLt for UnsafeForLtImpl<T, WF, N> {
/// #             type Of<'a> = <T as WithLt<'a>>::Of;
/// #         }
/// #         impl<T: ?Sized + for<'a> WithLt<'a>, WF> CovariantForLt for UnsafeForLtImpl<T, WF, 1> {}
/// #     }
/// # }
/// # use macros::CovariantForLt;
/// # fn check<F: types::for_lt::CovariantForLt>() {}
/// # fn main() {
/// check::<CovariantForLt!(for<'a> &'static &'a u32)>();
/// # }
/// ```
#[proc_macro]
#[allow(non_snake_case, reason = "the macro has the name of the trait it implements")]
pub fn CovariantForLt(input: TokenStream) -> TokenStream {
    for_lt::covariant_for_lt(&parse_macro_input!(input)).into()
}
