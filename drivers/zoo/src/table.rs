//! An entry of the table, and its lives.

use bringup_bench::module::Loadable;
use bringup_bench::{rules, Bench, Builder, Report};
use bringup_core::Finding;

use crate::workload::{Trouble, Workload};

/// A bug that a driver had: what it is, what makes it, and what is meant to catch it.
#[derive(Debug)]
pub struct Bug {
    /// Short and stable: `cq-no-read-barrier`.
    pub id: &'static str,
    /// The classes of bugs that it is one of, by number; 0 is none of those that have one.
    pub classes: &'static [u8],
    /// One line.
    pub title: &'static str,
    /// What goes wrong, and what it came to where it was found; a paragraph.
    pub story: &'static str,
    /// Where it, or one like it, is documented in public.
    pub reference: &'static str,
    /// The driver that it is put into, which is the twin.
    pub base: &'static str,
    /// What is replaced by what in the twin's source to make it.
    pub edits: &'static [(&'static str, &'static str)],
    /// The file of a driver that was written for it, instead of edits.
    pub file: Option<&'static str>,
    /// The devices of its machine, as `--device` takes them.
    pub devices: &'static [&'static str],
    /// What goes wrong in its machine: a fault plan, or nothing.
    pub plan: &'static str,
    /// The parameters of the module: name and value.
    pub params: &'static [(&'static str, &'static str)],
    /// The rules that are meant to catch it; any of them will do.
    pub expect: &'static [&'static str],
    /// Why nothing catches it, if so.
    pub uncaught: Option<&'static str>,
    /// The driver with the bug; none if such a driver cannot be written.
    pub module: Option<&'static Loadable>,
    /// The driver without.
    pub twin: &'static Loadable,
    /// How user space uses either.
    pub workload: Workload,
}

impl Bug {
    /// The bug of that name.
    #[must_use]
    pub fn find(id: &str) -> Option<&'static Self> {
        crate::BUGS.iter().find(|bug| bug.id == id)
    }

    /// A life of the driver with the bug, in a machine that `builder` describes: with the bug's devices, its plan, and a chooser.
    /// Nothing happens in that of a bug that cannot be written.
    ///
    /// # Panics
    /// When the machine cannot be built: the thread has one already, or there is no memory.
    #[must_use]
    pub fn live(&self, builder: Builder) -> Report {
        self.module.map_or_else(Report::default, |module| self.life_of(module, builder))
    }

    /// As [`live`](Self::live), of the driver without the bug.
    ///
    /// # Panics
    /// As `live`.
    #[must_use]
    pub fn live_twin(&self, builder: Builder) -> Report {
        self.life_of(self.twin, builder)
    }

    /// Whether its devices or its plan do what correct ones do not: then wrong answers are no wonder.
    #[must_use]
    pub fn has_villain(&self) -> bool {
        !self.plan.is_empty() || self.devices.iter().any(|spec| spec.contains("odd="))
    }

    fn life_of(&self, module: &'static Loadable, builder: Builder) -> Report {
        let bench: Bench = match builder.build() {
            Ok(bench) => bench,
            Err(error) => panic!("no machine for {}: {error}", self.id),
        };
        let mut trouble = Trouble::default();
        match bench.load_with(module, self.params) {
            Ok(()) => (self.workload)(&bench, &mut trouble),
            Err(error) => trouble.failed("the load of the module", error),
        }
        let mut report = bench.finish();
        if report.crashed || self.has_villain() {
            return report;
        }
        let at = report.duration;
        let mut tell = |rule, what: &String| {
            let mut finding = Finding::new(rule, what.clone());
            finding.at = at;
            finding.position = report.operations;
            finding.context = "user space".into();
            report.findings.push(finding);
        };
        trouble
            .wrong
            .iter()
            .for_each(|what| tell(&rules::WRONG_ANSWER, what));
        // Memory that ran out excuses what failed.
        if report.stats.failed_allocations == 0 {
            trouble
                .failed
                .iter()
                .for_each(|what| tell(&rules::CALL_FAILED, what));
        }
        report
    }
}
