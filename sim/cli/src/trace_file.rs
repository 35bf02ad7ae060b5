//! `--trace FILE`: the trace, in the form that the file's ending asks for.

use std::io;
use std::path::{Path, PathBuf};

use bringup_core::trace::{self, Record, Timeline};

use crate::failure::Failure;
use crate::output::Paths;
use crate::output_file;

/// The endings, as they are told to whoever used another.
const ENDINGS: &str = ".txt (lines of text), .jsonl (lines of JSON), .perfetto-trace and .json (lanes, for ui.perfetto.dev) and \
                       .pcapng (packets, for Wireshark)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One line an event, for people.
    Text,
    /// One JSON object an event, for programs.
    JsonLines,
    /// Lanes, in the Trace Event Format.
    Chrome,
    /// Lanes, in Perfetto's own format.
    Perfetto,
    /// The packets of network devices.
    Packets,
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
            Some("jsonl") => Format::JsonLines,
            Some("json") => Format::Chrome,
            Some("perfetto-trace" | "pftrace") => Format::Perfetto,
            Some("pcapng") => Format::Packets,
            _ => {
                return Err(Failure::new(format_args!(
                    "cannot tell the form of the trace from \"{}\": the endings are {ENDINGS}",
                    path.display()
                )));
            }
        };
        Ok(Self { path: path.to_owned(), format })
    }

    /// Refuses a form that has nothing to say about these devices, given as `--device` takes them.
    pub(crate) fn check_devices<'a>(&self, mut devices: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
        let has_packets = |spec: &str| spec.split(',').next() == Some("virtio-net");
        if self.format != Format::Packets || devices.any(has_packets) {
            return Ok(());
        }
        Err(Failure::new(format_args!(
            "{} would be empty: a .pcapng trace holds packets, and there is no network device (virtio-net); \
             .perfetto-trace, .json, .jsonl and .txt traces are for every device",
            self.path.display()
        )))
    }

    /// Refuses a file that cannot be written, before there is anything to write.
    pub(crate) fn check_place(&self) -> Result<(), Failure> {
        output_file::check(&self.path).map_err(|error| Failure::file("write the trace to", &self.path, &error))
    }

    /// Writes the file: whole, or not at all.
    pub(crate) fn write(&self, records: &[Record], devices: &[String], paths: &Paths) -> Result<(), Failure> {
        self.content(records, devices, paths)
            .and_then(|content| output_file::write(&self.path, &content))
            .map_err(|error| Failure::file("write the trace to", &self.path, &error))
    }

    fn content(&self, records: &[Record], devices: &[String], paths: &Paths) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let lanes = || Timeline::new(records, devices).shown(|text| paths.apply(text));
        match self.format {
            Format::Text => trace::write_text(&mut bytes, records, devices)?,
            Format::JsonLines => trace::write_json_lines(&mut bytes, records, devices)?,
            Format::Chrome => lanes().write_chrome(&mut bytes)?,
            Format::Perfetto => lanes().write_perfetto(&mut bytes)?,
            Format::Packets => trace::write_pcapng(&mut bytes, records, devices)?,
        }
        if matches!(self.format, Format::Text | Format::JsonLines) {
            bytes = paths.apply(&String::from_utf8_lossy(&bytes)).into_bytes();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_ending_is_refused_with_the_known_ones() {
        let failure = TraceFile::new(Path::new("trace.perfetto")).unwrap_err().to_string();
        let known = [".txt", ".jsonl", ".json ", ".perfetto-trace", ".pcapng"];
        assert!(known.iter().all(|ending| failure.contains(ending)), "{failure}");
    }

    #[test]
    fn packets_are_refused_where_no_device_carries_any() {
        let file = |name: &str| TraceFile::new(Path::new(name)).unwrap();
        assert!(file("a.pcapng").check_devices(["edu", "virtio-blk,size=1M"].into_iter()).is_err());
        assert!(file("a.pcapng").check_devices(["edu", "virtio-net,mtu=1500"].into_iter()).is_ok());
        assert!(file("a.json").check_devices(["edu"].into_iter()).is_ok());
    }
}
