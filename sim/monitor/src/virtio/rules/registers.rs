//! Registers of the transport: the common configuration, vectors, the reset of queues, capabilities.

rules! {
    WIDTH = "PCI-ACC-D-01", Error, "4.1.3.1", "an access that is not as wide as the field",
        "access each field with its own width, 64-bit fields as two 32-bit halves",
        "Fields are accessed with their own width, at their own offset; those of 64 bits as two halves.",
        "Devices decode the width; another one is dropped, or updates half a field, or its neighbour.",
        "Read queue_size with an 8-bit access.";
    CAPABILITY_WRITTEN = "PCI-CAP-D-09", Error, "4.1.4.1", "a write to a virtio capability",
        "only read virtio capabilities; the one for PCI configuration access is the exception",
        "The driver wrote to a virtio capability in configuration space.",
        "They are read-only; what a device makes of a write is its own affair.",
        "Write to the offset of the common configuration's capability.";
    READ_ONLY = "PCI-COMMON-D-01", Error, "4.1.4.3.2", "a write to a read-only register",
        "do not write device_feature, num_queues, config_generation, queue_notify_off and queue_notif_config_data",
        "The driver wrote to a register of the common configuration that is the device's.",
        "The write is lost; the driver believes that it has set something.",
        "Write num_queues.";
    SIZE_ZERO = "PCI-COMMON-D-02", Error, "4.1.4.3.2", "a packed queue of size 0",
        "write 1 to the size that was read",
        "With RING_PACKED the driver wrote 0 to queue_size.",
        "A queue of no elements cannot be set up.",
        "Accept RING_PACKED and write 0 to queue_size.";
    SIZE_POWER = "PCI-COMMON-D-03", Error, "4.1.4.3.2", "a split queue whose size is no power of two",
        "round down to a power of two before queue_size is written",
        "Without RING_PACKED the driver wrote a size that is no power of two.",
        "The ring's index would not wrap with its entries at 65536: the device refuses, or both sides go apart.",
        "Write 100 to queue_size.";
    ENABLE_LAST = "PCI-COMMON-D-04", Error, "4.1.4.3.2", "a queue was not set up before it was enabled",
        "write size, vector and all three addresses, then queue_enable",
        "queue_enable was written before all addresses were, or one of the others was written when the queue was enabled already.",
        "The device latches what is there when the queue is enabled: later writes are lost.",
        "Enable a queue, then write queue_device.";
    ENABLE_ZERO = "PCI-COMMON-D-06", Error, "4.1.4.3.2", "0 written to queue_enable",
        "to stop a queue use queue_reset (with RING_RESET), or reset the device",
        "The driver wrote 0 to queue_enable.",
        "Queues are not disabled that way; the device goes on using the memory.",
        "Write 0 to queue_enable.";
    RESET_PENDING = "PCI-COMMON-D-07", Error, "4.1.4.3.2", "a queue was reused while its reset went on",
        "read queue_reset until it reads 0",
        "queue_reset read 1, so the reset went on, and the driver set the queue up again or freed its memory.",
        "The device still uses the old memory.",
        "Have a device whose queue reset takes a while, and do not loop.";
    RESET_UNCHECKED = "VQ-RESET-D-01", Error, "2.6.1.1.2", "a queue was reused without asking whether its reset is over",
        "after writing 1 to queue_reset read it until it reads 0",
        "The driver reset a queue and, without having read queue_reset, set it up again or freed its memory.",
        "The device may still use the old memory.",
        "Write 1 to queue_reset and queue_desc right after it.";
    REENABLE = "VQ-RESET-D-03", Error, "2.6.1.2.2", "a queue was enabled again without setting it up again",
        "after a queue reset write size, addresses and vector again, as the first time",
        "A queue reset puts all its registers back. The driver enabled the queue and had not written all that it wrote the first time.",
        "The device works with addresses of 0, or with no vector.",
        "Reset a queue, and write only queue_enable.";
    ADMIN_INDEX = "PCI-COMMON-D-10", Error, "4.1.4.3.2", "an administration queue with another number",
        "number administration queues from admin_queue_index on, admin_queue_num of them",
        "With ADMIN_VQ the queues above num_queues are those from admin_queue_index on. The driver enabled another one.",
        "There is no queue of that number.",
        "Enable the queue before admin_queue_index.";
    ADMIN_READ_ONLY = "IMP-PCI-05", Error, "4.1.4.3", "a write to admin_queue_index or admin_queue_num",
        "only read them",
        "Both registers are the device's.",
        "The write is lost.",
        "Write admin_queue_num.";
    VECTOR_RANGE = "PCI-MSIX-D-04", Error, "4.1.5.1.2.2", "a vector that the MSI-X table does not have",
        "write a number below the size of the MSI-X table, or 0xffff for none",
        "The driver wrote a vector beyond the function's MSI-X table.",
        "The device answers with 0xffff and never interrupts.",
        "Write 100 to queue_msix_vector of a device with two vectors.";
    VECTOR_READ_BACK = "PCI-MSIX-D-05", Error, "4.1.5.1.2.2", "a vector was not read back",
        "read the vector register after writing it; 0xffff says that the device could not",
        "The driver wrote a vector and went on without reading the register.",
        "A device that is out of resources says so only there. Without the vector there are no interrupts, and the queue hangs.",
        "Write queue_msix_vector and enable the queue.";
    NO_SELECT = "IMP-PCI-02", Error, "4.1.4.3", "a queue's register without queue_select",
        "write queue_select before the registers of a queue",
        "The driver accessed a register that there is one of for each queue, and had not written queue_select since the reset.",
        "Which queue it got is chance.",
        "Read queue_size right after the reset.";
    SIZE_RAISED = "IMP-PCI-03", Error, "4.1.4.3", "a queue larger than the device has it",
        "keep the size that was read, or lower it",
        "The driver wrote a size above the one that it had read.",
        "The device has no room for it, refuses, or writes beyond its own memory.",
        "Write twice the size that was read.";
    NO_FEATURE = "IMP-PCI-04", Error, "4.1.4.3", "a register whose feature was not negotiated",
        "use queue_notif_config_data, queue_reset and admin_queue_* only with their features",
        "The driver accessed a register that only exists with a feature which it did not accept.",
        "It reads as anything, and a queue reset is not done.",
        "Write 1 to queue_reset without RING_RESET.";
    SETUP = "IMP-PCI-07", Error, "4.1.5.1.3", "a queue was used without its set-up",
        "select the queue, read its size (0: there is none), write size, vector and addresses, enable it",
        "The driver enabled a queue whose size it had not read, or had read as 0, or it kicked a queue that it had not enabled.",
        "There may be no such queue.",
        "Enable the queue after the last one.";
    QUEUE_WITHOUT_MODE_ISR = "PCI-ISR-D-01", Advice, "4.1.4.5.2", "the ISR read with MSI-X",
        "with MSI-X the vector says it all: leave the ISR alone",
        "The driver read the ISR status while MSI-X was enabled.",
        "It is a slow read, and tells nothing.",
        "Read the ISR status in an MSI-X handler.";
}
