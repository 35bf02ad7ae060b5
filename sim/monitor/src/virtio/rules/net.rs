//! Network devices.

rules! {
    CONFIG_WRITTEN = "NET-CFG-D-01", Error, "5.1.4.2", "a write to a network device's configuration",
        "set the address with MAC_ADDR_SET; only read the configuration",
        "With VERSION_1 all fields are the device's.",
        "The write is lost: the device keeps its address.",
        "Write the first byte of mac.";
    RECEIVE_MTU = "NET-CFG-D-08", Error, "5.1.4.2", "a receive buffer below the advised MTU",
        "with MTU accepted make receive buffers as large as header, link header and mtu",
        "MTU was accepted, and the buffer cannot hold a packet of that size.",
        "The device drops packets.",
        "Post 512 bytes with an MTU of 1500.";
    MTU = "NET-CFG-D-09", Error, "5.1.4.2", "a packet above the advised MTU",
        "segment at mtu",
        "MTU was accepted, and the packet (without segmentation offload) is longer.",
        "The device or the network behind it drops the packet.",
        "Send 2000 bytes with an MTU of 1500.";
    HEADER_LEN = "NET-TX-D-03", Error, "5.1.9.2.1", "a packet without its whole header",
        "put a header of 12 bytes before each packet, 20 with HASH_REPORT, in both directions",
        "The chain is shorter than the header.",
        "The device takes the packet for the header.",
        "Send 10 bytes: the header of legacy devices.";
    NUM_BUFFERS = "NET-TX-D-04", Error, "5.1.9.2.1", "num_buffers in a packet that is sent",
        "clear the header first",
        "The field counts buffers of a received packet; on sending it is 0.",
        "It may get a meaning.",
        "Set num_buffers to 1.";
    NO_CSUM = "NET-TX-D-05", Error, "5.1.9.2.1", "checksum offload without CSUM",
        "complete the checksum in the driver",
        "flags of the header are not 0, and CSUM was not accepted.",
        "The packet goes out with a wrong checksum.",
        "Set NEEDS_CSUM without bit 0.";
    GSO_TCPV4 = "NET-TX-D-09", Error, "5.1.9.2.1", "TCPv4 segmentation without HOST_TSO4",
        "segment in the driver",
        "The packet asks for a segmentation that was not accepted.",
        "It is dropped.",
        "Set gso_type 1 with only HOST_TSO6.";
    GSO_TCPV6 = "NET-TX-D-11", Error, "5.1.9.2.1", "TCPv6 segmentation without HOST_TSO6",
        "segment in the driver",
        "The packet asks for a segmentation that was not accepted.",
        "It is dropped.",
        "Set gso_type 4 with only HOST_TSO4.";
    GSO_UDP = "NET-TX-D-13", Error, "5.1.9.2.1", "UDP fragmentation without HOST_UFO",
        "fragment in the driver",
        "The packet asks for a fragmentation that was not accepted.",
        "It is dropped.",
        "Set gso_type 3 with only HOST_TSO4.";
    GSO_UDP_L4 = "NET-TX-D-15", Error, "5.1.9.2.1", "UDP segmentation without HOST_USO",
        "segment in the driver",
        "The packet asks for a segmentation that was not accepted.",
        "It is dropped.",
        "Set gso_type 5 with only HOST_TSO4.";
    TUNNEL = "NET-TX-D-19", Error, "5.1.9.2.1", "tunnel segmentation without HOST_UDP_TUNNEL_GSO",
        "segment in the driver",
        "gso_type has a tunnel bit, and the feature was not accepted.",
        "The packet is dropped.",
        "Set gso_type 0x21 with only HOST_TSO4.";
    TUNNEL_CSUM = "NET-TX-D-24", Error, "5.1.9.2.1", "an outer checksum without HOST_UDP_TUNNEL_GSO_CSUM",
        "complete the outer checksum in the driver",
        "flags ask for the outer checksum of a tunnel, and the feature was not accepted.",
        "The packet goes out with a wrong checksum.",
        "Set flag 8 with only CSUM.";
    TUNNEL_UFO = "NET-TX-D-26", Error, "5.1.9.2.1", "UDP fragmentation in a tunnel",
        "fragment in the driver",
        "Tunnel bits do not go with UDP fragmentation.",
        "The packet is dropped.",
        "Set gso_type 0x23.";
    TUNNEL_BOTH = "NET-TX-D-27", Error, "5.1.9.2.1", "a tunnel inside IPv4 and IPv6",
        "set one of the tunnel bits",
        "Both tunnel bits are set.",
        "The packet is dropped.",
        "Set gso_type 0x61.";
    TUNNEL_CSUM_ALONE = "NET-TX-D-28", Error, "5.1.9.2.1", "an outer checksum without a tunnel",
        "set the flag only with a tunnel bit",
        "flags ask for the outer checksum of a tunnel, and there is no tunnel bit.",
        "The packet is dropped.",
        "Set flag 8 with gso_type 1.";
    CSUM_PLACE = "NET-TX-D-32", Error, "5.1.9.2.1", "a checksum outside the packet",
        "count csum_start from the first byte after the header, csum_offset from there",
        "csum_start and csum_offset point beyond the packet's end.",
        "The device drops the packet, or writes where it should not.",
        "Set csum_start to the length.";
    NO_GSO = "NET-TX-D-33", Error, "5.1.9.2.1", "segmentation that nobody accepted",
        "set gso_type 0",
        "No segmentation feature was accepted, and gso_type is not 0.",
        "The packet is dropped.",
        "Set gso_type 1 without any HOST feature.";
    GSO_CSUM = "NET-TX-D-34", Error, "5.1.9.2.1", "segmentation without a checksum",
        "set NEEDS_CSUM with any gso_type",
        "The packet is to be segmented, and NEEDS_CSUM is not set.",
        "The segments need checksums of their own.",
        "Set gso_type 1 and flags 0.";
    GSO_SIZE = "NET-TX-D-35", Error, "5.1.9.2.1", "segmentation without a size",
        "set gso_size to the payload of a segment",
        "The packet is to be segmented, and gso_size is 0.",
        "Segments of what size?",
        "Set gso_type 1 and gso_size 0.";
    RECEIVE_FLAGS = "NET-TX-D-47", Error, "5.1.9.2.1", "flags of received packets in one that is sent",
        "clear the header first",
        "DATA_VALID and RSC_INFO are for packets that come from the device.",
        "They may get a meaning.",
        "Send a header that was received.";
    RECEIVE_LEN = "NET-RXBUF-D-03", Error, "5.1.9.3.1", "a receive buffer below a header's size",
        "make each buffer at least 12 bytes, 20 with HASH_REPORT",
        "With MRG_RXBUF a packet may begin in any buffer, and a header is not split.",
        "The device cannot use the buffer.",
        "Post a buffer of 8 bytes with MRG_RXBUF.";
    CTRL_RX = "NET-CTRL-D-01", Error, "5.1.9.5.1.2", "a receive mode without CTRL_RX",
        "send it only with CTRL_RX",
        "The command comes with a feature that was not accepted.",
        "The device refuses it.",
        "Send PROMISC without bit 18.";
    CTRL_RX_EXTRA = "NET-CTRL-D-02", Error, "5.1.9.5.1.2", "a receive mode without CTRL_RX_EXTRA",
        "send it only with CTRL_RX_EXTRA",
        "The command comes with a feature that was not accepted.",
        "The device refuses it.",
        "Send NOBCAST without bit 20.";
    CTRL_MAC = "NET-CTRL-D-03", Error, "5.1.9.5.2.2", "a MAC command without its feature",
        "send the table only with CTRL_RX, the address only with CTRL_MAC_ADDR",
        "The command comes with a feature that was not accepted.",
        "The device refuses it.",
        "Send MAC_TABLE_SET without bit 18.";
    MAC_TABLE = "NET-CTRL-D-05", Error, "5.1.9.5.2.2", "a malformed table of MAC addresses",
        "send 32 bits of count and that many addresses, twice",
        "The two lists do not fill the command's data.",
        "The device filters other addresses than the driver means.",
        "Send one list.";
    ANNOUNCED = "NET-CTRL-D-08", Error, "5.1.9.5.4.1", "an announcement that was not acknowledged",
        "send the packets, then ANNOUNCE_ACK",
        "The driver read a status that asks it to announce itself, and never sent ANNOUNCE_ACK.",
        "The device asks on, and cannot ask anew.",
        "Read the status with its bit 1 set and do nothing.";
    PAIRS_ENABLED = "NET-CTRL-D-12", Error, "5.1.9.5.6.1", "queue pairs that are not enabled",
        "enable the queues of all pairs before the command",
        "The driver set a number of pairs, and did not enable all their queues.",
        "Packets for a dead queue are lost.",
        "Set 2 pairs with one enabled.";
    PAIRS = "NET-CTRL-D-13", Error, "5.1.9.5.6.1", "an impossible number of queue pairs",
        "set 1 to max_virtqueue_pairs",
        "The number of pairs is 0 or above what the device has.",
        "The device refuses it.",
        "Set 0 pairs.";
    FIRST_PAIR = "NET-CTRL-D-14", Error, "5.1.9.5.6.1", "another transmit queue before the pairs were set",
        "use transmitq1 until VQ_PAIRS_SET was answered",
        "Until the number of pairs is set there is one.",
        "The device does not look at the others.",
        "Send in queue 3 at once.";
    USED_PAIRS = "NET-CTRL-D-15", Error, "5.1.9.5.6.1", "a transmit queue above the pairs in use",
        "use the queues of the pairs that were set",
        "The packet is in a queue of a pair that is not used.",
        "The device does not look at it.",
        "Set 1 pair and send in queue 3.";
    HASH_RESERVED = "NET-CTRL-D-16", Error, "5.1.9.5.6.4", "reserved fields of a hash configuration are not 0",
        "clear the structure first",
        "The reserved fields hold something.",
        "They may get a meaning.",
        "Set a reserved byte to 1.";
    RSS = "NET-CTRL-D-17", Error, "5.1.9.5.7.2", "RSS_CONFIG without RSS",
        "send it only with RSS",
        "The command comes with a feature that was not accepted.",
        "The device refuses it.",
        "Send RSS_CONFIG without bit 60.";
    RSS_QUEUES = "NET-CTRL-D-18", Error, "5.1.9.5.7.2", "an indirection table with a dead queue",
        "name enabled receive queues, by half their number",
        "An entry of the table names a queue that is not enabled.",
        "Packets for it are lost.",
        "Name receive queue 5 of two.";
    RSS_POWER = "NET-CTRL-D-19", Error, "5.1.9.5.7.2", "an indirection table whose size is no power of two",
        "use a mask that is a power of two minus 1",
        "The mask plus 1 is no power of two.",
        "Some entries are never chosen, or the device refuses.",
        "Set the mask to 2.";
    RSS_SIZE = "NET-CTRL-D-20", Error, "5.1.9.5.7.2", "an indirection table that is too long",
        "use up to rss_max_indirection_table_length entries",
        "The table is longer than the device has room for.",
        "The device refuses it.",
        "Send twice as many.";
    RSS_TYPES = "NET-CTRL-D-21", Error, "5.1.9.5.7.2", "hash types that are not supported",
        "mask them with supported_hash_types",
        "The driver set a hash type that the device does not support.",
        "The device refuses it.",
        "Set all types.";
    OFFLOADS = "NET-CTRL-D-25", Error, "5.1.9.5.9.2", "a receive offload that was not accepted",
        "turn on only what was negotiated",
        "The command turns on a receive offload whose feature was not accepted.",
        "The device refuses it.",
        "Turn GUEST_TSO4 on without bit 7.";
    COALESCED_QUEUE = "NET-CTRL-D-26", Error, "5.1.9.5.10.5", "coalescing of no queue",
        "name an enabled receive or transmit queue",
        "The command names a queue that carries no packets or is not enabled.",
        "The device refuses it.",
        "Name the control queue.";
    COALESCING = "NET-CTRL-D-27", Error, "5.1.9.5.10.5", "coalescing without NOTF_COAL",
        "send it only with NOTF_COAL",
        "The command comes with a feature that was not accepted.",
        "The device refuses it.",
        "Send RX_SET without bit 53.";
    QUEUE_COALESCING = "NET-CTRL-D-28", Error, "5.1.9.5.10.5", "coalescing of a queue without VQ_NOTF_COAL",
        "send it only with VQ_NOTF_COAL",
        "The command comes with a feature that was not accepted.",
        "The device refuses it.",
        "Send VQ_SET without bit 52.";
    QUEUES = "IMP-NET-01", Error, "5.1.2", "a queue that the network device does not have",
        "use two queues per pair, and the control queue after all pairs that the device has",
        "The driver enabled a queue that what was negotiated does not give.",
        "It is not served.",
        "Enable queue 2 without CTRL_VQ.";
    COMMAND = "IMP-NET-03", Error, "5.1.9.5", "a malformed command",
        "give the device class and command to read, and a byte for the answer",
        "The chain is too short for a command.",
        "The device has nowhere to put the answer.",
        "Send a command without a writable byte.";
    DIRECTION = "IMP-NET-04", Error, "5.1.9.2", "a packet buffer of the wrong direction",
        "receive into writable buffers, send from readable ones",
        "A transmit queue has a buffer for the device to write, or a receive queue one to read.",
        "The device cannot use it.",
        "Put a readable buffer into queue 0.";
}
