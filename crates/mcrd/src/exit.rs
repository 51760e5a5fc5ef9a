//! How the program ends when it could not do its work: one line, and a code of sysexits(3).

use std::fmt::Display;

use mcr_supervisor::StartError;
use sysexits::ExitCode;

/// The message and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ExitCode,
    /// `None`: the log has it.
    line: Option<String>,
}

impl Failure {
    fn new(code: ExitCode, cause: &impl Display) -> Self {
        Self { code, line: Some(cause.to_string()) }
    }

    /// Prints the line.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(line) = self.line {
            eprintln!("mcrd: {}", line.replace('\n', " "));
        }
        self.code
    }
}

/// The command line asks for what cannot be.
pub(crate) fn usage(error: impl Display) -> Failure {
    Failure::new(ExitCode::Usage, &error)
}

/// The supervisor did not start.
pub(crate) fn of_start(error: &StartError) -> Failure {
    let code = match error {
        StartError::ConfigFile { .. } | StartError::Config(_) | StartError::ConfigRule { .. } => {
            ExitCode::Config
        }
        StartError::TooManyWorkers { .. } => ExitCode::Usage,
        StartError::WorkerUser(_) | StartError::ControlOwner(_) => ExitCode::NoUser,
        StartError::Permission(_) | StartError::ControlNotGiven(_) => ExitCode::NoPerm,
        StartError::Live(_) | StartError::Workers(_) | StartError::MetricsAddress { .. } => {
            ExitCode::Unavailable
        }
        StartError::ControlPath(_) => ExitCode::CantCreat,
        StartError::System { .. } | StartError::Machine(_) => ExitCode::OsErr,
    };
    Failure::new(code, error)
}

/// A worker did not start; it says why in its supervisor's log, unless it has none.
pub(crate) fn of_worker(error: &mcr_worker::Error) -> Failure {
    match error {
        mcr_worker::Error::NoLog(_) => Failure::new(ExitCode::OsErr, error),
        _ => Failure { code: ExitCode::OsErr, line: None },
    }
}
