//! The notes, held against what is used.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::graph::Used;

/// What of cargo vet's format is used here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notes {
    /// What each criterion means.
    criteria: BTreeMap<String, Criterion>,
    /// By crate.
    #[serde(default)]
    audits: BTreeMap<String, Vec<Note>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Criterion {
    description: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    who: String,
    criteria: String,
    version: String,
    notes: String,
}

impl Notes {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let what = || format!("reading {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        toml::from_str(&text).with_context(what)
    }

    /// What is missing and what is stale, each with its remedy.
    pub(super) fn faults(&self, used: &[Used]) -> Vec<String> {
        let missing = used.iter().filter_map(|used| self.fault_of_use(used));
        let stale = self.audits.iter().flat_map(|(name, notes)| {
            notes.iter().filter_map(|note| self.fault_of_note(name, note, used))
        });
        missing.chain(stale).collect()
    }

    fn fault_of_use(&self, used: &Used) -> Option<String> {
        let Used { name, version, .. } = used;
        let notes = self.audits.get(name).map_or(&[][..], Vec::as_slice);
        if !used.has_unsafe || notes.iter().any(|note| note.version == *version) {
            return None;
        }
        Some(match notes.last() {
            Some(latest) => format!(
                "{name} {version}: the note is about {}: see what changed in its unsafe code \
                 since, mend the note, and set its version",
                latest.version
            ),
            None => format!(
                "{name} {version} has unsafe code and no note: say what it uses that for, who \
                 maintains it, and what it does for us"
            ),
        })
    }

    fn fault_of_note(&self, name: &str, note: &Note, used: &[Used]) -> Option<String> {
        let Note { version, criteria, .. } = note;
        let of_crate = || used.iter().filter(|used| used.name == name);
        let noted = of_crate().find(|used| used.version == *version);
        let empty = [&note.who, &note.notes].iter().any(|text| text.trim().is_empty());
        let is_defined =
            self.criteria.get(criteria).is_some_and(|known| !known.description.trim().is_empty());
        if of_crate().next().is_none() {
            Some(format!("{name} {version}: no program uses the crate: remove the note"))
        } else if noted.is_some_and(|used| !used.has_unsafe) {
            Some(format!("{name} {version} has no unsafe code: remove the note"))
        } else if noted.is_none() && of_crate().all(|used| self.has_note(used)) {
            Some(format!("{name} {version}: that version is not used: remove the note"))
        } else if empty || !is_defined {
            Some(format!("{name} {version}: the note lacks who, notes or a defined criterion"))
        } else {
            None
        }
    }

    fn has_note(&self, used: &Used) -> bool {
        self.fault_of_use(used).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(name: &str, version: &str, has_unsafe: bool) -> Used {
        Used { name: name.into(), version: version.into(), is_macro: false, has_unsafe }
    }

    fn notes(audits: &[(&str, &str, &str)]) -> Notes {
        let criteria = String::from("[criteria.known]\ndescription = \"looked at\"\n");
        let entry = |(name, version, notes): &(&str, &str, &str)| {
            format!(
                "[[audits.{name}]]\nwho = \"us\"\ncriteria = \"known\"\nversion = \"{version}\"\n\
                 notes = \"{notes}\"\n"
            )
        };
        let text: String = std::iter::once(criteria).chain(audits.iter().map(entry)).collect();
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn every_crate_with_unsafe_code_needs_its_note() {
        let used = [used("bytes", "1.2.3", true), used("either", "1.0.0", false)];
        assert!(notes(&[("bytes", "1.2.3", "counts references")]).faults(&used).is_empty());
        let moved = notes(&[("bytes", "1.2.2", "counts references")]).faults(&used);
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert!(moved[0].starts_with("bytes 1.2.3: the note is about 1.2.2"), "{moved:?}");
        let one_moved = notes(&[("bytes", "1.2.3", "x"), ("bytes", "1.2.2", "x")]).faults(&used);
        assert_eq!(one_moved, ["bytes 1.2.2: that version is not used: remove the note"]);
    }

    #[test]
    fn notes_without_their_crate_are_stale() {
        let used = [used("bytes", "1.2.3", true), used("either", "1.0.0", false)];
        let bytes = ("bytes", "1.2.3", "counts references");
        let gone = notes(&[bytes, ("slab", "0.4.0", "x")]).faults(&used);
        assert_eq!(gone, ["slab 0.4.0: no program uses the crate: remove the note"]);
        let tame = notes(&[bytes, ("either", "1.0.0", "x")]).faults(&used);
        assert_eq!(tame, ["either 1.0.0 has no unsafe code: remove the note"]);
        assert_eq!(notes(&[("bytes", "1.2.3", " ")]).faults(&used).len(), 1);
        assert!(notes(&[]).faults(&used)[0].contains("no note"));
    }
}
