//! What the supervisor keeps of the privileges that it is started with.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use caps::Capability::{
    self, CAP_BPF, CAP_KILL, CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SETGID,
    CAP_SETPCAP, CAP_SETUID, CAP_SYS_CHROOT, CAP_SYS_NICE,
};
use caps::{CapSet, CapsHashSet};
use mcr_api::control::{self, BufferStats, Lack, Selection, Stats, Workers};
use mcr_lab::daemon::{Daemon, Grant};
use mcr_lab::harness::{Skip, Suite};
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_sys::process::realtime_scheduling_permitted;
use tempfile::TempDir;

use crate::fixture::{Relay, delivered, rule};
use crate::variant::{Variant, endpoint};

/// What calls of the supervisor need, as README.md and SECURITY.md say it.
const NEEDED: [Capability; 8] = [
    CAP_NET_RAW,
    CAP_NET_ADMIN,
    CAP_NET_BIND_SERVICE,
    CAP_BPF,
    CAP_SETUID,
    CAP_SETGID,
    CAP_SETPCAP,
    CAP_KILL,
];

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("privileges::root_keeps_what_it_needs", root_keeps_what_it_needs)
        .trial("privileges::files_elsewhere_are_not_read", files_elsewhere_are_not_read)
        .trial("privileges::realtime_is_kept_where_it_is_wanted", realtime_is_kept)
        .trial("privileges::capabilities_of_the_file", || {
            relays_as_nobody(Grant::File(&[CAP_NET_RAW]), &[CAP_NET_RAW], &[])
        })
        .trial("privileges::capabilities_for_workers_of_the_file", || {
            let all = &[CAP_NET_RAW, CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL];
            relays_as_nobody(Grant::File(all), all, &[])
        })
        .trial("privileges::ambient_capabilities", || {
            relays_as_nobody(Grant::Ambient(&[CAP_NET_RAW]), &[CAP_NET_RAW], &[])
        })
        .trial("privileges::a_low_port_and_nothing_else", || {
            // A capability that no call needs is not kept.
            let granted = Grant::Ambient(&[CAP_NET_RAW, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT]);
            let kept = &[CAP_NET_RAW, CAP_NET_BIND_SERVICE];
            relays_as_nobody(granted, kept, &["--metrics", "127.0.0.1:464"])
        })
}

/// The bit of the right to end a worker of another user.
const KILL: u64 = 1 << CAP_KILL as u64;

/// The capabilities of a thread, and what keeps it from gaining others (proc(5), `status`).
#[derive(Debug)]
struct Held {
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    no_new_privileges: u64,
    /// 2: system calls are filtered.
    seccomp: u64,
}

impl Held {
    fn of(status: &str) -> Result<Self> {
        let field = |name: &str, radix| -> Result<u64> {
            let mut fields = status.lines().filter_map(|line| line.strip_prefix(name));
            let value = fields.next().with_context(|| format!("{name} in {status}"))?;
            Ok(u64::from_str_radix(value.trim(), radix)?)
        };
        Ok(Self {
            inheritable: field("CapInh:", 16)?,
            permitted: field("CapPrm:", 16)?,
            effective: field("CapEff:", 16)?,
            bounding: field("CapBnd:", 16)?,
            ambient: field("CapAmb:", 16)?,
            no_new_privileges: field("NoNewPrivs:", 10)?,
            seccomp: field("Seccomp:", 10)?,
        })
    }
}

/// The first thread of an idle supervisor has these capabilities permitted, and of them only the
/// right to end its workers in force. Its other threads have none. The calls of all are filtered.
fn check_supervisor(daemon: &Daemon, permitted: u64) -> Result<()> {
    let pid = daemon.pid().to_string();
    let mut others = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let is_first = task.file_name() == *pid;
        let held = Held::of(&fs::read_to_string(task.path().join("status"))?)?;
        let expected = if is_first { permitted } else { 0 };
        let in_force = held.effective == expected & KILL;
        let none_passed_on = held.inheritable == 0 && held.ambient == 0;
        let kept = held.permitted == expected && held.no_new_privileges == 1;
        ensure!(
            in_force && none_passed_on && kept && held.seccomp == 2,
            "{task:?}: not {expected:x}: {held:x?}"
        );
        others += u32::from(!is_first);
    }
    ensure!(others > 0, "the log has a thread");
    Ok(())
}

/// What the daemon was not told of at its start it cannot read later, also as root.
fn files_elsewhere_are_not_read() -> Result<()> {
    let directories = [TempDir::new()?, TempDir::new()?];
    let [config, elsewhere] = directories.each_ref().map(|at| at.path().join("mcr.toml"));
    for file in [&config, &elsewhere] {
        fs::write(file, "")?;
    }
    let file = config.to_str().context("temporary paths are text")?;
    let daemon = Daemon::start(&Namespace::new("relay")?, &["--cores", "0", "--config", file])?;
    let reload = || -> Result<(bool, String)> {
        let output = daemon.mcrctl(&["reload"])?;
        Ok((output.status.success(), String::from_utf8(output.stderr)?))
    };
    // Another file in its place is read.
    fs::remove_file(&config)?;
    fs::write(&config, "")?;
    let (read, said) = reload()?;
    ensure!(read, "{said}");
    fs::remove_file(&config)?;
    symlink(&elsewhere, &config)?;
    let (read, said) = reload()?;
    let workers: Workers = daemon.ask(&control::Command::ListWorkers {})?;
    let confinement = workers.workers[0].confinement.as_ref();
    if confinement.is_some_and(|held| held.lacks.contains(&Lack::Landlock)) {
        return Err(Skip::KernelLacks("Landlock".into()).into());
    }
    ensure!(!read && said.contains("Permission denied"), "{said}");
    Ok(())
}

fn mask(capabilities: &[Capability], among: &CapsHashSet) -> u64 {
    let had = capabilities.iter().filter(|capability| among.contains(capability));
    had.fold(0, |mask, capability| mask | capability.bitmask())
}

fn root_keeps_what_it_needs() -> Result<()> {
    let metrics = ["--cores", "0", "--metrics", "127.0.0.1:9464"];
    let daemon = Daemon::start(&Namespace::new("relay")?, &metrics)?;
    let needed = mask(&NEEDED, &caps::read(None, CapSet::Permitted)?);
    check_supervisor(&daemon, needed)?;
    let held = Held::of(&fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?)?;
    let bounding = mask(&NEEDED, &caps::read(None, CapSet::Bounding)?);
    ensure!(held.bounding == bounding, "not {bounding:x}: {held:x?}");
    Ok(())
}

fn realtime_is_kept() -> Result<()> {
    if realtime_scheduling_permitted().is_err() {
        // As an ordinary user: `startup::realtime_workers` has seen what there is to see.
        return Ok(());
    }
    let realtime = ["--cores", "0", "--scheduling", "realtime"];
    let daemon = Daemon::start(&Namespace::new("relay")?, &realtime)?;
    let needed = [&NEEDED[..], &[CAP_SYS_NICE]].concat();
    check_supervisor(&daemon, mask(&needed, &caps::read(None, CapSet::Permitted)?))
}

/// An ordinary user's daemon with these capabilities relays, and keeps those that it needs.
fn relays_as_nobody(grant: Grant, kept: &[Capability], arguments: &[&str]) -> Result<()> {
    let variant = Variant::usual();
    let net = RelayTopology::builder().build()?;
    let mut relay = Relay::start_as_nobody(variant, net, grant, arguments)?;
    let kept = kept.iter().fold(0, |mask, capability| mask | capability.bitmask());
    relay.try_out(|relay| {
        check_supervisor(&relay.daemon, kept)?;
        let input = SocketAddr::new(variant.family.group(1), 5000);
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let sent = relay.send(input)?;
        delivered(sink, sent)?;
        check_buffers(&relay.daemon, kept & CAP_NET_ADMIN.bitmask() != 0)?;
        check_supervisor(&relay.daemon, kept)
    })?;
    relay.stop().map(drop)
}

/// Without the right to go beyond the host's limits, buffers are as large as those, and the log
/// says so once for each limit.
fn check_buffers(daemon: &Daemon, is_free: bool) -> Result<()> {
    let stats: Stats = daemon.ask(&control::Command::GetStats(Selection::default()))?;
    let kinds = [("wmem_max", stats.send_buffers), ("rmem_max", stats.long_frame_queues)];
    for (limit, BufferStats { wanted_bytes, smallest_bytes }) in kinds {
        let host: u64 =
            fs::read_to_string(format!("/proc/sys/net/core/{limit}"))?.trim().parse()?;
        let expected = if is_free { wanted_bytes } else { wanted_bytes.min(host) };
        ensure!(smallest_bytes == expected, "{limit}: {smallest_bytes} of {wanted_bytes}, {host}");
        let lines = daemon.log_lines();
        let remedy = format!("net.core.{limit}=");
        let warnings = lines.iter().filter(|line| line.contains(&remedy)).count();
        ensure!(warnings == usize::from(expected < wanted_bytes), "{limit}: {lines:#?}");
    }
    Ok(())
}
