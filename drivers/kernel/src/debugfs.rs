//! debugfs: files with which a driver shows its insides to whoever debugs it, and lets them be changed.
//!
//! Nothing here fails: where a directory or file cannot be made (the name is taken, there is no memory), a handle comes back
//! as well, and all that is put into it is not made either. A driver never depends on its debug files.
//!
//! A [`Dir`] and the [`File`]s in it own what they show. A [`Scope`] is a value with a directory of its own, whose files
//! borrow parts of the value.
//!
//! Differs from Linux: the functions that take callbacks take them at run time; they are checked to be functions, or closures
//! that capture nothing, all the same. Below a directory for which there was no memory nothing is made; Linux makes what is in
//! a [`Scope`] there in the root of debugfs, and leaves it.

use crate::alloc::flags::GFP_KERNEL;
use crate::error::Result;
use crate::fmt;
use crate::str::CStr;
use crate::sync::Arc;
use crate::uaccess::UserSliceReader;
use core::marker::{PhantomData, PhantomPinned};
use core::ops::Deref;
use core::panic::Location;
use core::pin::Pin;
use pin_init::{pin_data, PinInit};

mod entry;
mod handlers;
mod traits;

use entry::{Entry, Place};
use handlers::Handlers;
pub use traits::{BinaryReader, BinaryReaderMut, BinaryWriter, Reader, Writer};

/// A directory. It goes when its handle, its clones and all that was made in it are gone.
///
/// # Examples
///
/// ```
/// use kernel::debugfs::{Dir, File};
/// use kernel::prelude::*;
/// use kernel::sync::atomic::Atomic;
///
/// #[pin_data]
/// struct Insides {
///     #[pin]
///     retries: File<Atomic<u32>>,
///     dir: Dir,
/// }
///
/// /// Makes the file `engine/retries`, which shows a number that can be set.
/// fn insides() -> impl PinInit<Insides> {
///     let dir = Dir::new(c"engine");
///     pin_init!(Insides {
///         retries <- dir.read_write_file(c"retries", Atomic::new(3)),
///         dir: dir,
///     })
/// }
/// ```
// Without memory for the entry there is none, and nothing can be made in it.
#[derive(Clone)]
pub struct Dir(Option<Arc<Entry>>);

impl Dir {
    /// Makes a directory in the root of debugfs.
    #[track_caller]
    pub fn new(name: &CStr) -> Self {
        let place = Place::Root.dir(name, Location::caller());
        Self(Arc::new(Entry::new(place, None), GFP_KERNEL).ok())
    }

    /// Makes a directory in this one, which stays as long.
    #[track_caller]
    pub fn subdir(&self, name: &CStr) -> Self {
        let Some(parent) = &self.0 else { return Self(None) };
        let place = parent.place().dir(name, Location::caller());
        Self(Arc::new(Entry::new(place, Some(parent.clone())), GFP_KERNEL).ok())
    }

    #[track_caller]
    fn create_file<'a, T: Sync + 'static, E: 'a>(
        &'a self,
        name: &'a CStr,
        data: impl PinInit<T, E> + 'a,
        handlers: Handlers<T>,
    ) -> impl PinInit<File<T>, E> + 'a {
        let caller = Location::caller();
        let scope = Scope::new(data, move |data| {
            let parent = self.0.as_ref()?;
            // SAFETY: the data is the scope's, which drops the entry first.
            let place = unsafe { parent.place().file(name, data, handlers, caller) };
            Some(Entry::new(place, Some(parent.clone())))
        });
        crate::try_pin_init!(File { scope <- scope } ? E)
    }

    /// Makes a value with a directory of its own in this one. `fill` puts files into the directory that borrow from the
    /// value.
    #[track_caller]
    pub fn scope<'a, T: 'a, E: 'a, F>(
        &'a self,
        value: impl PinInit<T, E> + 'a,
        name: &'a CStr,
        fill: F,
    ) -> impl PinInit<Scope<T>, E> + 'a
    where
        F: for<'data, 'dir> FnOnce(&'data T, &'dir ScopedDir<'data, 'dir>) + 'a,
    {
        let caller = Location::caller();
        Scope::new(value, move |value| {
            let place = self.0.as_ref().map_or(Place::Nowhere, |parent| parent.place().dir(name, caller));
            let entry = Entry::new(place.clone(), self.0.clone());
            fill(value, &ScopedDir::at(place));
            Some(entry)
        })
    }
}

/// Makes the methods that make files, of [`Dir`] and of [`ScopedDir`]: what the file is, both names, what the value must have,
/// callbacks, and what the file does.
macro_rules! file_kinds {
    ($(
        $what:literal
        $owning:ident $borrowing:ident [$($bound:ident)*] $({$callback:ident: $Fn:ident: $($signature:tt)*})*
        => $($does:ident($($by:ident)?))*;
    )*) => {
        /// Files that own what they show.
        impl Dir {$(
            #[doc = concat!("Makes ", $what, ".")]
            ///
            /// It owns the value that `data` initialises. Callbacks are functions, or closures that capture nothing; others fail
            /// the build.
            #[track_caller]
            pub fn $owning<'a, T, E: 'a $(, $Fn)*>(
                &'a self, name: &'a CStr, data: impl PinInit<T, E> + 'a $(, $callback: &'static $Fn)*
            ) -> impl PinInit<File<T>, E> + 'a
            where T: $($bound +)* Send + Sync + 'static $(, $Fn: $($signature)*)*
            {
                self.create_file(name, data, Handlers::none()$(.$does($($by)?))*)
            }
        )*}

        /// Files that borrow what they show, and go with the scope.
        impl<'data> ScopedDir<'data, '_> {$(
            #[doc = concat!("Makes ", $what, ".")]
            ///
            /// Callbacks are functions, or closures that capture nothing; others fail the build.
            #[track_caller]
            pub fn $borrowing<T $(, $Fn)*>(&self, name: &CStr, data: &'data T $(, $callback: &'static $Fn)*)
            where T: $($bound +)* Send + Sync + 'static $(, $Fn: $($signature)*)*
            {
                self.create_file(name, data, Handlers::none()$(.$does($($by)?))*);
            }
        )*}
    };
}

file_kinds! {
    "a file that shows the value, see [`Writer`]"
    read_only_file read_only_file [Writer] => shown();

    "a file that sets the value, see [`Reader`]"
    write_only_file write_only_file [Reader] => stored();

    "a file that shows and sets the value, see [`Writer`] and [`Reader`]"
    read_write_file read_write_file [Writer Reader] => shown() stored();

    "a file that gives the value's bytes, see [`BinaryWriter`]"
    read_binary_file read_binary_file [BinaryWriter] => exported();

    "a file that takes the value's bytes, see [`BinaryReader`]"
    write_binary_file write_binary_file [BinaryReader] => imported();

    "a file that gives and takes the value's bytes, see [`BinaryWriter`] and [`BinaryReader`]"
    read_write_binary_file read_write_binary_file [BinaryWriter BinaryReader] => exported() imported();

    "a file that shows what `show` writes of the value"
    read_callback_file read_callback_file []
    {show: F: Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result + Send + Sync}
    => shown_by(show);

    "a file that gives what is written to it to `store`"
    write_callback_file write_only_callback_file []
    {store: W: Fn(&T, &mut UserSliceReader) -> Result + Send + Sync}
    => stored_by(store);

    "a file that shows what `show` writes of the value, and gives what is written to it to `store`"
    read_write_callback_file read_write_callback_file []
    {show: F: Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result + Send + Sync}
    {store: W: Fn(&T, &mut UserSliceReader) -> Result + Send + Sync}
    => shown_by(show) stored_by(store);
}

/// A value and a directory whose files show it. When it is dropped, the directory and all that is in it goes first, and waits
/// for whoever reads or writes there.
#[pin_data]
pub struct Scope<T> {
    // Before the value, so that it is dropped before.
    entry: Option<Entry>,
    #[pin]
    data: T,
    // The files point to the value.
    #[pin]
    _pin: PhantomPinned,
}

impl<'a, T: 'a> Scope<T> {
    /// Makes a value with a directory of its own in the root of debugfs. `init` fills the directory with files that borrow
    /// from the value.
    #[track_caller]
    pub fn dir<E: 'a, F>(data: impl PinInit<T, E> + 'a, name: &'a CStr, init: F) -> impl PinInit<Self, E> + 'a
    where
        F: for<'data, 'dir> FnOnce(&'data T, &'dir ScopedDir<'data, 'dir>) + 'a,
    {
        let caller = Location::caller();
        Self::new(data, move |data| {
            let place = Place::Root.dir(name, caller);
            let entry = Entry::new(place.clone(), None);
            init(data, &ScopedDir::at(place));
            Some(entry)
        })
    }

    /// Initialises the value, then makes its entry.
    fn new<E: 'a, F>(data: impl PinInit<T, E> + 'a, make: F) -> impl PinInit<Self, E> + 'a
    where
        F: for<'data> FnOnce(&'data T) -> Option<Entry> + 'a,
    {
        let scope = crate::try_pin_init!(Self { entry: None, data <- data, _pin: PhantomPinned } ? E);
        scope.pin_chain(|scope: Pin<&mut Self>| {
            let entry = make(&scope.data);
            // SAFETY: nothing is moved out, and an entry is not pinned with the scope.
            unsafe { scope.get_unchecked_mut() }.entry = entry;
            Ok(())
        })
    }
}

/// A file and the value that it shows. When it is dropped, the file goes first, and waits for whoever reads or writes it.
#[pin_data]
pub struct File<T> {
    #[pin]
    scope: Scope<T>,
}

/// Makes the value of a handle usable through it.
macro_rules! hold_a_value {
    ($($Handle:ident in $field:ident),*) => {$(
        impl<T> Deref for $Handle<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.$field
            }
        }
    )*};
}

hold_a_value!(Scope in data, File in scope);

/// A directory of a [`Scope`], while it is filled. The files made in it borrow from the scope's value for `'data`, and go with
/// the scope.
pub struct ScopedDir<'data, 'dir> {
    place: Place,
    _borrows: PhantomData<fn(&'data ()) -> &'dir ()>,
}

impl<'data, 'dir> ScopedDir<'data, 'dir> {
    fn at(place: Place) -> Self {
        Self { place, _borrows: PhantomData }
    }

    /// Makes a directory in this one.
    #[track_caller]
    pub fn dir<'dir2>(&'dir2 self, name: &CStr) -> ScopedDir<'data, 'dir2> {
        ScopedDir::at(self.place.dir(name, Location::caller()))
    }

    #[track_caller]
    fn create_file<T: Sync + 'static>(&self, name: &CStr, data: &'data T, handlers: Handlers<T>) {
        // SAFETY: the data is the scope's, which removes this directory before it drops the data.
        unsafe { self.place.file(name, data, handlers, Location::caller()) };
    }
}
