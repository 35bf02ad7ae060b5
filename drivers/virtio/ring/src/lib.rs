//! The driver's side of a virtqueue, split and packed (virtio 1.4 §2.6 to §2.9): [`ring::Queue`].
//!
//! The virtio drivers include these modules as part of themselves, so that a driver is nothing but source files of its
//! own, here and in a kernel tree. This crate includes them once more, to document, prove and measure them alone.
//!
//! # Examples
//!
//! ```
//! use kernel::{device::{Bound, Device}, prelude::*};
//! use virtio_ring::{feature, ring::{Queue, Segment, Shape}};
//!
//! /// Asks a device for 64 random bytes at `buffer`; `kick` tells it.
//! fn ask(dev: &Device<Bound>, buffer: u64, kick: impl Fn(u16)) -> Result<u32> {
//!     let features = feature::bit(feature::VERSION_1) | feature::bit(feature::RING_PACKED);
//!     let mut queue = Queue::new(dev, Shape { size: 8, features, table: 0 })?;
//!     queue.add(&[], &[Segment { address: buffer, len: 64 }], "random bytes")?;
//!     if queue.publish()? {
//!         kick(queue.notification_data());
//!     }
//!     // A driver waits for an interrupt.
//!     match queue.pop()? {
//!         Some(done) => Ok(done.written),
//!         None => Err(EAGAIN),
//!     }
//! }
//! ```

#[path = "../../virtio/feature.rs"]
pub mod feature;
#[path = "../../virtio/ring/mod.rs"]
pub mod ring;
