//! Whether the public address leads to this configuration: a URL verification, sent as the platform sends it.

use std::time::Duration;

use super::UrlCheck;
use super::connect::{Finding, why};
use crate::clock::{Clock, rfc3339_ms};
use crate::config::Config;

/// Verifies `url` with `check`, and explains what comes back.
pub(super) async fn verify(
    client: &reqwest::Client,
    config: &Config,
    url: &str,
    check: &UrlCheck,
    clock: &Clock,
) -> Finding {
    let since_ms = clock.wall_ms();
    let response = match client.get(format!("{url}?{}", check.query)).send().await {
        Ok(response) => response,
        Err(error) => return Finding::Wrong(format!("{url} cannot be reached: {}", why(error))),
    };
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap_or_default();
    if let (403, Some(cause)) = (status, refusal(client, config, since_ms).await) {
        return Finding::Wrong(format!("{url} answers 403; the gateway there says: {cause}"));
    }
    explain(url, status, &body, &check.echo)
}

fn explain(url: &str, status: u16, body: &[u8], echo: &str) -> Finding {
    let what = match status {
        200 if body == echo.as_bytes() => {
            return Finding::Right(format!("{url} answers as the platform expects"));
        }
        200 if contains(body, echo.as_bytes()) => {
            "answers with the right text, but something adds to it: quotes, a newline or a byte order mark"
        }
        200 => "answers 200 with another text: something other than a gateway is there",
        301..=399 => "redirects, which the platform does not follow",
        403 => {
            "answers 403: the gateway there has another Token, EncodingAESKey or corp id; its rejections \
             (GET /api/v1/rejections) and its log name which"
        }
        404 => "answers 404: the proxy does not pass the path on, or the channel is off in the gateway there",
        429 => "answers 429: too many requests from here",
        502..=504 => "answers like a proxy that does not reach its gateway",
        _ => return Finding::Wrong(format!("{url} answers {status}")),
    };
    Finding::Wrong(format!("{url} {what}"))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len().max(1)).any(|window| window == part)
}

/// What the gateway on this machine, or else the one behind the public address, noted about a refusal since
/// `since_ms`. It writes refusals once a second, so this asks a few times.
async fn refusal(client: &reqwest::Client, config: &Config, since_ms: i64) -> Option<String> {
    let local = format!("http://127.0.0.1:{}", config.webhook.port);
    for _ in 0..ASKED_MAX {
        for base in [&local, &config.webhook.public_url] {
            let url = format!("{base}/api/v1/rejections?limit=1&since={}", rfc3339_ms(since_ms));
            let mut request = client.get(url);
            if let Some(key) = config.auth.own_key() {
                request = request.bearer_auth(key);
            }
            let Ok(response) = request.send().await else { continue };
            let Ok(page) = response.json::<serde_json::Value>().await else { continue };
            let Some(row) = page.pointer("/data/0") else { continue };
            let text = |name: &str| row.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
            return Some(format!("{}: {}", text("step"), text("detail")));
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
    None
}

const ASKED_MAX: usize = 6;
const ASKED_EVERY: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_in_terms_of_what_to_change() {
        let echo = "1616140317555161061";
        assert!(matches!(explain("u", 200, echo.as_bytes(), echo), Finding::Right(_)));
        for (status, body, expected) in [
            (200, "\"1616140317555161061\"", "adds to it"),
            (200, "\u{feff}1616140317555161061\n", "adds to it"),
            (200, "<html>", "other than a gateway"),
            (200, "", "other than a gateway"),
            (301, "", "redirects"),
            (403, "forbidden", "another Token"),
            (404, "", "does not pass the path on"),
            (502, "", "proxy"),
            (500, "", "500"),
        ] {
            match explain("https://g.example", status, body.as_bytes(), echo) {
                Finding::Wrong(text) => assert!(text.contains(expected), "{text}"),
                _ => panic!("{status} {body} is wrong"),
            }
        }
    }
}
