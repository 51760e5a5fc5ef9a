//! `socat`: one process that receives a group and sends to another, datagram by datagram.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::bench::bed::Bed;
use crate::bench::cores::on_cores;
use crate::bench::memory;
use crate::bench::scenario::Scenario;
use crate::topology::{egress_v4, ingress_v4};
use crate::{limits, wait};

/// A running socat. Dropped: killed.
#[derive(Debug)]
pub(crate) struct Socat(Child);

/// Whether there is one to run.
pub(super) fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let mut version = Command::new("socat");
        version.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    })
}

impl Socat {
    pub(super) fn start(bed: &Bed) -> Result<Self> {
        let (input, output) = (bed.scenario.input(0), Scenario::output(0, 0));
        let receive = format!(
            "UDP4-RECV:{port},bind={group},reuseaddr,ip-add-membership={group}:{interface}",
            port = input.port(),
            group = input.ip(),
            interface = ingress_v4(0),
        );
        let send = format!("UDP4-SENDTO:{output},ip-multicast-if={}", egress_v4(0));
        let mut command = Command::new("socat");
        command.args(["-u", &receive, &send]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let cores = bed.awake.division.of_workers(bed.scenario.workers);
        let child = on_cores(&cores, || bed.relay().spawn(command).context("starting socat"))?;
        let mut socat = Self(child);
        let port = format!(":{:04X} ", input.port());
        wait::until("socat listens", limits::DAEMON_READY, || {
            anyhow::ensure!(socat.0.try_wait()?.is_none(), "socat has ended");
            Ok(bed.relay().read_proc_net("udp")?.contains(&port))
        })?;
        Ok(socat)
    }

    pub(super) fn resident_bytes(&self) -> Result<u64> {
        memory::resident_bytes(self.0.id())
    }
}

impl Drop for Socat {
    fn drop(&mut self) {
        // By its own id, and before it is waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
