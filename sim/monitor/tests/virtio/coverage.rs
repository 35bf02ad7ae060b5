//! The planted violations are complete.

use bringup_core::Rule;
use bringup_monitor::virtio::rules;

/// Those that are planted in these files.
fn planted() -> Vec<&'static str> {
    [
        crate::status::PLANTED,
        crate::features::PLANTED,
        crate::registers::PLANTED,
        crate::notify::PLANTED,
        crate::config::PLANTED,
        crate::blk::PLANTED,
        crate::kinds::PLANTED,
        crate::net::PLANTED,
    ]
    .concat()
}

#[test]
fn every_rule_but_those_of_rings_is_planted_once() {
    let groups: [&[&Rule]; 8] = [
        rules::status::ALL,
        rules::features::ALL,
        rules::registers::ALL,
        rules::notify::ALL,
        rules::config::ALL,
        rules::blk::ALL,
        rules::kinds::ALL,
        rules::net::ALL,
    ];
    let mut ours: Vec<&str> = groups.concat().iter().map(|rule| rule.id).collect();
    let mut planted = planted();
    ours.sort_unstable();
    planted.sort_unstable();

    assert_eq!(planted, ours);
}

#[test]
fn what_is_found_otherwise_while_processors_run_is_planted() {
    let planted = planted();

    assert!(crate::plan::OTHERWISE.iter().all(|(id, _, why)| planted.contains(id) && !why.is_empty()));
}

#[test]
fn ids_are_unique_and_pages_are_whole() {
    let all: Vec<&Rule> = rules::all().collect();

    for (at, rule) in all.iter().enumerate() {
        assert!(all.iter().skip(at + 1).all(|other| other.id != rule.id), "{}", rule.id);
        for heading in ["## What it means\n", "## Why it matters\n", "## How to see it here\n"] {
            assert!(rule.page.contains(heading), "{}: {heading}", rule.id);
        }
        assert!(rule.reference.starts_with("virtio 1.4 §"), "{}", rule.id);
    }
}
