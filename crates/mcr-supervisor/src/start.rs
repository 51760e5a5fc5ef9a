//! From settings to a relay that serves: each step in its order.

use std::sync::Arc;

use mcr_api::config::Config;
use mcr_api::control::{Access, read_only_path};
use mcr_api::worker::launch::{Sandbox, Scheduling};
use mcr_core::steering::Steering;
use mcr_sys::filter::MAX_HASHED_MEMBERS;
use mcr_sys::process::raise_descriptor_limit;
use mcr_sys::sandbox::User;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use crate::configuration::{self, Configuration};
use crate::control::{self, ControlSocket, Entrance, Gate, Host, Ownership, SocketError, Users};
use crate::doubts::Doubts;
use crate::event::Event;
use crate::hands::Hands;
use crate::holdings::Holdings;
use crate::log::Log;
use crate::metrics;
use crate::news::News;
use crate::rings::Rings;
use crate::settings::{Settings, StartError};
use crate::state::State;
use crate::supervisor::Supervisor;
use crate::workers::{Workers, user};
use crate::{confinement, interfaces, limits, preconditions, privileged, unreachable};

/// Starts everything, serves until told to end, and ends everything.
pub(crate) async fn serve(settings: Settings) -> Result<(), StartError> {
    preconditions::proc_is_there()?;
    preconditions::memory_is_enough(settings.cores.len())?;
    let config = settings.config.as_deref().map_or(Ok(Config::default()), configuration::read)?;
    let names = Names::look_up(&settings, &config)?;
    control::make_directory(&settings.control).map_err(|error| socket_error(&error))?;
    let confined = confinement::confine(&settings, &config, names.worker)?;
    preconditions::processes_are_allowed(settings.cores.len())?;
    let format = settings.log_format.or(config.log.format);
    let log = privileged::without(|| Log::begin(format, &config.log.levels));
    confined.tell();
    privileged::packet_sockets_permitted().map_err(StartError::Permission)?;
    if settings.scheduling == Scheduling::Realtime {
        privileged::realtime_permitted().map_err(StartError::Permission)?;
    }
    if settings.sandbox == Sandbox::Off {
        warn!(
            "workers run without their sandbox, and mcrd without its own: whoever takes a worker \
             over has what mcrd has"
        );
    }
    if let Err(error) = raise_descriptor_limit() {
        warn!(
            "the limit of open files stays as it is: {error}; many outputs and workers need more \
             (LimitNOFILE= of the service, or ulimit -n)"
        );
    }
    let (sockets, entrances) = control_sockets(&settings, names.ownership)?;
    privileged::settle(settings.scheduling).map_err(StartError::Permission)?;
    let outcome = serve_at(entrances, &settings, config, names, log).await;
    sockets.into_iter().for_each(ControlSocket::remove);
    outcome
}

async fn serve_at(
    entrances: Vec<Entrance>,
    settings: &Settings,
    config: Config,
    names: Names,
    log: Log,
) -> Result<(), StartError> {
    let (events, inbox) = mpsc::channel(limits::EVENTS);
    listen_to_signals(&events).map_err(system("watching for signals"))?;
    let (watch, watched) = mpsc::unbounded_channel();
    let interfaces = interfaces::observe(events.clone(), watched).await;
    let interfaces = interfaces.map_err(system("reading the interfaces"))?;
    let steering = settings.steering.or(config.steering).unwrap_or_default();
    if steering == Steering::Hash && settings.cores.len() > MAX_HASHED_MEMBERS {
        return Err(StartError::TooManyWorkers { workers: settings.cores.len() });
    }
    let news = News::default();
    let hands = Hands::new(events.clone());
    let rings = Rings::new(config.rings.clone());
    let holdings = Holdings::new(steering, &settings.cores, rings, hands.clone());
    let state = State::new(interfaces, holdings, Doubts::new(watch), news.clone(), hands);
    let workers = Workers::new(settings, names.worker, log.levels(), events.clone(), news);
    let configuration = Configuration::new(settings.config.clone(), &config, events.clone());
    let mut supervisor = Supervisor::new(state, workers, log, configuration, inbox);
    supervisor.configure(&config.rules)?;
    let listen = settings.metrics.or(config.metrics.listen);
    let max_series = config.metrics.max_series.unwrap_or(limits::METRIC_SERIES);
    let server = listen.map(|at| metrics::Server::start(at, max_series, events.clone()));
    let server = server.transpose()?;
    supervisor.start_workers().await?;
    unreachable::collect(&events);
    let clients = take_clients_in(entrances, names.users, &supervisor, &events);
    let clients = clients.map_err(system("watching for clients"))?;
    say_ready(&mut supervisor, settings);
    supervisor.service_manager.ready();
    supervisor.run().await;
    drop(clients);
    drop(server);
    supervisor.stop().await;
    Ok(())
}

/// Whoever is known by name: looked up while the name service's files can be read.
struct Names {
    worker: User,
    ownership: Ownership,
    users: Users,
}

impl Names {
    fn look_up(settings: &Settings, config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            worker: user::of_workers(settings.worker_user.as_deref())?,
            ownership: Ownership::resolve(&settings.control_owner, &config.control)?,
            users: Users::read(),
        })
    }
}

/// The control socket, and where a group may look at a socket of its own that one.
fn control_sockets(
    settings: &Settings,
    ownership: Ownership,
) -> Result<(Vec<ControlSocket>, Vec<Entrance>), StartError> {
    let Ownership { owner, group, read_group } = ownership;
    let mut places = vec![(settings.control.clone(), group, Access::Change)];
    if read_group.is_some() {
        places.push((read_only_path(&settings.control), read_group, Access::Read));
    }
    let (mut sockets, mut entrances) = (Vec::new(), Vec::new());
    for (path, group, access) in places {
        let bound = privileged::control_socket(&path, owner, group);
        let bound = bound.and_then(|(socket, listener)| {
            sockets.push(socket);
            let gate = Gate::of(&path, access);
            let what = "looking at it";
            let gate = gate.map_err(|cause| SocketError::Path { path, what, cause })?;
            Ok(Entrance { listener, gate })
        });
        match bound {
            Ok(entrance) => entrances.push(entrance),
            Err(error) => {
                sockets.into_iter().for_each(ControlSocket::remove);
                return Err(socket_error(&error));
            }
        }
    }
    Ok((sockets, entrances))
}

/// Lets clients in at each entrance, until the answer is dropped.
fn take_clients_in(
    entrances: Vec<Entrance>,
    users: Users,
    supervisor: &Supervisor,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<JoinSet<()>> {
    let host = Host {
        users: Arc::new(users),
        clients: Arc::clone(&supervisor.clients),
        supervisor: events.clone(),
    };
    let mut tasks = JoinSet::new();
    for Entrance { listener, gate } in entrances {
        tasks.spawn(control::serve(UnixListener::from_std(listener)?, gate, host.clone()));
    }
    Ok(tasks)
}

/// Signals are asked for before anything is held that must be given back.
fn listen_to_signals(events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let kinds = [
        (SignalKind::terminate(), (|| Event::Terminate) as fn() -> Event),
        (SignalKind::interrupt(), || Event::Terminate),
        (SignalKind::hangup(), || Event::Reload),
    ];
    for (kind, event) in kinds {
        let mut signals = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if events.send(event()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

fn say_ready(supervisor: &mut Supervisor, settings: &Settings) {
    let workers = settings.cores.len();
    let cores = cores_text(&settings.cores);
    let rules = supervisor.state.rules.len();
    let control = settings.control.display();
    let steering = match supervisor.state.holdings.steering() {
        Steering::Cpu => "",
        Steering::Hash => " steered by hash",
    };
    let plural = |count| if count == 1 { "" } else { "s" };
    supervisor.log.line(&format!(
        "ready: {workers} worker{} on core{} {cores}{steering}, {rules} rule{}, control \
         socket {control}",
        plural(workers),
        plural(workers),
        plural(rules),
    ));
}

/// `0-3,6`.
fn cores_text(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let run = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

fn socket_error(error: &SocketError) -> StartError {
    match error {
        SocketError::Live(_) => StartError::Live(error.to_string()),
        SocketError::Owner { .. } => StartError::ControlNotGiven(error.to_string()),
        _ => StartError::ControlPath(error.to_string()),
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |cause| StartError::System { what, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_shown_as_they_are_given() {
        assert_eq!(cores_text(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(cores_text(&[5]), "5");
        assert_eq!(cores_text(&[3, 1, 2]), "3,1-2");
    }
}
