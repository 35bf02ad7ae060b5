//! Looks after the lives of a campaign from outside: a driver in a loop of its own, which never comes back into its machine, ends
//! the campaign, and the life is saved so that it can be run again.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use bringup_bench::explore::Found;
use bringup_bench::heartbeat;
use bringup_core::{Chooser, Point, Stream};
use serde_json::json;

use crate::failure::complain;
use crate::life::{Life, VERSION, quote};
use crate::output::Out;
use crate::output_file;
use crate::watch::{LOOKS, patience};

/// How many answers of the running life are kept: a life that hangs later than that cannot be saved whole.
const KEPT: usize = 1 << 16;

/// The life that a thread is living, as far as it has come. Written by that thread, read only once it hangs.
struct Slot {
    busy: AtomicBool,
    made: AtomicUsize,
    answers: Box<[AtomicU8]>,
}

impl Slot {
    fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            made: AtomicUsize::new(0),
            answers: (0..KEPT).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    fn taken(&self) -> Vec<u8> {
        let made = self.made.load(Ordering::Acquire).min(KEPT);
        let mut taken: Vec<u8> = self.answers.iter().take(made).map(|answer| answer.load(Ordering::Relaxed)).collect();
        taken.truncate(taken.iter().rposition(|answer| *answer != 0).map_or(0, |last| last + 1));
        taken
    }
}

thread_local! {
    static SLOT: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

/// Looks after a campaign until it is dropped.
pub(super) struct Look {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    slots: Mutex<Vec<Arc<Slot>>>,
    over: Mutex<bool>,
    ended: Condvar,
    /// No life is being lived.
    away: AtomicBool,
    /// What was found so far, as lines.
    found: Mutex<Vec<String>>,
}

/// What is said of a driver that hangs.
struct Obituary {
    driver: String,
    json: bool,
    path: PathBuf,
    /// The stream file, but for its choices.
    fields: Vec<(String, String)>,
}

impl Look {
    pub(super) fn begin(life: &Life, out: &Out) -> Self {
        let shared = Arc::new(Shared {
            slots: Mutex::default(),
            over: Mutex::new(false),
            ended: Condvar::new(),
            away: AtomicBool::new(false),
            found: Mutex::default(),
        });
        let obituary = Obituary {
            driver: life.driver.name().to_owned(),
            json: out.is_json(),
            path: format!("bringup-{}-watchdog-lockup.stream", life.driver.stem()).into(),
            fields: life.stream(&[]).fields,
        };
        let watched = shared.clone();
        let thread = std::thread::Builder::new().name("look".into()).spawn(move || watched.look(&obituary));
        // A campaign that nobody looks after is one all the same.
        Self { shared, thread: thread.ok() }
    }

    /// A chooser whose answers are kept while the life lasts.
    pub(super) fn recorded(&self, chooser: Box<dyn Chooser>) -> Box<dyn Chooser> {
        let slot = SLOT.with_borrow_mut(|slot| {
            let ours = slot.get_or_insert_with(|| {
                let slot = Arc::new(Slot::new());
                self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner).push(slot.clone());
                slot
            });
            ours.clone()
        });
        slot.made.store(0, Ordering::Release);
        slot.busy.store(true, Ordering::Relaxed);
        Box::new(Recorded { chooser, slot, made: 0 })
    }

    /// The life of this thread is over.
    pub(super) fn lived() {
        SLOT.with_borrow(|slot| {
            if let Some(slot) = slot {
                slot.busy.store(false, Ordering::Relaxed);
            }
        });
    }

    /// Whether the command is at work now, and no driver.
    pub(super) fn away(&self, away: bool) {
        self.shared.away.store(away, Ordering::Relaxed);
    }

    /// These were found: nothing is lost if a later life hangs.
    pub(super) fn found(&self, found: &[Found]) {
        let lines = found.iter().map(|found| {
            let place =
                found.finding.place.map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
            format!("{}{place}: {}", found.finding.rule.id, found.finding.what)
        });
        self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did, the campaign is over anyway.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn look(&self, obituary: &Obituary) {
        let patience = patience();
        let (mut last, mut still) = (heartbeat(), 0);
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self.ended.wait_timeout_while(over, patience / LOOKS, |over| !*over);
            over = waited.unwrap_or_else(PoisonError::into_inner).0;
            if *over {
                return;
            }
            let now = heartbeat();
            let busy = self
                .slots
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .find(|s| s.busy.load(Ordering::Relaxed))
                .cloned();
            still = if now == last && !self.away.load(Ordering::Relaxed) && busy.is_some() { still + 1 } else { 0 };
            last = now;
            if let (true, Some(slot)) = (still >= LOOKS, busy) {
                let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                obituary.publish(slot.taken(), &found, patience.as_secs_f64());
                std::process::exit(1);
            }
        }
    }
}

impl Obituary {
    fn publish(&self, choices: Vec<u8>, found: &[String], seconds: f64) {
        use std::io::Write;
        let driver = &self.driver;
        let what =
            format!("{driver} hangs in one life: it has run for {seconds} seconds and has not called the kernel once");
        let text = Stream { fields: self.fields.clone(), choices }.to_string();
        let saved = output_file::write(&self.path, text.as_bytes()).is_ok();
        let path = quote(&self.path.display().to_string());
        let reproduce = saved.then(|| format!("bringup replay {path}"));
        if self.json {
            let finding = json!({"rule": "watchdog-lockup", "severity": "fatal", "what": what, "reproduce": reproduce});
            let document = json!({
                "bringup": VERSION, "driver": driver, "findings": [finding], "found_before": found, "exit": 1,
            });
            // With nobody to read it there are still the lines below.
            let _ = writeln!(std::io::stdout(), "{document:#}");
        }
        found.iter().for_each(|line| complain(line));
        let again = reproduce.map_or_else(String::new, |command| format!("; run it again: {command}"));
        complain(&format!("{what}{again}"));
    }
}

/// A chooser whose answers are kept.
struct Recorded {
    chooser: Box<dyn Chooser>,
    slot: Arc<Slot>,
    made: usize,
}

impl Recorded {
    fn keep(&mut self, answer: u32, options: u32) -> u32 {
        let answer = answer.min(options.saturating_sub(1));
        if let Some(kept) = self.slot.answers.get(self.made) {
            kept.store(answer as u8, Ordering::Relaxed);
            self.made += 1;
            self.slot.made.store(self.made, Ordering::Release);
        }
        answer
    }
}

impl Chooser for Recorded {
    fn choose(&mut self, point: Point, options: u32) -> u32 {
        let answer = self.chooser.choose(point, options);
        self.keep(answer, options)
    }

    fn choose_among(&mut self, point: Point, options: u32, actors: &[u32]) -> u32 {
        let answer = self.chooser.choose_among(point, options, actors);
        self.keep(answer, options)
    }

    fn wants_states(&self) -> bool {
        self.chooser.wants_states()
    }

    fn in_state(&mut self, state: u64) {
        self.chooser.in_state(state);
    }

    fn is_quiet(&self) -> bool {
        self.chooser.is_quiet()
    }
}
