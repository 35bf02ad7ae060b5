//! Standard output: text or JSON, colour where it is wanted, and paths as the user wrote them.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use bringup_bench::LogLine;
use bringup_core::Severity;
use bringup_core::finding::Moment;

use crate::failure::{Failure, reason};

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "1;31",
            Self::Yellow => "33",
            Self::Green => "32",
        }
    }
}

pub(crate) fn severity_style(severity: Severity) -> Style {
    if severity == Severity::Advice { Style::Yellow } else { Style::Red }
}

/// Replaces the beginnings of paths, so that output shows them as the user knows them and is the same on every machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths(Vec<(String, String)>);

impl Paths {
    /// From now on `from` is shown as `to`. What is added first is looked for first.
    pub(crate) fn show(&mut self, from: String, to: String) {
        self.0.push((from, to));
    }

    /// These, and after them `others`.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(crate) fn apply(&self, text: &str) -> String {
        text.split_inclusive('\n').map(|line| without_detours(self.apply_to_line(line))).collect()
    }

    /// Replaces in one pass: what stands for a path is not looked at again, nor what is only the rest of another path.
    fn apply_to_line(&self, line: &str) -> String {
        let mut shown = String::with_capacity(line.len());
        let mut done = 0;
        let begins = |at: usize| {
            let before = &line[..at];
            ends_in_colour(before) || !before.ends_with(|c: char| c.is_alphanumeric() || "._-/".contains(c))
        };
        let next = |done: usize| {
            let known = self.0.iter().filter(|(from, _)| !from.is_empty());
            let first = |from: &str| line[done..].match_indices(from).map(|(at, _)| done + at).find(|at| begins(*at));
            known.filter_map(|(from, to)| first(from).map(|at| (at, at + from.len(), to))).min_by_key(|(at, ..)| *at)
        };
        while let Some((at, end, to)) = next(done) {
            shown.push_str(&line[done..at]);
            shown.push_str(to);
            done = end;
        }
        shown + &line[done..]
    }
}

/// A line whose paths do not go down and up again: a driver's crate may name its file `../virtio_blk.rs`.
fn without_detours(mut line: String) -> String {
    let mut from = 0;
    while let Some(found) = line[from..].find("/../") {
        let at = from + found;
        let part = |c: char| c.is_alphanumeric() || "._-".contains(c);
        let start = line[..at]
            .rfind(|c| !part(c))
            .map_or(0, |before| before + line[before..].chars().next().map_or(1, char::len_utf8));
        let down = &line[start..at];
        if down.is_empty() || down == "." || down == ".." {
            from = at + 3;
        } else {
            line.replace_range(start..at + 4, "");
            from = 0;
        }
    }
    line
}

/// Whether the last thing in `text` is an escape sequence that sets a colour.
fn ends_in_colour(text: &str) -> bool {
    let code = text.rsplit_once("\x1b[").and_then(|(_, code)| code.strip_suffix('m'));
    code.is_some_and(|code| code.chars().all(|c| c.is_ascii_digit() || c == ';'))
}

/// Whether the user wants colour where it can be shown.
fn colour_is_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard error shows colour.
pub(crate) fn errors_are_colourful() -> bool {
    colour_is_welcome() && io::stderr().is_terminal()
}

/// How wide a terminal is taken to be; there is no asking it without a library.
const WIDTH: usize = 80;

/// Where everything that the command says goes.
pub(crate) struct Out {
    json: bool,
    color: bool,
    pub(crate) verbose: bool,
    pub(crate) paths: Paths,
    failed: Option<io::Error>,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("json", &self.json).field("color", &self.color).finish_non_exhaustive()
    }
}

impl Out {
    pub(crate) fn new(json: bool, verbose: bool) -> Self {
        let color = !json && colour_is_welcome() && io::stdout().is_terminal();
        Self { json, color, verbose, paths: Paths::default(), failed: None }
    }

    /// One that nobody hears.
    pub(crate) fn silent() -> Self {
        Self { json: true, color: false, verbose: false, paths: Paths::default(), failed: None }
    }

    /// Whether colour and progress are wanted.
    pub(crate) fn is_lively(&self) -> bool {
        self.color
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }

    fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            let mut stdout = io::stdout().lock();
            self.failed = writeln!(stdout, "{text}").and_then(|()| stdout.flush()).err();
        }
    }

    /// Prints a line of text; nothing where JSON was asked for.
    pub(crate) fn line(&mut self, text: &str) {
        if !self.json {
            let text = self.paths.apply(text);
            self.write(&text);
        }
    }

    /// Prints text that is for another program, as it is.
    pub(crate) fn plain(&mut self, text: &str) {
        self.write(text);
    }

    /// Prints "label  value", aligned with the others.
    pub(crate) fn row(&mut self, label: &str, value: &str) {
        self.wide_row(label, value, 0);
    }

    /// As [`row`](Self::row), aligned with others whose labels take up to `width` characters.
    pub(crate) fn wide_row(&mut self, label: &str, value: &str, width: usize) {
        let width = width.max(11);
        let label = self.paint(Style::Dim, &format!("{label:<width$}"));
        self.line(&format!("  {label} {value}"));
    }

    /// Prints a line of the kernel log as dmesg does.
    pub(crate) fn log(&mut self, line: &LogLine) {
        let stamp = self.paint(Style::Green, &format!("[{:>12}]", Moment(line.at)));
        let text = match line.level {
            0..=3 => self.paint(Style::Red, &line.text),
            4 => self.paint(Style::Yellow, &line.text),
            _ => line.text.clone(),
        };
        self.line(&format!("{stamp} {text}"));
    }

    /// Prints the JSON document; nothing where text was asked for.
    pub(crate) fn document(&mut self, value: &impl serde::Serialize) {
        if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(text) => {
                    let text = self.paths.apply(&text);
                    self.write(&text);
                }
                Err(error) => self.failed = Some(error.into()),
            }
        }
    }

    /// How wide something may be that is to be at most `limit` characters wide.
    pub(crate) fn fitting(limit: usize) -> usize {
        if io::stdout().is_terminal() { limit.min(WIDTH) } else { limit }
    }

    /// Prints rows in columns; the first row is the heading. On a terminal the widest column is broken into lines; elsewhere a
    /// row is a line, whatever its length, for tools that look for lines.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) {
        let limit = Self::fitting(usize::MAX);
        for (index, line) in table_lines(rows, limit) {
            let line = if index == 0 { self.paint(Style::Bold, &line) } else { line };
            self.line(&line);
        }
    }

    /// Prints a table that is at most `limit` characters wide, in groups: each has a heading, and the number of the row that it
    /// stands before.
    pub(crate) fn grouped_table(&mut self, rows: &[Vec<String>], limit: usize, groups: &[(usize, String)]) {
        let mut last = None;
        for (index, line) in table_lines(rows, Self::fitting(limit)) {
            if last != Some(index) {
                for (_, heading) in groups.iter().filter(|(before, _)| *before == index) {
                    let heading = self.paint(Style::Bold, heading);
                    self.line("");
                    self.line(&heading);
                }
                last = Some(index);
            }
            self.line(&line);
        }
    }

    /// Says something on standard error when that was asked for.
    pub(crate) fn verbose(&self, text: &str) {
        if self.verbose {
            eprintln!("{text}");
        }
    }

    /// Whether everything was written. A reader that went away (`| head`) is no failure.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(format_args!("cannot write to standard output: {}", reason(&error))))
            }
            _ => Ok(()),
        }
    }
}

/// The lines of a table, each with the number of its row.
fn table_lines(rows: &[Vec<String>], limit: usize) -> Vec<(usize, String)> {
    /// No column is made narrower, whatever that costs.
    const NARROWEST: usize = 20;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let whole = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
    let widest = (0..columns).max_by_key(|column| widths[*column]).filter(|_| whole > limit);
    if let Some(widest) = widest {
        widths[widest] = widths[widest].saturating_sub(whole - limit).max(NARROWEST);
    }
    let mut lines = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row
            .iter()
            .enumerate()
            .map(|(column, cell)| if Some(column) == widest { wrap(cell, widths[column]) } else { vec![cell.clone()] });
        let cells: Vec<Vec<String>> = cells.collect();
        for number in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let parts = cells.iter().zip(&widths).map(|(cell, width)| {
                let part = cell.get(number).map_or("", String::as_str);
                format!("{part:<width$}")
            });
            lines.push((index, parts.collect::<Vec<_>>().join("  ").trim_end().to_owned()));
        }
    }
    lines
}

/// Breaks text into lines of at most `width` characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if lines[last].chars().count() + 1 + word.chars().count() <= width {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(word.into());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_the_user_wrote_them() {
        let mut paths = Paths::default();
        paths.show("/home/me/drivers/".into(), "drivers/".into());
        paths.show("/src/".into(), String::new());
        assert_eq!(paths.apply("--> /home/me/drivers/a.rs:3, /src/b.rs:1"), "--> drivers/a.rs:3, b.rs:1");
    }

    #[test]
    fn paths_do_not_go_down_and_up_again() {
        let shown = |text: &str| without_detours(text.into());
        assert_eq!(shown("--> drivers/virtio/blk/../virtio/pci.rs:85"), "--> drivers/virtio/virtio/pci.rs:85");
        assert_eq!(shown("(a/b/../../c.rs:1)"), "(c.rs:1)");
        assert_eq!(shown("../../a.rs and /../b"), "../../a.rs and /../b");
        assert_eq!(shown("é/../ü.rs"), "ü.rs");
    }

    #[test]
    fn path_as_the_user_wrote_it_is_not_shortened_again() {
        let mut paths = Paths::default();
        paths.show("/src/drivers/".into(), "/src/drivers/".into());
        paths.show("/src/".into(), String::new());
        assert_eq!(paths.apply("/src/drivers/a.rs /src/sim/b.rs"), "/src/drivers/a.rs sim/b.rs");
        assert_eq!(paths.apply("../src/drivers/a.rs"), "../src/drivers/a.rs");
        assert_eq!(paths.apply("\x1b[1;34m/src/sim/b.rs"), "\x1b[1;34msim/b.rs");
    }

    #[test]
    fn widest_column_is_broken_where_the_table_is_too_wide() {
        let rows = [["A", "WHAT", "B"], ["one", "a text of more than twenty letters", "x"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let lines = |limit: usize| table_lines(&rows, limit).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert_eq!(lines(60)[1], "one  a text of more than twenty letters  x");
        assert_eq!(lines(28), ["A    WHAT                  B", "one  a text of more than   x", "     twenty letters"]);
    }

    #[test]
    fn wrapped_lines_keep_to_the_width() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
    }
}
