//! The machine under the host's KVM, with guests of a few instructions. Skips visibly where there is no /dev/kvm.

#![expect(unsafe_code, reason = "guests are assembly between two labels of this program")]

mod code;
mod devices;
mod ends;
mod guest;
mod program;
mod stand;
mod waist;
