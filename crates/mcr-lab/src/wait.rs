//! Waiting for a condition, with a deadline: tests never sleep for luck.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::limits;

/// Returns as soon as `condition` is true; an error that names `what` after `timeout`.
pub fn until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        if condition()? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {timeout:?}");
        }
        thread::sleep(limits::WAIT_POLL);
    }
}
