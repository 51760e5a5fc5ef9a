//! An input or output of a rule: `ADDRESS:PORT@INTERFACE`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::limits;

/// A network interface's name as the kernel accepts it (`dev_valid_name` in `net/core/dev.c`): not
/// `.` or `..`, without `/`, `:` and white space. An alternative name (`ip link property add`) may
/// have 127 bytes, the name itself 15.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(Box<str>);

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let valid = (1..=limits::INTERFACE_NAME_BYTES).contains(&text.len())
            && text != "."
            && text != ".."
            && !text.contains(|c: char| c == '/' || c == ':' || c == '@' || c.is_whitespace())
            && !text.contains(char::is_control);
        if valid { Ok(Self(text.into())) } else { Err(EndpointError::Interface(text.into())) }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One side of a rule: an address and a port on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The multicast group or the unicast address.
    pub address: IpAddr,
    /// The UDP port, never 0.
    pub port: u16,
    /// The interface on which datagrams to this address arrive or leave.
    pub interface: InterfaceName,
}

impl Endpoint {
    /// Address and port together.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (address, interface) =
            text.rsplit_once('@').ok_or_else(|| EndpointError::Form(text.into()))?;
        if let Some((address, name)) = address.split_once('@') {
            let [given, name] = [format!("{name}@{interface}"), format!("{address}@{name}")];
            return Err(EndpointError::Peer { given, suffix: interface.into(), meant: name });
        }
        let interface = interface.parse()?;
        let address: SocketAddr =
            address.parse().map_err(|_| EndpointError::Address(address.into()))?;
        check_address(address.ip())?;
        if address.port() == 0 {
            return Err(EndpointError::Port(text.into()));
        }
        Ok(Self { address: address.ip(), port: address.port(), interface })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.socket_address(), self.interface)
    }
}

/// No address that a relay can neither receive nor send to: RFC 1122, section 3.2.1.3 (0/8),
/// RFC 1112, section 4 (240/4), and an IPv4 address dressed as IPv6.
fn check_address(address: IpAddr) -> Result<(), EndpointError> {
    let refused = match address {
        IpAddr::V4(v4) => is_reserved(v4) && !v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.to_ipv4_mapped().is_some(),
    };
    if refused { Err(EndpointError::Unusable(address)) } else { Ok(()) }
}

/// 0/8, or 240/4 with the limited broadcast address.
pub(crate) fn is_reserved(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first == 0 || first >= 240
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No `@`.
    #[error("{0:?} is not ADDRESS:PORT@INTERFACE, such as 239.1.1.1:5000@eth0")]
    Form(String),
    /// The text before the `@` is no address with a port.
    #[error("{0:?} is not ADDRESS:PORT (IPv6 in brackets: [ff3e::1234]:5000)")]
    Address(String),
    /// The address can be neither received nor sent to.
    #[error("{0} is the address of no host, group or broadcast{why}", why = reserved(*.0))]
    Unusable(IpAddr),
    /// The interface stands as `ip link` prints it.
    #[error("{given:?}: @{suffix} is not part of the name, `ip link` adds the peer: {meant}")]
    Peer {
        /// The text behind the first `@`.
        given: String,
        /// The text that does not belong there.
        suffix: String,
        /// The endpoint without it.
        meant: String,
    },
    /// Port 0.
    #[error("port 0 in {0:?}: a port from 1 to 65535 is needed")]
    Port(String),
    /// The text behind the `@` is no interface name.
    #[error("{0:?} is not an interface name (1 to 127 characters, no space, '/', ':' or '@')")]
    Interface(String),
}

fn reserved(address: IpAddr) -> &'static str {
    if address.is_ipv4() { " (0.0.0.0/8 and 240.0.0.0/4 are reserved)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "255.255.255.255:5@eth0",
            "239.1.1.1:5000@eth0",
            "[ff3e::1234]:5000@eth0.100",
            "10.0.0.1:1@a",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert!(matches!(error("239.1.1.1:5000"), EndpointError::Form(_)));
        assert!(matches!(error("239.1.1.1@eth0"), EndpointError::Address(_)));
        assert!(matches!(error("ff3e::1:5000@eth0"), EndpointError::Address(_)));
        assert!(matches!(error("239.1.1.1:0@eth0"), EndpointError::Port(_)));
        assert!(matches!(error("0.0.0.0:5@eth0"), EndpointError::Unusable(_)));
        assert!(matches!(error("0.1.2.3:5@eth0"), EndpointError::Unusable(_)));
        assert!(matches!(error("240.0.0.1:5@eth0"), EndpointError::Unusable(_)));
        assert!(matches!(error("[::ffff:1.2.3.4]:5@eth0"), EndpointError::Unusable(_)));
        assert!(matches!(error("239.1.1.1:5000@"), EndpointError::Interface(_)));
        let long = format!("239.1.1.1:5@{}", "n".repeat(128));
        assert!(matches!(error(&long), EndpointError::Interface(_)));
        let message = error("239.1.1.1:5000@in0@if5").to_string();
        assert!(message.ends_with("adds the peer: 239.1.1.1:5000@in0"), "{message}");
        assert!(matches!(error("239.1.1.1:5000@a b"), EndpointError::Interface(_)));
    }
}
