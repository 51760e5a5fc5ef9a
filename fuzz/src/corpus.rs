//! Inputs that are kept: `corpus/TARGET`, from which mutations begin, and `crashes/TARGET`, each
//! of which once broke something.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Target;

/// Where a target's inputs are kept: its corpus and its past crashes.
pub fn folders(target: &str) -> [PathBuf; 2] {
    ["corpus", "crashes"].map(|kind| Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target))
}

/// All of a target's inputs with their files, in the order of names. A folder that is not there
/// holds none.
pub fn inputs(target: &str) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for folder in folders(target).iter().filter(|folder| folder.exists()) {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            files.push(entry?.path());
        }
    }
    files.sort();
    files.into_iter().map(read).collect()
}

/// Runs a target on files.
pub fn replay(target: Target, files: impl Iterator<Item = OsString>) -> Result<()> {
    for file in files {
        let (file, input) = read(file.into())?;
        println!("{}", file.display());
        target(&input);
    }
    Ok(())
}

fn read(file: PathBuf) -> Result<(PathBuf, Vec<u8>)> {
    let input = fs::read(&file).with_context(|| file.display().to_string())?;
    Ok((file, input))
}
