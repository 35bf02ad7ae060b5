//! Memory balloon (virtio 1.4 §5.5).

use super::ConfigField;

/// Feature bits.
pub mod feature {
    /// Pages are announced before use.
    pub const MUST_TELL_HOST: u32 = 0;
    /// Statistics queue.
    pub const STATS_VQ: u32 = 1;
    /// Deflates when memory is short.
    pub const DEFLATE_ON_OOM: u32 = 2;
    /// Free page hints.
    pub const FREE_PAGE_HINT: u32 = 3;
    /// Poison value.
    pub const PAGE_POISON: u32 = 4;
    /// Free page reporting.
    pub const PAGE_REPORTING: u32 = 5;
    /// Bit numbers and names.
    pub const NAMES: &[(u32, &str)] = &[
        (MUST_TELL_HOST, "must_tell_host"),
        (STATS_VQ, "stats_vq"),
        (DEFLATE_ON_OOM, "deflate_on_oom"),
        (FREE_PAGE_HINT, "free_page_hint"),
        (PAGE_POISON, "page_poison"),
        (PAGE_REPORTING, "page_reporting"),
    ];
}

/// Offsets in configuration space.
pub mod config {
    /// 32 bits.
    pub const NUM_PAGES: u32 = 0;
    /// 32 bits, writable.
    pub const ACTUAL: u32 = 4;
    /// 32 bits.
    pub const FREE_PAGE_HINT_CMD_ID: u32 = 8;
    /// 32 bits, writable.
    pub const POISON_VAL: u32 = 12;
    /// Bytes in all.
    pub const LEN: u32 = 16;
}

/// Its configuration space.
pub const CONFIG: &[ConfigField] = &[
    ConfigField::new("num_pages", config::NUM_PAGES, 4, &[]),
    ConfigField::new("actual", config::ACTUAL, 4, &[]).writable(),
    ConfigField::new("free_page_hint_cmd_id", config::FREE_PAGE_HINT_CMD_ID, 4, &[feature::FREE_PAGE_HINT]),
    ConfigField::new("poison_val", config::POISON_VAL, 4, &[feature::PAGE_POISON]).writable(),
];
