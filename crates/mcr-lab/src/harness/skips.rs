//! The record of skipped trials, `target/system-test-skips.txt`: one line each,
//! `SUITE::TRIAL: REASON`, so that a script can refuse reasons other than a lacking kernel.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::Skip;
use crate::program::target_directory;

const FILE_NAME: &str = "system-test-skips.txt";

/// Removes a suite's lines of an earlier run.
pub(super) fn forget(suite: &str) {
    let Some(path) = path() else { return };
    if let Ok(text) = fs::read_to_string(&path) {
        complain(fs::write(&path, without_suite(&text, suite)));
    }
}

/// Writes a skip into the file and says it aloud.
pub(super) fn record(suite: &str, trial: &str, skip: &Skip) {
    eprintln!("SKIP {suite}::{trial}: {skip}");
    let line = format!("{suite}::{trial}: {}\n", skip.to_string().replace('\n', " "));
    if let Some(path) = path() {
        // One write in append mode: trials on other threads do not tear the line.
        let file = OpenOptions::new().create(true).append(true).open(path);
        complain(file.and_then(|mut file| file.write_all(line.as_bytes())));
    }
}

fn path() -> Option<PathBuf> {
    target_directory().map(|directory| directory.join(FILE_NAME))
}

fn without_suite(text: &str, suite: &str) -> String {
    let own = format!("{suite}::");
    text.split_inclusive('\n').filter(|line| !line.starts_with(&own)).collect()
}

fn complain(result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("{FILE_NAME}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_forgets_its_own_lines_only() {
        let text = "lab::a: forbidden: x\nrelay::b: the kernel lacks VRF\nlab::c: y\n";
        assert_eq!(without_suite(text, "lab"), "relay::b: the kernel lacks VRF\n");
    }
}
