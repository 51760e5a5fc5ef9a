use super::*;

fn print(number: u32) -> Fingerprint {
    Fingerprint::of(Kind::Route, number)
}

fn set(replica: &mut Replica, number: u32) {
    replica.route_set(RuleSlot(number), RuleId(number.into()), print(number));
}

fn hash_of(routes: &[u32]) -> StateHash {
    let mut hash = StateHash::default();
    for number in routes {
        hash.add(print(*number));
    }
    hash
}

fn swept(replica: &mut Replica) -> Vec<Stale> {
    let mut stale = Vec::new();
    while replica.sweep(1, |one| stale.push(one)) {}
    stale
}

#[test]
fn changes_advance_one_by_one_and_a_gap_stays_visible() {
    let mut replica = Replica::default();
    replica.change_done(1);
    replica.change_done(2);
    replica.change_done(4);
    assert_eq!(replica.position().unwrap().generation, 2);
}

#[test]
fn a_synchronisation_shows_nothing_until_it_is_swept() {
    let mut replica = Replica::default();
    set(&mut replica, 0);
    set(&mut replica, 1);
    let ingress = SocketSet::Ingress(IngressId(1));
    replica.sockets_opened(ingress);
    replica.sync_begun();
    set(&mut replica, 1);
    replica.change_done(7);
    assert_eq!(replica.position(), None);
    let meant = Position { generation: 7, hash: hash_of(&[1]) };
    assert!(replica.sync_committed(meant));
    replica.change_done(8);
    assert_eq!(replica.position(), None);
    let stale = [Stale::Route(RuleSlot(0)), Stale::Sockets(ingress)];
    assert_eq!(swept(&mut replica), stale);
    assert_eq!(replica.position(), Some(Position { generation: 8, ..meant }));
}

#[test]
fn a_commit_that_something_is_missing_from_drops_nothing() {
    let mut replica = Replica::default();
    (0..3).for_each(|number| set(&mut replica, number));
    let meant = Position { generation: 9, hash: hash_of(&[0, 1]) };
    assert!(!replica.sync_committed(meant), "without its beginning it says nothing");
    replica.sync_begun();
    set(&mut replica, 0);
    assert!(!replica.sync_committed(meant));
    assert_eq!((swept(&mut replica), replica.position()), (Vec::new(), None));
    replica.sync_begun();
    set(&mut replica, 0);
    set(&mut replica, 1);
    assert!(replica.sync_committed(meant));
    assert_eq!(swept(&mut replica), [Stale::Route(RuleSlot(2))]);
    assert_eq!(replica.position(), Some(meant));
}

#[test]
fn what_is_named_twice_or_taken_back_is_marked_rightly() {
    let mut replica = Replica::default();
    set(&mut replica, 0);
    let egress = SocketSet::Egress(EgressId(4));
    replica.sockets_opened(egress);
    replica.sync_begun();
    assert!(replica.name_sockets(egress) && replica.name_sockets(egress));
    set(&mut replica, 0);
    set(&mut replica, 0);
    set(&mut replica, 1);
    assert!(replica.route_removed(RuleSlot(1), RuleId(1)));
    assert!(!replica.route_removed(RuleSlot(0), RuleId(5)), "another rule has the slot");
    let mut hash = hash_of(&[0]);
    hash.add(egress.fingerprint());
    assert!(replica.sync_committed(Position { generation: 1, hash }));
    assert_eq!(swept(&mut replica), []);
    assert!(replica.sockets_closed(egress) && !replica.name_sockets(egress));
    assert_eq!(replica.position().unwrap().hash, hash_of(&[0]));
}
