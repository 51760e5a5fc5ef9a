//! `mcrctl top`: the daemon on a terminal, as it goes.
//!
//! A thread waits for keys, one asks the daemon, one waits for signals; each tells the loop here,
//! which changes the [`model`] and has it drawn.

mod draw;
mod flows;
mod history;
mod keys;
mod model;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyEvent, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::Args;
use crate::limits;
use draw::Look;
use model::Model;
use snapshot::{Observer, Snapshot};

/// The input of the loop.
enum Event {
    /// By the terminal: a key.
    Key(KeyEvent),
    /// By the terminal: another size.
    Resized,
    /// By the daemon.
    Answered(Box<Snapshot>),
    /// It cannot be asked, and why.
    Unanswered(String),
    /// To end, by this signal.
    Signal(i32),
    /// Such a thread is no more.
    Ended(&'static str),
}

/// Shows the daemon until the operator has seen enough.
pub(crate) fn run(args: &Args, interval: Duration) -> anyhow::Result<()> {
    ensure!(!args.json, "top is for people; for programs there is \"mcrctl stats --watch --json\"");
    ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "top needs a terminal for its input and output; \"mcrctl stats --watch\" does not"
    );
    let mut observer = Observer::new(&args.control);
    // A daemon that cannot be asked from the beginning is told of as every other command does.
    let first = observer.look()?;
    let (sender, events) = mpsc::sync_channel(limits::EVENTS);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("watching for signals")?;
    // From here on a panic, of any thread, gives the terminal back before it is told.
    let mut terminal = ratatui::try_init().context("the terminal")?;
    let threads = start("signals", &sender, move |tell| {
        _ = signals.forever().map(Event::Signal).try_for_each(tell);
    })
    .and_then(|()| start("keys", &sender, read_keys))
    .and_then(|()| start("daemon", &sender, move |tell| observe(&mut observer, interval, tell)));
    let mut model = Model::new(interval);
    model.show(first);
    let shown =
        threads.context("starting threads").and_then(|()| show(&mut model, &mut terminal, &events));
    let restored = ratatui::try_restore().context("giving the terminal back");
    drop(terminal);
    match shown? {
        None => restored,
        Some(signal) => {
            restored?;
            // Whoever waits for us is to see what ended us.
            signal_hook::low_level::emulate_default_handler(signal)?;
            Ok(())
        }
    }
}

/// Draws whatever is new until the operator, or a signal that is returned, ends it.
fn show(
    model: &mut Model,
    terminal: &mut DefaultTerminal,
    events: &Receiver<Event>,
) -> anyhow::Result<Option<i32>> {
    let look = Look { has_colour: !has_no_colour() };
    let mut answered = Instant::now();
    while !model.has_ended() {
        model.resize(draw::page_rows(terminal.size()?.height));
        terminal.draw(|frame| draw::draw(model, look, frame)).context("the terminal")?;
        let first = wait(model, events, answered)?;
        // Only the newest of what came while the terminal took the last picture is drawn.
        for event in first.into_iter().chain(events.try_iter()) {
            match event {
                Event::Key(key) => {
                    if let Some(action) = keys::action(key, model.is_typing) {
                        model.act(action);
                    }
                }
                Event::Resized => {}
                Event::Answered(snapshot) => {
                    answered = Instant::now();
                    model.show(*snapshot);
                }
                Event::Unanswered(cause) => model.lose(cause),
                Event::Signal(signal) => return Ok(Some(signal)),
                Event::Ended(name) => bail!("the thread for {name} ended"),
            }
        }
    }
    Ok(None)
}

/// Waits for an event; `None`: without one there is something new as well.
fn wait(
    model: &mut Model,
    events: &Receiver<Event>,
    answered: Instant,
) -> anyhow::Result<Option<Event>> {
    loop {
        match events.recv_timeout(limits::RECONNECT) {
            Ok(event) => return Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) if model.wait(answered.elapsed()) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nothing is left to wait for"),
        }
    }
}

/// Whether the operator wants no colours (no-color.org).
fn has_no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Tells the loop; `None`: it is no more.
type Tell<'a> = &'a mut dyn FnMut(Event) -> Option<()>;

/// Starts a thread, whose end the loop learns of.
fn start(
    name: &'static str,
    sender: &SyncSender<Event>,
    work: impl FnOnce(Tell<'_>) + Send + 'static,
) -> io::Result<()> {
    /// Tells the end also of a thread that panics.
    struct Last(SyncSender<Event>, &'static str);
    impl Drop for Last {
        fn drop(&mut self) {
            // Where the loop is no more, nobody wants to know.
            let _ = self.0.send(Event::Ended(self.1));
        }
    }
    let last = Last(sender.clone(), name);
    let run = move || work(&mut |event| last.0.send(event).ok());
    thread::Builder::new().name(name.into()).spawn(run).map(drop)
}

fn read_keys(tell: Tell<'_>) {
    while let Ok(event) = event::read() {
        let told = match event {
            event::Event::Key(key) if key.kind != KeyEventKind::Release => tell(Event::Key(key)),
            event::Event::Resize(..) => tell(Event::Resized),
            _ => Some(()),
        };
        if told.is_none() {
            return;
        }
    }
}

/// Asks the daemon again and again; one that is gone, until it is back.
fn observe(observer: &mut Observer, interval: Duration, tell: Tell<'_>) {
    let mut pause = interval;
    loop {
        thread::sleep(pause);
        let asked = Instant::now();
        let (event, next) = match observer.look() {
            Ok(snapshot) => (Event::Answered(Box::new(snapshot)), interval),
            Err(error) => (Event::Unanswered(error.to_string()), interval.min(limits::RECONNECT)),
        };
        if tell(event).is_none() {
            return;
        }
        pause = next.saturating_sub(asked.elapsed());
    }
}
