// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Interrupts: a message for each queue and one for configuration changes, fewer, or the pin (virtio 1.4 §4.1.5).

use super::*;
use kernel::{irq, sync::Arc};

/// Who is told of interrupts, in hard interrupt context. They may come without reason (§2.7.7.1).
pub(crate) trait Events: Send + Sync + 'static {
    /// The device that interrupts.
    fn transport(&self) -> &Transport;

    /// A queue has something.
    fn queue_event(&self, index: u16);

    /// Configuration changed, or the device needs a reset.
    fn config_event(&self);
}

/// What a vector stands for.
#[derive(Clone, Copy)]
enum Source {
    /// The pin, for everything.
    Pin,
    /// A message for every `step`th queue from `first` on, and for configuration changes if there is no other for them.
    Message { config: bool, first: u16, step: u16 },
}

/// The handler of a vector.
struct Handler<T> {
    target: Arc<T>,
    source: Source,
    queues: u16,
}

impl<T: Events> Handler<T> {
    fn queue_events(&self, first: u16, step: u16) {
        for index in (first..self.queues).step_by(usize::from(step)) {
            self.target.queue_event(index);
        }
    }
}

impl<T: Events> irq::Handler for Handler<T> {
    fn handle(&self) -> irq::IrqReturn {
        match self.source {
            Source::Pin => {
                let isr = self.target.transport().read_isr();
                if isr & ISR_CONFIG != 0 {
                    self.target.config_event();
                }
                if isr & ISR_QUEUE != 0 {
                    self.queue_events(0, 1);
                }
                if isr & (ISR_QUEUE | ISR_CONFIG) == 0 {
                    return irq::IrqReturn::None;
                }
            }
            Source::Message {
                config,
                first,
                step,
            } => {
                if config {
                    self.target.config_event();
                    if self.target.transport().shares_vector.load(Relaxed) {
                        self.queue_events(0, 1);
                    }
                }
                self.queue_events(first, step);
            }
        }
        irq::IrqReturn::Handled
    }
}

type Registration<'bound, T> = Pin<KBox<irq::Registration<'bound, Handler<T>>>>;

/// The interrupts of a bound device. Dropped from top to bottom: no handlers, no vectors.
pub(crate) struct Interrupts<'bound, T: Events> {
    _handlers: KVec<Registration<'bound, T>>,
    vectors: KBox<pci::IrqVectorRegistration<'bound>>,
}

impl<'bound, T: Events> Interrupts<'bound, T> {
    /// Takes as many vectors as there are for `queues` queues, and registers handlers for them. The device has agreed on
    /// features, and does not work yet.
    ///
    /// # Safety
    ///
    /// What is returned must be dropped before the device loses its driver; it must not be leaked.
    pub(crate) unsafe fn new(
        pdev: &'bound pci::Device<Bound>,
        target: &Arc<T>,
        queues: u16,
        name: &'static CStr,
    ) -> Result<Self> {
        let messages = pci::IrqTypes::default().with(pci::IrqType::MsiX);
        let pin = pci::IrqTypes::default().with(pci::IrqType::Intx);
        // There is no MSI in virtio. A device may have a table and no vectors to give (§4.1.5.1.2): it has its pin still.
        let vectors = pdev
            .alloc_irq_vectors(1, u32::from(queues) + 1, messages)
            .ok()
            .filter(|_| target.transport().set_config_vector(0).is_ok());
        let vectors = match vectors {
            Some(vectors) => vectors,
            None => pdev.alloc_irq_vectors(1, 1, pin)?,
        };
        let vectors = KBox::new(vectors, GFP_KERNEL)?;
        // SAFETY: The box is dropped after the handlers, and never moves what is in it.
        let lasting: &'bound pci::IrqVectorRegistration<'bound> =
            unsafe { &*core::ptr::from_ref(&*vectors) };
        let mut handlers = KVec::new();
        for index in 0..lasting.len() {
            let handler = Handler {
                target: target.clone(),
                source: Self::source(lasting, index as u16),
                queues,
            };
            let request = lasting.index(index)?.into();
            // SAFETY: The caller drops it, as it promises.
            let registration =
                unsafe { irq::Registration::new(request, irq::Flags::SHARED, name, Ok(handler)) };
            handlers.push(KBox::pin_init(registration, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self {
            _handlers: handlers,
            vectors,
        })
    }

    fn source(vectors: &pci::IrqVectorRegistration<'_>, index: u16) -> Source {
        let own = vectors.len() as u16 - 1;
        match (vectors.irq_type(), index) {
            (pci::IrqType::Intx, _) => Source::Pin,
            // One for everything.
            (_, 0) if own == 0 => Source::Message {
                config: true,
                first: 0,
                step: 1,
            },
            (_, 0) => Source::Message {
                config: true,
                first: u16::MAX,
                step: 1,
            },
            _ => Source::Message {
                config: false,
                first: index - 1,
                step: own,
            },
        }
    }

    /// The vector of configuration changes, for the device; none for the pin.
    pub(crate) fn config_vector(&self) -> u16 {
        match self.vectors.irq_type() {
            pci::IrqType::Intx => NO_VECTOR,
            _ => 0,
        }
    }

    /// The vector of a queue, for the device; none for the pin.
    pub(crate) fn queue_vector(&self, index: u16) -> u16 {
        let own = self.vectors.len() as u16 - 1;
        match self.vectors.irq_type() {
            pci::IrqType::Intx => NO_VECTOR,
            _ if own == 0 => 0,
            _ => 1 + index % own,
        }
    }

    /// What is used, for messages to the user.
    pub(crate) fn kind(&self) -> &'static str {
        match self.vectors.irq_type() {
            pci::IrqType::Intx => "INTx",
            pci::IrqType::Msi => "MSI",
            pci::IrqType::MsiX => "MSI-X",
        }
    }

    /// How many vectors there are.
    pub(crate) fn len(&self) -> usize {
        self.vectors.len()
    }
}
