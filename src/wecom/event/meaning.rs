//! From fields to an event: its kind, whom it is about, and what the tracker and people act on.

use crate::domain::event::{Event, EventKind, Format, Meaning};
use crate::domain::evidence::InteractionKind;
use crate::domain::status::Status;
use crate::wecom::event::fields::Fields;
use crate::wecom::event::{CallbackId, Reading, job_result};

/// An id longer than this is none: it is left out, and stays in the payload.
const ID_BYTES_MAX: usize = 256;

/// `FromUserName` of events that the platform itself causes.
const SYSTEM_USER: &str = "sys";

/// Menu events, of WeCom and (in capitals) of Official Accounts.
const MENU_EVENTS: [&str; 11] = [
    "click",
    "view",
    "view_miniprogram",
    "scancode_push",
    "scancode_waitmsg",
    "pic_sysphoto",
    "pic_photo_or_album",
    "pic_weixin",
    "location_select",
    "CLICK",
    "VIEW",
];

/// PMC's contact forms.
const PMC_CONTACT_EVENTS: [&str; 6] =
    ["user_add", "user_modify", "user_delete", "party_create", "party_modify", "party_delete"];

/// Builds the event.
pub(super) fn reading(fields: &Fields<'_>, format: Format) -> Reading {
    let (kind, meaning) = kind_and_meaning(fields, format);
    let about = matches!(meaning, Meaning::Contact { .. });
    let event = Event {
        kind,
        format,
        corp_id: first_id(&[
            &fields.to_user_name,
            &fields.auth_corp_id,
            &fields.suite_id,
            &fields.service_corp_id,
            &fields.app_id,
        ]),
        agent_id: first_id(&[&fields.agent_id]),
        user_id: user_id(fields, about),
        external_user_id: first_id(&[&fields.external_user_id]),
        chat_id: first_id(&[&fields.chat_id]),
        message_ref: first_id(&[&fields.message_id]),
        created_s: fields.created.parse().ok(),
        meaning,
    };
    let callback_id = callback_id(fields, &event);
    Reading { event, callback_id }
}

/// The first id that is there and short enough to be one.
fn first_id(candidates: &[&str]) -> Option<String> {
    candidates.iter().find(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).map(|id| (*id).to_owned())
}

/// The member who caused the event; with a contact change the one it is about.
fn user_id(fields: &Fields<'_>, about: bool) -> Option<String> {
    let sender = if fields.from_user_name == SYSTEM_USER { "" } else { fields.from_user_name.as_ref() };
    let named = fields.user_id.as_ref();
    let robot = fields.robot_user_id.as_ref();
    first_id(&if about { [named, sender, robot] } else { [sender, robot, named] })
}

/// The callback's own id. PMC's forms have none: their `MsgId` names the message they speak of.
fn callback_id(fields: &Fields<'_>, event: &Event) -> Option<CallbackId> {
    let message_id = event.message_ref.clone()?;
    if !fields.robot.is_empty() {
        return Some(CallbackId { message_id, sender: String::new() });
    }
    match event.meaning {
        Meaning::UserMessage { .. } => {
            Some(CallbackId { message_id, sender: fields.from_user_name.to_string() })
        }
        _ => None,
    }
}

fn kind_and_meaning(fields: &Fields<'_>, format: Format) -> (EventKind, Meaning) {
    let kind = EventKind::from_parts;
    if !fields.info_type.is_empty() {
        let meaning =
            if fields.info_type == "change_contact" { contact(&fields.change_type) } else { Meaning::Other };
        return (kind(&["command", &fields.info_type, &fields.change_type]), meaning);
    }
    // PMC's words may stand in either place.
    let word =
        if fields.message_type == "event" { fields.event.as_ref() } else { fields.message_type.as_ref() };
    if let Some(status) = reported_status(word, fields) {
        return (kind(&["status", word]), status_report(status, fields));
    }
    if PMC_CONTACT_EVENTS.contains(&word) {
        return (kind(&["event", word]), contact(word));
    }
    if let Some((interaction, value)) = pmc_interaction(fields, format) {
        let reference = fields.message_id.to_string();
        let name = kind(&["interaction", interaction.as_str()]);
        return (name, Meaning::Interaction { reference, kind: interaction, value });
    }
    match fields.message_type.as_ref() {
        "" => (kind(&["unknown"]), Meaning::Other),
        "event" => (kind(&["event", &fields.event, &fields.change_type]), event_meaning(fields)),
        message_type => (kind(&["message", message_type]), message_meaning(message_type, fields)),
    }
}

/// What one of PMC's status words reports.
fn reported_status(word: &str, fields: &Fields<'_>) -> Option<Status> {
    match word {
        "send_msg_result" if error_code(fields).is_some_and(|code| code != 0) => Some(Status::Failed),
        "send_msg_result" => Some(Status::Sent),
        "msg_audit" => Some(Status::Delivered),
        "msg_read" => Some(Status::Read),
        _ => None,
    }
}

/// A report names its message; one that does not is kept and acted on by nobody.
fn status_report(status: Status, fields: &Fields<'_>) -> Meaning {
    let Some(reference) = first_id(&[&fields.message_id]) else { return Meaning::Other };
    let failed = status == Status::Failed;
    Meaning::StatusReport {
        reference,
        status,
        code: error_code(fields).filter(|_| failed),
        text: Some(fields.error_text.to_string()).filter(|text| failed && !text.is_empty()),
    }
}

fn error_code(fields: &Fields<'_>) -> Option<i64> {
    fields.error_code.parse().ok()
}

/// PMC's plain JSON: a person did something with the message `msgid`. The robots' own callbacks look alike, but
/// always say where to answer or which robot it is.
fn pmc_interaction(fields: &Fields<'_>, format: Format) -> Option<(InteractionKind, Option<String>)> {
    let of_a_robot = !fields.robot.is_empty() || !fields.to_user_name.is_empty();
    if format != Format::Json
        || of_a_robot
        || fields.robot_user_id.is_empty()
        || first_id(&[&fields.message_id]).is_none()
    {
        return None;
    }
    let gesture = fields.gesture.as_ref();
    let (word, value) = match (fields.message_type.as_ref(), gesture) {
        ("text", _) => ("reply", fields.text.as_ref()),
        ("event", _) => (fields.event.as_ref(), fields.event_key.as_ref()),
        (_, Some((name, value))) => (*name, value.as_ref()),
        (message_type, None) => (message_type, ""),
    };
    if word.is_empty() {
        return None;
    }
    Some((InteractionKind::parse(word), Some(value.to_owned()).filter(|value| !value.is_empty())))
}

fn event_meaning(fields: &Fields<'_>) -> Meaning {
    match fields.event.as_ref() {
        "enter_agent" | "enter_chat" => Meaning::Enter,
        "subscribe" => Meaning::Subscription { joined: true },
        "unsubscribe" => Meaning::Subscription { joined: false },
        "template_card_event" | "template_card_menu_event" | "taskcard_click" => card(fields),
        "change_contact" => contact(&fields.change_type),
        "feedback_event" => Meaning::Feedback {
            reference: fields.feedback_id.to_string(),
            verdict: fields.feedback_type.parse().unwrap_or(0),
            text: fields.feedback_text.to_string(),
        },
        action if MENU_EVENTS.contains(&action) => {
            Meaning::Menu { action: action.to_owned(), key: fields.event_key.to_string() }
        }
        _ => job_result::meaning(fields).unwrap_or(Meaning::Other),
    }
}

fn message_meaning(message_type: &str, fields: &Fields<'_>) -> Meaning {
    match message_type {
        // A pressed button under a group robot's message.
        "attachment" if !fields.robot.is_empty() => card(fields),
        // A smart robot's client asks for the rest of an answer: no person did anything.
        "stream" if !fields.robot.is_empty() => Meaning::Other,
        other => Meaning::UserMessage { message_type: other.to_owned() },
    }
}

fn card(fields: &Fields<'_>) -> Meaning {
    Meaning::Card {
        task_id: fields.task_id.to_string(),
        key: fields.event_key.to_string(),
        card_type: fields.card_type.to_string(),
        response_code: fields.response_code.to_string(),
        selected: fields.selected.clone(),
    }
}

fn contact(change: &str) -> Meaning {
    Meaning::Contact { change: change.to_owned() }
}
