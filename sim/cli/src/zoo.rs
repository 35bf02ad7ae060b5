//! `bringup zoo`: runs the drivers with planted bugs, and their correct twins, and says which check caught what.

mod hunt;
mod matrix;
mod pages;
mod show;

use std::time::Duration;

use serde_json::json;
use zoo::{BUGS, Bug};

use crate::args::ZooArgs;
use crate::failure::Failure;
use crate::output::Out;
use crate::progress::Progress;
use crate::suggest;
use hunt::{Budget, Hunt};
use matrix::Row;

/// Runs what was asked for; 1 if something that is meant to be caught was not, or a correct driver was blamed.
pub(crate) fn zoo(args: &ZooArgs, out: &mut Out) -> Result<u8, Failure> {
    let bugs = chosen(&args.ids)?;
    if args.list {
        show::list(&bugs, out);
        return Ok(0);
    }
    if args.show && args.markdown {
        out.line(pages::chapter(&bugs).trim_end());
        return Ok(0);
    }
    if args.show {
        show::show(&bugs, out);
        return Ok(0);
    }
    let twin_lives = args.twin_lives.unwrap_or(args.lives);
    let budget = Budget { lives: args.lives, twin_lives, jobs: args.jobs };
    let mut progress = Progress::new();
    let mut rows = Vec::new();
    for (done, bug) in bugs.iter().enumerate() {
        progress.show("bugs", done as u64, bugs.len() as u64);
        let row = row(bug, args.seeds, budget);
        progress.clear();
        if !args.markdown {
            out.line(&row.line());
        }
        rows.push(row);
    }
    let summary = matrix::summary(&rows);
    let good = rows.iter().all(Row::is_as_expected);
    out.document(&json!({
        "bugs": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "caught": summary.caught, "of": summary.of, "uncatchable": summary.uncatchable,
        "false_alarms": summary.false_alarms,
        "median_seconds": summary.median.as_secs_f64(),
        "exit": u8::from(!good),
    }));
    if args.markdown {
        out.line(pages::matrix(&rows, &summary).trim_end());
    } else {
        out.line(&summary.to_string());
    }
    Ok(u8::from(!good))
}

/// The bugs of those names; all if there are none.
fn chosen(ids: &[String]) -> Result<Vec<&'static Bug>, Failure> {
    if ids.is_empty() {
        return Ok(BUGS.iter().collect());
    }
    ids.iter()
        .map(|id| {
            Bug::find(id).ok_or_else(|| {
                let hint = suggest::hint(id, BUGS.iter().map(|bug| bug.id));
                Failure::new(format_args!("unknown bug \"{id}\"{hint} (bringup zoo --list shows them)"))
            })
        })
        .collect()
}

/// Hunts a bug with each seed, and its twin with the first.
pub(crate) fn row(bug: &'static Bug, seeds: u64, budget: Budget) -> Row {
    if bug.module.is_none() {
        return Row { bug, hunts: Vec::new(), twin: Hunt::default() };
    }
    let hunts: Vec<Hunt> = (1..=seeds).map(|seed| hunt::bug(bug, seed, budget)).collect();
    let twin = hunt::twin(bug, 1, budget);
    Row { bug, hunts, twin }
}

/// The middle one; nothing of nothing.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// As much of a duration as is worth reading.
fn rounded(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds < 0.0095 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 0.95 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}
