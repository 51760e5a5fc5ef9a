//! A worker's way from ring slots to outputs, with whatever a kernel might write beside frames.

use std::cell::RefCell;
use std::num::NonZeroU32;

use arbitrary::{Result, Unstructured};
use mcr_api::worker::{TraceOrder, WorkerCommand, WorkerMessage};
use mcr_core::ids::{EgressId, RuleId};
use mcr_core::trace::Subject;
use mcr_worker::fuzzing::{Account, IFINDEX, SLOT_BYTES, SLOTS, Worker};

use crate::sample;

/// Bytes of `struct tpacket2_hdr`, of the `struct sockaddr_ll` behind it, and of the
/// `virtio_net_hdr` that stands before each frame.
const HEADER_BYTES: usize = 32;
const ADDRESS_BYTES: usize = 20;
const VNET_HEADER_BYTES: usize = 10;
/// Offset of `sll_pkttype` in the address.
const PACKET_TYPE: usize = 10;

thread_local! {
    /// Made once, for it maps a whole ledger; gone with a panic.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// How sends end, then slots: what stands in their headers and their frames.
pub fn data_plane(data: &[u8]) {
    let kept = WORKER.take();
    let mut worker = kept.unwrap_or_else(|| ready().expect("there is memory for a worker"));
    // Bytes that run out are a shorter case, not an error.
    let _ = run(&mut worker, &mut Unstructured::new(data));
    WORKER.set(Some(worker));
}

/// A worker that has routes and two egresses, one of which takes no runs.
fn ready() -> std::io::Result<Worker> {
    let mut worker = Worker::new([])?;
    for (egress, mtu) in [(1, 1_500), (2, 100)] {
        let (egress, source, ifindex) = (EgressId(egress), sample::own(), IFINDEX);
        tell(
            &mut worker,
            WorkerCommand::OpenEgress { egress, mtu, source, ifindex, hardware: None },
        )?;
    }
    for route in sample::routes(IFINDEX) {
        tell(&mut worker, WorkerCommand::AddRule { route })?;
    }
    Ok(worker)
}

fn tell(worker: &mut Worker, command: WorkerCommand) -> std::io::Result<()> {
    worker.command(WorkerMessage { generation: 0, command })
}

fn run(worker: &mut Worker, u: &mut Unstructured<'_>) -> Result<()> {
    trace(worker, u.arbitrary()?);
    let outcomes: Vec<u8> =
        (0..u.int_in_range(0..=31)?).map(|_| u.arbitrary()).collect::<Result<_>>()?;
    let before = worker.account();
    assert_eq!(before.slots_held, 0);
    let mut filled = 0;
    while filled < SLOTS && !u.is_empty() {
        let (status, slot) = slot(u)?;
        assert!(worker.fill(status, &slot), "every slot was given back");
        filled += 1;
    }
    while worker.turn(&outcomes) {}
    check(&before, &worker.account(), filled as u64);
    Ok(())
}

/// Traces everything, or nothing.
fn trace(worker: &mut Worker, on: bool) {
    let subjects = [Subject::Rule(RuleId(1)), Subject::Unmatched(IFINDEX)];
    let order = |(place, subject)| TraceOrder {
        id: place as u64,
        place,
        subject,
        one_in: NonZeroU32::MIN,
        datagrams: u64::MAX,
    };
    let orders = subjects.into_iter().enumerate().filter(|_| on).map(order).collect();
    tell(worker, WorkerCommand::SetTraces { revision: 1, orders }).expect("no socket is needed");
}

/// A slot that a kernel could have written: any status that hands it over, and a frame inside it.
/// The slot begins behind the status.
fn slot(u: &mut Unstructured<'_>) -> Result<(u32, Vec<u8>)> {
    let status = u.arbitrary::<u32>()? | libc::TP_STATUS_USER;
    let claimed: u32 = u.arbitrary()?;
    let room_before: u16 = u.int_in_range(0..=63)?;
    let vlan: u16 = u.arbitrary()?;
    let vnet: [u8; VNET_HEADER_BYTES] = u.arbitrary()?;
    let first = HEADER_BYTES + ADDRESS_BYTES + usize::from(room_before) + VNET_HEADER_BYTES;
    let len = usize::from(u.arbitrary::<u16>()?).min(u.len()).min(SLOT_BYTES - first);
    let frame = u.bytes(len)?;
    let original_len = if claimed == 0 { len as u32 } else { claimed };
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend(original_len.to_ne_bytes());
    slot.extend((len as u32).to_ne_bytes());
    slot.extend((first as u16).to_ne_bytes());
    slot.extend([0; 2]);
    slot.extend([0xff; 8]);
    slot.extend(vlan.to_ne_bytes());
    slot.resize(first - VNET_HEADER_BYTES - size_of::<u32>(), 0);
    slot[HEADER_BYTES + PACKET_TYPE - size_of::<u32>()] = room_before as u8 % 8;
    slot.extend(vnet);
    slot.extend(frame);
    Ok((status, slot))
}

/// ARCHITECTURE.md, "Invariants": the accounts balance, and no slot is kept.
pub(crate) fn check(before: &Account, after: &Account, filled: u64) {
    let frames = [0, 1].map(|n| after.frames[n] - before.frames[n]);
    assert_eq!(frames, [filled; 2]);
    assert_eq!(after.slots_held, 0);
    assert_eq!(after.datagrams, after.matched + after.dropped);
    assert!(after.datagrams - before.datagrams >= filled);
    assert_eq!(after.copies, after.sent + after.not_sent);
}
