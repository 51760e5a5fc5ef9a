use mcr_api::control::{Access, Command, PROTOCOL_VERSION, Version};
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::super::clients::tests::place;
use super::*;

/// A client's end, and what becomes of the connection.
struct Client {
    stream: BufReader<UnixStream>,
    served: JoinHandle<io::Result<()>>,
}

impl Client {
    fn connect(patience: Patience) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (events, mut requests) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(Event::Request { command, reply, .. }) = requests.recv().await {
                assert_eq!(command, Command::GetVersion {});
                let version = Version { version: "1".into(), protocol: PROTOCOL_VERSION };
                reply.send(Ok(Answer::Version(version)).into()).unwrap();
            }
        });
        let served =
            tokio::spawn(
                async move { serve(theirs, &place(Access::Change), events, patience).await },
            );
        Self { stream: BufReader::new(ours), served }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn response(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn error_code(&mut self) -> String {
        self.response().await["error"]["code"].as_str().unwrap().to_owned()
    }

    async fn closed(mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        // Reading may report that the other side left data unread.
        _ = self.stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
        self.served.await.unwrap()
    }
}

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(30);
const PATIENT: Patience = Patience { idle: LONG, answer: LONG };
const REQUEST: &[u8] = b"{\"id\":7,\"command\":\"GetVersion\"}\n";

#[tokio::test]
async fn requests_are_answered_in_order() {
    let mut client = Client::connect(PATIENT);
    client.send(&[REQUEST, b"{\"id\":8,\"command\":\"GetVersion\"}\n"].concat()).await;
    assert_eq!(client.response().await["id"], 7);
    let second = client.response().await;
    assert_eq!((&second["id"], &second["ok"]["protocol"]), (&8.into(), &PROTOCOL_VERSION.into()));
    client.stream.shutdown().await.unwrap();
    client.closed().await.unwrap();
}

#[tokio::test]
async fn garbage_is_named_and_forgiven() {
    let mut client = Client::connect(PATIENT);
    client.send(b"\xff\xfe not JSON\n").await;
    assert_eq!(client.error_code().await, "malformed");
    client.send(b"\n").await;
    assert_eq!(client.error_code().await, "malformed");
    client.send(b"{\"id\":3,\"command\":\"Explode\"}\n").await;
    let response = client.response().await;
    assert_eq!(
        (&response["id"], &response["error"]["code"]),
        (&3.into(), &"unknown_command".into())
    );
    client.send(REQUEST).await;
    assert_eq!(client.response().await["id"], 7);
}

#[tokio::test]
async fn two_mebibytes_without_a_newline_are_refused_and_closed() {
    let mut client = Client::connect(PATIENT);
    client.send(&vec![b'x'; 2 * 1024 * 1024]).await;
    assert_eq!(client.error_code().await, "too_large");
    client.stream.shutdown().await.unwrap();
    client.closed().await.unwrap();
}

#[tokio::test]
async fn half_a_request_is_an_error_at_its_end() {
    let mut client = Client::connect(PATIENT);
    client.send(b"{\"id\":1,").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.error_code().await, "malformed");
    client.closed().await.unwrap();
}

#[tokio::test]
async fn silence_is_ended_within_a_request_too() {
    for sent in [&b""[..], b"{\"id\":1,"] {
        let mut client = Client::connect(Patience { idle: SHORT, ..PATIENT });
        client.send(sent).await;
        let error = client.closed().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

#[tokio::test]
async fn who_does_not_read_is_dropped() {
    let Client { mut stream, served } = Client::connect(Patience { answer: SHORT, ..PATIENT });
    // Requests without reading: first the answers fill the socket, then our writing stops.
    let writing = async { while stream.write_all(REQUEST).await.is_ok() {} };
    timeout(LONG, writing).await.unwrap();
    assert_eq!(served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn who_asks_too_much_waits_and_is_still_answered() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (events, mut requests) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(Event::Request { reply, .. }) = requests.recv().await {
            let forbidden = ErrorBody::new(ErrorCode::Forbidden, "no");
            reply.send(Err(forbidden).into()).unwrap();
        }
    });
    let served = tokio::spawn(async move {
        let place = place(Access::Read);
        let outcome = serve(theirs, &place, events, PATIENT).await;
        (outcome, place.wait())
    });
    let mut client =
        Client { stream: BufReader::new(ours), served: tokio::spawn(async { Ok(()) }) };
    let within_credit = limits::CREDIT.as_millis() / limits::FORBIDDEN_COST.as_millis();
    let begun = std::time::Instant::now();
    let more = 4;
    for _ in 0..within_credit + more {
        client.send(REQUEST).await;
        assert_eq!(client.error_code().await, "forbidden");
    }
    // The last one waits until those before it are paid for, but for the credit.
    let least = limits::FORBIDDEN_COST * (more as u32 - 2);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    drop(client);
    let (outcome, wait) = served.await.unwrap();
    outcome.unwrap();
    assert!(wait.is_zero(), "it has waited before it looked for more");
}
