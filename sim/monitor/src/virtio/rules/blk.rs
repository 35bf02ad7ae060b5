//! Block devices.

rules! {
    WRITEBACK_EARLY = "BLK-D-04", Error, "5.2.5.1", "writeback read before FEATURES_OK",
        "read writeback after the features are agreed on",
        "The driver read the cache mode before FEATURES_OK was set.",
        "What it says depends on which features are accepted.",
        "Read byte 32 of a disk's configuration before FEATURES_OK.";
    ZONES_KNOWN = "BLK-D-05", Error, "5.2.5.1", "ZONED accepted by a driver that does not know zones",
        "accept ZONED only in a driver that reads the zoned model and heeds it",
        "The driver accepted ZONED, and sent requests without having read what kind of zones the disk has.",
        "On a host-managed disk writes out of sequence fail.",
        "Accept bit 17 and write sectors.";
    ZONED_DISCARD = "BLK-D-06", Error, "5.2.5.1", "ZONED and DISCARD on a host-managed disk",
        "drop DISCARD when ZONED is accepted on a host-managed disk",
        "The driver accepted both features on a disk whose zoned model is host-managed.",
        "Zones are reset there, not discarded.",
        "Accept bits 13 and 17 on a host-managed disk.";
    HOST_MANAGED_REFUSED = "BLK-D-08", Error, "5.2.5.1", "a host-managed disk driven without ZONED",
        "set FAILED instead of FEATURES_OK on a host-managed disk, if it is not supported",
        "The driver read that the disk is host-managed, did not accept ZONED, and went on.",
        "Its writes fail, wherever they are not in sequence.",
        "Read a zoned model of 1, and set FEATURES_OK without bit 17.";
    CAPACITY = "BLK-D-13", Error, "5.2.6.1", "a request beyond the end of the disk",
        "check sector and length against the capacity that was read last",
        "The request (or a segment of it) ends after the last sector of the disk.",
        "The device fails it, or worse, does a part of it.",
        "Read the sector after the last.";
    READ_ONLY_ACCEPTED = "BLK-D-14", Advice, "5.2.6.1", "RO was not accepted",
        "accept RO, and refuse writes in the driver",
        "The disk is read-only and the driver did not accept the feature that says so.",
        "Writes go to the device only to fail there.",
        "Leave bit 5 out on a read-only disk.";
    FLUSH_SECTOR = "BLK-D-15", Error, "5.2.6.1", "a flush with a sector",
        "set the sector of a flush to 0",
        "The header of a flush names a sector; a flush is for the whole disk.",
        "The field may get a meaning.",
        "Send a flush with sector 8.";
    FLUSH_DATA = "BLK-D-16", Advice, "5.2.6.1", "a flush with data",
        "send only header and status",
        "The flush carries data.",
        "Nobody looks at it.",
        "Send a flush with 512 bytes.";
    DATA_LEN = "BLK-D-17", Error, "5.2.6.1", "a transfer that is no multiple of 512 bytes",
        "round to sectors, or refuse",
        "Reads and writes move whole sectors of 512 bytes, whatever the block size is.",
        "Devices fail the request or cut it.",
        "Read 100 bytes.";
    SEGMENT_LEN = "BLK-D-18", Error, "5.2.6.1", "segments that are not 16 bytes each",
        "send an array of segments: 64 bits of sector, 32 of count, 32 of flags",
        "The data of a discard, a write of zeroes or a secure erase is an array of segments of 16 bytes; its length is another.",
        "The device reads half a segment.",
        "Send a discard with 20 bytes.";
    ID_LEN = "BLK-D-19", Error, "5.2.6.1", "a request for the id without 20 bytes for it",
        "give the device 20 bytes",
        "The id of a disk has 20 bytes; the buffer has not.",
        "The device fails the request, or cuts the id.",
        "Ask for the id with 16 bytes.";
    DISCARD_SEGMENTS = "BLK-D-20", Error, "5.2.6.1", "a discard with too many segments",
        "split it at max_discard_seg",
        "The discard has more segments than the disk takes.",
        "The device fails it.",
        "Send max_discard_seg + 1 segments.";
    ERASE_SEGMENTS = "BLK-D-21", Error, "5.2.6.1", "a secure erase with too many segments",
        "split it at max_secure_erase_seg",
        "The secure erase has more segments than the disk takes.",
        "The device fails it.",
        "Send max_secure_erase_seg + 1 segments.";
    ZEROES_SEGMENTS = "BLK-D-22", Error, "5.2.6.1", "a write of zeroes with too many segments",
        "split it at max_write_zeroes_seg",
        "The write of zeroes has more segments than the disk takes.",
        "The device fails it.",
        "Send max_write_zeroes_seg + 1 segments.";
    DISCARD_UNMAP = "BLK-D-25", Error, "5.2.6.1", "the unmap flag in a discard",
        "set the flags of a discard's segments to 0",
        "The unmap flag belongs to writes of zeroes.",
        "The device answers that it does not support the request.",
        "Send a discard with flags 1.";
    ZONE_REPORT = "BLK-D-29", Error, "5.2.6.1", "a zone report from beyond the disk",
        "name a sector in the zone that the report is to start with",
        "The sector of a zone report is not on the disk.",
        "There is no such zone.",
        "Ask for the zone at the sector after the last.";
    ZONE_START = "BLK-D-31", Error, "5.2.6.1", "a zone that is not named by its first sector",
        "round down to a multiple of zone_sectors",
        "Zones are opened, closed, finished and reset by their first sector.",
        "The device fails the request.",
        "Open the zone at sector 1.";
    ZONE_RESET_ALL = "BLK-D-32", Error, "5.2.6.1", "a reset of all zones with a sector",
        "set the sector to 0",
        "The request is for all zones, and names a sector.",
        "The field may get a meaning.",
        "Reset all zones with sector 8.";
    APPEND_START = "BLK-D-33", Error, "5.2.6.1", "an append that does not name its zone",
        "set the sector to the zone's first",
        "An append names its zone by the first sector; the device says where it wrote.",
        "The device fails the request.",
        "Append at sector 1.";
    APPEND_UNIT = "BLK-D-34", Error, "5.2.6.1", "an append of a part of a block",
        "append multiples of write_granularity",
        "The data is no multiple of write_granularity.",
        "The device fails the request.",
        "Append 512 bytes to a disk that writes 4096.";
    APPEND_LEN = "BLK-D-35", Error, "5.2.6.1", "an append that is too long",
        "split it at max_append_sectors",
        "The data is longer than max_append_sectors.",
        "The device fails the request.",
        "Append twice as much.";
    ERASE_ZONES = "BLK-D-38", Error, "5.2.6.2", "a secure erase of a part of a zone",
        "erase whole zones",
        "On a zoned disk a secure erase is for whole zones.",
        "The device fails the request.",
        "Erase one sector of a zoned disk.";
    LAYOUT = "IMP-BLK-01", Error, "5.2.6", "a request without header or status",
        "give the device 16 readable bytes of header, the data, and one writable byte for the status, last",
        "The chain is too short for a request.",
        "The device has nowhere to put the status, or reads a header that is not there.",
        "Send a chain of 8 bytes.";
    SECTOR_UNUSED = "IMP-BLK-02", Advice, "5.2.6", "a sector in a request that has none",
        "set it to 0",
        "The request has no use for the sector of its header.",
        "The field may get a meaning.",
        "Ask for the id with sector 8.";
    SEGMENTS = "IMP-BLK-03", Error, "5.2.3", "more or longer segments than the disk takes",
        "split the request at seg_max and size_max",
        "The data comes in more pieces than seg_max, or in a longer one than size_max.",
        "The device runs out of room for them.",
        "Send seg_max + 1 segments.";
    COMMAND = "IMP-BLK-04", Error, "5.2.3", "a request whose feature was not accepted",
        "send it only with its feature",
        "The type of the request comes with a feature, which was not accepted.",
        "The device answers that it does not support it; a flush that is not supported does not make data safe.",
        "Send a flush without FLUSH.";
    QUEUES = "IMP-BLK-05", Error, "5.2.4", "a queue that the disk does not have",
        "use one queue, or with MQ those below num_queues",
        "The driver enabled a queue above those that were agreed on.",
        "Requests in it are never served.",
        "Enable queue 1 without MQ.";
    READ_ONLY_WRITE = "IMP-BLK-06", Advice, "5.2.5", "a write to a read-only disk",
        "refuse writes in the driver when RO is offered",
        "The disk offers RO, and the driver sent a write.",
        "It fails.",
        "Write to a read-only disk.";
}
