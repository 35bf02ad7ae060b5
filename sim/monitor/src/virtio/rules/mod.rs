//! The rules that the virtio monitor holds drivers to, by theme. An id is that of the clause: an area, the party (D, the driver) and
//! a number; `IMP` ones stand for what the specification states as a fact.

use bringup_core::Rule;

/// Defines rules: id, severity, section, title, how to mend it; what it means, why it matters, how to see it here.
macro_rules! rules {
    ($( $name:ident = $id:literal, $severity:ident, $section:literal, $title:literal, $fix:literal,
        $means:literal, $why:literal, $see:literal; )*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $title, ".")]
            pub static $name: bringup_core::Rule = bringup_core::Rule {
                id: $id,
                title: $title,
                severity: bringup_core::Severity::$severity,
                reference: concat!("virtio 1.4 §", $section),
                fix: $fix,
                page: concat!(
                    "## What it means\n", $means,
                    "\n\n## Why it matters\n", $why,
                    "\n\n## How to see it here\n", $see, "\n",
                ),
            };
        )*
        /// All of them.
        pub static ALL: &[&bringup_core::Rule] = &[$(&$name),*];
    };
}

pub mod blk;
pub mod config;
pub mod features;
pub mod kinds;
pub mod net;
pub mod notify;
pub mod registers;
pub mod ring;
pub mod status;

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [status::ALL, features::ALL, registers::ALL, notify::ALL, config::ALL, ring::ALL, blk::ALL, kinds::ALL, net::ALL]
        .into_iter()
        .flatten()
        .copied()
}
