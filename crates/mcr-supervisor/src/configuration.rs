//! The configuration file: read at the start, and again whenever that is asked for.

use std::fs;
use std::path::{Path, PathBuf};

use mcr_api::config::{
    Config, ConfiguredRule, ControlConfig, LogConfig, MetricsConfig, RingsConfig,
};
use mcr_api::control::{About, ErrorBody, ErrorCode, EventKind, Reloaded};
use mcr_core::steering::Steering;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::control::{self, Asker, Done};
use crate::event::Event;
use crate::settings::StartError;
use crate::supervisor::Supervisor;

/// The path of the file, and who is told when it has been read.
#[derive(Debug)]
pub(crate) struct Configuration {
    path: Option<PathBuf>,
    /// Its steering at the start.
    steering: Option<Steering>,
    /// Its control socket at the start.
    control: ControlConfig,
    /// Its metrics at the start.
    metrics: MetricsConfig,
    /// Its rings at the start.
    rings: RingsConfig,
    /// Its log settings.
    log: LogConfig,
    events: mpsc::Sender<Event>,
}

/// Why the file was not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// There is none.
    #[error("mcrd was started without a configuration file: start it with --config FILE")]
    NoFile,
    /// It is wrong, as it would be at the start.
    #[error(transparent)]
    File(#[from] StartError),
}

impl Configuration {
    pub(crate) fn new(path: Option<PathBuf>, config: &Config, events: mpsc::Sender<Event>) -> Self {
        Self {
            path,
            steering: config.steering,
            control: config.control.clone(),
            metrics: config.metrics,
            rings: config.rings.clone(),
            log: config.log.clone(),
            events,
        }
    }

    /// Reads the file, not on this thread: a large one takes long. What it says comes as
    /// [`Event::ConfigurationRead`].
    pub(crate) fn read_again(&self, asker: Asker) {
        let (path, events) = (self.path.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let path = path.as_deref().ok_or(ReloadError::NoFile);
            let read = path.and_then(|path| Ok(read(path)?));
            // It fails only where the daemon is ending.
            _ = events.blocking_send(Event::ConfigurationRead { read, asker });
        });
    }

    fn name(&self) -> String {
        self.path.as_deref().unwrap_or(Path::new("")).display().to_string()
    }
}

/// The content of the file.
pub(crate) fn read(path: &Path) -> Result<Config, StartError> {
    let text = fs::read_to_string(path)
        .map_err(|cause| StartError::ConfigFile { path: path.to_owned(), cause })?;
    Ok(Config::parse(&text, &path.to_string_lossy())?)
}

impl Supervisor {
    /// Takes over what the file says now, all of it or nothing.
    pub(crate) fn take_configuration(&mut self, read: Result<Config, ReloadError>, asker: Asker) {
        let file = self.configuration.name();
        let taken = read.and_then(|config| {
            let reloaded = self.configure(&config.rules)?;
            if config.steering != self.configuration.steering {
                warn!("{file}: changes to [steering] need a restart of mcrd");
            }
            if config.control != self.configuration.control {
                warn!("{file}: changes to [control] need a restart of mcrd");
            }
            if config.rings != self.configuration.rings {
                warn!("{file}: changes to [rings] need a restart of mcrd");
            }
            if config.metrics != self.configuration.metrics {
                warn!("{file}: changes to [metrics] need a restart of mcrd");
            }
            self.configure_log(config.log);
            Ok(reloaded)
        });
        let (kind, message) = match &taken {
            Ok(Reloaded { new, gone, kept, .. }) => {
                let kind = EventKind::ConfigurationReloaded;
                let counts = format!("{new} rules new, {gone} gone, {kept} untouched");
                (kind, format!("{file}: read again: {counts}"))
            }
            Err(refused) => {
                (EventKind::ConfigurationRefused, format!("{refused}: nothing was changed"))
            }
        };
        if taken.is_ok() {
            info!("{message}");
        } else {
            error!("{message}");
        }
        self.state.news.tell(kind, About::default(), message);
        match taken {
            Ok(reloaded) => {
                let rules: Vec<_> = self.state.configured.iter().copied().collect();
                self.answer_later(asker, Done::Reloaded(reloaded), rules.into_iter());
            }
            Err(refused) => {
                let refused = Err(ErrorBody::new(code(&refused), refused));
                asker.answer(&mut self.audit, refused.into());
            }
        }
    }

    /// Takes over settings that have changed: those set while running stay until then.
    fn configure_log(&mut self, log: LogConfig) {
        let file = self.configuration.name();
        if log.format != self.configuration.log.format {
            warn!("{file}: changes to the format of [log] need a restart of mcrd");
        }
        if log.levels != self.configuration.log.levels {
            self.set_log_levels(log.levels.clone());
        }
        self.configuration.log.levels = log.levels;
    }

    /// Makes the rules of the file these.
    pub(crate) fn configure(&mut self, rules: &[ConfiguredRule]) -> Result<Reloaded, StartError> {
        let Self { state, workers, sampler, configuration, .. } = self;
        // A rule that a client wants as well is not the file's to take away.
        let replaced = state.configured.difference(&state.wanted_by_clients).copied().collect();
        let difference = state.rules.difference(&replaced, rules.iter().map(|r| &r.rule));
        let difference = difference.map_err(|refused| StartError::ConfigRule {
            path: configuration.path.clone().unwrap_or_default(),
            line: rules[refused.place].line,
            cause: refused.cause,
        })?;
        for id in &difference.gone {
            sampler.forget(*id);
        }
        let (new, gone) = (difference.new.len(), difference.gone.len());
        let kept = difference.kept.len();
        state.take_difference(difference, workers);
        Ok(Reloaded { new, gone, kept, applied: false })
    }
}

fn code(refused: &ReloadError) -> ErrorCode {
    match refused {
        ReloadError::NoFile | ReloadError::File(StartError::ConfigFile { .. }) => {
            ErrorCode::NotFound
        }
        ReloadError::File(StartError::ConfigRule { cause, .. }) => control::code(cause),
        ReloadError::File(_) => ErrorCode::Invalid,
    }
}
