//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, value_parser};
use mcr_api::config::{ControlConfig, listen_address};
use mcr_api::control::DEFAULT_CONTROL_PATH;
use mcr_api::log::Format;
use mcr_api::worker::launch::{Io, Sandbox, Scheduling};
use mcr_core::ids::WorkerId;
use mcr_core::steering::Steering;
use mcr_supervisor::Settings;
use mcr_sys::process::allowed_cores;
use mcr_sys::sandbox::User;

use super::cores::{self, Cores};
use super::exit::{self, Failure};

/// A second: who would look for longer does not want to wait at all.
const MAX_BUSY_POLL_US: i64 = 1_000_000;

/// Multicast relay daemon: receives UDP datagrams of a group and sends them on to others.
#[derive(Debug, Parser)]
#[command(name = "mcrd", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Configuration file (TOML) with `[[rule]]` tables
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL_PATH)]
    control: PathBuf,
    /// User, a name or a number, that owns the control socket [default: mcrd's own]
    #[arg(long, value_name = "USER")]
    control_owner: Option<String>,
    /// Group, a name or a number, that may use the control socket [default: mcrd's own]
    #[arg(long, value_name = "GROUP")]
    control_group: Option<String>,
    /// Group that may look, and change nothing, at a socket beside it (control-read.sock)
    #[arg(long, value_name = "GROUP")]
    control_read_group: Option<String>,
    /// Cores to relay on, such as 0-3,6 [default: every core this process may run on]
    #[arg(long, value_name = "LIST")]
    cores: Option<Cores>,
    /// How to send and wait: auto, io_uring or poll
    #[arg(long, value_name = "WAY", default_value_t)]
    io: Io,
    /// How frames reach workers: cpu, the core that received it, or hash, by its destination
    #[arg(long, value_name = "MODE")]
    steering: Option<Steering>,
    /// How workers are scheduled: fair, or realtime, before every program that is not
    #[arg(long, value_name = "POLICY", default_value_t)]
    scheduling: Scheduling,
    /// How long workers look for frames, after the last one, before they wait to be woken
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0,
          value_parser = value_parser!(u32).range(..=MAX_BUSY_POLL_US))]
    busy_poll_us: u32,
    /// Whether workers give up what relaying does not need: on, or off to debug them
    #[arg(long, value_name = "on|off", default_value_t)]
    sandbox: Sandbox,
    /// User to run workers as [default: mcr-worker where there is one, else nobody]
    #[arg(long, value_name = "NAME")]
    worker_user: Option<String>,
    /// Address to export metrics and health at over HTTP, such as 127.0.0.1:9464 [default: none]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen_address)]
    metrics: Option<SocketAddr>,
    /// How the log is written: text or json [default: text, and in fields to the journal]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
    #[command(subcommand)]
    role: Option<Hidden>,
}

/// Options that only the daemon itself gives.
#[derive(Debug, Subcommand)]
enum Hidden {
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        worker: u32,
        #[arg(long)]
        core: usize,
        #[arg(long)]
        io: Io,
        #[arg(long)]
        scheduling: Scheduling,
        #[arg(long)]
        busy_poll_us: u32,
        #[arg(long)]
        parent: u32,
        #[arg(long)]
        sandbox: Sandbox,
        #[arg(long)]
        uid: u32,
        #[arg(long)]
        gid: u32,
    },
}

/// The role of this process.
#[derive(Debug)]
pub(crate) enum Role {
    Supervisor(Settings),
    Worker(mcr_worker::Arguments),
}

impl Args {
    /// Reads the command line; prints the help or version and ends where that is asked for.
    pub(crate) fn read() -> Result<Self, Failure> {
        Self::try_parse().map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            // The first line says what is wrong; the rest is the usage.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            exit::usage(format_args!("{line} (see mcrd --help)"))
        })
    }

    /// Resolves the choices.
    pub(crate) fn into_role(self) -> Result<Role, Failure> {
        if let Some(hidden) = self.role {
            return Ok(Role::Worker(hidden.into_arguments()));
        }
        if self.scheduling == Scheduling::Realtime && self.busy_poll_us > 0 {
            return Err(exit::usage(
                "--busy-poll-us does not go with --scheduling realtime: the kernel stops real-time \
                 programs that never wait for 50 ms in each second (sched_rt_runtime_us)",
            ));
        }
        Ok(Role::Supervisor(Settings {
            config: self.config,
            control: self.control,
            control_owner: ControlConfig {
                owner: self.control_owner,
                group: self.control_group,
                read_group: self.control_read_group,
            },
            cores: cores::resolve(self.cores, allowed_cores()).map_err(exit::usage)?,
            io: self.io,
            steering: self.steering,
            scheduling: self.scheduling,
            busy_poll_us: self.busy_poll_us,
            sandbox: self.sandbox,
            worker_user: self.worker_user,
            metrics: self.metrics,
            log_format: self.log_format,
        }))
    }
}

impl Hidden {
    fn into_arguments(self) -> mcr_worker::Arguments {
        let Self::Worker { worker, core, io, scheduling, busy_poll_us, parent, sandbox, uid, gid } =
            self;
        mcr_worker::Arguments {
            worker: WorkerId(worker),
            core,
            io,
            scheduling,
            busy_poll: Duration::from_micros(busy_poll_us.into()),
            parent,
            sandbox,
            user: User { uid, gid },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let args = Args::try_parse_from(["mcrd"]).unwrap();
        let Role::Supervisor(settings) = args.into_role().unwrap() else {
            panic!("no subcommand is the supervisor");
        };
        assert_eq!(settings.control.to_str(), Some("/run/mcr/control.sock"));
        assert_eq!((settings.io, settings.config, settings.metrics), (Io::Auto, None, None));
        assert_eq!(settings.scheduling, Scheduling::Fair);
        assert_eq!(settings.cores, allowed_cores());
    }

    #[test]
    fn a_worker_is_what_the_supervisor_starts() {
        let line = "mcrd worker --worker 1 --core 3 --io poll --scheduling realtime \
                    --busy-poll-us 50 --parent 77 --sandbox off --uid 5 --gid 6";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let Role::Worker(arguments) = args.into_role().unwrap() else {
            panic!("a worker was asked for");
        };
        let mcr_worker::Arguments { worker, core, io, scheduling, busy_poll, parent, .. } =
            arguments;
        assert_eq!((arguments.sandbox, arguments.user), (Sandbox::Off, User { uid: 5, gid: 6 }));
        assert_eq!((worker, core, parent), (WorkerId(1), 3, 77));
        assert_eq!((io, scheduling), (Io::Poll, Scheduling::Realtime));
        assert_eq!(busy_poll, Duration::from_micros(50));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "mcrd --io fast",
            "mcrd --scheduling now",
            "mcrd --sandbox some",
            "mcrd --log-format xml",
            "mcrd --busy-poll-us 2000000",
            "mcrd --cores 3-1",
            "mcrd --metrics localhost",
            "mcrd extra",
            "mcrd --cores",
        ] {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
