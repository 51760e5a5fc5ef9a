//! Faults by other programs of the relay's host.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use anyhow::{Context, Result};
use mcr_api::control::{Added, Command, Removed, RuleReference};
use mcr_sys::process::monotonic_ns;
use socket2::{Domain, Protocol, Socket, Type};

use super::clients::rule;
use super::frames::sent_of;
use super::{Outcome, Scene};
use crate::payload::{self, Header, Verdict};
use crate::sink::widen_receive_buffer;
use crate::soak::flows::LINKS;
use crate::soak::schedule::Fault;
use crate::{limits, topology, wait};

/// The port of a relayed group as well.
const PORT: u16 = 5000;

/// The stream of its datagrams, which is no rule's.
const STREAM: u32 = 1_000;

/// A program listens on the address and port of a unicast input, or on the port of all addresses.
/// Both it and the relay get every datagram.
pub(super) fn share_port(scene: &mut Scene, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
    // The kernel drops what comes from the source's network, to which it has no route; a sink it
    // has one to.
    let link = fault.number as u8 % LINKS;
    let input = SocketAddr::new(topology::egress_v4(link).into(), PORT);
    let output = format!("239.9.5.1:9000@out{}", (link + 1) % LINKS);
    let rule = rule(format!("{input}@out{link}"), vec![output]);
    let id = scene.relay.daemon.ask::<Added>(&Command::AddRule { rule })?.rule;
    scene.relay.wait_for_rules(1)?;
    let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
    let at = if fault.worker == 0 { input } else { everywhere };
    let program = scene.bed.net.relay.enter(|| listen(at)).context("another program")?;
    let sink = &scene.bed.net.sinks[usize::from(link)];
    sink.enter(|| send(input)).context("to another program")?;
    let expected = limits::soak::SHARED_DATAGRAMS;
    let relayed = wait::until("the relay's copies", limits::SETTLE, || {
        Ok(sent_of(&scene.relay, id)? == expected)
    });
    if relayed.is_err() {
        let relayed = sent_of(&scene.relay, id)?;
        outcome.findings.push(format!("{fault}: of {expected} datagrams {relayed} were relayed"));
    }
    let received = received(&program);
    if received != expected {
        outcome.findings.push(format!("{fault}: {at} received {received} of {expected} datagrams"));
    }
    scene.relay.daemon.ask::<Removed>(&Command::RemoveRule { rule: RuleReference::Id(id) })?;
    Ok(())
}

fn listen(at: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    widen_receive_buffer(&socket)?;
    socket.set_read_timeout(Some(limits::RECEIVE_POLL))?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}

fn send(to: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))?;
    let mut datagram = [0; limits::soak::PAYLOAD_BYTES];
    for sequence in 0..limits::soak::SHARED_DATAGRAMS {
        let header = Header { stream: STREAM, sequence, sent_at_ns: monotonic_ns() };
        payload::write(&mut datagram, header);
        socket.send_to(&datagram, to)?;
        thread::sleep(limits::soak::INTERVAL);
    }
    Ok(())
}

/// How many of its datagrams have come to the socket's buffer, which holds them all.
fn received(program: &UdpSocket) -> u64 {
    let mut datagram = [0; limits::soak::PAYLOAD_BYTES + 1];
    let mut count = 0;
    while let Ok(bytes) = program.recv(&mut datagram) {
        let verdict = payload::verify(&datagram[..bytes]);
        count += u64::from(matches!(verdict, Verdict::Intact(header) if header.stream == STREAM));
    }
    count
}
