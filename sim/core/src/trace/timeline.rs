//! A trace laid out in lanes, as trace viewers show it: what took time is a slice, what did not is a mark.
//!
//! A machine has one group of lanes for its CPU (findings, the kernel log, interrupts, each task) and one for each device (its
//! work, its registers, its configuration space, its DMA, what is mapped for it).

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{DeviceId, Event, Record, Value, chrome, perfetto};
use crate::fabric::cost;
use crate::time::Nanos;

/// A trace laid out in lanes. Times are virtual nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub(super) groups: Vec<Group>,
}

/// Lanes that belong together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) lanes: Vec<Lane>,
}

/// One lane. Its slices are nested in each other or apart.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    /// In the order in which they began.
    pub(super) marks: Vec<Mark>,
}

/// Something in a lane.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) from: Nanos,
    /// When it ended; `None` if it took no time.
    pub(super) to: Option<Nanos>,
    pub(super) name: String,
    /// The kind of event.
    pub(super) category: &'static str,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Timeline {
    /// Lays records out; `names` are those of the devices.
    #[must_use]
    pub fn new(records: &[Record], names: &[String]) -> Self {
        let mut layout = Layout::default();
        records.iter().for_each(|record| layout.take(record));
        layout.finish(names)
    }

    /// Puts every name and text through `show`: paths as the reader knows them, say.
    #[must_use]
    pub fn shown(mut self, show: impl Fn(&str) -> String) -> Self {
        for mark in self.groups.iter_mut().flat_map(|group| &mut group.lanes).flat_map(|lane| &mut lane.marks) {
            mark.name = show(&mark.name);
            for (_, value) in &mut mark.fields {
                if let Value::Text(text) = value {
                    *text = show(text);
                }
            }
        }
        self
    }

    /// Writes it in the Trace Event Format, JSON that Perfetto and Chrome's `about:tracing` open.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_chrome(&self, out: &mut dyn Write) -> io::Result<()> {
        chrome::write(self, out)
    }

    /// Writes it in Perfetto's own format, protocol buffers.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_perfetto(&self, out: &mut dyn Write) -> io::Result<()> {
        perfetto::write(self, out)
    }
}

/// A lane, in the order in which lanes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Findings,
    Log,
    Interrupts,
    /// 0 is the machine itself.
    Task(u16),
    Work(DeviceId),
    Mmio(DeviceId),
    Config(DeviceId),
    Dma(DeviceId),
    /// What is mapped: mappings that exist at the same time have rows of their own.
    Mapped(DeviceId, u16),
}

impl Key {
    fn device(self) -> Option<DeviceId> {
        match self {
            Self::Findings | Self::Log | Self::Interrupts | Self::Task(_) => None,
            Self::Work(device)
            | Self::Mmio(device)
            | Self::Config(device)
            | Self::Dma(device)
            | Self::Mapped(device, _) => Some(device),
        }
    }

    fn name(self, tasks: &BTreeMap<u16, Task>) -> String {
        match self {
            Self::Findings => "findings".into(),
            Self::Log => "kernel log".into(),
            Self::Interrupts => "interrupts".into(),
            Self::Task(0) => "machine".into(),
            Self::Task(number) => match tasks.get(&number) {
                Some(task) if !task.name.is_empty() => format!("task {}", task.name),
                _ => format!("task {number}"),
            },
            Self::Work(_) => "device".into(),
            Self::Mmio(_) => "MMIO".into(),
            Self::Config(_) => "configuration".into(),
            Self::Dma(_) => "DMA".into(),
            Self::Mapped(..) => "mapped".into(),
        }
    }
}

/// What is known of a task.
#[derive(Debug, Default)]
struct Task {
    name: String,
    /// What it does other than run: since when, and what it waits for (nothing: it could run).
    idle: Option<(Nanos, Option<&'static str>)>,
}

/// A mapping that exists: where in its lane it stands.
#[derive(Debug)]
struct Mapping {
    device: DeviceId,
    iova: u64,
    row: u16,
    index: usize,
}

/// What is laid out so far.
#[derive(Debug, Default)]
struct Layout {
    lanes: BTreeMap<Key, Vec<Mark>>,
    tasks: BTreeMap<u16, Task>,
    /// The task that runs, and since when.
    running: Option<(u16, Nanos)>,
    /// The handlers that run, each by its place in the lane of interrupts.
    handlers: Vec<usize>,
    mappings: Vec<Mapping>,
    now: Nanos,
}

impl Layout {
    fn take(&mut self, record: &Record) {
        self.follow_tasks(record);
        let at = record.at;
        self.now = at;
        let event = &record.event;
        match event {
            Event::ConfigRead { device, offset, .. } => {
                self.access(Key::Config(*device), record, cost::CONFIG, format!("read {offset:#05x}"));
            }
            Event::ConfigWrite { device, offset, .. } => {
                self.access(Key::Config(*device), record, cost::CONFIG, format!("write {offset:#05x}"));
            }
            Event::BarRead { device, bar, offset, .. } => {
                self.access(Key::Mmio(*device), record, cost::BAR_READ, format!("BAR{bar} read {offset:#06x}"));
            }
            Event::BarWrite { device, bar, offset, .. } => {
                self.access(Key::Mmio(*device), record, cost::BAR_WRITE, format!("BAR{bar} write {offset:#06x}"));
            }
            Event::DmaRead { device, len, .. } => self.mark(Key::Dma(*device), record, format!("read +{len:#x}")),
            Event::DmaWrite { device, len, .. } => self.mark(Key::Dma(*device), record, format!("write +{len:#x}")),
            Event::Map { device, iova, .. } => self.map(record, *device, *iova),
            Event::Unmap { device, iova, .. } => self.unmap(at, *device, *iova),
            Event::IrqEnter { irq, name } => {
                let lane = self.lanes.entry(Key::Interrupts).or_default();
                self.handlers.push(lane.len());
                lane.push(Mark { name: format!("irq {irq} {name}"), to: Some(at), ..mark(record) });
            }
            Event::IrqExit { result, .. } => {
                if let Some(index) = self.handlers.pop() {
                    let result = Some(("result", Value::from(*result)));
                    self.end(Key::Interrupts, index, at, result);
                }
            }
            Event::Block { on } => {
                self.tasks.entry(record.task).or_default().idle = Some((at, Some(on)));
                self.stop_running(at);
            }
            Event::Switch { .. } => {}
            Event::Wake { task } => self.wake(at, task),
            Event::Log { text, .. } => self.mark(Key::Log, record, text.clone()),
            Event::Finding { rule, .. } => self.mark(Key::Findings, record, (*rule).to_owned()),
            _ => {
                let key = event.device().map_or(Key::Task(record.task), Key::Work);
                self.mark(key, record, event.words());
            }
        }
    }

    /// Something that took no time.
    fn mark(&mut self, key: Key, record: &Record, name: String) {
        self.lanes.entry(key).or_default().push(Mark { name, ..mark(record) });
    }

    /// An access that took `cost` nanoseconds, as far as they are not another one's.
    fn access(&mut self, key: Key, record: &Record, cost: Nanos, name: String) {
        let lane = self.lanes.entry(key).or_default();
        let free = lane.last().and_then(|last| last.to).unwrap_or(0);
        let from = record.at.saturating_sub(cost).max(free).min(record.at);
        lane.push(Mark { from, to: Some(record.at), name, ..mark(record) });
    }

    /// Ends the slice at a place of a lane.
    fn end(&mut self, key: Key, index: usize, at: Nanos, more: Option<(&'static str, Value)>) {
        if let Some(mark) = self.lanes.get_mut(&key).and_then(|lane| lane.get_mut(index)) {
            mark.to = Some(at);
            mark.fields.extend(more);
        }
    }

    // --- Tasks ---------------------------------------------------------------------------------------------------

    /// Sees which task runs: the one that a record is of runs from its first record to the last one before another's.
    fn follow_tasks(&mut self, record: &Record) {
        if let Event::Switch { task } = &record.event {
            let known = self.tasks.entry(record.task).or_default();
            known.name.clone_from(task);
            if let Some((since, on)) = known.idle.take() {
                self.idled(record.task, since, on, record.at);
            }
        }
        if self.running.map(|(task, _)| task) != Some(record.task) {
            self.stop_running(self.now);
            self.running = Some((record.task, record.at));
        }
    }

    fn stop_running(&mut self, at: Nanos) {
        match self.running.take() {
            None | Some((0, _)) => {}
            Some((task, from)) => self.state(task, from, at, "runs".into(), "runs"),
        }
    }

    /// A task that waited, or was ready, does so no longer.
    fn idled(&mut self, task: u16, since: Nanos, on: Option<&'static str>, at: Nanos) {
        let (name, category) = match on {
            Some(on) => (format!("waits: {on}"), "waits"),
            None => ("ready".into(), "ready"),
        };
        self.state(task, since, at, name, category);
    }

    fn state(&mut self, task: u16, from: Nanos, to: Nanos, name: String, category: &'static str) {
        let lane = self.lanes.entry(Key::Task(task)).or_default();
        lane.push(Mark { from, to: Some(to), name, category, fields: Vec::new() });
    }

    /// The task of this name that waits longest is ready from now on.
    fn wake(&mut self, at: Nanos, name: &str) {
        let waiting = self.tasks.iter_mut().filter(|(_, task)| task.name == name);
        let woken = waiting
            .filter_map(|(number, task)| match task.idle {
                Some((since, Some(on))) => Some((since, *number, on, task)),
                _ => None,
            })
            .min_by_key(|(since, number, ..)| (*since, *number));
        if let Some((since, number, on, task)) = woken {
            task.idle = Some((at, None));
            self.idled(number, since, Some(on), at);
        }
    }

    // --- Mappings ------------------------------------------------------------------------------------------------

    fn map(&mut self, record: &Record, device: DeviceId, iova: u64) {
        // The first row that is free.
        let taken = |row| self.mappings.iter().any(|mapping| mapping.device == device && mapping.row == row);
        let row = (0..u16::MAX).find(|row| !taken(*row)).unwrap_or(u16::MAX);
        let lane = self.lanes.entry(Key::Mapped(device, row)).or_default();
        self.mappings.push(Mapping { device, iova, row, index: lane.len() });
        lane.push(Mark { name: format!("{iova:#x}"), to: Some(record.at), ..mark(record) });
    }

    fn unmap(&mut self, at: Nanos, device: DeviceId, iova: u64) {
        let known = self.mappings.iter().position(|mapping| mapping.device == device && mapping.iova == iova);
        if let Some(known) = known {
            let Mapping { row, index, .. } = self.mappings.swap_remove(known);
            self.end(Key::Mapped(device, row), index, at, None);
        }
    }

    // --- The end -------------------------------------------------------------------------------------------------

    /// Ends what is not over with the last record.
    fn finish(mut self, names: &[String]) -> Timeline {
        let now = self.now;
        self.stop_running(now);
        for (task, idle) in self.tasks.iter_mut().map(|(number, task)| (*number, task.idle.take())).collect::<Vec<_>>()
        {
            if let Some((since, on)) = idle {
                self.idled(task, since, on, now);
            }
        }
        for index in std::mem::take(&mut self.handlers) {
            self.end(Key::Interrupts, index, now, None);
        }
        for Mapping { device, row, index, .. } in std::mem::take(&mut self.mappings) {
            let note = Some(("unmapped", Value::Flag(false)));
            self.end(Key::Mapped(device, row), index, now, note);
        }
        let mut groups: BTreeMap<Option<DeviceId>, Group> = BTreeMap::new();
        for (key, marks) in self.lanes {
            let device = key.device();
            let group = groups.entry(device).or_insert_with(|| {
                let name = device.map_or("CPU".to_owned(), |id| match names.get(usize::from(id.0)) {
                    Some(name) => name.clone(),
                    None => format!("device {}", id.0),
                });
                Group { name, lanes: Vec::new() }
            });
            let lane = Lane { name: key.name(&self.tasks), marks };
            match key {
                Key::Task(number) => add_task(&mut group.lanes, number, lane),
                _ => group.lanes.push(lane),
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        for lane in groups.iter_mut().flat_map(|group| &mut group.lanes) {
            // What a slice holds comes after it.
            lane.marks.sort_by_key(|mark| (mark.from, mark.to.is_none()));
        }
        Timeline { groups }
    }
}

/// Adds the lane of a task. It goes on in the lane of another one of its name that is over by then, if there is one: a life has
/// hundreds of processes that make one call each.
fn add_task(lanes: &mut Vec<Lane>, number: u16, mut task: Lane) {
    for mark in &mut task.marks {
        mark.fields.push(("task", Value::Unsigned(number.into())));
    }
    let began = task.marks.iter().map(|mark| mark.from).min().unwrap_or_default();
    let is_over = |lane: &Lane| lane.marks.iter().all(|mark| mark.to.unwrap_or(mark.from) <= began);
    match lanes.iter_mut().find(|lane| lane.name == task.name && is_over(lane)) {
        Some(lane) => lane.marks.append(&mut task.marks),
        None => lanes.push(task),
    }
}

/// The mark of an event, with all it has to say but for its name.
fn mark(record: &Record) -> Mark {
    let mut fields = record.event.fields();
    fields.push(("line", Value::Text(record.event.words())));
    fields.push(("position", Value::Unsigned(record.position)));
    Mark { from: record.at, to: None, name: String::new(), category: record.event.kind(), fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId(0);

    fn lane(events: Vec<(Nanos, u16, Event)>, name: &str) -> Vec<(Nanos, Option<Nanos>, String)> {
        let records = events.into_iter().map(|(at, task, event)| Record { position: 0, at, task, event });
        let timeline = Timeline::new(&records.collect::<Vec<_>>(), &["edu".into()]);
        let lanes = timeline.groups.into_iter().flat_map(|group| group.lanes).filter(|lane| lane.name == name);
        lanes.flat_map(|lane| lane.marks).map(|mark| (mark.from, mark.to, mark.name)).collect()
    }

    fn switch(task: &str) -> Event {
        Event::Switch { task: task.into() }
    }

    #[test]
    fn task_runs_waits_is_ready_and_runs_again() {
        let events = vec![
            (10, 1, switch("reader")),
            (20, 1, Event::Block { on: "completion" }),
            (90, 0, Event::Work { device: DEVICE }),
            (95, 0, Event::Wake { task: "reader".into() }),
            (99, 1, switch("reader")),
            (120, 1, Event::Call { what: "read", file: "edu".into(), result: 0 }),
            (500, 0, Event::Work { device: DEVICE }),
        ];
        let expected = [
            (10, Some(20), "runs".to_owned()),
            (20, Some(95), "waits: completion".to_owned()),
            (95, Some(99), "ready".to_owned()),
            (99, Some(120), "runs".to_owned()),
            (120, None, "read edu -> 0".to_owned()),
        ];
        assert_eq!(lane(events, "task reader"), expected);
    }

    #[test]
    fn tasks_of_one_name_share_a_lane_unless_they_live_at_the_same_time() {
        let calls = |at, task| vec![(at, task, switch("read")), (at + 5, task, Event::Block { on: "disk" })];
        let lanes = |events: Vec<(Nanos, u16, Event)>| {
            let records = events.into_iter().map(|(at, task, event)| Record { position: 0, at, task, event });
            Timeline::new(&records.collect::<Vec<_>>(), &[]).groups[0].lanes.len()
        };
        let done = (20, 1, switch("read"));
        let one_by_one = [calls(10, 1), vec![done], calls(30, 2)].concat();
        assert_eq!(lanes(one_by_one), 1);
        assert_eq!(lanes([calls(10, 1), calls(30, 2)].concat()), 2);
    }

    #[test]
    fn handler_that_interrupts_another_lies_within_it() {
        let enter = |irq| Event::IrqEnter { irq, name: "edu".into() };
        let exit = |irq| Event::IrqExit { irq, result: "handled" };
        let events = vec![(10, 0, enter(1)), (20, 0, enter(2)), (30, 0, exit(2)), (40, 0, exit(1))];
        let expected = [(10, Some(40), "irq 1 edu".to_owned()), (20, Some(30), "irq 2 edu".to_owned())];
        assert_eq!(lane(events, "interrupts"), expected);
    }

    #[test]
    fn mappings_that_overlap_have_rows_of_their_own_and_a_free_row_is_taken_again() {
        let map = |iova| Event::Map { device: DEVICE, iova, len: 8, direction: "to", kind: "streaming", place: None };
        let unmap = |iova| Event::Unmap { device: DEVICE, iova, len: 8 };
        let events = vec![
            (10, 0, map(1)),
            (20, 0, map(2)),
            (30, 0, unmap(1)),
            (40, 0, map(3)),
            (50, 0, unmap(3)),
            (60, 0, unmap(2)),
        ];
        let expected =
            [(10, Some(30), "0x1".to_owned()), (40, Some(50), "0x3".to_owned()), (20, Some(60), "0x2".to_owned())];
        assert_eq!(lane(events, "mapped"), expected);
    }

    #[test]
    fn mapping_that_is_never_undone_lasts_to_the_end() {
        let map = Event::Map { device: DEVICE, iova: 1, len: 8, direction: "to", kind: "streaming", place: None };
        let events = vec![(10, 0, map), (70, 0, Event::Work { device: DEVICE })];
        assert_eq!(lane(events, "mapped"), [(10, Some(70), "0x1".to_owned())]);
    }

    #[test]
    fn accesses_take_their_time_and_do_not_overlap() {
        let read = Event::BarRead { device: DEVICE, bar: 0, offset: 4, width: 4, value: 0, place: None };
        let events = vec![(1000, 0, read.clone()), (1100, 0, read)];
        let name = "BAR0 read 0x0004".to_owned();
        assert_eq!(lane(events, "MMIO"), [(750, Some(1000), name.clone()), (1000, Some(1100), name)]);
    }
}
