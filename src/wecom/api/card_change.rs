//! Changing a card that was sent (`message/update_template_card`): a button's text, or a whole new card.

use serde_json::{Map, Value, json};

use super::field::{FieldError, Part};
use super::template_card::{self, CardFor};
use crate::secret::Secret;

/// Longest text that a button is given.
const BUTTON_BYTES_MAX: usize = 128;

/// What the card becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct CardChange(Map<String, Value>);

impl CardChange {
    /// Reads `{"button": {"replace_name": …}}` or `{"template_card": {…}}`.
    ///
    /// # Errors
    /// It is neither, or over a limit.
    pub fn parse(change: Value) -> Result<Self, FieldError> {
        let Value::Object(change) = change else {
            return Err(FieldError::new("", "an object", super::field::type_name(&change)));
        };
        let root = Part::root(&change);
        let known = ["button", "template_card", "enable_id_trans"];
        if let Some(name) = change.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(FieldError::new(name, known.join(", "), "a field that a change does not have"));
        }
        root.optional_number("enable_id_trans", 0..=1)?;
        match (root.optional_object("button")?, root.optional_object("template_card")?) {
            (Some(button), None) => button.text("replace_name", BUTTON_BYTES_MAX).map(|_| ())?,
            (None, Some(card)) => template_card::check(&card, CardFor::App)?,
            _ => {
                return Err(FieldError::new(
                    "button",
                    "button or template_card, one of them",
                    "both or none",
                ));
            }
        }
        Ok(Self(change))
    }
}

/// What a change needs besides itself.
#[derive(Clone, Copy, Debug)]
pub struct CardUpdate<'a> {
    /// The app.
    pub agent_id: u64,
    /// Works once.
    pub code: &'a Secret,
    /// The request that sent the card: whom it went to.
    pub sent: &'a Value,
}

impl CardUpdate<'_> {
    /// The request body.
    pub fn body(&self, change: &CardChange) -> String {
        let mut request = change.0.clone();
        request.insert("agentid".to_owned(), self.agent_id.into());
        request.insert("response_code".to_owned(), self.code.expose().into());
        let ids = |field: &str| -> Vec<&str> {
            let joined = self.sent.get(field).and_then(Value::as_str).unwrap_or_default();
            joined.split('|').filter(|id| !id.is_empty()).collect()
        };
        let users = ids("touser");
        if users == [super::recipients::ALL] {
            request.insert("atall".to_owned(), 1.into());
            return Value::Object(request).to_string();
        }
        if !users.is_empty() {
            request.insert("userids".to_owned(), json!(users));
        }
        for (field, of) in [("partyids", "toparty"), ("tagids", "totag")] {
            let numbers: Vec<i64> = ids(of).into_iter().filter_map(|id| id.parse().ok()).collect();
            if !numbers.is_empty() {
                request.insert(field.to_owned(), json!(numbers));
            }
        }
        Value::Object(request).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_goes_to_those_whom_the_card_went_to() {
        let change = CardChange::parse(json!({"button": {"replace_name": "done"}})).unwrap();
        let body = |sent: Value| -> Value {
            let update = CardUpdate { agent_id: 7, code: &Secret::new("rc"), sent: &sent };
            serde_json::from_str(&update.body(&change)).unwrap()
        };
        assert_eq!(
            body(json!({"touser": "a|b", "toparty": "3"})),
            json!({"button": {"replace_name": "done"}, "agentid": 7, "response_code": "rc", "userids": ["a", "b"],
                "partyids": [3]})
        );
        assert_eq!(body(json!({"touser": "@all"}))["atall"], 1);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let field = |change: Value| CardChange::parse(change).unwrap_err().field;
        assert_eq!(field(json!([])), "");
        assert_eq!(field(json!({})), "button");
        assert_eq!(field(json!({"button": {"replace_name": ""}})), "button.replace_name");
        assert_eq!(field(json!({"button": {"replace_name": "a"}, "userids": []})), "userids");
        assert_eq!(field(json!({"template_card": {"card_type": "poem"}})), "template_card.card_type");
    }
}
