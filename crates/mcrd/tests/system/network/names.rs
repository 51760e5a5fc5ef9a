//! Interfaces by their alternative names.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mcr_api::control::{Command, RuleState, Rules};
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::{link, wait};

use crate::fixture::{Relay, SOON, delivered, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trial.
pub(crate) fn trials(suite: Suite) -> Suite {
    matrix(suite, "network::alternative_names", &[Variant::usual()], alternative_names)
}

/// A rule works by whichever name it was given, shows that one, and waits while nothing has it.
fn alternative_names(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        let (input, output) = (variant.family.group(1), variant.family.output_group(1));
        let (input, output) = (SocketAddr::new(input, 5000), SocketAddr::new(output, 6000));
        let (near, far) = ("plant0", "a-name-of-more-than-fifteen-letters");
        let declared = rule(input, near, &[endpoint(output, far)]);
        let added = relay.add(&declared)?;
        ensure!(added.state == RuleState::Pending, "{added:?}");
        link::add_alternative_name(&relay.net.relay, "in0", near)?;
        link::add_alternative_name(&relay.net.relay, "out0", far)?;
        wait::until("the rule can relay", SOON, || {
            let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
            let rule = &rules[0];
            ensure!(rule.rule.input == declared.input, "{rule:?}");
            Ok(rule.state == RuleState::Active && rule.problems.is_empty())
        })?;
        relay.wait_in_sync()?;
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        delivered(sink, relay.send(input)?)?;
        // The name itself may change, too.
        link::set_down(&relay.net.relay, "in0")?;
        link::rename(&relay.net.relay, "in0", "renamed")?;
        link::set_up(&relay.net.relay, "renamed")?;
        wait::until("the rule can relay again", SOON, || {
            let Rules { rules } = relay.daemon.ask(&Command::ListRules {})?;
            Ok(rules[0].state == RuleState::Active && rules[0].problems.is_empty())
        })
    })
}
