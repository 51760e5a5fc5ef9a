//! The commands in README.md print what stands below them, but for numbers that differ each time.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mcr_lab::daemon::Daemon;
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::{address, link};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    suite.trial("readme::commands_print_what_it_shows", commands)
}

fn commands() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = fs::read_to_string(path)?;
    let namespace = Namespace::new("relay")?;
    for (number, near) in (0_u8..).zip(["eth0", "eth1"]) {
        let far = format!("far{number}");
        link::veth_pair((&namespace, near), (&namespace, &far))?;
        link::set_up(&namespace, near)?;
        link::set_up(&namespace, &far)?;
        link::wait_until_up(&namespace, near)?;
        address::add_address(&namespace, near, Ipv4Addr::new(10, 9, number, 1).into(), 24)?;
    }
    let mut daemon = Daemon::start(&namespace, &["--cores", "0,1"])?;
    let mut tried = 0;
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().context("a block's end")?;
        for step in block.split("$ mcrctl ").skip(1) {
            let (command, shown) = step.split_once('\n').context("a command's line")?;
            let arguments: Vec<&str> =
                command.split(' ').map(|word| word.trim_matches('\'')).collect();
            let output = daemon.mcrctl(&arguments)?;
            let printed = String::from_utf8(output.stdout)?;
            ensure!(output.status.success(), "{command}: {}", String::from_utf8(output.stderr)?);
            ensure!(
                words(&printed) == words(shown),
                "README.md is stale: mcrctl {command} prints\n{printed}\nand not\n{shown}"
            );
            tried += 1;
        }
    }
    ensure!(tried >= 4, "README.md has {tried} commands");
    ensure!(daemon.terminate()?.success(), "the daemon's end");
    Ok(())
}

/// The words of an output. Numbers of processes and times differ each time.
fn words(text: &str) -> Vec<String> {
    let lines = text.lines().flat_map(|line| {
        let differs = line.contains("running") || line.starts_with("supervisor");
        let word = move |word: &str| {
            let is_number = word.parse::<f64>().is_ok();
            if differs && is_number { "N".to_owned() } else { word.to_owned() }
        };
        line.split_whitespace().map(word).collect::<Vec<_>>()
    });
    lines.collect()
}
