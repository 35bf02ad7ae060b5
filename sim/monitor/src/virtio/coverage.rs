//! Which clauses of virtio 1.4 that bind drivers are checked, need a stimulus, or cannot be seen: what `bringup list checks --virtio`
//! prints.

mod clauses;

use std::fmt;

use bringup_core::Rule;

pub use clauses::CLAUSES;

use super::rules;

/// How a clause binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// It says what a driver does.
    Must,
    /// It says what a driver does not do.
    MustNot,
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
        })
    }
}

/// Whether a clause is one of the core, which hold whatever the type of the device is and can be seen by watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is.
    Core,
    /// It is not.
    Other,
}

/// How a clause can be seen to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The rule of the same id checks it.
    Checked,
    /// The rule of this id checks it: it says the same.
    Same(&'static str),
    /// Only when the device does something out of the ordinary; says what, and what to look for.
    Stimulus(&'static str),
    /// Not from outside of the driver; says why, or what might hint at it.
    Unseen(&'static str),
    /// It could be, and is not checked; says why.
    Open(&'static str),
}

impl How {
    /// In one word: `checked`, `stimulus`, `unseen` or `open`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Checked | Self::Same(_) => "checked",
            Self::Stimulus(_) => "stimulus",
            Self::Unseen(_) => "unseen",
            Self::Open(_) => "open",
        }
    }

    /// All words with what they mean.
    pub const WORDS: [(&'static str, &'static str); 4] = [
        ("checked", "a rule watches it"),
        ("stimulus", "only an odd device brings it out"),
        ("unseen", "it cannot be seen from outside of the driver"),
        ("open", "it could be watched and is not"),
    ];
}

/// A clause: something that the specification says a driver must or must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Area, party (D, the driver) and number; that of the rule that checks it, if one does.
    pub id: &'static str,
    /// The section of virtio 1.4.
    pub section: &'static str,
    /// What it is about.
    pub area: &'static str,
    /// How it binds.
    pub strength: Strength,
    /// Whether it is of the core.
    pub weight: Weight,
    /// What it says, in other words than the specification's.
    pub says: &'static str,
    /// How it is seen.
    pub how: How,
}

impl Clause {
    /// The rule that checks it.
    #[must_use]
    pub fn rule(&self) -> Option<&'static Rule> {
        let id = match self.how {
            How::Checked => self.id,
            How::Same(id) => id,
            How::Stimulus(_) | How::Unseen(_) | How::Open(_) => return None,
        };
        rules::all().find(|rule| rule.id == id)
    }

    /// More about [`how`](Self::how); empty if its own rule checks it.
    #[must_use]
    pub const fn remark(&self) -> &'static str {
        match self.how {
            How::Checked => "",
            How::Same(id) => id,
            How::Stimulus(text) | How::Unseen(text) | How::Open(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_rules_agree() {
        assert_eq!(CLAUSES.len(), 370);
        for clause in CLAUSES {
            let own = rules::all().any(|rule| rule.id == clause.id);
            assert_eq!(clause.how == How::Checked, own, "{}", clause.id);
            assert_eq!(clause.how.word() == "checked", clause.rule().is_some(), "{}", clause.id);
            if let Some(rule) = clause.rule().filter(|_| own) {
                assert_eq!(rule.reference, format!("virtio 1.4 §{}", clause.section), "{}", clause.id);
                assert_eq!(rule.severity, bringup_core::Severity::Error, "{}", clause.id);
            }
        }
    }

    #[test]
    fn the_core_is_checked() {
        let core: Vec<_> = CLAUSES.iter().filter(|clause| clause.weight == Weight::Core).collect();

        assert_eq!(core.len(), 84);
        for clause in core {
            assert!(clause.rule().is_some(), "{}", clause.id);
        }
    }

    #[test]
    fn ids_are_unique() {
        for (at, clause) in CLAUSES.iter().enumerate() {
            assert!(CLAUSES.iter().skip(at + 1).all(|other| other.id != clause.id), "{}", clause.id);
        }
    }

    #[test]
    fn rules_that_are_no_clause_are_advice_or_implied() {
        for rule in rules::all().filter(|rule| CLAUSES.iter().all(|clause| clause.id != rule.id)) {
            let implied = rule.id.starts_with("IMP-");
            assert!(implied || rule.severity == bringup_core::Severity::Advice, "{}", rule.id);
        }
    }
}
