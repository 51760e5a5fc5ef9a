//! The kernel's policies (`linux/xfrm.h`): the one way to have it refuse a local program's sends
//! that needs no other program.

use std::io;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::Skip;
use crate::namespace::Namespace;

/// `NETLINK_XFRM` of `linux/netlink.h`.
const NETLINK_XFRM: i32 = 6;
/// `XFRM_MSG_NEWPOLICY`.
const NEW_POLICY: u16 = 0x13;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_EXCL`, `NLM_F_CREATE`.
const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;
const HEADER_BYTES: usize = 16;
/// Bytes of `struct xfrm_userpolicy_info`, and where its parts stand.
const POLICY_BYTES: usize = 168;
const FAMILY_AT: usize = 40;
const DESTINATION_PREFIX_AT: usize = 42;
const LIMITS_AT: usize = 56;
const DIRECTION_AT: usize = 160;

/// Has the kernel refuse (`EPERM`) what the namespace sends to a host.
pub fn block(namespace: &Namespace, host: Ipv4Addr) -> Result<()> {
    let answer = namespace.enter(|| converse(&message(host)));
    let answer = match answer {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            return Err(Skip::KernelLacks("IPsec policies".into()).into());
        }
        answer => answer.context("asking for a policy")?,
    };
    ensure!(answer == 0, "a policy: {}", io::Error::from_raw_os_error(-answer));
    Ok(())
}

fn message(host: Ipv4Addr) -> Vec<u8> {
    let mut policy = [0; POLICY_BYTES];
    policy[..4].copy_from_slice(&host.octets());
    policy[FAMILY_AT..FAMILY_AT + 2].copy_from_slice(&(nix::libc::AF_INET as u16).to_ne_bytes());
    policy[DESTINATION_PREFIX_AT] = 32;
    // Without them the policy would have ended before it began.
    policy[LIMITS_AT..LIMITS_AT + 4 * 8].fill(0xff);
    // Outgoing, blocked.
    policy[DIRECTION_AT..DIRECTION_AT + 2].fill(1);
    let length = (HEADER_BYTES + POLICY_BYTES) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(NEW_POLICY.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(policy);
    message
}

/// The error code of the kernel's answer, 0 or negative.
fn converse(message: &[u8]) -> io::Result<i32> {
    let protocol = Some(Protocol::from(NETLINK_XFRM));
    let socket = Socket::new(Domain::from(nix::libc::AF_NETLINK), Type::RAW, protocol)?;
    socket.send(message)?;
    let mut answer = [0; 256];
    let bytes = io::Read::read(&mut &socket, &mut answer)?;
    let code = answer[..bytes].get(HEADER_BYTES..).and_then(|rest| rest.first_chunk());
    code.map(|code| i32::from_ne_bytes(*code)).ok_or(io::ErrorKind::InvalidData.into())
}
