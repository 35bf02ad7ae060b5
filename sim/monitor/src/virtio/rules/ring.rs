//! The rules of split and packed rings (virtio 1.4 §2.7 to §2.9, §3.3, §3.4, §6.1).
//!
//! Those called `IMP-…` follow from what the specification states as fact, without a key word of requirement.

use bringup_core::{Rule, Severity};

macro_rules! rules {
    ($( $name:ident = $id:literal, $severity:ident, $section:literal, $title:literal, $fix:literal; )*) => {
        $(
            #[doc = concat!($id, ": ", $title, " (virtio 1.4 §", $section, ").")]
            pub static $name: Rule = Rule {
                id: $id,
                title: $title,
                severity: Severity::$severity,
                reference: concat!("virtio 1.4 §", $section),
                fix: $fix,
                page: include_str!(concat!("../../../rules/", $id, ".md")),
            };
        )*
        /// All of them.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    VQ_SPLIT_D_01 = "VQ-SPLIT-D-01", Error, "2.7.1", "a part of a split queue is misaligned",
        "allocate the descriptor table at a multiple of 16, the available ring of 2 and the used ring of 4 bytes";
    VQ_SPLIT_D_04 = "VQ-SPLIT-D-04", Error, "2.7.4.2", "a readable element follows a writable one",
        "put all elements that the device reads before the first one that it writes, over the whole chain and its indirect table";
    VQ_SPLIT_D_06 = "VQ-SPLIT-D-06", Error, "2.7.5.2", "a chain has a loop, or more than 2^32 bytes",
        "end each chain with a descriptor without NEXT, and keep its total length within 2^32 bytes";
    VQ_SPLIT_D_07 = "VQ-SPLIT-D-07", Error, "2.7.5.2", "with IN_ORDER a chain does not go through the table in order",
        "with IN_ORDER link each descriptor to the one behind it in the table, and the last one to 0";
    VQ_SPLIT_IND_D_01 = "VQ-SPLIT-IND-D-01", Error, "2.7.5.3.1", "INDIRECT is set though INDIRECT_DESC was not negotiated",
        "look at the negotiated features before a table is used";
    VQ_SPLIT_IND_D_02 = "VQ-SPLIT-IND-D-02", Error, "2.7.5.3.1", "INDIRECT is set inside an indirect table",
        "keep tables one level deep";
    VQ_SPLIT_IND_D_03 = "VQ-SPLIT-IND-D-03", Error, "2.7.5.3.1", "a chain is longer than the queue",
        "split the request, or negotiate a larger queue; the limit holds for indirect tables too";
    VQ_SPLIT_IND_D_04 = "VQ-SPLIT-IND-D-04", Error, "2.7.5.3.1", "INDIRECT and NEXT are set in one descriptor",
        "end the direct part of a chain with the descriptor that points at the table";
    VQ_SPLIT_IND_D_05 = "VQ-SPLIT-IND-D-05", Error, "2.7.5.3.1", "with IN_ORDER an indirect table is not in order",
        "with IN_ORDER let entry 0 name 1, entry 1 name 2, and so on";
    VQ_SPLIT_D_08 = "VQ-SPLIT-D-08", Error, "2.7.6.1", "the available index went back, or jumped",
        "let the index only grow, by one for each chain, modulo 65536";
    VQ_SPLIT_EVT_D_01 = "VQ-SPLIT-EVT-D-01", Error, "2.7.7.1", "the available ring's flags are neither 0 nor 1",
        "write 0 or 1 only; 1 asks for no interrupts";
    VQ_SPLIT_EVT_D_03 = "VQ-SPLIT-EVT-D-03", Error, "2.7.7.1", "with EVENT_IDX the available ring's flags are not 0",
        "with EVENT_IDX use `used_event` alone and leave the flags at 0";
    VQ_SPLIT_EVT_D_06 = "VQ-SPLIT-EVT-D-06", Error, "2.7.10.1", "the used ring's flags are not 0 at set-up",
        "clear the used ring before the queue is enabled";
    VQ_SPLIT_EVT_D_07 = "VQ-SPLIT-EVT-D-07", Error, "2.7.10.1", "without EVENT_IDX a kick was left out because of `avail_event`",
        "without EVENT_IDX look at the used ring's flags alone";
    VQ_SPLIT_EVT_D_08 = "VQ-SPLIT-EVT-D-08", Advice, "2.7.10.1", "a kick although the device asked for none",
        "look at the used ring's flags behind the store of the index, and kick only if bit 0 is clear";
    VQ_SPLIT_EVT_D_09 = "VQ-SPLIT-EVT-D-09", Error, "2.7.10.1", "a kick is missing",
        "kick after the available index moved and the used ring's flags are 0";
    VQ_SPLIT_EVT_D_10 = "VQ-SPLIT-EVT-D-10", Error, "2.7.10.1", "with EVENT_IDX a kick was left out because of the used ring's flags",
        "with EVENT_IDX look at `avail_event` alone";
    VQ_SPLIT_EVT_D_11 = "VQ-SPLIT-EVT-D-11", Error, "2.7.10.1", "a kick is missing: the index passed `avail_event`",
        "kick if the entry that `avail_event` names was filled, over all entries since the last look";
    VQ_SPLIT_EVT_D_12 = "VQ-SPLIT-EVT-D-12", Advice, "2.7.10.1", "a kick although `avail_event` was not passed",
        "kick only if the entry that `avail_event` names was filled";
    VQ_SPLIT_D_14 = "VQ-SPLIT-D-14", Error, "2.7.13.3.1", "no write barrier before the available index",
        "put a write barrier (`dma_mb(Write)`) between descriptors and ring entries and the index that shows them";
    VQ_SPLIT_D_15 = "VQ-SPLIT-D-15", Error, "2.7.13.4.1", "no full barrier between the available index and the look at what the device wants",
        "put a full barrier (`mb(Full)`) between the store of the index and the load of flags or `avail_event`";
    IMP_SPLIT_01 = "IMP-SPLIT-01", Error, "2.7", "the size of a split queue is no power of two up to 32768",
        "keep the size that the device offers, or lower it to a power of two";
    IMP_SPLIT_02 = "IMP-SPLIT-02", Error, "2.7", "a part of a split queue is not reachable, or lies over another",
        "allocate 16 bytes a descriptor, 6 + 2 an entry of the available and 6 + 8 an entry of the used ring, and map them for the device";
    IMP_SPLIT_03 = "IMP-SPLIT-03", Error, "2.7.5", "a descriptor's number is not below the queue's size",
        "check heads and links against the size of the queue";
    IMP_SPLIT_04 = "IMP-SPLIT-04", Advice, "2.7.5", "a descriptor has flags without a meaning",
        "set only NEXT, WRITE and INDIRECT";
    IMP_SPLIT_05 = "IMP-SPLIT-05", Error, "2.7.5", "with IN_ORDER a chain does not begin where the last one ended",
        "with IN_ORDER take descriptors in the order of the table, from 0 on, and go round";
    IMP_SPLIT_06 = "IMP-SPLIT-06", Error, "2.7.5.3", "an indirect table has no proper length, or its chain leaves it",
        "make the length 16 for each entry, at least one, and keep `next` inside the table";
    IMP_SPLIT_07 = "IMP-SPLIT-07", Error, "2.7.6", "the available index does not begin at 0",
        "clear the available ring before the queue is enabled";
    IMP_SPLIT_09 = "IMP-SPLIT-09", Error, "2.7.13", "a descriptor belongs to two chains in flight",
        "take descriptors from the free ones only, and free them when their chain was used";
    VQ_PACKED_D_01 = "VQ-PACKED-D-01", Error, "2.8.11", "a part of a packed queue is misaligned",
        "allocate the ring at a multiple of 16 bytes and both event structures of 4";
    VQ_PACKED_D_02 = "VQ-PACKED-D-02", Error, "2.8.16", "a slot was made available again before it was used",
        "count free slots, and reuse one only after the device's used place has passed it";
    VQ_PACKED_D_03 = "VQ-PACKED-D-03", Error, "2.8.16", "an available slot was changed",
        "leave a slot alone from the store of its flags until it is used";
    VQ_PACKED_D_04 = "VQ-PACKED-D-04", Error, "2.8.16", "a kick does not name the next place of the ring",
        "with NOTIFICATION_DATA send the slot where the next descriptor will go, and the wrap counter there";
    VQ_PACKED_D_06 = "VQ-PACKED-D-06", Error, "2.8.17", "a list of slots is longer than the device allows",
        "keep to the device's limit on segments";
    VQ_PACKED_D_07 = "VQ-PACKED-D-07", Error, "2.8.17", "a list of slots is longer than the queue",
        "end each list with a slot without NEXT, within as many slots as there are";
    VQ_PACKED_D_08 = "VQ-PACKED-D-08", Error, "2.8.17", "a readable element follows a writable one",
        "put all elements that the device reads before the first one that it writes";
    VQ_PACKED_D_10 = "VQ-PACKED-D-10", Error, "2.8.17", "a list does not fit into the free slots",
        "wait until there are as many free slots as the list needs before its head is made available";
    VQ_PACKED_D_11 = "VQ-PACKED-D-11", Error, "2.8.17", "the head of a list was made available before its other slots",
        "write the flags of the head last, behind a write barrier";
    VQ_PACKED_IND_D_01 = "VQ-PACKED-IND-D-01", Error, "2.8.19", "INDIRECT is set though INDIRECT_DESC was not negotiated",
        "look at the negotiated features before a table is used";
    VQ_PACKED_IND_D_02 = "VQ-PACKED-IND-D-02", Error, "2.8.19", "an entry of an indirect table has flags other than WRITE",
        "write 0 or WRITE only: entries follow each other by their place";
    VQ_PACKED_IND_D_03 = "VQ-PACKED-IND-D-03", Error, "2.8.19", "a table has more entries than the device allows",
        "keep to the device's limit on segments";
    VQ_PACKED_IND_D_04 = "VQ-PACKED-IND-D-04", Error, "2.8.19", "INDIRECT occurs in a list of slots",
        "use either a list of slots, or one slot with a table";
    VQ_PACKED_D_13 = "VQ-PACKED-D-13", Error, "2.8.21.1.1", "no write barrier before the flags of a head",
        "put a write barrier (`dma_mb(Write)`) between the rest of a list and the flags of its head";
    VQ_PACKED_D_14 = "VQ-PACKED-D-14", Error, "2.8.21.3.1", "no full barrier between a head's flags and the look at what the device wants",
        "put a full barrier (`mb(Full)`) between the store of the flags and the load of the device's event structure";
    IMP_PACK_01 = "IMP-PACK-01", Error, "2.8", "the size of a packed queue is 0 or more than 32768",
        "keep the size that the device offers, or lower it";
    IMP_PACK_02 = "IMP-PACK-02", Error, "2.8.13", "a packed ring is not zero at the start",
        "clear the ring before the queue is enabled";
    IMP_PACK_03 = "IMP-PACK-03", Error, "2.8.1", "a slot was made available with the wrong wrap counter",
        "flip the driver's wrap counter each time the last slot is passed, also in the middle of a list";
    IMP_PACK_04 = "IMP-PACK-04", Error, "2.8.1", "a slot was made available with AVAIL and USED alike",
        "set AVAIL to the wrap counter and USED to its inverse";
    IMP_PACK_06 = "IMP-PACK-06", Error, "2.8.6", "a slot inside a list has wrong AVAIL or USED flags",
        "give every slot of a list the flags of its own place, also behind the wrap";
    IMP_PACK_07 = "IMP-PACK-07", Error, "2.8.6", "two lists in flight have the same buffer id",
        "give each list an id that no other list in flight has";
    IMP_PACK_10 = "IMP-PACK-10", Error, "2.8.7", "an indirect table has no proper length",
        "make the length 16 for each entry, at least one";
    IMP_PACK_14 = "IMP-PACK-14", Error, "2.8.10", "an event structure of the driver's holds a reserved value",
        "write 0 (enable), 1 (disable) or, with EVENT_IDX, 2 (a certain slot); leave the other bits 0";
    IMP_PACK_15 = "IMP-PACK-15", Error, "2.8.10", "an event structure of the driver's names a slot that the ring does not have",
        "keep the offset below the size of the queue, and the wrap counter in bit 15";
    IMP_PACK_16 = "IMP-PACK-16", Error, "2.8.21.3", "a kick is missing",
        "kick after a list was made available unless the device's event structure holds it back";
    IMP_PACK_17 = "IMP-PACK-17", Advice, "2.8.21.3", "a kick although the device asked for none",
        "look at the device's event structure behind the store of the flags, and kick only if it asks for it";
    CLEANUP_D_01 = "CLEANUP-D-01", Error, "3.3.1", "what was made available was changed before it was used",
        "leave descriptors, tables and available entries alone until the chain is used or the queue was reset";
    CLEANUP_D_02 = "CLEANUP-D-02", Error, "3.3.1", "memory was taken from the device while a live queue holds it",
        "wait until the chain is used, or reset the device or the queue, before memory is unmapped";
    SUSPEND_D_03 = "SUSPEND-D-03", Error, "3.4.1", "a chain was made available to a suspended device",
        "hold requests back from the write of SUSPEND until the device runs again";
    RSVD_D_04 = "RSVD-D-04", Error, "6.1", "an element is not mapped for the device",
        "give the device addresses that the DMA API returned, mapped for the whole length and in the right direction";
    RSVD_D_05 = "RSVD-D-05", Error, "6.1", "an element is no memory of the machine's",
        "give the device physical addresses of memory if ACCESS_PLATFORM was not offered";
    IMP_NOTIF_01 = "IMP-NOTIF-01", Error, "2.9", "a kick does not carry the available index",
        "with NOTIFICATION_DATA send the available index in bits 16 to 31";
    IMP_NOTIF_02 = "IMP-NOTIF-02", Error, "2.9", "a kick names a slot that the ring does not have",
        "with NOTIFICATION_DATA send the number of a slot in bits 16 to 30, and the wrap counter in bit 31";
    IMP_NOTIF_03 = "IMP-NOTIF-03", Error, "2.9", "a repeated kick carries other data than the first",
        "send the same place again if nothing was added";
    IMP_VQ_02 = "IMP-VQ-02", Error, "2.6", "the driver wrote to the device's part of a queue",
        "leave the used ring, or the device's event structure, to the device once the queue is enabled";
}
