//! The kernel's answers to a request for all links or all addresses.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::packet_core::{NLM_F_DUMP_INTR, NetlinkMessage, NetlinkPayload};

/// The listed links and addresses, and how well they were listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) links: Vec<LinkMessage>,
    pub(super) addresses: Vec<AddressMessage>,
    interrupted: bool,
    ended: bool,
}

impl Listing {
    /// Takes the next answer.
    pub(super) fn take(
        &mut self,
        answer: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Result<(), rtnetlink::Error> {
        self.interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                self.links.push(link);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                self.addresses.push(address);
            }
            NetlinkPayload::Error(error) => return Err(rtnetlink::Error::NetlinkError(error)),
            NetlinkPayload::Done(_) => self.ended = true,
            _ => return Err(rtnetlink::Error::UnexpectedMessage(answer)),
        }
        Ok(())
    }

    /// Whether something changed meanwhile, so that some of it may be missing or there twice
    /// (netlink(7): "the dump was interrupted").
    pub(super) fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether the kernel came to the end.
    pub(super) fn is_whole(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::{DoneMessage, NLM_F_MULTIPART, NetlinkHeader};

    use super::*;

    fn answer(
        flags: u16,
        payload: NetlinkPayload<RouteNetlinkMessage>,
    ) -> NetlinkMessage<RouteNetlinkMessage> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_MULTIPART | flags;
        NetlinkMessage::new(header, payload)
    }

    fn link(flags: u16) -> NetlinkMessage<RouteNetlinkMessage> {
        answer(flags, RouteNetlinkMessage::NewLink(LinkMessage::default()).into())
    }

    fn end(flags: u16) -> NetlinkMessage<RouteNetlinkMessage> {
        answer(flags, NetlinkPayload::Done(DoneMessage::default()))
    }

    /// How many links, whether interrupted, whether whole.
    fn taken(
        answers: impl IntoIterator<Item = NetlinkMessage<RouteNetlinkMessage>>,
    ) -> (usize, bool, bool) {
        let mut listing = Listing::default();
        for answer in answers {
            listing.take(answer).unwrap();
        }
        (listing.links.len(), listing.was_interrupted(), listing.is_whole())
    }

    #[test]
    fn a_change_in_between_is_known_from_any_answer() {
        assert_eq!(taken([link(0), link(0), end(0)]), (2, false, true));
        assert_eq!(taken([link(0), link(NLM_F_DUMP_INTR), end(0)]), (2, true, true));
        assert_eq!(taken([link(0), end(NLM_F_DUMP_INTR)]), (1, true, true));
    }

    #[test]
    fn without_its_end_it_is_not_whole() {
        assert_eq!(taken([link(0)]), (1, false, false));
        assert_eq!(taken([]), (0, false, false));
    }
}
