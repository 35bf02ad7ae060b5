//! Handlers and their registrations.

use super::Flags;
use crate::error::{Error, Result};
use crate::machine;
use crate::machine::irq::irqreturn;
use crate::str::CStr;
use core::marker::{PhantomData, PhantomPinned};
use core::panic::Location;
use core::pin::Pin;
use core::ptr::NonNull;
use pin_init::{pin_data, pinned_drop, PinInit};

/// What a handler found.
#[repr(u32)]
pub enum IrqReturn {
    /// The interrupt was not from its device.
    None = irqreturn::NONE,
    /// It was, and is handled.
    Handled = irqreturn::HANDLED,
}

/// What the first part of a threaded handler found.
#[repr(u32)]
pub enum ThreadedIrqReturn {
    /// The interrupt was not from its device.
    None = irqreturn::NONE,
    /// It was, and is handled.
    Handled = irqreturn::HANDLED,
    /// It was, and the second part is to handle it.
    WakeThread = irqreturn::WAKE_THREAD,
}

/// Handles an interrupt.
pub trait Handler: Sync {
    /// Runs in hard interrupt context: it may not sleep.
    fn handle(&self) -> IrqReturn;
}

/// Handles an interrupt in two parts, the second of which may sleep.
pub trait ThreadedHandler: Sync {
    /// The first part runs in hard interrupt context: it may not sleep. Unless it is given it only wakes the second part.
    ///
    /// Without it the device goes on asserting an interrupt pin while the second part waits for its turn:
    /// [`Flags::ONESHOT`] keeps the line off until then.
    fn handle(&self) -> ThreadedIrqReturn {
        ThreadedIrqReturn::WakeThread
    }

    /// The second part runs in a task of its own when the first one returns [`WakeThread`](ThreadedIrqReturn::WakeThread).
    fn handle_threaded(&self) -> IrqReturn;
}

/// An interrupt that a handler can be registered for, while its device is bound.
///
/// A bus gives it out; registering uses it up.
pub struct IrqRequest<'a> {
    irq: u32,
    _bound: PhantomData<&'a ()>,
}

impl IrqRequest<'_> {
    /// Makes the request for an interrupt.
    ///
    /// # Safety
    ///
    /// The interrupt must belong to a device that is bound during the lifetime.
    pub(crate) unsafe fn new(irq: u32) -> Self {
        Self { irq, _bound: PhantomData }
    }

    /// Returns the number of the interrupt.
    pub fn irq(&self) -> u32 {
        self.irq
    }
}

/// A handler of the machine's, which is taken back by dropping it.
struct Registered {
    irq: u32,
    id: u32,
}

impl Registered {
    /// Registers functions that get a pointer to the handler.
    ///
    /// # Safety
    ///
    /// The handler must be initialised, stay until the result is dropped, and fit the functions.
    unsafe fn new<T>(
        request: &IrqRequest<'_>,
        flags: Flags,
        name: &'static CStr,
        handler: *const T,
        primary: unsafe fn(*const ()) -> u32,
        thread: Option<unsafe fn(*const ()) -> u32>,
        place: machine::Place,
    ) -> Result<Self> {
        // SAFETY: the caller's contract.
        let callback = |function| unsafe { machine::Callback::new(function, handler.cast()) };
        let id = machine::irq::request_irq_at(
            request.irq,
            flags.into_inner() as u32,
            name.to_str().unwrap_or("?"),
            callback(primary),
            thread.map(callback),
            place,
        )
        .map_err(Error::from_errno)?;
        Ok(Self { irq: request.irq, id })
    }

    #[track_caller]
    fn synchronize(&self) {
        machine::irq::synchronize(self.irq);
    }

    /// Takes the handler back, and waits until it does not run.
    fn free(&self) {
        machine::irq::free_irq(self.irq, self.id);
    }
}

/// Calls a handler.
///
/// # Safety
///
/// The pointer must lead to a `T` that stays during the call.
unsafe fn handle<T: Handler>(handler: *const ()) -> u32 {
    // SAFETY: the caller's contract.
    T::handle(unsafe { &*handler.cast() }) as u32
}

/// Calls the first part of a threaded handler.
///
/// # Safety
///
/// As for [`handle`].
unsafe fn handle_first<T: ThreadedHandler>(handler: *const ()) -> u32 {
    // SAFETY: the caller's contract.
    T::handle(unsafe { &*handler.cast() }) as u32
}

/// Calls the second part of a threaded handler.
///
/// # Safety
///
/// As for [`handle`].
unsafe fn handle_second<T: ThreadedHandler>(handler: *const ()) -> u32 {
    // SAFETY: the caller's contract.
    T::handle_threaded(unsafe { &*handler.cast() }) as u32
}

/// Defines a kind of registration.
macro_rules! registration {
    ($(#[$doc:meta])* $Registration:ident<$Handler:ident> calls $primary:ident, $thread:expr) => {
        $(#[$doc])*
        #[pin_data(PinnedDrop)]
        pub struct $Registration<'a, T: $Handler> {
            _request: IrqRequest<'a>,
            #[pin]
            handler: T,
            registered: Registered,
            // The machine has a pointer to the handler.
            #[pin]
            _pin: PhantomPinned,
        }

        impl<'a, T: $Handler> $Registration<'a, T> {
            /// Returns an initialiser that sets the handler up and then registers it: it may run before this returns.
            ///
            /// The error is that of the handler's initialiser, `EINVAL` for an interrupt that does not exist, or `EBUSY`
            /// for one that is taken and not shared by all.
            ///
            /// # Safety
            ///
            /// The registration must be dropped before `'a` ends; it must not be leaked.
            #[track_caller]
            pub unsafe fn new(
                request: IrqRequest<'a>,
                flags: Flags,
                name: &'static CStr,
                handler: impl PinInit<T, Error> + 'a,
            ) -> impl PinInit<Self, Error> + 'a
            where
                T: 'a,
            {
                let place = Location::caller();
                crate::try_pin_init!(&this in Self {
                    handler <- handler,
                    registered: {
                        let this: NonNull<Self> = this;
                        // SAFETY: the handler was set up above, and `drop` takes it back before it is dropped. If this is
                        // the last field to fail, nothing is registered.
                        unsafe {
                            let handler = &raw const (*this.as_ptr()).handler;
                            Registered::new(&request, flags, name, handler, $primary::<T>, $thread, place)?
                        }
                    },
                    _request: request,
                    _pin: PhantomPinned,
                })
            }

            /// Returns the handler.
            pub fn handler(&self) -> &T {
                &self.handler
            }

            /// Waits until no handler of the interrupt runs. It may sleep, and a handler that does it waits for itself.
            #[track_caller]
            pub fn synchronize(&self) {
                self.registered.synchronize();
            }
        }

        #[pinned_drop]
        impl<T: $Handler> PinnedDrop for $Registration<'_, T> {
            fn drop(self: Pin<&mut Self>) {
                self.registered.free();
            }
        }
    };
}

registration! {
    /// A registered [`Handler`]. Dropping it takes the handler back and waits until it does not run; then the handler's data is
    /// dropped.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use kernel::irq::{Flags, Handler, IrqRequest, IrqReturn, Registration};
    /// use kernel::prelude::*;
    /// use kernel::sync::Completion;
    ///
    /// #[pin_data]
    /// struct Done {
    ///     #[pin]
    ///     done: Completion,
    /// }
    ///
    /// impl Handler for Done {
    ///     fn handle(&self) -> IrqReturn {
    ///         self.done.complete_all();
    ///         IrqReturn::Handled
    ///     }
    /// }
    ///
    /// fn wait_for_interrupt(request: IrqRequest<'_>) -> Result {
    ///     let handler = try_pin_init!(Done { done <- Completion::new() });
    ///     // SAFETY: the registration is dropped when the function returns.
    ///     let registration = unsafe { Registration::new(request, Flags::SHARED, c"done", handler) };
    ///     let registration = KBox::pin_init(registration, GFP_KERNEL)?;
    ///     registration.handler().done.wait_for_completion();
    ///     Ok(())
    /// }
    /// ```
    Registration<Handler> calls handle, None
}

registration! {
    /// A registered [`ThreadedHandler`]. Dropping it takes the handler back and waits until neither part runs; then the
    /// handler's data is dropped.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use kernel::irq::{Flags, IrqRequest, IrqReturn, ThreadedHandler, ThreadedRegistration};
    /// use kernel::prelude::*;
    /// use kernel::sync::{new_mutex, Mutex};
    ///
    /// #[pin_data]
    /// struct Counter {
    ///     #[pin]
    ///     count: Mutex<u32>,
    /// }
    ///
    /// impl ThreadedHandler for Counter {
    ///     // It may sleep, so a mutex is fine.
    ///     fn handle_threaded(&self) -> IrqReturn {
    ///         *self.count.lock() += 1;
    ///         IrqReturn::Handled
    ///     }
    /// }
    ///
    /// fn count<'a>(request: IrqRequest<'a>) -> Result<Pin<KBox<ThreadedRegistration<'a, Counter>>>> {
    ///     let handler = try_pin_init!(Counter { count <- new_mutex!(0) });
    ///     // SAFETY: the caller keeps the registration in its data.
    ///     let registration = unsafe { ThreadedRegistration::new(request, Flags::ONESHOT, c"counter", handler) };
    ///     KBox::pin_init(registration, GFP_KERNEL)
    /// }
    /// ```
    ThreadedRegistration<ThreadedHandler> calls handle_first, Some(handle_second::<T>)
}
