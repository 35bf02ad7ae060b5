//! The table of clauses, an area at a time.

use super::verdict::{Row, Verdict};
use crate::output::{Out, Style, wrap};

/// How wide the table is.
const WIDTH: usize = 100;
/// How wide the column of verdicts is, and those of ids and sections.
const VERDICT: usize = 14;
const ID: usize = 18;
const SECTION: usize = 14;

/// The rows of an area, each with what it says where it is violated, and else by its id alone.
pub(super) fn short(rows: &[(Row, Verdict)], out: &mut Out) {
    heading(rows, out);
    for verdict in Verdict::ALL {
        let of_it = rows.iter().filter(|(_, found)| *found == verdict);
        if verdict == Verdict::Violated {
            of_it.for_each(|(row, verdict)| line(row, *verdict, out));
            continue;
        }
        let ids: Vec<&str> = of_it.map(|(row, _)| row.id).collect();
        for (number, ids) in wrap(&ids.join(" "), WIDTH - VERDICT - 3).iter().filter(|ids| !ids.is_empty()).enumerate()
        {
            let word = if number == 0 { verdict.word() } else { "" };
            let word = out.paint(verdict.style(), &format!("{word:<VERDICT$}"));
            out.line(&format!("  {word} {ids}"));
        }
    }
}

/// Whether nothing of an area came up.
pub(super) fn is_untouched(rows: &[(Row, Verdict)]) -> bool {
    rows.iter().all(|(_, verdict)| matches!(verdict, Verdict::NotExercised | Verdict::Unseen))
}

/// The areas of which nothing came up, with the number of their clauses.
pub(super) fn untouched(areas: &[&[(Row, Verdict)]], out: &mut Out) {
    if areas.is_empty() {
        return;
    }
    let name = |rows: &&[(Row, Verdict)]| rows.first().map(|(row, _)| format!("{} ({})", row.area, rows.len()));
    let names: Vec<String> = areas.iter().filter_map(name).collect();
    let heading = out.paint(Style::Bold, "Not exercised at all");
    out.line("");
    out.line(&heading);
    wrap(&names.join(", "), WIDTH - 2).iter().for_each(|names| out.line(&format!("  {names}")));
}

/// The rows of an area, one after the other.
pub(super) fn each(rows: &[(Row, Verdict)], out: &mut Out) {
    heading(rows, out);
    rows.iter().for_each(|(row, verdict)| line(row, *verdict, out));
}

fn heading(rows: &[(Row, Verdict)], out: &mut Out) {
    let area = rows.first().map_or("", |(row, _)| row.area);
    let passed = rows.iter().filter(|(_, verdict)| *verdict == Verdict::Passed).count();
    let heading = out.paint(Style::Bold, area);
    out.line("");
    out.line(&format!("{heading} ({passed} of {} passed)", rows.len()));
}

fn line(row: &Row, verdict: Verdict, out: &mut Out) {
    let word = out.paint(verdict.style(), &format!("{:<VERDICT$}", verdict.word()));
    let section = format!("§{}", row.section);
    let begin = format!("{:<ID$} {section:<SECTION$}", row.id);
    for (number, says) in wrap(row.says, WIDTH - VERDICT - ID - SECTION - 5).iter().enumerate() {
        match number {
            0 => out.line(&format!("  {word} {begin} {says}")),
            _ => out.line(&format!("{:1$}{says}", "", VERDICT + ID + SECTION + 5)),
        }
    }
}
