//! The real programs, freshly built.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// Path of the daemon.
pub fn mcrd() -> Result<PathBuf> {
    program("mcrd")
}

/// Path of the daemon whose workers fail when they are told to. It is a program of its own, so that
/// the one under every other test is the product.
pub fn mcrd_faults() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    fresh("mcrd-faults", &BUILT, &["--bin", "mcrd-faults", "-p", "mcrd", "--features", "faults"])
}

/// Path of the client.
pub fn mcrctl() -> Result<PathBuf> {
    program("mcrctl")
}

/// Copies a program, to be run from there.
///
/// Not by this process: a child that another thread starts meanwhile would have the copy open to be
/// written until its own program begins, and until then the copy could not be run (`ETXTBSY`).
pub fn copy(program: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg(program).arg(to).status().context("running cp")?;
    ensure!(copied.success(), "copying {} to {}: {copied}", program.display(), to.display());
    Ok(())
}

/// Cargo's `target` directory that the running program was built into; it bears cargo's tag.
pub fn target_directory() -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    let tagged = |directory: &&Path| directory.join("CACHEDIR.TAG").exists();
    executable.ancestors().skip(1).find(tagged).map(Path::to_path_buf)
}

fn program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    fresh(name, &BUILT, &["--bins", "-p", "mcrd", "-p", "mcrctl"])
}

/// A program that cargo builds by these arguments, once in this process's life.
fn fresh(name: &str, built: &OnceLock<Result<(), String>>, arguments: &[&str]) -> Result<PathBuf> {
    let directory = profile_directory()?;
    let path = directory.join(name);
    // Under cargo the sources may be newer than the programs: tests of a stale daemon would
    // lie. Without cargo, what lies beside this program was put there with it.
    if env::var_os("CARGO").is_some() || !path.exists() {
        built
            .get_or_init(|| build(&directory, arguments).map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(|error| anyhow!(error))?;
    }
    ensure!(path.exists(), "{} does not exist", path.display());
    Ok(path)
}

/// Where cargo puts programs of the running one's profile: its own directory, or for a test the
/// one above `deps`.
fn profile_directory() -> Result<PathBuf> {
    let executable = env::current_exe().context("the path of the running program")?;
    executable
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"))
        .map(Path::to_path_buf)
        .context("the running program has no directory")
}

fn build(profile_directory: &Path, arguments: &[&str]) -> Result<()> {
    let profile = match profile_directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} names no cargo profile", profile_directory.display()),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--profile", profile])
        .args(arguments)
        .arg("--target-dir")
        .arg(target_directory().context("this program is not in a cargo target directory")?)
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "building with {arguments:?}: cargo ended with {status}");
    Ok(())
}
