//! The procedural macros behind `pin_init`; that crate re-exports and documents each of them.

#![allow(
    missing_docs,
    reason = "the documentation, with examples that compile, stands at the re-exports in `pin_init`"
)]

use proc_macro::TokenStream;
use syn::parse_macro_input;

mod construct;
mod initializer;
mod pin_data;
mod pinned_drop;
mod projection;
mod self_type;
mod zeroable;

#[proc_macro]
pub fn pin_init(input: TokenStream) -> TokenStream {
    let initializer = parse_macro_input!(input);
    construct::expand(&initializer, construct::Pinning::Structural).into()
}

#[proc_macro]
pub fn init(input: TokenStream) -> TokenStream {
    let initializer = parse_macro_input!(input);
    construct::expand(&initializer, construct::Pinning::Nothing).into()
}

#[proc_macro_attribute]
pub fn pin_data(args: TokenStream, input: TokenStream) -> TokenStream {
    let destructor = parse_macro_input!(args);
    let item = parse_macro_input!(input);
    pin_data::expand(destructor, item).into()
}

#[proc_macro_attribute]
pub fn pinned_drop(args: TokenStream, input: TokenStream) -> TokenStream {
    let syn::parse::Nothing = parse_macro_input!(args);
    let block = parse_macro_input!(input);
    pinned_drop::expand(block).into()
}

#[proc_macro_derive(Zeroable)]
pub fn derive_zeroable(input: TokenStream) -> TokenStream {
    let item = parse_macro_input!(input);
    zeroable::derive(item).unwrap_or_else(syn::Error::into_compile_error).into()
}

#[proc_macro_derive(MaybeZeroable)]
pub fn derive_maybe_zeroable(input: TokenStream) -> TokenStream {
    let item = parse_macro_input!(input);
    zeroable::derive_if_possible(item).unwrap_or_else(syn::Error::into_compile_error).into()
}
