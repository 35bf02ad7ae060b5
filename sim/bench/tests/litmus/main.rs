//! The memory model, tried exhaustively: for each of the small programs of the book's chapter on memory, every outcome that is
//! allowed is reached, and no other. What a quiet life says about the program is tested beside it.
//!
//! An outcome is written `what the CPU loaded / what the devices read and were written`. Locations hold 0 at first.

#![allow(unsafe_code, reason = "the runtime's accesses to memory are by pointer")]

mod doorbells;
mod loads;
mod released;
mod stand;
mod stores;
