//! What the end of a machine means: the exit status, and a line where something went wrong with the machine or the guest.

use bringup_vmm::{End, Outcome};

use super::boot::{By, Ended, SIGNALLED};
use crate::guest::console::Shown;
use crate::guest::{Purpose, failed_module_on_channel, status_on_channel};

/// Exit status where the guest failed.
const FOUND: u8 = 1;
/// Exit status where the machine could not run.
const FAILED: u8 = 2;

/// How a machine's end is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) exit: u8,
    /// What went wrong, if it is not for the guest's commands to say.
    pub(crate) line: Option<String>,
    /// That a module could not be loaded, so that the commands did not run.
    pub(crate) module: Option<String>,
    /// The status of the guest's commands, if they came to their end.
    pub(crate) status: Option<i32>,
}

impl Verdict {
    /// Judges a machine; `purpose` is that of our init, if it was to run there.
    pub(crate) fn of(ended: &Ended, shown: &Shown, purpose: Option<Purpose<'_>>) -> Self {
        let Ended { outcome: Outcome { end, said, .. }, by } = ended;
        let status = status_on_channel(said);
        let (exit, line) = judge(end, *by, shown, purpose, status);
        // Commands that succeeded ran, whatever they say there.
        let failed = purpose.filter(|_| status != Some(0)).and_then(|_| failed_module_on_channel(said));
        let module = failed.map(|(module, status)| {
            format!(
                "the guest could not load {module}: insmod ended with status {status}, and the guest's log says why"
            )
        });
        Self { exit, line, module, status }
    }

    /// What the user is told of what went wrong.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.line.as_deref().or(self.module.as_deref())
    }

    /// The exit status where something was found, or nothing.
    pub(crate) fn with_findings(&self, found: bool) -> u8 {
        // What keeps a machine from running to its end counts for more, as what there was to be found may not have been.
        let ran = self.line.is_none() || self.exit == FOUND;
        if found && ran { FOUND } else { self.exit }
    }
}

fn judge(
    end: &End,
    by: Option<By>,
    shown: &Shown,
    purpose: Option<Purpose<'_>>,
    status: Option<i32>,
) -> (u8, Option<String>) {
    // Where a guest without our init is, nobody knows.
    let place = purpose.map_or_else(String::new, |_| format!(": {}", shown.stage.words()));
    let runs_commands = matches!(purpose, Some(Purpose::Commands(_)));
    let failed = |line: String| (FOUND, Some(line));
    match end {
        End::Stuck(stuck) => return (if stuck.astray { FOUND } else { FAILED }, Some(stuck.to_string())),
        End::Panicked => {
            let line = "the machine failed by a bug in Bringup, which the message above is of; please report it";
            return (FAILED, Some(line.into()));
        }
        End::Stopped => match by {
            Some(By::Signal) => return (SIGNALLED, Some(format!("a signal ended the machine{place}"))),
            Some(By::Timeout) => return failed(format!("the guest took longer than --timeout allows{place}")),
            Some(By::Reader) => {
                return failed(format!("nobody reads standard output any more, which ended the machine{place}"));
            }
            // Whoever is at the console wanted it so.
            None => return (0, None),
        },
        End::PowerOff | End::Reset | End::TripleFault => {}
    }
    // A kernel whose init said a status panicked after that, if at all, which is an alarm.
    if let Some(panic) = shown.panic.as_ref().filter(|_| status.is_none()) {
        return failed(format!("the guest's kernel gave up: {panic}"));
    }
    match (status, end) {
        // What comes after the commands is only turning off.
        (Some(status), _) => (u8::try_from(status).unwrap_or(FOUND), None),
        (None, End::TripleFault) => failed(format!("the guest reset itself by a triple fault{place}")),
        (None, End::Reset) if runs_commands => failed(format!("the guest reset itself too early{place}")),
        (None, _) if runs_commands => failed(format!("the guest turned itself off too early{place}")),
        (None, _) => (0, None),
    }
}

/// How it ended, for the report: after "guest".
pub(crate) fn words(end: &End) -> &'static str {
    match end {
        End::PowerOff => "turned itself off",
        End::Reset => "reset itself",
        End::TripleFault => "faulted three times over",
        End::Stopped => "was stopped",
        End::Stuck(_) => "could not be run on",
        End::Panicked => "was lost",
    }
}

/// The same in a word, for programs.
pub(crate) fn word(end: &End) -> &'static str {
    match end {
        End::PowerOff => "power-off",
        End::Reset => "reset",
        End::TripleFault => "triple-fault",
        End::Stopped => "stopped",
        End::Stuck(_) => "stuck",
        End::Panicked => "panicked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::console::Stage;

    const COMMANDS: Option<Purpose<'static>> = Some(Purpose::Commands("true"));

    fn shown(stage: Stage) -> Shown {
        Shown { stage, log: Vec::new(), alarms: Vec::new(), panic: None }
    }

    fn exit(end: &End, by: Option<By>, purpose: Option<Purpose<'_>>, status: Option<i32>) -> u8 {
        judge(end, by, &shown(Stage::Run), purpose, status).0
    }

    #[test]
    fn commands_have_the_last_word_where_they_came_to_their_end() {
        for end in [End::PowerOff, End::Reset, End::TripleFault] {
            assert_eq!(exit(&end, None, COMMANDS, Some(0)), 0);
            assert_eq!(exit(&end, None, COMMANDS, Some(77)), 77);
        }
    }

    #[test]
    fn commands_that_came_to_no_end_are_a_failure_and_a_guest_of_the_users_may_do_as_it_likes() {
        for end in [End::PowerOff, End::Reset] {
            assert_eq!(exit(&end, None, COMMANDS, None), FOUND);
            assert_eq!(exit(&end, None, Some(Purpose::Shell), None), 0);
            assert_eq!(exit(&end, None, None, None), 0);
        }
        assert_eq!(exit(&End::TripleFault, None, None, None), FOUND);
    }

    #[test]
    fn end_from_outside_is_told_from_one_by_the_console() {
        assert_eq!(exit(&End::Stopped, Some(By::Signal), COMMANDS, None), SIGNALLED);
        assert_eq!(exit(&End::Stopped, Some(By::Timeout), COMMANDS, None), FOUND);
        assert_eq!(exit(&End::Stopped, Some(By::Reader), COMMANDS, None), FOUND);
        assert_eq!(exit(&End::Stopped, None, None, None), 0);
        // It had ended by itself when the signal came.
        assert_eq!(exit(&End::PowerOff, Some(By::Signal), COMMANDS, Some(0)), 0);
    }

    #[test]
    fn panic_of_the_kernel_is_named_and_so_is_where_it_was() {
        let mut early = shown(Stage::Boot);
        let line = judge(&End::Reset, None, &early, COMMANDS, None).1.unwrap();
        assert_eq!(line, "the guest reset itself too early: it had not reached its init");
        early.panic = Some("Kernel panic - not syncing: x".into());
        let (exit, line) = judge(&End::Reset, None, &early, None, None);
        assert_eq!((exit, line.unwrap().ends_with("not syncing: x")), (FOUND, true));
        // It came to the end of its commands.
        assert_eq!(judge(&End::Reset, None, &early, COMMANDS, Some(3)), (3, None));
    }

    #[test]
    fn findings_count_for_more_than_the_commands_and_less_than_a_machine_that_failed() {
        let verdict =
            |exit, line: Option<&str>| Verdict { exit, line: line.map(str::to_owned), module: None, status: None };
        assert_eq!(verdict(0, None).with_findings(true), FOUND);
        assert_eq!(verdict(77, None).with_findings(true), FOUND);
        assert_eq!(verdict(77, None).with_findings(false), 77);
        assert_eq!(verdict(FAILED, Some("stuck")).with_findings(true), FAILED);
        assert_eq!(verdict(SIGNALLED, Some("a signal")).with_findings(true), SIGNALLED);
    }
}
