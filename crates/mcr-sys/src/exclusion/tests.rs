use super::*;
use crate::test_namespace::{ifindex, in_own_namespace, wait_until, with_veth_pair};
use mcr_lab::frame::{Extension, FrameBuilder};
use mcr_lab::namespace::Namespace;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::tap::{Direction, RawTap};
use mcr_lab::{kernel as lab_kernel, link};
use std::net::{SocketAddr, UdpSocket};

mod agreement;

/// The usual capacity: more than any test needs.
const ENTRIES: u32 = 1000;

/// Whether programs can be put to interfaces here; says SKIP where not.
fn tcx_is_there() -> bool {
    lab_kernel::require_tcx().inspect_err(|reason| println!("SKIP: {reason}")).is_ok()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Of any source.
fn taken(ifindex: u32, destination: &str) -> Taken {
    let destination = address(destination);
    Taken { ifindex, address: destination.ip(), port: destination.port(), source: None }
}

const GROUP: &str = "239.1.1.1:5000";

fn frame(to: &str) -> FrameBuilder {
    FrameBuilder::udp(address("198.51.100.7:4000"), address(to)).payload(b"payload")
}

/// What was seen on `vb` by a packet socket, and by the stack behind the ingress hooks.
struct Witnesses {
    tap: RawTap,
    stack: RawTap,
    sender: RawSender,
}

impl Witnesses {
    fn new(namespace: &Namespace) -> Self {
        Self {
            tap: RawTap::open(namespace, "vb").unwrap(),
            stack: RawTap::behind_ingress(namespace, "vb").unwrap(),
            sender: RawSender::open(namespace, "va").unwrap(),
        }
    }

    /// Sends a frame whose payload ends in a mark, and one that nothing excludes; when the latter
    /// has come, tells whether the stack has seen the former, which the tap must have.
    fn goes_on(&self, marked: FrameBuilder, mark: u8) -> bool {
        let payload = |what: u8| [b'#', mark, what];
        let seen = |tap: &RawTap, what| {
            let ends = |f: &mcr_lab::tap::TappedFrame| {
                f.direction == Direction::Received && f.bytes.ends_with(&payload(what))
            };
            tap.frames().iter().any(ends)
        };
        for frame in [marked.payload(&payload(b'?')), frame("239.9.9.9:9").payload(&payload(b'!'))]
        {
            self.sender.send(&frame.build()).unwrap();
        }
        wait_until("the last frame has come", || seen(&self.stack, b'!') && seen(&self.tap, b'!'));
        assert!(seen(&self.tap, b'?'), "the packet sockets come first");
        seen(&self.stack, b'?')
    }
}

#[test]
fn what_is_taken_ends_behind_the_packet_sockets() {
    with_veth_pair(|namespace| {
        if !tcx_is_there() {
            return;
        }
        let witnesses = Witnesses::new(namespace);
        let mut exclusions = Exclusions::create(ENTRIES).unwrap();
        let ours = taken(ifindex("vb"), GROUP);
        exclusions.set(&ours, Fate::Ends).unwrap();
        assert!(witnesses.goes_on(frame(GROUP), 1), "no program yet");
        let link = exclusions.attach("vb", ifindex("vb"), LinkHeader::Ethernet).unwrap();
        assert!(!witnesses.goes_on(frame(GROUP), 2));
        assert!(witnesses.goes_on(frame("239.1.1.1:5001"), 3), "another port");
        assert!(witnesses.goes_on(frame("239.1.1.2:5000"), 4), "another group");
        assert!(witnesses.goes_on(frame(GROUP).vlan(7), 5), "another VLAN");
        assert!(!witnesses.goes_on(frame(GROUP).vlan(0), 6), "a priority tag");
        exclusions.remove(&ours).unwrap();
        assert!(witnesses.goes_on(frame(GROUP), 7), "no entry any more");
        exclusions.set(&taken(ifindex("va"), GROUP), Fate::Ends).unwrap();
        assert!(witnesses.goes_on(frame(GROUP), 8), "another interface's");
        exclusions.set(&ours, Fate::Ends).unwrap();
        assert!(!witnesses.goes_on(frame(GROUP), 9));
        drop(link);
        assert!(witnesses.goes_on(frame(GROUP), 10), "no program any more");
    });
}

#[test]
fn one_source_goes_before_any() {
    with_veth_pair(|namespace| {
        if !tcx_is_there() {
            return;
        }
        let witnesses = Witnesses::new(namespace);
        let mut exclusions = Exclusions::create(ENTRIES).unwrap();
        let _link = exclusions.attach("vb", ifindex("vb"), LinkHeader::Ethernet).unwrap();
        let any = taken(ifindex("vb"), GROUP);
        let one = Taken { source: Some("198.51.100.7".parse().unwrap()), ..any };
        let other = Taken { source: Some("198.51.100.8".parse().unwrap()), ..any };
        exclusions.set(&other, Fate::Ends).unwrap();
        assert!(witnesses.goes_on(frame(GROUP), 1));
        exclusions.set(&one, Fate::Ends).unwrap();
        assert!(!witnesses.goes_on(frame(GROUP), 2));
        exclusions.set(&any, Fate::Ends).unwrap();
        exclusions.set(&one, Fate::GoesOn).unwrap();
        assert!(witnesses.goes_on(frame(GROUP), 3));
        exclusions.remove(&one).unwrap();
        assert!(!witnesses.goes_on(frame(GROUP), 4));
    });
}

/// The copy for local members of what this host sends to a group comes by the ingress of the
/// interface that it leaves by; packet rings do not get it.
#[test]
fn a_local_senders_copy_goes_on() {
    with_veth_pair(|namespace| {
        if !tcx_is_there() {
            return;
        }
        let local = std::net::Ipv4Addr::new(10, 0, 0, 1);
        mcr_lab::address::add_address(namespace, "vb", local.into(), 24).unwrap();
        let mut exclusions = Exclusions::create(ENTRIES).unwrap();
        // Such a copy has no link-layer header on any interface, so that it can be read like this.
        let _link = exclusions.attach("vb", ifindex("vb"), LinkHeader::None).unwrap();
        exclusions.set(&taken(ifindex("vb"), GROUP), Fate::Ends).unwrap();
        let member = UdpSocket::bind(GROUP).unwrap();
        member.join_multicast_v4(&[239, 1, 1, 1].into(), &local).unwrap();
        member.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let sender = socket2::Socket::from(UdpSocket::bind((local, 0)).unwrap());
        sender.set_multicast_if_v4(&local).unwrap();
        UdpSocket::from(sender).send_to(b"to all here", GROUP).unwrap();
        let mut buffer = [0; 100];
        let (length, _) = member.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"to all here");
    });
}

#[test]
fn a_new_interface_of_an_old_number_can_be_attached_to() {
    with_veth_pair(|namespace| {
        if !tcx_is_there() {
            return;
        }
        let mut exclusions = Exclusions::create(ENTRIES).unwrap();
        let number = ifindex("vb");
        exclusions.set(&taken(number, GROUP), Fate::Ends).unwrap();
        let old = exclusions.attach("vb", number, LinkHeader::Ethernet).unwrap();
        link::delete_link(namespace, "vb").unwrap();
        let error = exclusions.attach("vb", number, LinkHeader::Ethernet).unwrap_err();
        assert!(error.to_string().contains("vb") && error.hint.is_some(), "{error}");
        link::veth_pair_with_index(number, (namespace, "vb"), (namespace, "va")).unwrap();
        for end in ["va", "vb"] {
            link::set_up(namespace, end).unwrap();
        }
        for end in ["va", "vb"] {
            link::wait_until_up(namespace, end).unwrap();
        }
        let _new = exclusions.attach("vb", number, LinkHeader::Ethernet).unwrap();
        drop(old);
        assert!(!Witnesses::new(namespace).goes_on(frame(GROUP), 1));
    });
}

#[test]
fn more_entries_than_there_is_room_for_are_refused() {
    if !tcx_is_there() {
        return;
    }
    let exclusions = Exclusions::create(2).unwrap();
    let of = |port: u16| Taken { port, ..taken(1, GROUP) };
    let made = (1..=1000).take_while(|&port| exclusions.set(&of(port), Fate::Ends).is_ok()).count();
    assert_eq!(made, 2);
    let missing = exclusions.remove(&of(999)).unwrap_err();
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    exclusions.remove(&of(1)).unwrap();
    exclusions.set(&of(3), Fate::Ends).unwrap();
}

#[test]
fn a_refusal_names_the_remedy() {
    let hint = |errno| {
        let error = refused("doing it", io::Error::from_raw_os_error(errno));
        error.hint.unwrap_or_default()
    };
    assert!(hint(libc::EPERM).contains("CAP_BPF"));
    assert!(hint(libc::EINVAL).contains("Linux 6.6"));
    assert!(hint(libc::ENOSYS).contains("Linux 6.6"));
    assert!(hint(libc::ENODEV).contains("does not exist"));
}

#[test]
fn the_verifiers_words_are_passed_on() {
    if !tcx_is_there() {
        return;
    }
    let mut asm = assembler::Assembler::default();
    asm.exit();
    let error = kernel::load(&asm.finish()).unwrap_err();
    assert!(error.to_string().contains("R0 !read_ok"), "{error}");
}
