//! `bringup shrink FILE`: a failing stream file becomes a short one.

use bringup_bench::explore::{Cause, fails_with, shrink_within};
use bringup_bench::module::Loadable;
use bringup_core::choice::Replay;
use bringup_core::{Chooser, Finding, Severity};
use serde::Serialize;

use crate::args::ShrinkArgs;
use crate::explore::tries;
use crate::failure::{Failure, complain};
use crate::life::{Life, cause_text};
use crate::lives::Lives;
use crate::output::Out;
use crate::output_file;
use crate::watch::Watch;

/// The JSON of `bringup shrink`.
#[derive(Serialize)]
struct ShrinkReport {
    stream: String,
    /// What the short stream still shows.
    rule: &'static str,
    what: String,
    before: Size,
    after: Size,
}

#[derive(Serialize)]
struct Size {
    choices: usize,
    /// Those that are not 0.
    deviations: usize,
}

impl Size {
    fn of(stream: &[u8]) -> Self {
        Self { choices: stream.len(), deviations: stream.iter().filter(|answer| **answer != 0).count() }
    }
}

/// A failing life made short.
pub(crate) struct Short {
    pub(crate) finding: Finding,
    pub(crate) choices: Vec<u8>,
}

pub(crate) fn shrink(args: &ShrinkArgs, linked: Option<&'static Loadable>, out: &mut Out) -> Result<u8, Failure> {
    let life = Life::from_stream(&args.stream, linked, out)?;
    let before = Size::of(life.choices.as_deref().unwrap_or_default());
    let short = shorten(&life, &args.stream.display().to_string(), out)?;
    let path = args.output.as_ref().unwrap_or(&args.stream);
    let text = life.stream_of(&short.choices, Some(&Cause::of(&short.finding))).to_string();
    output_file::write(path, text.as_bytes()).map_err(|error| Failure::file("save the choices to", path, &error))?;
    let report = ShrinkReport {
        stream: path.display().to_string(),
        rule: short.finding.rule.id,
        what: short.finding.what.clone(),
        before,
        after: Size::of(&short.choices),
    };
    out.document(&report);
    out.row("finding", &format!("{}: {}", report.rule, report.what));
    for (label, size) in [("before", &report.before), ("after", &report.after)] {
        out.row(label, &format!("{} choices, {} of them not 0", size.choices, size.deviations));
    }
    out.row("written to", &report.stream);
    Ok(0)
}

/// Makes the stream of a failing life short: it still shows what it was kept for, or else the first thing that was found and is not
/// only advice.
pub(crate) fn shorten(life: &Life, name: &str, out: &Out) -> Result<Short, Failure> {
    if life.output.is_some() {
        return Err(Failure::new(format_args!("{name}: a life that writes a file cannot be lived many times")));
    }
    let _watch = Watch::new(life, out);
    let lives = Lives::of(life);
    let quiet = lives.quiet();
    let lives = quiet.as_ref().map_or(lives, |quiet| lives.expecting(quiet));
    let stream = life.choices.clone().unwrap_or_default();
    let report = lives.live(Box::new(Replay::new(stream.clone())))?;
    let bad = || report.findings.iter().filter(|finding| finding.rule.severity > Severity::Advice);
    // A life may show more than one thing: what its stream was kept for comes first.
    let kept = bad().find(|finding| life.kept_for.as_deref() == Some(&*cause_text(&Cause::of(finding))));
    let Some(finding) = kept.or_else(|| bad().next()) else {
        return Err(Failure::new(format_args!("{name}: nothing is found in its life, so there is nothing to keep")));
    };
    let cause = Cause::of(finding);
    let live = |chooser: Box<dyn Chooser>| {
        lives.live(chooser).unwrap_or_else(|failure| {
            complain(&failure.to_string());
            std::process::exit(2);
        })
    };
    let steps = report.operations + report.choices as u64;
    let choices = shrink_within(&stream, tries(steps), fails_with(&cause, live));
    Ok(Short { finding: finding.clone(), choices })
}
