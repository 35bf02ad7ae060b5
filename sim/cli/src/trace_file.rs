//! `--trace FILE`: the trace as text or as JSON lines, by the file's ending.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bringup_core::trace::{self, Event, Record};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::Paths;
use crate::output_file;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One line an event, for people.
    Text,
    /// One JSON object an event: `position`, `at` (virtual ns), `task`, `device` (name or null), `kind`, `text`, `fields`.
    JsonLines,
}

/// Where the trace goes, and in which form.
#[derive(Clone, Debug)]
pub(crate) struct TraceFile {
    path: PathBuf,
    format: Format,
}

impl TraceFile {
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let format = match path.extension().and_then(|ending| ending.to_str()) {
            Some("txt") => Format::Text,
            Some("json" | "jsonl") => Format::JsonLines,
            _ => {
                return Err(Failure::new(format_args!(
                    "cannot tell the form of the trace from \"{}\": the endings are .txt, .json and .jsonl",
                    path.display()
                )));
            }
        };
        Ok(Self { path: path.to_owned(), format })
    }

    pub(crate) fn write(&self, records: &[Record], devices: &[String], paths: &Paths) -> Result<(), Failure> {
        let mut text = Vec::new();
        let written = match self.format {
            Format::Text => trace::write_text(&mut text, records, devices),
            Format::JsonLines => write_json(&mut text, records, devices),
        };
        let text = paths.apply(&String::from_utf8_lossy(&text));
        written
            .and_then(|()| output_file::write(&self.path, text.as_bytes()))
            .map_err(|error| Failure::file("write the trace to", &self.path, &error))
    }
}

fn write_json(out: &mut Vec<u8>, records: &[Record], devices: &[String]) -> io::Result<()> {
    for record in records {
        let device = record.event.device().and_then(|id| devices.get(usize::from(id.0)));
        // The columns of the text form are for the eye.
        let text = record.event.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let object = json!({
            "position": record.position,
            "at": record.at,
            "task": record.task,
            "device": device,
            "kind": record.event.kind(),
            "text": text,
            "fields": fields(&record.event),
        });
        writeln!(out, "{object}")?;
    }
    Ok(())
}

/// The numbers and words of an event, under the names of its fields.
fn fields(event: &Event) -> Value {
    let mut value = match event {
        Event::ConfigRead { offset, width, value, .. } | Event::ConfigWrite { offset, width, value, .. } => {
            json!({"offset": offset, "width": width, "value": value})
        }
        Event::BarRead { bar, offset, width, value, .. } | Event::BarWrite { bar, offset, width, value, .. } => {
            json!({"bar": bar, "offset": offset, "width": width, "value": value})
        }
        Event::DmaRead { iova, len, .. } | Event::DmaWrite { iova, len, .. } | Event::Unmap { iova, len, .. } => {
            json!({"iova": iova, "len": len})
        }
        Event::Map { iova, len, direction, kind, .. } => {
            json!({"iova": iova, "len": len, "direction": direction, "kind": kind})
        }
        Event::Message { vector, .. } | Event::Pended { vector, .. } => json!({"vector": vector}),
        Event::Level { asserted, .. } => json!({"asserted": asserted}),
        Event::Reset { kind, .. } => json!({"kind": kind}),
        Event::Fault { verb, behaviour, .. } => json!({"verb": verb, "behaviour": behaviour}),
        Event::IrqEnter { irq, name } => json!({"irq": irq, "name": name}),
        Event::IrqExit { irq, result } => json!({"irq": irq, "result": result}),
        Event::Switch { task } | Event::Wake { task } => json!({"task": task}),
        Event::Block { on } => json!({"on": on}),
        Event::Log { level, text } => json!({"level": level, "text": text}),
        Event::Module { name, loaded } => json!({"name": name, "loaded": loaded}),
        Event::Probe { driver, device, result } => json!({"driver": driver, "device": device, "result": result}),
        Event::Unbind { driver, device } => json!({"driver": driver, "device": device}),
        Event::Call { what, file, result } => json!({"what": what, "file": file, "result": result}),
        Event::AllocationFailed { size, .. } => json!({"size": size}),
        Event::Timer { name } => json!({"name": name}),
        Event::Finding { rule, what } => json!({"rule": rule, "what": what}),
        // Events without fields, and those of a newer waist: their text says it all.
        _ => Value::Object(Map::new()),
    };
    if let (Some(place), Value::Object(map)) = (place(event), &mut value) {
        map.insert("place".into(), json!(format!("{}:{}:{}", place.file(), place.line(), place.column())));
    }
    value
}

fn place(event: &Event) -> Option<bringup_core::Place> {
    match event {
        Event::BarRead { place, .. }
        | Event::BarWrite { place, .. }
        | Event::Map { place, .. }
        | Event::AllocationFailed { place, .. } => *place,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_ending_is_refused_with_the_known_ones() {
        let failure = TraceFile::new(Path::new("trace.perfetto")).unwrap_err().to_string();
        assert!(failure.contains(".txt, .json and .jsonl"), "{failure}");
    }

    #[test]
    fn json_record_holds_the_numbers_of_its_event() {
        let event =
            Event::BarWrite { device: trace::DeviceId(0), bar: 0, offset: 0x20, width: 4, value: 128, place: None };
        let mut out = Vec::new();
        write_json(&mut out, &[Record { position: 3, at: 1500, task: 1, event }], &["edu".into()]).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["kind"], "bar-write");
        assert_eq!((&value["device"], &value["position"], &value["at"]), (&json!("edu"), &json!(3), &json!(1500)));
        assert_eq!(value["fields"], json!({"bar": 0, "offset": 32, "width": 4, "value": 128}));
    }
}
