use super::*;

fn tell(news: &News, count: u64) {
    (0..count).for_each(|n| news.tell(EventKind::RuleAdded, About::default(), n));
}

fn events(lines: &[u8]) -> Vec<Event> {
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// All that there is to be told now.
async fn told(subscription: &mut Subscription) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(lines) = now(subscription).await {
        all.extend(events(&lines));
    }
    all
}

async fn now(subscription: &mut Subscription) -> Option<Vec<u8>> {
    tokio::select! {
        biased;
        lines = subscription.next_lines() => lines,
        () = std::future::ready(()) => None,
    }
}

fn sequences(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

#[tokio::test]
async fn who_subscribes_is_told_what_comes_in_order() {
    let news = News::default();
    tell(&news, 3);
    let mut subscription = news.subscribe(None).unwrap();
    assert_eq!(told(&mut subscription).await, []);
    tell(&news.clone(), 2);
    assert_eq!(sequences(&told(&mut subscription).await), [4, 5]);
    drop(news);
    assert_eq!(subscription.next_lines().await, None);
}

#[tokio::test]
async fn what_is_kept_of_the_past_comes_first_and_the_rest_is_counted() {
    let news = News::default();
    tell(&news, limits::EVENTS_KEPT as u64 + 5);
    assert_eq!(news.recent().len(), limits::EVENTS_KEPT);
    let mut all = news.subscribe(Some(0)).unwrap();
    tell(&news, 1);
    let all = told(&mut all).await;
    assert_eq!((all[0].kind, all[0].missed, all[0].sequence), (EventKind::Missed, Some(5), 5));
    let expected: Vec<u64> = (5..=limits::EVENTS_KEPT as u64 + 6).collect();
    assert_eq!(sequences(&all), expected, "each follows the one before it");
    let mut last = news.subscribe(Some(limits::EVENTS_KEPT as u64 + 4)).unwrap();
    assert_eq!(told(&mut last).await.len(), 2);
    let mut ahead = news.subscribe(Some(u64::MAX)).unwrap();
    assert_eq!(told(&mut ahead).await, []);
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_how_many_were_missed() {
    let news = News::default();
    let mut subscription = news.subscribe(None).unwrap();
    let many = 3 * limits::EVENTS_WAITING as u64;
    tell(&news, many);
    let told = told(&mut subscription).await;
    let missed = told[0].missed.unwrap();
    assert_eq!(missed + (told.len() as u64 - 1), many, "nothing is lost without a word");
    assert_eq!(sequences(&told), (missed..=many).collect::<Vec<_>>());
}

#[test]
fn no_more_may_subscribe_than_there_is_room_for() {
    let news = News::default();
    let subscribed: Vec<_> = (0..limits::SUBSCRIBERS).map(|_| news.subscribe(None)).collect();
    assert!(subscribed.iter().all(Result::is_ok));
    assert!(news.subscribe(None).is_err());
    drop(subscribed);
    assert!(news.subscribe(None).is_ok());
}
