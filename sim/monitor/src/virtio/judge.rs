//! How a rule is applied: its test is noted, and a violation is filed.

use bringup_core::{Finding, Rule, Sight};

/// Notes that a rule was put to the test, and files a finding if it does not hold. Gives whether it holds.
///
/// When a fault of the plan met the function, nothing is judged: the driver may have been misled.
pub(super) fn judge(sight: &mut Sight<'_>, rule: &'static Rule, holds: bool, what: impl FnOnce() -> String) -> bool {
    if !sight.is_faulted() {
        sight.exercised(rule);
        if !holds {
            sight.report(Finding::new(rule, what()));
        }
    }
    holds
}

/// As [`judge`], for a rule that is broken.
pub(super) fn blame(sight: &mut Sight<'_>, rule: &'static Rule, what: impl FnOnce() -> String) {
    judge(sight, rule, false, what);
}
