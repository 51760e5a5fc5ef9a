//! What a live worker has and may do: nothing that relaying does not need.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use mcr_api::control::{
    Added, Command, Confinement, Lack, Mechanism, Removed, RuleReference, Sandbox, WorkerStatus,
};
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::topology::RelayTopology;
use mcr_lab::user_namespace::has_other_users;
use mcr_lab::wait;

use crate::fixture::{Relay, SOON, rule};
use crate::startup::refused_start;
use crate::variant::{Variant, endpoint, matrix};

/// How an act ends that is tried within the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The kernel kills the worker, and the supervisor replaces it.
    Killed,
    /// The ring refuses, and the worker goes on.
    Refused,
}
use End::{Killed, Refused};

/// What `mcr_sys::forbidden` has to try.
const ACTS: &[(&str, End)] = &[
    ("open", Killed),
    ("create", Killed),
    ("socket", Killed),
    ("packet_socket", Killed),
    ("connect", Killed),
    ("bind", Killed),
    ("sendto", Killed),
    ("setsockopt", Killed),
    ("read", Killed),
    ("write_elsewhere", Killed),
    ("execve", Killed),
    ("fork", Killed),
    ("ptrace", Killed),
    ("read_memory", Killed),
    ("kill", Killed),
    ("mmap_code", Killed),
    ("mprotect_code", Killed),
    ("setresuid", Killed),
    ("capset", Killed),
    ("prctl", Killed),
    ("unshare", Killed),
    ("bpf", Killed),
    ("memfd_create", Killed),
    ("ioctl", Killed),
    ("uring_setup", Killed),
    ("uring_register", Killed),
    ("uring_open", Refused),
    ("uring_socket", Refused),
    ("uring_send_elsewhere", Refused),
];

/// Acts for one daemon: few enough for the waits before a replacement to stay short.
const ACTS_AT_ONCE: usize = 5;

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let io = |io| Variant { io, ..Variant::usual() };
    let both = [Mechanism::Uring, Mechanism::Poll].map(io);
    let suite = matrix(suite, "sandbox::a_worker_holds_nothing_else", &both, holds_nothing_else);
    // How frames are divided changes nothing of what a worker may do.
    let suite = both.into_iter().fold(suite, |suite, variant| {
        let name = format!("sandbox::forbidden_acts_end_it::{variant}");
        suite.trial(name, move || forbidden_acts(variant))
    });
    suite
        .trial("sandbox::what_is_off_lets_through", off_lets_through)
        .trial("sandbox::workers_run_as_the_user_that_is_named", named_user)
}

/// A line of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("{field} of process {pid}"))?.trim().to_owned())
}

fn pid(worker: &WorkerStatus) -> Result<u32> {
    worker.pid.with_context(|| format!("no process: {worker:?}"))
}

/// A rule from `in0` to both egress interfaces, and what relays it: for each worker one ring and
/// two sockets.
fn with_a_rule(relay: &Relay) -> Result<()> {
    let (from, to) = (relay.variant.family.group(1), relay.variant.family.output_group(1));
    let outputs = ["out0", "out1"].map(|name| endpoint((to, 6_000).into(), name));
    relay.add_active(&rule((from, 5_000).into(), "in0", &outputs)).map(drop)
}

fn holds_nothing_else(variant: Variant) -> Result<()> {
    Relay::run(variant, |relay| {
        with_a_rule(relay)?;
        relay.send((relay.variant.family.group(1), 5_000).into())?;
        let workers = relay.workers()?.workers;
        for worker in &workers {
            is_confined(worker).with_context(|| format!("{worker:?}"))?;
            let limits = fs::read_to_string(format!("/proc/{}/limits", pid(worker)?))?;
            for none in ["Max processes", "Max file size", "Max core file size"] {
                let line = limits.lines().find_map(|line| line.strip_prefix(none));
                let value = line.and_then(|line| line.split_whitespace().nth(1));
                ensure!(value == Some("0"), "{none}: {value:?}");
            }
        }
        let held = workers.iter().map(|worker| descriptors(pid(worker)?, variant.io));
        let held: Vec<BTreeSet<String>> = held.collect::<Result<_>>()?;
        ensure!(held[0].is_disjoint(&held[1]), "both hold the same: {held:?}");
        let served = sockets_of_others(relay)?;
        let open = held.iter().flatten().filter(|held| served.contains(*held)).count();
        ensure!(open == 0, "the control socket, or netlink: {held:?}, {served:?}");
        Ok(())
    })
}

/// By the kernel's own account.
fn is_confined(worker: &WorkerStatus) -> Result<()> {
    let pid = pid(worker)?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        ensure!(u64::from_str_radix(&status(pid, set)?, 16)? == 0, "{set}: {}", status(pid, set)?);
    }
    for (field, value) in [("NoNewPrivs", "1"), ("Seccomp", "2"), ("Threads", "1")] {
        ensure!(status(pid, field)? == value, "{field}: {}", status(pid, field)?);
    }
    // Only of what is not dumpable are the files under /proc root's.
    ensure!(fs::metadata(format!("/proc/{pid}/maps"))?.uid() == 0, "it can be dumped");
    let lacks = if has_other_users()? {
        let ids: BTreeSet<String> = ["Uid", "Gid"]
            .iter()
            .map(|field| status(pid, field))
            .collect::<Result<Vec<_>>>()?
            .iter()
            .flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        ensure!(!ids.contains("0") && status(pid, "Groups")?.is_empty(), "{ids:?}");
        vec![]
    } else {
        vec![Lack::OwnUser]
    };
    let expected = Confinement { sandbox: Sandbox::On, lacks };
    ensure!(worker.confinement == Some(expected), "{:?}", worker.confinement);
    Ok(())
}

/// What a worker has open, by name: nothing but null devices, and what a worker is for. Says which
/// sockets and pipes they are.
fn descriptors(pid: u32, io: Mechanism) -> Result<BTreeSet<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let name = fs::read_link(entry?.path())?;
        names.push(name.to_str().context("a name of the kernel's")?.to_owned());
    }
    let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    let rings = usize::from(io == Mechanism::Uring);
    // Standard input, output and error; the commands, a ring, two egress sockets; the log.
    let expected = [3, 1 + 1 + 2, 1, rings];
    let found = ["/dev/null", "socket:", "pipe:", "anon_inode:[io_uring]"].map(count);
    ensure!(found == expected && names.len() == expected.iter().sum::<usize>(), "{names:#?}");
    let own = names.into_iter().filter(|name| name.starts_with("socket") || name.starts_with("pi"));
    Ok(own.collect())
}

/// The sockets in the relay's namespace that are the supervisor's alone.
fn sockets_of_others(relay: &Relay) -> Result<BTreeSet<String>> {
    let pid = relay.daemon.pid();
    let path = relay.daemon.control_path().to_str().context("a path of text")?;
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/net/{file}"));
    let (unix, netlink) = (read("unix")?, read("netlink")?);
    let control = unix.lines().filter(|line| line.ends_with(path));
    let control = control.filter_map(|line| line.split_whitespace().nth(6));
    let netlink = netlink.lines().skip(1).filter_map(|line| line.split_whitespace().last());
    let sockets: Vec<String> =
        control.chain(netlink).map(|inode| format!("socket:[{inode}]")).collect();
    ensure!(sockets.len() >= 2, "{unix}");
    Ok(sockets.into_iter().collect())
}

fn forbidden_acts(variant: Variant) -> Result<()> {
    let uring = variant.io == Mechanism::Uring;
    let of_ring = |act: &str| ["uring_open", "uring_socket", "uring_send_elsewhere"].contains(&act);
    let acts: Vec<_> = ACTS
        .iter()
        .filter(|(act, _)| uring || !(of_ring(act) || *act == "uring_register"))
        .collect();
    for acts in acts.chunks(ACTS_AT_ONCE) {
        let relay = Relay::start_fallible(variant, RelayTopology::builder().build()?, &[])?;
        let tried = acts.iter().try_for_each(|(act, end)| {
            attempt(&relay, act, *end).with_context(|| format!("{act} was not {end:?}"))
        });
        let log = relay.daemon.log_lines().join("\n");
        tried.with_context(|| format!("mcrd's log:\n{log}\n"))?;
        with_a_rule(&relay)?;
        relay.send((relay.variant.family.group(1), 5_000).into())?;
        relay.settled(1)?;
        relay.stop()?;
    }
    Ok(())
}

/// Has the first worker try it.
fn attempt(relay: &Relay, act: &str, end: End) -> Result<()> {
    let before = relay.workers()?.workers[0].clone();
    match end {
        Killed => {
            let restarts = before.restarts;
            order(relay, act, || Ok(relay.workers()?.workers[0].restarts > restarts))?;
            let exit = relay.workers()?.workers[0].last_exit.clone();
            ensure!(exit.as_deref() == Some("killed by signal 31"), "{exit:?}");
            let lived = [": let through", ": refused"].map(|end| format!("{act}{end}"));
            ensure!(!lived.iter().any(|line| relay.daemon.log_contains(line)), "it lived");
        }
        Refused => {
            let refused = format!("{act}: refused: Permission denied");
            order(relay, act, || Ok(relay.daemon.log_contains(&refused)))?;
            let now = relay.workers()?.workers[0].clone();
            ensure!((now.pid, now.restarts) == (before.pid, before.restarts), "{now:?}");
        }
    }
    relay.wait_in_sync()
}

/// Orders it, tells the worker of a rule so that it looks, and takes both back once it is done.
fn order(relay: &Relay, act: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
    let (from, to) = (relay.variant.family.group(2), relay.variant.family.output_group(2));
    let rule = rule((from, 5_000).into(), "in0", &[endpoint((to, 6_000).into(), "out0")]);
    relay.daemon.order_faults(&format!("0 attempt {act}\n"))?;
    let added: Added = thread::scope(|scope| {
        // The answer waits for the worker that dies of it.
        let added = scope.spawn(|| relay.daemon.ask(&Command::AddRule { rule }));
        let done = wait::until("the act is done", SOON, done);
        relay.daemon.order_faults("")?;
        let added = added.join().map_err(|_| anyhow!("asking panicked"))??;
        done.map(|()| added)
    })?;
    let rule = RuleReference::Id(added.rule);
    relay.daemon.ask::<Removed>(&Command::RemoveRule { rule }).map(drop)
}

/// The acts do happen, where nothing forbids them; and an operator is told that nothing does.
fn off_lets_through() -> Result<()> {
    let off = ["--sandbox", "off"];
    let net = RelayTopology::builder().build()?;
    let relay = Relay::start_fallible(Variant::usual(), net, &off)?;
    relay.daemon.wait_for_log("workers run without their sandbox", SOON)?;
    for act in ["open", "socket", "fork", "kill", "mmap_code", "memfd_create"] {
        let through = format!("{act}: let through");
        order(&relay, act, || Ok(relay.daemon.log_contains(&through)))?;
    }
    // The ring is restricted all the same.
    attempt(&relay, "uring_open", Refused)?;
    let worker = relay.workers()?.workers[0].clone();
    let expected = Confinement { sandbox: Sandbox::Off, lacks: vec![] };
    ensure!((worker.restarts, &worker.confinement) == (0, &Some(expected)), "{worker:?}");
    let shown = relay.daemon.mcrctl(&["workers"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("worker 0: its sandbox is off"), "{shown}");
    relay.stop().map(drop)
}

fn named_user() -> Result<()> {
    let usual = Variant::usual();
    if has_other_users()? {
        let named = ["--worker-user", "daemon"];
        Relay::run_on(usual, RelayTopology::builder().build()?, &named, |relay| {
            let worker = relay.workers()?.workers[0].clone();
            let uid = status(pid(&worker)?, "Uid")?;
            let daemon =
                nix::unistd::User::from_name("daemon")?.context("a user of every Linux")?;
            ensure!(uid.split_whitespace().all(|id| id == daemon.uid.to_string()), "{uid}");
            is_confined(&worker)
        })?;
    }
    let net = Namespace::new("relay")?;
    let refused = refused_start(&net, &["--control", "unused.sock", "--worker-user", "no-such"])?;
    refused.expect(67, &["\"no-such\"", "--worker-user"])
}
