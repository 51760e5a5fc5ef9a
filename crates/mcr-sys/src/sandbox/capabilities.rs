//! Giving up capabilities (capabilities(7)).

use std::io;

use caps::CapSet;

/// Empties the bounding set, so that no program run later could gain any.
///
/// # Errors
/// Without `CAP_SETPCAP`.
pub(super) fn empty_bounding_set() -> io::Result<()> {
    caps::clear(None, CapSet::Bounding).map_err(io::Error::other)
}

/// Empties all of the calling thread's own sets.
pub(super) fn drop_all() -> io::Result<()> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}
