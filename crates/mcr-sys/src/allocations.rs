//! Counts heap allocations, for tests that show that there are none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread. To be a test program's `global_allocator`.
#[derive(Debug, Default)]
pub struct CountingAllocator;

/// Allocations that the calling thread made so far, growth in place included. Always 0 where the
/// program's allocator is another.
pub fn allocations() -> u64 {
    MADE.get()
}

fn count() {
    // A constant without a destructor: neither first use nor a thread's end allocates.
    MADE.set(MADE.get() + 1);
}

// SAFETY: every call goes on to the system's allocator as it came, and counting neither allocates
// nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(block, layout) }
    }
}
