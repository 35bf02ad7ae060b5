//! All 370 clauses of virtio 1.4 that say what a driver must or must not do, paraphrased, in the order of the specification, and how
//! each is seen.

use super::How::{Checked, Open, Same, Stimulus, Unseen};
use super::Strength::{Must, MustNot};
use super::{Clause, Weight};

/// Rows: id, section, strength, weight: what it says, how it is seen. `@` begins an area.
macro_rules! clauses {
    ($( @ $area:literal $( $id:literal $section:literal $strength:ident $weight:ident: $says:literal, $how:expr; )* )*) => {
        /// All of them.
        pub static CLAUSES: &[Clause] = &[$($(
            Clause {
                id: $id,
                section: $section,
                area: $area,
                strength: $strength,
                weight: Weight::$weight,
                says: $says,
                how: $how,
            },
        )*)*];
    };
}

clauses! {
    @ "Device status"
    "STATUS-D-01" "2.1.1" Must Core: "status bits are raised step by step in the init order of 3.1", Checked;
    "STATUS-D-02" "2.1.1" MustNot Core: "never write a non-zero status that drops a bit already set", Checked;
    "STATUS-D-03" "2.1.1" Must Core: "after FAILED, re-initialisation starts with a reset", Checked;

    @ "Feature bits"
    "FEAT-D-01" "2.2.1" MustNot Core: "accept only offered bits", Checked;
    "FEAT-D-02" "2.2.1" MustNot Core: "accept a dependent feature only together with its prerequisite", Checked;
    "FEAT-D-03" "2.2.1" Must Other: "check the offered bits for validity", Unseen("internal; offer an illegal combination and see whether it is accepted");
    "FEAT-D-04" "2.2.1" Must Other: "disregard bits unknown, reserved, or undefined for transport/type", Stimulus("offer such a bit and see that behaviour does not change");
    "FEAT-D-05" "2.2.1" MustNot Core: "don't ack unknown / reserved / wrong-transport / wrong-type bits", Checked;
    "FEAT-D-07" "2.2.1" Must Core: "no fallback possible: write FAILED and stop initialising", Checked;
    "FEAT-D-08" "2.2.1" MustNot Other: "an unknown offered bit alone is no reason to give up", Stimulus("offer an unallocated bit; expect init to complete");
    "FEAT-D-09" "2.2.3" Must Other: "transitional driver detects a legacy device by VERSION_1 not offered", Stimulus("hide bit 32, see whether legacy register block is used");

    @ "Device configuration space"
    "CFG-D-01" "2.5.1" MustNot Other: "multi-field or >32-bit config reads are not assumed atomic", Stimulus("change a 64-bit or multi-field value between the driver's partial reads (generation bumped); driver must re-read");
    "CFG-D-03" "2.5.1" Must Core: "optional field is read only if its feature is offered", Checked;
    "CFG-D-04" "2.5.1" MustNot Other: "no upper limit on structure/config-space size", Stimulus("enlarge device cfg capability length; init must still succeed");

    @ "Virtqueue reset"
    "VQ-RESET-D-01" "2.6.1.1.2" Must Core: "after requesting queue reset, poll until the device reports it done", Checked;
    "VQ-RESET-D-03" "2.6.1.2.2" Must Core: "re-enable repeats the full queue set-up (size, addresses, vector) then enable", Checked;

    @ "Split virtqueue"
    "VQ-SPLIT-D-01" "2.7.1" Must Core: "ring parts aligned: descriptors 16, available 2, used 4", Checked;
    "VQ-SPLIT-D-02" "2.7.2" Must Other: "legacy: driver reads Queue Size from device", Open("no device here has the legacy interface");
    "VQ-SPLIT-D-03" "2.7.2" Must Other: "legacy: allocate the virtqueue to the formula (align padded)", Open("no device here has the legacy interface");
    "VQ-SPLIT-D-04" "2.7.4.2" Must Core: "in one chain, readable elements first, writable afterwards", Checked;
    "VQ-SPLIT-D-06" "2.7.5.2" MustNot Core: "chain total at most 2^32 bytes, hence no loops", Checked;
    "VQ-SPLIT-D-07" "2.7.5.2" Must Core: "IN_ORDER: next must be x+1, or 0 for the last table slot", Checked;

    @ "Split virtqueue: indirect"
    "VQ-SPLIT-IND-D-01" "2.7.5.3.1" MustNot Core: "INDIRECT flag only if INDIRECT_DESC negotiated", Checked;
    "VQ-SPLIT-IND-D-02" "2.7.5.3.1" MustNot Core: "no INDIRECT flag inside an indirect table", Checked;
    "VQ-SPLIT-IND-D-03" "2.7.5.3.1" MustNot Core: "chain (incl. indirect entries) no longer than queue size", Checked;
    "VQ-SPLIT-IND-D-04" "2.7.5.3.1" MustNot Core: "INDIRECT and NEXT are exclusive", Checked;
    "VQ-SPLIT-IND-D-05" "2.7.5.3.1" Must Core: "IN_ORDER: indirect entries are sequential, next = 1,2,3..", Checked;

    @ "Split virtqueue"
    "VQ-SPLIT-D-08" "2.7.6.1" MustNot Core: "available idx never moves back", Checked;

    @ "Split virtqueue: notification suppression"
    "VQ-SPLIT-EVT-D-01" "2.7.7.1" Must Core: "without EVENT_IDX avail.flags is 0 or 1", Checked;
    "VQ-SPLIT-EVT-D-03" "2.7.7.1" Must Core: "with EVENT_IDX avail.flags stays 0", Checked;
    "VQ-SPLIT-EVT-D-05" "2.7.7.1" Must Other: "spurious used notifications are harmless", Stimulus("inject interrupts with no new used entries");

    @ "Split virtqueue"
    "VQ-SPLIT-D-09" "2.7.8.3" MustNot Other: "driver makes no assumption on bytes past len", Unseen("poison bytes beyond len and watch for changed behaviour");

    @ "Split virtqueue: notification suppression"
    "VQ-SPLIT-EVT-D-06" "2.7.10.1" Must Core: "used.flags is 0 when the used ring is first set up", Checked;
    "VQ-SPLIT-EVT-D-07" "2.7.10.1" Must Core: "without EVENT_IDX avail_event is not consulted", Checked;
    "VQ-SPLIT-EVT-D-09" "2.7.10.1" Must Core: "used.flags=0: driver must kick after exposing", Checked;
    "VQ-SPLIT-EVT-D-10" "2.7.10.1" Must Core: "with EVENT_IDX used.flags bit0 is ignored", Checked;
    "VQ-SPLIT-EVT-D-11" "2.7.10.1" Must Core: "kick when the slot just filled equals avail_event", Checked;

    @ "Split virtqueue"
    "VQ-SPLIT-D-14" "2.7.13.3.1" Must Core: "write barrier between filling ring/descriptors and storing idx", Checked;
    "VQ-SPLIT-D-15" "2.7.13.4.1" Must Other: "full barrier between idx store and reading flags/avail_event", Checked;

    @ "Packed virtqueue"
    "VQ-PACKED-D-01" "2.8.11" Must Core: "packed parts aligned: ring 16, both event structures 4", Checked;
    "VQ-PACKED-D-02" "2.8.16" MustNot Core: "driver rewrites a slot only after it was seen used (or never used)", Checked;
    "VQ-PACKED-D-03" "2.8.16" MustNot Core: "an available slot is immutable until used", Checked;
    "VQ-PACKED-D-04" "2.8.16" Must Core: "NOTIFICATION_DATA: next_off/next_wrap describe the next not-yet-available slot", Checked;
    "VQ-PACKED-D-06" "2.8.17" MustNot Core: "list no longer than the device limit", Checked;
    "VQ-PACKED-D-07" "2.8.17" MustNot Core: "list no longer than queue size, no loops", Checked;
    "VQ-PACKED-D-08" "2.8.17" Must Core: "readable elements precede writable elements", Checked;
    "VQ-PACKED-D-09" "2.8.17" MustNot Other: "driver must not count on later completions to free room for the rest of one list", Unseen("symptom: head made available with incomplete tail, queue stalls");
    "VQ-PACKED-D-10" "2.8.17" Must Core: "whole list must fit in free slots before its head is exposed", Checked;
    "VQ-PACKED-D-11" "2.8.17" MustNot Core: "head slot becomes available last", Checked;

    @ "Packed virtqueue: indirect"
    "VQ-PACKED-IND-D-01" "2.8.19" MustNot Core: "INDIRECT flag only if INDIRECT_DESC negotiated", Checked;
    "VQ-PACKED-IND-D-02" "2.8.19" MustNot Core: "inside an indirect table only WRITE may be set", Checked;
    "VQ-PACKED-IND-D-03" "2.8.19" MustNot Core: "chain not longer than device limit", Checked;
    "VQ-PACKED-IND-D-04" "2.8.19" MustNot Core: "INDIRECT may not occur in a NEXT-linked list", Checked;

    @ "Packed virtqueue"
    "VQ-PACKED-D-13" "2.8.21.1.1" Must Core: "write barrier before the flags store", Checked;
    "VQ-PACKED-D-14" "2.8.21.3.1" Must Other: "full barrier before reading the device event structure", Checked;

    @ "Admin: legacy access commands"
    "ADM-LEGACY-D-01" "2.12.1.1.7" Must Other: "driver uses little-endian in legacy cfg commands", Open("no device here has administration queues");
    "ADM-LEGACY-D-05" "2.12.1.1.7" Must Other: "ignore entries from the first flags==0 entry onward", Stimulus("place bad data after terminator; no access to it");
    "ADM-LEGACY-D-06" "2.12.1.1.7" Must Other: "check flags, BAR and offset of each entry", Stimulus("offer malformed entries");
    "ADM-LEGACY-D-07" "2.12.1.1.7" Must Other: "malformed entries are skipped", Stimulus("offer malformed entries; no kick there");

    @ "Admin: capabilities"
    "ADM-CAP-D-01" "2.12.1.2.5" Must Other: "CAP_SET precedes use of dependent objects", Open("no device here has administration queues");
    "ADM-CAP-D-02" "2.12.1.2.5" MustNot Other: "CAP_SET never exceeds what DEVICE_CAP_GET reported (limits, flags, array entries)", Open("no device here has administration queues");
    "ADM-CAP-D-03" "2.12.1.2.5" MustNot Other: "capability not disabled while its objects exist", Open("no device here has administration queues");

    @ "Admin: resource objects"
    "ADM-OBJ-D-01" "2.12.1.3.6" MustNot Other: "no second object of same type and id before the first is destroyed", Open("no device here has administration queues");
    "ADM-OBJ-D-02" "2.12.1.3.6" MustNot Other: "no more objects than the set limit", Open("no device here has administration queues");
    "ADM-OBJ-D-06" "2.12.1.3.6" MustNot Other: "capability not set again while its objects live", Open("no device here has administration queues");
    "ADM-OBJ-D-07" "2.12.1.3.6" Must Other: "CAP_SET precedes use of related resources", Open("no device here has administration queues");

    @ "Admin: device parts"
    "ADM-PARTS-D-01" "2.12.1.4.4.2" Must Other: "stop the member before PARTS_SET", Open("no device here has administration queues");
    "ADM-PARTS-D-02" "2.12.1.4.4.2" Must Other: "parts are set in the table's order", Open("no device here has administration queues");

    @ "Admin: group commands"
    "ADM-CMD-D-02" "2.12.1.6" Must Other: "wait for a successful LIST_USE before any other command", Open("no device here has administration queues");
    "ADM-CMD-D-04" "2.12.1.6" MustNot Other: "LIST_USE is not sent while another command is outstanding", Open("no device here has administration queues");
    "ADM-CMD-D-06" "2.12.1.6" MustNot Other: "LIST_USE subset of last LIST_QUERY for the group", Open("no device here has administration queues");
    "ADM-CMD-D-07" "2.12.1.6" MustNot Other: "no command before correct LIST_USE for that group", Open("no device here has administration queues");
    "ADM-CMD-D-09" "2.12.1.6" Must Other: "reserved status treated like EINVAL", Stimulus("return reserved status");
    "ADM-CMD-D-10" "2.12.1.6" Must Other: "reserved qualifier treated like Q_INVALID_COMMAND", Stimulus("return reserved qualifier");
    "ADM-CMD-D-11" "2.12.1.6" Must Other: "VF Enable set and VF Migration Capable clear while SR-IOV group commands are outstanding", Open("no device here has administration queues");

    @ "Admin virtqueues"
    "ADM-VQ-D-03" "2.13.2" Must Other: "both parts are multiples of 8 bytes", Open("no device here has administration queues");
    "ADM-VQ-D-04" "2.13.2" Must Other: "both parts are non-empty (text names the device, section is for the driver)", Open("no device here has administration queues");
    "ADM-VQ-D-06" "2.13.2" MustNot Other: "don't assume the whole writable part is initialised", Unseen("leave tail poisoned");
    "ADM-VQ-D-07" "2.13.2" Must Other: "treat the untouched part as zero", Unseen("leave tail poisoned");
    "ADM-VQ-D-08" "2.13.2" Must Other: "driver itself orders commands across admin queues", Open("no device here has administration queues");

    @ "Device initialization"
    "INIT-D-01" "3.1.1" Must Core: "init starts with a device reset", Checked;
    "INIT-D-02" "3.1.1" Must Core: "init: ACKNOWLEDGE is set after reset, then DRIVER", Checked;
    "INIT-D-03" "3.1.1" Must Core: "init: with DRIVER set, features are read and the accepted subset is written", Checked;
    "INIT-D-04" "3.1.1" Must Core: "init: FEATURES_OK is set, then read back", Checked;
    "INIT-D-05" "3.1.1" Must Core: "init: queue discovery and set-up, then DRIVER_OK last", Checked;
    "INIT-D-07" "3.1.1" MustNot Core: "device config is not written during feature negotiation", Checked;
    "INIT-D-08" "3.1.1" MustNot Core: "no feature changes after FEATURES_OK", Checked;
    "INIT-D-10" "3.1.1" MustNot Core: "after a fatal init problem no further init steps", Checked;
    "INIT-D-11" "3.1.1" MustNot Core: "no kick before DRIVER_OK", Checked;
    "INIT-D-12" "3.1.2" Must Other: "legacy: same sequence without FEATURES_OK steps", Open("no device here has the legacy interface");

    @ "Device cleanup"
    "CLEANUP-D-01" "3.3.1" MustNot Core: "exposed and unused entries stay untouched on a live queue", Checked;
    "CLEANUP-D-02" "3.3.1" Must Core: "exposed buffers are withdrawn only after device (or queue) reset", Checked;

    @ "Device suspend"
    "SUSPEND-D-02" "3.4.1" Must Core: "after SUSPEND poll status for SUSPEND=1 and DRIVER_OK=0", Checked;
    "SUSPEND-D-03" "3.4.1" MustNot Core: "no new buffers once SUSPEND was set", Checked;
    "SUSPEND-D-04" "3.4.1" MustNot Core: "no kicks once SUSPEND was set", Checked;
    "SUSPEND-D-05" "3.4.1" MustNot Core: "no config-space writes once SUSPEND was set", Checked;
    "SUSPEND-D-06" "3.4.1" Must Core: "on resume wait for SUSPEND=0 and DRIVER_OK=1", Checked;

    @ "PCI: discovery"
    "PCI-ID-D-01" "4.1.2.2" Must Other: "driver binds 0x1AF4 : 0x1040+type", Stimulus("present id, expect bind");
    "PCI-ID-D-02" "4.1.2.2" Must Other: "driver binds transitional ids of listed types", Stimulus("present transitional id with modern capabilities, expect bind");
    "PCI-ID-D-03" "4.1.2.2" Must Other: "any revision id is accepted", Stimulus("vary revision");

    @ "PCI: register access"
    "PCI-ACC-D-01" "4.1.3.1" Must Core: "access width = field width, aligned; 64-bit fields as 32-bit halves", Checked;

    @ "PCI: capabilities"
    "PCI-CAP-D-02" "4.1.4.1" Must Other: "unknown cfg_type capabilities are ignored", Stimulus("add one with cfg_type 6/0x80");
    "PCI-CAP-D-04" "4.1.4.1" Must Other: "larger cap_len is accepted", Stimulus("enlarge cap_len");
    "PCI-CAP-D-05" "4.1.4.1" Must Other: "capability with bar > 5 is ignored", Stimulus("add one first in list");
    "PCI-CAP-D-07" "4.1.4.1" Must Other: "very large length is handled", Stimulus("set length to BAR size");
    "PCI-CAP-D-09" "4.1.4.1" MustNot Core: "no writes to virtio capabilities except PCI_CFG", Checked;

    @ "PCI: common configuration"
    "PCI-COMMON-D-01" "4.1.4.3.2" MustNot Core: "no writes to read-only common fields", Checked;
    "PCI-COMMON-D-02" "4.1.4.3.2" MustNot Core: "packed: queue_size never written as 0", Checked;
    "PCI-COMMON-D-03" "4.1.4.3.2" MustNot Core: "split: queue_size written only as power of two (and <= maximum)", Checked;
    "PCI-COMMON-D-04" "4.1.4.3.2" Must Core: "queue_enable is written last", Checked;
    "PCI-COMMON-D-05" "4.1.4.3.2" Must Core: "after status=0 wait until it reads 0", Checked;
    "PCI-COMMON-D-06" "4.1.4.3.2" MustNot Core: "never write 0 to queue_enable", Checked;
    "PCI-COMMON-D-07" "4.1.4.3.2" MustNot Core: "queue reset is complete only when queue_reset reads 0", Checked;
    "PCI-COMMON-D-10" "4.1.4.3.2" Must Core: "admin queues use the indices from admin_queue_index on", Checked;

    @ "PCI: vendor data cap"
    "PCI-VNDR-D-02" "4.1.4.8.2" Must Other: "vendor id checked before use", Stimulus("present foreign vendor_id, expect no writes");

    @ "PCI: cfg access cap"
    "PCI-CFGACC-D-01" "4.1.4.9.2" MustNot Core: "PCI_CFG offset is a multiple of length", Checked;
    "PCI-CFGACC-D-02" "4.1.4.9.2" Must Core: "all window accesses aligned", Checked;
    "PCI-CFGACC-D-03" "4.1.4.9.2" MustNot Core: "window must lie within a range named by another virtio capability", Checked;

    @ "PCI: legacy layout"
    "PCI-LEG-D-01" "4.1.4.10" Must Other: "legacy: driver uses BAR0 I/O layout", Open("no device here has the legacy interface");
    "PCI-LEG-D-03" "4.1.4.10" Must Other: "legacy: device config directly after the header (20, or 24 with MSI-X)", Open("no device here has the legacy interface");

    @ "PCI: layout detection"
    "PCI-DETECT-D-01" "4.1.5.1.1.1" Must Other: "transitional driver scans the capability list for virtio capabilities", Open("no device here has the legacy interface");
    "PCI-DETECT-D-02" "4.1.5.1.1.1" Must Other: "transitional driver finding no virtio capabilities uses the legacy interface", Stimulus("hide capabilities");
    "PCI-DETECT-D-03" "4.1.5.1.1.1" Must Other: "non-transitional driver scans the capability list", Open("no device here has the legacy interface");
    "PCI-DETECT-D-04" "4.1.5.1.1.1" Must Other: "non-transitional driver finding no virtio capabilities fails gracefully", Stimulus("hide capabilities");

    @ "PCI: MSI-X"
    "PCI-MSIX-D-01" "4.1.5.1.2.2" Must Other: "driver copes with any table size 1..2048 entries", Stimulus("vary table size");
    "PCI-MSIX-D-04" "4.1.5.1.2.2" MustNot Core: "vector written must be <= table size (or 0xffff)", Checked;
    "PCI-MSIX-D-05" "4.1.5.1.2.2" Must Core: "vector register is read back after writing it", Checked;

    @ "PCI: available buffer notification"
    "PCI-KICK-D-01" "4.1.5.2.1" Must Core: "kick is a 16-bit write without NOTIFICATION_DATA", Checked;
    "PCI-KICK-D-02" "4.1.5.2.1" Must Core: "kick is a 32-bit write with NOTIFICATION_DATA", Checked;
    "PCI-KICK-D-03" "4.1.5.2.1" Must Core: "16-bit kick value = queue index (no NOTIF_CONFIG_DATA)", Checked;
    "PCI-KICK-D-04" "4.1.5.2.1" Must Core: "32-bit kick low half = queue index (no NOTIF_CONFIG_DATA)", Checked;
    "PCI-KICK-D-05" "4.1.5.2.1" Must Core: "16-bit kick value = queue_notif_config_data", Checked;
    "PCI-KICK-D-06" "4.1.5.2.1" Must Core: "32-bit kick id field = queue_notif_config_data", Checked;

    @ "PCI: config change notification"
    "PCI-CFGIRQ-D-01" "4.1.5.4.2" Must Other: "driver copes with a shared vector for queues and config", Stimulus("map both to one vector, change config");

    @ "Network"
    "NET-CFG-D-01" "5.1.4.2" MustNot Other: "no writes to net config space (1.x)", Checked;
    "NET-CFG-D-03" "5.1.4.2" Must Other: "use the config-space mac as own address", Unseen("a driver may forward packets of others");
    "NET-CFG-D-08" "5.1.4.2" Must Other: "with MTU: rx buffers can hold one mtu-size packet", Checked;
    "NET-CFG-D-09" "5.1.4.2" MustNot Other: "with MTU: non-GSO tx frames are <= mtu + link header", Checked;
    "NET-CFG-D-11" "5.1.4.2" Must Other: "out-of-range speed/duplex means unknown", Unseen("set such values, driver must live");
    "NET-TX-D-02" "5.1.9.2" MustNot Other: "outer_nh_offset left unused without OUT_NET_HEADER", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-03" "5.1.9.2.1" Must Other: "tx header has the same size as the rx header for the negotiated set", Checked;
    "NET-TX-D-04" "5.1.9.2.1" Must Other: "num_buffers is 0 on tx", Checked;
    "NET-TX-D-05" "5.1.9.2.1" Must Other: "without CSUM flags is 0", Checked;
    "NET-TX-D-09" "5.1.9.2.1" MustNot Other: "no TCPV4 GSO without HOST_TSO4", Checked;
    "NET-TX-D-11" "5.1.9.2.1" MustNot Other: "no TCPV6 GSO without HOST_TSO6", Checked;
    "NET-TX-D-13" "5.1.9.2.1" MustNot Other: "no UDP GSO without HOST_UFO", Checked;
    "NET-TX-D-15" "5.1.9.2.1" MustNot Other: "no UDP_L4 GSO without HOST_USO", Checked;
    "NET-TX-D-17" "5.1.9.2.1" Must Other: "with HOST_ECN such packets carry the GSO_ECN bit", Open("packets are not looked into behind their header");
    "NET-TX-D-19" "5.1.9.2.1" MustNot Other: "no UDP-tunnel GSO bits unless HOST_UDP_TUNNEL_GSO", Checked;
    "NET-TX-D-20" "5.1.9.2.1" Must Other: "inner IPv4 -> tunnel IPV4 bit", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-21" "5.1.9.2.1" Must Other: "inner IPv6 -> tunnel IPV6 bit", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-22" "5.1.9.2.1" MustNot Other: "no tunnel GSO with outer checksum offload unless both features", Same("NET-TX-D-24");
    "NET-TX-D-23" "5.1.9.2.1" Must Other: "with both tunnel features such packets carry a tunnel bit and UDP_TUNNEL_CSUM", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-24" "5.1.9.2.1" MustNot Other: "UDP_TUNNEL_CSUM flag clear unless negotiated", Checked;
    "NET-TX-D-25" "5.1.9.2.1" MustNot Other: "no tunnel GSO packet needing outer checksum offload without TUNNEL_GSO_CSUM", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-26" "5.1.9.2.1" MustNot Other: "tunnel bits never combined with GSO_UDP", Checked;
    "NET-TX-D-27" "5.1.9.2.1" MustNot Other: "tunnel IPV4 and IPV6 bits exclusive", Checked;
    "NET-TX-D-28" "5.1.9.2.1" MustNot Other: "UDP_TUNNEL_CSUM only with a tunnel bit", Checked;
    "NET-TX-D-30" "5.1.9.2.1" Must Other: "NEEDS_CSUM: earlier checksums are valid", Open("packets are not looked into behind their header");
    "NET-TX-D-31" "5.1.9.2.1" Must Other: "NEEDS_CSUM: checksum field holds pseudo-header sum", Open("packets are not looked into behind their header");
    "NET-TX-D-32" "5.1.9.2.1" Must Other: "NEEDS_CSUM: csum_start/csum_offset give a correct final checksum", Checked;
    "NET-TX-D-33" "5.1.9.2.1" Must Other: "no HOST_* GSO feature -> gso_type NONE", Checked;
    "NET-TX-D-34" "5.1.9.2.1" Must Other: "GSO implies NEEDS_CSUM", Checked;
    "NET-TX-D-35" "5.1.9.2.1" Must Other: "GSO implies gso_size set", Checked;
    "NET-TX-D-36" "5.1.9.2.1" Must Other: "GUEST_HDRLEN + GSO: hdr_len exact", Open("packets are not looked into behind their header");
    "NET-TX-D-39" "5.1.9.2.1" Must Other: "tunnel GSO: outer_th_offset and inner_nh_offset point at the headers", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-41" "5.1.9.2.1" Must Other: "UDP_TUNNEL_CSUM set: outer UDP checksum field holds the pseudo-header sum", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-42" "5.1.9.2.1" MustNot Other: "without TUNNEL_GSO_CSUM outer UDP needs no checksum work", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-43" "5.1.9.2.1" Must Other: "outer UDP checksum 0 or complete", Open("packets are not looked into behind their header: tunnels");
    "NET-TX-D-44" "5.1.9.2.1" MustNot Other: "no tunnel bits unless negotiated (repeat)", Same("NET-TX-D-19");
    "NET-TX-D-45" "5.1.9.2.1" MustNot Other: "no UDP_TUNNEL_CSUM unless negotiated (repeat)", Same("NET-TX-D-24");
    "NET-TX-D-47" "5.1.9.2.1" MustNot Other: "DATA_VALID and RSC_INFO are clear on tx", Checked;
    "NET-TX-D-48" "5.1.9.2.1" MustNot Other: "DATA_VALID never with tunnel bits", Same("NET-TX-D-47");
    "NET-TX-D-49" "5.1.9.2.1" Must Other: "SECURITY flag only after creating an outbound SA object", Open("no device here has administration queues");
    "NET-TX-D-50" "5.1.9.2.1" Must Other: "resource_id names a valid outbound SA", Open("no device here has administration queues");
    "NET-RXBUF-D-03" "5.1.9.3.1" Must Other: "MRG_RXBUF: each rx buffer at least header size (12, or 20 with HASH_REPORT)", Checked;
    "NET-RXBUF-D-04" "5.1.9.3.1" Must Other: "header size is 12/20/24/32 depending on negotiated features", Same("NET-RXBUF-D-03");
    "NET-RX-D-01" "5.1.9.4.2" Must Other: "unknown rx flag bits are ignored", Stimulus("set high flag bits");
    "NET-RX-D-03" "5.1.9.4.2" MustNot Other: "outer_nh_offset ignored on rx when zero or feature absent", Unseen("garbage");
    "NET-RX-D-04" "5.1.9.4.2" MustNot Other: "csum fields unused without NEEDS_CSUM or with RSC_INFO", Unseen("garbage");
    "NET-RX-D-06" "5.1.9.4.2" MustNot Other: "driver must survive wrong hdr_len", Stimulus("bogus value");
    "NET-RX-D-07" "5.1.9.4.2" MustNot Other: "unverified packets: driver checks the checksum itself", Stimulus("bad checksum packet must not be delivered");
    "NET-RX-D-08" "5.1.9.4.2" MustNot Other: "both tunnel bits -> packet dropped", Stimulus("inject");
    "NET-RX-D-09" "5.1.9.4.2" MustNot Other: "tunnel offsets unused without tunnel bits", Unseen("garbage");
    "NET-RX-D-10" "5.1.9.4.2" MustNot Other: "inconsistent tunnel GSO packets are dropped", Stimulus("inject");
    "NET-RX-D-11" "5.1.9.4.4.5" Must Other: "HASH_TUNNEL_SET only if HASH_TUNNEL negotiated", Open("no device here offers HASH_TUNNEL");
    "NET-RX-D-12" "5.1.9.4.4.5" MustNot Other: "enabled_tunnel_types subset of supported", Open("no device here offers HASH_TUNNEL");
    "NET-RX-D-13" "5.1.9.4.4.5" Must Other: "undocumented supported bits are ignored", Stimulus("set unknown bits");
    "NET-CTRL-D-01" "5.1.9.5.1.2" MustNot Other: "PROMISC/ALLMULTI only with CTRL_RX", Checked;
    "NET-CTRL-D-02" "5.1.9.5.1.2" MustNot Other: "extra RX commands only with CTRL_RX_EXTRA", Checked;
    "NET-CTRL-D-03" "5.1.9.5.2.2" MustNot Other: "no MAC class commands without CTRL_RX (text; MAC_ADDR_SET itself depends on CTRL_MAC_ADDR)", Checked;
    "NET-CTRL-D-05" "5.1.9.5.2.2" Must Other: "MAC_TABLE_SET layout: le32 count, addresses, le32 count, addresses", Checked;
    "NET-CTRL-D-08" "5.1.9.5.4.1" Must Other: "driver acknowledges an announcement with ANNOUNCE_ACK", Checked;
    "NET-CTRL-D-12" "5.1.9.5.6.1" Must Other: "queues are enabled before PAIRS_SET names them", Checked;
    "NET-CTRL-D-13" "5.1.9.5.6.1" MustNot Other: "virtqueue_pairs in 1..max_virtqueue_pairs", Checked;
    "NET-CTRL-D-14" "5.1.9.5.6.1" Must Other: "only transmitq1 used before PAIRS_SET", Checked;
    "NET-CTRL-D-15" "5.1.9.5.6.1" MustNot Other: "no packets on transmitq above virtqueue_pairs afterwards", Checked;
    "NET-CTRL-D-16" "5.1.9.5.6.4" Must Other: "reserved fields of hash config are zero", Checked;
    "NET-CTRL-D-17" "5.1.9.5.7.2" MustNot Other: "RSS_CONFIG only with RSS", Checked;
    "NET-CTRL-D-18" "5.1.9.5.7.2" Must Other: "indirection table names enabled receiveqs only", Checked;
    "NET-CTRL-D-19" "5.1.9.5.7.2" Must Other: "table size (mask+1) is a power of two", Checked;
    "NET-CTRL-D-20" "5.1.9.5.7.2" Must Other: "mask below rss_max_indirection_table_length", Checked;
    "NET-CTRL-D-21" "5.1.9.5.7.2" MustNot Other: "hash types subset of supported_hash_types", Checked;
    "NET-CTRL-D-22" "5.1.9.5.8.4" Must Other: "RSS context commands only with RSS_CONTEXT", Open("no device here offers RSS_CONTEXT");
    "NET-CTRL-D-23" "5.1.9.5.8.4" Must Other: "rss_ctx_id in 1..max_rss_contexts", Open("no device here offers RSS_CONTEXT");
    "NET-CTRL-D-24" "5.1.9.5.8.4" MustNot Other: "no PAIRS_SET while an RSS context exists", Open("no device here offers RSS_CONTEXT");
    "NET-CTRL-D-25" "5.1.9.5.9.2" MustNot Other: "GUEST_OFFLOADS_SET bits subset of negotiated GUEST_* features", Checked;
    "NET-CTRL-D-26" "5.1.9.5.10.5" Must Other: "vq_index names an enabled rx/tx queue", Checked;
    "NET-CTRL-D-27" "5.1.9.5.10.5" Must Other: "TX_SET/RX_SET coalescing only with NOTF_COAL", Checked;
    "NET-CTRL-D-28" "5.1.9.5.10.5" Must Other: "VQ_SET/VQ_GET only with VQ_NOTF_COAL", Checked;
    "NET-CTRL-D-29" "5.1.9.5.10.5" Must Other: "values of a failed VQ_GET are ignored", Unseen("ERR with garbage");
    "NET-CTRL-D-30" "5.1.9.5.11.13" Must Other: "requested stats types were reported by STATS_QUERY", Open("no device here offers DEVICE_STATS");
    "NET-CTRL-D-31" "5.1.9.5.11.13" Must Other: "types valid for that queue kind", Open("no device here offers DEVICE_STATS");
    "NET-CTRL-D-32" "5.1.9.5.11.13" Must Other: "result buffer can hold all reply headers", Open("no device here offers DEVICE_STATS");
    "NET-FF-D-01" "5.1.9.6.5" Must Other: "driver enables the three capabilities first", Open("no device here has administration queues");
    "NET-FF-D-09" "5.1.9.6.5" Must Other: "classifier selector order: Ethernet, IPv4/IPv6, TCP/UDP", Open("no device here has administration queues");
    "NET-FF-D-10" "5.1.9.6.5" Must Other: "mask all ones for EtherType / protocol where deeper selectors follow", Open("no device here has administration queues");
    "NET-FF-D-11" "5.1.9.6.5" Must Other: "rule key carries correct EtherType", Open("no device here has administration queues");
    "NET-FF-D-12" "5.1.9.6.5" Must Other: "rule key carries correct IP protocol", Open("no device here has administration queues");
    "NET-IPSEC-D-02" "5.1.9.7.5" Must Other: "driver lists capabilities first", Open("no device here has administration queues");
    "NET-IPSEC-D-03" "5.1.9.7.5" Must Other: "driver gets both IPsec capabilities", Open("no device here has administration queues");
    "NET-IPSEC-D-04" "5.1.9.7.5" Must Other: "driver sets both IPsec capabilities", Open("no device here has administration queues");
    "NET-IPSEC-D-05" "5.1.9.7.5" Must Other: "outbound SA create carries all parameters", Open("no device here has administration queues");
    "NET-IPSEC-D-06" "5.1.9.7.5" Must Other: "inbound SA create carries all but tunnel parameters", Open("no device here has administration queues");
    "NET-IPSEC-D-08" "5.1.9.7.5" Must Other: "outbound packets within PMTU", Open("no device here has administration queues");
    "NET-D-02" "5.1.9.8" Must Other: "legacy without ANY_LAYOUT: net header alone in first descriptor", Open("no device here has the legacy interface");
    "NET-D-03" "5.1.9.8" Must Other: "legacy without ANY_LAYOUT: fixed control command framing", Open("no device here has the legacy interface");
    "NET-D-04" "5.1.9.8" Must Other: "legacy MAC_TABLE_SET: first data descriptor is the unicast table, unpadded", Open("no device here has the legacy interface");
    "NET-D-05" "5.1.9.8" Must Other: "legacy MAC_TABLE_SET: second data descriptor is the multicast table, unpadded", Open("no device here has the legacy interface");

    @ "Block"
    "BLK-D-04" "5.2.5.1" MustNot Other: "writeback byte not read before FEATURES_OK", Checked;
    "BLK-D-05" "5.2.5.1" MustNot Other: "ZONED accepted only by zone-capable drivers", Checked;
    "BLK-D-06" "5.2.5.1" MustNot Other: "ZONED with host-managed model: DISCARD not (co-)negotiated (text says offered by the driver)", Checked;
    "BLK-D-08" "5.2.5.1" MustNot Other: "driver without HM support writes FAILED instead of FEATURES_OK on model HM", Checked;
    "BLK-D-13" "5.2.6.1" MustNot Other: "sector + length never beyond capacity", Checked;
    "BLK-D-15" "5.2.6.1" Must Other: "flush requests have sector 0", Checked;
    "BLK-D-17" "5.2.6.1" Must Other: "IN/OUT data length is a multiple of 512", Checked;
    "BLK-D-18" "5.2.6.1" Must Other: "discard/erase/zeroes data is a multiple of 16 bytes", Checked;
    "BLK-D-19" "5.2.6.1" Must Other: "GET_ID data is 20 bytes", Checked;
    "BLK-D-20" "5.2.6.1" MustNot Other: "discard segments <= max_discard_seg", Checked;
    "BLK-D-21" "5.2.6.1" MustNot Other: "erase segments <= max_secure_erase_seg", Checked;
    "BLK-D-22" "5.2.6.1" MustNot Other: "zeroes segments <= max_write_zeroes_seg", Checked;
    "BLK-D-24" "5.2.6.1" MustNot Other: "toggling to writethrough commits nothing", Unseen("crash test");
    "BLK-D-25" "5.2.6.1" Must Other: "unmap flag is 0 in discard segments", Checked;
    "BLK-D-26" "5.2.6.1" MustNot Other: "no assumption on data of discarded sectors", Unseen("return varied data");
    "BLK-D-27" "5.2.6.1" MustNot Other: "failed multi-segment request says nothing on single segments", Unseen("fail and watch retry");
    "BLK-D-28" "5.2.6.1" Must Other: "zone sector addresses are 512-byte multiples", Unseen("the unit of the field makes it always true");
    "BLK-D-29" "5.2.6.1" Must Other: "ZONE_REPORT sector lies in the wanted zone", Checked;
    "BLK-D-31" "5.2.6.1" Must Other: "open/close/finish/reset use the zone's first sector", Checked;
    "BLK-D-32" "5.2.6.1" Must Other: "RESET_ALL has sector 0", Checked;
    "BLK-D-33" "5.2.6.1" Must Other: "APPEND sector is the zone start", Checked;
    "BLK-D-34" "5.2.6.1" Must Other: "APPEND size is a multiple of write_granularity", Checked;
    "BLK-D-35" "5.2.6.1" MustNot Other: "APPEND size <= max_append_sectors", Checked;
    "BLK-D-37" "5.2.6.1" Must Other: "sequential writes: size and position aligned to write_granularity and within zone capacity", Open("needs the kind and the write pointer of each zone");
    "BLK-D-38" "5.2.6.2" Must Other: "zoned secure erase sizes are multiples of zone_sectors (text placed under device)", Checked;
    "BLK-D-42" "5.2.6.3" Must Other: "legacy SCSI cmd is alone in one readable buffer", Open("no device here has the legacy interface");
    "BLK-D-44" "5.2.6.4" Must Other: "legacy without ANY_LAYOUT: 16-byte header, data, 1-byte status in own descriptors (text says 8-byte)", Open("no device here has the legacy interface");
    "BLK-D-45" "5.2.6.4" Must Other: "legacy SCSI sense in own 96-byte writable descriptor", Open("no device here has the legacy interface");
    "BLK-D-46" "5.2.6.4" Must Other: "legacy SCSI result fields in one own writable descriptor", Open("no device here has the legacy interface");

    @ "Console"
    "CON-D-01" "5.3.6.1" MustNot Other: "only writable buffers in a receiveq", Checked;
    "CON-D-02" "5.3.6.1" MustNot Other: "only readable buffers in a transmitq", Checked;
    "CON-D-03" "5.3.6.2.2" Must Other: "MULTIPORT: driver sends DEVICE_READY", Checked;
    "CON-D-05" "5.3.6.2.2" Must Other: "CONSOLE_PORT answered by PORT_OPEN", Checked;
    "CON-D-06" "5.3.6.2.2" Must Other: "PORT_OPEN reply to CONSOLE_PORT has value 1", Checked;
    "CON-D-08" "5.3.6.4" Must Other: "legacy without ANY_LAYOUT: one descriptor per control buffer", Open("no device here has the legacy interface");

    @ "Entropy"
    "RNG-D-01" "5.4.6.1" MustNot Other: "rng queue has no readable buffers", Checked;
    "RNG-D-02" "5.4.6.1" Must Other: "driver takes used length as number of random bytes", Unseen("short used length, poison rest");

    @ "Balloon"
    "BAL-D-03" "5.5.3.1" MustNot Other: "PAGE_REPORTING with value-retaining pages needs PAGE_POISON", Open("no device here is of this type");
    "BAL-D-07" "5.5.6.1" MustNot Other: "no deflate at or above target unless DEFLATE_ON_OOM", Open("no device here is of this type");
    "BAL-D-09" "5.5.6.1" Must Other: "pages are reclaimed only by deflateq", Open("no device here is of this type");
    "BAL-D-10" "5.5.6.1" MustNot Other: "MUST_TELL_HOST: pages unused until deflate acked", Open("no device here is of this type");
    "BAL-D-12" "5.5.6.1" MustNot Other: "no page use between inflate submission and its ack", Open("no device here is of this type");
    "BAL-D-13" "5.5.6.1" MustNot Other: "no deflate of a page before its inflate was acked", Open("no device here is of this type");
    "BAL-D-14" "5.5.6.1" Must Other: "actual is updated after balloon size changes", Open("no device here is of this type");
    "BAL-D-17" "5.5.6.2.1" Must Other: "legacy: actual written as one 4-byte access", Open("no device here has the legacy interface");
    "BAL-D-18" "5.5.6.3.1" Must Other: "at most one buffer in statsq at a time", Open("no device here is of this type");
    "BAL-D-19" "5.5.6.3.1" Must Other: "statsq primed with one buffer at start", Open("no device here is of this type");
    "BAL-D-20" "5.5.6.3.1" Must Other: "statsq buffer returned after each use", Open("no device here is of this type");
    "BAL-D-21" "5.5.6.3.1" Must Other: "stats buffer has entries for supported statistics", Open("no device here is of this type");
    "BAL-D-22" "5.5.6.3.1" Must Other: "stats buffer length multiple of 10 per struct (text says 6)", Open("no device here is of this type");
    "BAL-D-25" "5.5.6.3.1" Must Other: "same tag set every time", Open("no device here is of this type");
    "BAL-D-26" "5.5.6.5.1" Must Other: "free-page hint command buffers are 4 bytes", Open("no device here is of this type");
    "BAL-D-27" "5.5.6.5.1" Must Other: "hinting starts with the current command id", Open("no device here is of this type");
    "BAL-D-28" "5.5.6.5.1" MustNot Other: "current id is sent once", Open("no device here is of this type");
    "BAL-D-31" "5.5.6.5.1" Must Other: "driver ends hinting by STOP id", Open("no device here is of this type");
    "BAL-D-33" "5.5.6.5.1" Must Other: "hinted page content is uninitialised", Unseen("device overwrites page");
    "BAL-D-34" "5.5.6.5.1" Must Other: "early released pages are re-initialised", Unseen("device overwrites page");
    "BAL-D-36" "5.5.6.6.1" Must Other: "deflated pages filled with poison_val on reuse", Unseen("memory watch");
    "BAL-D-37" "5.5.6.6.1" Must Other: "poison_val written before DRIVER_OK", Open("no device here is of this type");
    "BAL-D-38" "5.5.6.6.1" MustNot Other: "poison_val not written while DRIVER_OK", Open("no device here is of this type");
    "BAL-D-39" "5.5.6.7.1" Must Other: "without PAGE_POISON reported pages are uninitialised", Unseen("device overwrites page");
    "BAL-D-40" "5.5.6.7.1" Must Other: "with PAGE_POISON pages hold poison_val when reported", Open("no device here is of this type");
    "BAL-D-41" "5.5.6.7.1" MustNot Other: "reported pages untouched until ack", Open("no device here is of this type");

    @ "Socket"
    "VSOCK-D-04" "5.10.6.1.1" Must Other: "rx queue keeps being served while tx is full", Unseen("fill tx, inject rx, expect progress");
    "VSOCK-D-05" "5.10.6.3.1" Must Other: "RW packets only within peer credit", Open("no device here is of this type");
    "VSOCK-D-06" "5.10.6.3.1" Must Other: "buf_alloc and fwd_cnt valid in every stream packet", Open("no device here is of this type");
    "VSOCK-D-07" "5.10.6.4.1" Must Other: "source CID equals guest_cid", Open("no device here is of this type");
    "VSOCK-D-08" "5.10.6.4.1" Must Other: "unknown type answered by RST", Stimulus("inject unknown type");
    "VSOCK-D-10" "5.10.6.7.1" Must Other: "re-read guest_cid on TRANSPORT_RESET", Open("no device here is of this type");
    "VSOCK-D-11" "5.10.6.7.1" Must Other: "existing connections end on TRANSPORT_RESET", Open("no device here is of this type");
    "VSOCK-D-12" "5.10.6.7.1" Must Other: "listeners stay on with the new CID", Stimulus("connect after event");

    @ "File system"
    "FS-D-01" "5.11.4.1" MustNot Other: "no writes to fs config", Checked;
    "FS-D-03" "5.11.6.2.2" Must Other: "INTERRUPT/FORGET/BATCH_FORGET only on hiprio", Open("no device here is of this type");
    "FS-D-04" "5.11.6.2.2" MustNot Other: "nothing else on hiprio", Open("no device here is of this type");
    "FS-D-05" "5.11.6.2.2" Must Other: "driver expects concurrency with hiprio", Unseen("reorder");
    "FS-D-06" "5.11.6.3.1" Must Other: "notification buffers >= notify_buf_size", Open("no device here is of this type");
    "FS-D-10" "5.11.6.4.2" MustNot Other: "no access to unmapped DAX areas", Open("no device here is of this type");

    @ "IOMMU"
    "IOMMU-D-03" "5.13.4.1" MustNot Other: "no other config field written", Checked;
    "IOMMU-D-04" "5.13.4.1" MustNot Other: "bypass written only as 0 or 1", Checked;
    "IOMMU-D-06" "5.13.5.1" MustNot Other: "MAP_UNMAP accepted only if used", Open("no device here is of this type");
    "IOMMU-D-09" "5.13.6.1" Must Other: "tail reserved bytes ignored", Unseen("garbage");
    "IOMMU-D-11" "5.13.6.1" MustNot Other: "addresses within input_range", Open("no device here is of this type");
    "IOMMU-D-12" "5.13.6.1" MustNot Other: "domain within domain_range", Open("no device here is of this type");
    "IOMMU-D-20" "5.13.6.5.1" Must Other: "virt_end > virt_start", Open("no device here is of this type");
    "IOMMU-D-23" "5.13.6.5.1" Must Other: "READ flag when endpoint reads are wanted", Open("no device here is of this type");
    "IOMMU-D-24" "5.13.6.5.1" MustNot Other: "no MMIO flag without F_MMIO", Open("no device here is of this type");
    "IOMMU-D-28" "5.13.6.6.1" Must Other: "UNMAP start not inside a mapping (or its first address)", Open("no device here is of this type");
    "IOMMU-D-29" "5.13.6.6.1" Must Other: "UNMAP end not inside a mapping (or its last address)", Open("no device here is of this type");
    "IOMMU-D-31" "5.13.6.7.1" Must Other: "PROBE properties buffer is probe_size bytes", Open("no device here is of this type");
    "IOMMU-D-35" "5.13.6.7.1" Must Other: "property with non-zero reserved ignored", Stimulus("return such property");
    "IOMMU-D-38" "5.13.6.8.1.1" Must Other: "RESV_MEM reserved ignored", Unseen("garbage");
    "IOMMU-D-40" "5.13.6.9.1" Must Other: "fault report with reserved non-zero ignored", Stimulus("inject");
    "IOMMU-D-41" "5.13.6.9.1" Must Other: "reserved1 ignored", Stimulus("inject");
    "IOMMU-D-42" "5.13.6.9.1" Must Other: "undefined fault flags ignored", Stimulus("inject");

    @ "Memory"
    "MEM-D-01" "5.15.4.1" MustNot Other: "no writes to mem config", Checked;
    "MEM-D-02" "5.15.4.1" Must Other: "padding ignored", Unseen("garbage");
    "MEM-D-03" "5.15.4.1" Must Other: "node_id ignored without ACPI_PXM", Unseen("garbage");
    "MEM-D-06" "5.15.6.1" MustNot Other: "no writes to unplugged blocks", Open("no device here is of this type");
    "MEM-D-07" "5.15.6.1" MustNot Other: "no reads of unplugged blocks outside usable region", Open("no device here is of this type");
    "MEM-D-08" "5.15.6.1" MustNot Other: "no DMA reads of unplugged blocks inside usable region", Open("no device here is of this type");
    "MEM-D-10" "5.15.6.1" MustNot Other: "INACCESSIBLE: no reads of unplugged blocks at all", Open("no device here is of this type");
    "MEM-D-11" "5.15.6.1" MustNot Other: "no unplug of memory still in use", Open("no device here is of this type");
    "MEM-D-16" "5.15.6.1" MustNot Other: "no guest suspend without PERSISTENT_SUSPEND", Unseen("OS level");
    "MEM-D-17" "5.15.6.3.1" Must Other: "only response type used", Unseen("garbage");
    "MEM-D-18" "5.15.6.4.1" Must Other: "only response type used", Unseen("garbage");
    "MEM-D-19" "5.15.6.5.1" Must Other: "only response type used", Unseen("garbage");
    "MEM-D-20" "5.15.6.6.1" Must Other: "only type and own data used", Unseen("garbage");
    "MEM-D-21" "5.15.6.6.1" Must Other: "data ignored unless ACK", Unseen("garbage");

    @ "I2C"
    "I2C-D-01" "5.16.6.3" Must Other: "ZERO_LENGTH_REQUEST accepted", Checked;
    "I2C-D-02" "5.16.6.3" Must Other: "give up when it is not offered", Checked;
    "I2C-D-03" "5.16.6.3" Must Other: "addr and flags set in each request", Open("no device here is of this type");
    "I2C-D-04" "5.16.6.3" Must Other: "reserved flag bits zero", Open("no device here is of this type");
    "I2C-D-05" "5.16.6.3" MustNot Other: "zero-length request has no data buffer", Open("no device here is of this type");
    "I2C-D-06" "5.16.6.3" MustNot Other: "read data unused after error status", Unseen("poison");
    "I2C-D-07" "5.16.6.3" Must Other: "reads: M_RD set and buffer writable", Open("no device here is of this type");
    "I2C-D-08" "5.16.6.3" MustNot Other: "writes: M_RD clear and buffer readable", Open("no device here is of this type");
    "I2C-D-09" "5.16.6.3" Must Other: "group requests queued in order", Open("no device here is of this type");
    "I2C-D-10" "5.16.6.3" Must Other: "first failure fails the rest of the group", Unseen("fail one");

    @ "GPIO"
    "GPIO-D-01" "5.18.6.8" Must Other: "gpio messages go to requestq", Open("no device here is of this type");
    "GPIO-D-02" "5.18.6.8" Must Other: "each message has a request and a response buffer", Open("no device here is of this type");
    "GPIO-D-03" "5.18.6.8" Must Other: "request filled by driver", Open("no device here is of this type");
    "GPIO-D-04" "5.18.6.8" Must Other: "request buffer device-readable", Open("no device here is of this type");
    "GPIO-D-05" "5.18.6.8" Must Other: "response buffer device-writable", Open("no device here is of this type");
    "GPIO-D-07" "5.18.6.8" MustNot Other: "no IRQ messages without F_IRQ", Open("no device here is of this type");
    "GPIO-D-08" "5.18.6.8" MustNot Other: "no IRQ messages for output lines", Open("no device here is of this type");
    "GPIO-D-09" "5.18.6.8" Must Other: "IRQ type NONE when done with a line", Open("no device here is of this type");
    "GPIO-D-10" "5.18.6.8" Must Other: "trigger change goes through NONE", Open("no device here is of this type");
    "GPIO-D-11" "5.18.7.2" Must Other: "driver enables and unmasks a line", Open("no device here is of this type");
    "GPIO-D-12" "5.18.7.2" Must Other: "enable before unmask", Open("no device here is of this type");
    "GPIO-D-13" "5.18.7.2" Must Other: "one eventq buffer pair per line", Open("no device here is of this type");
    "GPIO-D-14" "5.18.7.2" MustNot Other: "not more than one pair per line", Open("no device here is of this type");

    @ "PMEM"
    "PMEM-D-01" "5.19.5.2" Must Other: "SHMEM_REGION: driver queries region 0", Open("no device here is of this type");
    "PMEM-D-02" "5.19.5.2" MustNot Other: "SHMEM_REGION: driver does not use start/size", Open("no device here is of this type");
    "PMEM-D-03" "5.19.5.2" Must Other: "no SHMEM_REGION: driver reads start/size", Open("no device here is of this type");

    @ "Reserved feature bits"
    "RSVD-D-01" "6.1" Must Core: "VERSION_1 accepted when offered", Checked;
    "RSVD-D-04" "6.1" Must Core: "ACCESS_PLATFORM accepted: device addresses are valid bus addresses (IOMMU off or translating)", Checked;
    "RSVD-D-05" "6.1" Must Core: "not offered: physical addresses only", Checked;
    "RSVD-D-08" "6.1" Must Other: "ORDER_PLATFORM negotiated: barriers fit for hardware devices are used", Unseen("instruction trace or race symptoms only");
    "RSVD-D-10" "6.1" MustNot Core: "SR_IOV accepted only with the PCI capability", Checked;
    "RSVD-D-11" "6.1" Must Core: "negotiation complete before VF Enable", Checked;
    "RSVD-D-14" "6.3" Must Other: "legacy: ANY_LAYOUT accepted by transitional drivers", Open("no device here has the legacy interface");
}
