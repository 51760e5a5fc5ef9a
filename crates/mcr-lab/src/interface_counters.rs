//! What the kernel counted on an interface: loss there is the test bed's, not the relay's.

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// Counters of one interface since it was made (`/proc/net/dev`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames the kernel dropped on receipt.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames dropped on sending; for veth, those its other end would not take.
    pub tx_dropped: u64,
}

/// Reads the counters of an interface.
pub fn interface_counters(namespace: &Namespace, ifname: &str) -> Result<InterfaceCounters> {
    parse(&namespace.read_proc_net("dev")?, ifname)
        .with_context(|| format!("{}: no counters for {ifname}", namespace.label()))
}

fn parse(text: &str, ifname: &str) -> Option<InterfaceCounters> {
    let (_, counters) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == ifname)?;
    let column: Vec<u64> =
        counters.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(InterfaceCounters {
        rx_packets: *column.get(1)?,
        rx_dropped: *column.get(3)?,
        tx_packets: *column.get(9)?,
        tx_dropped: *column.get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
         colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0 \
         0       0          0
  in0:12345      99    0    3    0     0          0         7     2222      22    0    5    0 \
         0       0          0
";

    #[test]
    fn the_columns_of_an_interface_are_found() {
        let expected =
            InterfaceCounters { rx_packets: 99, rx_dropped: 3, tx_packets: 22, tx_dropped: 5 };
        assert_eq!(parse(DEV, "in0"), Some(expected));
        assert_eq!(parse(DEV, "in"), None);
    }
}
