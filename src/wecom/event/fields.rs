//! The fields that decide what an event is, gathered from either form of plaintext.
//!
//! A field that is absent and one that is empty are the same here: the platform writes both. Where a field stands
//! twice, the first counts.

use std::borrow::Cow;

use serde_json::Value;

/// One field's place in [`Fields`].
pub(super) type Slot = for<'f, 'a> fn(&'f mut Fields<'a>) -> &'f mut Cow<'a, str>;

/// The fields; empty means absent.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) message_type: Cow<'a, str>,
    pub(super) event: Cow<'a, str>,
    pub(super) change_type: Cow<'a, str>,
    pub(super) info_type: Cow<'a, str>,
    pub(super) to_user_name: Cow<'a, str>,
    pub(super) auth_corp_id: Cow<'a, str>,
    pub(super) suite_id: Cow<'a, str>,
    pub(super) service_corp_id: Cow<'a, str>,
    pub(super) app_id: Cow<'a, str>,
    pub(super) agent_id: Cow<'a, str>,
    pub(super) from_user_name: Cow<'a, str>,
    /// `From/UserId` and `from.userid` of robots.
    pub(super) robot_user_id: Cow<'a, str>,
    pub(super) user_id: Cow<'a, str>,
    pub(super) external_user_id: Cow<'a, str>,
    pub(super) chat_id: Cow<'a, str>,
    pub(super) message_id: Cow<'a, str>,
    pub(super) created: Cow<'a, str>,
    pub(super) event_key: Cow<'a, str>,
    pub(super) task_id: Cow<'a, str>,
    pub(super) card_type: Cow<'a, str>,
    pub(super) response_code: Cow<'a, str>,
    pub(super) error_code: Cow<'a, str>,
    pub(super) error_text: Cow<'a, str>,
    /// `Status` and counts of an Official Account's job.
    pub(super) job_status: Cow<'a, str>,
    pub(super) total_count: Cow<'a, str>,
    pub(super) sent_count: Cow<'a, str>,
    pub(super) error_count: Cow<'a, str>,
    /// The messages of `subscribe_msg_sent_event`.
    pub(super) jobs: Vec<Job<'a>>,
    /// Only robots' callbacks have it: `WebhookUrl`, `response_url`, `aibotid`.
    pub(super) robot: Cow<'a, str>,
    pub(super) feedback_id: Cow<'a, str>,
    pub(super) feedback_type: Cow<'a, str>,
    pub(super) feedback_text: Cow<'a, str>,
    /// The text of a robot message.
    pub(super) text: Cow<'a, str>,
    /// The first of PMC's keys `click` and `reply` that the body has, and what stands in it.
    pub(super) gesture: Option<(&'static str, Cow<'a, str>)>,
    /// Question keys and chosen option ids of a card.
    pub(super) selected: Vec<(String, Vec<String>)>,
}

/// One message of `subscribe_msg_sent_event`.
#[derive(Debug, Default)]
pub(super) struct Job<'a> {
    pub(super) message_id: Cow<'a, str>,
    pub(super) error_code: Cow<'a, str>,
    pub(super) error_status: Cow<'a, str>,
}

/// The field a direct child of the XML root, or a member of the JSON root, stands for.
pub(super) fn root_slot(name: &str) -> Option<Slot> {
    Some(match name {
        "MsgType" | "msgtype" => |f| &mut f.message_type,
        "Event" => |f| &mut f.event,
        "ChangeType" => |f| &mut f.change_type,
        "InfoType" => |f| &mut f.info_type,
        "ToUserName" => |f| &mut f.to_user_name,
        "AuthCorpId" => |f| &mut f.auth_corp_id,
        "SuiteId" => |f| &mut f.suite_id,
        "ServiceCorpId" => |f| &mut f.service_corp_id,
        "AppId" => |f| &mut f.app_id,
        "AgentID" | "AgentId" => |f| &mut f.agent_id,
        "FromUserName" => |f| &mut f.from_user_name,
        "UserID" => |f| &mut f.user_id,
        "ExternalUserID" => |f| &mut f.external_user_id,
        "ChatId" | "chatid" => |f| &mut f.chat_id,
        "MsgId" | "MsgID" | "msgid" => |f| &mut f.message_id,
        "CreateTime" | "TimeStamp" | "create_time" => |f| &mut f.created,
        "EventKey" => |f| &mut f.event_key,
        "TaskId" => |f| &mut f.task_id,
        "CardType" => |f| &mut f.card_type,
        "ResponseCode" => |f| &mut f.response_code,
        "ErrCode" | "errcode" => |f| &mut f.error_code,
        "ErrMsg" | "errmsg" | "error_message" => |f| &mut f.error_text,
        "Status" => |f| &mut f.job_status,
        "TotalCount" => |f| &mut f.total_count,
        "SentCount" => |f| &mut f.sent_count,
        "ErrorCount" => |f| &mut f.error_count,
        "WebhookUrl" | "webhook_url" | "response_url" | "aibotid" => |f| &mut f.robot,
        _ => return None,
    })
}

impl<'a> Fields<'a> {
    /// Fills a field, unless it is filled already.
    pub(super) fn set(&mut self, slot: Slot, text: Cow<'a, str>) {
        let place = slot(self);
        if place.is_empty() {
            *place = text;
        }
    }

    /// Gathers the fields of a JSON body.
    pub(super) fn of_json(body: &'a Value) -> Self {
        let mut fields = Self::default();
        for (name, value) in body.as_object().into_iter().flatten() {
            if let Some(slot) = root_slot(name) {
                fields.set(slot, text_of(Some(value)));
            }
        }
        fields.robot_user_id = text_of(body.pointer("/from/userid"));
        fields.text = text_of(body.pointer("/text/content"));
        fields.gesture = ["click", "reply"].into_iter().find_map(|name| {
            let value = body.get(name)?;
            let inner =
                ["key", "content", "text"].iter().find_map(|member| value.get(member)).unwrap_or(value);
            Some((name, text_of(Some(inner))))
        });
        let jobs = body.get("List").and_then(Value::as_array);
        fields.jobs = jobs.into_iter().flatten().map(Job::of_json).collect();
        if let Some(event) = body.get("event") {
            fields.take_robot_event(event);
        }
        fields
    }

    /// The member `event` of a robot's body: `{"eventtype": NAME, NAME: {…}}`, or the bare name.
    fn take_robot_event(&mut self, event: &'a Value) {
        self.event = text_of(event.get("eventtype").or(Some(event)));
        let Some(detail) = event.get(self.event.as_ref()) else { return };
        match self.event.as_ref() {
            "feedback_event" => {
                self.feedback_id = text_of(detail.get("id"));
                self.feedback_type = text_of(detail.get("type"));
                self.feedback_text = text_of(detail.get("content"));
            }
            "template_card_event" => {
                self.event_key = text_of(detail.get("event_key"));
                self.task_id = text_of(detail.get("task_id"));
                self.card_type = text_of(detail.get("card_type"));
                self.response_code = text_of(detail.get("response_code"));
                self.selected = selected_in_json(detail);
            }
            _ => {}
        }
    }
}

impl<'a> Job<'a> {
    fn of_json(item: &'a Value) -> Self {
        let text = |name| text_of(item.get(name));
        Self { message_id: text("MsgID"), error_code: text("ErrorCode"), error_status: text("ErrorStatus") }
    }
}

/// `selected_items.selected_item[]` of a card event.
fn selected_in_json(detail: &Value) -> Vec<(String, Vec<String>)> {
    let items = detail.pointer("/selected_items/selected_item").and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .map(|item| {
            let chosen = item.pointer("/option_ids/option_id").and_then(Value::as_array);
            let chosen = chosen.into_iter().flatten().map(|id| text_of(Some(id)).into_owned()).collect();
            (text_of(item.get("question_key")).into_owned(), chosen)
        })
        .collect()
}

/// A string without the white space around it, or a number as text; empty for anything else.
fn text_of(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        Some(Value::String(text)) => Cow::Borrowed(text.trim()),
        Some(Value::Number(number)) => Cow::Owned(number.to_string()),
        _ => Cow::Borrowed(""),
    }
}
