//! The program as a shell sees it: exit codes, and what goes to which stream.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::thread;

fn mcrctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcrctl"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    mcrctl(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs the program against a daemon that gives this answer; standard output's reader is gone if
/// `deaf`.
fn answered(answer: String, arguments: &[&str], deaf: bool) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        (&stream).write_all(answer.as_bytes()).unwrap();
    });
    let mut command = mcrctl(arguments);
    command.arg("--control").arg(&path);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    if deaf {
        drop(child.stdout.take());
    }
    let output = child.wait_with_output().unwrap();
    daemon.join().unwrap();
    output
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&["dance"][..], &["add", "239.1.1.1:5000@eth0"], &[]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn no_daemon_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let output = run(&["--control", path.to_str().unwrap(), "list"]);
    assert_eq!(output.status.code(), Some(69));
    let cause = std::io::Error::from_raw_os_error(2);
    let expected = format!("mcrctl: no mcrd listens on {}: {cause}\n", path.display());
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_refusal_is_one_line_and_a_code() {
    let answer = r#"{"id":1,"error":{"code":"not_found","message":"there is no rule 7"}}"#;
    let output = answered(format!("{answer}\n"), &["--json", "remove", "7"], false);
    assert_eq!(output.status.code(), Some(65));
    assert_eq!(stderr(&output), "mcrctl: there is no rule 7\n");
    assert!(output.stdout.is_empty());
}

#[test]
fn json_keeps_standard_output_to_one_document() {
    let ok = r#"{"rule":7,"created":false,"applied":false,"state":"active","problems":[]}"#;
    let arguments = ["add", "239.1.1.1:1@a", "--to", "239.1.1.2:1@b", "--json"];
    let output = answered(format!("{{\"id\":1,\"ok\":{ok}}}\n"), &arguments, false);
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document, serde_json::from_str::<serde_json::Value>(ok).unwrap());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let rule = concat!(
        r#"{"id":7,"input":"239.1.1.1:5000@eth0","outputs":["239.2.2.2:6000@eth1"],"#,
        r#""state":"active","problems":[]}"#
    );
    // More than a pipe holds.
    let rules = vec![rule; 2000].join(",");
    let answer = format!("{{\"id\":1,\"ok\":{{\"rules\":[{rules}]}}}}\n");
    let output = answered(answer, &["list"], true);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}
