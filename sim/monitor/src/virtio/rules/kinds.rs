//! Consoles, entropy devices and other types.

rules! {
    CONSOLE_RECEIVE = "CON-D-01", Error, "5.3.6.1", "a readable buffer in a receive queue",
        "put only buffers for the device to write into receive queues",
        "A buffer in a receive queue of a console has a part that the device can only read.",
        "There is nothing for the device to read.",
        "Put a readable buffer into queue 0.";
    CONSOLE_TRANSMIT = "CON-D-02", Error, "5.3.6.1", "a writable buffer in a transmit queue",
        "put only buffers for the device to read into transmit queues",
        "A buffer in a transmit queue of a console has a part for the device to write.",
        "The device writes nothing there.",
        "Put a writable buffer into queue 1.";
    DEVICE_READY = "CON-D-03", Error, "5.3.6.2.2", "DEVICE_READY was not sent",
        "with MULTIPORT, send DEVICE_READY when the control queues are set up",
        "MULTIPORT was negotiated, and the driver did not say that it is ready, or not first.",
        "The device waits with all its ports.",
        "Set up the control queues and send PORT_READY at once.";
    PORT_OPEN = "CON-D-05", Error, "5.3.6.2.2", "a console port was not opened",
        "answer CONSOLE_PORT with PORT_OPEN",
        "The device said that a port is a console, and the driver never opened it.",
        "Nobody reads what comes.",
        "Ignore CONSOLE_PORT.";
    PORT_OPEN_VALUE = "CON-D-06", Error, "5.3.6.2.2", "a console port was closed instead of opened",
        "answer CONSOLE_PORT with PORT_OPEN of value 1",
        "The first PORT_OPEN after CONSOLE_PORT had another value than 1.",
        "The device takes the port for closed.",
        "Answer with value 0.";
    CONSOLE_QUEUES = "IMP-CON-01", Error, "5.3.2", "a console's queue that comes with MULTIPORT only",
        "without MULTIPORT use queues 0 and 1",
        "The control queues and those of more ports exist with MULTIPORT only.",
        "The device does not serve them.",
        "Enable queue 2 without MULTIPORT.";
    PORT_READY = "IMP-CON-02", Error, "5.3.5", "a port was added and not answered",
        "answer DEVICE_ADD with PORT_READY",
        "The device added a port, and the driver never said that it is ready for it (or could not take it).",
        "The device does not tell what the port is, and sends nothing.",
        "Ignore DEVICE_ADD.";
    RNG_READABLE = "RNG-D-01", Error, "5.4.6.1", "a readable buffer for an entropy device",
        "give it only buffers to write",
        "The buffer has a part that the device can only read.",
        "An entropy device reads nothing.",
        "Put a readable buffer into the queue.";
    RNG_QUEUE = "IMP-RNG-01", Error, "5.4.2", "a second queue of an entropy device",
        "use queue 0",
        "Entropy devices have one queue.",
        "Another one is not served.",
        "Enable queue 1.";
    FS_CONFIG = "FS-D-01", Error, "5.11.4.1", "a write to a file system's configuration",
        "only read it",
        "All fields are the device's.",
        "The write is lost.",
        "Write the tag.";
    IOMMU_CONFIG = "IOMMU-D-03", Error, "5.13.4.1", "a write to an IOMMU's configuration",
        "write only bypass",
        "All fields but bypass are the device's.",
        "The write is lost.",
        "Write page_size_mask.";
    IOMMU_BYPASS = "IOMMU-D-04", Error, "5.13.4.1", "bypass is neither 0 nor 1",
        "write 0 or 1",
        "The driver wrote another value to bypass.",
        "Its meaning is open.",
        "Write 2.";
    MEM_CONFIG = "MEM-D-01", Error, "5.15.4.1", "a write to a memory device's configuration",
        "only read it",
        "All fields are the device's; memory is asked for in the queue.",
        "The write is lost.",
        "Write requested_size.";
    I2C_ZERO_LENGTH = "I2C-D-01", Error, "5.16.6.3", "ZERO_LENGTH_REQUEST was not accepted",
        "accept bit 0",
        "The feature is mandatory for drivers.",
        "Without it the layout of requests is an older one.",
        "Leave bit 0 out.";
    I2C_GIVE_UP = "I2C-D-02", Error, "5.16.6.3", "an adapter without ZERO_LENGTH_REQUEST",
        "set FAILED if bit 0 is not offered",
        "The adapter does not offer the feature, and the driver went on.",
        "The layout of its requests is an older one.",
        "Drive an adapter that does not offer bit 0.";
}
