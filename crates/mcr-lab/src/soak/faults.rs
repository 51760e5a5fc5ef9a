//! The faults carried out, each with the windows that it announces.

mod clients;
mod frames;
mod network;
mod processes;
mod programs;

use std::time::Duration;

use anyhow::{Context, Result};
use mcr_api::control::WorkerStatus;
use mcr_sys::process::monotonic_ns;

use super::bed::Bed;
use super::flows::Flow;
use super::relay::Relay;
use super::schedule::{Fault, Kind};
use super::window::{Concern, Window, held_back};
use super::witness::Witnesses;
use crate::{limits, wait};

pub(super) use frames::can_stop_rings;

/// All that faults happen to.
#[derive(Debug)]
pub(super) struct Scene {
    /// The network.
    pub(super) bed: Bed,
    /// The daemon.
    pub(super) relay: Relay,
    /// The far ends.
    pub(super) witnesses: Witnesses,
    /// What should come there.
    pub(super) flows: Vec<Flow>,
    /// How many of the daemon's workers this life has cost by intent.
    pub(super) deaths: u64,
}

/// What a fault came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The announced outages.
    pub(super) windows: Vec<Window>,
    /// What should not be, beside losses.
    pub(super) findings: Vec<String>,
}

/// When the cause of an outage was there, and how long recovery may take after it.
#[derive(Debug, Clone, Copy)]
struct Span {
    begin_ns: u64,
    over_ns: u64,
    limit: Duration,
}

impl Span {
    /// A cause that lasted from `begin_ns` until now.
    fn until_now(begin_ns: u64, limit: Duration) -> Self {
        Self { begin_ns, over_ns: monotonic_ns(), limit }
    }

    /// A worker that died, or fell silent, at `begin_ns`: its successor may be held back.
    fn of_replacement(begin_ns: u64, worker: &WorkerStatus, silent: bool) -> Self {
        let over_ns = begin_ns + held_back(worker.restarts).as_nanos() as u64;
        let notice = if silent { limits::soak::STALL } else { Duration::ZERO };
        Self { begin_ns, over_ns, limit: notice + limits::soak::REPLACEMENT }
    }
}

impl Outcome {
    fn announce(&mut self, fault: &Fault, concern: Concern, span: Span) {
        let Span { begin_ns, over_ns, limit } = span;
        let (fault, kind) = (fault.to_string(), Some(fault.kind));
        self.windows.push(Window { fault, kind, concern, begin_ns, over_ns, limit });
    }
}

impl Scene {
    /// Carries a fault out, and waits until the relay has recovered, unless it is a hasty one.
    pub(super) fn strike(&mut self, fault: &Fault) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let begin_ns = monotonic_ns();
        self.carry_out(fault, &mut outcome).with_context(|| fault.to_string())?;
        if outcome.windows.is_empty() {
            // Nobody is concerned; what is lost all the same is found beside it.
            outcome.announce(fault, Concern::Nobody, Span::until_now(begin_ns, Duration::ZERO));
        }
        if !fault.hasty {
            self.wait_until_flowing().with_context(|| format!("after {fault}"))?;
        }
        Ok(outcome)
    }

    fn carry_out(&mut self, fault: &Fault, outcome: &mut Outcome) -> Result<()> {
        if fault.kind.needs_a_whole_relay() {
            self.wait_until_flowing().context("before it")?;
        }
        match fault.kind {
            Kind::KillWorker => processes::kill_worker(self, fault, outcome),
            Kind::StopWorker => processes::stop_worker(self, fault, outcome),
            Kind::KillSupervisor => processes::kill_supervisor(self, fault, outcome),
            Kind::EndSupervisor => processes::end_supervisor(self, fault, outcome),
            Kind::Reload => processes::reload(self, fault, outcome),
            Kind::LinkDown => network::down(self, fault, outcome, false),
            Kind::CarrierLost => network::down(self, fault, outcome, true),
            Kind::LinkFlaps => network::flaps(self, fault, outcome),
            Kind::LinkGone => network::gone(self, fault, outcome),
            Kind::LinkRenamed => network::renamed(self, fault, outcome),
            Kind::AddressChanged => network::address_changed(self, fault, outcome),
            Kind::MtuChanged => network::mtu_changed(self, fault, outcome),
            Kind::NetlinkStorm => network::storm(self),
            Kind::RulesChanged => clients::change_rules(self),
            Kind::RuleChurn => clients::churn(self),
            Kind::BadClients => clients::misbehave(self, fault.hold),
            Kind::FullCommandSocket => clients::fill_command_socket(self, fault, outcome),
            Kind::RingStopped => frames::stop_ring(self, fault, outcome),
            Kind::HostSilent => network::silent_host(self, fault, outcome),
            Kind::SharedPort => programs::share_port(self, fault, outcome),
        }
    }

    /// Waits until the relay is whole and something sent after that has come to every witness.
    pub(super) fn wait_until_flowing(&self) -> Result<()> {
        self.relay.wait_until_healthy()?;
        let since = monotonic_ns();
        let mut silent = None;
        wait::until("every flow arrives", limits::soak::RECOVERY, || {
            let is_silent = |flow: &usize| self.witnesses.seen(*flow).last_sent_ns < since;
            silent = (0..self.flows.len()).find(is_silent);
            Ok(silent.is_none())
        })
        .with_context(|| silent.map_or(String::new(), |flow| self.flows[flow].to_string()))
    }
}
