//! MCR's control plane: the process that holds the rules, the sockets and the workers.
//!
//! `start` puts it together; `supervisor` is the one loop, on one thread, that owns all
//! `state` and reacts to an `event` at a time. `reconcile` makes what is held of
//! `resources` what the rules desire on the `interfaces` as they are; `holdings` is what the
//! `workers` must hold of it, and what they are told, compared with and restarted with.
//! `hands` makes on other threads the calls that wait in the kernel, `asked` knows of which no
//! answer has come, and `rings` how large the rings are.
//! `configuration` is the file and its changes, `notify` tells the service manager,
//! `privileged` has all that is done with privilege, `confinement` what is given up besides,
//! `news` is what has happened, `conditions` how the rules are, as told, `control` speaks with
//! clients, `audit` logs what they change, `stats` and `traces` read the workers' ledgers,
//! `metrics` serves statistics over HTTP, and `log` prints.
#![forbid(unsafe_code)]

mod acquire;
mod asked;
mod audit;
mod brakes;
mod conditions;
mod configuration;
mod confinement;
mod control;
mod doubts;
mod event;
mod hands;
mod holdings;
mod interfaces;
mod limits;
mod lines;
mod log;
mod metrics;
mod news;
mod notify;
mod preconditions;
mod privileged;
mod readiness;
mod reconcile;
mod resources;
mod rings;
mod settings;
mod start;
mod state;
mod stats;
mod stuck;
mod supervisor;
mod traces;
mod turns;
mod unreachable;
mod workers;

#[cfg(feature = "fuzzing")]
pub use interfaces::observed;
pub use settings::{Settings, StartError};

/// Runs the daemon until SIGTERM or SIGINT. To be called on the process's first thread: the kernel
/// ends the workers with the thread that started them.
pub fn run(settings: Settings) -> Result<(), StartError> {
    privileged::settle_at_start(settings.scheduling).map_err(StartError::Permission)?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let builder = builder.enable_all().on_thread_start(mcr_sys::privileges::renounce);
    let runtime = builder
        .build()
        .map_err(|cause| StartError::System { what: "starting the runtime", cause })?;
    let served = runtime.block_on(start::serve(settings));
    drop(runtime);
    served
}
