//! The device's configuration, and the window of PCI configuration space.

rules! {
    OPTIONAL = "CFG-D-03", Error, "2.5.1", "a field of the configuration whose feature is not offered",
        "read the features first, and the field only if one that it needs is there",
        "The driver accessed a field that exists only with a feature, and had not seen the device offer it.",
        "The field is not there: it reads as anything, or belongs to something else.",
        "Read seg_max of a disk that does not offer SEG_MAX.";
    TORN = "CFG-D-02", Advice, "2.5.1", "a 64-bit field read without the generation",
        "read config_generation before and after, and again if it changed",
        "The driver read both halves of a 64-bit field, but not config_generation before and after.",
        "When the field changes between, the halves do not belong together.",
        "Read both halves of capacity and go on.";
    EARLY_WRITE = "INIT-D-07", Error, "3.1.1", "configuration written before FEATURES_OK",
        "write to the device's configuration after the features are agreed on",
        "The driver wrote to the device's configuration during the negotiation. (The emergency write of consoles is allowed.)",
        "What the configuration means is not settled before.",
        "Write writeback of a disk before FEATURES_OK.";
    WINDOW_OFFSET = "PCI-CFGACC-D-01", Error, "4.1.4.9.2", "a window offset that is no multiple of its length",
        "make the window's offset a multiple of its length",
        "The driver used the window of PCI configuration space, with an offset that is no multiple of the length.",
        "The device does nothing.",
        "Set length 4, offset 2, and read the data.";
    WINDOW_ACCESS = "PCI-CFGACC-D-02", Error, "4.1.4.9.2", "a misaligned access to the window's data",
        "access pci_cfg_data at its start, with the window's length",
        "The window's data was accessed from its middle, or wider than the window's length.",
        "What the device does, and which bytes are good, is open.",
        "Read 2 bytes from the middle of pci_cfg_data.";
    WINDOW_RANGE = "PCI-CFGACC-D-03", Error, "4.1.4.9.2", "a window outside of the structures",
        "point the window only into what another virtio capability names",
        "The window of PCI configuration space was pointed to something that no other virtio capability names.",
        "It is not a way to other registers of the function.",
        "Point the window to the MSI-X table.";
    WINDOW_LENGTH = "IMP-PCI-08", Error, "4.1.4.9", "a window of an impossible length",
        "the window's length is 1, 2 or 4",
        "The window was used with a length other than 1, 2 or 4.",
        "The device does nothing.",
        "Set length 3 and read the data.";
}
