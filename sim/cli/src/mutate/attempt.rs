//! One removal, tried: the driver lives many lives without what was removed, in a process of its own.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bringup_bench::explore::{Campaign, Explored, Strategy};
use bringup_bench::module::Loadable;
use bringup_bench::{Bench, Builder, Report};
use bringup_core::choice::Quiet;
use bringup_core::{Chooser, Severity};
use bringup_devices::registry::Workshop;
use serde::{Deserialize, Serialize};

use crate::args::MutateArgs;
use crate::exercise::work::Work;
use crate::exercise::{Exercised, Session};
use crate::explore::LOAD;
use crate::failure::Failure;
use crate::life::{Driver, machine, plugs_in};
use crate::output::Out;
use crate::run::mishaps;
use crate::watch::Watch;

use super::machines::machines;
use super::provoke::{odd_answers, provoke};

/// The longest that the lives of one removal may take.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// Machines other than the first have this part of its lives.
const SHARE: u64 = 100;

/// What kinds of lives are lived in the first machine: of those that are left at most one part in so many. A driver may have more
/// fallible calls than it has lives here, so that those that fail do not come before all else, as they do in a mixed campaign.
const FIRST: &[(Strategy, u64)] = &[(Strategy::FailNth, 2), (Strategy::Random, 2), (Strategy::Pct { depth: 3 }, 1)];
/// And in the others.
const OTHER: &[(Strategy, u64)] = &[(Strategy::Pct { depth: 3 }, 1)];

/// Selects a removal, and tells whether the driver came by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch {
    pub(crate) selected: &'static AtomicU32,
    pub(crate) met: &'static AtomicBool,
}

/// What came of a removal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tried {
    /// The removal made a difference to what the driver did, if only to itself.
    pub(super) met: bool,
    /// How many lives there were.
    pub(super) lives: u64,
    pub(super) noticed: Option<Noticed>,
    /// The rules that were broken in any life, and [the machines](lame) in which the driver does not do what it is for.
    pub(super) rules: Vec<String>,
    /// The check sum of what a user got in a quiet life.
    pub(super) account: u32,
}

impl Tried {
    /// Takes what noticed it; what was first, or is more than advice, stays.
    fn notice(&mut self, news: Noticed) {
        if self.noticed.as_ref().is_none_or(|known| known.advice && !news.advice) {
            self.noticed = Some(news);
        }
    }
}

/// What noticed a removal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Noticed {
    /// The id of a rule, or a word for what else it was.
    pub(super) by: String,
    /// What happened.
    pub(super) what: String,
    /// Where in the driver's source, if that is known.
    pub(super) place: Option<String>,
    /// The first life in which it did, counted from 1 over all machines; not known of those that never ended.
    pub(super) life: Option<u64>,
    /// The devices of that machine, if it was not the first one.
    pub(super) devices: Vec<String>,
    /// It is only advice.
    pub(super) advice: bool,
}

/// Tries the removal that the arguments name, and prints what came of it.
pub(crate) fn try_one(
    args: &MutateArgs,
    linked: &'static Loadable,
    switch: Switch,
    out: &mut Out,
) -> Result<u8, Failure> {
    let number = args.removal.unwrap_or(0);
    let driver = Driver::find(&args.driver, Some(linked), out)?;
    driver.check_params(&args.param)?;
    switch.selected.store(number, Ordering::Relaxed);
    let watch = Watch::over(&driver, out, "bringup mutate".into());
    let mut tried = Tried::default();
    let began = Instant::now();
    'machines: for (index, devices) in machines(args, &driver).into_iter().enumerate() {
        let machine = Machine::new(args, &driver, devices);
        // What the devices have to say against it is said before the first life.
        machine.builder()?;
        if index == 0 {
            tried.account = machine.account(&watch);
        }
        let mut left = if index == 0 { args.lives } else { (args.lives / SHARE).max(1) };
        for (strategy, part) in if index == 0 { FIRST } else { OTHER } {
            let lives = left.div_ceil(*part);
            let (time, strategy) = (Some(LONGEST.saturating_sub(began.elapsed())), *strategy);
            let campaign = Campaign { strategy, lives, time, ..Campaign::default() };
            let before = tried.lives;
            machine.explore(&campaign, &watch, &args.known, index, number == 0, &mut tried)?;
            // What a campaign did not need is for the next one.
            left = left.saturating_sub(tried.lives - before);
            if number != 0 && tried.noticed.as_ref().is_some_and(|noticed| !noticed.advice) {
                break 'machines;
            }
        }
    }
    drop(watch);
    // What a checker says is said first.
    if tried.noticed.is_none() && args.account.is_some_and(|account| account != tried.account) {
        let what = "a user gets other answers than from the driver as it is, or the log is another one".into();
        tried.noticed = Some(Noticed { by: "answers".into(), what, life: Some(1), ..Noticed::default() });
    }
    tried.met = switch.met.load(Ordering::Relaxed);
    tried.rules.sort();
    tried.rules.dedup();
    out.document(&tried);
    Ok(0)
}

/// What is known of a machine in which the driver does not do what it is for, with nothing removed.
fn lame(machine: usize) -> String {
    format!("exercise@{machine}")
}

/// The first finding that is as severe as that, and not known; there were so many lives `before`.
fn found(explored: &Explored, known: &[String], severity: Severity, before: u64) -> Option<Noticed> {
    let news = explored.found.iter().find(|found| {
        let rule = found.finding.rule;
        rule.severity >= severity && !known.iter().any(|known| known == rule.id)
    });
    news.map(|found| Noticed {
        by: found.finding.rule.id.into(),
        what: found.finding.what.clone(),
        place: found.finding.place.map(|place| format!("{}:{}", place.file(), place.line())),
        life: Some(before + found.life + 1),
        devices: Vec::new(),
        advice: found.finding.rule.severity == Severity::Advice,
    })
}

/// The word for what the exercise has noticed.
pub(super) const EXERCISE: &str = "exercise";

/// What went wrong in a life, other than findings.
#[derive(Debug)]
enum Trouble {
    /// The driver did not do what it is for.
    Mishap(String),
    /// There was no life.
    Broken(Failure),
}

/// What every life is lived with.
struct Machine<'a> {
    driver: &'a Driver,
    devices: Vec<String>,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Machine<'a> {
    fn new(args: &'a MutateArgs, driver: &'a Driver, devices: Vec<String>) -> Self {
        let params = args.param.iter().map(|(name, value)| (&**name, &**value)).collect();
        Self { driver, devices, params }
    }

    /// Lives the lives of a campaign in this machine, which has this number. They end with the first one that is noticed, unless
    /// `all` are wanted.
    fn explore(
        &self,
        campaign: &Campaign,
        watch: &Watch,
        known: &[String],
        number: usize,
        all: bool,
        tried: &mut Tried,
    ) -> Result<(), Failure> {
        let trouble: Mutex<Option<Trouble>> = Mutex::new(None);
        let life = |chooser: Box<dyn Chooser>| {
            let (report, wrong) = self.live(chooser, watch, |bench, names, _| provoke(bench, names));
            if let Some(wrong) = wrong {
                trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(wrong);
            }
            report
        };
        let is_lame = known.contains(&lame(number));
        let before = tried.lives;
        let mut first: Option<Noticed> = None;
        let explored = campaign.run_with(life, |progress| {
            let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_none() {
                first = found(progress.so_far, known, Severity::Error, before);
            }
            if let (Some(Trouble::Mishap(what)), None, false) = (&*trouble, &first, is_lame) {
                let life = Some(before + progress.so_far.lives);
                first = Some(Noticed { by: EXERCISE.into(), what: what.clone(), life, ..Noticed::default() });
            }
            let over = matches!(&*trouble, Some(Trouble::Broken(_))) || (first.is_some() && !all);
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        tried.lives += explored.lives;
        tried.rules.extend(explored.found.iter().map(|found| found.finding.rule.id.to_owned()));
        match trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Trouble::Broken(failure)) => return Err(failure),
            Some(Trouble::Mishap(_)) => tried.rules.push(lame(number)),
            None => {}
        }
        if let Some(mut noticed) = first.or_else(|| found(&explored, known, Severity::Advice, before)) {
            if number > 0 {
                noticed.devices.clone_from(&self.devices);
            }
            tried.notice(noticed);
        }
        Ok(())
    }

    fn builder(&self) -> Result<Builder, Failure> {
        machine(plugs_in(&self.devices, &Workshop::new())?, None, false)
    }

    /// The check sum of what a user gets in a quiet life with calls that make no sense, and of what the driver says: the same where
    /// the driver is.
    fn account(&self, watch: &Watch) -> u32 {
        let mut account = crc32fast::Hasher::new();
        let (report, _) = self.live(Box::new(Quiet), watch, |bench, _, exercised| {
            for fact in &exercised.facts {
                account.update(format!("{} {}\n", fact.name, fact.value).as_bytes());
            }
            account.update(odd_answers(bench).as_bytes());
        });
        // Not when it was said: that differs with each register that is read.
        report.log.iter().for_each(|line| account.update(line.text.as_bytes()));
        account.finalize()
    }

    /// One life, with what went wrong in it other than findings. `more` is done with the devices of these names once the driver was
    /// used.
    fn live(
        &self,
        chooser: Box<dyn Chooser>,
        watch: &Watch,
        more: impl FnOnce(&Bench, &[String], &Exercised),
    ) -> (Report, Option<Trouble>) {
        let bench = self.builder().and_then(|builder| builder.boxed_chooser(chooser).build().map_err(Failure::new));
        let bench = match bench {
            Ok(bench) => bench,
            Err(failure) => return (Report::default(), Some(Trouble::Broken(failure))),
        };
        let mut silent = Out::silent();
        let mut session = Session::new(&bench, &mut silent, watch);
        let mut exercised = Exercised::default();
        match bench.load_with(self.driver.module(), &self.params) {
            Ok(()) => {
                // What is in a file is somebody's.
                let thorough = !self.devices.iter().any(|spec| spec.contains(",image="));
                // A load is for the ways of processes that get in each other's; the rest is for everything else that it can do.
                let loaded = self.driver.takes().bench && bench.choose(2) == 1;
                let load = loaded.then_some(LOAD);
                exercised = self.driver.exercise(&mut session, &mut Work { thorough, load, ..Work::default() });
            }
            Err(error) => exercised.fail("load it", error),
        }
        let bound = |name: &String| bench.driver_of(name).is_some();
        let names: Vec<String> = bench.with_bus(|bus| bus.devices().map(|id| bus.port(id).name().to_owned()).collect());
        let bound = names.iter().any(bound);
        if !bench.is_crashed() {
            more(&bench, &names, &exercised);
        }
        let report = bench.finish();
        let mut wrong = mishaps(false, &report, &exercised, false).into_iter().filter(|(_, excused)| !excused);
        let mut wrong = wrong.next().map(|(what, _)| what).or(exercised.refused);
        if wrong.is_none() && !bound && !names.is_empty() && report.stats.failed_allocations == 0 && !report.crashed {
            wrong = Some("it binds to no device".into());
        }
        (report, wrong.map(Trouble::Mishap))
    }
}
