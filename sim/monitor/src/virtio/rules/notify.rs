//! Kicks.

rules! {
    WIDTH = "PCI-KICK-D-01", Error, "4.1.5.2.1", "a kick that is not 16 bits wide",
        "write 16 bits; 32 only with NOTIFICATION_DATA",
        "Without NOTIFICATION_DATA a kick is a 16-bit write.",
        "A device decodes the width, too, and drops others.",
        "Kick with a 32-bit write.";
    WIDTH_WITH_DATA = "PCI-KICK-D-02", Error, "4.1.5.2.1", "a kick that is not 32 bits wide",
        "with NOTIFICATION_DATA write 32 bits, or do not accept the feature",
        "With NOTIFICATION_DATA a kick is a 32-bit write that carries the ring's position.",
        "The device takes the position from it instead of reading memory: without it, buffers are not seen.",
        "Accept NOTIFICATION_DATA and kick with 16 bits.";
    INDEX = "PCI-KICK-D-03", Error, "4.1.5.2.1", "a kick with the number of another queue",
        "write the number of the queue to the address of the queue",
        "The value of a 16-bit kick is the queue's number. It was another one at this address.",
        "Devices with one address for all queues go by the value: the wrong queue is looked at.",
        "Write 0 to the address of queue 1.";
    INDEX_WITH_DATA = "PCI-KICK-D-04", Error, "4.1.5.2.1", "a kick with data and the number of another queue",
        "put the number of the queue into the lower 16 bits",
        "The lower half of a 32-bit kick is the queue's number. It was another one at this address.",
        "Devices with one address for all queues go by the value: the wrong queue is looked at.",
        "With NOTIFICATION_DATA write 0 to the address of queue 1.";
    COOKIE = "PCI-KICK-D-05", Error, "4.1.5.2.1", "a kick without the queue's notification data",
        "with NOTIF_CONFIG_DATA read queue_notif_config_data, and write that",
        "With NOTIF_CONFIG_DATA the device chooses what a kick carries, and the driver wrote something else.",
        "The device finds its queue by this value.",
        "Accept NOTIF_CONFIG_DATA and kick with the queue's number.";
    COOKIE_WITH_DATA = "PCI-KICK-D-06", Error, "4.1.5.2.1", "a kick with data, without the queue's notification data",
        "with NOTIF_CONFIG_DATA put queue_notif_config_data into the lower 16 bits",
        "With NOTIF_CONFIG_DATA the device chooses what the lower half of a kick carries, and the driver wrote something else.",
        "The device finds its queue by this value.",
        "Accept NOTIF_CONFIG_DATA and NOTIFICATION_DATA, and kick with the queue's number.";
    ADDRESS = "IMP-PCI-06", Error, "4.1.4.4", "a kick at the address of no queue",
        "kick at offset + queue_notify_off * notify_off_multiplier of the notify capability",
        "The driver wrote to the notify structure where none of its queues is notified.",
        "The device does not know which queue is meant.",
        "Kick one multiplier beyond the last queue.";
}
