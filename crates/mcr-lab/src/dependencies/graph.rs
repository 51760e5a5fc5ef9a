//! The crates of others that programs are built of, as Cargo has them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::unsafe_code;

/// The programs that are shipped.
pub(super) const PROGRAMS: [&str; 2] = ["mcrctl", "mcrd"];

/// The targets of `deny.toml`.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// A crate of others'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Used {
    pub(super) name: String,
    pub(super) version: String,
    /// It runs within the compiler, or such a one needs it, and is not in the program.
    pub(super) is_macro: bool,
    /// Its sources have the keyword, be it compiled here or not.
    pub(super) has_unsafe: bool,
}

/// What some of our programs are built of with their default features, by name and version.
pub(super) fn used(programs: &[&str]) -> Result<Vec<Used>> {
    let (all, in_program) = (tree(programs, "normal")?, tree(programs, "normal,no-proc-macro")?);
    let sources = sources()?;
    let mut used = Vec::new();
    for (name, version) in all {
        let key = (name, version);
        let folder = sources.get(&key).with_context(|| format!("no sources of {}", key.0))?;
        let is_macro = !in_program.contains(&key);
        let has_unsafe = unsafe_code::is_below(folder)
            .with_context(|| format!("reading {}", folder.display()))?;
        let (name, version) = key;
        used.push(Used { name, version, is_macro, has_unsafe });
    }
    Ok(used)
}

/// Names and versions, features resolved for these programs alone.
fn tree(programs: &[&str], edges: &str) -> Result<BTreeSet<(String, String)>> {
    let mut arguments = vec!["tree", "--locked", "--prefix", "none", "--format", "{p}"];
    arguments.extend(["--edges", edges]);
    arguments.extend(TARGETS.iter().flat_map(|target| ["--target", target]));
    arguments.extend(programs.iter().flat_map(|program| ["--package", program]));
    let text = cargo(&arguments)?;
    // `NAME vVERSION`, for ours with the path, and remarks.
    let others = text.lines().filter(|line| !line.contains("(/"));
    others
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let (name, rest) = line.split_once(" v").context("a line of cargo tree")?;
            let version = rest.split(' ').next().unwrap_or(rest);
            Ok((name.to_owned(), version.to_owned()))
        })
        .collect()
}

/// The folder of each crate's library, which others link: not its tests, nor its build script.
fn sources() -> Result<BTreeMap<(String, String), PathBuf>> {
    let mut found = BTreeMap::new();
    for target in TARGETS {
        let answer =
            cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", target])?;
        let answer: Value =
            serde_json::from_str(&answer).context("the answer of cargo metadata")?;
        for package in answer["packages"].as_array().context("packages")? {
            let text = |key: &str| package[key].as_str().context("a package's members");
            let Some(mut folder) = library(package) else { continue };
            folder.pop();
            found.insert((text("name")?.to_owned(), text("version")?.to_owned()), folder);
        }
    }
    Ok(found)
}

/// The root of a package's library.
fn library(package: &Value) -> Option<PathBuf> {
    let kinds = |target: &Value| target["kind"].as_array().cloned().unwrap_or_default();
    let is_library = |kind: &Value| matches!(kind.as_str(), Some("lib" | "rlib" | "proc-macro"));
    let mut targets = package["targets"].as_array()?.iter();
    let target = targets.find(|target| kinds(target).iter().any(is_library))?;
    target["src_path"].as_str().map(PathBuf::from)
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("running cargo")?;
    if !output.status.success() {
        bail!("cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("the answer of cargo")
}
