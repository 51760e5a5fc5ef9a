use serde_json::json;

use super::*;
use crate::args::question;

const LIST: Question = Question::List;

fn output_of(question: &Question, body: Value) -> String {
    let shown = text(question, body).unwrap();
    assert_eq!(shown.notes, [""; 0]);
    shown.output
}

fn video() -> Value {
    json!({
        "id": 7,
        "name": "video",
        "input": "239.1.1.1:5000@eth0",
        "source": "10.0.0.7",
        "outputs": [
            "239.2.2.2:6000@eth1",
            {"to": "10.9.0.4:7000@eth2", "ttl": 8, "source_port": 5000, "loop": true},
        ],
        "state": "active",
        "problems": ["eth2 does not exist"],
    })
}

#[test]
fn rules_are_listed() {
    let plain = json!({
        "id": 12,
        "input": "[ff3e::1234]:5000@eth0",
        "outputs": ["[ff3e::1235]:5000@eth1"],
        "exclusive": true,
        "state": "pending",
        "problems": [],
    });
    assert_eq!(
        output_of(&LIST, json!({"rules": [video(), plain]})),
        "\
ID  NAME   STATE    INPUT                   OUTPUTS
 7  video  active   239.1.1.1:5000@eth0     239.2.2.2:6000@eth1
                    from 10.0.0.7           10.9.0.4:7000@eth2,ttl=8,source-port=5000,loop
12         pending  [ff3e::1234]:5000@eth0  [ff3e::1235]:5000@eth1
                    exclusive
rule 7: eth2 does not exist
"
    );
    assert_eq!(output_of(&LIST, json!({"rules": []})), "no rules\n");
}

#[test]
fn workers_are_listed() {
    let body = json!({"generation": 5, "supervisor_longest_turn_us": 3_140, "workers": [
        {
            "worker": 0, "core": 0, "pid": 4711, "state": "running", "io": "io_uring",
            "generation": 5, "in_sync": true, "rules": 3, "heartbeat_age_ms": 12, "restarts": 0,
            "overloaded": true, "longest_turn_us": 1_840,
        },
        {
            "worker": 1, "core": 1, "pid": null, "state": "backing_off", "io": null,
            "generation": 4, "in_sync": false, "rules": 0, "heartbeat_age_ms": null,
            "restarts": 13, "last_exit": "signal 9", "backoff_left_ms": 9_900, "commands_lost": 7,
            "repairs": 2,
        },
    ]});
    assert_eq!(
        output_of(&Question::Workers, body),
        "\
WORKER  CORE   PID  STATE        IO        SYNC  RULES   BEAT  LONGEST TURN  RESTARTS  LAST EXIT
     0     0  4711  overloaded   io_uring  yes       3  12 ms        1.8 ms         0  -
     1     1     -  backing_off  -         no        0      -             -        13  signal 9
supervisor: longest turn 3.1 ms
worker 0: its rings overflow although it never rests: give it more cores (--cores) or fewer outputs
worker 1: starts again in 9900 ms
worker 1: 7 commands did not fit its socket
worker 1: 2 times sent the full rule set, since it held another one
"
    );
}

fn stats_body() -> Value {
    let counters = json!({
        "received": 1_000_110, "kernel_drops": 7, "frames_read": 1_000_103,
        "bytes_read": 0, "datagrams": 1_000_103, "matched": 1_000_093,
        "copies": 2_000_186, "sent": 2_000_183,
        "sent_bytes": 0, "drops": {"no_rule": 9, "truncated": 1, "own": 0},
        "errors": {"queue_full": 3, "no_route": 0}, "batches": 0, "sends": 0,
        "wake_ups": 0, "system_calls": 0,
        "busy_ns": 12_340_000_000_u64, "gso_refused": 0, "commands": 0, "commands_refused": 0,
        "log_records_dropped": 0,
    });
    let mut core = counters.clone();
    core["worker"] = json!(0);
    core["core"] = json!(2);
    core["io"] = json!("poll");
    core["batch_sizes"] = json!([20, 7, 0, 9]);
    core["rates"] = json!({
        "busy_share": 0.254, "frames_per_s": 50_000.0, "batches_per_s": 4_000.0,
        "sent_per_s": 100_000.0, "wake_ups_per_s": 12.0, "drops_per_s": {"no_rule": 0.5},
        "errors_per_s": {"queue_full": 0.0},
    });
    json!({
        "uptime_s": 61.4,
        "totals": counters,
        "rates": {
            "received_per_s": 50_000.4, "matched_per_s": 50_000.0, "sent_per_s": 100_000.0,
            "sent_bits_per_s": 8.0e8, "drops_per_s": 0.5, "errors_per_s": 0.0,
            "kernel_drops_per_s": 0.0,
        },
        "unaccounted": {"received": 0, "datagrams": 0, "copies": 0},
        "cores": [core],
        "ring_memory_bytes": 12 * 1024 * 1024,
        "rings": [{
            "worker": 0, "interface": "eth0", "class": "standard", "slots": 1024,
            "slot_bytes": 4096, "in_use": 3, "high_water": 90, "exhausted": 0,
            "received": 1_000_110, "kernel_drops": 7, "frames_read": 1_000_103,
            "received_per_s": 50_000.0, "kernel_drops_per_s": 0.0,
        }],
        "rules": [{
            "id": 7, "name": "video", "input": "239.1.1.1:5000@eth0", "state": "active",
            "last_packet_age_ms": 3, "last_source": "10.0.0.7:4000", "packets": 1_000_093,
            "bytes": 0, "packets_per_s": 50_000.0, "bits_per_s": 4.0e8,
            "outputs": [
                {"to": "239.2.2.2:6000@eth1", "sent": 1_000_090, "bytes": 0,
                 "sent_per_s": 50_000.0, "bits_per_s": 4.0e8, "errors": {"queue_full": 3},
                 "errors_per_s": 1.5, "unreachable": 0},
                {"to": "10.9.0.4:7000@eth2", "sent": 1_000_093, "bytes": 0,
                 "sent_per_s": 50_000.0, "errors": {}, "unreachable": 2},
            ],
        }],
    })
}

#[test]
fn stats_follow_a_datagrams_way() {
    assert_eq!(
        output_of(&question(&["stats"]), stats_body()),
        "\
UP 61 s                  TOTAL  PER SECOND
received               1000110       50000
dropped by the kernel        7           0
datagrams read         1000103
matched                1000093       50000
dropped                     10         0.5
sent                   2000183      100000
not sent                     3           0
bits sent                           800.0M

NOT FORWARDED  TOTAL  PER SECOND
no_rule            9         0.5
truncated          1           0

COPIES NOT SENT  TOTAL  PER SECOND
queue_full           3           0

WORKER  CORE  IO    RECEIVED  MATCHED  DROPPED     SENT  NOT SENT  BUSY S
     0     2  poll   1000110  1000093       10  2000183         3    12.3

WORKER  BUSY  READ/S  SENT/S  WAKE-UPS/S  BATCHES/S  MEAN BATCH  BATCHES BY SIZE
     0  25 %   50000  100000          12       4000          12  1: 20, 2-3: 7, 8-15: 9

WORKER  INTERFACE  SLOTS  KIB  IN USE  HIGH  FULL  RECEIVED  PER S  DROPPED  PER S     READ
     0  eth0        1024    4       3    90     0   1000110  50000        7      0  1000103
memory of all rings, spare ones included: 12 MiB

RULE     INPUT, OUTPUTS          PACKETS  PER S   BIT/S  LAST, NOT SENT
7 video  239.1.1.1:5000@eth0     1000093  50000  400.0M  3 ms ago, from 10.0.0.7:4000
         -> 239.2.2.2:6000@eth1  1000090  50000  400.0M  queue_full 3, now 1.5 a second
         -> 10.9.0.4:7000@eth2   1000093  50000       0  unreachable 2
"
    );
}

#[test]
fn an_added_rules_id_stands_alone() {
    let add = question(&["add", "239.1.1.1:5000@eth0", "--to", "10.0.0.1:1@eth1"]);
    let body = |created, applied, state, problems| {
        json!({"rule": 7, "created": created, "applied": applied, "state": state,
            "problems": problems})
    };
    let good = body(true, true, "active", json!([]));
    assert_eq!(output_of(&add, good), "7\n");
    let problems = json!(["eth0 does not exist"]);
    let shown = text(&add, body(false, false, "pending", problems)).unwrap();
    assert_eq!(shown.output, "7\n");
    assert_eq!(
        shown.notes,
        [
            "the same rule is there already: 7",
            "rule 7 has not reached every worker yet",
            "rule 7 (pending): eth0 does not exist",
        ]
    );
}

#[test]
fn a_removal_is_confirmed() {
    let remove = question(&["remove", "video"]);
    let shown = text(&remove, json!({"rule": 7, "applied": false})).unwrap();
    assert_eq!(shown.output, "removed rule 7\n");
    assert_eq!(shown.notes, ["not every worker has dropped rule 7 yet"]);
}

#[test]
fn both_versions_are_shown() {
    let body = |protocol| json!({"version": "9.9.9", "protocol": protocol});
    let client = env!("CARGO_PKG_VERSION");
    assert_eq!(
        output_of(&Question::Version, body(PROTOCOL_VERSION)),
        format!("mcrctl {client}\nmcrd   9.9.9\n")
    );
    let later = text(&Question::Version, body(99)).unwrap();
    assert!(later.notes[0].contains("the daemon 99"), "{later:?}");
}

#[test]
fn json_is_one_document_with_all_that_came() {
    let body = json!({"rules": [video()], "of_a_later_version": 1});
    let shown = json(&body);
    assert_eq!(serde_json::from_str::<Value>(&shown.output).unwrap(), body);
    assert!(shown.output.ends_with("}\n"));
}

#[test]
fn another_answer_is_an_error() {
    assert!(text(&question(&["stats"]), json!({"rules": []})).is_err());
}
