//! Events and log levels for people.

use mcr_api::control::Event;
use mcr_api::log::Levels;

/// As many characters as the longest kind of an event has.
const KIND_WIDTH: usize = "configuration_reloaded".len();

/// The event as one line: when, what, and a sentence.
pub(crate) fn line(event: &Event) -> String {
    let kind = event.kind.to_string();
    let line = format!("{}  {kind:KIND_WIDTH$}  {}", event.time, event.message);
    line.replace(char::is_control, " ") + "\n"
}

/// `all areas: info; ingress: debug`.
pub(super) fn levels(levels: &Levels) -> String {
    let others = levels.areas.iter().filter(|(_, level)| **level != levels.level);
    let each = others.map(|(area, level)| format!("{area}: {level}"));
    let all = std::iter::once(format!("all areas: {}", levels.level)).chain(each);
    all.collect::<Vec<_>>().join("; ") + "\n"
}

#[cfg(test)]
mod tests {
    use mcr_api::control::{About, EventKind};
    use mcr_api::log::{Area, Level};

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let about = About { rule: Some(3), ..About::default() };
        let message = "rule 3 (a\u{1b}b) can relay".into();
        let event = Event::new(1, 0, EventKind::RuleActive, about, message);
        assert_eq!(
            line(&event),
            "1970-01-01T00:00:00.000Z  rule_active             rule 3 (a b) can relay\n"
        );
    }

    #[test]
    fn areas_with_a_level_of_their_own_are_named() {
        let mut all = Levels::default();
        assert_eq!(levels(&all), "all areas: info\n");
        all.set(Some(Area::Ingress), Level::Debug);
        all.set(Some(Area::Rules), Level::Info);
        assert_eq!(levels(&all), "all areas: info; ingress: debug\n");
    }
}
