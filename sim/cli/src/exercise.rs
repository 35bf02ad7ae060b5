//! What a driver is put through once it is loaded: the generic exercise, and the frame of the bundled drivers' own.

mod arrival;
pub(crate) mod blk;
pub(crate) mod console;
pub(crate) mod edu;
pub(crate) mod net;
mod random_io;
pub(crate) mod rng;
pub(crate) mod work;

use std::rc::Rc;

use bringup_bench::{Bench, BenchFile, Errno, File};
use serde_json::{Value, json};

use crate::output::Out;
use crate::progress::Progress;
use crate::watch::Watch;
use work::Work;

/// How long a driver is left to itself after it was loaded: probes that defer work, timers. Bounded, because a periodic timer
/// never lets a machine come to rest. Which of them is a choice of the life: a driver may also be used, or unloaded, at once.
const REST_NS: [u64; 4] = [1_000_000_000, 0, 1_000_000, 50_000_000];

/// A life in progress: the bench, and the log as far as it was printed.
pub(crate) struct Session<'a> {
    pub(crate) bench: &'a Bench,
    out: &'a mut Out,
    watch: &'a Watch,
    printed: usize,
    progress: Progress,
}

impl<'a> Session<'a> {
    pub(crate) fn new(bench: &'a Bench, out: &'a mut Out, watch: &'a Watch) -> Self {
        Self { bench, out, watch, printed: 0, progress: Progress::new() }
    }

    /// Prints what the log gained.
    pub(crate) fn show_log(&mut self) {
        let _away = self.watch.away();
        let lines = self.bench.log_lines(self.printed);
        if !lines.is_empty() {
            self.progress.clear();
        }
        self.printed += lines.len();
        for line in &lines {
            self.out.log(line);
        }
    }

    /// The first device node of those whose names begin so; `None` if there is none, because nothing was probed.
    pub(crate) fn first_node(&self, prefix: &str) -> Option<String> {
        self.bench.dev_names().into_iter().filter(|name| name.starts_with(prefix)).min()
    }

    /// Opens a device node for several processes; failing to is the exercise's failure.
    pub(crate) fn open_shared(&mut self, name: &str, exercised: &mut Exercised) -> Option<Rc<File>> {
        let file = self.bench.run("open", || bringup_bench::open(name)).and_then(|file| file);
        self.show_log();
        file.map_err(|error| exercised.fail(&format!("open /dev/{name}"), error)).ok().map(Rc::new)
    }

    /// Closes what [`open_shared`](Self::open_shared) opened.
    pub(crate) fn close_shared(&mut self, file: Rc<File>) {
        // A driver that fails here has filed its finding.
        let _ = self.bench.run("close", move || drop(file));
        self.show_log();
    }

    /// Shows how far something has come that may take its time.
    pub(crate) fn progress(&mut self, what: &str, done: u64, of: u64) {
        let _away = self.watch.away();
        self.progress.show(what, done, of);
    }

    /// How many lines of the log were printed.
    pub(crate) fn printed(&self) -> usize {
        self.printed
    }

    /// Opens a device node; failing to is the exercise's failure.
    pub(crate) fn open(&mut self, name: &str, exercised: &mut Exercised) -> Option<BenchFile<'a>> {
        let file = self.bench.open(name);
        self.show_log();
        file.map_err(|error| exercised.fail(&format!("open /dev/{name}"), error)).ok()
    }
}

/// Something that an exercise found out.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    /// What it is about; unique in an exercise.
    pub(crate) name: String,
    /// As text.
    pub(crate) text: String,
    /// For JSON.
    pub(crate) value: Value,
}

/// What went wrong in an exercise.
#[derive(Clone, Debug)]
pub(crate) struct Mishap {
    pub(crate) what: String,
    /// Whether it is the driver's answer that is wrong, rather than an error that it reported.
    pub(crate) wrong: bool,
}

/// What an exercise came to.
#[derive(Debug, Default)]
pub(crate) struct Exercised {
    pub(crate) facts: Vec<Fact>,
    pub(crate) mishaps: Vec<Mishap>,
    /// What was asked for cannot be done with this device, whatever the driver does: the user's mistake, as a line.
    pub(crate) refused: Option<String>,
    /// The calls of the generic exercise, which does not know what a driver should answer.
    calls: Vec<Called>,
}

/// A call of the generic exercise.
#[derive(Debug)]
struct Called {
    what: String,
    refused: Option<Errno>,
    /// Whether what was read is what was written, as far as that can be said.
    same: Option<bool>,
}

/// Errors that say "try again", whatever a driver is asked.
const AGAIN: [i32; 4] = [-4, -11, -512, -514];

impl Exercised {
    pub(crate) fn fact(&mut self, name: &str, text: String, value: Value) {
        self.facts.push(Fact { name: name.into(), text, value });
    }

    /// What a call gave, or that the driver refused it.
    fn answer<T>(&mut self, name: &str, result: Result<T, Errno>, show: impl FnOnce(T) -> (String, Value)) {
        let (text, value) = match result {
            Ok(answer) => show(answer),
            Err(error) => (format!("refused: {error}"), json!({"errno": -error.0})),
        };
        self.fact(name, text, value);
    }

    /// Keeps what using a device node came to. `compared`: the user wants to have back what was written.
    fn note_node(&mut self, name: &str, used: &Result<Used, Errno>, compared: bool) {
        let opened = used.as_ref().err().copied();
        self.calls.push(Called { what: format!("open of /dev/{name}"), refused: opened, same: None });
        let Ok(used) = used else { return };
        let whole = used.write_refused.is_none() && used.read_refused.is_none();
        self.calls.push(Called { what: format!("write to /dev/{name}"), refused: used.write_refused, same: None });
        let what = format!("read from /dev/{name}");
        self.calls.push(Called { what, refused: used.read_refused, same: whole.then_some(used.same) });
        if compared && whole && used.read > 0 && !used.same {
            self.wrong(format!("what came back from /dev/{name} is not what was written"));
        }
    }

    /// A call that the driver should not have refused.
    pub(crate) fn fail(&mut self, call: &str, error: Errno) {
        self.mishaps.push(Mishap { what: format!("{call}: {error}"), wrong: false });
    }

    /// An answer that is wrong.
    pub(crate) fn wrong(&mut self, what: String) {
        self.mishaps.push(Mishap { what, wrong: true });
    }

    /// Whether this is only told from other lives: what the driver should answer is not known.
    pub(crate) fn needs_comparison(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Holds the calls to what they came to in the quiet life: a call that is answered there is to be answered in any life in
    /// which nothing fails.
    pub(crate) fn compare(&mut self, quiet: &Self) {
        let mut mishaps = Vec::new();
        for call in &self.calls {
            let Some(before) = quiet.calls.iter().find(|other| other.what == call.what && other.refused.is_none())
            else {
                continue;
            };
            match call.refused {
                Some(error) if !AGAIN.contains(&error.0) => mishaps.push(Mishap {
                    what: format!("{}: {error}; in the quiet life it succeeds", call.what),
                    wrong: false,
                }),
                None if before.same == Some(true) && call.same == Some(false) => mishaps.push(Mishap {
                    what: format!("{}: not what was written; in the quiet life it is", call.what),
                    wrong: true,
                }),
                _ => {}
            }
        }
        self.mishaps.extend(mishaps);
    }
}

/// What is done with a driver that is only known from its file: it is left to itself for a while; `--input`, or a pattern, is
/// written to every device node and read back; every debugfs file is read. That a driver refuses may be right (a file that is only
/// written to), so it is told and no failure; what the checkers find is.
pub(crate) fn generic(session: &mut Session<'_>, work: &mut Work<'_>) -> Exercised {
    let input = work.input;
    let mut exercised = Exercised::default();
    let bench = session.bench;
    bench.advance(REST_NS[bench.choose(REST_NS.len() as u32) as usize]);
    session.show_log();
    for name in bench.dev_names() {
        let used = use_node(bench, &name, input);
        session.show_log();
        exercised.note_node(&name, &used, input.is_some());
        exercised.answer(&format!("/dev/{name}"), used, |used| (used.text(), used.json()));
    }
    for path in bench.debugfs_paths().iter().filter(|path| !path.ends_with('/')) {
        let content = bench.debugfs_read(path);
        session.show_log();
        let what = format!("read of debugfs/{path}");
        exercised.calls.push(Called { what, refused: content.as_ref().err().copied(), same: None });
        exercised.answer(&format!("debugfs/{path}"), content, |bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            (preview(&text), json!(text))
        });
    }
    exercised
}

/// How large a piece is that is written to a device node at once.
const PIECE: usize = 4096;

/// How many bytes of a pattern are written when there is no `--input`.
const PATTERN: usize = 256;

/// What using a device node came to.
#[derive(Debug, Default)]
struct Used {
    written: usize,
    read: usize,
    /// What came back is what was written.
    same: bool,
    write_refused: Option<Errno>,
    read_refused: Option<Errno>,
}

impl Used {
    fn text(&self) -> String {
        let way = |verb: &str, count: usize, refused: Option<Errno>| match refused {
            Some(error) if count == 0 => format!("{verb} refused: {error}"),
            Some(error) => format!("{verb} {count} bytes, then refused: {error}"),
            None => format!("{verb} {count} bytes"),
        };
        let same = if self.same { ", the same" } else { "" };
        let (written, read) =
            (way("wrote", self.written, self.write_refused), way("read", self.read, self.read_refused));
        format!("{written}; {read}{same}")
    }

    fn json(&self) -> Value {
        let errno = |refused: Option<Errno>| refused.map(|error| -error.0);
        json!({
            "written": self.written, "write_errno": errno(self.write_refused),
            "read": self.read, "read_errno": errno(self.read_refused), "same": self.same,
        })
    }
}

/// Opens a device node, writes to it in pieces, reads each piece back from the same place, and tries a control operation that no
/// driver knows.
fn use_node(bench: &Bench, name: &str, input: Option<&[u8]>) -> Result<Used, Errno> {
    let file = bench.open(name)?;
    let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(PATTERN).collect();
    let mut used = Used { same: true, ..Used::default() };
    for piece in input.unwrap_or(&pattern).chunks(PIECE) {
        file.seek(0);
        match file.write(piece) {
            Ok(count) => used.written += count,
            Err(error) => used.write_refused = Some(error),
        }
        let mut back = vec![0; piece.len()];
        file.seek(0);
        match file.read(&mut back) {
            Ok(count) => {
                used.read += count;
                used.same &= piece.get(..count) == back.get(..count);
            }
            Err(error) => used.read_refused = Some(error),
        }
        if used.write_refused.is_some() || used.read_refused.is_some() || bench.is_crashed() {
            break;
        }
    }
    used.same &= used.read > 0;
    // What it answers is its own affair.
    let _ = file.ioctl(0, 0);
    Ok(used)
}

/// The beginning of a text, on one line.
fn preview(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.trim_end().escape_debug().to_string();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("\"{}…\"", &line[..end]),
        None => format!("\"{line}\""),
    }
}
