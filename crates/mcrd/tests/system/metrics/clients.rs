//! Clients of the exporter that are slow, silent, many or malicious.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::wait;

use super::ADDRESS;
use super::scrape::{Answer, Exporter};
use crate::fixture::SOON;

/// Registers the trials.
pub(super) fn trials(suite: Suite) -> Suite {
    suite
        .trial("metrics::only_reading_is_served", only_reading_is_served)
        .trial("metrics::loopback_by_default", loopback_by_default)
        .trial("metrics::many_slow_clients_keep_nobody_out", many_slow_clients)
        .trial("metrics::silent_and_endless_requests_are_ended", endless_requests)
        .trial("metrics::nobody_is_asked_more_often_than_it_pays", many_scrapes)
}

fn trial(work: impl FnOnce(&Daemon, &Exporter) -> Result<()>) -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0", "--metrics", ADDRESS])?;
    work(&daemon, &Exporter::new(&namespace, ADDRESS)?)?;
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

fn only_reading_is_served() -> Result<()> {
    trial(|_, exporter| {
        for path in ["/metrics", "/healthz", "/readyz"] {
            let answer = exporter.get(path)?;
            ensure!(answer.status == 200, "{path}: {answer:?}");
            guarded(&answer)?;
            let head = exporter.request("HEAD", path)?;
            ensure!(head.status == 200 && head.body.is_empty(), "{head:?}");
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
                let refused = exporter.request(method, path)?;
                ensure!(refused.status >= 400, "{method} {path}: {refused:?}");
                if method != "CONNECT" {
                    let says_what = refused.head.contains("\r\nallow: get, head");
                    ensure!(refused.status == 405 && says_what, "{method} {path}: {refused:?}");
                    guarded(&refused)?;
                }
            }
        }
        for path in ["/", "/metrics/", "/../etc/passwd", "/metrics/%2e%2e/x", "//metrics"] {
            let none = exporter.get(path)?;
            ensure!(none.status == 404, "{path}: {none:?}");
            guarded(&none)?;
        }
        Ok(())
    })
}

/// Every answer says what a browser may do with it, also that of an error.
fn guarded(answer: &Answer) -> Result<()> {
    for line in [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        "x-frame-options: deny",
    ] {
        ensure!(answer.head.contains(&format!("\r\n{line}")), "no {line}: {answer:?}");
    }
    Ok(())
}

/// A port alone is one of this host's own, and who lets others reach it is warned.
fn loopback_by_default() -> Result<()> {
    let namespace = Namespace::new("relay")?;
    let mut daemon = Daemon::start(&namespace, &["--cores", "0", "--metrics", "9464"])?;
    ensure!(Exporter::new(&namespace, ADDRESS)?.get("/healthz")?.status == 200, "no answer");
    ensure!(!daemon.log_contains("to whoever reaches it"), "{:?}", daemon.log_lines());
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    let daemon = Daemon::start(&namespace, &["--cores", "0", "--metrics", "0.0.0.0:9464"])?;
    daemon.wait_for_log("metrics are served at 0.0.0.0:9464 to whoever reaches it", SOON)
}

/// Far more connections than there is room for, each with a part of a request.
fn many_slow_clients() -> Result<()> {
    const CLIENTS: usize = 100;
    trial(|daemon, exporter| {
        let begun = |_| -> Result<TcpStream> {
            let mut stream = exporter.connect()?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ")?;
            Ok(stream)
        };
        let held = (0..CLIENTS).map(begun).collect::<Result<Vec<_>>>()?;
        let found = exporter.scrape()?;
        let dropped = found.sum("mcr_metrics_connections_dropped", &[])?;
        // There is room for 16, and on a slow machine some were too late with their request.
        ensure!(dropped >= (CLIENTS / 2) as f64 && dropped <= CLIENTS as f64, "{dropped}");
        // What they do does not reach the control socket, nor the other way round.
        ensure!(daemon.mcrctl(&["list"])?.status.success(), "mcrctl");
        drop(held);
        ensure!(exporter.get("/readyz")?.status == 200, "ready");
        Ok(())
    })
}

/// What the server says until it ends the connection.
fn until_end(stream: &mut TcpStream) -> Result<String> {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => Ok(String::from_utf8_lossy(&text).into_owned()),
        // It ended while we were still writing.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(String::new()),
        Err(error) => Err(error).context("the connection does not end"),
    }
}

fn endless_requests() -> Result<()> {
    trial(|_, exporter| {
        let mut silent = exporter.connect()?;
        let mut unfinished = exporter.connect()?;
        unfinished.write_all(b"GET /metrics HTTP/1.1\r\nHost: mcr\r\n")?;
        // A header without end.
        let mut endless = exporter.connect()?;
        endless.write_all(b"GET /metrics HTTP/1.1\r\n")?;
        let line = format!("x: {}\r\n", "y".repeat(1_000));
        let mut lines = 0;
        wait::until("it is refused", SOON, || {
            lines += 1;
            Ok(endless.write_all(line.as_bytes()).is_err())
        })?;
        // A line for each look, of which there are 400 in the two seconds that a header may take:
        // it is for its length.
        ensure!(lines < 200, "{lines} lines of header were taken");
        // No HTTP at all.
        let mut garbage = exporter.connect()?;
        garbage.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")?;
        let answer = until_end(&mut garbage)?;
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        // One that says no more than its request gets its answer.
        let mut closing = exporter.connect()?;
        closing.write_all(b"GET /healthz HTTP/1.1\r\nHost: mcr\r\n\r\n")?;
        closing.shutdown(Shutdown::Write)?;
        ensure!(until_end(&mut closing)?.ends_with("alive\n"), "no answer");
        // Two requests at once are one and the end.
        let mut twice = exporter.connect()?;
        twice.write_all("GET /healthz HTTP/1.1\r\nHost: mcr\r\n\r\n".repeat(2).as_bytes())?;
        let answer = until_end(&mut twice)?;
        ensure!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
        for stream in [&mut silent, &mut unfinished] {
            let answer = until_end(stream)?;
            ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
        ensure!(exporter.get("/metrics")?.status == 200, "it goes on");
        Ok(())
    })
}

/// However often it is asked, the supervisor makes ten expositions in a second.
fn many_scrapes() -> Result<()> {
    const SCRAPES: usize = 200;
    trial(|_, exporter| {
        let begun = Instant::now();
        let mut different = Vec::new();
        for _ in 0..SCRAPES {
            different.push(exporter.get("/metrics")?.body);
        }
        different.dedup();
        let rounds = begun.elapsed().as_millis() / Duration::from_millis(100).as_millis();
        ensure!(different.len() as u128 <= rounds + 1, "{} in {rounds}", different.len());
        Ok(())
    })
}
