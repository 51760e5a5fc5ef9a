//! A network that outlives the relay's interface to it: a host, and a switch between the two.
//!
//! ```text
//!  source          switch                relay
//!  host0 --------- to_host   to_relay -- nic0
//! ```
//! What the host sends goes as far as the switch, whatever becomes of `nic0`, and what the relay
//! reports there comes to the host.

use std::net::SocketAddr;

use anyhow::Result;
use mcr_lab::generator::Generator;
use mcr_lab::namespace::Namespace;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{address, link};

/// The relay's interface.
pub(super) const NIC: &str = "nic0";

const HOST: &str = "host0";

/// Datagrams a second of a stream: a tenth of what the test bed carries without loss.
const RATE: u64 = 1_000;

/// The switch and what hangs on it.
#[derive(Debug)]
pub(super) struct Switch {
    host: Namespace,
    between: Namespace,
    relay: Namespace,
}

impl Switch {
    /// Without an interface of the relay's as yet.
    pub(super) fn make(net: &RelayTopology) -> Result<Self> {
        let switch = Namespace::new("switch")?;
        link::add_bridge(&switch, "bridge")?;
        link::set_up(&switch, "bridge")?;
        link::veth_pair((&net.source, HOST), (&switch, "to_host"))?;
        let made = Self { host: net.source.clone(), between: switch, relay: net.relay.clone() };
        made.connect("to_host")?;
        for (address, bits) in [("192.0.2.1", 24), ("2001:db8:77::1", 64)] {
            address::add_address(&made.host, HOST, address.parse()?, bits)?;
        }
        link::set_up(&made.host, HOST)?;
        link::wait_until_up(&made.host, HOST)?;
        Ok(made)
    }

    /// Makes the relay's interface, with that index if it is not 0, and sets it up.
    pub(super) fn plug(&self, index: u32) -> Result<()> {
        link::veth_pair_with_index(index, (&self.relay, NIC), (&self.between, "to_relay"))?;
        self.connect("to_relay")?;
        link::set_up(&self.relay, NIC)
    }

    /// Deletes the relay's interface.
    pub(super) fn unplug(&self) -> Result<()> {
        link::delete_link(&self.relay, NIC)
    }

    /// Gives every link from the host to the relay this MTU.
    pub(super) fn set_mtu(&self, bytes: u32) -> Result<()> {
        link::set_mtu(&self.host, HOST, bytes)?;
        link::set_mtu(&self.between, "to_host", bytes)?;
        link::set_mtu(&self.between, "to_relay", bytes)?;
        link::set_mtu(&self.relay, NIC, bytes)
    }

    /// The host's end, to listen at.
    pub(super) fn host(&self) -> (&Namespace, &'static str) {
        (&self.host, HOST)
    }

    /// Sends from the host.
    pub(super) fn generator(&self) -> Generator {
        Generator::new(&self.host, HOST)
    }

    fn connect(&self, port: &str) -> Result<()> {
        link::enslave(&self.between, port, "bridge")?;
        link::set_up(&self.between, port)
    }
}

/// A stream that only [`mcr_lab::generator::RunningGenerator::stop`] ends.
pub(super) fn endless(generator: Generator, stream: u32, to: SocketAddr) -> Generator {
    generator.flow(stream, to).rate(RATE).count(mcr_lab::limits::MAX_SEQUENCE).payload_bytes(200)
}
