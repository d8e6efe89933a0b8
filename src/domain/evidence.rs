//! One fact about a message. Evidence is only ever added, and may come before its message.

use crate::domain::delivery::DeliveryState;
use crate::domain::event::{Event, Meaning};
use crate::domain::message::Message;
use crate::domain::outcome::{Outcome, Try};
use crate::domain::retry::Next;
use crate::domain::status::Status;
use crate::ids::{EventId, EvidenceId, IdMaker};

/// Longest reference that is kept, in bytes; evidence with a longer one is not evidence.
pub const REFERENCE_BYTES_MAX: usize = 256;

/// Longest text that goes with a fact, in bytes; longer ones are cut.
pub const TEXT_BYTES_MAX: usize = 4096;

/// What a person did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InteractionKind {
    /// Pressed a button or opened a tracked link.
    Click,
    /// Answered it.
    Reply,
    /// Passed it on.
    Forward,
    /// Opened it.
    Open,
    /// Judged it (smart robots).
    Feedback,
    /// Another word of the platform or of a reporting system, at most 64 bytes.
    Other(String),
}

impl InteractionKind {
    /// The word in tables and answers.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Click => "click",
            Self::Reply => "reply",
            Self::Forward => "forward",
            Self::Open => "open",
            Self::Feedback => "feedback",
            Self::Other(word) => word,
        }
    }

    /// Reads [`InteractionKind::as_str`]; any other word is kept, cut to 64 bytes on a character border.
    pub fn parse(text: &str) -> Self {
        match text {
            "click" => Self::Click,
            "reply" => Self::Reply,
            "forward" => Self::Forward,
            "open" => Self::Open,
            "feedback" => Self::Feedback,
            other => Self::Other(cut(other, 64).to_owned()),
        }
    }

    /// Whether it shows that this person saw the message: only then is their status `read`.
    pub fn proves_read(&self) -> bool {
        matches!(self, Self::Click | Self::Open)
    }
}

/// What a piece of evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The message, or the named recipient, is in this state.
    Status(Status),
    /// A person did something with the message.
    Interaction(InteractionKind),
}

/// One fact about a message, and perhaps about one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Rises in the order of arrival within one process.
    pub id: EvidenceId,
    /// Our id, the platform's msgid, a task id or a link token. At most 256 bytes.
    pub reference: String,
    /// Which sending of the message it speaks of: 0, and one more with each resend.
    pub generation: i64,
    /// The person it is about; `None`: the message as a whole.
    pub recipient: Option<String>,
    /// What it says.
    pub fact: Fact,
    /// The platform's errcode or a reporter's code, with a failure.
    pub code: Option<i64>,
    /// What goes with it for people: an error text, a button's key, a reply. At most 4 KiB.
    pub text: Option<String>,
    /// The channel or reporter it comes from.
    pub source: String,
    /// The event that carried it.
    pub event_id: Option<EventId>,
    /// When we learned it, wall time in ms.
    pub at_ms: i64,
}

/// What `event` proves about messages: status reports, card clicks, interactions, judgements. Most events prove
/// nothing. `source` is the channel that received it, `at_ms` the wall time.
pub fn from_event(
    source: &str,
    event: &Event,
    event_id: &EventId,
    at_ms: i64,
    ids: &IdMaker,
) -> Vec<Evidence> {
    let made = |(reference, recipient, fact, code, text): Proved<'_>| Evidence {
        id: ids.make(),
        reference: reference.to_owned(),
        generation: 0,
        recipient: recipient.filter(|person| !person.is_empty()),
        fact,
        code,
        text: text.map(|text| cut(&text, TEXT_BYTES_MAX).to_owned()),
        source: source.to_owned(),
        event_id: Some(event_id.clone()),
        at_ms,
    };
    let is_fit = |(reference, ..): &Proved<'_>| (1..=REFERENCE_BYTES_MAX).contains(&reference.len());
    proved_by(event).into_iter().filter(is_fit).map(made).collect()
}

/// Reference, recipient, fact, code and text of a piece of evidence.
type Proved<'a> = (&'a str, Option<String>, Fact, Option<i64>, Option<String>);

/// What an event proves, before it is known to be fit for evidence.
fn proved_by(event: &Event) -> Vec<Proved<'_>> {
    let person = event.user_id.clone();
    let one: Proved<'_> = match &event.meaning {
        Meaning::StatusReport { reference, status, code, text } => {
            // `send_msg_result` speaks of the message, whoever it is signed by; receipts speak of a person.
            let of_a_person = matches!(status, Status::Delivered | Status::Read);
            let recipient = if of_a_person { person } else { None };
            (reference, recipient, Fact::Status(*status), *code, text.clone())
        }
        Meaning::JobResult { results, of_person } => {
            let recipient = person.filter(|_| *of_person);
            return results
                .iter()
                .map(|result| {
                    let fact = Fact::Status(result.status);
                    (result.reference.as_str(), recipient.clone(), fact, result.code, result.text.clone())
                })
                .collect();
        }
        Meaning::Card { task_id, key, .. } => {
            (task_id, person, Fact::Interaction(InteractionKind::Click), None, Some(key.clone()))
        }
        Meaning::Interaction { reference, kind, value } => {
            (reference, person, Fact::Interaction(kind.clone()), None, value.clone())
        }
        Meaning::Feedback { reference, verdict, text } => (
            reference,
            person,
            Fact::Interaction(InteractionKind::Feedback),
            None,
            Some(judged(*verdict, text)),
        ),
        Meaning::UserMessage { .. }
        | Meaning::Menu { .. }
        | Meaning::Enter
        | Meaning::Subscription { .. }
        | Meaning::Contact { .. }
        | Meaning::Other => return Vec::new(),
    };
    vec![one]
}

/// What a delivery of `message` proves: the try, if there was one, and what follows from it.
pub fn from_result(
    message: &Message,
    tried: Option<&Try>,
    next: &Next,
    at_ms: i64,
    ids: &IdMaker,
) -> Vec<Evidence> {
    let lost = tried.is_some_and(|tried| tried.outcome == Outcome::Lost);
    let status = match next {
        Next::Finish(DeliveryState::Succeeded) => Status::Sent,
        Next::Finish(DeliveryState::Failed | DeliveryState::Dead) => Status::Failed,
        Next::Finish(DeliveryState::Uncertain) => Status::Uncertain,
        Next::Finish(DeliveryState::Expired) => Status::Expired,
        // It may have arrived, and is sent again all the same.
        Next::Again { .. } if lost => Status::Uncertain,
        Next::Finish(DeliveryState::Queued | DeliveryState::Cancelled)
        | Next::Again { .. }
        | Next::Halt
        | Next::Rest { .. } => {
            return Vec::new();
        }
    };
    let about = |recipient: Option<String>, status: Status, code: Option<i64>, text: Option<&str>| Evidence {
        id: ids.make(),
        reference: message.id.to_string(),
        generation: message.generation,
        recipient,
        fact: Fact::Status(status),
        code,
        text: text.map(|text| cut(text, TEXT_BYTES_MAX).to_owned()),
        source: message.channel.clone(),
        event_id: None,
        at_ms,
    };
    let code = tried.and_then(|tried| tried.errcode).filter(|code| *code != 0);
    let text = match (tried, next) {
        (Some(tried), _) => tried.error.as_deref(),
        (None, Next::Finish(DeliveryState::Expired)) => Some("expires_at passed before it was sent"),
        (None, Next::Finish(DeliveryState::Uncertain)) => {
            Some("its answer was lost, and the platform would no longer know a repetition for one")
        }
        (None, _) => None,
    };
    let mut proved = vec![about(None, status, code, text)];
    if let Some(Outcome::Accepted { refused, .. }) = tried.map(|tried| &tried.outcome) {
        proved.extend(
            refused.iter().map(|one| {
                about(Some(one.recipient.clone()), Status::Failed, Some(one.code), Some(&one.text))
            }),
        );
    }
    proved
}

/// The verdict in words, with what the person wrote to it.
fn judged(verdict: i64, text: &str) -> String {
    let word = match verdict {
        1 => "accurate".to_owned(),
        2 => "inaccurate".to_owned(),
        3 => "withdrawn".to_owned(),
        other => other.to_string(),
    };
    if text.is_empty() { word } else { format!("{word}: {text}") }
}

/// The longest start of `text` within `bytes_max` that ends on a character border.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::domain::event::{EventKind, Format, JobResult};
    use crate::domain::message::SendPolicy;
    use crate::domain::outcome::RefusedRecipient;
    use crate::entropy::Entropy;

    fn proved_by(meaning: Meaning) -> Vec<Evidence> {
        let ids = IdMaker::new(Clock::manual(1_700_000_000_000), Entropy::seeded(1));
        let event = Event {
            kind: EventKind::from_parts(&["event"]),
            format: Format::Xml,
            corp_id: None,
            agent_id: None,
            user_id: Some("zhangsan".to_owned()),
            external_user_id: None,
            chat_id: None,
            message_ref: None,
            created_s: None,
            meaning,
        };
        from_event("app", &event, &ids.make(), 77, &ids)
    }

    fn report(reference: &str, status: Status) -> Meaning {
        Meaning::StatusReport { reference: reference.to_owned(), status, code: None, text: None }
    }

    #[test]
    fn receipts_speak_of_a_person_and_results_of_the_message() {
        for (status, recipient) in [
            (Status::Sent, None),
            (Status::Failed, None),
            (Status::Delivered, Some("zhangsan")),
            (Status::Read, Some("zhangsan")),
        ] {
            let proved = proved_by(report("7000000000000000001", status));
            assert_eq!(proved.len(), 1);
            assert_eq!(proved[0].recipient.as_deref(), recipient, "{status}");
            assert_eq!(proved[0].fact, Fact::Status(status));
            assert_eq!((proved[0].at_ms, proved[0].source.as_str()), (77, "app"));
        }
    }

    #[test]
    fn an_official_account_speaks_of_one_follower_or_of_all() {
        let result = |reference: &str, status, code| JobResult {
            reference: reference.to_owned(),
            status,
            code,
            text: Some("in its words".to_owned()),
        };
        for (of_person, recipient) in [(true, Some("zhangsan")), (false, None)] {
            let results = vec![
                result("1", Status::Delivered, None),
                result("2", Status::Failed, Some(20_003)),
                result("", Status::Failed, None),
            ];
            let proved = proved_by(Meaning::JobResult { results, of_person });
            assert_eq!(proved.len(), 2, "what names no message is no evidence");
            assert!(proved.iter().all(|one| one.recipient.as_deref() == recipient));
            assert_eq!((&proved[0].fact, proved[0].code), (&Fact::Status(Status::Delivered), None));
            assert_eq!((&proved[1].fact, proved[1].code), (&Fact::Status(Status::Failed), Some(20_003)));
        }
    }

    #[test]
    fn a_card_click_is_known_by_its_task_id() {
        let proved = proved_by(Meaning::Card {
            task_id: "order-7".to_owned(),
            key: "approve".to_owned(),
            card_type: "button_interaction".to_owned(),
            response_code: "once".to_owned(),
            selected: Vec::new(),
        });
        assert_eq!(proved[0].reference, "order-7");
        assert_eq!(proved[0].fact, Fact::Interaction(InteractionKind::Click));
        assert_eq!(proved[0].text.as_deref(), Some("approve"), "never the response code");
    }

    #[test]
    fn a_judgement_is_kept_in_words() {
        let judge = |verdict, text: &str| {
            proved_by(Meaning::Feedback { reference: "f".to_owned(), verdict, text: text.to_owned() })[0]
                .text
                .clone()
        };
        assert_eq!(judge(1, "").as_deref(), Some("accurate"));
        assert_eq!(judge(2, "wrong year").as_deref(), Some("inaccurate: wrong year"));
        assert_eq!(judge(9, "").as_deref(), Some("9"));
    }

    #[test]
    fn what_names_no_message_proves_nothing() {
        assert!(proved_by(Meaning::Enter).is_empty());
        assert!(proved_by(report("", Status::Sent)).is_empty());
        assert_eq!(proved_by(report(&"r".repeat(REFERENCE_BYTES_MAX), Status::Sent)).len(), 1);
        assert!(proved_by(report(&"r".repeat(REFERENCE_BYTES_MAX + 1), Status::Sent)).is_empty());
    }

    fn proved_by_result(outcome: Outcome, next: Next) -> Vec<(Option<String>, Status, Option<i64>)> {
        let ids = IdMaker::new(Clock::manual(1_700_000_000_000), Entropy::seeded(1));
        let message = Message {
            id: ids.make(),
            channel: "app".to_owned(),
            message_type: "text".to_owned(),
            body: "{}".to_owned(),
            unopened: None,
            recipients: Vec::new(),
            policy: SendPolicy::AtMostOnce,
            idempotency_key: None,
            status: Status::Pending,
            generation: 3,
            created_ms: 0,
            updated_ms: 0,
            expires_ms: None,
        };
        let tried = Try {
            outcome,
            http_status: Some(200),
            errcode: Some(0),
            error: None,
            answer: None,
            response_code: None,
        };
        let proved = from_result(&message, Some(&tried), &next, 5, &ids);
        proved
            .into_iter()
            .map(|one| match one.fact {
                Fact::Status(status) => {
                    assert_eq!((one.generation, one.at_ms), (3, 5));
                    assert_eq!(one.reference, message.id.as_str());
                    (one.recipient, status, one.code)
                }
                Fact::Interaction(_) => unreachable!("a result is no interaction"),
            })
            .collect()
    }

    #[test]
    fn a_result_speaks_of_the_message_and_of_those_it_names() {
        let refused = vec![RefusedRecipient {
            recipient: "lisi".to_owned(),
            code: 60111,
            text: "not found".to_owned(),
        }];
        let accepted = Outcome::Accepted { references: Vec::new(), refused };
        assert_eq!(
            proved_by_result(accepted, Next::Finish(DeliveryState::Succeeded)),
            [(None, Status::Sent, None), (Some("lisi".to_owned()), Status::Failed, Some(60111))]
        );
        for (next, status) in [
            (Next::Finish(DeliveryState::Dead), Some(Status::Failed)),
            (Next::Finish(DeliveryState::Uncertain), Some(Status::Uncertain)),
            (Next::Again { delay_ms: 1 }, Some(Status::Uncertain)),
            (Next::Rest { rest_ms: 1 }, None),
            (Next::Halt, None),
        ] {
            let proved = proved_by_result(Outcome::Lost, next);
            assert_eq!(proved.first().map(|(_, status, _)| *status), status, "{next:?}");
        }
        assert!(proved_by_result(Outcome::Refused, Next::Again { delay_ms: 1 }).is_empty());
    }

    #[test]
    fn long_texts_are_cut_on_a_character_border() {
        let proved = proved_by(Meaning::Interaction {
            reference: "r".to_owned(),
            kind: InteractionKind::Reply,
            value: Some("图".repeat(2000)),
        });
        assert_eq!(proved[0].text.as_deref(), Some("图".repeat(TEXT_BYTES_MAX / 3).as_str()));
    }

    #[test]
    fn interaction_words_read_back_and_are_bounded() {
        for word in ["click", "reply", "forward", "open", "feedback", "location"] {
            assert_eq!(InteractionKind::parse(word).as_str(), word);
        }
        assert_eq!(InteractionKind::parse(&"图".repeat(40)).as_str(), "图".repeat(21));
    }
}
