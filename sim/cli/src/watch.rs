//! Watches a life from outside of it: a driver in a loop of its own, which never comes back into the machine, is ended here.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bringup_bench::{heartbeat, rules};
use serde_json::json;

use crate::failure::complain;
use crate::life::{Driver, Life, VERSION};
use crate::output::Out;

/// After so long without a sign of life the driver is taken for lost. Correct drivers come back within microseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many times the sign of life is looked at in that time. Looks are counted, not seconds: a process that was stopped for a
/// minute has lost one look.
pub(crate) const LOOKS: u32 = 20;

/// Looks after one life until it is dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    over: Mutex<bool>,
    ended: Condvar,
    /// The command is at work, and not the driver.
    away: AtomicBool,
    stage: Mutex<&'static str>,
}

/// While it is there, the driver is not expected to do anything.
#[derive(Debug)]
pub(crate) struct Away<'a>(&'a Shared);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.away.store(false, Ordering::Relaxed);
    }
}

/// What is said about a driver that is lost.
struct Obituary {
    driver: String,
    from_file: bool,
    json: bool,
    seed: Option<u64>,
    reproduce: String,
}

impl Watch {
    /// Begins to watch. The driver is in `stage` ("while it was …").
    pub(crate) fn new(life: &Life, out: &Out) -> Self {
        let obituary = Obituary {
            driver: life.driver.name().to_owned(),
            from_file: life.driver.file().is_some(),
            json: out.is_json(),
            seed: life.seed,
            reproduce: life.command(),
        };
        Self::begin(obituary)
    }

    /// Begins to watch a driver that is not in a life of the command line's; `reproduce` is the command that runs it again.
    pub(crate) fn over(driver: &Driver, out: &Out, reproduce: String) -> Self {
        let from_file = driver.file().is_some();
        Self::begin(Obituary {
            driver: driver.name().to_owned(),
            from_file,
            json: out.is_json(),
            seed: None,
            reproduce,
        })
    }

    /// One that nobody keeps: whoever runs the lives watches them by other means.
    pub(crate) fn none() -> Self {
        Self { shared: Arc::new(Shared::new()), thread: None }
    }

    fn begin(obituary: Obituary) -> Self {
        let shared = Arc::new(Shared::new());
        let patience = patience();
        let watched = shared.clone();
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || watched.look(patience, &obituary))
            // A life that nobody watches is a life all the same.
            .ok();
        Self { shared, thread }
    }

    /// Says what the driver does from now on.
    pub(crate) fn stage(&self, stage: &'static str) {
        *self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// The command does something that may take its time, such as writing to a reader who does not read on.
    pub(crate) fn away(&self) -> Away<'_> {
        self.shared.away.store(true, Ordering::Relaxed);
        Away(&self.shared)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did, the life is over anyway.
            let _ = thread.join();
        }
    }
}

/// How long a driver may give no sign of life.
pub(crate) fn patience() -> Duration {
    // For tests, which have no ten seconds.
    let patience = std::env::var("BRINGUP_PATIENCE_MS").ok().and_then(|text| text.parse().ok());
    patience.map_or(PATIENCE, Duration::from_millis)
}

impl Shared {
    fn new() -> Self {
        Self {
            over: Mutex::new(false),
            ended: Condvar::new(),
            away: AtomicBool::new(false),
            stage: Mutex::new("being loaded"),
        }
    }

    fn look(&self, patience: Duration, obituary: &Obituary) {
        let (mut last, mut still) = (heartbeat(), 0);
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self.ended.wait_timeout_while(over, patience / LOOKS, |over| !*over);
            over = waited.unwrap_or_else(PoisonError::into_inner).0;
            if *over {
                return;
            }
            let now = heartbeat();
            still = if now == last && !self.away.load(Ordering::Relaxed) { still + 1 } else { 0 };
            last = now;
            if still >= LOOKS {
                // The lock is kept: the life does not end meanwhile.
                let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
                obituary.publish(stage, patience);
                std::process::exit(1);
            }
        }
    }
}

impl Obituary {
    fn publish(&self, stage: &str, patience: Duration) {
        let what = format!(
            "{} hangs: it has run for {} seconds while {stage} and has not called the kernel once",
            self.driver,
            patience.as_secs_f64()
        );
        const FIX: &str = "look for a loop whose condition nothing in it can change; one that waits for a device reads its \
                           register each time and has a limit, one that waits for another task sleeps";
        if self.json {
            let reference = rules::find("watchdog-lockup").map(|rule| rule.reference);
            let finding = json!({
                "rule": "watchdog-lockup", "severity": "fatal", "what": what, "fix": FIX, "reference": reference,
                "place": null, "device": null, "times": 1, "notes": [],
            });
            let document = json!({
                "bringup": VERSION, "driver": self.driver, "from_file": self.from_file, "findings": [finding],
                "seed": self.seed, "crashed": true, "reproduce": self.reproduce, "exit": 1,
            });
            // With nobody to read it there is still the line below.
            let _ = writeln!(std::io::stdout(), "{document:#}");
        }
        complain(&format!("{what}; {FIX}"));
    }
}
