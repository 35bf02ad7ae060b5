//! The crate's tests on stable Rust, from outside, as a driver uses it.

mod drops;
mod pin_data;
mod support;
mod syntax;
