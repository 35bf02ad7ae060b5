//! The numbers of `ioctl` operations.

use kernel::ioctl::{_IO, _IOC_DIR, _IOC_NR, _IOC_SIZE, _IOC_TYPE, _IOR, _IOW, _IOWR};

#[test]
fn numbers_are_those_that_c_programs_use() {
    // BLKRRPART, RTC_RD_TIME, BTRFS_IOC_SNAP_CREATE, and one that is nobody's.
    assert_eq!(_IO(0x12, 95), 0x125f);
    assert_eq!(_IOR::<[u8; 36]>('p' as u32, 0x09), 0x8024_7009);
    assert_eq!(_IOW::<[u8; 4096]>(0x94, 1), 0x5000_9401);
    assert_eq!(_IOWR::<u64>('|' as u32, 0x82), 0xc008_7c82);
}

#[test]
fn number_comes_apart_into_what_it_was_made_of() {
    const GIVE_AND_GET: u32 = _IOWR::<[u32; 3]>('k' as u32, 0xfe);

    assert_eq!((_IOC_DIR(GIVE_AND_GET), _IOC_DIR(_IOR::<u8>(0, 0)), _IOC_DIR(_IOW::<u8>(0, 0))), (3, 2, 1));
    assert_eq!((_IOC_TYPE(GIVE_AND_GET), _IOC_NR(GIVE_AND_GET)), ('k' as u32, 0xfe));
    assert_eq!((_IOC_SIZE(GIVE_AND_GET), _IOC_SIZE(_IO('k' as u32, 1))), (12, 0));
}

#[test]
fn largest_parts_fit() {
    let largest = _IOWR::<[u8; 0x3fff]>(0xff, 0xff);

    assert_eq!(largest, u32::MAX);
}

#[test]
#[should_panic(expected = "bringup-build-error")]
fn argument_of_16_kib_is_refused() {
    let _ = _IOR::<[u8; 0x4000]>(0, 0);
}
