//! `mcrctl trace`: has the daemon record the lives of datagrams, and shows them as they come.

mod capture;
mod lives;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use mcr_api::control::{
    Command, RuleReference, Selection, Stats, TraceCursor, TraceReading, TraceSubject, Traces,
    TracesEnded, Tracing,
};

use crate::args::Trace;
use crate::client::{ClientError, Connection};
use capture::Capture;
use lives::Lives;

/// Seconds between two updates.
const POLL: Duration = Duration::from_millis(250);

/// Polls that a datagram's next event may be waited for: a second.
const PATIENCE_POLLS: u32 = 4;

/// How often the end of a trace that is followed is put off.
const RENEWAL: Duration = Duration::from_secs(3);

/// The capture file of these events, taken in together, as `trace --pcapng` writes it.
#[cfg(feature = "fuzzing")]
pub fn captured(events: Vec<mcr_api::control::TraceEvent>) -> pcap_file::PcapResult<Vec<u8>> {
    let mut file = Vec::new();
    let mut capture = Capture::new(&mut file)?;
    for life in Lives::default().take(events, 0) {
        capture.add(&life, life.verdict(&[]))?;
    }
    capture.flush().map_err(pcap_file::PcapError::IoError)?;
    drop(capture);
    Ok(file)
}

/// Traces, and prints, until the time or number asked for is over; a trace that is followed goes on
/// until the program is ended.
pub(crate) fn run(control: &Path, trace: &Trace, json: bool) -> anyhow::Result<()> {
    let mut session = Session::begin(control, trace, json)?;
    let shown = session.show();
    if !trace.follow {
        // Where it did not go well, that is what is to be told.
        let ended = session.end();
        return shown.and(ended);
    }
    shown
}

/// A trace and how far it was shown.
struct Session<'a> {
    connection: Connection,
    trace: &'a Trace,
    json: bool,
    /// The rule's outputs as they were at the beginning.
    outputs: Vec<String>,
    cursor: Vec<TraceCursor>,
    lives: Lives,
    capture: Option<Capture<BufWriter<File>>>,
    renewed: Instant,
    shown: u64,
}

impl<'a> Session<'a> {
    fn begin(control: &Path, trace: &'a Trace, json: bool) -> anyhow::Result<Self> {
        let capture = match &trace.pcapng {
            None => None,
            Some(path) => {
                let name = || path.display().to_string();
                let file = File::create(path).with_context(name)?;
                Some(Capture::new(BufWriter::new(file)).with_context(name)?)
            }
        };
        let mut session = Self {
            connection: Connection::new(control),
            trace,
            json,
            outputs: Vec::new(),
            cursor: Vec::new(),
            lives: Lives::default(),
            capture,
            renewed: Instant::now(),
            shown: 0,
        };
        if let Some(rule) = &trace.rule {
            session.outputs = session.outputs_of(rule)?;
        }
        let Tracing { cursor, applied, .. } = session.order()?;
        session.cursor = cursor;
        if !applied {
            let _ = writeln!(io::stderr(), "mcrctl: not every worker traces yet");
        }
        Ok(session)
    }

    fn outputs_of(&mut self, rule: &RuleReference) -> Result<Vec<String>, ClientError> {
        let selection = Selection { rule: Some(rule.clone()), ..Selection::default() };
        let stats: Stats = self.connection.ask(Command::GetStats(selection))?;
        let outputs = stats.rules.into_iter().flat_map(|rule| rule.outputs);
        Ok(outputs.map(|output| output.to).collect())
    }

    /// Has the daemon begin, or go on.
    fn order(&mut self) -> Result<Tracing, ClientError> {
        self.connection.ask(Command::EnableTrace(self.trace.order()))
    }

    fn show(&mut self) -> anyhow::Result<()> {
        let Trace { follow, packets, seconds, .. } = *self.trace;
        let deadline = Instant::now() + Duration::from_secs(u64::from(seconds.get()));
        loop {
            thread::sleep(POLL);
            let is_over = Instant::now() >= deadline;
            let patience = if is_over && !follow { 0 } else { PATIENCE_POLLS };
            self.take(patience)?;
            if !follow && (is_over || self.shown >= packets) {
                return Ok(());
            }
            if follow && self.renewed.elapsed() >= RENEWAL {
                self.order()?;
                self.renewed = Instant::now();
            }
        }
    }

    /// Shows what is new.
    fn take(&mut self, patience_polls: u32) -> anyhow::Result<()> {
        let TraceSubject { rule, interface } = self.trace.subject();
        let cursor = std::mem::take(&mut self.cursor);
        let reading = TraceReading { rule, interface, cursor };
        let Traces { events, cursor, missed, .. } =
            self.connection.ask(Command::GetTrace(reading))?;
        self.cursor = cursor;
        if missed > 0 {
            // A note that cannot be shown is no reason to end.
            let _ = writeln!(
                io::stderr(),
                "mcrctl: {missed} events were overwritten before they were read: sample with \
                 --one-in"
            );
        }
        let mut stdout = io::stdout().lock();
        if self.json {
            for event in &events {
                serde_json::to_writer(&mut stdout, event).map_err(io::Error::from)?;
                writeln!(stdout)?;
            }
        }
        for life in self.lives.take(events, patience_polls) {
            if !self.trace.follow && self.shown >= self.trace.packets {
                break;
            }
            self.shown += 1;
            if let Some(capture) = &mut self.capture {
                capture.add(&life, life.verdict(&self.outputs)).context("writing the capture")?;
            }
            if !self.json {
                stdout.write_all(life.text(&self.outputs).as_bytes())?;
            }
        }
        stdout.flush()?;
        self.capture.as_mut().map_or(Ok(()), Capture::flush).context("writing the capture")
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let _: TracesEnded = self.connection.ask(Command::DisableTrace(self.trace.subject()))?;
        if self.shown == 0 {
            let _ = writeln!(io::stderr(), "mcrctl: {}", nothing_seen(self.trace));
        }
        Ok(())
    }
}

fn nothing_seen(trace: &Trace) -> String {
    let Trace { rule, interface, seconds, .. } = trace;
    match (rule, interface) {
        (Some(rule), _) => format!(
            "no datagram of rule {rule} was received in {seconds} s: see \"mcrctl list\" for its \
             state, and \"mcrctl trace --interface\" for what comes in and is no rule's"
        ),
        (None, interface) => format!(
            "nothing came in by {} in {seconds} s that is no rule's",
            interface.as_deref().unwrap_or("it")
        ),
    }
}
