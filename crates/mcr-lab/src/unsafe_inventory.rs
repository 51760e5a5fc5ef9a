//! How much unsafe code each module of mcr-sys has, and by what it holds: `unsafe.toml` beside its
//! manifest. The counts are made from the code, the reasons by people.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::unsafe_code::{Count, sources};

/// The head of the file.
const HEAD: &str = "\
# The unsafe code of mcr-sys, by module, tests included; no other crate of ours has any. `holds`
# says by what it is sound. The counts are those of the code: `cargo run -p mcr-lab -- document`
# makes them anew, keeps what `holds` says, and a test fails where they are stale or `holds` is
# missing.
";

/// A module's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// `unsafe { .. }`.
    pub blocks: usize,
    /// `unsafe impl`.
    pub impls: usize,
    /// `unsafe fn`.
    pub functions: usize,
    /// By what it is sound.
    pub holds: String,
}

/// The inventory, by module.
pub type Inventory = BTreeMap<String, Module>;

/// Writes the inventory with its counts made anew.
///
/// # Errors
/// What reading the sources or the file says.
pub fn run() -> Result<()> {
    let path = path();
    fs::write(&path, renewed()?).with_context(|| format!("writing {}", path.display()))
}

/// The inventory's file.
pub fn path() -> PathBuf {
    mcr_sys().join("unsafe.toml")
}

/// What stands in the file.
///
/// # Errors
/// Where it cannot be read, or is none.
pub fn written() -> Result<Inventory> {
    let path = path();
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// The file's text with its counts made anew.
///
/// # Errors
/// As for [`run`].
pub fn renewed() -> Result<String> {
    let mut before = if path().exists() { written()? } else { Inventory::new() };
    let mut inventory = Inventory::new();
    let folder = mcr_sys().join("src");
    for source in sources(&folder)? {
        let text = fs::read_to_string(&source)?;
        let count = Count::of(&text)
            .with_context(|| format!("{}: not of Rust's tokens", source.display()))?;
        if !count.is_zero() {
            let name = source.strip_prefix(&folder)?.with_extension("");
            let name = name.to_string_lossy().into_owned();
            let holds = before.remove(&name).unwrap_or_default().holds;
            let Count { blocks, impls, functions, others } = count;
            // A trait or an attribute would need a column of its own.
            anyhow::ensure!(others == 0, "{name}: unsafe code of a kind that is not listed");
            inventory.insert(name, Module { blocks, impls, functions, holds });
        }
    }
    Ok(format!("{HEAD}\n{}", toml::to_string(&inventory)?))
}

fn mcr_sys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mcr-sys")
}
