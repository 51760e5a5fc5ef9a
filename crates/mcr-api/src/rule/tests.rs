use std::fmt::Write;
use std::net::SocketAddr;

use mcr_core::endpoint::Endpoint;
use mcr_core::rule::{Output, OutputOptions, RuleName};
use proptest::prelude::*;

use super::*;

fn spec(json: &str) -> RuleSpec {
    serde_json::from_str(json).unwrap()
}

fn rule(json: &str) -> Result<Rule, SpecError> {
    spec(json).try_into()
}

/// A rule with one output, and why it is refused.
fn refusal(output: &str) -> String {
    let spec = RuleSpec {
        name: None,
        input: "239.1.1.1:5000@eth0".into(),
        source: None,
        outputs: vec![OutputSpec::Text(output.into())],
        exclusive: false,
    };
    Rule::try_from(spec).unwrap_err().to_string()
}

#[test]
fn both_forms_of_an_output_say_the_same() {
    let text = rule(
        r#"{"input":"239.1.1.1:5000@eth0","outputs":[
            "239.2.2.2:6000@eth1,ttl=8,dscp=46,source=10.0.0.1,source-port=5000,loop"]}"#,
    );
    let object = rule(
        r#"{"input":"239.1.1.1:5000@eth0","outputs":[{"to":"239.2.2.2:6000@eth1",
            "ttl":8,"dscp":46,"source":"10.0.0.1","source_port":5000,"loop":true}]}"#,
    );
    let rule = text.unwrap();
    assert_eq!(rule, object.unwrap());
    assert_eq!(
        rule.outputs[0].options,
        OutputOptions {
            source: Some("10.0.0.1".parse().unwrap()),
            source_port: Some(5000),
            ttl: 8,
            dscp: 46,
            multicast_loop: true,
        }
    );
}

#[test]
fn an_output_is_written_as_short_as_it_can_be() {
    let json = concat!(
        r#"{"name":"video","input":"239.1.1.1:5000@eth0","source":"10.0.0.7","#,
        r#""outputs":["239.2.2.2:6000@eth1",{"to":"10.9.0.4:7000@eth2","ttl":8}]}"#
    );
    let rule = rule(json).unwrap();
    assert_eq!(serde_json::to_string(&RuleSpec::from(&rule)).unwrap(), json);
}

#[test]
fn exclusive_is_written_where_it_holds() {
    let exclusive = concat!(
        r#"{"input":"239.1.1.1:5000@eth0","#,
        r#""outputs":["239.2.2.2:6000@eth1"],"exclusive":true}"#
    );
    let rule = rule(exclusive).unwrap();
    assert!(rule.exclusive);
    assert_eq!(serde_json::to_string(&RuleSpec::from(&rule)).unwrap(), exclusive);
    let error = |value: &str| {
        let json = exclusive.replace("true", value);
        serde_json::from_str::<RuleSpec>(&json).unwrap_err().to_string()
    };
    assert!(error("1").contains("expected a boolean"), "{}", error("1"));
}

#[test]
fn a_wrong_output_is_named_with_the_remedy() {
    assert_eq!(
        refusal("239.2.2.2@eth1"),
        "output 1: \"239.2.2.2\" is not ADDRESS:PORT (IPv6 in brackets: [ff3e::1234]:5000)"
    );
    assert_eq!(
        refusal("239.2.2.2:6000@eth1,ttl=300"),
        "output 1: ttl=\"300\": a number from 1 to 255 is needed"
    );
    assert_eq!(
        refusal("239.2.2.2:6000@eth1,loop=yes"),
        "output 1: \"loop=yes\" is not an option of an output; there are ttl=N, dscp=N, \
         source=ADDRESS, source-port=N and loop"
    );
    assert_eq!(refusal("239.2.2.2:6000@eth1,ttl=3,ttl=4"), "output 1: option ttl is given twice");
    assert_eq!(
        refusal("239.1.1.1:5000@eth0"),
        "rule: output 239.1.1.1:5000@eth0 is the rule's own input: its datagrams would circle"
    );
}

#[test]
fn a_wrong_form_is_named() {
    let error = |json: &str| serde_json::from_str::<RuleSpec>(json).unwrap_err().to_string();
    let contains = |json: &str, part: &str| {
        let message = error(json);
        assert!(message.contains(part), "{message}");
    };
    let input = r#""input":"239.1.1.1:5000@eth0""#;
    contains(r#"{"outputs":[]}"#, "missing field `input`");
    contains(&format!("{{{input}}}"), "missing field `outputs`");
    contains(
        &format!(r#"{{{input},"outputs":[],"src":"10.0.0.1"}}"#),
        "unknown field `src`, expected one of `name`, `input`, `source`, `outputs`, \
         `exclusive`",
    );
    contains(
        &format!(r#"{{{input},"outputs":[7]}}"#),
        "expected an output: \"ADDRESS:PORT@INTERFACE\" or an object with \"to\"",
    );
    contains(
        &format!(r#"{{{input},"outputs":[{{"to":"10.0.0.1:1@a","tll":8}}]}}"#),
        "unknown field `tll`, expected one of `to`, `ttl`, `dscp`",
    );
    contains(
        &format!(r#"{{{input},"outputs":[{{"to":"10.0.0.1:1@a","ttl":300}}]}}"#),
        "invalid value: integer `300`, expected u8",
    );
    contains(
        &format!(r#"{{{input},"outputs":[],"source":"10.0.0"}}"#),
        "source \"10.0.0\" is not an IPv4 or IPv6 address, such as 10.0.0.7",
    );
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from),]
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let text = (any_address(), 1..=u16::MAX, "[a-z,=.]{1,15}");
    text.prop_filter_map("not every address is one", |(address, port, name)| {
        let at = SocketAddr::new(address, port);
        format!("{at}@{name}").parse().ok()
    })
}

fn any_output() -> impl Strategy<Value = Output> {
    let options = (
        proptest::option::of(any_address()),
        proptest::option::of(any::<u16>()),
        any::<u8>(),
        any::<u8>(),
        any::<bool>(),
    );
    let options = options.prop_map(|(source, source_port, ttl, dscp, multicast_loop)| {
        OutputOptions { source, source_port, ttl, dscp, multicast_loop }
    });
    let options = prop_oneof![Just(OutputOptions::default()), options];
    (any_endpoint(), options).prop_map(|(endpoint, options)| Output { endpoint, options })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let name = proptest::option::of("[a-z0-9\"-]{1,64}");
    let source = proptest::option::of(any_address());
    let outputs = proptest::collection::vec(any_output(), 1..5);
    let rule = (name, any_endpoint(), source, outputs, any::<bool>());
    rule.prop_map(|(name, endpoint, source, outputs, exclusive)| Rule {
        name: name.and_then(|name| name.parse::<RuleName>().ok()),
        input: InputKey { endpoint, source },
        outputs,
        exclusive,
    })
}

proptest! {
    #[test]
    fn a_rule_survives_json(rule in any_rule()) {
        let json = serde_json::to_string(&RuleSpec::from(&rule)).unwrap();
        let back = Rule::try_from(serde_json::from_str::<RuleSpec>(&json).unwrap());
        match rule.check() {
            Ok(()) => prop_assert_eq!(back.unwrap(), rule),
            Err(error) => prop_assert_eq!(back.unwrap_err().cause, SpecCause::Rule(error)),
        }
    }

    #[test]
    fn a_rule_survives_toml(rule in any_rule()) {
        prop_assume!(rule.check().is_ok());
        let text = toml::to_string(&RuleSpec::from(&rule)).unwrap();
        let back = toml::from_str::<RuleSpec>(&text).unwrap();
        prop_assert_eq!(Rule::try_from(back).unwrap(), rule);
    }

    #[test]
    fn the_text_of_an_output_says_all(mut output in any_output()) {
        // A comma would begin an option.
        let name = output.endpoint.interface.as_str().replace(',', "-");
        output.endpoint.interface = name.parse().unwrap();
        let options = &output.options;
        let mut text = format!("{},ttl={},dscp={}", output.endpoint, options.ttl, options.dscp);
        if let Some(source) = options.source {
            write!(text, ",source={source}").unwrap();
        }
        if let Some(port) = options.source_port {
            write!(text, ",source-port={port}").unwrap();
        }
        if options.multicast_loop {
            text += ",loop";
        }
        let back = Output::try_from(&OutputSpec::Text(text)).unwrap();
        prop_assert_eq!(back, output);
    }
}
