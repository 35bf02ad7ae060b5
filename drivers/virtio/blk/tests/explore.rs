//! Campaigns over whole lives of a disk: all orders near the quiet one, and what they reach.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bringup_bench::explore::{Campaign, Explored, Strategy};
use bringup_bench::{Bench, Errno, Report};
use bringup_core::{Chooser, Coverage};
use bringup_devices::virtio::{Blk, BlkOptions, MemoryImage, VirtioPci};
use bringup_spec::virtio::feature;

const SECTOR: usize = 512;

/// Two processes, one of which writes a sector and the other reads another one; a queue of four. What they got is the second
/// answer.
fn life(chooser: Box<dyn Chooser>, packed: bool) -> (Report, String) {
    let options = BlkOptions {
        queue_size: 4,
        ..BlkOptions::default()
    };
    let device = VirtioPci::new(Blk::new(MemoryImage::new(16 << 10), options))
        .offer(feature::RING_PACKED, packed)
        .offer(feature::EVENT_IDX, true);
    let bench = Bench::builder()
        .device("disk", device)
        .boxed_chooser(chooser)
        .build()
        .unwrap();
    let mut got = String::new();
    if bench.load(&virtio_blk::BRINGUP_MODULE).is_ok() {
        let writer = bench.spawn("writer", || {
            bringup_bench::open("vblk0")?.write(&[7; SECTOR])
        });
        let reader = bench.spawn("reader", || {
            let file = bringup_bench::open("vblk0")?;
            let mut bytes = [1; SECTOR];
            file.seek(SECTOR as i64);
            let read = file.read(&mut bytes)?;
            Ok::<_, Errno>((read, bytes[0], bytes[SECTOR - 1]))
        });
        got = format!("{:?} {:?}", bench.join(&writer), bench.join(&reader));
    }
    let report = bench.finish();
    got += &report.log_text();
    (report, got)
}

/// Every outcome of a search.
fn search(preemptions: u32, reduced: bool, packed: bool) -> (BTreeSet<String>, Explored) {
    let outcomes = Mutex::new(BTreeSet::new());
    let campaign = Campaign {
        strategy: Strategy::Exhaustive { preemptions },
        lives: u64::MAX,
        jobs: 2,
        reduced,
        ..Campaign::default()
    };
    let explored = campaign.run(|chooser| {
        let (report, got) = life(chooser, packed);
        let outcome = format!("{:?} {got}", report.rules());
        outcomes.lock().unwrap().insert(outcome);
        report
    });
    (outcomes.into_inner().unwrap(), explored)
}

#[test]
fn reduced_search_has_the_outcomes_of_the_whole_one_in_fewer_lives() {
    for packed in [false, true] {
        let (whole, all) = search(1, false, packed);
        let (reduced, fewer) = search(1, true, packed);
        println!(
            "{} of {} lives, {} outcomes",
            fewer.lives,
            all.lives,
            whole.len()
        );
        assert_eq!(whole, reduced);
        assert!(all.finished && all.is_clean(), "{:?}", all.found);
        assert!(fewer.finished && fewer.is_clean());
        assert!(fewer.lives < all.lives);
    }
}

#[test]
fn mixed_lives_are_clean_and_reach_the_states_of_a_queue() {
    let campaign = Campaign {
        lives: 3000,
        jobs: 2,
        ..Campaign::default()
    };
    let explored = campaign.run(|chooser| life(chooser, false).0);
    assert!(explored.is_clean(), "{:?}", explored.found);
    for state in [
        Coverage::RingEmpty,
        Coverage::SeveralUsed,
        Coverage::LoadStale,
        Coverage::StoresReordered,
        Coverage::WritePosted,
        Coverage::Stalled,
        Coverage::EventEdge,
        Coverage::AllocationFailed,
        Coverage::DeviceLate,
        Coverage::InterruptLate,
        Coverage::Preempted,
    ] {
        assert!(
            explored.coverage.has(state),
            "{}: {:?}",
            state.name(),
            explored.coverage
        );
    }
}
