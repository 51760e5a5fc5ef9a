//! What is written about metrics and counters is what the code has: the tables of
//! `docs/observing.md`, the names that its text uses, the dashboard and the alert rules.

#[path = "documents/promql.rs"]
mod promql;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mcr_api::config::Config;
use mcr_api::metrics::Metric;
use mcr_lab::document;
use promql::check;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

fn packaging(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(file);
    read(&path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_tables_are_those_of_the_code() {
    let path: PathBuf = document::path();
    let renewed = document::renewed(&path).unwrap();
    let stale = "docs/observing.md is stale: run `cargo run -p mcr-lab -- document`";
    assert!(read(&path) == renewed, "{stale}");
}

/// As it stands, and with everything in it that is commented out: such lines have no space behind
/// their mark.
#[test]
fn the_commented_configuration_is_one() {
    let text = packaging("mcr.toml");
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c != ' ') || setting.starts_with("   ") => {
            setting.to_owned()
        }
        _ => line.to_owned(),
    };
    let whole = text.lines().map(uncommented).collect::<Vec<_>>().join("\n");
    let as_it_stands = Config::parse(&text, "mcr.toml").unwrap();
    assert!(as_it_stands.rules.is_empty());
    let whole = Config::parse(&whole, "mcr.toml").unwrap();
    assert_eq!(whole.rules.len(), 3);
    assert_eq!((whole.rings.size.slots, whole.rings.interfaces.len()), (Some(4096), 1));
}

#[test]
fn the_text_names_metrics_that_there_are() {
    let samples: BTreeSet<String> = Metric::ALL.iter().flat_map(|m| m.samples()).collect();
    let families: BTreeSet<&str> = Metric::ALL.iter().map(|m| m.description().family).collect();
    let text = read(&document::path());
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = text.split(|c| !is_word(c)).filter(|word| word.starts_with("mcr_"));
    let named: BTreeSet<&str> = named.collect();
    assert!(named.len() > Metric::ALL.len() / 2, "{named:?}");
    for name in named {
        assert!(samples.contains(name) || families.contains(name), "there is no {name}");
    }
}

/// Every value of these keys, wherever it stands.
fn texts<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if keys.contains(&key.as_str()) => found.push(text),
                    _ => texts(member, keys, found),
                }
            }
        }
        Value::Array(members) => members.iter().for_each(|member| texts(member, keys, found)),
        _ => {}
    }
}

/// The panels of a dashboard, those in folded rows included.
fn panels(value: &Value) -> Vec<&Value> {
    let own = value["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    own.iter().flat_map(|panel| std::iter::once(panel).chain(panels(panel))).collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard: Value = serde_json::from_str(&packaging("grafana-dashboard.json")).unwrap();
    let mut queries = 0;
    for panel in panels(&dashboard) {
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        for target in targets {
            let query = target["expr"].as_str().expect("a query");
            let labels = check(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            for name in placeholders(legend) {
                assert!(labels.contains(name), "{query} has no label {name} for {legend}");
            }
            queries += 1;
        }
        let is_row = panel["type"] == "row";
        assert!(is_row || !targets.is_empty(), "{} asks for nothing", panel["title"]);
    }
    assert!(queries >= 20, "{queries} queries");
    let mut variables = Vec::new();
    texts(&dashboard["templating"], &["definition", "query"], &mut variables);
    let variables = variables.into_iter().filter(|text| text.starts_with("label_values"));
    let variables: Vec<_> = variables.collect();
    assert!(!variables.is_empty());
    for variable in variables {
        let inner = variable.trim_start_matches("label_values(").trim_end_matches(')');
        let (query, label) = inner.rsplit_once(',').expect("a query and a label");
        let labels = check(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(labels.contains(label.trim()), "{variable}");
    }
}

#[test]
fn panels_have_places_of_their_own() {
    let dashboard: Value = serde_json::from_str(&packaging("grafana-dashboard.json")).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{} again", panel["id"]);
        let of = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(of("x") + of("w") <= 24, "{} is too wide", panel["title"]);
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(taken.insert((x, y)), "{} covers another", panel["title"]);
            }
        }
    }
}

/// The names in `{{...}}`.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()))
}

#[test]
fn the_alerts_ask_for_what_there_is() {
    let file = YamlLoader::load_from_str(&packaging("prometheus-alerts.yml")).unwrap();
    let groups = file[0]["groups"].as_vec().expect("groups");
    let alerts: Vec<&Yaml> =
        groups.iter().flat_map(|group| group["rules"].as_vec().expect("rules")).collect();
    assert!(alerts.len() >= 12, "{} alerts", alerts.len());
    let mut names = BTreeSet::new();
    for alert in alerts {
        let name = alert["alert"].as_str().expect("a name");
        assert!(names.insert(name), "{name} stands twice");
        let query = alert["expr"].as_str().expect("a query");
        let labels = check(query).unwrap_or_else(|error| panic!("{name}: {query}: {error}"));
        let severity = alert["labels"]["severity"].as_str().expect("a severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        for key in ["summary", "description"] {
            let text = alert["annotations"][key].as_str().expect("an annotation");
            for placeholder in placeholders(text) {
                let Some(label) = placeholder.strip_prefix("$labels.") else { continue };
                assert!(labels.contains(label), "{name}: {query} has no label {label}");
            }
        }
    }
}

/// Words of a document's mean sentence.
const MEAN_WORDS: usize = 17;

/// The words of each sentence of a document's prose: no code, no tables, no heads. A point of a
/// list begins a sentence.
fn sentences(text: &str) -> Vec<usize> {
    let (mut prose, mut in_code) = (String::new(), false);
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code || line.is_empty() || line.starts_with(['|', '#', '!', '<']) {
            prose.push_str(". ");
        } else {
            let point = line.strip_prefix("- ").map(|point| format!(". {point}"));
            prose.push_str(point.as_deref().unwrap_or(line));
            prose.push(' ');
        }
    }
    let outside = prose.split('`').enumerate();
    let prose: String = outside.map(|(n, text)| if n % 2 == 0 { text } else { "x" }).collect();
    let ends = [". ", "! ", "? ", ".** "];
    let prose = ends.iter().fold(prose, |prose, end| prose.replace(end, "\n"));
    prose.lines().map(|sentence| sentence.split_whitespace().count()).filter(|n| *n > 2).collect()
}

#[test]
fn sentences_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let names = ["README", "ARCHITECTURE", "SECURITY", "CONTRIBUTING", "CHANGELOG"];
    let names = names.map(|name| format!("{name}.md")).into_iter();
    let pages = ["observing", "performance", "reference"].map(|name| format!("docs/{name}.md"));
    for name in names.chain(pages) {
        let sentences = sentences(&read(&root.join(&name)));
        let (words, count) = (sentences.iter().sum::<usize>(), sentences.len());
        println!("{name}: {count} sentences, {words} words");
        assert!(count > 0 && words <= MEAN_WORDS * count, "{name}: {words} words in {count}");
    }
}

#[test]
fn a_point_of_a_list_and_code_are_no_part_of_a_sentence() {
    let text = "# Head\n\nOne two three four. Five `six` seven\n- eight nine ten\n```\ncode\n```\n";
    assert_eq!(sentences(text), [4, 3, 3]);
}
