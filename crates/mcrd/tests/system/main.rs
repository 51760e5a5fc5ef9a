//! System tests of the real programs: `mcrd`, its workers and `mcrctl`, in network namespaces of
//! the tests' own making.
//!
//! A module for each theme; [`fixture`] is what they stand on. Every trial ends with the accounting
//! identity, an unharmed set of workers and a clean stop of the daemon.
#![forbid(unsafe_code)]

mod access;
mod broadcast;
mod busy_poll;
mod bystanders;
mod circles;
mod client;
mod configuration;
mod control;
mod directions;
mod disturbance;
mod egress;
mod ending;
mod events;
mod exclusive;
mod fanout;
mod faults;
mod filters;
mod fixture;
mod frames;
mod icmp;
mod lifecycle;
mod limits;
mod load;
mod logging;
mod losses;
mod membership;
mod metrics;
mod network;
mod outage;
mod overload;
mod privileges;
mod readme;
mod reload;
mod rules;
mod sandbox;
mod service_manager;
mod startup;
mod starvation;
mod statistics;
mod steering;
mod storm;
mod top;
mod traces;
mod variant;

use std::process::ExitCode;

use mcr_lab::harness::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new("system");
    suite = access::trials(suite);
    suite = directions::trials(suite);
    suite = fanout::trials(suite);
    suite = frames::trials(suite);
    suite = membership::trials(suite);
    suite = network::trials(suite);
    suite = filters::trials(suite);
    suite = load::trials(suite);
    suite = storm::trials(suite);
    suite = egress::trials(suite);
    suite = icmp::trials(suite);
    suite = broadcast::trials(suite);
    suite = busy_poll::trials(suite);
    suite = bystanders::trials(suite);
    suite = exclusive::trials(suite);
    suite = steering::trials(suite);
    suite = control::trials(suite);
    suite = limits::trials(suite);
    suite = circles::trials(suite);
    suite = client::trials(suite);
    suite = readme::trials(suite);
    suite = configuration::trials(suite);
    suite = reload::trials(suite);
    suite = lifecycle::trials(suite);
    suite = privileges::trials(suite);
    suite = ending::trials(suite);
    suite = service_manager::trials(suite);
    suite = metrics::trials(suite);
    suite = faults::trials(suite);
    suite = outage::trials(suite);
    suite = disturbance::trials(suite);
    suite = overload::trials(suite);
    suite = starvation::trials(suite);
    suite = events::trials(suite);
    suite = logging::trials(suite);
    suite = rules::trials(suite);
    suite = sandbox::trials(suite);
    suite = startup::trials(suite);
    suite = statistics::trials(suite);
    suite = top::trials(suite);
    suite = traces::trials(suite);
    suite.run()
}
