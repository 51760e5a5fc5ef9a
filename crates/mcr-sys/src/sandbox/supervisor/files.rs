//! The files that the supervisor needs (`landlock(7)`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    Access, AccessFs, BitFlags, PathBeneath, PathFd, RulesetCreated, RulesetCreatedAttr,
    RulesetError,
};

use super::SupervisorConfinement;
use crate::sandbox::LANDLOCK;

/// The running program, also when its file has been replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Files that the loader looks at beside the libraries.
const LOADERS: [&str; 2] = ["/etc/ld.so.cache", "/etc/ld.so.preload"];

/// What is denied where no rule allows it: all that there is but for devices' own requests, which
/// a terminal that the log goes to is asked by.
pub(super) fn handled() -> BitFlags<AccessFs> {
    AccessFs::from_all(LANDLOCK) & !AccessFs::IoctlDev
}

/// Allows what the supervisor, and a worker that starts, opens. What is not there is not needed.
pub(super) fn allow(
    mut ruleset: RulesetCreated,
    confinement: &SupervisorConfinement,
) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut allow = |path: &Path, access: BitFlags<AccessFs>| match PathFd::new(path) {
        Ok(opened) => (&mut ruleset).add_rule(PathBeneath::new(opened, access)).map(drop),
        Err(_) => Ok(()),
    };
    for directory in &confinement.readable {
        allow(directory, read)?;
    }
    let make = AccessFs::MakeSock | AccessFs::MakeReg | AccessFs::RemoveFile;
    // The lock is a file; it is opened to be written, and never is.
    allow(&confinement.control, read | make | AccessFs::WriteFile)?;
    // A worker's start: the program, its libraries, and who loads them.
    allow(Path::new(OWN_PROGRAM), AccessFs::ReadFile | AccessFs::Execute)?;
    let Loaded { directories, loader } = Loaded::of_this_process();
    for directory in &directories {
        allow(directory, read)?;
    }
    if let Some(loader) = loader {
        allow(&loader, AccessFs::ReadFile | AccessFs::Execute)?;
    }
    for file in LOADERS {
        allow(Path::new(file), AccessFs::ReadFile.into())?;
    }
    // Each process's own; others' are the kernel's to guard.
    allow(Path::new("/proc"), read)?;
    allow(Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)?;
    Ok(ruleset)
}

/// The place that this process was loaded from, as a worker of the same program will be.
struct Loaded {
    /// Directories, because an update puts other files into them while the daemon runs.
    directories: BTreeSet<PathBuf>,
    /// The directory of the loader (`ld.so`); `None` where the program is linked statically.
    loader: Option<PathBuf>,
}

impl Loaded {
    fn of_this_process() -> Self {
        // SAFETY: it only reads what the kernel left at the process's start.
        let base = unsafe { libc::getauxval(libc::AT_BASE) };
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut loaded = Self { directories: BTreeSet::new(), loader: None };
        for line in maps.lines() {
            // `ADDRESS-END MODE OFFSET DEVICE INODE PATH`: proc_pid_maps(5).
            let mut fields = line.split_whitespace();
            let address = fields.next().and_then(|range| range.split('-').next());
            let code = fields.next().is_some_and(|mode| mode.contains('x'));
            let parent = line.find('/').and_then(|at| Path::new(&line[at..]).parent());
            let Some(parent) = parent else { continue };
            let address = address.and_then(|address| u64::from_str_radix(address, 16).ok());
            if base != 0 && address == Some(base) {
                loaded.loader = Some(parent.to_owned());
            }
            if code {
                loaded.directories.insert(parent.to_owned());
            }
        }
        loaded
    }
}
