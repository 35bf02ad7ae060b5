//! Tells the lines of a kernel's log from what else comes over its console, and judges them.

use std::collections::VecDeque;

/// Lines in a kernel's log that no correct driver causes.
const ALARMS: [&str; 8] =
    ["BUG:", "Oops", "WARNING:", "DMA-API:", "Kernel panic", "kernel BUG", "nobody cared", "Call Trace"];
/// … except these, of which the first two are printed at every boot.
const NO_ALARM: [&str; 3] = ["DMA-API: preallocated", "DMA-API: debugging enabled", "report a bug"];

/// Whether a line of a kernel's log is one that no correct driver causes.
pub(crate) fn is_alarm(line: &str) -> bool {
    ALARMS.iter().any(|alarm| line.contains(alarm)) && !NO_ALARM.iter().any(|ok| line.contains(ok))
}

/// A line without the time in front of it.
pub(crate) fn without_time(line: &str) -> &str {
    let Some((time, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else { return line };
    let is_time = time.trim().starts_with(|c: char| c.is_ascii_digit())
        && time.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '.'));
    if is_time { rest.trim_start() } else { line }
}

/// The time that a line begins with, as the kernel prints it: `[    1.949390] `; in microseconds.
fn time(line: &str) -> Option<u64> {
    let (time, rest) = line.strip_prefix('[')?.split_once(']')?;
    // Behind it may stand who printed the line, in brackets of its own.
    let goes_on = rest.is_empty() || rest.starts_with([' ', '[']);
    let (seconds, micros) = time.trim_start_matches(' ').split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !goes_on || micros.len() != 6 || !digits(seconds) || !digits(micros) {
        return None;
    }
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)
}

/// Lines of two CPUs may come in another order than that of their times, by so many microseconds.
const LATE: u64 = 10_000;
/// So many lines of that span are remembered.
const REMEMBERED: usize = 256;

/// A kernel's log as it comes: what comes again, because a command prints it, is no line of the log.
#[derive(Debug, Default)]
pub(super) struct KernelLog {
    /// In microseconds.
    newest: u64,
    recent: VecDeque<(u64, String)>,
}

impl KernelLog {
    /// Where in a line of the console a new line of the kernel's log begins: not at its start if the kernel printed it while
    /// something else had not ended its line.
    pub(super) fn find(&mut self, line: &str) -> Option<usize> {
        let found = line.match_indices('[').find_map(|(at, _)| {
            let text = &line[at..];
            let time = time(text)?;
            self.is_new(time, text).then_some((at, time))
        });
        let (at, time) = found?;
        self.newest = self.newest.max(time);
        let oldest = self.newest.saturating_sub(LATE);
        self.recent.retain(|(time, _)| *time >= oldest);
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((time, line[at..].to_owned()));
        Some(at)
    }

    fn is_new(&self, time: u64, text: &str) -> bool {
        time + LATE >= self.newest && !self.recent.iter().any(|(then, line)| *then == time && line == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_taken_off_and_other_brackets_stay() {
        assert_eq!(without_time("[    1.949390] edu: x"), "edu: x");
        assert_eq!(without_time("[driver] x"), "[driver] x");
        assert_eq!(without_time("x"), "x");
    }

    #[test]
    fn time_is_what_the_kernel_prints_and_nothing_else() {
        assert_eq!(time("[    1.949390] edu: x"), Some(1_949_390));
        assert_eq!(time("[    1.949390][   T1] edu: x"), Some(1_949_390));
        assert_eq!(time("[123456.000001]"), Some(123_456_000_001));
        for other in
            ["[1.9] x", "[    1.949390]x", "[1] x", "[driver] x", "[99999999999999999999.000000] x", "[+1.000000] x"]
        {
            assert_eq!(time(other), None, "{other}");
        }
    }

    #[test]
    fn line_that_comes_again_is_not_new_and_one_of_the_same_time_is() {
        let mut log = KernelLog::default();
        assert_eq!(log.find("[    1.000000] a"), Some(0));
        assert_eq!(log.find("[    1.000000] b"), Some(0));
        assert_eq!(log.find("[    1.000000] a"), None);
        assert_eq!(log.find("[    0.999990] another CPU's"), Some(0));
        assert_eq!(log.find("[    0.500000] old"), None);
    }

    #[test]
    fn line_in_the_middle_of_another_is_found() {
        let mut log = KernelLog::default();
        assert_eq!(log.find("half [a] line[    1.000000] x"), Some(13));
        // A part of an old line, and a new one in it.
        assert_eq!(log.find("[    0.500000] ol[    2.000000] y"), Some(17));
    }
}
