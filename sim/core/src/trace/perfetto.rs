//! A timeline in Perfetto's format: a protocol buffer `Trace` of `TracePacket`s (perfetto/protos/perfetto/trace).
//!
//! A group is the track of a process, a lane a named track below it. All packets are of one sequence; names, categories and names of
//! fields are interned: sent once, then referred to by number.

use std::collections::HashMap;
use std::io::{self, Write};

use super::Value;
use super::timeline::{Mark, Timeline};
use crate::time::Nanos;

/// Numbers of fields, by message.
mod field {
    pub(super) mod trace {
        pub(crate) const PACKET: u32 = 1;
    }
    pub(super) mod packet {
        pub(crate) const TIMESTAMP: u32 = 8;
        pub(crate) const SEQUENCE_ID: u32 = 10;
        pub(crate) const TRACK_EVENT: u32 = 11;
        pub(crate) const INTERNED_DATA: u32 = 12;
        pub(crate) const SEQUENCE_FLAGS: u32 = 13;
        pub(crate) const DEFAULTS: u32 = 59;
        pub(crate) const TRACK_DESCRIPTOR: u32 = 60;
        pub(crate) const FIRST_ON_SEQUENCE: u32 = 87;
    }
    pub(super) mod defaults {
        pub(crate) const CLOCK_ID: u32 = 58;
    }
    pub(super) mod descriptor {
        pub(crate) const UUID: u32 = 1;
        pub(crate) const NAME: u32 = 2;
        pub(crate) const PROCESS: u32 = 3;
        pub(crate) const PARENT_UUID: u32 = 5;
        pub(crate) const CHILD_ORDERING: u32 = 11;
        pub(crate) const RANK: u32 = 12;
    }
    pub(super) mod process {
        pub(crate) const PID: u32 = 1;
        pub(crate) const NAME: u32 = 6;
    }
    pub(super) mod event {
        pub(crate) const CATEGORY_IID: u32 = 3;
        pub(crate) const ANNOTATION: u32 = 4;
        pub(crate) const TYPE: u32 = 9;
        pub(crate) const NAME_IID: u32 = 10;
        pub(crate) const TRACK_UUID: u32 = 11;
    }
    pub(super) mod annotation {
        pub(crate) const NAME_IID: u32 = 1;
        pub(crate) const BOOL: u32 = 2;
        pub(crate) const UINT: u32 = 3;
        pub(crate) const INT: u32 = 4;
        pub(crate) const STRING: u32 = 6;
    }
    pub(super) mod interned {
        pub(crate) const CATEGORIES: u32 = 1;
        pub(crate) const NAMES: u32 = 2;
        pub(crate) const ANNOTATION_NAMES: u32 = 3;
        pub(crate) const IID: u32 = 1;
        pub(crate) const TEXT: u32 = 2;
    }
}

/// What an event of a track is.
mod kind {
    pub(super) const SLICE_BEGIN: u64 = 1;
    pub(super) const SLICE_END: u64 = 2;
    pub(super) const INSTANT: u64 = 3;
}

/// The only sequence of packets.
const SEQUENCE: u64 = 1;
/// What was interned before is not known any more.
const STATE_CLEARED: u64 = 1;
/// The packet refers to what was interned.
const NEEDS_STATE: u64 = 2;
/// The clock that trace viewers show as it is: virtual time, in nanoseconds.
const BOOTTIME: u64 = 6;
/// Tracks below one are shown by their ranks.
const EXPLICIT_ORDER: u64 = 3;

pub(super) fn write(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    let mut sequence = Sequence { out, interned: Default::default() };
    let defaults = Message::default().number(field::defaults::CLOCK_ID, BOOTTIME);
    let flags = STATE_CLEARED | NEEDS_STATE;
    let first = Message::default().number(field::packet::FIRST_ON_SEQUENCE, 1);
    sequence.send(first.message(field::packet::DEFAULTS, &defaults), flags)?;
    let mut edges: Vec<(Nanos, Edge, u64, &Mark)> = Vec::new();
    let mut uuid = 0;
    for (number, group) in timeline.groups.iter().enumerate() {
        uuid += 1;
        let parent = uuid;
        // 0 is the idle process everywhere.
        let pid = number as u64 + 1;
        let process = Message::default().number(field::process::PID, pid).text(field::process::NAME, &group.name);
        let track = Message::default()
            .number(field::descriptor::UUID, parent)
            .message(field::descriptor::PROCESS, &process)
            .number(field::descriptor::CHILD_ORDERING, EXPLICIT_ORDER)
            .number(field::descriptor::RANK, number as u64);
        sequence.send(Message::default().message(field::packet::TRACK_DESCRIPTOR, &track), NEEDS_STATE)?;
        for (rank, lane) in group.lanes.iter().enumerate() {
            uuid += 1;
            let track = Message::default()
                .number(field::descriptor::UUID, uuid)
                .number(field::descriptor::PARENT_UUID, parent)
                .text(field::descriptor::NAME, &lane.name)
                .number(field::descriptor::RANK, rank as u64);
            sequence.send(Message::default().message(field::packet::TRACK_DESCRIPTOR, &track), NEEDS_STATE)?;
            for mark in &lane.marks {
                edges.push((mark.from, if mark.to.is_some() { Edge::Begin } else { Edge::Instant }, uuid, mark));
                edges.extend(mark.to.map(|to| (to, Edge::End, uuid, mark)));
            }
        }
    }
    // In the order of time; at one time in that of the lane, where an end follows its beginning.
    edges.sort_by_key(|(at, ..)| *at);
    edges.into_iter().try_for_each(|(at, edge, track, mark)| sequence.event(at, edge, track, mark))
}

#[derive(Clone, Copy, PartialEq)]
enum Edge {
    Begin,
    End,
    Instant,
}

/// The packets, as far as they are written.
struct Sequence<'a> {
    out: &'a mut dyn Write,
    /// For each kind of interned text what was sent of it, under which number.
    interned: [HashMap<String, u64>; 3],
}

impl Sequence<'_> {
    fn send(&mut self, packet: Message, flags: u64) -> io::Result<()> {
        let packet = packet.number(field::packet::SEQUENCE_ID, SEQUENCE).number(field::packet::SEQUENCE_FLAGS, flags);
        self.out.write_all(&Message::default().message(field::trace::PACKET, &packet).0)
    }

    fn event(&mut self, at: Nanos, edge: Edge, track: u64, mark: &Mark) -> io::Result<()> {
        let mut news = Message::default();
        let kind = match edge {
            Edge::Begin => kind::SLICE_BEGIN,
            Edge::End => kind::SLICE_END,
            Edge::Instant => kind::INSTANT,
        };
        let mut event = Message::default().number(field::event::TYPE, kind).number(field::event::TRACK_UUID, track);
        if edge != Edge::End {
            let category = self.intern(field::interned::CATEGORIES, mark.category, &mut news);
            let name = self.intern(field::interned::NAMES, &mark.name, &mut news);
            event = event.number(field::event::CATEGORY_IID, category).number(field::event::NAME_IID, name);
            for (name, value) in &mark.fields {
                let name = self.intern(field::interned::ANNOTATION_NAMES, name, &mut news);
                let annotation = Message::default().number(field::annotation::NAME_IID, name);
                let annotation = match value {
                    Value::Unsigned(number) => annotation.number(field::annotation::UINT, *number),
                    // As two's complement in 64 bits.
                    Value::Signed(number) => annotation.number(field::annotation::INT, *number as u64),
                    Value::Flag(flag) => annotation.number(field::annotation::BOOL, u64::from(*flag)),
                    Value::Text(text) => annotation.text(field::annotation::STRING, text),
                };
                event = event.message(field::event::ANNOTATION, &annotation);
            }
        }
        let mut packet = Message::default().number(field::packet::TIMESTAMP, at);
        if !news.0.is_empty() {
            packet = packet.message(field::packet::INTERNED_DATA, &news);
        }
        self.send(packet.message(field::packet::TRACK_EVENT, &event), NEEDS_STATE)
    }

    /// The number of a text; one that is new is added to what the packet interns.
    fn intern(&mut self, kind: u32, text: &str, news: &mut Message) -> u64 {
        let known = &mut self.interned[kind as usize - 1];
        if let Some(number) = known.get(text) {
            return *number;
        }
        // 0 is none.
        let number = known.len() as u64 + 1;
        known.insert(text.to_owned(), number);
        let entry = Message::default().number(field::interned::IID, number).text(field::interned::TEXT, text);
        *news = std::mem::take(news).message(kind, &entry);
        number
    }
}

/// A message of protocol buffers, as bytes: each field is its number and its form in one number, then its content.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    const NUMBER: u32 = 0;
    const BYTES: u32 = 2;

    /// Seven bits a byte, low ones first; the eighth says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field << 3 | Self::NUMBER));
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field << 3 | Self::BYTES));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

#[cfg(test)]
mod tests {
    //! What is written is read by another implementation of protocol buffers, with the messages as Perfetto declares them.

    use std::collections::HashMap;

    use prost::Message as _;

    use super::super::{DeviceId, Event, Record};
    use super::*;

    macro_rules! messages {
        ($($name:ident { $(#[prost($($form:tt)*)] $field:ident: $ty:ty,)* })*) => {
            $(#[derive(Clone, PartialEq, prost::Message)]
            struct $name { $(#[prost($($form)*)] $field: $ty,)* })*
        };
    }

    messages! {
        Trace {
            #[prost(message, repeated, tag = "1")] packet: Vec<Packet>,
        }
        Packet {
            #[prost(uint64, optional, tag = "8")] timestamp: Option<u64>,
            #[prost(uint32, tag = "10")] trusted_packet_sequence_id: u32,
            #[prost(message, optional, tag = "11")] track_event: Option<TrackEvent>,
            #[prost(message, optional, tag = "12")] interned_data: Option<Interned>,
            #[prost(uint32, tag = "13")] sequence_flags: u32,
            #[prost(message, optional, tag = "59")] trace_packet_defaults: Option<Defaults>,
            #[prost(message, optional, tag = "60")] track_descriptor: Option<Descriptor>,
        }
        Defaults {
            #[prost(uint32, tag = "58")] timestamp_clock_id: u32,
        }
        Descriptor {
            #[prost(uint64, tag = "1")] uuid: u64,
            #[prost(string, tag = "2")] name: String,
            #[prost(message, optional, tag = "3")] process: Option<Process>,
            #[prost(uint64, tag = "5")] parent_uuid: u64,
        }
        Process {
            #[prost(int32, tag = "1")] pid: i32,
            #[prost(string, tag = "6")] process_name: String,
        }
        TrackEvent {
            #[prost(uint64, repeated, tag = "3")] category_iids: Vec<u64>,
            #[prost(message, repeated, tag = "4")] debug_annotations: Vec<Annotation>,
            #[prost(int32, tag = "9")] kind: i32,
            #[prost(uint64, tag = "10")] name_iid: u64,
            #[prost(uint64, tag = "11")] track_uuid: u64,
        }
        Annotation {
            #[prost(uint64, tag = "1")] name_iid: u64,
            #[prost(uint64, optional, tag = "3")] uint_value: Option<u64>,
            #[prost(int64, optional, tag = "4")] int_value: Option<i64>,
            #[prost(string, optional, tag = "6")] string_value: Option<String>,
        }
        Interned {
            #[prost(message, repeated, tag = "1")] event_categories: Vec<Text>,
            #[prost(message, repeated, tag = "2")] event_names: Vec<Text>,
            #[prost(message, repeated, tag = "3")] debug_annotation_names: Vec<Text>,
        }
        Text {
            #[prost(uint64, tag = "1")] iid: u64,
            #[prost(string, tag = "2")] name: String,
        }
    }

    fn written(events: Vec<(Nanos, Event)>) -> Vec<Packet> {
        let records = events.into_iter().map(|(at, event)| Record { position: 0, at, task: 1, event });
        let mut out = Vec::new();
        Timeline::new(&records.collect::<Vec<_>>(), &["edu".into()]).write_perfetto(&mut out).unwrap();
        Trace::decode(&*out).unwrap().packet
    }

    /// The edges of all lanes, with the names that were interned: track, kind, time, name.
    fn edges(packets: &[Packet]) -> Vec<(String, i32, u64, String)> {
        let (mut tracks, mut names) = (HashMap::new(), HashMap::new());
        let mut edges = Vec::new();
        for packet in packets {
            if let Some(track) = &packet.track_descriptor {
                tracks.insert(track.uuid, track.name.clone());
            }
            let interned = packet.interned_data.iter().flat_map(|data| &data.event_names);
            names.extend(interned.map(|text| (text.iid, text.name.clone())));
            if let Some(event) = &packet.track_event {
                let name = names.get(&event.name_iid).cloned().unwrap_or_default();
                edges.push((tracks[&event.track_uuid].clone(), event.kind, packet.timestamp.unwrap(), name));
            }
        }
        edges
    }

    fn read(offset: u64) -> Event {
        Event::BarRead { device: DeviceId(0), bar: 0, offset, width: 4, value: u64::MAX, place: None }
    }

    #[test]
    fn slices_begin_and_end_on_the_lane_of_their_device_in_virtual_nanoseconds() {
        let packets =
            written(vec![(1000, read(4)), (2000, read(4)), (3000, Event::IrqEnter { irq: 9, name: "e".into() })]);
        let mmio: Vec<_> = edges(&packets).into_iter().filter(|(track, ..)| track == "MMIO").collect();
        let edge = |kind, at, name: &str| ("MMIO".to_owned(), kind, at, name.to_owned());
        let name = "BAR0 read 0x0004";
        assert_eq!(mmio, [edge(1, 750, name), edge(2, 1000, ""), edge(1, 1750, name), edge(2, 2000, "")]);
        let lane =
            packets.iter().filter_map(|packet| packet.track_descriptor.as_ref()).find(|track| track.name == "MMIO");
        let parent = lane.unwrap().parent_uuid;
        let group =
            packets.iter().filter_map(|packet| packet.track_descriptor.as_ref()).find(|track| track.uuid == parent);
        assert_eq!(group.unwrap().process.as_ref().unwrap().process_name, "edu");
    }

    #[test]
    fn first_packet_clears_what_was_interned_and_names_the_clock() {
        let packets = written(vec![(1000, read(4))]);
        assert_eq!(packets[0].sequence_flags & 1, 1);
        assert_eq!(packets[0].trace_packet_defaults.as_ref().unwrap().timestamp_clock_id, 6);
        assert!(packets.iter().all(|packet| packet.trusted_packet_sequence_id == 1));
        assert!(packets[1..].iter().all(|packet| packet.sequence_flags == 2));
    }

    #[test]
    fn each_name_is_interned_once() {
        let packets = written(vec![(1000, read(4)), (2000, read(4)), (3000, read(8))]);
        let interned = packets.iter().filter_map(|packet| packet.interned_data.as_ref());
        let names: Vec<_> =
            interned.flat_map(|data| &data.event_names).map(|text| (text.iid, text.name.clone())).collect();
        let expected = ["runs", "BAR0 read 0x0004", "BAR0 read 0x0008"];
        assert_eq!(names.len(), expected.len());
        assert!(expected.iter().all(|name| names.iter().any(|(_, known)| known == name)), "{names:?}");
    }

    #[test]
    fn finding_is_an_instant_with_its_rule_text_and_place() {
        let what = "one \u{2192} two".to_owned();
        let place = std::panic::Location::caller();
        let packets = written(vec![(5, Event::Finding { rule: "bar-width", what: what.clone(), place: Some(place) })]);
        let event =
            packets.iter().filter_map(|packet| packet.track_event.as_ref()).find(|event| event.kind == 3).unwrap();
        let texts: Vec<_> = event.debug_annotations.iter().filter_map(|one| one.string_value.clone()).collect();
        let place = format!("{}:{}:{}", place.file(), place.line(), place.column());
        assert!([what, place, "bar-width".into()].iter().all(|text| texts.contains(text)), "{texts:?}");
    }

    #[test]
    fn numbers_keep_all_their_bits_and_their_sign() {
        let call = Event::Call { what: "read", file: "edu".into(), result: -5 };
        let packets = written(vec![(5, call), (6, read(u64::MAX))]);
        let annotations = packets.iter().filter_map(|packet| packet.track_event.as_ref());
        let annotations: Vec<_> = annotations.flat_map(|event| &event.debug_annotations).collect();
        assert!(annotations.iter().any(|one| one.int_value == Some(-5)));
        assert!(annotations.iter().any(|one| one.uint_value == Some(u64::MAX)));
    }
}
