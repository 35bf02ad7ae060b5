//! Status, initialisation, reset and suspend.

rules! {
    STATUS_STEPS = "STATUS-D-01", Error, "2.1.1", "status bits out of order",
        "set ACKNOWLEDGE, DRIVER, FEATURES_OK and DRIVER_OK one after the other, each when its step is done",
        "Each status bit says that a step of the initialisation is done, so the bits come in the order of the steps. The driver set one before its turn.",
        "The device acts on each bit: it looks at the features when FEATURES_OK comes, and at the queues when DRIVER_OK comes. What is not there by then is not seen.",
        "Write FEATURES_OK before DRIVER, or FEATURES_OK and DRIVER_OK in one write.";
    STATUS_DROPPED = "STATUS-D-02", Error, "2.1.1", "a status bit was taken back",
        "read the status, or keep a copy of it, and OR the new bit into it; only writing 0 clears bits",
        "The driver wrote a status, not 0, that lacks a bit which was set. Bits are only added, until a reset clears all.",
        "A device takes the write as it stands: without ACKNOWLEDGE and DRIVER the rest means nothing, and it may stop working.",
        "Write DRIVER_OK alone instead of ORing it to what the status holds.";
    STATUS_FAILED = "STATUS-D-03", Error, "2.1.1", "initialisation after FAILED without a reset",
        "write 0 to the status and wait until it reads 0 before another try",
        "After FAILED the driver goes on with the status instead of resetting the device first.",
        "The device was told that its driver gave up; only a reset brings it back to a known state.",
        "Write FAILED, then ACKNOWLEDGE again.";
    INIT_RESET = "INIT-D-01", Error, "3.1.1", "initialisation does not begin with a reset",
        "write 0 to the status before anything else",
        "The first status that a driver writes is 0. This one began with another.",
        "Whoever had the device before (firmware, a crashed kernel) may have left it running, with queues in memory that is used for something else now.",
        "Write ACKNOWLEDGE as the first thing.";
    INIT_ACKNOWLEDGE = "INIT-D-02", Error, "3.1.1", "DRIVER without ACKNOWLEDGE",
        "set ACKNOWLEDGE after the reset, then DRIVER",
        "DRIVER was set while ACKNOWLEDGE was not. (Both in one write are let pass: no step is left out.)",
        "A device may ignore what comes after, or show its administrator a device that nobody noticed.",
        "After the reset, write DRIVER alone.";
    INIT_FEATURES = "INIT-D-03", Error, "3.1.1", "FEATURES_OK without a negotiation",
        "between DRIVER and FEATURES_OK read device_feature and write driver_feature",
        "FEATURES_OK was set, but since DRIVER was, the driver did not write which features it accepts, or it never read which there are.",
        "The device then works with features that the driver did not choose.",
        "Set FEATURES_OK without writing driver_feature.";
    INIT_FEATURES_READ_BACK = "INIT-D-04", Error, "3.1.1", "FEATURES_OK was not read back",
        "read the status after FEATURES_OK, and give up if the bit is not there",
        "The device answers FEATURES_OK by keeping the bit or not. The driver went on without looking.",
        "A device that cannot work with the features says so in this way only; what follows is undefined.",
        "Set FEATURES_OK, and enable a queue without reading the status.";
    INIT_QUEUES = "INIT-D-05", Error, "3.1.1", "queues set up at the wrong time",
        "set queues up after FEATURES_OK was confirmed and before DRIVER_OK",
        "A queue was set up before the features were agreed on, or enabled for the first time when DRIVER_OK was set already.",
        "The features decide on the layout of a queue; and a device may look for its queues at DRIVER_OK only.",
        "Write queue_desc before FEATURES_OK, or enable a second queue after DRIVER_OK.";
    INIT_FEATURES_LATE = "INIT-D-08", Error, "3.1.1", "features changed after FEATURES_OK",
        "write driver_feature before FEATURES_OK; reset the device to choose others",
        "driver_feature was written while FEATURES_OK was set.",
        "The device has laid itself out for the agreed features and ignores the write, or worse, half takes it.",
        "Write driver_feature after FEATURES_OK.";
    INIT_AFTER_FAILURE = "INIT-D-10", Error, "3.1.1", "initialisation goes on after it failed",
        "write FAILED and stop; to try again, reset the device first",
        "The device did not keep FEATURES_OK, or the driver wrote FAILED, and the driver went on setting it up.",
        "The device is unusable until it is reset; queues that are set up now are never served.",
        "Accept a set of features that the device refuses, and set DRIVER_OK all the same.";
    INIT_EARLY_KICK = "INIT-D-11", Error, "3.1.1", "kick before DRIVER_OK",
        "set DRIVER_OK, then kick",
        "The driver notified a queue while DRIVER_OK was not set.",
        "A device ignores queues before DRIVER_OK: the kick is lost, and the request hangs until another one comes.",
        "Fill a queue and kick it before DRIVER_OK is written.";
    FEATURES_GIVE_UP = "FEAT-D-07", Error, "2.2.1", "a driver left without saying FAILED",
        "when the device does not keep FEATURES_OK and there is nothing to fall back to, set FAILED",
        "The device refused the features; the driver neither reset it to try others nor set FAILED, and went away.",
        "FAILED is how the device's side learns that it is not going to be used.",
        "Let FEATURES_OK be refused and end probe with an error.";
    RESET_WAIT = "PCI-COMMON-D-05", Error, "4.1.4.3.2", "initialisation before the reset was over",
        "after writing 0 to the status read it until it reads 0",
        "The driver wrote 0 to the status and began anew without having read 0 from it.",
        "A reset takes its time on a real device; what is written before its end is lost.",
        "Write 0, then ACKNOWLEDGE at once.";
    RESET_DONE = "RESET-D-01", Advice, "2.4.2", "queue memory given back before the reset was over",
        "wait until the status reads 0 before queue memory is freed",
        "The driver wrote 0 to the status, and the memory of a queue was unmapped before the status read 0.",
        "Until the reset is over the device may still write to the queue and its buffers.",
        "Write 0 to the status and drop the rings without reading it.";
    SUSPEND_TOO_EARLY = "SUSPEND-D-01", Advice, "3.4.1", "SUSPEND without DRIVER_OK or the feature",
        "set SUSPEND only on a running device with VIRTIO_F_SUSPEND negotiated",
        "The driver set SUSPEND before DRIVER_OK, or without the feature.",
        "The device ignores it, and keeps working.",
        "Set SUSPEND without having accepted bit 43.";
    SUSPEND_READ_BACK = "SUSPEND-D-02", Error, "3.4.1", "resumed before the device was suspended",
        "after SUSPEND read the status until SUSPEND is set and DRIVER_OK is clear",
        "The driver set SUSPEND and did not wait until the status showed SUSPEND without DRIVER_OK before it went on.",
        "Until then the device still works on its queues.",
        "Set SUSPEND and then DRIVER_OK without reading the status.";
    SUSPEND_KICK = "SUSPEND-D-04", Error, "3.4.1", "kick while suspended",
        "stop submitting before SUSPEND is set",
        "The driver notified a queue after it had set SUSPEND.",
        "A suspended device does not look at its queues.",
        "Set SUSPEND, then kick.";
    SUSPEND_CONFIG = "SUSPEND-D-05", Error, "3.4.1", "configuration written while suspended",
        "write the configuration before SUSPEND is set, or after the resume",
        "The driver wrote to the device's configuration after it had set SUSPEND.",
        "A suspended device ignores the write.",
        "Set SUSPEND, then write a field of the configuration.";
    SUSPEND_RESUME = "SUSPEND-D-06", Error, "3.4.1", "used before the resume was over",
        "after setting DRIVER_OK read the status until SUSPEND is clear and DRIVER_OK is set",
        "The driver resumed the device and used it before the status showed DRIVER_OK without SUSPEND.",
        "Until then the device does not listen.",
        "Resume, and kick without reading the status.";
}
