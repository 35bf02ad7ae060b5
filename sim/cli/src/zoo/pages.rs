//! The zoo in Markdown: the matrix of the README, and the chapter of the book.

use std::fmt::Write as _;

use zoo::Bug;

use super::matrix::{Row, Summary};
use super::rounded;

/// The matrix as a table. Lives and times are medians of the seeds, times those of the computer that it was made on.
pub(crate) fn matrix(rows: &[Row], summary: &Summary) -> String {
    let mut page =
        String::from("| Bug | Class | Caught | By | Lives | Time | False alarms |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let bug = row.bug;
        let (caught, by, lives, time) = match row.is_caught() {
            true => (
                "yes",
                row.by().iter().map(|rule| format!("`{rule}`")).collect::<Vec<_>>().join(" "),
                row.median_lives().unwrap_or(0).to_string(),
                rounded(row.median_time().unwrap_or_default()),
            ),
            false => ("no", String::new(), String::new(), String::new()),
        };
        let alarms = if bug.module.is_some() { row.false_alarms().to_string() } else { String::new() };
        let classes = classes(bug);
        let _ = writeln!(page, "| `{}` | {classes} | {caught} | {by} | {lives} | {time} | {alarms} |", bug.id);
    }
    let _ = writeln!(page, "\n{summary}.");
    page
}

/// A section for each bug: what it is, where it was seen, what catches it, and what makes it.
pub(crate) fn chapter(bugs: &[&'static Bug]) -> String {
    let mut page = String::new();
    for bug in bugs {
        let _ = writeln!(page, "### {}\n\n{}: {}. {}\n", bug.id, heading(bug), bug.title, joined(bug.story));
        let _ = writeln!(page, "Seen in: {}.", bug.reference);
        let rules: Vec<String> = bug.expect.iter().map(|rule| format!("`{rule}`")).collect();
        match bug.uncaught {
            Some(why) => {
                let _ = writeln!(page, "Not caught: {why}.\n");
            }
            None => {
                let _ = writeln!(page, "Meant to be caught by {}.\n", rules.join(" or "));
            }
        }
        if !bug.edits.is_empty() {
            page.push_str("```diff\n");
            for (number, (find, replace)) in bug.edits.iter().enumerate() {
                if number > 0 {
                    page.push('\n');
                }
                find.lines().for_each(|line| page.push_str(&format!("-{line}\n")));
                replace.lines().for_each(|line| page.push_str(&format!("+{line}\n")));
            }
            page.push_str("```\n\n");
        }
    }
    page
}

fn heading(bug: &Bug) -> String {
    let plural = if bug.classes.len() == 1 { "class" } else { "classes" };
    format!("In `{}`, {plural} {}", bug.file.map_or_else(|| format!("{}.rs", bug.base), str::to_owned), classes(bug))
}

fn classes(bug: &Bug) -> String {
    bug.classes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

/// A text on one line.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
