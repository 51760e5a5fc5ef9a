//! What a worker is told.

use mcr_api::worker::{WorkerCommand, WorkerMessage, decode, encode};
use mcr_core::ids::RuleSlot;
use mcr_core::limits;
use mcr_core::route::Route;
use mcr_worker::fuzzing::Worker;

use crate::data_plane;

/// Reads each line as a message, and has a worker carry out all of them: its accounts balance.
pub fn worker_commands(data: &[u8]) {
    let read = |line| decode(line).ok();
    let messages: Vec<_> = data.split(|byte| *byte == b'\n').filter_map(read).collect();
    if messages.is_empty() {
        return;
    }
    let mut worker = Worker::new([]).expect("there is memory for a worker");
    let mut told = 0;
    for message in messages {
        check_read(&message);
        if message.command == WorkerCommand::Stop {
            break;
        }
        worker.command(message).expect("there are descriptors");
        told += 1;
        let settled = worker.settle();
        let account = worker.account();
        assert_eq!(account.commands.iter().sum::<u64>(), told);
        assert!(settled.is_some() || account.routes <= limits::RULES);
    }
    let before = worker.account();
    assert!(worker.fill(libc::TP_STATUS_USER, &SLOT), "the ring is untouched");
    while worker.turn(&[]) {}
    data_plane::check(&before, &worker.account(), 1);
}

/// A slot that holds an empty frame, behind its status.
const SLOT: [u8; 44] = {
    let mut slot = [0; 44];
    slot[8] = 48;
    slot
};

/// No number that is read is outside the ledger's places, and what is read is written alike.
fn check_read(message: &WorkerMessage) {
    match &message.command {
        WorkerCommand::AddRule { route } => check_route(route),
        WorkerCommand::SyncRules { routes } => routes.iter().for_each(check_route),
        WorkerCommand::RemoveRule { slot, .. } => check_slot(*slot),
        WorkerCommand::OpenIngress(ingress) => assert!(ingress.place < limits::INGRESSES),
        WorkerCommand::SetTraces { orders, .. } => {
            assert!(orders.len() <= limits::TRACES);
            assert!(orders.iter().all(|order| order.place < limits::TRACES));
        }
        _ => {}
    }
    let again = decode(&encode(message));
    assert_eq!(again.expect("it was just written"), *message);
}

fn check_route(route: &Route) {
    check_slot(route.slot);
    assert!((1..=limits::OUTPUTS_PER_RULE).contains(&route.outputs.len()));
    assert!(route.outputs.iter().all(|output| (output.slot.0 as usize) < limits::OUTPUTS));
}

fn check_slot(slot: RuleSlot) {
    assert!((slot.0 as usize) < limits::RULES);
}
