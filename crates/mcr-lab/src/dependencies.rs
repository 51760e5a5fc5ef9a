//! What the shipped programs are made of, and the notes about those crates that have unsafe code
//! (`supply-chain/audits.toml`, in the format of cargo vet).

mod graph;
mod notes;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use graph::{PROGRAMS, Used};
use notes::Notes;

/// The notes' file, from the root of the tree.
const FILE: &str = "supply-chain/audits.toml";

/// Prints figures, and fails where a note is missing or stale.
///
/// # Errors
/// What is amiss, with the remedy; or what Cargo says where it cannot tell.
pub fn run() -> Result<()> {
    let used = graph::used(&PROGRAMS)?;
    for program in PROGRAMS {
        println!("{program}: {}", figures(&graph::used(&[program])?));
    }
    println!("together: {}", figures(&used));
    let twice: Vec<_> = used.windows(2).filter(|pair| pair[0].name == pair[1].name).collect();
    for pair in &twice {
        println!("in two versions: {} {} and {}", pair[0].name, pair[0].version, pair[1].version);
    }
    let faults = Notes::read(&path())?.faults(&used);
    if !faults.is_empty() {
        bail!("{FILE}:\n  {}", faults.join("\n  "));
    }
    println!("each crate with unsafe code has its note");
    Ok(())
}

/// What is amiss with the notes; empty where all is well.
///
/// # Errors
/// As for [`run`].
pub fn faults() -> Result<Vec<String>> {
    Ok(Notes::read(&path())?.faults(&graph::used(&PROGRAMS)?))
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE)
}

fn figures(used: &[Used]) -> String {
    let of = |what: fn(&&Used) -> bool| used.iter().filter(what).count();
    format!(
        "{} crates of others, {} of them run by the compiler alone; {} have unsafe code",
        used.len(),
        of(|used| used.is_macro),
        of(|used| used.has_unsafe),
    )
}
