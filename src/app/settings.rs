//! From the configuration to each part's own settings.

use std::collections::HashMap;
use std::sync::Arc;

use crate::channel::transport::Transport;
use crate::channel::wecom_robot::{BASE_URL_DEFAULT, PACE, Robot, RobotAddress};
use crate::config::{ChannelConfig, ChannelKindConfig, Config};
use crate::dispatch::{Target, Targets};
use crate::forwarding::FileEndpoint;
use crate::http::api::channels::ChannelFacts;
use crate::http::peer::PeerRules;
use crate::messages::SendChannel;
use crate::source::{CustomSource, Sources};

/// Everything that is made of the channels, exchanged together.
pub(super) struct ChannelParts {
    pub(super) sources: Sources,
    pub(super) targets: Targets,
    pub(super) channels: HashMap<String, SendChannel>,
    pub(super) facts: Vec<ChannelFacts>,
}

/// Builds what is made of the channels; the error has every problem, a line each.
pub(super) fn channels(config: &Config, custom: &[Arc<dyn CustomSource>]) -> Result<ChannelParts, String> {
    let mut problems = Vec::new();
    let settings = config.channels.iter().map(ChannelConfig::source).collect();
    let mut sources = Sources::build(settings).unwrap_or_else(|found| {
        problems.extend(found);
        Sources::default()
    });
    for source in custom {
        sources = sources.with_custom(source.clone());
    }
    let transport = Transport::new(config.limits.attempt.clone())?;
    let mut targets = Vec::new();
    let mut channels = HashMap::new();
    for channel in &config.channels {
        let kind = match robot(channel, &transport) {
            _ if !channel.enabled => SendChannel::Disabled,
            Ok(Some(target)) => {
                targets.push(target);
                SendChannel::Robot
            }
            Ok(None) => SendChannel::ReceiveOnly,
            Err(problem) => {
                problems.push(problem);
                SendChannel::ReceiveOnly
            }
        };
        channels.insert(channel.name.clone(), kind);
    }
    let targets = Targets::build(targets).unwrap_or_else(|found| {
        problems.extend(found);
        Targets::default()
    });
    if problems.is_empty() {
        let facts =
            config.channels.iter().map(|channel| facts(channel, channels.get(&channel.name))).collect();
        Ok(ChannelParts { sources, targets, channels, facts })
    } else {
        Err(problems.join("\n"))
    }
}

/// The endpoints of the file.
pub(super) fn file_endpoints(config: &Config) -> Vec<FileEndpoint> {
    let all = config.endpoints.iter().cloned();
    all.map(|one| FileEndpoint { spec: one.spec, secrets: one.secrets, active: one.active }).collect()
}

/// What people may know of a channel.
fn facts(channel: &ChannelConfig, sending: Option<&SendChannel>) -> ChannelFacts {
    let sends = sending == Some(&SendChannel::Robot);
    ChannelFacts {
        name: channel.name.clone(),
        kind: match channel.kind {
            ChannelKindConfig::App(_) => "wechat_api",
            ChannelKindConfig::Robot(_) => "wechat_bot",
        },
        enabled: channel.enabled,
        sends,
        receives: channel.enabled && channel.has_route(),
        per_minute_max: sends.then(|| u32::try_from(PACE.count).unwrap_or(u32::MAX)),
    }
}

/// The way out through a robot; `None` for a channel that is none, or that cannot send.
fn robot(channel: &ChannelConfig, transport: &Transport) -> Result<Option<Target>, String> {
    let ChannelKindConfig::Robot(robot) = &channel.kind else { return Ok(None) };
    if !channel.can_send() || !channel.enabled {
        return Ok(None);
    }
    let address = RobotAddress::parse(&robot.webhook_url, BASE_URL_DEFAULT)
        .map_err(|error| format!("channel {}: {error}", channel.name))?;
    Ok(Some(Target::robot(channel.name.clone(), Robot::new(address, transport.clone()))))
}

/// Who may come, and who is believed about others.
pub(super) fn peers(config: &Config) -> PeerRules {
    PeerRules {
        trusted_proxies: config.webhook.trusted_proxies.clone(),
        callback_allow: config.webhook.allow.clone(),
        api_allow: Vec::new(),
        rate_exempt: config.webhook.rate_exempt.clone(),
    }
}
