//! A timeline in the Trace Event Format: one JSON object with all events. A group is a process there, a lane a thread.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::lines::Object;
use super::timeline::{Mark, Timeline};
use crate::time::Nanos;

pub(super) fn write(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    let mut events = Events { out, any: false };
    for (pid, group) in timeline.groups.iter().enumerate() {
        events.add(&json!({"ph": "M", "pid": pid, "name": "process_name", "args": {"name": group.name}}))?;
        events.add(&json!({"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": pid}}))?;
        for (tid, lane) in group.lanes.iter().enumerate() {
            let about = |name: &str, args| json!({"ph": "M", "pid": pid, "tid": tid, "name": name, "args": args});
            events.add(&about("thread_name", json!({"name": lane.name})))?;
            events.add(&about("thread_sort_index", json!({"sort_index": tid})))?;
            lane.marks.iter().try_for_each(|mark| events.add(&Entry::new(pid, tid, mark)))?;
        }
    }
    writeln!(events.out, "\n]}}")
}

/// The list of events: one a line.
struct Events<'a> {
    out: &'a mut dyn Write,
    any: bool,
}

impl Events<'_> {
    fn add(&mut self, event: &impl Serialize) -> io::Result<()> {
        let comma = if std::mem::replace(&mut self.any, true) { "," } else { "" };
        writeln!(self.out, "{comma}")?;
        serde_json::to_writer(&mut *self.out, event).map_err(io::Error::from)
    }
}

/// A slice or an instant.
#[derive(Serialize)]
struct Entry<'a> {
    /// `X`: it has a beginning and a duration; `i`: it is a moment.
    ph: &'static str,
    pid: usize,
    tid: usize,
    name: &'a str,
    cat: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    /// How far the line of an instant goes: over its thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    args: Object<'a>,
}

impl<'a> Entry<'a> {
    fn new(pid: usize, tid: usize, mark: &'a Mark) -> Self {
        Self {
            ph: if mark.to.is_some() { "X" } else { "i" },
            pid,
            tid,
            name: &mark.name,
            cat: mark.category,
            ts: microseconds(mark.from),
            dur: mark.to.map(|to| microseconds(to - mark.from)),
            s: mark.to.is_none().then_some("t"),
            args: Object(&mark.fields),
        }
    }
}

/// The format's unit; nanoseconds are its decimals.
fn microseconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{DeviceId, Event, Record};
    use super::*;

    fn written(events: &[(Nanos, Event)]) -> Vec<Value> {
        let records = events.iter().map(|(at, event)| Record { position: 0, at: *at, task: 0, event: event.clone() });
        let timeline = Timeline::new(&records.collect::<Vec<_>>(), &["edu".into()]);
        let mut out = Vec::new();
        timeline.write_chrome(&mut out).unwrap();
        let document: Value = serde_json::from_slice(&out).unwrap();
        document["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn slice_has_begin_and_duration_in_microseconds_under_named_lanes() {
        let read = Event::BarRead { device: DeviceId(0), bar: 0, offset: 4, width: 4, value: 7, place: None };
        let events = written(&[(2500, read)]);
        let slice = events.iter().find(|event| event["ph"] == "X").unwrap();
        assert_eq!((&slice["ts"], &slice["dur"], &slice["args"]["value"]), (&json!(2.25), &json!(0.25), &json!(7)));
        let named = |what: &str, name: &str| {
            events
                .iter()
                .any(|event| event["name"] == what && event["args"]["name"] == name && event["pid"] == slice["pid"])
        };
        assert!(named("process_name", "edu") && named("thread_name", "MMIO"));
    }

    #[test]
    fn finding_is_an_instant_with_its_rule_and_words() {
        let events =
            written(&[(1000, Event::Finding { rule: "bar-width", what: "no \"such\" width".into(), place: None })]);
        let instant = events.iter().find(|event| event["ph"] == "i").unwrap();
        assert_eq!((&instant["name"], &instant["args"]["what"]), (&json!("bar-width"), &json!("no \"such\" width")));
    }

    #[test]
    fn trace_without_events_is_a_document_without_events() {
        assert_eq!(written(&[]), Vec::<Value>::new());
    }
}
