//! The events of a trace one a line: as text for people, as JSON for programs.

use std::io::{self, Write};

use serde::ser::{SerializeMap, Serializer as _};

use super::Record;
use crate::finding::Moment;

/// Writes records as text, one line an event, devices by name.
///
/// # Errors
/// Those of `out`.
pub fn write_text(out: &mut dyn Write, records: &[Record], names: &[String]) -> io::Result<()> {
    for record in records {
        let who = record.device(names).unwrap_or_default();
        writeln!(
            out,
            "[{:>12}] {:>6} t{:<2} {who:<8} {}",
            Moment(record.at),
            record.position,
            record.task,
            record.event
        )?;
    }
    Ok(())
}

/// Writes records as JSON lines, one object an event: `position`, `at` (virtual nanoseconds), `task`, `device` (its name, or null),
/// `kind`, `text` (the text form's words) and `fields`. Fields are only ever added.
///
/// # Errors
/// Those of `out`.
pub fn write_json_lines(out: &mut dyn Write, records: &[Record], names: &[String]) -> io::Result<()> {
    for record in records {
        let mut json = serde_json::Serializer::new(&mut *out);
        let mut object = json.serialize_map(None)?;
        object.serialize_entry("position", &record.position)?;
        object.serialize_entry("at", &record.at)?;
        object.serialize_entry("task", &record.task)?;
        object.serialize_entry("device", &record.device(names))?;
        object.serialize_entry("kind", record.event.kind())?;
        object.serialize_entry("text", &record.event.words())?;
        object.serialize_entry("fields", &Object(&record.event.fields()))?;
        object.end()?;
        writeln!(out)?;
    }
    Ok(())
}

/// Pairs of names and values, as one JSON object.
pub(super) struct Object<'a>(pub(super) &'a [(&'static str, super::Value)]);

impl serde::Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceId, Event};
    use super::*;

    #[test]
    fn json_line_holds_the_numbers_of_its_event() {
        let event = Event::BarWrite { device: DeviceId(0), bar: 0, offset: 0x20, width: 4, value: 128, place: None };
        let mut out = Vec::new();
        write_json_lines(&mut out, &[Record { position: 3, at: 1500, task: 1, event }], &["edu".into()]).unwrap();
        let expected = r#"{"position":3,"at":1500,"task":1,"device":"edu","kind":"bar-write","text":"BAR0 write 0x0020 <- 0x00000080","fields":{"bar":0,"offset":32,"width":4,"value":128}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }
}
