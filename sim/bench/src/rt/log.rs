//! The kernel log.

use std::fmt::{Arguments, Write};
use std::panic::Location;

use bringup_core::Finding;
use bringup_core::trace::Event;

use crate::machine::{LogLine, Machine, try_with};
use crate::rules;

impl Machine {
    pub(crate) fn log_line(&mut self, level: u8, text: String) {
        self.event(|| Event::Log { level, text: text.clone() });
        let at = self.now();
        self.log.push(LogLine { at, level, text });
    }

    /// Ends a line that `pr_cont!` left open.
    pub(crate) fn flush_log(&mut self) {
        if let Some((level, text)) = self.partial.take() {
            self.log_line(level, text);
        }
    }
}

/// Prints one message, its prefix included; `level` is 0 (emergency) to 7 (debug). Without a bench it goes to standard error.
pub fn printk(level: u8, text: Arguments<'_>) {
    let text = text.to_string();
    let logged = try_with(|m| {
        m.flush_log();
        match text.strip_suffix('\n') {
            Some(whole) => {
                for line in whole.split('\n') {
                    m.log_line(level, line.to_owned());
                }
            }
            None => m.partial = Some((level, text.clone())),
        }
    });
    if logged.is_none() {
        eprint!("<{level}>{text}");
    }
}

/// Continues the message that [`printk`] printed last without a newline.
pub fn printk_cont(text: Arguments<'_>) {
    let logged = try_with(|m| {
        let (level, mut line) = m.partial.take().unwrap_or((6, String::new()));
        // Writing to a string cannot fail.
        let _ = line.write_fmt(text);
        match line.strip_suffix('\n') {
            Some(whole) => m.log_line(level, whole.to_owned()),
            None => m.partial = Some((level, line)),
        }
    });
    if logged.is_none() {
        eprint!("{text}");
    }
}

/// Reports what Linux's `WARN()` reports: a line in the log and a finding.
#[track_caller]
pub fn warn(text: Arguments<'_>) {
    warn_of(text, None);
}

/// Warns of an allocation of more bytes than there ever are in one. If a device said the number, that is the finding.
#[track_caller]
pub fn allocation_too_large(bytes: usize) {
    warn_of(format_args!("allocation of {bytes} bytes is too large"), Some(bytes as u64));
}

/// Sizes of the elements that a number of elements may have been multiplied with.
const ELEMENTS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 512];

#[track_caller]
fn warn_of(text: Arguments<'_>, number: Option<u64>) {
    let place = Location::caller();
    let what = text.to_string();
    let logged = try_with(|m| {
        m.log_line(4, format!("WARNING: {}:{}: {what}", place.file(), place.line()));
        let said = number.and_then(|number| {
            let whole = ELEMENTS.iter().filter(|size| number.is_multiple_of(**size));
            whole.map(|size| number / size).find_map(|count| m.heard.source_of(count)).copied()
        });
        let finding = match said {
            Some(word) => Finding::new(&rules::UNCHECKED_DEVICE_VALUE, what.clone()).note(word.describe()),
            None => Finding::new(&rules::KERNEL_WARNING, what.clone()),
        };
        m.report(finding.at_place(Some(place)));
    });
    if logged.is_none() {
        eprintln!("WARNING: {place}: {what}");
    }
}
