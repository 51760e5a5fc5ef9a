//! Every input that is kept, and all that ever broke something, through its target.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mcr_fuzz::{TARGETS, folders, inputs};

#[test]
fn no_input_that_is_kept_breaks_anything() {
    for (name, target) in TARGETS {
        let inputs = inputs(name).unwrap();
        assert!(!inputs.is_empty(), "{name} has a corpus");
        for (file, input) in inputs {
            // Shown where it panics.
            println!("{}", file.display());
            target(&input);
        }
    }
}

#[test]
fn every_target_has_its_program_and_no_input_is_without_a_target() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        let file = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path();
        entries
            .map(|entry| file(entry).file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(listed("fuzz_targets"), names);
    assert_eq!(listed("corpus"), names);
    assert!(listed("crashes").is_subset(&names));
}

#[test]
fn corpora_are_small() {
    let all = TARGETS.iter().flat_map(|(name, _)| folders(name));
    let files = all.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
}
