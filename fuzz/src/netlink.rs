//! The kernel's lists of links and addresses.

use mcr_supervisor::observed;

/// Reads the bytes as one list of both: every interface in it is one that rules may name.
pub fn netlink(data: &[u8]) {
    let Some(interfaces) = observed(data) else { return };
    for interface in interfaces.iter() {
        let name = interface.name.as_str();
        assert_eq!(name.parse().as_ref(), Ok(&interface.name));
        assert_eq!(interfaces.named(&interface.name), Some(interface));
        assert!(interfaces.numbered(interface.index).is_some());
        for address in &interface.addresses {
            let source = interface.source_for(*address).expect("it has one of that family");
            assert_eq!(source.is_ipv4(), address.is_ipv4());
        }
    }
}
