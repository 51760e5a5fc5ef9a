//! What every trial stands on: the lab's network, the real daemon in it, and the accounts at the
//! end.
//!
//! ```ignore
//! fn multicast_to_unicast(variant: Variant) -> Result<()> {
//!     Relay::run(variant, |relay| {
//!         let group = SocketAddr::new(variant.family.group(1), 5000);
//!         let host = SocketAddr::new(variant.family.sink(0), 7000);
//!         let sink = Sink::unicast(&relay.net.sinks[0], host)?;
//!         relay.add(&rule(group, "in0", &[endpoint(host, "out0")]))?;
//!         let sent = relay.send(group)?;
//!         delivered(sink, sent)
//!     })
//! }
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use mcr_api::control::{
    Added, Command, Removed, RuleReference, RuleState, Rules, Stats, WorkerState, Workers,
};
use mcr_api::rule::{OutputSpec, RuleSpec};
use mcr_core::steering::Shares;
use mcr_lab::daemon::{Daemon, Grant};
use mcr_lab::generator::{Generator, RunningGenerator};
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::{Sink, SinkReport};
use mcr_lab::topology::{RelayTopology, sink_v4, sink_v6};
use mcr_lab::{address, identity, link, wait};
use mcr_sys::process::pin_to_core;

use crate::variant::{Variant, endpoint};

/// Enough for what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// How long a daemon may take to be ready: with 10,000 rules, in a debug build, on a machine that
/// runs other trials beside.
const READY: Duration = Duration::from_secs(90);

/// Datagrams a second of each stream of [`Relay::send`]: no test bed loses any at that rate.
const RATE: u64 = 5_000;

/// A running daemon in the middle of the lab's network.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The network; the daemon runs in `net.relay`.
    pub(crate) net: RelayTopology,
    /// The daemon.
    pub(crate) daemon: Daemon,
    /// How it runs.
    pub(crate) variant: Variant,
    /// The cores of its workers.
    pub(crate) cores: Vec<usize>,
    // Given back when the daemon has ended.
    _share: Share,
}

/// Trials run side by side, but those that need the machine to themselves.
static MACHINE: RwLock<()> = RwLock::new(());

/// What a trial has of the machine.
#[derive(Debug)]
pub(crate) enum Share {
    Some(#[expect(dead_code, reason = "held for what it does")] RwLockReadGuard<'static, ()>),
    All(#[expect(dead_code, reason = "held for what it does")] RwLockWriteGuard<'static, ()>),
}

impl Share {
    fn some() -> Self {
        Self::Some(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The whole machine, for a trial without a [`Relay`].
    pub(crate) fn all() -> Self {
        Self::All(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many datagrams of how many streams were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Streams, numbered from 0.
    pub(crate) streams: u32,
    /// Datagrams of each of them.
    pub(crate) of_each: u64,
}

impl Sent {
    /// Datagrams of all streams.
    pub(crate) fn total(self) -> u64 {
        u64::from(self.streams) * self.of_each
    }
}

/// Streams under way.
#[derive(Debug)]
pub(crate) struct Traffic {
    generators: Vec<RunningGenerator>,
}

impl Traffic {
    /// Stops before all is sent, and says how many datagrams were.
    pub(crate) fn stop(self) -> Result<u64> {
        self.generators.into_iter().try_fold(0, |sent, one| Ok(sent + one.stop()?.total()))
    }

    /// Waits until all is sent.
    pub(crate) fn finish(self) -> Result<Sent> {
        let streams = self.generators.len() as u32;
        let mut of_each = None;
        for generator in self.generators {
            let total = generator.finish()?.total();
            ensure!(*of_each.get_or_insert(total) == total, "streams of different length");
        }
        Ok(Sent { streams, of_each: of_each.unwrap_or(0) })
    }
}

impl Relay {
    /// Runs a trial on the lab's usual network: one link in, two out.
    ///
    /// Afterwards the accounting identity must hold, no worker may have been replaced, and the
    /// daemon must stop cleanly. A failure shows the daemon's log.
    pub(crate) fn run(variant: Variant, trial: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        Self::run_on(variant, RelayTopology::builder().build()?, &[], trial)
    }

    /// Like [`Relay::run`], on a network made to measure and with further arguments of `mcrd`.
    pub(crate) fn run_on(
        variant: Variant,
        net: RelayTopology,
        arguments: &[&str],
        trial: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut relay = Self::start(variant, net, arguments)?;
        relay.try_out(trial)?;
        relay.stop().map(drop)
    }

    /// Lets a trial go on with it. A failure shows the daemon's log.
    pub(crate) fn try_out(&mut self, trial: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let done = trial(self).and_then(|()| self.check_unharmed());
        done.with_context(|| format!("mcrd's log:\n{}\n", self.daemon.log_lines().join("\n")))
    }

    /// Stops the daemon, and leaves the network as it then is.
    pub(crate) fn stop(mut self) -> Result<RelayTopology> {
        let status = self.daemon.terminate()?;
        ensure!(status.success(), "mcrd ended with {status}");
        Ok(self.net)
    }

    /// Starts the daemon, and checks that it runs as told.
    pub(crate) fn start(variant: Variant, net: RelayTopology, arguments: &[&str]) -> Result<Self> {
        Self::start_with(Share::some(), variant, net, |net, cores| {
            Daemon::start_within(net, &[cores, arguments].concat(), READY)
        })
    }

    /// Like [`Relay::start`], of the build whose workers fail to order.
    pub(crate) fn start_fallible(
        variant: Variant,
        net: RelayTopology,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::start_with(Share::some(), variant, net, |net, told| {
            Daemon::start_fallible(net, &[told, arguments].concat())
        })
    }

    /// Like [`Relay::start`], of a daemon as an ordinary user.
    pub(crate) fn start_as_nobody(
        variant: Variant,
        net: RelayTopology,
        grant: Grant,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::start_with(Share::some(), variant, net, |net, cores| {
            Daemon::start_as_nobody(net, grant, &[cores, arguments].concat())
        })
    }

    /// Like [`Relay::start`], while no other relay runs on this machine.
    pub(crate) fn start_alone(variant: Variant, net: RelayTopology) -> Result<Self> {
        Self::start_alone_with(variant, net, &[])
    }

    /// Like [`Relay::start_alone`], with further arguments of `mcrd`.
    pub(crate) fn start_alone_with(
        variant: Variant,
        net: RelayTopology,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::start_with(Share::all(), variant, net, |net, told| {
            Daemon::start(net, &[told, arguments].concat())
        })
    }

    fn start_with(
        share: Share,
        variant: Variant,
        net: RelayTopology,
        launch: impl FnOnce(&Namespace, &[&str]) -> Result<Daemon>,
    ) -> Result<Self> {
        let cores = variant.cores()?;
        know_neighbours(&net)?;
        let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
        let list = list.join(",");
        let (io, steering) = (variant.io.name(), variant.steering.to_string());
        let told = ["--cores", &list, "--io", io, "--steering", &steering];
        let daemon = launch(&net.relay, &told)?;
        let relay = Self { net, daemon, variant, cores, _share: share };
        let Workers { workers, steering, .. } = relay.workers()?;
        let as_told = steering == variant.steering.to_string()
            && workers.len() == variant.workers
            && workers.iter().all(|worker| worker.io == Some(variant.io));
        ensure!(as_told, "not {variant}: {workers:?}");
        Ok(relay)
    }

    /// The number of the only worker that handles what is sent there; `None`: that of the core.
    pub(crate) fn owner(&self, destination: SocketAddr) -> Option<usize> {
        let shares = Shares::new(self.variant.steering, &self.cores);
        let owner = shares.owner(destination.ip(), destination.port());
        owner.map(|worker| worker.0 as usize)
    }

    /// How many of the declared rules, each able to relay, each worker is to hold.
    pub(crate) fn shares(&self) -> Result<Vec<u64>> {
        let Rules { rules } = self.daemon.ask(&Command::ListRules {})?;
        let mut shares = vec![0; self.cores.len()];
        for rule in rules {
            let (input, _) = rule.rule.input.rsplit_once('@').context("an endpoint")?;
            let owner = self.owner(input.parse()?);
            for worker in (0..shares.len()).filter(|worker| owner.is_none_or(|o| o == *worker)) {
                shares[worker] += 1;
            }
        }
        Ok(shares)
    }

    /// For each worker a destination in the group such that it handles what its core sends there.
    pub(crate) fn inputs(&self, group: IpAddr) -> Vec<SocketAddr> {
        let of = |worker: usize| {
            let mut all = (5_000..).map(|port| SocketAddr::new(group, port));
            all.find(|input| self.owner(*input).is_none_or(|owner| owner == worker))
        };
        let inputs = (0..self.cores.len()).map(of);
        inputs.collect::<Option<_>>().expect("each worker has a share of all ports")
    }

    /// Adds a rule, and waits until every worker has it.
    pub(crate) fn add(&self, rule: &RuleSpec) -> Result<Added> {
        let added: Added = self.daemon.ask(&Command::AddRule { rule: rule.clone() })?;
        self.wait_in_sync()?;
        Ok(added)
    }

    /// Adds a rule that must be able to relay whole.
    pub(crate) fn add_active(&self, rule: &RuleSpec) -> Result<Added> {
        let added = self.add(rule)?;
        let active = added.state == RuleState::Active && added.problems.is_empty();
        ensure!(active, "{added:?}");
        Ok(added)
    }

    /// Removes a rule, and waits until no worker has it.
    pub(crate) fn remove(&self, id: u64) -> Result<()> {
        let rule = RuleReference::Id(id);
        let _: Removed = self.daemon.ask(&Command::RemoveRule { rule })?;
        self.wait_in_sync()
    }

    /// The workers as the daemon shows them.
    pub(crate) fn workers(&self) -> Result<Workers> {
        self.daemon.ask(&Command::ListWorkers {})
    }

    /// Waits until every worker runs and holds exactly what it should.
    pub(crate) fn wait_in_sync(&self) -> Result<()> {
        wait::until("every worker is in sync", SOON, || {
            let workers = self.workers()?.workers;
            Ok(workers.iter().all(|w| w.in_sync && w.state == WorkerState::Running))
        })
    }

    /// Sends from every worker's core as a stream of its own, out of `src0`: with CPU steering each
    /// worker gets one, in order.
    pub(crate) fn send(&self, destination: SocketAddr) -> Result<Sent> {
        self.send_by(|| self.generator(), destination)
    }

    /// Like [`Relay::send`], by generators made to measure.
    pub(crate) fn send_by(
        &self,
        generator: impl Fn() -> Generator,
        destination: SocketAddr,
    ) -> Result<Sent> {
        self.start_sending(generator, destination)?.finish()
    }

    /// What [`Relay::send`] sends by, for a test to change: half a second at a low rate.
    pub(crate) fn generator(&self) -> Generator {
        Generator::new(&self.net.source, "src0").rate(RATE).count(RATE / 2)
    }

    /// Begins to send from every worker's core.
    pub(crate) fn start_sending(
        &self,
        generator: impl Fn() -> Generator,
        destination: SocketAddr,
    ) -> Result<Traffic> {
        let streams = (0_u32..).zip(&self.cores);
        let generators = streams.map(|(stream, &core)| {
            let generator = generator().flow(stream, destination);
            on_core(core, || generator.start())
        });
        Ok(Traffic { generators: generators.collect::<Result<_>>()? })
    }

    /// The counters once nothing is under way, with at least `received` frames received since the
    /// daemon's start; the identity holds.
    pub(crate) fn settled(&self, received: u64) -> Result<Stats> {
        identity::wait_until_settled(&self.daemon, received)
    }

    /// No worker has died, and every datagram is accounted for.
    pub(crate) fn check_unharmed(&self) -> Result<()> {
        let workers = self.workers()?.workers;
        ensure!(workers.iter().all(|worker| worker.restarts == 0), "{workers:?}");
        self.settled(0).map(drop)
    }
}

/// Runs `work` on a thread that is pinned to a core, as are the threads it starts.
pub(crate) fn on_core<T: Send>(core: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let pinned = scope.spawn(move || {
            pin_to_core(core)?;
            work()
        });
        pinned.join().map_err(|_| anyhow!("a thread pinned to core {core} panicked"))?
    })
}

/// Writes the sinks' hardware addresses into the relay's neighbour tables: while the kernel asks
/// for one it holds back a hundred packets and silently drops more, and that loss is not under
/// test.
fn know_neighbours(net: &RelayTopology) -> Result<()> {
    for (number, sink) in (0_u8..).zip(&net.sinks) {
        let mac = link::mac_address(sink, &format!("sink{number}"))?;
        for host in [IpAddr::from(sink_v4(number)), sink_v6(number).into()] {
            address::add_neighbour(&net.relay, &format!("out{number}"), host, mac)?;
        }
    }
    Ok(())
}

/// A rule without name and source, not exclusive.
pub(crate) fn rule(input: SocketAddr, ifname: &str, outputs: &[String]) -> RuleSpec {
    RuleSpec {
        name: None,
        input: endpoint(input, ifname),
        source: None,
        outputs: outputs.iter().cloned().map(OutputSpec::Text).collect(),
        exclusive: false,
    }
}

/// Everything sent has come to the sink: once, in order, whole, and nothing else.
pub(crate) fn delivered(sink: Sink, sent: Sent) -> Result<SinkReport> {
    let arrived = sink.wait_for(sent.total(), SOON);
    let report = sink.finish()?;
    arrived.with_context(|| format!("{report:#?}"))?;
    let perfect = (0..sent.streams).all(|stream| report.stream(stream).is_perfect(sent.of_each));
    let nothing_else = report.stray_count == 0 && report.streams.len() == sent.streams as usize;
    ensure!(perfect && nothing_else && report.socket_drops == 0, "of {sent:?} came {report:#?}");
    Ok(report)
}
