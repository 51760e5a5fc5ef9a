//! The judgement: whatever is not as it should be, and where it went wrong.

use super::console::grouped;
use super::kernel_alone::KernelAlone;
use super::relaying::{Arrivals, Relayed};
use crate::identity;

/// Everything that is not as it should be, a sentence each; none if all is well.
pub(super) fn findings(kernel: &KernelAlone, relayed: &Relayed) -> Vec<String> {
    let sent = relayed.generator.total();
    let mut findings = of_kernel(kernel);
    findings.extend(relayed.arrivals.iter().flat_map(|arrivals| of_output(arrivals, sent)));
    findings.extend(places_of_loss(relayed));
    if let Err(violations) = identity::check(&relayed.stats) {
        findings.push(violations.to_string());
    }
    findings
}

fn of_kernel(kernel: &KernelAlone) -> Vec<String> {
    let mut findings = Vec::new();
    if kernel.routable.contains(&0) {
        findings.push("the kernel's multicast routing does not work at all here".into());
    }
    if kernel.unroutable.iter().any(|delivered| *delivered > 0) || kernel.refused == 0 {
        findings.push("the kernel's reverse-path check let the unroutable source pass".into());
    }
    findings
}

fn of_output(arrivals: &Arrivals, sent: u64) -> Vec<String> {
    let (endpoint, stream) = (arrivals.output.endpoint(), &arrivals.stream);
    let mut findings = Vec::new();
    let invented = stream.unique.saturating_sub(sent) + stream.beyond_limit + arrivals.strays;
    let faults: Vec<String> = [
        (stream.lost(sent), "lost"),
        (stream.duplicated, "duplicated"),
        (stream.reordered, "reordered"),
        (stream.corrupt, "corrupt"),
        (invented, "that nobody sent"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, fault)| format!("{} {fault}", grouped(*count)))
    .collect();
    if !faults.is_empty() {
        findings.push(format!("{endpoint}: {}", faults.join(", ")));
    }
    let relay = arrivals.output.relay_address();
    if let Some(other) = stream.origins.iter().find(|origin| origin.ip() != relay) {
        findings.push(format!("{endpoint}: came from {other}, not from the relay's {relay}"));
    }
    findings
}

/// Every place where datagrams were lost, by its own count.
fn places_of_loss(relayed: &Relayed) -> Vec<String> {
    let totals = &relayed.stats.totals;
    let links = relayed.link_drops.iter().map(|(ifname, lost)| {
        (*lost, format!("by the test bed's link behind {ifname}: this machine is too busy"))
    });
    let ring = (totals.kernel_drops, "by the kernel, because MCR's ring was full".to_owned());
    let drops = totals.drops.iter().map(|(reason, lost)| (*lost, format!("by MCR, as {reason}")));
    let outputs = relayed.stats.rules.iter().flat_map(|rule| &rule.outputs);
    let errors = outputs.flat_map(|output| {
        let to = &output.to;
        let text = move |reason| format!("on sending to {to}, as {reason}");
        output.errors.iter().map(move |(reason, lost)| (*lost, text(reason)))
    });
    let sockets = relayed.arrivals.iter().map(|arrivals| {
        let to = arrivals.output.endpoint();
        (arrivals.socket_drops, format!("by the test bed's receiver of {to}, which was too slow"))
    });
    links
        .chain([ring])
        .chain(drops)
        .chain(errors)
        .chain(sockets)
        .filter(|(lost, _)| *lost > 0)
        .map(|(lost, place)| format!("{} lost {place}", grouped(lost)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{kernel_alone, relayed};
    use super::*;

    #[test]
    fn a_perfect_run_has_no_findings() {
        assert_eq!(findings(&kernel_alone(), &relayed()), Vec::<String>::new());
    }

    #[test]
    fn the_kernel_must_deliver_what_it_can_and_nothing_else() {
        let mut passed = kernel_alone();
        passed.unroutable[1] = 1;
        let mut broken = kernel_alone();
        broken.routable[0] = 0;
        let mut unseen = kernel_alone();
        unseen.refused = 0;
        for (kernel, words) in
            [(passed, "let the unroutable"), (broken, "does not work"), (unseen, "let the unrout")]
        {
            let found = findings(&kernel, &relayed());
            assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
        }
    }

    #[test]
    fn losses_are_found_with_their_places() {
        let mut lossy = relayed();
        lossy.arrivals[2].stream.unique -= 5;
        lossy.arrivals[2].stream.duplicated = 2;
        lossy.arrivals[2].socket_drops = 1;
        lossy.link_drops.insert("out1", 1_004);
        lossy.stats.rules[0].outputs[0].errors.insert("queue_full".into(), 2);
        lossy.stats.totals.drops.insert("no_rule".into(), 3);
        let found = findings(&kernel_alone(), &lossy);
        assert_eq!(
            found[..5],
            [
                "10.2.1.2:7000@out1: 5 lost, 2 duplicated",
                "1,004 lost by the test bed's link behind out1: this machine is too busy",
                "3 lost by MCR, as no_rule",
                "2 lost on sending to 239.2.2.2:6000@out0, as queue_full",
                "1 lost by the test bed's receiver of 10.2.1.2:7000@out1, which was too slow",
            ]
        );
        assert!(found[5].contains("identity"), "{found:?}");
    }

    #[test]
    fn each_fault_of_a_stream_is_named() {
        let mut wild = relayed();
        let stream = &mut wild.arrivals[0].stream;
        stream.unique += 1;
        (stream.reordered, stream.corrupt, stream.beyond_limit) = (1_000, 4, 1);
        wild.arrivals[0].strays = 1;
        let found = findings(&kernel_alone(), &wild);
        assert_eq!(found, ["239.2.2.2:6000@out0: 1,000 reordered, 4 corrupt, 3 that nobody sent"]);
    }

    #[test]
    fn a_foreign_source_is_found() {
        let mut foreign = relayed();
        foreign.arrivals[0].stream.origins.insert("198.51.100.10:9".parse().unwrap());
        let found = findings(&kernel_alone(), &foreign);
        assert_eq!(
            found,
            ["239.2.2.2:6000@out0: came from 198.51.100.10:9, not from the relay's 10.2.0.1"]
        );
    }
}
