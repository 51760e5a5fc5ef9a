use mcr_api::worker::{WorkerMessage, decode};
use mcr_core::ids::{EgressId, IfIndex, OutputSlot, RuleSlot};
use mcr_core::replica::Replica;
use mcr_core::route::{Position, Route, RouteKey, RouteOutput, Via};
use mcr_core::steering::Steering;

use super::*;

const WORKER: WorkerId = WorkerId(0);

fn route(id: u64, port: u16) -> Route {
    Route {
        id: RuleId(id),
        slot: RuleSlot(id as u32),
        key: RouteKey { ifindex: IfIndex(1), address: [239, 0, 0, 1].into(), port },
        source: None,
        outputs: vec![RouteOutput {
            slot: OutputSlot(id as u32),
            destination: "239.0.0.2:1".parse().unwrap(),
            via: Via::Egress(EgressId(1)),
        }],
    }
}

/// What a worker makes of the messages.
#[derive(Default)]
struct Model(Replica);

impl Model {
    fn holding(routes: &[Route]) -> Self {
        let mut worker = Self::default();
        for route in routes {
            worker.set(route);
        }
        worker
    }

    fn set(&mut self, route: &Route) {
        self.0.route_set(route.slot, route.id, route.fingerprint());
    }

    fn take(&mut self, message: &[u8]) {
        let WorkerMessage { generation, command } = decode(message).unwrap();
        match command {
            WorkerCommand::SyncBegin => self.0.sync_begun(),
            WorkerCommand::SyncRules { routes } => routes.iter().for_each(|route| self.set(route)),
            WorkerCommand::AddRule { route } => self.set(&route),
            WorkerCommand::RemoveRule { slot, id } => _ = self.0.route_removed(slot, id),
            WorkerCommand::SyncCommit { hash } => {
                assert!(self.0.sync_committed(Position { generation, hash }));
                while self.0.sweep(usize::MAX, |_| ()) {}
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Sends up to so many messages; returns how many there were.
fn pump(sync: &mut Sync, holdings: &Holdings, worker: &mut Model, most: usize) -> usize {
    for sent in 0..most {
        let Some(step) = sync.next(holdings, WORKER) else {
            return sent;
        };
        worker.take(&step.message);
        sync.sent(&step);
    }
    most
}

fn agree(worker: &Model, holdings: &Holdings) {
    assert_eq!(worker.0.position(), Some(holdings.position(WORKER)));
}

#[test]
fn the_worker_ends_with_what_is_held_whatever_it_had() {
    let mut holdings = Holdings::alone(Steering::Cpu, &[0]);
    (1..=2000).for_each(|id| _ = holdings.set_route(route(id, 5)));
    let mut worker = Model::holding(&[route(3000, 1), route(7, 1)]);
    let mut sync = Sync::new();
    assert!(pump(&mut sync, &holdings, &mut worker, usize::MAX) >= 2 + 2000 / 256);
    assert!(sync.is_whole());
    agree(&worker, &holdings);
}

#[test]
fn changes_on_either_side_of_the_cursor_arrive() {
    let mut holdings = Holdings::alone(Steering::Cpu, &[0]);
    (1..=2000).for_each(|id| _ = holdings.set_route(route(id, 5)));
    let mut worker = Model::default();
    let mut sync = Sync::new();
    let mut churn = 0;
    while !sync.is_whole() {
        pump(&mut sync, &holdings, &mut worker, 1);
        if churn < 500 {
            churn += 1;
            sync.changed(holdings.remove_route(RuleId(churn)).unwrap());
            sync.changed(holdings.remove_route(RuleId(2001 - churn)).unwrap());
            sync.changed(holdings.set_route(route(500 + churn, 9)));
            sync.changed(holdings.set_route(route(5000 + churn, 9)));
        }
    }
    agree(&worker, &holdings);
}

#[test]
fn too_long_a_backlog_begins_anew() {
    let mut holdings = Holdings::alone(Steering::Cpu, &[0]);
    (1..=300).for_each(|id| _ = holdings.set_route(route(id, 5)));
    let mut worker = Model::default();
    let mut sync = Sync::new();
    pump(&mut sync, &holdings, &mut worker, 2);
    for port in 0..=limits::SYNC_BACKLOG as u16 {
        sync.changed(holdings.set_route(route(1, 6 + port)));
    }
    assert_eq!(sync.stage, Stage::Nothing);
    assert!(pump(&mut sync, &holdings, &mut worker, usize::MAX) < 10);
    agree(&worker, &holdings);
}
