//! What the running kernel has, for tests of what not every kernel does.

use std::fs;

use anyhow::Result;

use crate::harness::Skip;

/// Checks that this process may put eBPF programs to interfaces (tcx, Linux 6.6).
///
/// The kernel's symbols tell it, and not an attempt by the code under test.
///
/// # Errors
/// A [`Skip`] where it may not.
pub fn require_tcx() -> Result<()> {
    // Addresses are hidden from most readers, names are not.
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    if !symbols.lines().any(|line| line.ends_with(" tcx_link_attach")) {
        return Err(Skip::KernelLacks("tcx (Linux 6.6)".into()).into());
    }
    if is_in_user_namespace(&fs::read_to_string("/proc/self/uid_map")?) {
        return Err(Skip::KernelLacks("eBPF for the root of a user namespace".into()).into());
    }
    Ok(())
}

/// The first user namespace maps every id to itself (`user_namespaces(7)`).
fn is_in_user_namespace(uid_map: &str) -> bool {
    uid_map.split_whitespace().ne(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_of_ids_tells_the_first_user_namespace() {
        assert!(!is_in_user_namespace("         0          0 4294967295\n"));
        assert!(is_in_user_namespace("         0       1000          1\n"));
    }
}
