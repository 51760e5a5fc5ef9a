//! How the program ends when it could not do its work: one line, and a code of sysexits(3).

use std::fmt::Display;

use mcr_supervisor::StartError;
use sysexits::ExitCode;

/// What is said and returned.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ExitCode,
    line: String,
}

impl Failure {
    fn new(code: ExitCode, cause: &impl Display) -> Self {
        Self { code, line: cause.to_string() }
    }

    /// Prints the line.
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("mcrd: {}", self.line.replace('\n', " "));
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
        StartError::Permission(_) => ExitCode::NoPerm,
        StartError::Live(_) | StartError::Workers(_) | StartError::MetricsAddress { .. } => {
            ExitCode::Unavailable
        }
        StartError::ControlPath(_) => ExitCode::CantCreat,
        StartError::System { .. } => ExitCode::OsErr,
    };
    Failure::new(code, error)
}

/// A worker did not start; its supervisor prints this beside its own words.
pub(crate) fn of_worker(error: &mcr_worker::Error) -> Failure {
    Failure::new(ExitCode::OsErr, error)
}
