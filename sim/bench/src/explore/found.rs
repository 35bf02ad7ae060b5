//! What a campaign found, each cause once.

use std::time::Duration;

use bringup_core::{Finding, Place, Severity};

/// What makes two findings the same bug: the rule, the driver's line, the device; and where no line is known, what happened
/// without its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// The rule's id.
    pub rule: &'static str,
    /// Where in the driver's source.
    pub place: Option<Place>,
    /// The device, by its name in the machine.
    pub device: Option<String>,
    /// What happened, with every number as `#`; empty where a place is known.
    pub what: String,
}

impl Cause {
    /// The cause of a finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        let what = if finding.place.is_some() { String::new() } else { without_numbers(&finding.what) };
        Self { rule: finding.rule.id, place: finding.place, device: finding.device.clone(), what }
    }
}

/// One bug, and the first life that showed it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The first finding of this cause.
    pub finding: Finding,
    /// The number of the life that it came up in; the first life is 0.
    pub life: u64,
    /// How long the campaign had run, in this computer's time. Only for people: it differs from run to run.
    pub after: Duration,
    /// The choices of that life: they repeat it.
    pub stream: Vec<u8>,
    /// In how many lives it came up.
    pub times: u64,
}

impl Found {
    /// Its cause.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause::of(&self.finding)
    }

    /// Whether it is a bug, and not advice.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.finding.rule.severity > Severity::Advice
    }
}

/// A text with each number, decimal or hexadecimal, replaced by `#`.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let after_word = rest[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let digits = &rest[start..];
        let hex = digits.strip_prefix("0x").map(|digits| digits.find(|c: char| !c.is_ascii_hexdigit()));
        let len = match hex {
            Some(end) => end.map_or(digits.len(), |end| end + 2),
            None => digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()),
        };
        out.push_str(&rest[..start]);
        // A digit in a name (`vblk0`) is no number.
        out.push_str(if after_word { &digits[..len] } else { "#" });
        rest = &digits[len..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_tell_causes_apart_but_names_do() {
        assert_eq!(without_numbers("edu1 read 16 bytes at 0xffe0: 3"), "edu1 read # bytes at #: #");
        assert_eq!(without_numbers("BAR 2, x0x12"), "BAR #, x0x12");
        assert_eq!(without_numbers("no number"), "no number");
    }
}
