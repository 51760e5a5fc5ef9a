//! Lists of payloads that stand in a ring, for the kernel to read from there.

use std::ops::Range;

use crate::ring::RxRing;

/// Room for the payloads of one batch, made once.
#[derive(Debug)]
pub struct GatherBuffer(Box<[libc::iovec]>);

// SAFETY: who moves it to another thread owns it, so no `Gather` borrows it; between two uses the
// pointers in it are stale and never followed.
unsafe impl Send for GatherBuffer {}

const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

impl GatherBuffer {
    /// Room for so many payloads.
    pub fn with_room_for(payloads: usize) -> Self {
        Self(vec![EMPTY; payloads].into_boxed_slice())
    }

    /// Begins the list of the first `count` payloads, all in `ring`. Both stay borrowed, so that
    /// no slot can be handed back before the sends that read it are done.
    pub fn gather<'a>(&'a mut self, ring: &'a RxRing, count: usize) -> Gather<'a> {
        let iovecs = &mut self.0[..count];
        // What is not placed must not point into some earlier ring.
        iovecs.fill(EMPTY);
        Gather { iovecs, ring }
    }
}

/// The payloads of one batch.
#[derive(Debug)]
pub struct Gather<'a> {
    iovecs: &'a mut [libc::iovec],
    ring: &'a RxRing,
}

impl Gather<'_> {
    /// Puts a payload at a place of the list.
    ///
    /// # Panics
    /// When the payload is not inside the ring, or the place not in the list.
    pub fn place(&mut self, place: usize, payload: Range<usize>) {
        let base = self.ring.address(&payload).expect("a payload lies in its ring");
        self.iovecs[place] =
            libc::iovec { iov_base: base.cast_mut().cast(), iov_len: payload.len() };
    }

    /// Some of the payloads, for `msg_iov`.
    pub(crate) fn iovecs(&self, places: Range<usize>) -> &[libc::iovec] {
        &self.iovecs[places]
    }
}
