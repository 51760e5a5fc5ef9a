//! Records of `tracing`, made into records of areas.

use std::sync::Arc;

use mcr_api::log::{Area, Level};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::printer::Printer;
use super::record::Record;

/// The target of what workers say: they have asked their levels already.
pub(super) const WORKER: &str = "worker";

/// The targets of what is said elsewhere about rules and interfaces.
pub(crate) const RULES: &str = "mcr_supervisor::rules";
pub(crate) const INTERFACES: &str = "mcr_supervisor::interfaces";

/// Hands what the levels let through to the printer.
#[derive(Debug)]
pub(super) struct Records(pub(super) Arc<Printer>);

impl<S: Subscriber> Layer<S> for Records {
    /// Levels change at any time.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        let level = level(*metadata.level());
        target == WORKER || level.is_some_and(|level| self.0.lets(area(target), level))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(level) = level(*metadata.level()) else {
            return;
        };
        let mut record = Record::new(level, area(metadata.target()));
        event.record(&mut record);
        self.0.print(&record);
    }
}

/// `None`: finer than anything that is ever printed.
fn level(level: tracing::Level) -> Option<Level> {
    match level {
        tracing::Level::ERROR => Some(Level::Error),
        tracing::Level::WARN => Some(Level::Warn),
        tracing::Level::INFO => Some(Level::Info),
        tracing::Level::DEBUG => Some(Level::Debug),
        tracing::Level::TRACE => None,
    }
}

/// The area of a module.
fn area(target: &str) -> Area {
    let mut path = target.split("::");
    if path.next() != Some("mcr_supervisor") {
        return Area::Supervisor;
    }
    match path.next() {
        Some("rules" | "reconcile" | "resources" | "unreachable" | "conditions") => Area::Rules,
        Some("interfaces") => Area::Interfaces,
        Some("workers" | "holdings") => Area::Workers,
        Some("control") => Area::Control,
        Some("audit") => Area::Audit,
        Some("configuration") => Area::Configuration,
        Some("metrics") => Area::Metrics,
        _ => Area::Supervisor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_the_area_of_its_subject() {
        assert_eq!(area("mcr_supervisor::resources::ingress::set"), Area::Rules);
        assert_eq!(area("mcr_supervisor::workers"), Area::Workers);
        assert_eq!((area(RULES), area(INTERFACES)), (Area::Rules, Area::Interfaces));
        assert_eq!(area("mcr_supervisor::audit"), Area::Audit);
        assert_eq!(area("mcr_supervisor"), Area::Supervisor);
        assert_eq!(area("netlink_proto::workers"), Area::Supervisor);
    }
}
