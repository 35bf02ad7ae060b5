//! Block devices.

use bringup_devices::virtio::VirtioPci;
use bringup_spec::virtio::blk::{config, feature, request};
use bringup_spec::virtio::device_type;

use crate::device::{Anything, bits};
use crate::plan::{Plan, planted};
use crate::rig::Rig;

const MODEL: u32 = 92;
const ALL: &[u32] = &[
    feature::SIZE_MAX,
    feature::SEG_MAX,
    feature::FLUSH,
    feature::CONFIG_WCE,
    feature::MQ,
    feature::DISCARD,
    feature::WRITE_ZEROES,
    feature::LIFETIME,
    feature::SECURE_ERASE,
    feature::ZONED,
];

/// A disk of 1000 sectors in zones of 8, with nearly all features.
fn device(features: &'static [u32], model: u8) -> VirtioPci {
    let disk = Anything::new(device_type::BLOCK, features)
        .with(config::CAPACITY, &1000_u64.to_le_bytes())
        .with(config::SIZE_MAX, &2048_u32.to_le_bytes())
        .with(config::SEG_MAX, &2_u32.to_le_bytes())
        .with(config::NUM_QUEUES, &2_u16.to_le_bytes())
        .with(config::MAX_DISCARD_SEG, &1_u32.to_le_bytes())
        .with(config::MAX_WRITE_ZEROES_SEG, &1_u32.to_le_bytes())
        .with(config::MAX_SECURE_ERASE_SEG, &1_u32.to_le_bytes())
        .with(72, &8_u32.to_le_bytes())
        .with(84, &2_u32.to_le_bytes())
        .with(88, &1024_u32.to_le_bytes())
        .with(MODEL, &[model]);
    VirtioPci::new(disk)
}

/// Reads what the driver must know.
fn look(rig: &mut Rig) {
    rig.config64(config::CAPACITY);
    for (at, width, needs) in [
        (config::SIZE_MAX, 4, feature::SIZE_MAX),
        (config::SEG_MAX, 4, feature::SEG_MAX),
        (config::NUM_QUEUES, 2, feature::MQ),
        (config::MAX_DISCARD_SEG, 4, feature::DISCARD),
        (config::MAX_WRITE_ZEROES_SEG, 4, feature::WRITE_ZEROES),
        (config::MAX_SECURE_ERASE_SEG, 4, feature::SECURE_ERASE),
        (72, 4, feature::ZONED),
        (84, 4, feature::ZONED),
        (88, 4, feature::ZONED),
        (MODEL, 1, feature::ZONED),
    ] {
        if rig.has(needs) {
            rig.config(at, width);
        }
    }
}

/// A driver that reads, writes, and does the rest once.
pub(crate) fn disk() -> Plan {
    Plan::new(|| device(ALL, 2), u128::MAX, &[])
        .after("features ok read", look)
        .before("driver ok", |rig| {
            rig.size = Some(8);
            rig.set_up(0);
            rig.set_up(1);
        })
        .then(|rig| {
            send(rig, request::IN, 999, &[], &[512]);
            send(rig, request::OUT, 0, &[&[1; 1024]], &[]);
            send(rig, request::FLUSH, 0, &[], &[]);
            send(rig, request::GET_ID, 0, &[], &[20]);
            send(rig, request::DISCARD, 0, &[&segment(992, 8, 0)], &[]);
            send(rig, request::WRITE_ZEROES, 0, &[&segment(0, 1, 1)], &[]);
            send(rig, request::SECURE_ERASE, 0, &[&segment(8, 16, 0)], &[]);
            send(rig, APPEND, 8, &[&[1; 1024]], &[8]);
            send(rig, REPORT, 8, &[], &[512]);
            send(rig, OPEN, 8, &[], &[]);
            send(rig, RESET_ALL, 0, &[], &[]);
        })
}

const APPEND: u32 = 15;
const REPORT: u32 = 16;
const OPEN: u32 = 18;
const RESET_ALL: u32 = 26;

fn segment(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

/// Sends a request: header, data, status.
fn send(rig: &mut Rig, kind: u32, sector: u64, out: &[&[u8]], into: &[u32]) {
    let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    let mut readable: Vec<&[u8]> = vec![&header];
    readable.extend(out);
    let mut writable = into.to_vec();
    writable.push(1);
    rig.request(0, &readable, &writable);
}

/// A disk with a zoned model that the driver looks at before it decides on features.
fn zoned(accepted: &'static [u32]) -> Plan {
    Plan::new(
        || device(&[feature::ZONED, feature::DISCARD], 1),
        !bits(&[feature::ZONED, feature::DISCARD]) | bits(accepted),
        &[0],
    )
    .after("features read", |rig| {
        rig.config(MODEL, 1);
    })
}

/// A disk that offers a few features only.
fn plain(features: &'static [u32]) -> Plan {
    Plan::new(move || device(features, 0), u128::MAX, &[0]).after("features ok read", look)
}

planted! {
    reading_the_cache_mode_before_features_ok_is_found: "BLK-D-04",
        disk(),
        |plan| plan.after("features read", |rig| {
            rig.config(config::WRITEBACK, 1);
        });
    using_zones_without_looking_at_their_model_is_found: "BLK-D-05",
        plain(&[feature::ZONED]).then(|rig| send(rig, request::IN, 0, &[], &[512])),
        |_| plain(&[feature::ZONED]).instead("inserted", |_| {}).then(|rig| send(rig, request::IN, 0, &[], &[512]));
    discard_on_a_host_managed_disk_is_found: "BLK-D-06",
        zoned(&[feature::ZONED]),
        |_| zoned(&[feature::ZONED, feature::DISCARD]);
    a_host_managed_disk_without_zoned_is_found: "BLK-D-08",
        zoned(&[feature::ZONED]),
        |_| zoned(&[]);
    a_read_beyond_the_end_is_found: "BLK-D-13",
        disk(),
        |plan| plan.then(|rig| send(rig, request::IN, 999, &[], &[1024]));
    leaving_read_only_out_is_advised_against: "BLK-D-14",
        plain(&[feature::RO]),
        |plan| plan.instead("features", |rig| rig.write_features(rig.offered & !bits(&[feature::RO])));
    a_flush_with_a_sector_is_found: "BLK-D-15",
        disk(),
        |plan| plan.then(|rig| send(rig, request::FLUSH, 8, &[], &[]));
    a_flush_with_data_is_advised_against: "BLK-D-16",
        disk(),
        |plan| plan.then(|rig| send(rig, request::FLUSH, 0, &[&[0; 512]], &[]));
    a_read_of_a_part_of_a_sector_is_found: "BLK-D-17",
        disk(),
        |plan| plan.then(|rig| send(rig, request::IN, 0, &[], &[100]));
    a_discard_of_a_piece_of_a_segment_is_found: "BLK-D-18",
        disk(),
        |plan| plan.then(|rig| send(rig, request::DISCARD, 0, &[&[0; 20]], &[]));
    an_id_of_sixteen_bytes_is_found: "BLK-D-19",
        disk(),
        |plan| plan.then(|rig| send(rig, request::GET_ID, 0, &[], &[16]));
    a_discard_with_too_many_segments_is_found: "BLK-D-20",
        disk(),
        |plan| plan.then(|rig| send(rig, request::DISCARD, 0, &[&segment(0, 1, 0), &segment(8, 1, 0)], &[]));
    an_erase_with_too_many_segments_is_found: "BLK-D-21",
        disk(),
        |plan| plan.then(|rig| send(rig, request::SECURE_ERASE, 0, &[&segment(0, 8, 0), &segment(8, 8, 0)], &[]));
    zeroes_with_too_many_segments_are_found: "BLK-D-22",
        disk(),
        |plan| plan.then(|rig| send(rig, request::WRITE_ZEROES, 0, &[&segment(0, 1, 0), &segment(8, 1, 0)], &[]));
    a_discard_with_the_unmap_flag_is_found: "BLK-D-25",
        disk(),
        |plan| plan.then(|rig| send(rig, request::DISCARD, 0, &[&segment(0, 1, 1)], &[]));
    a_zone_report_beyond_the_end_is_found: "BLK-D-29",
        disk(),
        |plan| plan.then(|rig| send(rig, REPORT, 1000, &[], &[512]));
    opening_a_zone_by_its_second_sector_is_found: "BLK-D-31",
        disk(),
        |plan| plan.then(|rig| send(rig, OPEN, 9, &[], &[]));
    resetting_all_zones_with_a_sector_is_found: "BLK-D-32",
        disk(),
        |plan| plan.then(|rig| send(rig, RESET_ALL, 8, &[], &[]));
    appending_in_the_middle_of_a_zone_is_found: "BLK-D-33",
        disk(),
        |plan| plan.then(|rig| send(rig, APPEND, 9, &[&[1; 1024]], &[8]));
    appending_half_a_block_is_found: "BLK-D-34",
        disk(),
        |plan| plan.then(|rig| send(rig, APPEND, 8, &[&[1; 512]], &[8]));
    appending_too_much_is_found: "BLK-D-35",
        disk(),
        |plan| plan.then(|rig| send(rig, APPEND, 8, &[&[1; 2048]], &[8]));
    erasing_a_part_of_a_zone_is_found: "BLK-D-38",
        disk(),
        |plan| plan.then(|rig| send(rig, request::SECURE_ERASE, 0, &[&segment(8, 4, 0)], &[]));
    a_request_without_room_for_its_status_is_found: "IMP-BLK-01",
        disk(),
        |plan| plan.then(|rig| {
            rig.request(0, &[&[0; 16]], &[]);
        });
    a_sector_where_none_is_wanted_is_advised_against: "IMP-BLK-02",
        disk(),
        |plan| plan.then(|rig| send(rig, request::GET_ID, 8, &[], &[20]));
    too_many_segments_of_data_are_found: "IMP-BLK-03",
        disk(),
        |plan| plan.then(|rig| send(rig, request::IN, 0, &[], &[512, 512, 512]));
    a_flush_without_its_feature_is_found: "IMP-BLK-04",
        plain(&[]),
        |plan| plan.then(|rig| send(rig, request::FLUSH, 0, &[], &[]));
    a_second_queue_without_its_feature_is_found: "IMP-BLK-05",
        plain(&[]),
        |plan| plan.before("driver ok", |rig| rig.set_up(1));
    a_write_to_a_read_only_disk_is_advised_against: "IMP-BLK-06",
        plain(&[feature::RO]),
        |plan| plan.then(|rig| send(rig, request::OUT, 0, &[&[0; 512]], &[]));
}

#[test]
fn header_and_data_may_share_elements() {
    let plan = disk().then(|rig| {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([7; 512]);
        rig.request(0, &[&bytes[..5], &bytes[5..]], &[1]);
        rig.request(0, &[&[0; 16]], &[513]);
    });

    plan.is_silent();
}
