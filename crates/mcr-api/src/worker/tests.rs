use std::net::{IpAddr, Ipv6Addr};

use mcr_core::ids::{OutputSlot, RuleId};
use mcr_core::limits;
use mcr_core::route::{RouteKey, RouteOutput, Via};
use mcr_core::verdict::EgressError;
use proptest::prelude::*;

use super::*;
use crate::limits::ROUTES_PER_MESSAGE;
use crate::log::{Area, Level};

fn message(command: WorkerCommand) -> WorkerMessage {
    WorkerMessage { generation: 12, command }
}

fn text(command: WorkerCommand) -> String {
    String::from_utf8(encode(&message(command))).unwrap()
}

/// The route that takes the most bytes.
fn largest_route(via: Via) -> Route {
    let address = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
    let first = limits::OUTPUTS - limits::OUTPUTS_PER_RULE;
    Route {
        id: RuleId(u64::MAX),
        slot: RuleSlot(limits::RULES as u32 - 1),
        key: RouteKey { ifindex: IfIndex(u32::MAX - 1), address, port: u16::MAX },
        source: Some(address),
        outputs: (first..limits::OUTPUTS)
            .map(|slot| RouteOutput {
                slot: OutputSlot(slot as u32),
                destination: SocketAddr::new(address, u16::MAX),
                via,
            })
            .collect(),
    }
}

fn small_route(number: u32) -> Route {
    let mut route = largest_route(Via::Egress(EgressId(number)));
    route.slot = RuleSlot(number);
    route.outputs.truncate(1);
    route
}

#[test]
fn messages_read_as_documented() {
    let route = Route {
        id: RuleId(7),
        slot: RuleSlot(3),
        key: RouteKey { ifindex: IfIndex(2), address: "239.1.1.1".parse().unwrap(), port: 5000 },
        source: None,
        outputs: vec![
            RouteOutput {
                slot: OutputSlot(9),
                destination: "239.2.2.2:6000".parse().unwrap(),
                via: Via::Egress(EgressId(1)),
            },
            RouteOutput {
                slot: OutputSlot(10),
                destination: "10.9.0.4:7000".parse().unwrap(),
                via: Via::Nothing(EgressError::QueueFull),
            },
        ],
    };
    assert_eq!(
        text(WorkerCommand::AddRule { route }),
        concat!(
            r#"{"generation":12,"command":{"AddRule":{"route":{"id":7,"slot":3,"on":2,"#,
            r#""to":"239.1.1.1:5000","first":9,"#,
            r#""outputs":[["239.2.2.2:6000",1],["10.9.0.4:7000",-1]]}}}}"#
        )
    );
    assert_eq!(text(WorkerCommand::Stop), r#"{"generation":12,"command":"Stop"}"#);
}

#[test]
fn the_largest_route_fits_a_message() {
    let longest_error = EgressError::ALL.last().copied().unwrap();
    for via in [Via::Egress(EgressId(u32::MAX)), Via::Nothing(longest_error)] {
        let route = largest_route(via);
        let mut add = message(WorkerCommand::AddRule { route: route.clone() });
        add.generation = u64::MAX;
        let bytes = encode(&add);
        assert!(bytes.len() <= MAX_MESSAGE_BYTES, "{} bytes", bytes.len());
        assert_eq!(decode(&bytes).unwrap(), add);
        let chunks: Vec<_> = sync_chunks(u64::MAX, [route.clone(), route]).collect();
        assert_eq!(chunks.len(), 2);
        assert!(chunks.iter().all(|c| encode(c).len() <= MAX_MESSAGE_BYTES));
    }
}

#[test]
fn chunks_are_full_and_whole() {
    let routes: Vec<_> = (0..1000).map(small_route).collect();
    let chunks: Vec<_> = sync_chunks(5, routes.clone()).collect();
    let mut joined = Vec::new();
    let mut sizes = Vec::new();
    for chunk in chunks {
        assert_eq!(chunk.generation, 5);
        let bytes = encode(&chunk);
        assert!(bytes.len() <= MAX_MESSAGE_BYTES);
        let WorkerCommand::SyncRules { routes } = decode(&bytes).unwrap().command else {
            panic!("{chunk:?} is no SyncRules");
        };
        sizes.push(routes.len());
        joined.extend(routes);
    }
    assert_eq!(joined, routes);
    // All full but the last.
    let last = sizes.pop().unwrap();
    assert_eq!(sizes, vec![ROUTES_PER_MESSAGE; 1000 / ROUTES_PER_MESSAGE]);
    assert_eq!(last, 1000 % ROUTES_PER_MESSAGE);
    assert_eq!(sync_chunks(5, []).count(), 0);
}

#[test]
fn chunks_are_cut_by_bytes_too() {
    let mut wide = largest_route(Via::Egress(EgressId(1)));
    wide.outputs.truncate(300);
    let sizes: Vec<_> = sync_chunks(5, vec![wide; 10]).map(|chunk| encode(&chunk).len()).collect();
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().all(|&bytes| bytes <= MAX_MESSAGE_BYTES));
}

#[test]
fn chunks_are_cut_by_outputs_too() {
    let mut route = small_route(0);
    let output = RouteOutput { destination: "10.0.0.1:1".parse().unwrap(), ..route.outputs[0] };
    let slots = output.slot.0..output.slot.0 + 8;
    route.outputs = slots.map(|slot| RouteOutput { slot: OutputSlot(slot), ..output }).collect();
    let chunks: Vec<_> = sync_chunks(5, vec![route.clone(); 129]).collect();
    assert_eq!(chunks.len(), 2);
    assert!(chunks.iter().all(|chunk| decode(&encode(chunk)).is_ok()));
    let routes = vec![route; 129];
    let error = decode(&encode(&message(WorkerCommand::SyncRules { routes }))).unwrap_err();
    let cause = "number of outputs 1032";
    assert!(error.to_string().contains(cause), "{error}");
}

#[test]
#[should_panic(expected = "output slots follow each other")]
fn scattered_slots_are_a_fault_of_the_sender() {
    let mut route = largest_route(Via::Egress(EgressId(1)));
    route.outputs.swap(3, 4);
    encode(&message(WorkerCommand::AddRule { route }));
}

#[test]
fn what_no_supervisor_says_is_refused() {
    let refused = |command: &str, cause: &str| {
        let text = format!(r#"{{"generation":1,"command":{command}}}"#);
        let error = decode(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(cause), "{error}");
    };
    let route = |id: &str, slot: &str, on: &str, first: &str, outputs: &str| {
        format!(
            concat!(
                r#"{{"AddRule":{{"route":{{"id":{},"slot":{},"on":{},"#,
                r#""to":"239.1.1.1:5000","first":{},"outputs":{}}}}}}}"#
            ),
            id, slot, on, first, outputs
        )
    };
    let one = r#"[["10.0.0.1:1",0]]"#;
    refused(&route("1", "100000", "1", "0", one), "rule slot 100000");
    refused(&route("1", "0", "0", "0", one), "ifindex 0");
    refused(&route("1", "0", "1", "262144", one), "first output slot 262144");
    refused(&route("-1", "0", "1", "0", one), "integer `-1`");
    refused(&route("1", "0", "1", "0", "[]"), "number of outputs 0");
    refused(&route("1", "0", "1", "0", r#"[["10.0.0.1:1",-99]]"#), "-99");
    let lowest = format!(r#"[["10.0.0.1:1",{}]]"#, i64::MIN);
    refused(&route("1", "0", "1", "0", &lowest), "-9223372036854775808");
    let beyond = format!(r#"[["10.0.0.1:1",{}]]"#, 1_u64 << 32);
    refused(&route("1", "0", "1", "0", &beyond), "4294967296");
    refused(r#"{"RemoveRule":{"slot":100000,"id":1}}"#, "rule_slot 100000");
    refused(r#""Dance""#, "unknown variant `Dance`");
    refused(r#"{"Stop":{"now":true}}"#, "expected unit");
    let ingress = |place: u32, slots: u32, name: &str| {
        format!(
            concat!(
                r#"{{"OpenIngress":{{"ingress":1,"place":{},"ifindex":2,"interface":"{}","#,
                r#""link":"ethernet","mtu":1500,"slot_bytes":4096,"slots":{}}}}}"#
            ),
            place, name, slots
        )
    };
    refused(&ingress(256, 64, "eth0"), "ring place 256");
    refused(&ingress(0, 0, "eth0"), "count 0");
    refused(&ingress(0, 64, "a/b"), "\"a/b\" is not an interface name");
    let long = vec![b' '; MAX_MESSAGE_BYTES + 1];
    assert!(matches!(decode(&long), Err(DecodeError::TooLong(_))));
}

#[test]
fn too_many_routes_are_refused() {
    let routes = (0..=ROUTES_PER_MESSAGE as u32).map(small_route).collect();
    let bytes = encode(&message(WorkerCommand::SyncRules { routes }));
    let error = decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("number of routes 257"), "{error}");
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from),]
}

fn any_via() -> impl Strategy<Value = Via> {
    prop_oneof![
        any::<u32>().prop_map(|id| Via::Egress(EgressId(id))),
        proptest::sample::select(EgressError::ALL).prop_map(Via::Nothing),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    let key = (1..u32::MAX, any_address(), any::<u16>());
    let key = key.prop_map(|(ifindex, address, port)| RouteKey {
        ifindex: IfIndex(ifindex),
        address,
        port,
    });
    let to = (any_address(), any::<u16>(), any_via());
    let outputs = (0..limits::OUTPUTS as u32 - 8, proptest::collection::vec(to, 1..8));
    let outputs = outputs.prop_map(|(first, to)| {
        let output = |(slot, (address, port, via))| RouteOutput {
            slot: OutputSlot(slot),
            destination: SocketAddr::new(address, port),
            via,
        };
        (first..).zip(to).map(output).collect()
    });
    let rest = (any::<u64>(), 0..limits::RULES as u32, proptest::option::of(any_address()));
    (key, outputs, rest).prop_map(|(key, outputs, (id, slot, source))| Route {
        id: RuleId(id),
        slot: RuleSlot(slot),
        key,
        source,
        outputs,
    })
}

fn any_ingress() -> impl Strategy<Value = Ingress> {
    let numbers = (any::<u32>(), 0..limits::INGRESSES, 1..u32::MAX);
    let link = proptest::sample::select(&[LinkLayer::Ethernet, LinkLayer::Ip]);
    let sizes = (any::<u32>(), 1..u32::MAX, 1..u32::MAX);
    (numbers, "[a-z\"é]{1,7}", link, sizes).prop_map(
        |((ingress, place, ifindex), name, link, (mtu, slot_bytes, slots))| Ingress {
            ingress: IngressId(ingress),
            place,
            ifindex: IfIndex(ifindex),
            interface: name.parse().unwrap(),
            link,
            mtu,
            slot_bytes,
            slots,
        },
    )
}

fn any_command() -> impl Strategy<Value = WorkerCommand> {
    use WorkerCommand as Command;
    let level = || proptest::sample::select(Level::ALL);
    let area = proptest::sample::select(Area::ALL);
    let log_levels = (any::<u64>(), level(), area, level());
    let slot = (0..limits::RULES as u32, any::<u64>());
    let egress = (any::<u32>(), any::<u32>(), any_address(), any::<u16>());
    prop_oneof![
        any_ingress().prop_map(Command::OpenIngress),
        any::<u32>().prop_map(|id| Command::CloseIngress { ingress: IngressId(id) }),
        egress.prop_map(|(id, mtu, address, port)| Command::OpenEgress {
            ifindex: IfIndex(mtu),
            hardware: address.is_ipv4().then_some([2, 0, 0, 0, 0, id as u8]),
            egress: EgressId(id),
            mtu,
            source: SocketAddr::new(address, port),
        }),
        any::<u32>().prop_map(|id| Command::CloseEgress { egress: EgressId(id) }),
        any_route().prop_map(|route| Command::AddRule { route }),
        slot.prop_map(|(slot, id)| Command::RemoveRule { slot: RuleSlot(slot), id: RuleId(id) }),
        Just(Command::SyncBegin),
        proptest::collection::vec(any_route(), 0..4)
            .prop_map(|routes| Command::SyncRules { routes }),
        any::<u64>().prop_map(|hash| Command::SyncCommit { hash: StateHash(hash) }),
        log_levels.prop_map(|(revision, level, area, own)| {
            let mut levels = Levels { level, ..Levels::default() };
            levels.set(Some(area), own);
            Command::SetLogLevel { revision, levels }
        }),
        (any::<u64>(), proptest::collection::vec(any_trace_order(), 0..=limits::TRACES))
            .prop_map(|(revision, orders)| Command::SetTraces { revision, orders }),
        Just(Command::Stop),
    ]
}

fn any_trace_order() -> impl Strategy<Value = TraceOrder> {
    let subject = prop_oneof![
        any::<u64>().prop_map(|id| Subject::Rule(RuleId(id))),
        (1..u32::MAX).prop_map(|ifindex| Subject::Unmatched(IfIndex(ifindex))),
    ];
    let numbers = (any::<u64>(), 0..limits::TRACES, any::<NonZeroU32>(), any::<u64>());
    (numbers, subject).prop_map(|((id, place, one_in, datagrams), subject)| TraceOrder {
        id,
        place,
        subject,
        one_in,
        datagrams,
    })
}

proptest! {
    #[test]
    fn reads_what_it_writes(generation: u64, command in any_command()) {
        let message = WorkerMessage { generation, command };
        prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
    }

    #[test]
    fn no_bytes_make_it_panic(command in any_command(), at: usize, byte: u8) {
        let mut bytes = encode(&message(command));
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(&bytes);
    }
}
