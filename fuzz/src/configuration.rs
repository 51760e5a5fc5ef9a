//! The configuration file.

use mcr_api::config::Config;
use mcr_api::rule::RuleSpec;

use crate::control::add_rule;

/// Reads the bytes as a file: it is right, or an error names one of its lines.
pub fn configuration(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let lines = text.matches('\n').count() + 1;
    match Config::parse(text, "mcr.toml") {
        Ok(config) => {
            let mut last = 0;
            for configured in &config.rules {
                assert!(last < configured.line || configured.line == 1, "in the file's order");
                last = configured.line;
                assert!((1..=lines).contains(&configured.line));
                assert_eq!(configured.rule.check(), Ok(()));
                add_rule(RuleSpec::from(&configured.rule));
            }
        }
        Err(error) => {
            assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
            assert!(!error.cause.is_empty());
            assert!(error.to_string().starts_with("mcr.toml:"));
        }
    }
}
