//! Features.

rules! {
    NOT_OFFERED = "FEAT-D-01", Error, "2.2.1", "a feature was accepted that was not offered",
        "write (what the device offers) & (what the driver knows)",
        "The driver accepted a bit that it had read as 0.",
        "The device refuses the set, or behaves as the driver does not expect.",
        "Accept RING_PACKED on a device that does not offer it.";
    NO_PREREQUISITE = "FEAT-D-02", Error, "2.2.1", "a feature was accepted without what it needs",
        "when a feature is not accepted, drop those that need it",
        "Some features only make sense with others: segmentation with checksums, control commands with the control queue (virtio 1.4 §5.1.3.1 lists those of network devices). The driver accepted one without the other.",
        "What the feature stands for cannot work, and a device may refuse the set.",
        "On a network device accept CTRL_RX without CTRL_VQ.";
    UNKNOWN_FEATURE = "FEAT-D-05", Error, "2.2.1", "an unknown feature was accepted",
        "mask what is offered with the features that the driver knows",
        "The driver accepted a bit that is reserved, or has no meaning for this type of device.",
        "When the bit gets a meaning one day, the driver has promised to heed it.",
        "Write back all that the device offers, on one that offers a bit without a meaning.";
    VERSION_1 = "RSVD-D-01", Error, "6.1", "VERSION_1 was not accepted",
        "accept bit 32 whenever it is offered",
        "The device offers VERSION_1 and the driver did not accept it.",
        "Without it the device is a legacy one, with other registers, byte order and headers; modern devices refuse.",
        "Leave bit 32 out.";
    VERSION_1_MISSING = "IMP-FEAT-01", Error, "2.2, 6", "modern behaviour without VERSION_1",
        "give up, or use the legacy interface, if bit 32 is not offered",
        "The device does not offer VERSION_1, and the driver went on with FEATURES_OK, which only modern devices have.",
        "The driver would use layouts that the device does not have.",
        "Drive a device that does not offer bit 32.";
    ACCESS_PLATFORM = "RSVD-D-03", Advice, "6.1", "ACCESS_PLATFORM was not accepted",
        "accept bit 33 if it is offered, and give the device DMA addresses",
        "The device offers ACCESS_PLATFORM (its addresses are the platform's to translate), and the driver did not accept it.",
        "The device may then refuse to work, or take the addresses for physical ones.",
        "Leave bit 33 out on a device that offers it.";
    NO_SR_IOV = "RSVD-D-10", Error, "6.1", "SR_IOV accepted without the PCI capability",
        "check for the SR-IOV capability before bit 37 is accepted",
        "The driver accepted SR_IOV on a function without the SR-IOV extended capability.",
        "There is nothing to enable virtual functions with.",
        "Accept bit 37 on a function that offers it without the capability.";
    SR_IOV_EARLY = "RSVD-D-11", Error, "6.1", "virtual functions enabled before the negotiation",
        "negotiate SR_IOV, see FEATURES_OK, then set VF Enable",
        "VF Enable was set before the features, with SR_IOV among them, were agreed on.",
        "The virtual functions come from a device that does not know yet that its driver can handle them.",
        "Set VF Enable before FEATURES_OK.";
    WINDOW = "IMP-INIT-01", Error, "3.1.1", "features read without choosing which",
        "write device_feature_select before each read of device_feature",
        "The driver read device_feature and had not written device_feature_select since the reset.",
        "Which 32 bits it got is chance.",
        "Read device_feature first thing.";
}
