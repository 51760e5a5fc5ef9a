use mcr_lab::harness::Suite;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
}
