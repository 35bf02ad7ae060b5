//! Devices for these tests: one of any type, and a wrapper that twists what the transport answers.

use std::collections::VecDeque;

use bringup_core::pci::ExtendedCapability;
use bringup_core::{Access, Cx, Device, Function, Reply, Reset};
use bringup_devices::virtio::{Host, VirtioDevice, VirtioPci};
use bringup_spec::virtio::pci::common;
use bringup_spec::virtio::status;

/// A device of any type. It gives what it can read back at once, zeroes in what it can write; what it can only write waits for
/// a message.
#[derive(Clone, Debug)]
pub(crate) struct Anything {
    pub(crate) device_type: u16,
    pub(crate) features: u128,
    pub(crate) queues: Vec<u16>,
    pub(crate) config: Vec<u8>,
    /// Queue and contents of messages for the driver.
    pub(crate) messages: VecDeque<(u16, Vec<u8>)>,
    /// It refuses whatever was accepted.
    pub(crate) refuses: bool,
}

impl Anything {
    pub(crate) fn new(device_type: u16, features: &[u32]) -> Self {
        Self {
            device_type,
            features: bits(features),
            queues: vec![8; 4],
            config: vec![0; 128],
            messages: VecDeque::new(),
            refuses: false,
        }
    }

    /// With these bytes in its configuration.
    pub(crate) fn with(mut self, offset: u32, bytes: &[u8]) -> Self {
        self.config[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        self
    }
}

pub(crate) fn bits(numbers: &[u32]) -> u128 {
    numbers.iter().fold(0, |set, bit| set | 1 << bit)
}

impl VirtioDevice for Anything {
    fn device_type(&self) -> u16 {
        self.device_type
    }

    fn features(&self) -> u128 {
        self.features
    }

    fn accepts(&self, _features: u128) -> bool {
        !self.refuses
    }

    fn queues(&self) -> Vec<u16> {
        self.queues.clone()
    }

    fn config_len(&self) -> usize {
        self.config.len()
    }

    fn read_config(&self, offset: usize, into: &mut [u8]) {
        for (to, from) in into.iter_mut().zip(self.config.iter().skip(offset)) {
            *to = *from;
        }
    }

    fn work(&mut self, host: &mut Host<'_, '_>) {
        for index in 0..host.queue_count() {
            while let Some(chain) = host.pop(index) {
                let answer = if chain.readable_len() > 0 {
                    vec![0; chain.writable_len() as usize]
                } else if let Some(at) = self.messages.iter().position(|(of, _)| *of == index) {
                    self.messages.remove(at).unwrap().1
                } else {
                    host.unpop(index, chain);
                    break;
                };
                let written = host.write(&chain, 0, &answer).unwrap_or(0);
                host.push(index, chain, written as u32);
            }
        }
    }

    fn reset(&mut self) {}
}

/// A virtio function with other answers than the transport's.
#[derive(Debug)]
pub(crate) struct Twisted {
    inner: VirtioPci,
    /// Registers of the common configuration that read as something else: offset, value, how many times.
    answers: Vec<(u64, u64, u32)>,
    sr_iov: bool,
    suspended: bool,
}

impl Twisted {
    pub(crate) fn new(inner: VirtioPci) -> Self {
        Self { inner, answers: Vec::new(), sr_iov: false, suspended: false }
    }

    /// A register reads as `value` so many times.
    pub(crate) fn answers(mut self, register: u64, value: u64, times: u32) -> Self {
        self.answers.push((register, value, times));
        self
    }

    /// The function has the SR-IOV capability, at 0x100.
    pub(crate) fn sr_iov(mut self) -> Self {
        self.sr_iov = true;
        self
    }
}

const BAR: u8 = 4;

impl Device for Twisted {
    fn function(&self) -> Function {
        let function = self.inner.function();
        if !self.sr_iov {
            return function;
        }
        let (body, mut writable) = (vec![0; 60], vec![0; 60]);
        writable[4] = 1;
        function.express().extended_capability(ExtendedCapability { id: 0x10, version: 1, body, writable })
    }

    fn read(&mut self, cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        let value = self.inner.read(cx, at)?;
        if at.bar == BAR
            && let Some(answer) = self.answers.iter_mut().find(|answer| answer.0 == at.offset && answer.2 > 0)
        {
            answer.2 -= 1;
            return Ok(answer.1);
        }
        if self.suspended && at.bar == BAR && at.offset == common::DEVICE_STATUS {
            return Ok(value & !u64::from(status::DRIVER_OK) | u64::from(status::SUSPEND));
        }
        Ok(value)
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if at.bar == BAR && at.offset == common::DEVICE_STATUS && value != 0 {
            let set = |bit: u8| value & u64::from(bit) != 0;
            if !self.suspended && set(status::SUSPEND) {
                self.suspended = true;
                return Ok(());
            }
            if self.suspended && set(status::DRIVER_OK) {
                self.suspended = false;
                return Ok(());
            }
        }
        self.suspended &= !(at.offset == common::DEVICE_STATUS && value == 0);
        self.inner.write(cx, at, value)
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        self.inner.work(cx);
    }

    fn reset(&mut self, cx: &mut Cx<'_>, kind: Reset) {
        self.inner.reset(cx, kind);
    }
}
