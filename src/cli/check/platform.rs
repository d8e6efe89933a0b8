//! Whether the platform knows the app.

use super::connect::{Finding, why};
use crate::config::AppConfig;
use crate::wecom::api::answer::ApiAnswer;
use crate::wecom::errcode;

/// Asks for an access token, and explains what the platform says about it.
pub(super) async fn gettoken(client: &reqwest::Client, app: &AppConfig) -> Finding {
    let url = format!("{}/cgi-bin/gettoken", app.base_url);
    let query = [("corpid", app.corp_id.as_str()), ("corpsecret", app.secret.expose())];
    let address = match reqwest::Url::parse_with_params(&url, query) {
        Ok(address) => address,
        Err(error) => return Finding::Wrong(format!("base_url is no address: {error}")),
    };
    let body = match client.get(address).send().await {
        Ok(response) => response.bytes().await,
        Err(error) => Err(error),
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return Finding::Wrong(format!("{} cannot be reached: {}", app.base_url, why(error))),
    };
    match ApiAnswer::parse(&body) {
        Ok(answer) => explain(&answer),
        Err(no_answer) => Finding::Wrong(format!("{} is not WeCom's API: {no_answer}", app.base_url)),
    }
}

fn explain(answer: &ApiAnswer) -> Finding {
    let code = answer.errcode;
    let advice = match code {
        0 => return Finding::Right("the platform gives an access token".to_owned()),
        40013 => "corp_id is wrong".to_owned(),
        40001 | 40091 | 42013 => "secret is wrong, or is that of another app".to_owned(),
        60020 => {
            let address = answer.from_ip.as_deref().unwrap_or("this machine's address");
            format!("add {address} to the app's trusted addresses")
        }
        _ => errcode::lookup(code).meaning.to_owned(),
    };
    Finding::Wrong(format!("the platform answers {code}: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_answer_is_told_in_terms_of_the_configuration() {
        for (code, expected) in [(40013, "corp_id"), (40001, "secret"), (60020, "203.0.113.7"), (-1, "busy")]
        {
            let errmsg = "from ip: 203.0.113.7, more".to_owned();
            let answer =
                ApiAnswer { errcode: code, errmsg, hint: None, from_ip: Some("203.0.113.7".to_owned()) };
            match explain(&answer) {
                Finding::Wrong(text) => {
                    assert!(text.contains(expected) && text.contains(&code.to_string()), "{text}");
                }
                _ => panic!("{code} is wrong"),
            }
        }
    }
}
