//! A campaign does not grow: what its lives take they give back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use bringup_bench::explore::{Campaign, Strategy};
use bringup_bench::Bench;
use bringup_devices::Edu;

/// Bytes that are taken now, by whatever thread.
static TAKEN: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: Everything is passed on to the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: The caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: The caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn taken_by(lives: u64) -> isize {
    let before = TAKEN.load(Ordering::Relaxed);
    let campaign = Campaign {
        strategy: Strategy::Mixed,
        lives,
        ..Campaign::default()
    };
    let explored = campaign.run(|chooser| {
        let bench = Bench::builder()
            .device("edu", Edu::default())
            .boxed_chooser(chooser)
            .build()
            .unwrap();
        if bench.load(&edu::BRINGUP_MODULE).is_ok() {
            let _ = bench.run("user", || bringup_bench::open("edu")?.write(&[7; 8]));
        }
        bench.finish()
    });
    assert!(explored.is_clean() && explored.lives == lives);
    TAKEN.load(Ordering::Relaxed) - before
}

#[test]
fn lives_leave_nothing_behind() {
    // What is kept for good, stacks and the machine's memory among it, is there after some lives.
    taken_by(500);
    let left = taken_by(5000);
    assert!(left.abs() < 1000, "{left} bytes");
}
