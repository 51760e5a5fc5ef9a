use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use mcr_api::control::{RuleReference, Selection};
use serde_json::json;

use super::*;

/// A socket where one client is read a request and written `answer`.
pub(super) fn daemon(answer: &'static [u8]) -> (tempfile::TempDir, PathBuf, JoinHandle<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while byte[0] != b'\n' {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(answer).unwrap();
        request
    });
    (directory, path, thread)
}

fn answered(answer: &'static [u8]) -> Result<Value, ClientError> {
    let (_directory, path, thread) = daemon(answer);
    let result = ask(&path, Command::ListRules {});
    thread.join().unwrap();
    result
}

#[test]
fn sends_one_line_and_returns_the_body() {
    let (_directory, path, thread) = daemon(b"{\"id\":1,\"ok\":{\"rules\":[]}}\n");
    let body = ask(&path, Command::ListRules {}).unwrap();
    assert_eq!(body, json!({"rules": []}));
    assert_eq!(thread.join().unwrap(), b"{\"id\":1,\"command\":\"ListRules\"}\n");
}

#[test]
fn a_refusal_keeps_its_words() {
    let answer = b"{\"id\":1,\"error\":{\"code\":\"conflict\",\"message\":\"as rule 3\"}}\n";
    let error = answered(answer).unwrap_err();
    assert_eq!(error.to_string(), "as rule 3");
    assert_eq!(error.exit_code(), ExitCode::DataErr);
}

/// More than a socket holds: the daemon closes while it is still being written.
#[test]
fn an_answer_before_the_request_was_read_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let answer = b"{\"id\":null,\"error\":{\"code\":\"busy\",\"message\":\"full\"}}\n";
        stream.write_all(answer).unwrap();
    });
    let rule = RuleReference::Name("x".repeat(MAX_REQUEST_BYTES - 100));
    let error = ask(&path, Command::RemoveRule { rule }).unwrap_err();
    thread.join().unwrap();
    assert_eq!(error.exit_code(), ExitCode::TempFail);
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let code = |answer| answered(answer).unwrap_err().exit_code();
    assert_eq!(code(b""), ExitCode::Unavailable);
    assert_eq!(code(b"{\"id\":1,"), ExitCode::IoErr);
    assert_eq!(code(b"HTTP/1.1 400\n"), ExitCode::Protocol);
    assert_eq!(code(b"{\"id\":2,\"ok\":{}}\n"), ExitCode::Protocol);
}

#[test]
fn no_daemon_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let missing = ask(&path, Command::GetStats(Selection::default())).unwrap_err();
    assert_eq!(missing.exit_code(), ExitCode::Unavailable);
    let expected = format!("no mcrd listens on {}", path.display());
    assert_eq!(missing.to_string(), expected);
    // What a killed daemon leaves behind.
    drop(UnixListener::bind(&path).unwrap());
    let stale = ask(&path, Command::GetStats(Selection::default())).unwrap_err();
    assert!(matches!(stale, ClientError::NobodyListens(..)), "{stale}");
}

#[test]
fn a_silent_daemon_is_not_waited_for_forever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let wait = Duration::from_millis(50);
    let error = ask_within(&path, Command::GetStats(Selection::default()), wait).unwrap_err();
    assert!(matches!(error, ClientError::Silent(_)), "{error}");
}

/// Reads a request and writes this, for each of the clients' answers in turn.
fn answering(clients: &'static [&'static [&'static str]]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for answers in clients {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            for answer in *answers {
                reader.read_line(&mut String::new()).unwrap();
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (directory, path)
}

#[test]
fn a_connection_carries_many_requests() {
    let (_directory, path) = answering(&[&[
        "{\"id\":1,\"ok\":1}\n",
        "{\"id\":2,\"error\":{\"code\":\"not_found\",\"message\":\"no\"}}\n",
        "{\"id\":3,\"ok\":3}\n",
    ]]);
    let mut connection = Connection::new(&path);
    let mut ask = || connection.ask::<u64>(Command::ListRules {});
    assert_eq!(ask().unwrap(), 1);
    assert_eq!(ask().unwrap_err().to_string(), "no");
    assert_eq!(ask().unwrap(), 3);
}

#[test]
fn what_changes_nothing_is_asked_again_where_the_daemon_hung_up() {
    let (_directory, path) = answering(&[
        &["{\"id\":1,\"ok\":1}\n"],
        &["{\"id\":3,\"ok\":3}\n"],
        &["{\"id\":5,\"ok\":5}\n"],
    ]);
    let mut connection = Connection::new(&path);
    let command = Command::ListRules {};
    assert_eq!(connection.read::<u64>(&command).unwrap(), 1);
    assert_eq!(connection.read::<u64>(&command).unwrap(), 3);
    // Any other is asked once: it may have been carried out.
    assert!(connection.ask::<u64>(command.clone()).is_err());
    assert_eq!(connection.read::<u64>(&command).unwrap(), 5);
}
