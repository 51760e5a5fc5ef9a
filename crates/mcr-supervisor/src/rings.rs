//! How large an interface's rings are, and whether it has a spare one. Pure.

use mcr_api::config::{RingSize, RingsConfig};
use mcr_core::plan::IngressKey;
use mcr_sys::packet::RingGeometry;

use crate::limits;

/// The operator's choice, and the default for the rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rings(RingsConfig);

impl Rings {
    pub(crate) fn new(config: RingsConfig) -> Self {
        Self(config)
    }

    /// The size of the rings in a place of the ledgers. The first interfaces have places of low
    /// numbers.
    pub(crate) fn geometry(&self, key: &IngressKey, place: usize) -> RingGeometry {
        let slot_bytes = key.class.slot_bytes();
        let size = self.0.interfaces.get(&key.interface).unwrap_or(&self.0.size);
        let slots = match *size {
            RingSize { slots: None, bytes: None } if place < limits::FULL_RINGS => {
                key.class.slots()
            }
            RingSize { slots: None, bytes: None } => limits::SMALL_RING_BYTES / slot_bytes,
            RingSize { slots, bytes } => {
                let that_fit = bytes.map(|bytes| (bytes / u64::from(slot_bytes)) as u32);
                slots.into_iter().chain(that_fit).min().unwrap_or(1).max(1)
            }
        };
        RingGeometry::covering(slot_bytes, slots)
    }

    /// Whether the interface in a place has a spare ring.
    pub(crate) fn has_spare(&self, place: usize) -> bool {
        self.0.spare.unwrap_or(place < limits::FULL_RINGS)
    }
}

#[cfg(test)]
mod tests {
    use mcr_core::ids::IfIndex;
    use mcr_core::interfaces::LinkLayer;
    use mcr_core::plan::RingClass;

    use super::*;

    fn key(interface: &str, class: RingClass) -> IngressKey {
        let interface = interface.parse().unwrap();
        IngressKey { ifindex: IfIndex(1), interface, link: LinkLayer::Ethernet, class }
    }

    #[test]
    fn later_interfaces_have_smaller_rings_and_no_spare() {
        let rings = Rings::default();
        let bytes = |place| rings.geometry(&key("eth0", RingClass::Small), place).ring_bytes();
        assert_eq!(bytes(0), 8 << 20);
        assert_eq!(bytes(limits::FULL_RINGS - 1), 8 << 20);
        assert_eq!(bytes(limits::FULL_RINGS), 512 << 10);
        assert!(rings.has_spare(0) && !rings.has_spare(limits::FULL_RINGS));
    }

    #[test]
    fn the_operator_decides() {
        let size = |slots, bytes| RingSize { slots, bytes };
        let rings = Rings::new(RingsConfig {
            size: size(Some(100), None),
            interfaces: [
                ("eth1".parse().unwrap(), size(None, Some(1 << 20))),
                ("eth2".parse().unwrap(), size(Some(64), Some(1 << 30))),
            ]
            .into(),
            spare: Some(true),
        });
        let slots = |interface, class| rings.geometry(&key(interface, class), 200).slots;
        // A block holds 32 small slots and is filled up.
        assert_eq!(slots("eth0", RingClass::Small), 128);
        assert_eq!(slots("eth1", RingClass::Small), 512);
        assert_eq!(slots("eth1", RingClass::Jumbo), 64);
        assert_eq!(slots("eth2", RingClass::Small), 64);
        assert!(rings.has_spare(200));
    }
}
