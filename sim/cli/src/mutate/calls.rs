//! What the calls of drivers are for, by their names: Linux's, and those that drivers give to their own functions for the same.

/// What a statement that only calls something is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Barrier,
    RegisterRead,
    RegisterWrite,
    Release,
    WakeUp,
}

const BARRIERS: &[&str] =
    &["mb", "rmb", "wmb", "smp_mb", "smp_rmb", "smp_wmb", "dma_mb", "dma_rmb", "dma_wmb", "io_mb", "fence", "barrier"];
const READS: &[&str] = &["read", "read_reg", "read8", "read16", "read32", "read64", "read_relaxed"];
const WRITES: &[&str] = &["write_reg", "write8", "write16", "write32", "write64", "update", "kick", "ring", "notify"];
const RELEASES: &[&str] = &[
    "drop",
    "free",
    "release",
    "unmap",
    "unregister",
    "cancel",
    "disable",
    "reset",
    "stop",
    "shutdown",
    "remove",
    "revoke",
    "sync",
    "synchronize",
    "flush",
    "clear",
    "close",
    "put",
    "give_back",
    "post",
];
const RELEASE_VERBS: &[&str] = &[
    "free_",
    "release_",
    "unmap_",
    "unregister_",
    "cancel_",
    "disable_",
    "reset_",
    "stop_",
    "remove_",
    "synchronize_",
    "flush_",
    "clear_",
    "close_",
    "dma_unmap",
];
const WAKE_UPS: &[&str] = &["wake", "raise", "complete", "complete_all", "signal", "schedule", "enqueue", "queue"];
const WAKE_UP_VERBS: &[&str] = &["wake_", "notify_one", "notify_all", "notify_sync"];

/// What a call of a function of this name is for, as far as it matters here.
pub(super) fn purpose(name: &str) -> Option<Purpose> {
    let begins = |verbs: &[&str]| verbs.iter().any(|verb| name.starts_with(verb));
    if BARRIERS.contains(&name) || name.ends_with("_barrier") {
        Some(Purpose::Barrier)
    } else if WAKE_UPS.contains(&name) || begins(WAKE_UP_VERBS) {
        Some(Purpose::WakeUp)
    } else if WRITES.contains(&name) || (name.starts_with("write") && name.ends_with("_relaxed")) {
        Some(Purpose::RegisterWrite)
    } else if READS.contains(&name) {
        Some(Purpose::RegisterRead)
    } else if RELEASES.contains(&name) || begins(RELEASE_VERBS) {
        Some(Purpose::Release)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_calls_are_for() {
        let purposes = ["dma_wmb", "read_barrier", "write_reg", "notify_all", "disable_device", "lock"].map(purpose);
        let barrier = Some(Purpose::Barrier);
        let expected =
            [barrier, barrier, Some(Purpose::RegisterWrite), Some(Purpose::WakeUp), Some(Purpose::Release), None];
        assert_eq!(purposes, expected);
    }
}
