//! What a program tells its processor.

use crate::machine;

/// Says that the caller spins, waiting for something. A loop around it must have a bound: nothing else ends it.
///
/// Differs from Linux: the machine lets 40 ns pass, so that a loop gets somewhere; devices and interrupts have their turn.
#[track_caller]
pub fn cpu_relax() {
    if crate::sync::in_task() {
        machine::udelay(40);
    }
}
