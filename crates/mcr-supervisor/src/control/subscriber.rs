//! A client that is told events. It may read as slowly as it likes, or not at all: what it is too
//! slow for is counted, and it is left when it has taken nothing for too long.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::news::Subscription;

/// Tells events until the client goes, says anything, or takes nothing for `patience`. Nothing is
/// said while there is nothing to tell: that a client is gone shows at a local socket by itself.
pub(super) async fn tell<S: AsyncBufRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut subscription: Subscription,
    patience: Duration,
) -> io::Result<()> {
    loop {
        let lines = tokio::select! {
            lines = subscription.next_lines() => lines,
            // Its end, or a request, which would wait for ever.
            heard = stream.fill_buf() => return heard.map(drop),
        };
        let Some(lines) = lines else {
            return Ok(());
        };
        timeout(patience, stream.write_all(&lines)).await??;
    }
}

#[cfg(test)]
mod tests {
    use mcr_api::control::{About, EventKind};
    use tokio::io::{AsyncReadExt, BufReader};
    use tokio::net::UnixStream;

    use super::*;
    use crate::limits;
    use crate::news::News;

    const LONG: Duration = Duration::from_secs(30);

    fn tell_many(news: &News, count: usize) {
        (0..count).for_each(|n| news.tell(EventKind::RuleAdded, About::default(), n));
    }

    #[tokio::test]
    async fn a_quiet_subscription_lasts_until_the_client_goes() {
        let news = News::default();
        let (mut client, ours) = UnixStream::pair().unwrap();
        let subscription = news.subscribe(None).unwrap();
        let mut stream = BufReader::new(ours);
        let told = tell(&mut stream, subscription, LONG);
        let reads = async {
            tell_many(&news, 1);
            let mut line = [0; 512];
            let length = client.read(&mut line).await.unwrap();
            assert!(line[..length].ends_with(b"\"message\":\"0\"}\n"));
            drop(client);
        };
        let (told, ()) = tokio::join!(told, reads);
        told.unwrap();
    }

    #[tokio::test]
    async fn who_takes_nothing_is_left_and_holds_up_nobody() {
        let news = News::default();
        let (client, ours) = UnixStream::pair().unwrap();
        let subscription = news.subscribe(None).unwrap();
        let mut stream = BufReader::new(ours);
        let told = tell(&mut stream, subscription, Duration::from_millis(50));
        let tells = async {
            for _ in 0..20 {
                tell_many(&news, limits::EVENTS_WAITING);
                tokio::task::yield_now().await;
            }
        };
        let (told, ()) = tokio::join!(told, tells);
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
