//! System tests without libtest: a suite becomes root in a user namespace before it has threads,
//! and a trial that the machine forbids is skipped aloud.
//!
//! ```no_run
//! use std::process::ExitCode;
//! fn main() -> ExitCode {
//!     mcr_lab::harness::Suite::new("relay")
//!         .trial("two_namespaces_can_be_made", || {
//!             mcr_lab::namespace::Namespace::new("a")?;
//!             mcr_lab::namespace::Namespace::new("b")?;
//!             Ok(())
//!         })
//!         .run()
//! }
//! ```

mod skips;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::hiccup;
use crate::user_namespace::{Unavailable, become_root_in_user_namespace, require_namespaces};

/// Why a trial could not be tried. Return it as the trial's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// The running kernel was built without something; named.
    KernelLacks(String),
    /// The machine forbids something that it has; says what would help.
    Forbidden(String),
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelLacks(feature) => write!(f, "the kernel lacks {feature}"),
            Self::Forbidden(reason) => write!(f, "forbidden: {reason}"),
        }
    }
}

impl std::error::Error for Skip {}

/// A named collection of trials: the whole of a test program with `harness = false`.
pub struct Suite {
    name: String,
    trials: Vec<(String, TrialBody)>,
}

type TrialBody = Box<dyn FnOnce() -> Result<()> + Send>;

impl Suite {
    /// An empty suite; `name` tells its skips from another's.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), trials: Vec::new() }
    }

    /// Adds a trial. Trials may run at the same time, so each makes its own namespaces.
    #[must_use]
    pub fn trial(
        mut self,
        name: impl Into<String>,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        self.trials.push((name.into(), Box::new(body)));
        self
    }

    /// Runs what the command line selects. Call it first in `main`, before any thread.
    pub fn run(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let obstacle = become_root_in_user_namespace().and_then(|()| require_namespaces()).err();
        if !arguments.list {
            skips::forget(&self.name);
            hiccup::watch();
        }
        let Self { name: suite, trials } = self;
        let trials = trials
            .into_iter()
            .map(|(name, body)| as_trial(suite.clone(), name, body, obstacle.clone()))
            .collect();
        libtest_mimic::run(&arguments, trials).exit_code()
    }
}

fn as_trial(suite: String, name: String, body: TrialBody, obstacle: Option<Unavailable>) -> Trial {
    Trial::ignorable_test(name.clone(), move || {
        let result = match obstacle {
            Some(unavailable) => Err(unavailable.into()),
            None => body(),
        };
        match result {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => match skip_of(&error) {
                Some(skip) => {
                    skips::record(&suite, &name, &skip);
                    Ok(Completion::ignored_with(skip))
                }
                None => Err(Failed::from(format!("{error:?}"))),
            },
        }
    })
}

/// The skip that an error stands for, if it stands for one.
fn skip_of(error: &anyhow::Error) -> Option<Skip> {
    let unavailable = error.downcast_ref::<Unavailable>();
    unavailable
        .map(|unavailable| Skip::Forbidden(unavailable.to_string()))
        .or_else(|| error.downcast_ref::<Skip>().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn only_skips_and_unavailability_skip() {
        let lacks = Skip::KernelLacks("VXLAN".into());
        assert_eq!(skip_of(&lacks.clone().into()), Some(lacks.clone()));
        let wrapped = Err::<(), _>(lacks.clone()).context("making a tunnel").unwrap_err();
        assert_eq!(skip_of(&wrapped), Some(lacks));
        assert!(matches!(skip_of(&Unavailable("x".into()).into()), Some(Skip::Forbidden(_))));
        assert_eq!(skip_of(&anyhow!("lost 3 datagrams")), None);
    }
}
