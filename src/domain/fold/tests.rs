use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::domain::evidence::{Fact, InteractionKind};
use crate::domain::message::SendPolicy;
use crate::entropy::Entropy;
use crate::ids::{IdMaker, MessageId};

static IDS: LazyLock<IdMaker> =
    LazyLock::new(|| IdMaker::new(Clock::manual(1_700_000_000_000), Entropy::seeded(5)));

fn message(recipients: &[&str]) -> Message {
    Message {
        id: MessageId::from(7),
        channel: "robot".to_owned(),
        message_type: "text".to_owned(),
        body: "{}".to_owned(),
        unopened: None,
        recipients: recipients.iter().map(|&person| person.to_owned()).collect(),
        policy: SendPolicy::AtMostOnce,
        idempotency_key: None,
        status: Status::Pending,
        generation: 0,
        created_ms: 1,
        updated_ms: 1,
        expires_ms: None,
    }
}

fn said(at_ms: i64, recipient: Option<&str>, fact: Fact) -> Evidence {
    Evidence {
        id: IDS.make(),
        reference: "r".to_owned(),
        generation: 0,
        recipient: recipient.map(str::to_owned),
        fact,
        code: None,
        text: None,
        source: "robot".to_owned(),
        event_id: None,
        at_ms,
    }
}

fn status(at_ms: i64, recipient: Option<&str>, status: Status) -> Evidence {
    said(at_ms, recipient, Fact::Status(status))
}

fn of<'a>(tracked: &'a Tracked, person: &str) -> &'a RecipientStatus {
    tracked.recipients.iter().find(|recipient| recipient.user_id == person).expect("differs from the base")
}

#[test]
fn a_message_without_evidence_is_pending_since_it_was_made() {
    let tracked = fold(Some(&message(&["a"])), "r", &[]);
    assert_eq!((tracked.status, tracked.timestamp_ms), (Status::Pending, 1));
    assert_eq!(tracked.message_id, MessageId::from(7).to_string());
    assert_eq!(tracked.user_id.as_deref(), Some("a"));
    assert_eq!(tracked.details["counts"], json!({"pending": 1}));
}

#[test]
fn a_robot_message_goes_from_sent_to_delivered_to_read() {
    let robot = message(&[]);
    let mut evidence = vec![status(1, None, Status::Pending), status(5, None, Status::Sent)];
    let tracked = fold(Some(&robot), "r", &evidence);
    assert_eq!((tracked.status, tracked.timestamp_ms), (Status::Sent, 5));
    evidence.push(status(9, Some("zhangsan"), Status::Delivered));
    let tracked = fold(Some(&robot), "r", &evidence);
    assert_eq!((tracked.status, tracked.timestamp_ms), (Status::Delivered, 9));
    evidence.push(status(12, Some("zhangsan"), Status::Read));
    let tracked = fold(Some(&robot), "r", &evidence);
    assert_eq!((tracked.status, tracked.timestamp_ms), (Status::Read, 12));
    assert_eq!(tracked.user_id.as_deref(), Some("zhangsan"));
    assert_eq!(tracked.details["recipients_listed"], json!(false));
    assert_eq!(of(&tracked, "zhangsan").status, Status::Read);
    let history: Vec<Status> = history(Some(&robot), "r", &evidence).iter().map(|e| e.status).collect();
    assert_eq!(history, [Status::Pending, Status::Sent, Status::Delivered, Status::Read]);
}

#[test]
fn refused_recipients_fail_and_the_others_do_not() {
    let mut refused = status(5, Some("lisi"), Status::Failed);
    refused.code = Some(60111);
    refused.text = Some("userid not found".to_owned());
    let evidence = [status(5, None, Status::Sent), refused.clone()];
    let tracked = fold(Some(&message(&["zhangsan", "LiSi", "wangwu"])), "r", &evidence);
    assert_eq!(tracked.status, Status::Sent);
    assert_eq!(tracked.details["partial"], json!(true));
    assert_eq!(tracked.details["counts"], json!({"sent": 2, "failed": 1}));
    assert_eq!(tracked.recipients.len(), 1, "only those who differ");
    let lisi = of(&tracked, "LiSi");
    assert_eq!((lisi.status, lisi.code), (Status::Failed, Some(60111)));
    assert_eq!(tracked.error_message, None);

    let tracked = fold(Some(&message(&["LiSi"])), "r", &evidence);
    assert_eq!(tracked.status, Status::Failed, "all failed");
    assert_eq!(tracked.error_message.as_deref(), Some("userid not found"));
    assert_eq!(tracked.details["code"], json!(60111));
    assert_eq!(tracked.details["partial"], json!(false));
}

#[test]
fn the_message_stands_where_the_last_of_the_others_stands() {
    let all = message(&["a", "b", "c"]);
    let mut evidence = vec![
        status(2, None, Status::Sent),
        status(3, Some("a"), Status::Read),
        status(4, Some("b"), Status::Delivered),
        status(5, Some("c"), Status::Failed),
    ];
    let tracked = fold(Some(&all), "r", &evidence);
    assert_eq!((tracked.status, tracked.timestamp_ms), (Status::Delivered, 4));
    evidence.push(status(6, Some("stranger"), Status::Failed));
    let tracked = fold(Some(&all), "r", &evidence);
    assert_eq!(tracked.status, Status::Delivered, "a person not addressed decides nothing");
    evidence.push(status(7, None, Status::Read));
    let tracked = fold(Some(&all), "r", &evidence);
    assert_eq!(tracked.status, Status::Read);
    assert_eq!(of(&tracked, "c").status, Status::Failed, "a report on the whole does not lift who failed");
}

#[test]
fn a_recall_covers_what_was_reached_and_nothing_else() {
    let two = message(&["a", "b", "c"]);
    let evidence = [
        status(2, None, Status::Sent),
        status(3, Some("a"), Status::Read),
        status(4, Some("b"), Status::Failed),
        status(9, None, Status::Recalled),
    ];
    let tracked = fold(Some(&two), "r", &evidence);
    assert_eq!((tracked.status, tracked.timestamp_ms), (Status::Recalled, 9));
    assert_eq!(tracked.details["earlier"], json!("sent"));
    assert_eq!(of(&tracked, "b").status, Status::Failed);
    assert_eq!(tracked.details["counts"], json!({"recalled": 2, "failed": 1}));
    let early = fold(Some(&two), "r", &evidence[3..]);
    assert_eq!(early.status, Status::Pending, "nothing to cover yet");
}

#[test]
fn a_resend_starts_anew_but_what_people_saw_they_saw() {
    let mut again = message(&["a", "b", "c"]);
    again.generation = 1;
    let mut resent = status(9, None, Status::Pending);
    resent.generation = 1;
    let evidence = [
        status(2, None, Status::Sent),
        status(3, Some("a"), Status::Read),
        status(4, Some("b"), Status::Failed),
        resent,
    ];
    let tracked = fold(Some(&again), "r", &evidence);
    assert_eq!(tracked.status, Status::Pending);
    assert_eq!(of(&tracked, "a").status, Status::Read);
    assert_eq!(tracked.recipients.len(), 1, "the old failure is past");
    let entries = history(Some(&again), "r", &evidence);
    assert_eq!(entries.last().map(|e| e.details.get("late").cloned()), Some(None));
}

#[test]
fn a_reference_of_another_system_counts_as_sent() {
    let reply = said(4, Some("a"), Fact::Interaction(InteractionKind::Reply));
    let tracked = fold(None, "7000000000000000003", &[reply]);
    assert_eq!((tracked.status, tracked.timestamp_ms), (Status::Sent, 4));
    assert_eq!(tracked.message_id, "7000000000000000003");
    assert_eq!(tracked.details["sent_by_gateway"], json!(false));

    let failed = fold(None, "x", &[status(4, Some("a"), Status::Failed)]);
    assert_eq!(failed.status, Status::Failed, "all who are known failed");
    let recalled = fold(None, "x", &[status(4, None, Status::Recalled)]);
    assert_eq!(recalled.status, Status::Recalled);
    assert_eq!(fold(None, "x", &[status(4, None, Status::Pending)]).status, Status::Pending);
}

#[test]
fn a_click_by_a_person_proves_that_they_read_and_a_reply_or_a_shared_link_does_not() {
    let click = || Fact::Interaction(InteractionKind::Click);
    let both = message(&["a", "b"]);
    let evidence = [status(2, None, Status::Sent), said(3, Some("a"), click()), said(4, None, click())];
    let tracked = fold(Some(&both), "r", &evidence);
    assert_eq!(tracked.status, Status::Sent);
    assert_eq!(of(&tracked, "a").status, Status::Read);
    let entries = history(Some(&both), "r", &evidence);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].details["interaction"], json!("click"));
    assert_eq!(interactions(Some(&both), "r", &evidence).len(), 2);
}

#[test]
fn history_keeps_late_facts_and_drops_repeated_ones() {
    let evidence = [
        status(2, Some("a"), Status::Delivered),
        status(3, None, Status::Sent),
        status(4, Some("a"), Status::Sent),
        status(5, Some("a"), Status::Delivered),
    ];
    let shuffled = [evidence[3].clone(), evidence[1].clone(), evidence[0].clone(), evidence[2].clone()];
    let entries = history(None, "r", &shuffled);
    let seen: Vec<_> = entries.iter().map(|e| (e.timestamp_ms, e.details.contains_key("late"))).collect();
    assert_eq!(seen, [(2, false), (3, false), (4, true)]);
}

#[test]
fn names_that_differ_in_case_are_one_person_only_where_that_is_sure() {
    let evidence = [status(2, Some("ann"), Status::Failed), status(2, Some("ANN"), Status::Sent)];
    let tracked = fold(Some(&message(&["Ann", "ANN"])), "r", &evidence);
    assert!(tracked.recipients.iter().any(|r| r.user_id == "ann"), "two spellings could be meant");
    let tracked = fold(Some(&message(&["Ann", "ann"])), "r", &evidence[..1]);
    assert_eq!(of(&tracked, "ann").status, Status::Failed);
    assert_eq!(tracked.recipients.len(), 1);
}

fn any_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => proptest::sample::select(Status::ALL.to_vec()).prop_map(Fact::Status),
        1 => Just(Fact::Interaction(InteractionKind::Click)),
        1 => Just(Fact::Interaction(InteractionKind::Reply)),
    ]
}

fn any_evidence() -> impl Strategy<Value = (Option<&'static str>, i64, Fact)> {
    let person = proptest::sample::select(vec![None, Some("Ann"), Some("ann"), Some("bob"), Some("eve")]);
    (person, 0..3_i64, any_fact())
}

/// What must not depend on the order of arrival; times and texts do.
#[derive(Debug, PartialEq)]
struct Timeless {
    status: Status,
    recipients: Vec<(String, Status, Option<Status>)>,
    details: Map<String, Value>,
}

fn timeless(tracked: Tracked) -> Timeless {
    let recipients = tracked.recipients.into_iter().map(|r| (r.user_id, r.status, r.earlier)).collect();
    Timeless { status: tracked.status, recipients, details: tracked.details }
}

proptest! {
    // 2,000 sets of evidence in 50 orders each: 100,000 cases.
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_repetition_give_the_same_status(
        facts in proptest::collection::vec(any_evidence(), 1..10),
        listed in proptest::sample::select(vec![None, Some(vec![]), Some(vec!["Ann", "bob"])]),
        seed in any::<u64>(),
    ) {
        let ours = listed.map(|people| message(&people));
        let arrive = |order: &[usize]| -> Vec<Evidence> {
            (100..).zip(order).map(|(at_ms, &which)| {
                let (person, generation, fact) = &facts[which];
                Evidence { generation: *generation, ..said(at_ms, *person, fact.clone()) }
            }).collect()
        };
        let first: Vec<usize> = (0..facts.len()).collect();
        let expected = timeless(fold(ours.as_ref(), "r", &arrive(&first)));
        let dice = Entropy::seeded(seed);
        for _ in 0..50 {
            let mut order = first.clone();
            for _ in 0..usize::from(dice.bytes::<1>()[0] % 4) {
                order.push(usize::from(dice.bytes::<1>()[0]) % facts.len());
            }
            for at in (1..order.len()).rev() {
                order.swap(at, usize::from(dice.bytes::<1>()[0]) % (at + 1));
            }
            let arrived = arrive(&order);
            prop_assert_eq!(&timeless(fold(ours.as_ref(), "r", &arrived)), &expected);
        }
    }

    #[test]
    fn more_evidence_of_the_same_sending_never_lowers_a_person(
        facts in proptest::collection::vec(any_fact(), 1..10),
    ) {
        let ours = message(&["a"]);
        let mut evidence = Vec::new();
        let mut last = Status::Pending;
        for (at_ms, fact) in (10..).zip(facts) {
            evidence.push(said(at_ms, Some("a"), fact));
            let now = fold(Some(&ours), "r", &evidence).status;
            prop_assert!(now >= last || last == Status::Recalled, "{} after {}", now, last);
            last = now;
        }
    }
}
