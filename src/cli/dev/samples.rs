//! Plaintexts of the common callbacks, as the platform writes them, with texts of our own.

use crate::domain::event::Format;

/// What a sample is filled with.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The company: `ToUserName`.
    pub to: String,
    /// The person.
    pub user_id: String,
    /// The app.
    pub agent_id: String,
    /// The message or card spoken of; the callback's own id where it has one.
    pub reference: String,
    /// When, in seconds since 1970.
    pub created_s: i64,
}

/// One kind of callback.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What to ask for it by.
    pub name: &'static str,
    /// The kind of event it is.
    pub kind: &'static str,
    /// How it is written. [`Format::Opaque`] stands for plain JSON signed with a robot's secret.
    pub format: Format,
    text: &'static str,
}

impl Sample {
    /// The plaintext.
    pub fn fill(&self, filling: &Filling) -> String {
        let head = "<ToUserName><![CDATA[{to}]]></ToUserName><FromUserName><![CDATA[{user}]]></FromUserName><CreateTime>{created}</CreateTime>";
        self.text
            .replace("{head}", head)
            .replace("{to}", &filling.to)
            .replace("{user}", &filling.user_id)
            .replace("{agent}", &filling.agent_id)
            .replace("{reference}", &filling.reference)
            .replace("{created}", &filling.created_s.to_string())
    }
}

/// The sample called `name`.
pub fn find(name: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.name == name)
}

const fn xml(name: &'static str, kind: &'static str, text: &'static str) -> Sample {
    Sample { name, kind, format: Format::Xml, text }
}

const fn json(name: &'static str, kind: &'static str, text: &'static str) -> Sample {
    Sample { name, kind, format: Format::Json, text }
}

const fn plain(name: &'static str, kind: &'static str, text: &'static str) -> Sample {
    Sample { name, kind, format: Format::Opaque, text }
}

/// Every sample.
pub const SAMPLES: &[Sample] = &[
    xml(
        "message.text",
        "message.text",
        "<xml>{head}<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[明天的会议改到三点 (moved to three)]]></Content><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "message.image",
        "message.image",
        "<xml>{head}<MsgType><![CDATA[image]]></MsgType><PicUrl><![CDATA[https://example.com/p.jpg]]></PicUrl><MediaId><![CDATA[media-image-1]]></MediaId><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "message.voice",
        "message.voice",
        "<xml>{head}<MsgType><![CDATA[voice]]></MsgType><MediaId><![CDATA[media-voice-1]]></MediaId><Format><![CDATA[amr]]></Format><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "message.video",
        "message.video",
        "<xml>{head}<MsgType><![CDATA[video]]></MsgType><MediaId><![CDATA[media-video-1]]></MediaId><ThumbMediaId><![CDATA[media-thumb-1]]></ThumbMediaId><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "message.location",
        "message.location",
        "<xml>{head}<MsgType><![CDATA[location]]></MsgType><Location_X>31.23</Location_X><Location_Y>121.47</Location_Y><Scale>16</Scale><Label><![CDATA[People's Square]]></Label><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID><AppType><![CDATA[wxwork]]></AppType></xml>",
    ),
    xml(
        "message.link",
        "message.link",
        "<xml>{head}<MsgType><![CDATA[link]]></MsgType><Title><![CDATA[A page]]></Title><Description><![CDATA[worth reading]]></Description><Url><![CDATA[https://example.com/]]></Url><PicUrl><![CDATA[https://example.com/p.jpg]]></PicUrl><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.subscribe",
        "event.subscribe",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[subscribe]]></Event><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.unsubscribe",
        "event.unsubscribe",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[unsubscribe]]></Event><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.enter_agent",
        "event.enter_agent",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[enter_agent]]></Event><EventKey><![CDATA[]]></EventKey><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.click",
        "event.click",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[click]]></Event><EventKey><![CDATA[menu_today]]></EventKey><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.view",
        "event.view",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[view]]></Event><EventKey><![CDATA[https://example.com/menu]]></EventKey><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.LOCATION",
        "event.LOCATION",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[LOCATION]]></Event><Latitude>31.23</Latitude><Longitude>121.47</Longitude><Precision>30.0</Precision><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.template_card_event",
        "event.template_card_event",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[template_card_event]]></Event><EventKey><![CDATA[approve]]></EventKey><TaskId><![CDATA[{reference}]]></TaskId><CardType><![CDATA[button_interaction]]></CardType><ResponseCode><![CDATA[example-response-code]]></ResponseCode><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "event.change_contact.create_user",
        "event.change_contact.create_user",
        "<xml><ToUserName><![CDATA[{to}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName><CreateTime>{created}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_contact]]></Event><ChangeType><![CDATA[create_user]]></ChangeType><UserID><![CDATA[{user}]]></UserID><Name><![CDATA[Zhang San]]></Name><Department><![CDATA[1,2]]></Department></xml>",
    ),
    xml(
        "event.change_contact.delete_user",
        "event.change_contact.delete_user",
        "<xml><ToUserName><![CDATA[{to}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName><CreateTime>{created}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_contact]]></Event><ChangeType><![CDATA[delete_user]]></ChangeType><UserID><![CDATA[{user}]]></UserID></xml>",
    ),
    xml(
        "event.change_contact.create_party",
        "event.change_contact.create_party",
        "<xml><ToUserName><![CDATA[{to}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName><CreateTime>{created}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_contact]]></Event><ChangeType><![CDATA[create_party]]></ChangeType><Id>2</Id><Name><![CDATA[Workshop]]></Name><ParentId>1</ParentId></xml>",
    ),
    xml(
        "event.change_external_contact.add_external_contact",
        "event.change_external_contact.add_external_contact",
        "<xml>{head}<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType><UserID><![CDATA[{user}]]></UserID><ExternalUserID><![CDATA[wmExampleCustomer0001]]></ExternalUserID><State><![CDATA[fair]]></State><WelcomeCode><![CDATA[example-welcome-code]]></WelcomeCode></xml>",
    ),
    xml(
        "event.batch_job_result",
        "event.batch_job_result",
        "<xml><ToUserName><![CDATA[{to}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName><CreateTime>{created}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[batch_job_result]]></Event><BatchJob><JobId><![CDATA[job-1]]></JobId><JobType><![CDATA[sync_user]]></JobType><ErrCode>0</ErrCode><ErrMsg><![CDATA[ok]]></ErrMsg></BatchJob></xml>",
    ),
    xml(
        "status.send_msg_result",
        "status.send_msg_result",
        "<xml>{head}<MsgType><![CDATA[send_msg_result]]></MsgType><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "status.send_msg_result.failed",
        "status.send_msg_result",
        "<xml>{head}<MsgType><![CDATA[send_msg_result]]></MsgType><MsgId>{reference}</MsgId><ErrCode>60111</ErrCode><ErrMsg><![CDATA[userid not found]]></ErrMsg><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "status.msg_audit",
        "status.msg_audit",
        "<xml>{head}<MsgType><![CDATA[msg_audit]]></MsgType><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "status.msg_read",
        "status.msg_read",
        "<xml>{head}<MsgType><![CDATA[msg_read]]></MsgType><MsgId>{reference}</MsgId><AgentID>{agent}</AgentID></xml>",
    ),
    xml(
        "robot.message.text",
        "message.text",
        "<xml><WebhookUrl><![CDATA[https://example.com/cgi-bin/webhook/send?key=example]]></WebhookUrl><ChatId><![CDATA[wrExampleChat0001]]></ChatId><ChatType>group</ChatType><From><UserId>{user}</UserId><Name><![CDATA[Zhang San]]></Name><Alias><![CDATA[san]]></Alias></From><MsgType>text</MsgType><Text><Content><![CDATA[@robot 今天有什么安排?]]></Content></Text><MsgId><![CDATA[{reference}]]></MsgId></xml>",
    ),
    json(
        "aibot.message.text",
        "message.text",
        r#"{"msgid":"{reference}","aibotid":"aibExample0001","chattype":"single","from":{"userid":"{user}"},"response_url":"https://example.com/cgi-bin/aibot/response?response_code=example","msgtype":"text","text":{"content":"今天有什么安排?"}}"#,
    ),
    plain(
        "bot.click",
        "interaction.click",
        r#"{"msgid":"{reference}","from":{"userid":"{user}"},"click":{"key":"approve"}}"#,
    ),
    plain(
        "bot.reply",
        "interaction.reply",
        r#"{"msgid":"{reference}","from":{"userid":"{user}"},"msgtype":"text","text":{"content":"收到 (got it)"}}"#,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wecom::event;

    #[test]
    fn each_sample_is_read_as_the_kind_it_stands_for() {
        let filling = Filling {
            to: "ww1".to_owned(),
            user_id: "zhangsan".to_owned(),
            agent_id: "1000002".to_owned(),
            reference: "7000000000000000001".to_owned(),
            created_s: 1_700_000_000,
        };
        for sample in SAMPLES {
            let plaintext = sample.fill(&filling);
            assert!(!plaintext.contains("{head}") && !plaintext.contains("{to}"), "{}", sample.name);
            let event = event::read(plaintext.as_bytes(), &crate::wecom::limits::ReadLimits::DEFAULT);
            assert_eq!(event.kind.as_str(), sample.kind, "{}", sample.name);
            assert!(
                find(sample.name).is_some_and(|found| found.text == sample.text),
                "two are called {}",
                sample.name
            );
        }
    }
}
