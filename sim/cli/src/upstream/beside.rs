//! Two logs of one driver side by side: the bench's, and that of a real kernel.

use serde::Serialize;

use crate::guest::console::Stage;
use crate::output::{Out, Style};

/// What the real kernel itself says in a driver's or module's name, which the bench does not.
const OF_THE_KERNEL: [&str; 5] = [
    "loading out-of-tree module taints kernel",
    "module verification failed",
    "module license",
    ": enabling device (",
    ": enabling bus mastering",
];

/// A line of either log, or of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// `both`, `bench` or `linux`.
    pub(super) on: On,
    pub(super) text: String,
    pub(super) mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum On {
    Both,
    Bench,
    Linux,
}

/// What there is to say of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// Both say it.
    Same,
    /// The other says it too, with another address, number of an interrupt or process, or duration, as each machine has its own.
    Alike,
    /// The kernel says it, not the driver.
    Kernel,
    /// It came while the commands ran, which the bench does not.
    Commands,
    /// It is for debugging: a kernel prints such a line only if it was built or told to.
    Debug,
    /// The other does not say it.
    Differs,
}

/// Whether a line is of a driver that goes by one of these names: `name: …` or `name device: …`.
pub(super) fn is_of_driver(line: &str, names: &[String]) -> bool {
    names.iter().any(|name| line.strip_prefix(&**name).is_some_and(|rest| rest.starts_with([':', ' '])))
}

/// A line of the bench's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BenchLine {
    pub(super) text: String,
    /// It is for debugging.
    pub(super) debug: bool,
}

/// Lays the logs beside each other; that of the kernel says in which stage of the guest each line came.
pub(super) fn beside(bench: &[BenchLine], linux: &[(Stage, String)]) -> Vec<Line> {
    // What one of them cannot say is no part of the comparison, and goes back to where it was afterwards.
    let aside = |stage: Stage, line: &str| {
        if stage == Stage::Run {
            Some(Mark::Commands)
        } else if OF_THE_KERNEL.iter().any(|words| line.contains(words)) {
            Some(Mark::Kernel)
        } else {
            None
        }
    };
    let compared: Vec<&String> =
        linux.iter().filter(|(stage, line)| aside(*stage, line).is_none()).map(|(_, line)| line).collect();
    let mut pairs = align(bench, &compared).into_iter().peekable();
    let mut lines = Vec::new();
    let bench_line = |index: usize, mark| Line { on: On::Bench, text: bench[index].text.clone(), mark };
    let alone = |index: usize| bench_line(index, if bench[index].debug { Mark::Debug } else { Mark::Differs });
    for (stage, text) in linux {
        if let Some(mark) = aside(*stage, text) {
            lines.push(Line { on: On::Linux, text: text.clone(), mark });
            continue;
        }
        while let Some((Some(index), None)) = pairs.peek().copied() {
            lines.push(alone(index));
            pairs.next();
        }
        match pairs.next() {
            Some((Some(index), Some(_))) if bench[index].text == *text => {
                lines.push(Line { on: On::Both, text: text.clone(), mark: Mark::Same });
            }
            Some((Some(index), Some(_))) => {
                lines.push(bench_line(index, Mark::Alike));
                lines.push(Line { on: On::Linux, text: text.clone(), mark: Mark::Alike });
            }
            _ => lines.push(Line { on: On::Linux, text: text.clone(), mark: Mark::Differs }),
        }
    }
    lines.extend(pairs.filter_map(|(index, _)| index.map(alone)));
    lines
}

/// The longest common part of both, as pairs; what only one has stands alone.
fn align(bench: &[BenchLine], linux: &[&String]) -> Vec<(Option<usize>, Option<usize>)> {
    /// So many lines are aligned; what comes after them is paired in order. A driver that prints more has other troubles.
    const MOST: usize = 2000;
    let bench: Vec<String> = bench.iter().map(|line| without_volatile(&line.text)).collect();
    let linux: Vec<String> = linux.iter().map(|line| without_volatile(line)).collect();
    let (rows, columns) = (bench.len().min(MOST), linux.len().min(MOST));
    let mut common = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[row][column] = if bench[row] == linux[column] {
                common[row + 1][column + 1] + 1
            } else {
                common[row + 1][column].max(common[row][column + 1])
            };
        }
    }
    let (mut row, mut column, mut pairs) = (0, 0, Vec::new());
    while row < rows || column < columns {
        if row < rows && column < columns && bench[row] == linux[column] {
            pairs.push((Some(row), Some(column)));
            (row, column) = (row + 1, column + 1);
        } else if column == columns || (row < rows && common[row + 1][column] >= common[row][column + 1]) {
            pairs.push((Some(row), None));
            row += 1;
        } else {
            pairs.push((None, Some(column)));
            column += 1;
        }
    }
    for index in MOST..bench.len().max(linux.len()) {
        match (bench.get(index), linux.get(index)) {
            (Some(a), Some(b)) if a == b => pairs.push((Some(index), Some(index))),
            (a, b) => {
                pairs.extend(a.map(|_| (Some(index), None)));
                pairs.extend(b.map(|_| (None, Some(index))));
            }
        }
    }
    pairs
}

/// A line with `#` for what each machine has its own of: addresses that the line calls so, kernel pointers, numbers of interrupts and
/// processes, durations. Any other number is the driver's, and a difference in it is one.
fn without_volatile(line: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric();
    let mut parts: Vec<(&str, &str)> = Vec::new(); // A word, and what stands before it.
    let mut rest = line;
    while let Some(at) = rest.find(is_word) {
        let end = rest[at..].find(|c: char| !is_word(c)).map_or(rest.len(), |len| at + len);
        parts.push((&rest[..at], &rest[at..end]));
        rest = &rest[end..];
    }
    let word = |index: Option<usize>| index.and_then(|index| parts.get(index)).map_or("", |(_, word)| *word);
    let mut text = String::new();
    let mut range = false;
    for (index, (gap, this)) in parts.iter().enumerate() {
        let before = word(index.checked_sub(1));
        // "DMA address is 0x…", "addr = 0x…".
        let label = if is_filler(before) { word(index.checked_sub(2)) } else { before };
        let address = is_plausible_address(this) && (is_address_label(label) || (range && *gap == "-"));
        let number = this.bytes().all(|byte| byte.is_ascii_digit());
        let counted = number && ["irq", "pid"].iter().any(|label| before.eq_ignore_ascii_case(label));
        let after = |by: usize| parts.get(index + by).copied().unwrap_or_default();
        let duration = is_number_and_unit(this)
            || (number && after(1).0 == " " && is_unit(after(1).1))
            // What stands before the point of a duration: "1.5 ms", "1.5ms".
            || (number && after(1).0 == "." && is_fraction(after(1).1, after(2)));
        text.push_str(gap);
        text.push_str(if address || is_kernel_pointer(this) || counted || duration { "#" } else { this });
        range = address;
    }
    text + rest
}

/// Words that call the number behind them an address.
fn is_address_label(word: &str) -> bool {
    const LABELS: [&str; 14] = [
        "at", "addr", "address", "dma", "iova", "phys", "physical", "paddr", "virt", "virtual", "vaddr", "ptr",
        "pointer", "mem",
    ];
    LABELS.iter().any(|label| word.eq_ignore_ascii_case(label))
}

/// Words that may stand between such a word and the number.
fn is_filler(word: &str) -> bool {
    ["is", "was"].iter().any(|filler| word.eq_ignore_ascii_case(filler))
}

/// Hexadecimal, of five digits or more, and neither nothing nor all ones, which is what a device that is not there answers.
fn is_plausible_address(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    // Without the prefix Linux prints pointers and addresses in full.
    let long = if digits.len() == word.len() { digits.len() == 16 } else { (5..=16).contains(&digits.len()) };
    long && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && digits.bytes().any(|byte| byte != b'0')
        && digits.bytes().any(|byte| !byte.eq_ignore_ascii_case(&b'f'))
}

/// An address in the upper half of x86-64, which no line has to call one.
fn is_kernel_pointer(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    digits.len() == 16 && digits.starts_with("ffff") && is_plausible_address(word)
}

fn is_unit(word: &str) -> bool {
    matches!(word, "ns" | "us" | "ms" | "µs")
}

/// `5ms`.
fn is_number_and_unit(word: &str) -> bool {
    word.find(|c: char| !c.is_ascii_digit()).is_some_and(|at| at > 0 && is_unit(&word[at..]))
}

/// What stands behind the point of a duration; `next` comes after it.
fn is_fraction(word: &str, next: (&str, &str)) -> bool {
    let number = word.bytes().all(|byte| byte.is_ascii_digit());
    is_number_and_unit(word) || (number && next.0 == " " && is_unit(next.1))
}

/// How many lines only one of them has.
pub(super) fn differences(lines: &[Line]) -> usize {
    lines.iter().filter(|line| line.mark == Mark::Differs).count()
}

/// Prints them.
pub(super) fn print(lines: &[Line], out: &mut Out) {
    for line in lines {
        let on = match line.on {
            On::Both => "both ",
            On::Bench => "bench",
            On::Linux => "linux",
        };
        let (style, remark) = match line.mark {
            Mark::Same => (None, ""),
            Mark::Alike => (Some(Style::Yellow), "  (alike)"),
            Mark::Kernel => (Some(Style::Dim), "  (by the kernel)"),
            Mark::Commands => (Some(Style::Dim), "  (by the commands)"),
            Mark::Debug => (Some(Style::Dim), "  (for debugging)"),
            Mark::Differs => (Some(Style::Red), "  (DIFFERS)"),
        };
        let text = format!("{on}  {}{remark}", line.text);
        out.line(&style.map_or(text.clone(), |style| out.paint(style, &text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<BenchLine> {
        lines.iter().map(|line| BenchLine { text: (*line).to_owned(), debug: line.contains("debug") }).collect()
    }

    fn marks(bench: &[&str], linux: &[(Stage, &str)]) -> Vec<(On, Mark)> {
        let linux: Vec<_> = linux.iter().map(|(stage, line)| (*stage, (*line).to_owned())).collect();
        beside(&lines(bench), &linux).iter().map(|line| (line.on, line.mark)).collect()
    }

    #[test]
    fn line_that_only_one_has_differs_and_the_others_stay_paired() {
        let linux = [(Stage::Load, "edu: a"), (Stage::Load, "edu: x"), (Stage::Unload, "edu: c")];
        assert_eq!(
            marks(&["edu: a", "edu: b", "edu: c"], &linux),
            [(On::Both, Mark::Same), (On::Bench, Mark::Differs), (On::Linux, Mark::Differs), (On::Both, Mark::Same),]
        );
    }

    #[test]
    fn what_each_machine_has_its_own_of_is_alike() {
        let linux = [(Stage::Load, "edu: registers at 0xe0001000, irq 24, took 12 us")];
        let bench = ["edu: registers at 0x80000000, irq 33, took 7 us"];
        assert_eq!(marks(&bench, &linux), [(On::Bench, Mark::Alike), (On::Linux, Mark::Alike)]);
        for (line, same) in [
            ("id 0x11e8, 3 queues, (5ms)", "id 0x11e8, 3 queues, (#)"),
            ("dma_addr=0x00000000fedcb000 len 0x10000", "dma_addr=# len 0x10000"),
            ("DMA address is 0x12345, pid: 7, IRQ=3", "DMA address is #, pid: #, IRQ=#"),
            ("BAR 0 [mem 0xe0000000-0xe00fffff], took 1.25 ms", "BAR 0 [mem #-#], took #.# ms"),
            ("ring ffff888012345678, ptr 00000000cafe1234", "ring #, ptr #"),
        ] {
            assert_eq!(without_volatile(line), same);
        }
    }

    #[test]
    fn number_that_no_line_calls_an_address_is_the_drivers_own() {
        for line in [
            "edu: identification 0x010000ed",
            "edu: checksum 0xdeadbeef12345678",
            "edu: dma mask 0xffffffff",
            "edu: register at 0xffffffff",
            "edu: at 0x00000000",
            "edu: read 0xffffffffffffffff",
            "edu: 12 irqs, 3 msg, version 1.2, sum deadbeef",
            "edu: µ, 0x, 0xé, ",
        ] {
            assert_eq!(without_volatile(line), line);
        }
        let linux = [(Stage::Load, "edu: identification 0x010000ee".to_owned())];
        assert_eq!(differences(&beside(&lines(&["edu: identification 0x010000ed"]), &linux)), 2);
    }

    #[test]
    fn number_that_is_the_drivers_own_differs() {
        let linux = [(Stage::Load, "edu: 5! = 121")];
        assert_eq!(differences(&beside(&lines(&["edu: 5! = 120"]), &linux.map(|(s, l)| (s, l.to_owned())))), 2);
    }

    #[test]
    fn what_the_bench_cannot_say_is_set_aside_where_it_stands() {
        let linux = [
            (Stage::Load, "edu: loading out-of-tree module taints kernel."),
            (Stage::Load, "edu: a"),
            (Stage::Run, "edu: used"),
            (Stage::Unload, "edu: bye"),
        ];
        assert_eq!(
            marks(&["edu: a", "edu: bye"], &linux),
            [(On::Linux, Mark::Kernel), (On::Both, Mark::Same), (On::Linux, Mark::Commands), (On::Both, Mark::Same),]
        );
    }

    #[test]
    fn silence_on_one_side_is_a_difference() {
        assert_eq!(marks(&["edu: a"], &[]), [(On::Bench, Mark::Differs)]);
        assert_eq!(marks(&[], &[(Stage::Load, "edu: a")]), [(On::Linux, Mark::Differs)]);
        assert!(marks(&[], &[]).is_empty());
    }

    #[test]
    fn lines_are_the_drivers_by_their_first_word() {
        let log = ["edu: a", "edu 0000:00:03.0: b", "edu_caps: c", "pci 0000:00:03.0: d", "education"];
        assert_eq!(log.map(|line| is_of_driver(line, &["edu".into()])), [true, true, false, false, false]);
    }

    #[test]
    fn line_for_debugging_is_missed_by_nobody_and_paired_where_it_is_there() {
        let bench = ["edu: a", "edu: debug"];
        assert_eq!(marks(&bench, &[(Stage::Load, "edu: a")]), [(On::Both, Mark::Same), (On::Bench, Mark::Debug)]);
        let both = [(Stage::Load, "edu: a"), (Stage::Load, "edu: debug")];
        assert_eq!(marks(&bench, &both), [(On::Both, Mark::Same), (On::Both, Mark::Same)]);
    }
}
