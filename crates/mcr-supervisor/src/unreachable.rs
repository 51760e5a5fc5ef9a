//! ICMP destination-unreachable reports: read as they come, counted for the outputs they concern.

use std::collections::HashMap;
use std::net::SocketAddr;

use mcr_core::rule::Rule;
use mcr_sys::icmp::{Message, Unreachable, UnreachableReports};
use mcr_sys::sockaddr::Family;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::debug;

use crate::event::Event;
use crate::limits;
use crate::privileged;
use crate::readiness::watch;

/// How many reports there were about each output's destination. Outputs of the same destination
/// share the count, since a report does not tell them apart.
#[derive(Debug, Default)]
pub(crate) struct UnreachableCounts(HashMap<SocketAddr, Count>);

#[derive(Debug, Default)]
struct Count {
    outputs: u32,
    reports: u64,
}

impl UnreachableCounts {
    /// Begins to count for a rule's outputs.
    pub(crate) fn watch(&mut self, rule: &Rule) {
        for output in &rule.outputs {
            self.0.entry(output.endpoint.socket_address()).or_default().outputs += 1;
        }
    }

    /// Ends what [`Self::watch`] began.
    pub(crate) fn unwatch(&mut self, rule: &Rule) {
        for output in &rule.outputs {
            let destination = output.endpoint.socket_address();
            if let Some(count) = self.0.get_mut(&destination) {
                count.outputs -= 1;
                if count.outputs == 0 {
                    self.0.remove(&destination);
                }
            }
        }
    }

    /// Counts a report if it quotes a datagram of ours to an output. Anyone can send reports, so
    /// nothing is stored for a destination that is none.
    pub(crate) fn count(&mut self, report: &Unreachable, is_ours: impl Fn(SocketAddr) -> bool) {
        let count = self.0.get_mut(&report.original_destination);
        if let Some(count) = count.filter(|_| is_ours(report.original_source)) {
            count.reports += 1;
        }
    }

    /// The reports about a destination.
    pub(crate) fn reports(&self, destination: SocketAddr) -> u64 {
        self.0.get(&destination).map_or(0, |count| count.reports)
    }
}

/// Reads the reports of both families as they come. Without the permission there are none.
pub(crate) fn collect(events: &mpsc::Sender<Event>) {
    for family in [Family::V4, Family::V6] {
        let opened = privileged::unreachable_reports(family).map_err(|error| error.to_string());
        match opened.and_then(|r| watch(r).map_err(|error| error.to_string())) {
            Ok(reports) => {
                tokio::spawn(forward(reports, events.clone()));
            }
            Err(error) => debug!("unreachable destinations will not be counted: {error}"),
        }
    }
}

async fn forward(socket: AsyncFd<UnreachableReports>, events: mpsc::Sender<Event>) {
    while let Ok(mut ready) = socket.readable().await {
        let mut reports = Vec::new();
        for _ in 0..limits::REPORTS_AT_ONCE {
            match ready.get_inner().read() {
                Ok(Message::Unreachable(report)) => reports.push(report),
                Ok(Message::Unrelated) => {}
                Ok(Message::NoneWaiting) => {
                    ready.clear_ready();
                    break;
                }
                Err(error) => {
                    debug!("reading ICMP reports: {error}");
                    return;
                }
            }
        }
        drop(ready);
        if !reports.is_empty() && events.send(Event::Unreachable(reports)).await.is_err() {
            return;
        }
        // Anybody may send as many as the link carries, and here they may be read as fast as they
        // come. What does not fit the socket's queue meanwhile is not counted.
        sleep(limits::REPORTS_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use mcr_core::endpoint::Endpoint;
    use mcr_core::rule::InputKey;

    use super::*;

    fn rule(output: &str) -> Rule {
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        let input = InputKey { endpoint: endpoint("239.0.0.1:1@eth0"), source: None };
        Rule { name: None, input, outputs: vec![endpoint(output).into()], exclusive: false }
    }

    fn report(from: &str, to: &str) -> Unreachable {
        Unreachable {
            reporter: [10, 0, 0, 9].into(),
            original_source: from.parse().unwrap(),
            original_destination: to.parse().unwrap(),
            code: 3,
        }
    }

    #[test]
    fn only_our_own_datagrams_to_an_output_count() {
        let ours: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        let to: SocketAddr = "10.0.0.2:5000".parse().unwrap();
        let mut counts = UnreachableCounts::default();
        counts.watch(&rule("10.0.0.2:5000@eth1"));
        counts.count(&report("10.0.0.1:4000", "10.0.0.2:5000"), |source| source == ours);
        counts.count(&report("10.0.0.1:4001", "10.0.0.2:5000"), |source| source == ours);
        counts.count(&report("10.0.0.1:4000", "10.0.0.2:5001"), |source| source == ours);
        assert_eq!(counts.reports(to), 1);
        assert_eq!(counts.0.len(), 1, "a stranger's report takes no memory");
        counts.watch(&rule("10.0.0.2:5000@eth2"));
        counts.unwatch(&rule("10.0.0.2:5000@eth1"));
        assert_eq!(counts.reports(to), 1);
        counts.unwatch(&rule("10.0.0.2:5000@eth2"));
        assert_eq!(counts.reports(to), 0);
    }
}
