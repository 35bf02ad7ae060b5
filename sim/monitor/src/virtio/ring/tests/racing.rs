//! Drivers that run while the device works: correct ones are not blamed, and what can be told of others still is.

use bringup_spec::virtio::feature;

use super::{packed, split};
use crate::virtio::rules::ring as rules;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A planted violation of such a driver.
pub(super) struct Race {
    pub(super) name: &'static str,
    pub(super) rule: &'static str,
    pub(super) planted: Vec<&'static str>,
    pub(super) right: Vec<&'static str>,
}

const UNSHOWN: &str = "the driver's loads, stores and barriers are not shown";
const LATE: &str = "a kick may be late: it carries what was right when its driver last looked";

/// Planted violations that are not found where processors run while the device works: the test, its rule, what is found instead, and
/// why.
const NOT_FOUND: &[(&str, &str, &[&str], &str)] = &[
    (
        "a_kick_that_avail_event_held_back_without_the_feature_is_missed",
        "VQ-SPLIT-EVT-D-07",
        &["VQ-SPLIT-EVT-D-09"],
        UNSHOWN,
    ),
    ("a_missing_write_barrier_is_found", "VQ-SPLIT-D-14", &[], UNSHOWN),
    ("a_descriptor_behind_the_write_barrier_is_found", "VQ-SPLIT-D-14", &[], UNSHOWN),
    ("a_missing_full_barrier_is_found", "VQ-SPLIT-D-15", &[], UNSHOWN),
    ("a_missing_full_barrier_with_event_idx_is_found", "VQ-SPLIT-D-15", &[], UNSHOWN),
    ("a_kick_without_the_whole_index_is_found", "IMP-NOTIF-01", &[], LATE),
    ("a_store_to_the_used_ring_is_found", "IMP-VQ-02", &[], UNSHOWN),
    ("a_kick_that_names_the_last_slot_is_found", "VQ-PACKED-D-04", &[], LATE),
    ("a_kick_with_the_wrong_wrap_counter_is_found", "VQ-PACKED-D-04", &[], LATE),
    // The same test of split queues finds a place that nobody has reached.
    ("a_repeated_kick_with_other_data_is_found", "IMP-NOTIF-03", &[], LATE),
    ("a_missing_write_barrier_is_found", "VQ-PACKED-D-13", &[], UNSHOWN),
    ("a_tail_behind_the_write_barrier_is_found", "VQ-PACKED-D-13", &[], UNSHOWN),
    ("a_missing_full_barrier_is_found", "VQ-PACKED-D-14", &[], UNSHOWN),
    ("a_store_to_the_devices_event_structure_is_found", "IMP-VQ-02", &[], UNSHOWN),
];

#[test]
fn what_is_not_found_while_processors_run_is_what_cannot_be_told_then() {
    let split = split::races().into_iter().map(|race| (false, race));
    let races: Vec<(bool, Race)> = split.chain(packed::races().into_iter().map(|race| (true, race))).collect();
    for (packed, Race { name, rule, planted, right }) in &races {
        let listed = NOT_FOUND.iter().find(|(test, of, ..)| test == name && of == rule);
        let listed = listed.filter(|_| *packed || *rule != rules::IMP_NOTIF_03.id);
        let expected = listed.map_or(vec![*rule], |(_, _, instead, _)| instead.to_vec());
        assert_eq!(*planted, expected, "{name} ({rule})");
        assert_eq!(*right, [""; 0], "{name} ({rule}): a correct driver");
    }
    for (test, rule, ..) in NOT_FOUND {
        assert!(races.iter().any(|(_, race)| race.name == *test && race.rule == *rule), "{test} ({rule}) is no test");
    }
}

fn found(stand: &super::stand::Stand) -> Vec<&'static str> {
    stand.verdict().found
}

fn split_queue(features: &[u32]) -> split::Queue {
    let mut queue = split::Queue::new(features, false);
    queue.stand.race();
    queue.start();
    queue
}

fn packed_queue(features: &[u32]) -> packed::Queue {
    let mut queue = packed::Queue::new(features, false);
    queue.stand.race();
    queue.start();
    queue
}

/// A command in a table: sent, given back, and its table used again before the device is done.
fn command(queue: &mut split::Queue) {
    queue.entry(0, NEXT, 1);
    queue.entry(1, WRITE, 0);
    queue.table(0, 32, 0);
    queue.send(&[0]);
    queue.stand.begin();
    queue.give_now(0, 1);
    queue.stand.pause();
    queue.entry(0, NEXT, 2);
    queue.entry(2, WRITE, 0);
    queue.table(0, 48, 0);
    queue.expose(&[0]);
    queue.stand.resume();
    queue.stand.end();
}

#[test]
fn a_table_that_is_used_again_before_the_device_is_done_is_right() {
    let mut queue = split_queue(&[feature::INDIRECT_DESC]);
    command(&mut queue);
    assert_eq!(found(&queue.stand), [""; 0]);
    assert_eq!(queue.stand.share(|shared| shared.exposed.len()), 2);
}

#[test]
fn the_table_that_was_used_again_is_the_devices_from_then_on() {
    let mut queue = split_queue(&[feature::INDIRECT_DESC]);
    command(&mut queue);
    queue.entry(0, NEXT, 1);
    queue.stand.begin();
    assert_eq!(found(&queue.stand), [rules::CLEANUP_D_01.id]);
}

#[test]
fn a_descriptor_that_changes_while_the_device_works_is_found_when_it_works_again() {
    let mut queue = split_queue(&[]);
    queue.desc(0, 0, 0);
    queue.desc(1, 0, 0);
    queue.send(&[0, 1]);
    queue.stand.begin();
    queue.give_now(0, 1);
    queue.stand.pause();
    queue.desc(0, 0, 3);
    queue.desc(1, 0, 3);
    queue.stand.resume();
    queue.stand.end();
    assert_eq!(found(&queue.stand), [""; 0]);
    queue.stand.begin();
    assert_eq!(found(&queue.stand), [rules::CLEANUP_D_01.id]);
}

/// One chain after the other, all while the device works.
fn burst(queue: &mut split::Queue, heads: &[u16]) {
    queue.stand.begin();
    for head in heads {
        queue.stand.pause();
        queue.desc(*head, 0, 0);
        queue.expose(&[*head]);
        queue.stand.resume();
        queue.give_now(*head, 1);
    }
    queue.stand.pause();
    for head in 0..4 {
        queue.raw(head, 0x5a5a, u32::MAX, 0xffff, 0xffff);
    }
    queue.stand.end();
}

#[test]
fn chains_that_came_and_went_unseen_are_not_judged_and_those_behind_them_are() {
    for count in [1, 3, 4, 5, 9] {
        let mut queue = split_queue(&[]);
        burst(&mut queue, &[2, 0, 1, 3, 0, 2, 3, 1, 0][..count]);
        assert_eq!(found(&queue.stand), [""; 0], "{count}");
        queue.desc(3, NEXT, 4);
        queue.send(&[3]);
        assert_eq!(found(&queue.stand), [rules::IMP_SPLIT_03.id], "{count}");
    }
}

#[test]
fn a_chain_that_cannot_be_told_from_one_that_came_back_is_not_judged_until_the_queue_is_empty() {
    let mut queue = split_queue(&[]);
    queue.stand.begin();
    queue.stand.pause();
    queue.desc(0, 0, 0);
    queue.expose(&[0]);
    queue.stand.resume();
    queue.give_now(0, 1);
    queue.stand.pause();
    queue.expose(&[0]);
    queue.stand.end();
    queue.desc(0, 0, 3);
    queue.stand.begin();
    queue.give_now(0, 1);
    queue.stand.end();
    assert_eq!(found(&queue.stand), [""; 0]);

    queue.desc(0, 0, 0);
    queue.send(&[0]);
    queue.desc(0, 0, 3);
    queue.stand.begin();
    assert_eq!(found(&queue.stand), [rules::CLEANUP_D_01.id]);
}

#[test]
fn an_index_that_jumps_while_the_device_works_is_found() {
    let mut queue = split_queue(&[]);
    queue.desc(0, 0, 0);
    queue.send(&[0]);
    queue.stand.begin();
    queue.give_now(0, 1);
    queue.stand.pause();
    queue.idx = 6;
    queue.store_idx();
    queue.stand.end();
    assert_eq!(found(&queue.stand), [rules::VQ_SPLIT_D_08.id]);
}

#[test]
fn a_head_that_the_device_holds_is_not_to_be_used_again_while_it_works() {
    let mut queue = split_queue(&[]);
    queue.desc(0, 0, 0);
    queue.desc(1, 0, 0);
    queue.send(&[0, 1]);
    queue.stand.begin();
    queue.give_now(0, 1);
    queue.stand.pause();
    queue.expose(&[1]);
    queue.stand.end();
    assert_eq!(found(&queue.stand), [rules::IMP_SPLIT_09.id]);
}

#[test]
fn a_kick_that_comes_late_is_not_needless() {
    let mut queue = split_queue(&[]);
    queue.desc(0, 0, 0);
    queue.expose(&[0]);
    queue.used_flags(1);
    queue.give(&[0]);
    queue.desc(1, 0, 0);
    queue.send(&[1]);
    assert_eq!(found(&queue.stand), [""; 0]);
}

#[test]
fn a_kick_that_comes_late_for_what_was_wanted_while_the_device_worked_is_not_needless() {
    let mut queue = split_queue(&[]);
    queue.used_flags(1);
    queue.desc(0, 0, 0);
    queue.expose(&[0]);
    let flags = queue.setup.device;
    queue.stand.begin();
    queue.stand.place(flags, &0_u16.to_le_bytes());
    queue.stand.pause();
    queue.desc(1, 0, 0);
    queue.expose(&[1]);
    queue.stand.resume();
    queue.stand.place(flags, &1_u16.to_le_bytes());
    queue.stand.end();
    // That for the second, …
    queue.kick();
    queue.desc(2, 0, 0);
    queue.expose(&[2]);
    // … and that for the first.
    queue.kick();
    assert_eq!(found(&queue.stand), [""; 0]);
}

#[test]
fn an_entry_that_the_device_has_read_may_be_written_anew_while_its_chain_is_held() {
    let mut queue = split_queue(&[]);
    queue.desc(0, 0, 0);
    queue.send(&[0]);
    queue.stand.begin();
    for head in [1, 2, 3] {
        queue.stand.pause();
        queue.desc(head, 0, 0);
        queue.expose(&[head]);
        queue.stand.resume();
        queue.give_now(head, 1);
    }
    queue.stand.pause();
    queue.desc(2, 0, 0);
    queue.fill(&[2]);
    queue.stand.end();
    queue.stand.begin();
    assert_eq!(found(&queue.stand), [""; 0]);
}

#[test]
fn a_second_kick_for_what_may_have_one_is_needless() {
    let mut queue = split_queue(&[]);
    queue.desc(0, 0, 0);
    queue.send(&[0]);
    queue.used_flags(1);
    queue.give(&[0]);
    queue.desc(1, 0, 0);
    queue.send(&[1]);
    assert_eq!(found(&queue.stand), [rules::VQ_SPLIT_EVT_D_08.id]);
}

#[test]
fn slots_that_are_used_again_before_the_device_is_done_are_right_and_the_devices_from_then_on() {
    let mut queue = packed_queue(&[feature::INDIRECT_DESC]);
    queue.entry(0, WRITE);
    queue.table(7, 16);
    queue.stand.begin();
    queue.take(0, 1);
    queue.give_now(7, 1);
    for (slot, id) in [(1, 7), (2, 5), (3, 7), (0, 6)] {
        queue.stand.pause();
        queue.entry(0, if id == 6 { 0 } else { WRITE });
        queue.list(id, &[WRITE]);
        queue.stand.resume();
        queue.take(slot, 1);
        queue.give_now(id, 1);
    }
    queue.stand.pause();
    queue.list(7, &[NEXT, 0]);
    queue.stand.end();
    assert_eq!(found(&queue.stand), [""; 0]);
    assert_eq!(queue.stand.share(|shared| shared.exposed.len()), 2);

    queue.body(2, 0, 9);
    queue.stand.begin();
    assert_eq!(found(&queue.stand), [rules::VQ_PACKED_D_03.id]);
}

#[test]
fn an_id_that_the_device_holds_is_not_to_be_used_again_while_it_works() {
    let mut queue = packed_queue(&[]);
    queue.list(7, &[0]);
    queue.send(8, &[0]);
    queue.stand.begin();
    queue.take(0, 2);
    queue.give_now(8, 1);
    queue.stand.pause();
    queue.list(7, &[0]);
    queue.stand.end();
    assert_eq!(found(&queue.stand), [rules::IMP_PACK_07.id]);
}

#[test]
fn a_slot_that_leads_nowhere_is_found_behind_lists_that_went_unseen() {
    let mut queue = packed_queue(&[]);
    queue.stand.begin();
    for id in 0..6 {
        queue.stand.pause();
        queue.list(id, &[NEXT, WRITE]);
        queue.stand.resume();
        queue.take(id * 2 % 4, 2);
        queue.give_now(id, 2);
    }
    queue.stand.end();
    assert_eq!(found(&queue.stand), [""; 0]);
    queue.list(9, &[WRITE]);
    queue.body_of(0, u64::MAX, 16, 9);
    queue.stand.begin();
    assert_eq!(found(&queue.stand), [rules::RSVD_D_04.id]);
}

#[test]
fn a_device_that_loads_nothing_before_it_gives_back_is_not_the_drivers_fault() {
    let mut queue = packed_queue(&[]);
    queue.stand.begin();
    queue.stand.pause();
    queue.list(1, &[0]);
    queue.stand.resume();
    queue.give_now(1, 1);
    queue.stand.end();
    queue.send(1, &[0]);
    assert_eq!(found(&queue.stand), [""; 0]);
    assert!(queue.stand.share(|shared| shared.ring.as_mut().unwrap().is_lost()));
}
