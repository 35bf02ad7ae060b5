//! The numbers and words of an event, under the names of its fields.

use serde::Serialize;

use super::Event;
use crate::finding::Place;

/// The value of one field of an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A number that is never negative.
    Unsigned(u64),
    /// A number that may be.
    Signed(i64),
    /// Yes or no.
    Flag(bool),
    /// Words.
    Text(String),
}

macro_rules! value_from {
    ($($ty:ty => $variant:ident),*) => {
        $(impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

value_from!(u8 => Unsigned, u16 => Unsigned, u32 => Unsigned, u64 => Unsigned, i32 => Signed, i64 => Signed, bool => Flag, &str => Text);

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Unsigned(value as u64)
    }
}

macro_rules! fields {
    ($($field:ident),* $(,)?) => {
        vec![$((stringify!($field), Value::from(*$field))),*]
    };
}

impl Event {
    /// Its fields, but for the device, which [`device`](Self::device) tells; `place` is `file:line:column`.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        let mut fields = match self {
            Self::ConfigRead { offset, width, value, .. } | Self::ConfigWrite { offset, width, value, .. } => {
                fields!(offset, width, value)
            }
            Self::BarRead { bar, offset, width, value, .. } | Self::BarWrite { bar, offset, width, value, .. } => {
                fields!(bar, offset, width, value)
            }
            Self::DmaRead { iova, len, .. } | Self::DmaWrite { iova, len, .. } | Self::Unmap { iova, len, .. } => {
                fields!(iova, len)
            }
            Self::Map { iova, len, direction, kind, .. } => fields!(iova, len, direction, kind),
            Self::Message { vector, .. } | Self::Pended { vector, .. } => fields!(vector),
            Self::Level { asserted, .. } => fields!(asserted),
            Self::Reset { kind, .. } => fields!(kind),
            Self::Fault { verb, behaviour, .. } => fields!(verb, behaviour),
            Self::Packet { sent, bytes, .. } => vec![("sent", (*sent).into()), ("len", bytes.len().into())],
            Self::IrqEnter { irq, name } => vec![("irq", (*irq).into()), ("name", name.into())],
            Self::IrqExit { irq, result } => fields!(irq, result),
            Self::Switch { task } | Self::Wake { task } => vec![("task", task.into())],
            Self::Block { on } => fields!(on),
            Self::Log { level, text } => vec![("level", (*level).into()), ("text", text.into())],
            Self::Module { name, loaded } => vec![("name", name.into()), ("loaded", (*loaded).into())],
            Self::Probe { driver, device, result } => {
                vec![("driver", driver.into()), ("device", device.into()), ("result", (*result).into())]
            }
            Self::Unbind { driver, device } => vec![("driver", driver.into()), ("device", device.into())],
            Self::Call { what, file, result } => {
                vec![("what", (*what).into()), ("file", file.into()), ("result", (*result).into())]
            }
            Self::AllocationFailed { size, .. } => fields!(size),
            Self::Timer { name } => fields!(name),
            Self::Finding { rule, what, .. } => vec![("rule", (*rule).into()), ("what", what.into())],
            // Their words say it all.
            _ => Vec::new(),
        };
        if let Some(place) = self.place() {
            let place = format!("{}:{}:{}", place.file(), place.line(), place.column());
            fields.push(("place", Value::Text(place)));
        }
        fields
    }

    /// Where in the driver's source it comes from, if that is known.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::BarRead { place, .. }
            | Self::BarWrite { place, .. }
            | Self::Map { place, .. }
            | Self::AllocationFailed { place, .. }
            | Self::Finding { place, .. } => *place,
            _ => None,
        }
    }

    /// The line that it prints, without the columns, which are for the eye.
    #[must_use]
    pub fn words(&self) -> String {
        self.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
