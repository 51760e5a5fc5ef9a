//! What clients ask on the control socket.

use mcr_api::control::{Command, Request, Response};
use mcr_api::limits::MAX_REQUEST_BYTES;
use mcr_api::rule::RuleSpec;
use mcr_core::rule::Rule;

/// Reads each line as a request. What is one is read again as written; what is none is answered.
pub fn control(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        match Request::parse(line) {
            Ok(request) => {
                let written = request.to_line();
                assert_is_line(&written);
                assert_eq!(Request::parse(&written).as_ref(), Ok(&request));
                if let Command::AddRule { rule } = request.command {
                    add_rule(rule);
                }
            }
            Err(refused) => {
                assert!(!refused.error.message.is_empty());
                let written = Response::<()>::from(refused.clone()).to_line();
                assert_is_line(&written);
                let read: Response<serde_json::Value> =
                    serde_json::from_slice(&written).expect("a client reads what is answered");
                assert_eq!((read.id, read.result.err()), (refused.id, Some(refused.error)));
            }
        }
    }
}

fn assert_is_line(written: &[u8]) {
    assert!(written.iter().position(|byte| *byte == b'\n') == Some(written.len() - 1));
}

/// A rule that is valid is written as it would be read.
pub(crate) fn add_rule(spec: RuleSpec) {
    let Ok(rule) = Rule::try_from(spec) else { return };
    assert_eq!(rule.check(), Ok(()));
    let written = serde_json::to_vec(&RuleSpec::from(&rule)).expect("it is text and numbers");
    // The largest rule must fit a request with room to spare.
    assert!(written.len() < MAX_REQUEST_BYTES);
    let spec: RuleSpec = serde_json::from_slice(&written).expect("it was just written");
    assert_eq!(Rule::try_from(spec), Ok(rule));
}
