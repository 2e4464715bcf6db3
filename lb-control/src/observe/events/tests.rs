//! What is kept, what is not, and who is told.

use super::{Events, KEPT, TEXT_MAX};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt as _;

fn recorded(log: impl FnOnce()) -> Events {
    let events = Events::default();
    let subscriber = tracing_subscriber::registry().with(events.layer());
    tracing::subscriber::with_default(subscriber, log);
    events
}

#[test]
fn an_event_is_its_message_and_its_fields() {
    let before = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let events = recorded(|| {
        tracing::warn!(backend = %"www/web1", reason = "it's \"down\"", count = 3, "is {}", "down");
    });
    let all = events.after(0);
    assert_eq!((all.last, all.lost, all.events.len()), (1, 0, 1));
    let event = &all.events[0];
    assert_eq!((event.number, event.level.as_str()), (1, "warn"));
    assert_eq!(event.message, "is down");
    let fields: Vec<_> = event
        .fields
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let expected = [
        ("backend", "www/web1"),
        ("count", "3"),
        ("reason", "it's \"down\""),
    ];
    assert_eq!(fields, expected);
    // RFC 3339 in UTC sorts as text.
    assert!(event.time >= before, "{} < {before}", event.time);
}

#[test]
fn others_and_details_are_not_kept() {
    let events = recorded(|| {
        tracing::debug!("a detail");
        tracing::info!(target: "hyper::proto", "somebody else's");
        tracing::info!(target: "lb_controller", "somebody else's");
        tracing::info!(target: "lbd", "ours");
        let _span = tracing::info_span!("a span").entered();
    });
    let messages: Vec<_> = events
        .after(0)
        .events
        .into_iter()
        .map(|it| it.message)
        .collect();
    assert_eq!(messages, ["ours"]);
}

#[test]
fn the_oldest_go_and_are_counted() {
    let more = 7;
    let events = recorded(|| {
        for index in 1..=KEPT + more {
            tracing::info!(index, "again");
        }
    });
    let last = (KEPT + more) as u64;
    let all = events.after(0);
    assert_eq!((all.last, all.lost, all.events.len()), (last, 7, KEPT));
    assert_eq!(all.events[0].number, 8);
    assert_eq!(all.events[0].fields["index"], "8");
    let some = events.after(3);
    assert_eq!((some.lost, some.events.len()), (4, KEPT));
    let some = events.after(last - 2);
    assert_eq!((some.lost, some.events.len()), (0, 2));
    assert_eq!(some.events[0].number, last - 1);
    for after in [last, last + 1, u64::MAX] {
        let none = events.after(after);
        assert_eq!((none.last, none.lost, none.events.len()), (last, 0, 0));
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let events =
        recorded(|| tracing::error!(text = "ä".repeat(TEXT_MAX), "x{}", "ö".repeat(TEXT_MAX)));
    let all = events.after(0);
    for text in [&all.events[0].message, &all.events[0].fields["text"]] {
        assert!(text.ends_with('…'), "{text}");
        assert!(text.len() <= TEXT_MAX + '…'.len_utf8(), "{}", text.len());
    }
}

#[tokio::test]
async fn who_waits_is_told() {
    let events = Events::default();
    let waiting = tokio::spawn({
        let events = events.clone();
        async move {
            events.wait_after(1).await;
            events.after(1)
        }
    });
    let subscriber = tracing_subscriber::registry().with(events.layer());
    tracing::subscriber::with_default(subscriber, || tracing::info!("one"));
    let early = tokio::time::timeout(Duration::from_millis(20), events.wait_after(1)).await;
    assert!(early.is_err(), "there is nothing after the first");
    let subscriber = tracing_subscriber::registry().with(events.layer());
    tracing::subscriber::with_default(subscriber, || tracing::info!("two"));
    let heard = waiting.await.unwrap();
    assert_eq!(heard.events.len(), 1);
    assert_eq!(heard.events[0].message, "two");
}
