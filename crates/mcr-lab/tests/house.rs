//! The rules of the house, as far as a machine can hold them. CONTRIBUTING.md says them in words.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a Rust file, its tests included.
const FILE_LINES: usize = 500;
/// Lines of a crate's door.
const DOOR_LINES: usize = 120;
/// Lines of the daemon's `main.rs`.
const DAEMON_MAIN_LINES: usize = 40;
/// Characters of a line.
const LINE_CHARACTERS: usize = 100;
/// Markdown files in the tree.
const MARKDOWN_FILES: usize = 10;

/// Which of our crates each one may import; development dependencies are free.
const ARROWS: [(&str, &[&str]); 9] = [
    ("mcr-core", &[]),
    ("mcr-sys", &[]),
    ("mcr-api", &["mcr-core"]),
    ("mcr-worker", &["mcr-api", "mcr-core", "mcr-sys"]),
    ("mcr-supervisor", &["mcr-api", "mcr-core", "mcr-sys"]),
    ("mcrd", &["mcr-api", "mcr-core", "mcr-supervisor", "mcr-sys", "mcr-worker"]),
    ("mcrctl", &["mcr-api"]),
    ("mcr-lab", &["mcr-api", "mcr-core", "mcr-sys"]),
    // Fuzzing opens every door; nobody imports it.
    (
        FUZZ,
        &["mcr-api", "mcr-core", "mcr-lab", "mcr-supervisor", "mcr-sys", "mcr-worker", "mcrctl"],
    ),
];

/// The crate that stands where cargo-fuzz looks for it.
const FUZZ: &str = "mcr-fuzz";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the tree is there")
}

/// Where one of our crates stands.
fn folder(name: &str) -> PathBuf {
    if name == FUZZ { root().join("fuzz") } else { root().join("crates").join(name) }
}

/// Every file of the tree with that ending, but for what is built or belongs to git.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the tree can be read") {
            let path = entry.expect("the tree can be read").path();
            let name =
                path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() && !["target", ".git"].contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{ending} file found");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails naming every offender.
fn none_of(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).expect("every path begins at the root").display().to_string()
}

#[test]
fn files_and_lines_stay_short() {
    let mut offenders = Vec::new();
    for path in files("rs") {
        let text = read(&path);
        let lines = text.lines().count();
        let limit = match path.file_name().and_then(|n| n.to_str()) {
            Some("main.rs") if shown(&path) == "crates/mcrd/src/main.rs" => DAEMON_MAIN_LINES,
            Some("main.rs" | "lib.rs") => DOOR_LINES,
            _ => FILE_LINES,
        };
        if lines > limit {
            offenders.push(format!("{}: {lines} lines, limit {limit}", shown(&path)));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARACTERS {
                offenders.push(format!("{}:{}: line too long", shown(&path), number + 1));
            }
        }
    }
    none_of("too long", &offenders);
}

#[test]
fn imports_follow_the_arrows() {
    let mut offenders = Vec::new();
    for (name, allowed) in ARROWS {
        let manifest = read(&folder(name).join("Cargo.toml"));
        let dependencies = manifest
            .split("[dependencies]")
            .nth(1)
            .map_or("", |rest| rest.split("\n[").next().unwrap_or(""));
        for line in dependencies.lines() {
            let import = line.split(['.', ' ', '=']).next().unwrap_or("");
            if import.starts_with("mcr") && !allowed.contains(&import) {
                offenders.push(format!("{name} imports {import}"));
            }
        }
    }
    none_of("arrows that ARCHITECTURE.md does not have", &offenders);
    let listed: BTreeSet<_> = ARROWS.iter().map(|(name, _)| folder(name)).collect();
    let mut present: BTreeSet<_> =
        fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    present.insert(folder(FUZZ));
    assert_eq!(listed, present, "every crate has its arrows listed");
}

#[test]
fn unsafe_code_has_one_room() {
    let mut offenders = Vec::new();
    for (name, _) in ARROWS.iter().filter(|(name, _)| *name != "mcr-sys") {
        let source = folder(name).join("src");
        for door in ["lib.rs", "main.rs"].map(|door| source.join(door)) {
            if door.exists() && !read(&door).contains("#![forbid(unsafe_code)]") {
                offenders.push(format!("{} does not forbid unsafe code", shown(&door)));
            }
        }
    }
    none_of("crates other than mcr-sys", &offenders);
}

#[test]
fn no_test_is_switched_off() {
    // Written in two parts, so that this file does not find itself.
    let attribute = concat!("#[", "ignore");
    let offenders = files("rs").into_iter().filter(|path| read(path).contains(attribute));
    none_of("switched-off tests", &offenders.map(|path| shown(&path)).collect::<Vec<_>>());
}

#[test]
fn documents_are_few_and_short() {
    let documents = files("md");
    assert!(documents.len() <= MARKDOWN_FILES, "{} Markdown files", documents.len());
    let mut offenders = Vec::new();
    for path in &documents {
        let name = path.file_name().unwrap().to_string_lossy().to_lowercase();
        if ["plan", "report", "summary", "roadmap"].iter().any(|word| name.contains(word)) {
            offenders.push(format!("{}: no such documents", shown(path)));
        }
        let limit = match name.as_str() {
            "architecture.md" => 300,
            "security.md" => 200,
            _ => continue,
        };
        let lines = read(path).lines().count();
        if lines > limit {
            offenders.push(format!("{}: {lines} lines, limit {limit}", shown(path)));
        }
    }
    none_of("documents", &offenders);
}

/// Comments of a hundred that may begin with a word of [`WH_WORDS`].
const WH_PER_CENT: usize = 5;
const WH_WORDS: [&str; 5] = ["What", "Who", "Whose", "Where", "Which"];

/// Words that made messages hard to read.
const BANNED: [&str; 6] = [
    "and no more may be",
    "and no more can be",
    "holds from a restart",
    "is otherwise now",
    "lacks nothing any more",
    "what is said of",
];

#[test]
fn comments_and_messages_are_plain() {
    let (mut begun, mut wh, mut offenders) = (0, 0, Vec::new());
    let product = |path: &PathBuf| {
        let shown = shown(path);
        shown.starts_with("crates/") && !shown.starts_with("crates/mcr-lab/")
    };
    for path in files("rs").into_iter().filter(product) {
        let text = read(&path);
        let is_comment = |line: &str| line.trim_start().starts_with("//");
        let mut continues = false;
        for (number, line) in text.lines().enumerate() {
            if is_comment(line) && !continues {
                let words = line.trim_start().trim_start_matches(['/', '!', ' ']);
                let first = words.split(|c: char| !c.is_alphabetic()).next().unwrap_or("");
                begun += 1;
                wh += usize::from(WH_WORDS.contains(&first));
            }
            continues = is_comment(line);
            let banned = BANNED.iter().filter(|words| line.contains(*words));
            offenders
                .extend(banned.map(|words| format!("{}:{}: {words}", shown(&path), number + 1)));
        }
    }
    none_of("hard to read", &offenders);
    assert!(100 * wh <= WH_PER_CENT * begun, "{wh} of {begun} comments begin with a wh-word");
}
