//! The zoo: what the README and the book say of it is so.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));
const CHAPTER: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/zoo.md"));

fn zoo(arguments: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_bringup")).arg("zoo").args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

/// What stands between the two marks of a page.
fn block(page: &str) -> &str {
    let (_, rest) = page.split_once("<!-- zoo -->\n").unwrap();
    rest.split_once("<!-- /zoo -->").unwrap().0
}

/// The rows of the README's matrix by bug: whether it is caught, by what, and how many false alarms.
fn readme() -> BTreeMap<String, (bool, Vec<String>, String)> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = block(README).lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|cells| {
        let by = cells[3].split_whitespace().map(|rule| rule.trim_matches('`').to_owned()).collect();
        (cells[0].trim_matches('`').to_owned(), (cells[2] == "yes", by, cells[6].clone()))
    })
    .collect()
}

#[test]
fn every_bug_is_caught_as_the_readme_says_and_no_twin_is_blamed() {
    let (text, exit) = zoo(&["--json", "--seeds", "1", "--lives", "4000", "--twin-lives", "60", "--jobs", "2"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    let told = readme();
    let bugs = document["bugs"].as_array().unwrap();
    let mut wrong = Vec::new();
    for bug in bugs {
        let id = bug["id"].as_str().unwrap();
        let by: Vec<&str> = bug["by"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let alarms = bug["false_alarms"].as_u64().unwrap();
        let good = told.get(id).is_some_and(|(caught, rules, _)| {
            bug["caught"].as_bool() == Some(*caught) && by.iter().all(|rule| rules.iter().any(|known| known == rule))
        });
        if !good || alarms > 0 {
            wrong.push(format!("{id}: caught {}, by {by:?}, {alarms} false alarms", bug["caught"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(exit, 0);
    assert_eq!(told.len(), bugs.len(), "the README has other bugs than the zoo");
    assert!(told.values().all(|(_, _, alarms)| alarms.is_empty() || alarms == "0"));
}

#[test]
fn chapter_of_the_book_is_what_the_table_gives() {
    let (page, exit) = zoo(&["--show", "--markdown"]);
    assert_eq!(exit, 0);
    assert_eq!(block(CHAPTER).trim(), page.trim(), "bringup zoo --show --markdown gives the chapter anew");
}

#[test]
fn show_prints_story_reference_and_difference() {
    let (text, exit) = zoo(&["cq-no-read-barrier", "--show"]);
    assert_eq!(exit, 0);
    for part in ["The phase says that the entry is there", "seen in", "dd6b1cc", "-         dma_mb(Read);"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn unknown_bug_is_refused_with_the_nearest_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_bringup")).args(["zoo", "cq-no-read-barier"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean \"cq-no-read-barrier\"?"));
}
