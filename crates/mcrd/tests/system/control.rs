//! Control clients that misbehave: each gets an error or is closed, and nobody else notices.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mcr_api::control::{Command, Request, Selection, Version};
use mcr_api::limits::MAX_REQUEST_BYTES;
use mcr_lab::daemon::Daemon;
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::{hiccup, wait};
use serde_json::{Value, json};

use crate::fixture::{Relay, SOON, Sent, delivered, on_core, rule};
use crate::variant::Variant;

/// How many clients the daemon serves at a time, as documented.
const CLIENTS: usize = 64;

/// How soon a well-behaved client is answered, whatever the others do.
const PROMPTLY: Duration = Duration::from_secs(1);

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite
        .trial("control::malformed_requests_are_answered", malformed_requests_are_answered)
        .trial("control::a_request_has_a_longest_length", a_request_has_a_longest_length)
        .trial("control::half_a_request_is_told_so", half_a_request_is_told_so)
        .trial("control::answers_come_in_order", answers_come_in_order)
        .trial("control::one_client_too_many_is_busy", one_client_too_many_is_busy)
        .trial("control::misbehaving_clients_harm_nobody", misbehaving_clients_harm_nobody)
}

/// A connection on which a test writes what it likes.
struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn connect(daemon: &Daemon) -> Result<Self> {
        Ok(Self { stream: BufReader::new(daemon.connect()?) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("writing to the control socket")
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("reading an answer")?;
        serde_json::from_str(&line).with_context(|| format!("the answer {line:?}"))
    }

    /// The next answer must be a refusal: its code and its sentence.
    fn refusal(&mut self) -> Result<(String, String)> {
        let answer = self.answer()?;
        let text = |key: &str| answer["error"][key].as_str().map(ToOwned::to_owned);
        let refusal = text("code").zip(text("message"));
        refusal.with_context(|| format!("no refusal: {answer}"))
    }

    /// Whether the daemon has closed the connection, with nothing more said.
    fn expect_closed(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(0) => Ok(()),
            // What we had written was not all read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Ok(_) => bail!("more was said: {}", String::from_utf8_lossy(&rest)),
            Err(error) => Err(error).context("the connection was not closed"),
        }
    }
}

fn lone_daemon() -> Result<Daemon> {
    Daemon::start(&Namespace::new("relay")?, &["--cores", "0"])
}

fn version_request(id: u64) -> Vec<u8> {
    Request { id, command: Command::GetVersion {} }.to_line()
}

/// Nothing of this is a request; each gets its refusal, and the next line is read as usual.
fn malformed_requests_are_answered() -> Result<()> {
    let daemon = lone_daemon()?;
    let mut client = Client::connect(&daemon)?;
    let malformed: [&[u8]; 10] = [
        b"GET / HTTP/1.1",
        b"\x00\xff\xfe\x80 garbage",
        b"",
        b"[1,2,3]",
        b"{\"id\":1}",
        b"{\"command\":\"GetVersion\"}",
        b"{\"id\":\"one\",\"command\":\"GetVersion\"}",
        b"{\"id\":1,\"command\":7}",
        b"{\"id\":1,\"command\":\"GetVersion\",\"extra\":true}",
        b"{\"id\":1,\"command\":\"AddRule\",\"rule\":{\"input\":7}}",
    ];
    for line in malformed {
        client.write(&[line, b"\n"].concat())?;
        let (code, message) = client.refusal()?;
        let shown = String::from_utf8_lossy(line);
        ensure!(code == "malformed" && !message.is_empty(), "{shown:?}: {code}: {message}");
    }
    client.write(b"{\"id\":9,\"command\":\"Dance\"}\n")?;
    let (code, message) = client.refusal()?;
    ensure!(code == "unknown_command", "{code}");
    for known in Command::NAMES {
        ensure!(message.contains(known), "{message:?} does not name {known}");
    }
    client.write(&version_request(10))?;
    let answer = client.answer()?;
    ensure!(answer["id"] == 10 && answer["ok"]["protocol"] == 1, "{answer}");
    Ok(())
}

fn a_request_has_a_longest_length() -> Result<()> {
    let daemon = lone_daemon()?;
    let mut client = Client::connect(&daemon)?;
    client.write(&vec![b'x'; 2 * MAX_REQUEST_BYTES])?;
    let (code, message) = client.refusal()?;
    ensure!(code == "too_large" && message.contains("1048576"), "{code}: {message}");
    client.expect_closed()?;
    // The longest request that is allowed is read whole: here it is malformed, not too large.
    let mut client = Client::connect(&daemon)?;
    let mut longest = vec![b' '; MAX_REQUEST_BYTES - 1];
    longest.push(b'\n');
    client.write(&longest)?;
    ensure!(client.refusal()?.0 == "malformed", "the longest request");
    client.write(&version_request(1))?;
    ensure!(client.answer()?["ok"]["protocol"] == 1, "the connection goes on");
    Ok(())
}

fn half_a_request_is_told_so() -> Result<()> {
    let daemon = lone_daemon()?;
    let mut client = Client::connect(&daemon)?;
    client.write(&version_request(1)[..10])?;
    client.stream.get_ref().shutdown(Shutdown::Write)?;
    let (code, message) = client.refusal()?;
    ensure!(code == "malformed" && message.contains("within a request"), "{code}: {message}");
    client.expect_closed()
}

fn answers_come_in_order() -> Result<()> {
    const REQUESTS: u64 = 300;
    let daemon = lone_daemon()?;
    let mut client = Client::connect(&daemon)?;
    // The slow to answer among the quick.
    let command = |id: u64| match id % 3 {
        0 => Command::GetStats(Selection::default()),
        1 => Command::GetVersion {},
        _ => Command::ListRules {},
    };
    let requests: Vec<u8> =
        (0..REQUESTS).flat_map(|id| Request { id, command: command(id) }.to_line()).collect();
    client.write(&requests)?;
    for id in 0..REQUESTS {
        let answer = client.answer()?;
        let key = ["totals", "protocol", "rules"][(id % 3) as usize];
        ensure!(answer["id"] == id && !answer["ok"][key].is_null(), "request {id}: {answer}");
    }
    Ok(())
}

/// Connects and has a request answered: only then does the daemon count the client for sure.
fn served_client(daemon: &Daemon) -> Result<Client> {
    let mut client = Client::connect(daemon)?;
    client.write(&version_request(1))?;
    let answer = client.answer()?;
    ensure!(answer["ok"]["protocol"] == 1, "{answer}");
    Ok(client)
}

fn one_client_too_many_is_busy() -> Result<()> {
    let daemon = lone_daemon()?;
    let mut clients = (0..CLIENTS).map(|_| served_client(&daemon)).collect::<Result<Vec<_>>>()?;
    let mut refused = Client::connect(&daemon)?;
    let (code, message) = refused.refusal()?;
    ensure!(code == "busy" && message.contains(&CLIENTS.to_string()), "{code}: {message}");
    refused.expect_closed()?;
    let listing = daemon.mcrctl(&["list"])?;
    ensure!(listing.status.code() == Some(75), "mcrctl: {listing:?}");
    for client in &mut clients {
        client.write(&version_request(2))?;
        ensure!(client.answer()?["id"] == 2, "a client that was there before");
    }
    clients.truncate(CLIENTS - 1);
    wait::until("the place that became free is given out", SOON, || {
        Ok(served_client(&daemon).is_ok())
    })
}

/// All kinds of them at once, while a flow is relayed and somebody else wants answers.
fn misbehaving_clients_harm_nobody() -> Result<()> {
    Relay::run(Variant::usual(), |relay| {
        let group = "239.1.1.1:5000".parse()?;
        relay.add_active(&rule(group, "in0", &["239.2.2.2:6000@out0".into()]))?;
        make_answers_long(&relay.daemon)?;
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", "239.2.2.2:6000".parse()?)?;
        let flow = Generator::new(&relay.net.source, "src0").flow(0, group);
        let flow = flow.rate(2_000).count(u32::MAX.into());
        let generator = on_core(relay.cores[0], || flow.start())?;
        let mut crowd = Vec::new();
        for round in 0..5 {
            crowd.extend(misbehave(&relay.daemon)?);
            answers_promptly(&relay.daemon).with_context(|| format!("round {round}"))?;
        }
        drop(crowd);
        answers_promptly(&relay.daemon)?;
        let of_each = generator.stop()?.total();
        delivered(sink, Sent { streams: 1, of_each })?;
        let totals = relay.settled(of_each)?.totals;
        ensure!(totals.sent == of_each && totals.kernel_drops == 0, "{totals:?}");
        Ok(())
    })
}

/// Rules enough that listing them takes long to write and does not fit a socket's buffer.
fn make_answers_long(daemon: &Daemon) -> Result<()> {
    for group in 1..=4 {
        let outputs: Vec<String> =
            (1..=1_000).map(|port| format!("239.9.{group}.1:{port}@absent")).collect();
        let input = format!("239.8.8.{group}:5000@absent");
        let rule = json!({"input": input, "outputs": outputs});
        let answer =
            daemon.control(&json!({"id": 1, "command": "AddRule", "rule": rule}).to_string())?;
        ensure!(answer["ok"]["created"] == true, "{answer}");
    }
    Ok(())
}

/// One client of each kind; they stay connected while they are held.
fn misbehave(daemon: &Daemon) -> Result<Vec<Client>> {
    let silent = Client::connect(daemon)?;
    let mut half = Client::connect(daemon)?;
    half.write(&version_request(1)[..10])?;
    let mut endless = Client::connect(daemon)?;
    write_until_refused(&mut endless, &vec![b'x'; 2 * MAX_REQUEST_BYTES])?;
    let mut garbage = Client::connect(daemon)?;
    write_until_refused(&mut garbage, &b"\xff\x00{}[]\n".repeat(10_000))?;
    // Asks for much and reads nothing.
    let mut deaf = Client::connect(daemon)?;
    let request = Request { id: 1, command: Command::ListRules {} }.to_line();
    write_until_refused(&mut deaf, &request.repeat(10_000))?;
    Ok(vec![silent, half, endless, garbage, deaf])
}

/// Writes as much as the daemon takes, and does not wait for it to take more.
fn write_until_refused(client: &mut Client, bytes: &[u8]) -> Result<()> {
    let stream = client.stream.get_mut();
    stream.set_write_timeout(Some(Duration::from_millis(20)))?;
    match stream.write_all(bytes) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe) => {
            Ok(())
        }
        Err(error) => Err(error).context("writing without end"),
    }
}

fn answers_promptly(daemon: &Daemon) -> Result<()> {
    let begun = Instant::now();
    let _: Version = daemon.ask(&Command::GetVersion {})?;
    hiccup::bound("a well-behaved client is answered", begun, PROMPTLY)?;
    Ok(())
}
