//! Faults to order, in test builds alone (feature `faults`): a worker that panics, exits, or does
//! not read what it was told as it was told.
//!
//! The file [`FILE`] in the daemon's working directory holds a line for each worker that is to
//! fail: its number, the fault, and for faults of messages one in how many they befall. It is read
//! at a worker's start and with each command, so a test can change it at any time: in place, for a
//! worker opens it once, before its sandbox closes.
//!
//! ```text
//! 0 panic
//! 1 drop 3
//! ```

mod acts;

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::str::FromStr;
use std::sync::OnceLock;

use mcr_core::ids::WorkerId;

pub(crate) use acts::attempt_ordered;
pub use mcr_sys::forbidden::Act;

/// The file that holds the faults, in the working directory.
pub const FILE: &str = "faults";

/// Bytes of it that are read: the rest of what its writer fills is blank.
pub const FILE_BYTES: usize = 256;

/// Said at each start: by it a test tells this build from the product.
pub const WARNING: &str = "this build fails when it is told to; it is for tests alone";

/// A fault that a worker is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `panic`: at its start.
    Panic,
    /// `exit`: at its start, with code 0.
    Exit,
    /// `deaf`: read no command, but relay.
    Deaf,
    /// `drop N`: lose one command in N.
    Drop(u64),
    /// `garble N`: find one command in N unreadable.
    Garble(u64),
    /// `alter N`: read one command in N as another one that it could have been.
    Alter(u64),
    /// `attempt ACT`: do, once, what the sandbox forbids.
    Attempt(Act),
}

/// The number of this worker, and the file that holds its orders.
static WORKER: OnceLock<(WorkerId, Option<File>)> = OnceLock::new();

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(act) = text.strip_prefix("attempt ") {
            return act.parse().map(Self::Attempt);
        }
        let (name, one_in) = text.split_once(' ').unwrap_or((text, "1"));
        let one_in = one_in.parse().map_err(|error| format!("{text:?}: {error}"))?;
        Ok(match name {
            "panic" => Self::Panic,
            "exit" => Self::Exit,
            "deaf" => Self::Deaf,
            "drop" => Self::Drop(one_in),
            "garble" => Self::Garble(one_in),
            "alter" => Self::Alter(one_in),
            _ => return Err(format!("{text:?} is no fault")),
        })
    }
}

/// Fails at once where that is ordered.
pub(crate) fn at_start(worker: WorkerId) {
    // Without the file there is no fault.
    WORKER.get_or_init(|| (worker, File::open(FILE).ok()));
    eprintln!("{WARNING}");
    match ordered() {
        Some(Fault::Panic) => panic!("a panic to order"),
        Some(Fault::Exit) => std::process::exit(0),
        _ => {}
    }
}

/// This worker's fault at this moment.
fn ordered() -> Option<Fault> {
    let (worker, file) = WORKER.get()?;
    let (worker, mut text) = (worker.to_string(), [0; FILE_BYTES]);
    let bytes = file.as_ref()?.read_at(&mut text, 0).ok()?;
    let text = str::from_utf8(&text[..bytes]).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let fault = lines.filter(|(number, _)| *number == worker).map(|(_, fault)| fault).next()?;
    Some(fault.parse().unwrap_or_else(|error| panic!("{FILE}: {error}")))
}

/// What the sandbox has to leave readable; any other number is as good where there is no file.
pub(crate) fn descriptor() -> RawFd {
    let file = WORKER.get().and_then(|(_, file)| file.as_ref());
    file.map_or(-1, AsRawFd::as_raw_fd)
}

/// The command socket, in place of `mcr_sys::seqpacket`.
pub(crate) mod seqpacket {
    use std::io;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::sync::atomic::{AtomicU64, Ordering};

    use mcr_api::worker::{WorkerCommand, WorkerMessage, decode, encode};
    use mcr_core::ids::RuleId;
    use mcr_sys::seqpacket;

    use super::{Fault, ordered};

    /// Receives a message, or what the fault in force makes of it.
    pub(crate) fn recv(
        socket: BorrowedFd,
        buffer: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Option<usize>> {
        static MESSAGES: AtomicU64 = AtomicU64::new(0);
        loop {
            let fault = ordered();
            if fault == Some(Fault::Deaf) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let Some(bytes) = seqpacket::recv(socket, buffer, descriptors)? else {
                return Ok(None);
            };
            let number = MESSAGES.fetch_add(1, Ordering::Relaxed) + 1;
            match fault {
                Some(Fault::Drop(one_in)) if number.is_multiple_of(one_in) => descriptors.clear(),
                Some(Fault::Garble(one_in)) if number.is_multiple_of(one_in) => {
                    buffer[bytes / 2] = b'?';
                    return Ok(Some(bytes));
                }
                Some(Fault::Alter(one_in)) if number.is_multiple_of(one_in) => {
                    return Ok(Some(alter(buffer, bytes)));
                }
                _ => return Ok(Some(bytes)),
            }
        }
    }

    /// Makes another command of the same form of it, and returns its length.
    fn alter(buffer: &mut [u8], bytes: usize) -> usize {
        let Ok(mut message) = decode(&buffer[..bytes]) else {
            return bytes;
        };
        alter_message(&mut message);
        let altered = encode(&message);
        buffer[..altered.len()].copy_from_slice(&altered);
        altered.len()
    }

    fn alter_message(message: &mut WorkerMessage) {
        match &mut message.command {
            WorkerCommand::AddRule { route } => misdirect(route),
            WorkerCommand::RemoveRule { id, .. } => *id = RuleId(id.0 ^ 1),
            _ => {}
        }
    }

    /// The last output gets another port, of as many digits.
    fn misdirect(route: &mut mcr_core::route::Route) {
        if let Some(output) = route.outputs.last_mut() {
            output.destination.set_port(output.destination.port() ^ 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        assert_eq!("panic".parse(), Ok(Fault::Panic));
        assert_eq!("drop 3".parse(), Ok(Fault::Drop(3)));
        assert_eq!("alter".parse(), Ok(Fault::Alter(1)));
        assert_eq!("attempt socket".parse(), Ok(Fault::Attempt(Act::Socket)));
        assert!("attempt peace".parse::<Fault>().is_err());
        assert!("drop x".parse::<Fault>().is_err());
        assert!("explode".parse::<Fault>().is_err());
    }
}
