//! Boxes, vectors and heaps: ownership, growth, failure, alignment, and whom an allocation is charged to.

#![allow(unsafe_code, reason = "a heap of the test's own has to be one, and raw parts are part of the interface")]

use core::alloc::Layout;
use core::panic::Location;
use core::ptr::NonNull;
use kernel::alloc::{AllocError, Allocator, Flags, NumaNode};
use kernel::page::{page_align, AsPageIter, Page, PAGE_SIZE};
use kernel::prelude::*;
use kernel::types::ForeignOwnable;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A heap that knows its blocks, refuses when told to, and remembers who asked last.
struct Watched;

std::thread_local! {
    static BLOCKS: RefCell<std::vec::Vec<(usize, Layout)>> = const { RefCell::new(std::vec::Vec::new()) };
    static REFUSE: Cell<bool> = const { Cell::new(false) };
    static ASKED_AT: Cell<u32> = const { Cell::new(0) };
}

impl Watched {
    fn live() -> usize {
        BLOCKS.with_borrow(std::vec::Vec::len)
    }

    fn refuse(refuse: bool) {
        REFUSE.set(refuse);
    }

    fn forget(ptr: NonNull<u8>, layout: Layout) {
        BLOCKS.with_borrow_mut(|blocks| {
            let found = blocks.iter().position(|block| *block == (ptr.addr().get(), layout));
            blocks.swap_remove(found.expect("only live blocks are freed, and with their own layout"));
        });
    }
}

// SAFETY: blocks come from the host's heap, which keeps the promises, and `realloc` copies what both blocks have.
unsafe impl Allocator for Watched {
    const MIN_ALIGN: usize = 1;

    unsafe fn realloc(
        had: Option<NonNull<u8>>,
        wanted: Layout,
        had_layout: Layout,
        flags: Flags,
        _nid: NumaNode,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let held = had.filter(|_| had_layout.size() > 0);
        let mut new = NonNull::<u8>::dangling();
        if wanted.size() > 0 {
            ASKED_AT.set(Location::caller().line());
            if REFUSE.get() {
                return Err(AllocError);
            }
            // SAFETY: the layout has bytes.
            new = NonNull::new(unsafe { std::alloc::alloc(wanted) }).ok_or(AllocError)?;
            if flags.contains(__GFP_ZERO) {
                // SAFETY: the block has that many bytes.
                unsafe { new.write_bytes(0, wanted.size()) };
            }
            BLOCKS.with_borrow_mut(|blocks| blocks.push((new.addr().get(), wanted)));
        }
        if let Some(old) = held {
            Self::forget(old, had_layout);
            // SAFETY: both blocks have that many bytes, and the old one came from the host's heap with this wanted.
            unsafe {
                new.copy_from_nonoverlapping(old, wanted.size().min(had_layout.size()));
                std::alloc::dealloc(old.as_ptr(), had_layout);
            }
        }
        Ok(NonNull::slice_from_raw_parts(new, wanted.size()))
    }
}

type WVec<T> = Vec<T, Watched>;
type WBox<T> = Box<T, Watched>;

/// Counts its own drops.
struct Dropped(Rc<Cell<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn drops() -> Rc<Cell<u32>> {
    Rc::new(Cell::new(0))
}

#[test]
fn vector_doubles_when_full_and_keeps_its_elements() {
    let mut vec = WVec::with_capacity(2, GFP_KERNEL).unwrap();
    for element in 0u32..5 {
        vec.push(element, GFP_KERNEL).unwrap();
    }
    assert_eq!(vec.capacity(), 8);
    assert_eq!(vec, [0, 1, 2, 3, 4]);
    assert_eq!(Watched::live(), 1);
    drop(vec);
    assert_eq!(Watched::live(), 0);
}

#[test]
fn failed_push_drops_the_element_and_leaves_the_vector_as_it_was() {
    let count = drops();
    let mut vec = WVec::with_capacity(1, GFP_KERNEL).unwrap();
    vec.push(Dropped(count.clone()), GFP_KERNEL).unwrap();
    Watched::refuse(true);
    let result = vec.push(Dropped(count.clone()), GFP_KERNEL);
    Watched::refuse(false);
    assert_eq!(result, Err(AllocError));
    assert_eq!(count.get(), 1);
    assert_eq!((vec.len(), vec.capacity()), (1, 1));
    drop(vec);
    assert_eq!(count.get(), 2);
}

#[test]
fn failed_box_drops_its_value() {
    let count = drops();
    Watched::refuse(true);
    let result = WBox::new(Dropped(count.clone()), GFP_KERNEL);
    Watched::refuse(false);
    assert!(result.is_err());
    assert_eq!(count.get(), 1);
}

#[test]
fn zero_sized_values_never_allocate() {
    Watched::refuse(true);
    let boxed = WBox::new((), GFP_KERNEL);
    let mut vec = WVec::new();
    let pushed = vec.push((), GFP_KERNEL);
    Watched::refuse(false);
    assert!(boxed.is_ok() && pushed.is_ok());
    assert_eq!((vec.len(), vec.capacity()), (1, usize::MAX));
    assert_eq!(vec.reserve(usize::MAX, GFP_KERNEL), Err(AllocError));
}

#[test]
fn vector_larger_than_memory_can_be_is_refused() {
    let result = WVec::<u64>::with_capacity(usize::MAX / 8, GFP_KERNEL);
    assert!(result.is_err());
    let mut vec = WVec::<u64>::with_capacity(1, GFP_KERNEL).unwrap();
    vec.push(1, GFP_KERNEL).unwrap();
    assert_eq!(vec.reserve(usize::MAX, GFP_KERNEL), Err(AllocError));
}

#[test]
fn into_inner_moves_the_value_out_and_frees_the_memory() {
    let count = drops();
    let boxed = WBox::new(Dropped(count.clone()), GFP_KERNEL).unwrap();
    let value = Box::into_inner(boxed);
    assert_eq!((count.get(), Watched::live()), (0, 0));
    drop(value);
    assert_eq!(count.get(), 1);
}

#[test]
fn drop_contents_keeps_the_memory_for_another_value() {
    let count = drops();
    let boxed = WBox::new(Dropped(count.clone()), GFP_KERNEL).unwrap();
    let emptied = Box::drop_contents(boxed);
    assert_eq!((count.get(), Watched::live()), (1, 1));
    drop(emptied.write(Dropped(count.clone())));
    assert_eq!((count.get(), Watched::live()), (2, 0));
}

#[test]
fn pin_slice_drops_what_it_initialised_when_a_later_one_fails() {
    let count = drops();
    let result = WBox::<Dropped>::pin_slice(
        |index| if index < 2 { Ok(Dropped(count.clone())) } else { Err(EIO) },
        4,
        GFP_KERNEL,
    );
    assert_eq!(result.err(), Some(EIO));
    assert_eq!((count.get(), Watched::live()), (2, 0));
}

#[test]
fn pin_slice_has_the_elements_in_order_and_frees_them() {
    let slice = WBox::<usize>::pin_slice(|index| Ok::<_, Error>(index * 10), 3, GFP_KERNEL).unwrap();
    assert_eq!(slice[..], [0, 10, 20]);
    drop(slice);
    assert_eq!(Watched::live(), 0);
}

#[test]
fn failed_initialiser_frees_the_memory_without_dropping_in_it() {
    let result = WBox::<u32>::init(Err::<u32, Error>(EBUSY), GFP_KERNEL);
    assert_eq!(result.err(), Some(EBUSY));
    assert_eq!(Watched::live(), 0);
}

#[test]
fn collecting_what_is_left_shrinks_the_memory_to_it() {
    let mut vec = WVec::new();
    vec.extend_from_slice(&[1u16, 2, 3, 4], GFP_KERNEL).unwrap();
    let mut iter = vec.into_iter();
    assert_eq!(iter.next(), Some(1));
    let rest = iter.collect(GFP_KERNEL);
    assert_eq!(rest, [2, 3, 4]);
    assert_eq!(rest.capacity(), 3);
}

#[test]
fn collecting_keeps_the_memory_when_shrinking_fails() {
    let mut vec = WVec::new();
    vec.extend_from_slice(&[1u16, 2, 3, 4], GFP_KERNEL).unwrap();
    let mut iter = vec.into_iter();
    iter.next();
    Watched::refuse(true);
    let rest = iter.collect(GFP_KERNEL);
    Watched::refuse(false);
    assert_eq!(rest, [2, 3, 4]);
    assert_eq!(rest.capacity(), 4);
    drop(rest);
    assert_eq!(Watched::live(), 0);
}

#[test]
fn abandoned_iterators_drop_what_is_left_once() {
    let count = drops();
    let mut vec = WVec::new();
    for _ in 0..4 {
        vec.push(Dropped(count.clone()), GFP_KERNEL).unwrap();
    }
    let mut drain = vec.drain_all();
    drop(drain.next());
    drop(drain);
    assert_eq!((count.get(), vec.len(), vec.capacity()), (4, 0, 4));
    vec.push(Dropped(count.clone()), GFP_KERNEL).unwrap();
    vec.push(Dropped(count.clone()), GFP_KERNEL).unwrap();
    let mut iter = vec.into_iter();
    drop(iter.next());
    assert_eq!(count.get(), 5);
    drop(iter);
    assert_eq!((count.get(), Watched::live()), (6, 0));
}

#[test]
fn insert_and_remove_move_the_elements_behind() {
    let mut vec = WVec::with_capacity(4, GFP_KERNEL).unwrap();
    vec.extend_from_slice(&['a', 'b', 'd'], GFP_KERNEL).unwrap();
    vec.insert_within_capacity(2, 'c').unwrap();
    assert_eq!(vec, ['a', 'b', 'c', 'd']);
    assert_eq!(Error::from(vec.insert_within_capacity(0, 'x').unwrap_err()), EINVAL);
    assert_eq!(vec.remove(0).unwrap(), 'a');
    assert_eq!(Error::from(vec.remove(3).unwrap_err()), EINVAL);
    assert_eq!(vec, ['b', 'c', 'd']);
    assert_eq!(format!("{:?}", vec.insert_within_capacity(9, 'x').unwrap_err()), "Index out of bounds");
}

#[test]
fn push_within_capacity_gives_the_element_back_when_full() {
    let mut vec = WVec::with_capacity(1, GFP_KERNEL).unwrap();
    vec.push_within_capacity(1).unwrap();
    let refused = vec.push_within_capacity(2).unwrap_err();
    assert_eq!(format!("{refused:?}"), "Not enough capacity");
    assert_eq!(refused.0, 2);
}

#[test]
fn retain_truncate_and_resize_drop_what_goes() {
    let count = drops();
    let mut vec = WVec::new();
    for _ in 0..6 {
        vec.push(Rc::new(Dropped(count.clone())), GFP_KERNEL).unwrap();
    }
    let mut index = 0;
    vec.retain(|_| {
        index += 1;
        index % 2 == 0
    });
    assert_eq!((vec.len(), count.get()), (3, 3));
    vec.truncate(1);
    assert_eq!((vec.len(), count.get()), (1, 5));
    vec.truncate(7);
    assert_eq!(vec.len(), 1);
    let first = vec[0].clone();
    vec.resize(3, first, GFP_KERNEL).unwrap();
    assert_eq!(Rc::strong_count(&vec[0]), 3);
    vec.clear();
    assert_eq!(count.get(), 6);
}

#[test]
fn raw_parts_make_the_same_vector_again() {
    let mut vec = WVec::with_capacity(5, GFP_KERNEL).unwrap();
    vec.extend_from_slice(&[7u8, 8], GFP_KERNEL).unwrap();
    let (ptr, len, capacity) = vec.into_raw_parts();
    assert_eq!((len, capacity), (2, 5));
    // SAFETY: these are the parts of a vector.
    let vec = unsafe { WVec::from_raw_parts(ptr, len, capacity) };
    assert_eq!(vec, [7, 8]);
}

#[test]
fn every_allocation_is_charged_to_the_callers_line() {
    #[derive(Clone, Copy)]
    struct Plain(#[expect(dead_code, reason = "it has a byte so that it allocates")] u8);
    const PLAIN: Plain = Plain(0);

    /// Allocates on one line and compares it with the line that the heap was asked from.
    macro_rules! charged_here {
        ($allocation:expr) => {
            let _made = $allocation.unwrap();
            assert_eq!(ASKED_AT.get(), line!());
        };
    }

    let mut vec = WVec::new();
    charged_here!(vec.push(1u8, GFP_KERNEL));
    charged_here!(vec.extend_from_slice(&[0; 9], GFP_KERNEL));
    charged_here!(vec.reserve(100, GFP_KERNEL));
    charged_here!(vec.resize(1000, 3, GFP_KERNEL));
    charged_here!(WVec::from_elem(1, 4, GFP_KERNEL));
    charged_here!(WVec::<u8>::zeroed(4, GFP_KERNEL));
    charged_here!(WBox::new(1, GFP_KERNEL));
    charged_here!(WBox::pin(1, GFP_KERNEL));
    charged_here!(WBox::<u8>::zeroed(GFP_KERNEL));
    charged_here!(WBox::<Plain>::init(PLAIN, GFP_KERNEL));
    charged_here!(WBox::<Plain>::pin_init(PLAIN, GFP_KERNEL));
    charged_here!(WBox::<Plain>::try_init(Ok::<_, Error>(PLAIN), GFP_KERNEL));
    charged_here!(WBox::<Plain>::try_pin_init(Ok::<_, Error>(PLAIN), GFP_KERNEL));
    charged_here!(WBox::<Plain>::pin_slice(|_| Ok::<_, Error>(PLAIN), 2, GFP_KERNEL));
}

#[test]
fn kvec_macro_makes_all_three_forms() {
    let empty: KVec<u8> = kernel::kvec![];
    assert!(empty.is_empty());
    assert_eq!(kernel::kvec![3; 4].unwrap(), [3, 3, 3, 3]);
    assert_eq!(kernel::kvec!["a", "b",].unwrap(), ["a", "b"]);
}

#[test]
fn zeroed_values_are_zero_also_after_growing() {
    let array = KBox::<[u64; 64]>::zeroed(GFP_KERNEL).unwrap();
    assert_eq!(*array, [0; 64]);
    let mut vec = KVec::<u8>::zeroed(100, GFP_KERNEL).unwrap();
    vec.reserve(400, GFP_KERNEL | __GFP_ZERO).unwrap();
    assert_eq!(vec, [0; 100]);
    assert!(vec.capacity() >= 500);
}

#[test]
fn kmalloc_aligns_a_block_to_the_power_of_two_that_divides_its_size() {
    let page = KBox::new([0u8; 4096], GFP_KERNEL).unwrap();
    let odd = KBox::new([0u8; 96], GFP_KERNEL).unwrap();
    let byte = KBox::new(0u8, GFP_KERNEL).unwrap();
    assert_eq!((&raw const *page).addr() % 4096, 0);
    assert_eq!((&raw const *odd).addr() % 32, 0);
    assert_eq!((&raw const *byte).addr() % 8, 0);
}

#[test]
fn kmalloc_ends_at_four_mebibytes_and_kvmalloc_does_not() {
    let too_large = (4 << 20) + 1;
    assert!(KVec::<u8>::with_capacity(4 << 20, GFP_KERNEL).is_ok());
    assert!(KVec::<u8>::with_capacity(too_large, GFP_KERNEL | __GFP_NOWARN).is_err());
    let large = KVVec::<u8>::with_capacity(too_large, GFP_KERNEL).unwrap();
    assert_eq!(large.as_ptr().addr() % PAGE_SIZE, 0);
}

#[test]
fn shrink_to_keeps_the_elements_and_what_was_asked_for() {
    let mut vec = KVVec::<u8>::with_capacity(4 * PAGE_SIZE, GFP_KERNEL).unwrap();
    vec.extend_from_slice(b"data", GFP_KERNEL).unwrap();
    vec.shrink_to(PAGE_SIZE, GFP_KERNEL).unwrap();
    assert_eq!(vec.capacity(), PAGE_SIZE);
    vec.shrink_to(2 * PAGE_SIZE, GFP_KERNEL).unwrap();
    assert_eq!(vec.capacity(), PAGE_SIZE);
    vec.shrink_to(0, GFP_KERNEL).unwrap();
    assert_eq!((vec.capacity(), &vec[..]), (4, &b"data"[..]));
    vec.clear();
    vec.shrink_to(0, GFP_KERNEL).unwrap();
    assert_eq!(vec.capacity(), 0);
}

#[test]
fn vmalloc_shrinks_by_whole_pages_only() {
    let pages = 2000;
    let mut vec = KVVec::<u8>::with_capacity(pages * PAGE_SIZE, GFP_KERNEL).unwrap();
    vec.shrink_to(pages * PAGE_SIZE - 1, GFP_KERNEL).unwrap();
    assert_eq!(vec.capacity(), pages * PAGE_SIZE);
    vec.shrink_to((pages - 1) * PAGE_SIZE, GFP_KERNEL).unwrap();
    assert_eq!(vec.capacity(), (pages - 1) * PAGE_SIZE);
}

#[test]
fn pages_of_a_vector_are_its_memory() {
    let mut vec = VVec::<u8>::zeroed(PAGE_SIZE + 1, GFP_KERNEL).unwrap();
    let mut pages = vec.page_iter();
    assert_eq!((pages.page_count(), pages.size_hint()), (2, (2, Some(2))));
    pages.next();
    let second = pages.next().unwrap();
    // SAFETY: nobody else uses the page.
    unsafe { second.write_raw([0x5a].as_ptr(), 0, 1) }.unwrap();
    assert!(pages.next().is_none());
    assert_eq!(vec[PAGE_SIZE], 0x5a);
    assert!(VBox::new((), GFP_KERNEL).unwrap().page_iter().next().is_none());
}

#[test]
fn page_refuses_what_is_not_in_it() {
    let page = Page::alloc_page(GFP_KERNEL | __GFP_ZERO).unwrap();
    let mut back = [1u8; 2];
    // SAFETY: the buffers have the bytes, and nobody else uses the page.
    unsafe {
        page.write_raw([7, 8].as_ptr(), PAGE_SIZE - 2, 2).unwrap();
        page.fill_zero_raw(PAGE_SIZE - 2, 1).unwrap();
        page.read_raw(back.as_mut_ptr(), PAGE_SIZE - 2, 2).unwrap();
        assert_eq!(page.fill_zero_raw(PAGE_SIZE - 1, 2), Err(EINVAL));
        assert_eq!(page.fill_zero_raw(usize::MAX, 2), Err(EINVAL));
        assert_eq!(page.fill_zero_raw(PAGE_SIZE, 0), Ok(()));
    }
    assert_eq!(back, [0, 8]);
}

#[test]
fn page_align_rounds_up_and_knows_the_end_of_memory() {
    assert_eq!(page_align(0), Some(0));
    assert_eq!(page_align(1), Some(PAGE_SIZE));
    assert_eq!(page_align(usize::MAX - 1), None);
}

#[test]
fn box_survives_being_owned_by_foreign_code() {
    let ptr = WBox::new(5u32, GFP_KERNEL).unwrap().into_foreign();
    // SAFETY: the pointer was just given away; the borrows end before it is taken back.
    let value = unsafe {
        *WBox::<u32>::borrow_mut(ptr) += 1;
        assert_eq!(*WBox::<u32>::borrow(ptr), 6);
        WBox::<u32>::from_foreign(ptr)
    };
    assert_eq!(*value, 6);
    // SAFETY: null is allowed.
    assert!(unsafe { WBox::<u32>::try_from_foreign(core::ptr::null_mut()) }.is_none());
}

#[test]
fn flags_are_a_set_and_nodes_have_a_range() {
    assert!((GFP_KERNEL | __GFP_ZERO).contains(__GFP_ZERO));
    assert!(!GFP_ATOMIC.contains(GFP_KERNEL));
    assert!(GFP_KERNEL_ACCOUNT.contains(GFP_KERNEL));
    assert!((GFP_NOWAIT & !__GFP_NOWARN) != GFP_NOWAIT);
    assert!(NumaNode::new(-1).is_err() && NumaNode::new(0).is_ok() && NumaNode::new(1024).is_err());
}
