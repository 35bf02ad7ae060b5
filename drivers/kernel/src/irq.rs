//! Interrupts: functions that run when a device asks for attention.

mod flags;
mod request;
#[cfg(test)]
mod tests;

pub use flags::Flags;
pub use request::{
    Handler, IrqRequest, IrqReturn, Registration, ThreadedHandler, ThreadedIrqReturn, ThreadedRegistration,
};
