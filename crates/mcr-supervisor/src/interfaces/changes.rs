//! Changes of the interfaces between two readings, for people to be told.

use std::collections::{BTreeMap, BTreeSet};

use mcr_api::control::EventKind;
use mcr_core::endpoint::InterfaceName;
use mcr_core::ids::IfIndex;
use mcr_core::interfaces::{Interface, Interfaces};

/// A change of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: EventKind,
    /// Its name, before the change where it is gone or renamed.
    pub(crate) name: InterfaceName,
    /// The name that it has now, where that is another one.
    pub(crate) renamed: Option<InterfaceName>,
    pub(crate) message: String,
}

/// Incidents that two readings cannot show, because they were over before the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between<'a> {
    /// Interfaces that are not the same any more, though another one may have their number.
    pub(crate) gone: &'a BTreeSet<IfIndex>,
    /// Interfaces that were down for a while.
    pub(crate) were_down: &'a BTreeSet<IfIndex>,
}

/// Each change, by the order of names.
pub(crate) fn changes(before: &Interfaces, after: &Interfaces, between: Between) -> Vec<Change> {
    let mut changes = Vec::new();
    let (by_number_before, by_number_after) = (by_number(before), by_number(after));
    let is_same = |interface: &Interface| !between.gone.contains(&interface.index);
    for old in before.iter() {
        let same = by_number_after.get(&old.index).filter(|_| is_same(old));
        match same {
            None => changes.push(Change::new(
                EventKind::InterfaceGone,
                old,
                "is gone; its rules wait for it",
            )),
            Some(new) => changes.extend(altered(old, new, between.were_down)),
        }
    }
    for new in after.iter() {
        if !is_same(new) || !by_number_before.contains_key(&new.index) {
            let what = format!("appeared: {}", describe(new));
            changes.push(Change::new(EventKind::InterfaceAppeared, new, &what));
        }
    }
    changes
}

fn by_number(interfaces: &Interfaces) -> BTreeMap<IfIndex, &Interface> {
    interfaces.iter().map(|interface| (interface.index, interface)).collect()
}

fn altered(old: &Interface, new: &Interface, were_down: &BTreeSet<IfIndex>) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.name != new.name {
        let what = format!("is called {} now", new.name);
        let renamed = Some(new.name.clone());
        changes.push(Change { renamed, ..Change::new(EventKind::InterfaceRenamed, old, &what) });
    }
    let flapped = old.up && new.up && were_down.contains(&new.index);
    if (old.up && !new.up) || flapped {
        changes.push(Change::new(EventKind::InterfaceDown, new, "is down"));
    }
    if (!old.up && new.up) || flapped {
        let state = if new.carrier { "is up" } else { "is up, and has no carrier" };
        changes.push(Change::new(EventKind::InterfaceUp, new, state));
    }
    if old.up && new.up && old.carrier && !new.carrier {
        changes.push(Change::new(EventKind::InterfaceCarrierLost, new, "lost its carrier"));
    }
    if old.up && new.up && !old.carrier && new.carrier {
        changes.push(Change::new(EventKind::InterfaceCarrierFound, new, "has a carrier again"));
    }
    let rest = |i: &Interface| (i.mtu, i.addresses.clone(), i.controller, i.link);
    if rest(old) != rest(new) {
        let what = format!("changed: {}", describe(new));
        changes.push(Change::new(EventKind::InterfaceChanged, new, &what));
    }
    changes
}

impl Change {
    fn new(kind: EventKind, interface: &Interface, what: &str) -> Self {
        let message = format!("interface {} {what}", interface.name);
        Self { kind, name: interface.name.clone(), renamed: None, message }
    }
}

/// `index 4, up, MTU 1500, addresses 10.0.0.1, fe80::1`.
fn describe(interface: &Interface) -> String {
    let Interface { index, mtu, up, carrier, controller, addresses, .. } = interface;
    let state = match (up, carrier) {
        (false, _) => "down",
        (true, false) => "up, no carrier",
        (true, true) => "up",
    };
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let addresses = if addresses.is_empty() { "none".into() } else { addresses.join(", ") };
    let port = controller.map(|of| format!(", a port of interface {of}")).unwrap_or_default();
    format!("index {index}, {state}, MTU {mtu}{port}, addresses {addresses}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str) -> Interface {
        Interface {
            index: IfIndex(index),
            name: name.parse().unwrap(),
            link: None,
            alternatives: Vec::new(),
            networks: Vec::new(),
            hardware: None,
            mtu: 1500,
            up: true,
            carrier: true,
            controller: None,
            addresses: vec!["10.0.0.1".parse().unwrap()],
        }
    }

    fn between(
        before: Vec<Interface>,
        after: Vec<Interface>,
        gone: &[u32],
        were_down: &[u32],
    ) -> Vec<(EventKind, String)> {
        let set = |numbers: &[u32]| numbers.iter().copied().map(IfIndex).collect();
        let (gone, were_down) = (set(gone), set(were_down));
        let between = Between { gone: &gone, were_down: &were_down };
        let (before, after) = (before.into_iter().collect(), after.into_iter().collect());
        let changes = changes(&before, &after, between);
        changes.into_iter().map(|change| (change.kind, change.message)).collect()
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let same = || vec![interface(1, "a"), interface(2, "b")];
        assert_eq!(between(same(), same(), &[], &[]), []);
    }

    #[test]
    fn each_change_has_its_name() {
        let down = Interface { up: false, ..interface(2, "b") };
        let small = Interface { mtu: 1280, addresses: Vec::new(), ..interface(3, "c") };
        let before =
            vec![interface(1, "a"), interface(2, "b"), interface(3, "c"), interface(4, "d")];
        let after = vec![down, small, interface(4, "e"), interface(5, "f")];
        let told = |kind, message: &str| (kind, message.to_owned());
        let expected = [
            told(EventKind::InterfaceGone, "interface a is gone; its rules wait for it"),
            told(EventKind::InterfaceDown, "interface b is down"),
            told(
                EventKind::InterfaceChanged,
                "interface c changed: index 3, up, MTU 1280, addresses none",
            ),
            told(EventKind::InterfaceRenamed, "interface d is called e now"),
            told(
                EventKind::InterfaceAppeared,
                "interface f appeared: index 5, up, MTU 1500, addresses 10.0.0.1",
            ),
        ];
        assert_eq!(between(before, after, &[], &[]), expected);
    }

    #[test]
    fn a_carrier_comes_and_goes() {
        let without = || vec![Interface { carrier: false, ..interface(1, "a") }];
        let with = || vec![interface(1, "a")];
        let down = || vec![Interface { up: false, carrier: false, ..interface(1, "a") }];
        let one = |before, after| between(before, after, &[], &[]);
        let told = |kind, message: &str| vec![(kind, message.to_owned())];
        let lost = told(EventKind::InterfaceCarrierLost, "interface a lost its carrier");
        assert_eq!(one(with(), without()), lost);
        let found = told(EventKind::InterfaceCarrierFound, "interface a has a carrier again");
        assert_eq!(one(without(), with()), found);
        let up = told(EventKind::InterfaceUp, "interface a is up, and has no carrier");
        assert_eq!(one(down(), without()), up);
        assert_eq!(one(with(), down()), told(EventKind::InterfaceDown, "interface a is down"));
    }

    #[test]
    fn what_was_over_before_it_was_read_is_told() {
        let same = || vec![interface(1, "a")];
        let kinds = |changes: Vec<(EventKind, String)>| -> Vec<EventKind> {
            changes.into_iter().map(|(kind, _)| kind).collect()
        };
        let replaced = kinds(between(same(), same(), &[1], &[]));
        assert_eq!(replaced, [EventKind::InterfaceGone, EventKind::InterfaceAppeared]);
        let flapped = kinds(between(same(), same(), &[], &[1]));
        assert_eq!(flapped, [EventKind::InterfaceDown, EventKind::InterfaceUp]);
    }
}
