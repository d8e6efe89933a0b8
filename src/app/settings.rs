//! From the configuration to each part's own settings.

use std::collections::HashMap;
use std::sync::Arc;

use crate::channel::access_token::{AccessToken, Credentials, TokenDesk};
use crate::channel::transport::Transport;
use crate::channel::wecom_app::App;
use crate::channel::wecom_robot::{BASE_URL_DEFAULT, Robot, RobotAddress};
use crate::clock::Clock;
use crate::config::{AppConfig, ChannelConfig, ChannelKindConfig, Config, PlatformAddressesConfig};
use crate::dispatch::{Target, Targets};
use crate::domain::allowance::Allowance;
use crate::domain::day_quota::per_day;
use crate::entropy::Entropy;
use crate::ephemeral::Ephemeral;
use crate::forwarding::FileEndpoint;
use crate::http::api::channels::ChannelFacts;
use crate::http::peer::PeerRules;
use crate::http::platform_addresses::PlatformAddresses;
use crate::messages::{LinkMaker, SendChannel};
use crate::source::{CustomSource, Sources};

/// Everything that is made of the channels, exchanged together.
pub(super) struct ChannelParts {
    pub(super) sources: Sources,
    pub(super) targets: Targets,
    pub(super) channels: HashMap<String, SendChannel>,
    pub(super) facts: Vec<ChannelFacts>,
}

/// What channels that send are made with, and what they keep when the configuration is read again.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    tokens: TokenDesk,
    clock: Clock,
    pub(super) entropy: Entropy,
}

impl Tools {
    /// Tools without a token yet, and what they share with other replicas.
    pub(super) fn new(
        config: &Config,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<(Self, Ephemeral), String> {
        let ephemeral = Ephemeral::new(&config.redis, clock, entropy)?;
        let tokens = TokenDesk::shared_by(ephemeral.clone());
        Ok((Self { tokens, clock: clock.clone(), entropy: entropy.clone() }, ephemeral))
    }

    /// The one token of `app`, whoever asks with it.
    pub(super) fn token(&self, app: &AppConfig, transport: &Transport) -> Arc<AccessToken> {
        let credentials = Credentials {
            base_url: app.base_url.clone(),
            corp_id: app.corp_id.clone(),
            secret: app.secret.clone(),
        };
        self.tokens.token(&credentials, transport, &self.clock, &self.entropy)
    }
}

/// Builds what is made of the channels; the error has every problem, a line each.
pub(super) fn channels(
    config: &Config,
    custom: &[Arc<dyn CustomSource>],
    tools: &Tools,
) -> Result<ChannelParts, String> {
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
        let kind = if !channel.enabled {
            SendChannel::Disabled
        } else if !channel.can_send() {
            SendChannel::ReceiveOnly
        } else {
            match way_out(channel, config, &transport, tools) {
                Ok((target, kind)) => {
                    targets.push(target);
                    kind
                }
                Err(problem) => {
                    problems.push(problem);
                    SendChannel::ReceiveOnly
                }
            }
        };
        channels.insert(channel.name.clone(), kind);
    }
    let targets = Targets::build(targets).unwrap_or_else(|found| {
        problems.extend(found);
        Targets::default()
    });
    if problems.is_empty() {
        let allowance = &config.limits.pace;
        let facts = config
            .channels
            .iter()
            .map(|channel| {
                let target = targets.get(&channel.name);
                let gate = target.as_ref().and_then(|target| target.gate.clone());
                let people_per_day =
                    target.map(|target| per_day(target.accounts)).filter(|people| *people > 0);
                ChannelFacts {
                    people_per_day,
                    gate,
                    ..facts(channel, channels.get(&channel.name), allowance)
                }
            })
            .collect();
        Ok(ChannelParts { sources, targets, channels, facts })
    } else {
        Err(problems.join("\n"))
    }
}

/// The endpoints of the file.
pub(super) fn file_endpoints(config: &Config) -> Vec<FileEndpoint> {
    let all = config.endpoints.iter().cloned();
    all.map(|one| FileEndpoint {
        spec: one.spec,
        secrets: one.secrets,
        active: one.active,
        version: one.version,
    })
    .collect()
}

/// What people may know of a channel.
fn facts(channel: &ChannelConfig, sending: Option<&SendChannel>, allowance: &Allowance) -> ChannelFacts {
    let (sends, per_minute_max, token) = match sending {
        Some(SendChannel::Robot(_)) => (true, Some(allowance.robot_per_minute), None),
        Some(SendChannel::App(app)) => (true, None, Some(app.token_of())),
        _ => (false, None, None),
    };
    ChannelFacts {
        name: channel.name.clone(),
        kind: match channel.kind {
            ChannelKindConfig::App(_) => "wechat_api",
            ChannelKindConfig::Robot(_) => "wechat_bot",
        },
        enabled: channel.enabled,
        sends,
        receives: channel.enabled && channel.has_route(),
        per_minute_max: per_minute_max.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        per_member: token.is_some().then(|| allowance.member().map(|limit| limit.count)),
        token,
        gate: None,
        people_per_day: None,
    }
}

/// How a channel that can send is sent through.
fn way_out(
    channel: &ChannelConfig,
    config: &Config,
    transport: &Transport,
    tools: &Tools,
) -> Result<(Target, SendChannel), String> {
    let (name, allowance) = (channel.name.clone(), &config.limits.pace);
    match &channel.kind {
        ChannelKindConfig::Robot(robot) => {
            let address = RobotAddress::parse(&robot.webhook_url, BASE_URL_DEFAULT)
                .map_err(|error| format!("channel {name}: {error}"))?;
            let robot = Robot::new(address, transport.clone());
            Ok((Target::robot(name, robot.clone()).within(allowance), SendChannel::Robot(robot)))
        }
        ChannelKindConfig::App(app) => {
            let (token, accounts) = (tools.token(app, transport), app.accounts);
            let app =
                App::new(app.agent_id.unwrap_or_default(), token, transport.clone(), tools.clock.clone());
            let at_once = config.limits.dispatch.app_in_flight_max;
            let target = Target::app(name, app.clone(), at_once).within(allowance).of_accounts(accounts);
            Ok((target, SendChannel::App(app)))
        }
    }
}

/// Tracked links lead through the address at which people reach the gateway.
pub(super) fn link_maker(config: &Config, entropy: &Entropy) -> LinkMaker {
    LinkMaker {
        public_url: config.webhook.public_url.trim_end_matches('/').to_owned(),
        entropy: entropy.clone(),
    }
}

/// Who may come, and who is believed about others.
pub(super) fn peers(config: &Config) -> PeerRules {
    PeerRules {
        trusted_proxies: config.webhook.trusted_proxies.clone(),
        callback_allow: config.webhook.allow.clone(),
        api_allow: config.auth.allow.clone(),
        rate_exempt: config.webhook.rate_exempt.clone(),
        platform: PlatformAddresses::new(
            config.webhook.platform_addresses == PlatformAddressesConfig::Enforce,
        ),
    }
}

/// Says what works, but perhaps not as meant.
pub(super) fn log_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}
