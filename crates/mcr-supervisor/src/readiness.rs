//! Readiness of descriptors that tokio has no type of its own for.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::unix::AsyncFd;

/// Has the runtime watch a descriptor that `inner` owns and keeps as long as it lives, as every
/// socket type does.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that change their descriptor; ours never do"
)]
pub(crate) fn watch<T: AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(inner)
}
