use std::collections::BTreeMap;

use mcr_core::rule::Rule;
use serde_json::{Value, json};

use super::*;
use crate::limits::MAX_REQUEST_BYTES;
use crate::log::Level;
use crate::rule::{OutputSpec, RuleSpec};

fn video() -> RuleSpec {
    RuleSpec {
        name: Some("video".into()),
        input: "239.1.1.1:5000@eth0".into(),
        source: None,
        outputs: vec![OutputSpec::Text("239.2.2.2:6000@eth1".into())],
        exclusive: false,
    }
}

fn refused(line: &str) -> (Option<u64>, ErrorCode, String) {
    let RefusedRequest { id, error } = Request::parse(line.as_bytes()).unwrap_err();
    (id, error.code, error.message)
}

#[test]
fn requests_read_as_documented() {
    let documented = [
        (
            concat!(
                r#"{"id":1,"command":"AddRule","rule":{"name":"video","#,
                r#""input":"239.1.1.1:5000@eth0","outputs":["239.2.2.2:6000@eth1"]}}"#
            ),
            Command::AddRule { rule: video() },
        ),
        (r#"{"id":1,"command":"GetVersion"}"#, Command::GetVersion {}),
        (
            r#"{"id":1,"command":"RemoveRule","rule":7}"#,
            Command::RemoveRule { rule: RuleReference::Id(7) },
        ),
        (
            r#"{"id":1,"command":"RemoveRule","rule":"video"}"#,
            Command::RemoveRule { rule: RuleReference::Name("video".into()) },
        ),
        (r#"{"id":1,"command":"Reload"}"#, Command::Reload {}),
        (r#"{"id":1,"command":"ListRules"}"#, Command::ListRules {}),
        (r#"{"id":1,"command":"ListWorkers"}"#, Command::ListWorkers {}),
        (r#"{"id":1,"command":"GetEvents"}"#, Command::GetEvents {}),
        (r#"{"id":1,"command":"Subscribe"}"#, Command::Subscribe { after: None }),
        (r#"{"id":1,"command":"Subscribe","after":7}"#, Command::Subscribe { after: Some(7) }),
        (
            r#"{"id":1,"command":"SetLogLevel","area":"ingress","level":"debug"}"#,
            Command::SetLogLevel { area: Some("ingress".into()), level: Level::Debug },
        ),
        (r#"{"id":1,"command":"GetStats"}"#, Command::GetStats(Selection::default())),
        (
            r#"{"id":1,"command":"GetStats","rule":"video","interface":"eth0"}"#,
            Command::GetStats(Selection {
                rule: Some(RuleReference::Name("video".into())),
                interface: Some("eth0".into()),
            }),
        ),
    ];
    for (line, command) in documented {
        let request = Request { id: 1, command };
        assert_eq!(request.to_line(), format!("{line}\n").into_bytes());
        assert_eq!(Request::parse(line.as_bytes()).unwrap(), request);
    }
}

#[test]
fn every_command_has_its_name_listed() {
    let error = serde_json::from_str::<Command>(r#"{"command":"?"}"#).unwrap_err();
    let listed = Command::NAMES.join("`, `");
    let expected = format!("unknown variant `?`, expected one of `{listed}`");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn a_refusal_says_what_was_expected_and_keeps_the_id() {
    use ErrorCode::{Malformed, UnknownCommand};
    let refusals = [
        (
            r#"{"id":4,"command":"Dance"}"#,
            Some(4),
            UnknownCommand,
            "there is no command \"Dance\"; there are GetVersion, AddRule, RemoveRule, Reload, \
             ListRules, ListWorkers, GetStats, GetEvents, Subscribe, SetLogLevel, EnableTrace, \
             DisableTrace, GetTrace",
        ),
        (r#"{"id":4}"#, Some(4), Malformed, "the request has no \"command\""),
        (r#"{"command":"GetStats"}"#, None, Malformed, "the request has no \"id\" (a number)"),
        (r#"{"id":-1,"command":"GetStats"}"#, None, Malformed, "\"id\" is not a number from 0"),
        (
            r#"{"id":4,"command":"GetStats","rules":1}"#,
            Some(4),
            Malformed,
            "GetStats: unknown field `rules`, expected `rule` or `interface`",
        ),
        (
            r#"{"id":4,"command":"RemoveRule","rule":null}"#,
            Some(4),
            Malformed,
            "RemoveRule: a rule's id (a number) or its name (a string)",
        ),
        (
            r#"{"id":4,"command":"AddRule","rule":{"outputs":[]}}"#,
            Some(4),
            Malformed,
            "AddRule: missing field `input`",
        ),
        ("[1]", None, Malformed, "the request is not a JSON object"),
        (
            "GET / HTTP/1.1",
            None,
            Malformed,
            "the request is not JSON: expected value at line 1 column 1",
        ),
    ];
    for (line, id, code, message) in refusals {
        assert_eq!(refused(line), (id, code, message.into()));
    }
}

#[test]
fn no_request_is_too_much_to_refuse() {
    let (_, code, message) = refused(&"x".repeat(MAX_REQUEST_BYTES + 1));
    assert_eq!(code, ErrorCode::TooLarge);
    assert_eq!(message, "the request is longer than 1048576 bytes");
    assert_eq!(refused(&"[".repeat(MAX_REQUEST_BYTES)).1, ErrorCode::Malformed);
    assert!(Request::parse(&[0xff; 64]).is_err());
    assert!(Request::parse(b"").is_err());
}

#[test]
fn a_refused_rule_has_its_code_and_its_words() {
    let refused = |outputs| {
        let spec = RuleSpec { outputs, ..video() };
        ErrorBody::from(Rule::try_from(spec).unwrap_err())
    };
    let none = refused(vec![]);
    assert_eq!(none.code, ErrorCode::Invalid);
    assert_eq!(none.message, "rule: a rule needs at least one output");
    let many = refused(vec![video().outputs[0].clone(); 1025]);
    assert_eq!(many.code, ErrorCode::Limit);
    assert_eq!(many.message, "rule: 1025 outputs: a rule may have at most 1024");
}

#[test]
fn a_reference_is_a_number_or_a_name() {
    assert_eq!("17".parse(), Ok(RuleReference::Id(17)));
    assert_eq!("cam-17".parse(), Ok(RuleReference::Name("cam-17".into())));
    assert_eq!("-1".parse(), Ok(RuleReference::Name("-1".into())));
    assert!("99999999999999999999".parse::<RuleReference>().is_err());
}

fn line<B: serde::Serialize>(response: &Response<B>) -> String {
    String::from_utf8(response.to_line()).unwrap()
}

#[test]
fn responses_read_as_documented() {
    let ok = Response {
        id: Some(1),
        result: Ok(Answer::Version(Version {
            version: "0.1.0".into(),
            protocol: PROTOCOL_VERSION,
        })),
    };
    assert_eq!(line(&ok), "{\"id\":1,\"ok\":{\"version\":\"0.1.0\",\"protocol\":1}}\n");
    let error =
        Response::<Answer> { id: Some(1), result: Err(ErrorBody::new(ErrorCode::Conflict, "...")) };
    assert_eq!(line(&error), "{\"id\":1,\"error\":{\"code\":\"conflict\",\"message\":\"...\"}}\n");
    let refused = Request::parse(b"[]").unwrap_err();
    assert!(line(&Response::<Answer>::from(refused)).starts_with(r#"{"id":null,"error":{"#));
}

#[test]
fn a_response_is_one_or_the_other() {
    let read = |text: &str| serde_json::from_str::<Response<Value>>(text);
    assert_eq!(read(r#"{"id":1,"ok":{}}"#).unwrap().result, Ok(json!({})));
    let error = read(r#"{"id":null,"error":{"code":"of_the_future","message":"m"}}"#).unwrap();
    assert_eq!(error.id, None);
    assert_eq!(error.result.unwrap_err().code, ErrorCode::Unknown);
    assert!(read(r#"{"id":1}"#).is_err());
    let both = r#"{"id":1,"ok":{},"error":{"code":"busy","message":"m"}}"#;
    assert!(read(both).is_err());
}

/// Writes as the daemon does and reads as a client does.
fn round_trip<B>(answer: Answer, body: &B) -> Value
where
    B: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let response = Response { id: Some(9), result: Ok(answer) };
    let line = response.to_line();
    let read: Response<B> = serde_json::from_slice(&line).unwrap();
    assert_eq!(read.result.as_ref(), Ok(body));
    serde_json::from_slice::<Value>(&line).unwrap()["ok"].take()
}

#[test]
fn a_rules_status_stands_beside_what_it_says() {
    let rules = Rules {
        rules: vec![RuleStatus {
            id: 7,
            rule: video(),
            state: RuleState::Pending,
            problems: vec!["eth0 does not exist".into()],
        }],
    };
    let expected = json!({"rules": [{
        "id": 7,
        "name": "video",
        "input": "239.1.1.1:5000@eth0",
        "outputs": ["239.2.2.2:6000@eth1"],
        "state": "pending",
        "problems": ["eth0 does not exist"],
    }]});
    assert_eq!(round_trip(Answer::Rules(rules.clone()), &rules), expected);
}

#[test]
fn workers_are_told_apart() {
    let workers = Workers {
        generation: 5,
        steering: "hash".into(),
        supervisor_longest_turn_us: 1_250,
        workers: vec![WorkerStatus {
            worker: 0,
            core: 2,
            pid: Some(4711),
            state: WorkerState::BackingOff,
            io: Some(Mechanism::Uring),
            confinement: None,
            generation: 4,
            in_sync: false,
            rules: 3,
            heartbeat_age_ms: Some(12),
            overloaded: true,
            longest_turn_us: 1_850,
            restarts: 1,
            backoff_left_ms: Some(3_200),
            commands_lost: 2,
            repairs: 1,
            last_exit: None,
        }],
    };
    let expected = json!({"generation": 5, "steering": "hash", "supervisor_longest_turn_us": 1250,
                          "workers": [{
        "worker": 0, "core": 2, "pid": 4711, "state": "backing_off", "io": "io_uring",
        "generation": 4, "in_sync": false, "rules": 3, "heartbeat_age_ms": 12,
        "overloaded": true, "longest_turn_us": 1_850, "restarts": 1,
        "backoff_left_ms": 3_200, "commands_lost": 2, "repairs": 1,
    }]});
    assert_eq!(round_trip(Answer::Workers(workers.clone()), &workers), expected);
}

fn counters() -> CoreStats {
    CoreStats {
        received: 110,
        kernel_drops: 7,
        frames_read: 100,
        datagrams: 100,
        matched: 90,
        copies: 180,
        sent: 178,
        drops: BTreeMap::from([("no_rule".into(), 9), ("truncated".into(), 1)]),
        errors: BTreeMap::from([("queue_full".into(), 1)]),
        ..CoreStats::default()
    }
}

#[test]
fn what_is_left_open_is_shown() {
    let open = |received, datagrams, copies| Unaccounted { received, datagrams, copies };
    assert_eq!(counters().unaccounted(), open(3, 0, 1));
    let mut early = counters();
    early.frames_read += 5;
    early.datagrams += 5;
    assert_eq!(early.unaccounted(), open(-2, 5, 1));
}

/// Every counter is summed: a member that `add` forgets stays what it was.
#[test]
fn totals_are_sums() {
    let numbers = |first: u64| {
        let mut value = serde_json::to_value(counters()).unwrap();
        for (place, counter) in value.as_object_mut().unwrap().values_mut().enumerate() {
            if counter.is_u64() {
                *counter = json!(first + place as u64);
            }
        }
        serde_json::from_value::<CoreStats>(value).unwrap()
    };
    let mut sum = numbers(1000);
    sum.add(&numbers(2000));
    let (one, sum) =
        (serde_json::to_value(numbers(1000)).unwrap(), serde_json::to_value(sum).unwrap());
    for (name, value) in one.as_object().unwrap() {
        if let Some(number) = value.as_u64() {
            assert_eq!(sum[name], json!(2 * number + 1000), "{name}");
        }
    }
    assert_eq!(sum["drops"], json!({"no_rule": 18, "truncated": 2}));
    assert_eq!(sum["errors"], json!({"queue_full": 2}));
}

#[test]
fn stats_keep_every_number() {
    let stats = Stats {
        uptime_s: 12.5,
        totals: counters(),
        unaccounted: counters().unaccounted(),
        cores: vec![CoreReport {
            core: 1,
            counters: counters(),
            batch_sizes: vec![5, 0, 1],
            ..CoreReport::default()
        }],
        ring_memory_bytes: 25_165_824,
        rings: vec![RingStats {
            worker: 0,
            interface: "eth0".into(),
            class: RingClass::Standard,
            slots: 1024,
            slot_bytes: 4096,
            in_use: 3,
            high_water: 90,
            exhausted: 0,
            received: 110,
            kernel_drops: 7,
            frames_read: 100,
            ..RingStats::default()
        }],
        rules: vec![RuleStats {
            id: 7,
            name: None,
            input: "239.1.1.1:5000@eth0".into(),
            packets: 90,
            bytes: 90_000,
            packets_per_s: 10.0,
            bits_per_s: 80_000.0,
            last_packet_age_ms: Some(3),
            last_source: Some("10.0.0.7:4000".into()),
            source_workers: 1,
            state: RuleState::Active,
            outputs: vec![OutputStats {
                to: "239.2.2.2:6000@eth1".into(),
                sent: 89,
                bytes: 89_000,
                sent_per_s: 9.5,
                errors: BTreeMap::from([("queue_full".into(), 1)]),
                ..OutputStats::default()
            }],
        }],
        ..Stats::default()
    };
    let json = round_trip(Answer::Stats(Box::new(stats.clone())), &stats);
    assert_eq!(json["cores"][0]["received"], 110);
    assert_eq!(json["cores"][0]["io"], Value::Null);
    assert_eq!(json["rings"][0]["class"], "standard");
    assert_eq!(json["rules"][0]["outputs"][0]["errors"]["queue_full"], 1);
}
