//! Changes of the network under traffic: the rules concerned recover, the others lose nothing.

mod addresses;
mod flaps;
mod groups;
mod links;
mod mtu;
mod names;
mod outputs;
mod overrun;
mod ports;
mod scene;
mod switch;

use mcr_lab::harness::Suite;

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    suite = links::trials(suite);
    suite = outputs::trials(suite);
    suite = flaps::trials(suite);
    suite = ports::trials(suite);
    suite = addresses::trials(suite);
    suite = mtu::trials(suite);
    suite = names::trials(suite);
    suite = overrun::trials(suite);
    groups::trials(suite)
}
