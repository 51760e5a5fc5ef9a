//! A filter for the sockets of one ingress interface: as exact as the kernel has room for.
//!
//! The kernel holds a filter against `net.core.optmem_max`, and the old one beside the new one
//! while it replaces it.

use mcr_sys::SetupError;
use mcr_sys::filter::{self, Program};
use mcr_sys::packet::PacketSocket;

use crate::resources::pause::Pause;

/// The content of the sockets' filters, and what the kernel had no room for.
#[derive(Debug)]
pub(super) struct Fit {
    /// Every socket lets this in.
    in_force: Option<filter::Admission>,
    /// How long a filter the kernel takes.
    instructions: usize,
    /// Why what was wanted last is not in force.
    refused: Option<String>,
    pause: Pause,
}

impl Default for Fit {
    fn default() -> Self {
        let (in_force, refused) = (None, None);
        Self { in_force, instructions: usize::MAX, refused, pause: Pause::default() }
    }
}

impl Fit {
    /// Sets the filters, coarser where need be. Returns whether a refusal began or ended.
    pub(super) fn set<'a, S: Iterator<Item = &'a PacketSocket>>(
        &mut self,
        wanted: &filter::Admission,
        sockets: impl Fn() -> S,
    ) -> bool {
        let outcome = self.fit(wanted, &sockets);
        self.conclude(outcome)
    }

    /// Sets the filter of a socket that joins the others.
    pub(super) fn set_one(
        &mut self,
        wanted: &filter::Admission,
        socket: &PacketSocket,
    ) -> Result<(), SetupError> {
        self.fit(wanted, &|| std::iter::once(socket)).map(drop)
    }

    /// Asks again, now and then, for what was refused or is coarser than wanted. Returns whether
    /// a refusal ended.
    pub(super) fn retry<'a, S: Iterator<Item = &'a PacketSocket>>(
        &mut self,
        wanted: &filter::Admission,
        sockets: impl Fn() -> S,
    ) -> bool {
        let is_exact = self.instructions == usize::MAX;
        if (is_exact && self.refused.is_none()) || !self.pause.is_over() {
            return false;
        }
        // The coarsest first: to look for the best fit takes milliseconds on the one loop.
        let (program, admitted) = match &self.refused {
            Some(_) => Program::coarsest(wanted),
            None => Program::fitted(wanted, usize::MAX),
        };
        if sockets().try_for_each(|socket| socket.set_filter(&program)).is_err() {
            self.pause.lengthen();
            return false;
        }
        let was_refused = self.refused.is_some();
        self.instructions = if was_refused { program.len() } else { usize::MAX };
        self.conclude(Ok(admitted))
    }

    /// Whether something wanted is not in force.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Why that is so.
    pub(super) fn error(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Why datagrams to this destination are kept out, where they are.
    pub(super) fn refusal(&self, address: std::net::IpAddr, port: u16) -> Option<&str> {
        let refused = self.refused.as_deref()?;
        let admitted = self.in_force.as_ref().is_some_and(|a| a.admits(address, port));
        (!admitted).then_some(refused)
    }

    fn fit<'a, S: Iterator<Item = &'a PacketSocket>>(
        &mut self,
        wanted: &filter::Admission,
        sockets: &impl Fn() -> S,
    ) -> Result<filter::Admission, SetupError> {
        let mut tried = usize::MAX;
        loop {
            let (program, admitted) = Program::fitted(wanted, self.instructions);
            let refused = sockets().try_for_each(|socket| socket.set_filter(&program));
            let Err(error) = refused else {
                return Ok(admitted);
            };
            let out_of_memory = error.cause.kind() == std::io::ErrorKind::OutOfMemory;
            if !out_of_memory || program.len() >= tried {
                return Err(error);
            }
            tried = program.len();
            self.instructions = tried / 2;
        }
    }

    fn conclude(&mut self, outcome: Result<filter::Admission, SetupError>) -> bool {
        let was_refused = self.refused.is_some();
        self.pause = Pause::default();
        match outcome {
            Ok(admitted) => {
                self.in_force = Some(admitted);
                self.refused = None;
            }
            Err(error) => self.refused = Some(error.to_string()),
        }
        was_refused != self.refused.is_some()
    }
}
