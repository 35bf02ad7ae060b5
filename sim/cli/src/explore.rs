//! `bringup run DRIVER --explore N`: many lives, each with other choices; what they found, each cause once, with a short stream.

mod look;
mod table;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bringup_bench::Report;
use bringup_bench::explore::{Campaign, Explored, Found, fails_with, shrink_within};
use bringup_bench::module::Loadable;
use bringup_core::Chooser;
use bringup_core::choice::Quiet;

use crate::args::{RunArgs, Strategy};
use crate::driver_build::shown_paths;
use crate::exercise::work::{Load, Mix};
use crate::failure::{Failure, complain};
use crate::life::{Life, quote};
use crate::lives::{Lives, on_host};
use crate::output::Out;
use crate::output_file;
use crate::progress::Progress;
use look::Look;
use table::{ExploreReport, FoundReport};

/// What a disk is put through in each life if the command line does not say: few enough requests to live many lives, and enough
/// processes to get in each other's way.
pub(crate) const LOAD: Load = Load { mix: Mix::Both, count: 16, size: 4096, depth: 4 };

/// How often lives of a campaign may be lived again to make one stream short: fewer if they are long. Seconds, in all.
const STEPS: u64 = 60_000_000;

/// The most findings whose streams are made short.
const MOST_SHRUNK: usize = 32;

pub(crate) fn explore(
    args: &RunArgs,
    lives: u64,
    linked: Option<&'static Loadable>,
    out: &mut Out,
) -> Result<u8, Failure> {
    if lives == 0 {
        return Err(Failure::new("--explore takes the number of lives, 1 or more"));
    }
    if let Some(option) = on_host(&args.device) {
        return Err(Failure::new(format_args!(
            "--explore does not go with {option}= of a device: all lives would share what it names"
        )));
    }
    let mut life = Life::from_args(args, linked, out)?;
    life.seed = None;
    if life.load.is_none() && life.input.is_none() && life.driver.takes().bench {
        life.load = Some(LOAD);
    }
    // A load is what such a driver is for; the rest is tried where there is none.
    life.thorough = life.load.is_none();
    out.paths = shown_paths(life.driver.file());
    let look = Look::begin(&life, out);
    let shared = Lives::of(&life);
    shared.try_out(&life.driver, look.recorded(Box::new(Quiet)))?;
    Look::lived();
    let quiet = shared.quiet();
    let shared = quiet.as_ref().map_or(shared, |quiet| shared.expecting(quiet));
    let campaign = campaign(args, lives)?;
    let explored = run(&campaign, &shared, &look, lives, out);
    let mut failures = Vec::new();
    let found = explored
        .found
        .iter()
        .enumerate()
        .map(|(index, found)| {
            look.away(false);
            let stream =
                if index < MOST_SHRUNK { short(found, &explored, &shared, &look) } else { found.stream.clone() };
            look.away(true);
            keep(&life, found, &stream, &explored.found[..index], &mut failures)
        })
        .collect();
    drop(look);
    let strategy = args.strategy;
    let exit = if failures.is_empty() { u8::from(!explored.is_clean()) } else { 2 };
    ExploreReport::new(&life, &campaign, strategy, &explored, found, exit).print(out);
    if failures.is_empty() {
        return Ok(exit);
    }
    // What was found is told, whether or not it can be kept.
    failures.iter().for_each(|failure| complain(&failure.to_string()));
    Err(Failure::Told)
}

fn campaign(args: &RunArgs, lives: u64) -> Result<Campaign, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = stop.clone();
    // The second time it ends the command, as it does without a handler.
    ctrlc::set_handler(move || {
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|error| Failure::new(format_args!("cannot listen for Ctrl-C: {error}")))?;
    let Strategy(strategy) = args.strategy;
    Ok(Campaign {
        strategy,
        lives,
        time: args.time,
        jobs: args.jobs.map_or(processors, |jobs| usize::try_from(jobs).unwrap_or(processors)),
        seed: args.seed.unwrap_or(0),
        stop: Some(stop),
        ..Campaign::default()
    })
}

/// One life of a campaign. Its machine was built before, so it can be built.
fn live(lives: &Lives<'_>, look: &Look, chooser: Box<dyn Chooser>) -> Report {
    let chooser = look.recorded(chooser);
    let report = lives.live(chooser).unwrap_or_else(|failure| {
        complain(&failure.to_string());
        std::process::exit(2);
    });
    Look::lived();
    report
}

fn run(campaign: &Campaign, lives: &Lives<'_>, look: &Look, most: u64, out: &Out) -> Explored {
    let mut progress = Progress::new();
    let mut told = 0;
    let explored = campaign.run_with(
        |chooser| live(lives, look, chooser),
        |so_far| {
            let explored = so_far.so_far;
            if explored.found.len() > told {
                look.found(&explored.found[told..]);
                told = explored.found.len();
            }
            if !out.is_json() && (explored.lives.is_multiple_of(64) || explored.lives == most) {
                let what = format!("lives, {:.0} a second, {told} found", explored.lives_a_second());
                progress.show(&what, explored.lives, expected(campaign.time, explored, most));
            }
            ControlFlow::Continue(())
        },
    );
    progress.clear();
    look.away(true);
    explored
}

/// How many lives there will be, as far as one can tell.
fn expected(time: Option<Duration>, explored: &Explored, most: u64) -> u64 {
    let Some(time) = time else { return most };
    let lives = explored.lives_a_second() * time.as_secs_f64();
    most.min((lives as u64).max(explored.lives + 1))
}

/// The stream of a finding, made short.
fn short(found: &Found, explored: &Explored, lives: &Lives<'_>, look: &Look) -> Vec<u8> {
    let cause = found.cause();
    let steps = explored.operations / explored.lives.max(1) + explored.choices as u64;
    let fails = fails_with(&cause, |chooser| live(lives, look, chooser));
    shrink_within(&found.stream, tries(steps), fails)
}

/// How often a life of so many steps may be tried.
pub(crate) fn tries(steps: u64) -> u32 {
    u32::try_from((STEPS / (steps + 1000)).clamp(300, 20_000)).unwrap_or(300)
}

/// Saves the stream of a finding.
fn keep(life: &Life, found: &Found, stream: &[u8], before: &[Found], failures: &mut Vec<Failure>) -> FoundReport {
    let path = stream_path(life, found, before);
    let text = life.stream_of(stream, Some(&found.cause())).to_string();
    if let Err(error) = output_file::write(&path, text.as_bytes()) {
        failures.push(Failure::file("save the choices to", &path, &error));
    }
    let reproduce = format!("bringup replay {}", quote(&path.display().to_string()));
    FoundReport::new(found, stream, path.display().to_string(), reproduce)
}

/// `bringup-DRIVER-RULE.stream`, with a number if the rule was broken in several ways.
fn stream_path(life: &Life, found: &Found, before: &[Found]) -> PathBuf {
    let rule = found.finding.rule.id;
    let same = before.iter().filter(|other| other.finding.rule.id == rule).count();
    let number = if same == 0 { String::new() } else { format!("-{}", same + 1) };
    format!("bringup-{}-{rule}{number}.stream", life.driver.stem()).into()
}
