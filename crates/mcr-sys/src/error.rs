//! Set-up errors: what was being done, to what, what the kernel said, and the likely cause.

use std::io;

/// A step of setting up a socket, a ring or a mapping failed.
///
/// `Display` gives one line that an operator can act upon:
/// `opening a packet socket: Operation not permitted (os error 1): needs CAP_NET_RAW: ...`.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}{}", hint.map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct SetupError {
    /// The step that failed, with the interface, group or address it concerns.
    pub what: String,
    /// The kernel's answer.
    pub cause: io::Error,
    /// The likely cause or the remedy, where the errno suggests one.
    pub hint: Option<&'static str>,
}

const NEEDS_NET_RAW: &str =
    "needs CAP_NET_RAW: run as root or with setcap cap_net_raw+ep on the program";

impl SetupError {
    /// An error with the hint that its errno suggests.
    pub(crate) fn new(what: impl Into<String>, cause: io::Error) -> Self {
        let hint = match cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Some(NEEDS_NET_RAW),
            Some(libc::ENODEV | libc::ENXIO) => Some("the interface does not exist (any more)"),
            Some(libc::ENETDOWN) => Some("the interface is down"),
            Some(libc::EADDRNOTAVAIL) => Some("the address is not configured on this host"),
            Some(libc::EADDRINUSE) => Some("another program holds this address and port"),
            Some(libc::EMFILE) => Some("too many open files: raise the limit (ulimit -n)"),
            Some(libc::ENFILE) => Some("too many open files: raise fs.file-max"),
            _ => None,
        };
        Self { what: what.into(), cause, hint }
    }

    /// The same error with a hint that only the caller can know.
    pub(crate) fn with_hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// Adds to an `io::Result` what was being done.
pub(crate) trait Doing<T> {
    /// Turns the error into a [`SetupError`]; `what` is only evaluated on failure.
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, SetupError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, SetupError> {
        self.map_err(|cause| SetupError::new(what(), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_the_deed_the_errno_and_the_remedy() {
        let refused: io::Result<()> = Err(io::Error::from_raw_os_error(libc::EPERM));
        let message = refused.doing(|| "opening a packet socket").unwrap_err().to_string();
        assert!(message.starts_with("opening a packet socket: Operation not permitted"));
        assert!(message.contains("CAP_NET_RAW"));
    }

    #[test]
    fn no_hint_leaves_no_brackets_of_its_own() {
        let error = SetupError::new("mapping a ring", io::Error::other("odd"));
        assert_eq!(error.to_string(), "mapping a ring: odd");
    }
}
