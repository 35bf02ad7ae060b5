//! The virtio monitor (virtio 1.4): follows what a driver does to one virtio function and names the clause that it breaks.
//!
//! [`VirtioMonitor`] sees register accesses, memory and interrupts of the function. Registers and negotiation are followed in one
//! place (`life`), each live queue in another (`ring`), and what the queues carry by the checks of the device's type (`kinds`).
//! [`rules`] holds the rules with their pages, [`coverage`] the table of all clauses that bind drivers.

pub mod coverage;
pub mod rules;

mod common;
mod config;
mod features;
mod judge;
mod kinds;
mod layout;
mod life;
mod notify;
mod packed;
mod queues;
mod ring;
mod split;
mod status;

use bringup_core::pci::{ConfigSpace, Function};
use bringup_core::{Access, Monitor, Seen, Sight};

use kinds::Kind;
use layout::{Layout, Structure};
use life::Life;
use ring::{News, Ring};

/// Holds a virtio driver to VIRTIO 1.4.
///
/// It starts anew when the function is reset and when its driver lets go of it. Once a fault of the plan met the function it judges
/// nothing any more, since the driver may have been misled; once it was pulled out, neither.
#[derive(Debug)]
pub struct VirtioMonitor {
    layout: Layout,
    life: Life,
    kind: Kind,
    removed: bool,
    /// News of several queues; kept for its memory.
    gathered: Vec<(u16, News)>,
}

impl VirtioMonitor {
    /// A monitor, if the function is virtio and has the modern interface.
    #[must_use]
    pub fn new(function: &Function, config: &ConfigSpace) -> Option<Self> {
        let layout = Layout::parse(function, config)?;
        let kind = Kind::new(layout.device_type);
        Some(Self { layout, life: Life::default(), kind, removed: false, gathered: Vec::new() })
    }

    fn read(&mut self, sight: &mut Sight<'_>, at: Access, value: u64) {
        match self.layout.locate(at.bar, at.offset) {
            Some((Structure::Common, offset)) => self.life.common_read(sight, offset, at.width, value),
            Some((Structure::Device, offset)) => {
                self.life.config_read(sight, &self.layout, offset, at.width, value);
                self.kind.config_read(&self.life.facts());
                self.life.limit_rings(&self.kind);
            }
            Some((Structure::Isr, offset)) => config::isr_read(sight, offset, at.width),
            Some((Structure::Notify(_) | Structure::SharedMemory, _)) | None => {}
        }
    }

    fn write(&mut self, sight: &mut Sight<'_>, at: Access, value: u64) {
        match self.layout.locate(at.bar, at.offset) {
            Some((Structure::Notify(multiplier), offset)) => {
                let Some((index, kick)) = self.life.kick(sight, multiplier, offset, at.width, value) else { return };
                if sight.is_faulted() {
                    return;
                }
                let phase = self.life.phase();
                let Some(ring) = self.life.ring_mut(index) else { return };
                let news = ring.kicked(sight, phase, kick);
                self.pass_on(sight, index, news);
            }
            Some((Structure::Common, offset)) => {
                self.life.common_write(sight, &self.layout, &mut self.kind, offset, at.width, value);
            }
            Some((Structure::Device, offset)) => {
                self.life.config_write(sight, &self.layout, offset, at.width, value);
                self.kind.config_written(sight, &self.life.facts(), offset, value);
            }
            Some((Structure::Isr | Structure::SharedMemory, _)) | None => {}
        }
    }

    /// Shows something to all live queues.
    #[inline]
    fn each_ring(
        &mut self,
        sight: &mut Sight<'_>,
        mut show: impl FnMut(&mut Ring, &mut Sight<'_>, ring::Phase) -> News,
    ) {
        if sight.is_faulted() {
            return;
        }
        let phase = self.life.phase();
        if sight.is_concurrent() {
            return self.each_racing_ring(sight, phase, show);
        }
        for at in 0..self.life.live.len() {
            let Some(index) = self.life.live.get(at).copied() else { return };
            let Some(ring) = self.life.ring_mut(index) else { continue };
            let news = show(ring, sight, phase);
            self.pass_on(sight, index, news);
        }
    }

    /// As [`each_ring`](Self::each_ring) where processors run while the device works: what came to light in several queues may have
    /// happened in any order. A queue for control has the highest number, and what it sets is true of the others first.
    fn each_racing_ring(
        &mut self,
        sight: &mut Sight<'_>,
        phase: ring::Phase,
        mut show: impl FnMut(&mut Ring, &mut Sight<'_>, ring::Phase) -> News,
    ) {
        let mut all = std::mem::take(&mut self.gathered);
        for at in (0..self.life.live.len()).rev() {
            let Some(index) = self.life.live.get(at).copied() else { return };
            let Some(ring) = self.life.ring_mut(index) else { continue };
            let news = show(ring, sight, phase);
            if !news.is_empty() {
                all.push((index, news));
            }
        }
        for (index, _) in all.iter().filter(|(_, news)| news.missed) {
            self.kind.missed(&self.life.facts(), *index);
        }
        for (index, news) in all.drain(..) {
            self.pass_on(sight, index, news);
        }
        self.gathered = all;
    }

    /// The CPU accessed watched memory: that of one queue, or what several may have in their chains.
    fn accessed(&mut self, sight: &mut Sight<'_>, iova: u64, len: u64, store: bool) {
        let Some(index) = self.life.queue_of(iova) else {
            return self.each_ring(sight, |ring, sight, phase| ring.accessed(sight, phase, iova, len, store));
        };
        if sight.is_faulted() {
            return;
        }
        let phase = self.life.phase();
        let Some(ring) = self.life.ring_mut(index) else { return };
        let news = ring.accessed(sight, phase, iova, len, store);
        self.pass_on(sight, index, news);
    }

    /// Has the checks of the device's type look at what came to light.
    #[inline]
    fn pass_on(&mut self, sight: &mut Sight<'_>, index: u16, news: News) {
        if news.is_empty() {
            return;
        }
        let facts = self.life.facts();
        if news.missed {
            self.kind.missed(&facts, index);
        }
        for chain in &news.exposed {
            self.kind.exposed(sight, &facts, index, chain);
        }
        // Where processors run while the device works what came back may have been used again.
        if !sight.is_concurrent() {
            for chain in &news.returned {
                self.kind.returned(sight, &facts, index, chain);
            }
        }
        if let Some(ring) = self.life.ring_mut(index) {
            ring.recycle(news);
        }
    }

    /// The driver is gone, or the function lost its state in another way than by its status register.
    fn start_anew(&mut self, sight: &mut Sight<'_>) {
        sight.forget_device(0, u64::MAX);
        self.life = self.life.after_reset();
        self.kind = Kind::new(self.layout.device_type);
    }
}

impl Monitor for VirtioMonitor {
    fn see(&mut self, sight: &mut Sight<'_>, seen: Seen) {
        if self.removed {
            return;
        }
        match seen {
            Seen::BarWrite { at, value } => self.write(sight, at, value),
            Seen::BarRead { at, value } => self.read(sight, at, value),
            Seen::Working => self.each_ring(sight, |ring, sight, phase| ring.working(sight, phase)),
            Seen::Worked => self.each_ring(sight, |ring, sight, phase| ring.worked(sight, phase)),
            Seen::Load { iova, len } => self.accessed(sight, iova, len, false),
            Seen::Store { iova, len } => self.accessed(sight, iova, len, true),
            Seen::Barrier(barrier) => self.each_ring(sight, |ring, _, _| {
                ring.barrier(barrier);
                News::default()
            }),
            Seen::Idle => {
                self.each_ring(sight, |ring, sight, phase| ring.idle(sight, phase));
                self.kind.idle(&self.life.facts());
            }
            Seen::Unmapped { iova, len } => {
                self.life.unmapped(sight, iova, len);
                self.each_ring(sight, |ring, sight, _| {
                    ring.unmapped(sight, iova, len);
                    News::default()
                });
            }
            Seen::ConfigRead { offset, width, .. } => config::window_access(sight, &self.layout, offset, width, false),
            Seen::ConfigWrite { offset, width, value } => {
                config::capability_written(sight, &self.layout, offset, width);
                config::window_access(sight, &self.layout, offset, width, true);
                self.life.sr_iov_written(sight, &self.layout, offset, width, value);
            }
            Seen::Unbound => {
                self.life.left(sight);
                self.kind.ends(sight, &self.life.facts());
                self.start_anew(sight);
            }
            Seen::Reset(_) => self.start_anew(sight),
            Seen::Removed => self.removed = true,
            _ => {}
        }
    }
}
