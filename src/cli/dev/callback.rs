//! `dev callback`: plays the platform against any gateway.

use anyhow::{Context, bail};
use clap::Args;

use super::platform::{Caller, Forgery, Platform, PlatformRequest, signed_json};
use super::samples::{self, Filling, SAMPLES, Sample};
use super::say;
use crate::clock::Clock;
use crate::domain::event::Format;
use crate::entropy::Entropy;

/// What to send where.
#[derive(Clone, Debug, Args)]
pub struct CallbackArgs {
    /// The gateway's callback URL, as it would be saved at the platform.
    #[arg(long, required = false, required_unless_present = "list", default_value_if("list", "true", ""))]
    pub url: String,
    /// Print the kinds there are, and send nothing.
    #[arg(long)]
    pub list: bool,
    /// The URL's Token.
    #[arg(long, env = "WECHAT_TOKEN", hide_env_values = true, default_value = "")]
    pub token: String,
    /// The URL's `EncodingAESKey`.
    #[arg(
        long = "key",
        visible_alias = "encoding-aes-key",
        env = "WECHAT_ENCODING_AES_KEY",
        hide_env_values = true,
        default_value = ""
    )]
    pub encoding_aes_key: String,
    /// What stands behind the message: the corp id; empty for robots.
    #[arg(long, env = "WECHAT_CORP_ID", default_value = "")]
    pub receive_id: String,
    /// A robot's secret, for the signed plain JSON kinds (`bot.click`, `bot.reply`).
    #[arg(long, env = "WECHAT_BOT_SECRET", hide_env_values = true, default_value = "")]
    pub secret: String,
    /// What to say (see `--list`); `verify` checks the URL as the platform does when it is saved.
    #[arg(long, default_value = "message.text")]
    pub kind: String,
    /// Say this plaintext instead.
    #[arg(long, conflicts_with = "kind")]
    pub plaintext: Option<String>,
    /// How many callbacks, each with an id of its own.
    #[arg(long, default_value_t = 1)]
    pub count: u32,
    /// How many times each of them is sent: more than 1 plays the platform's repeats.
    #[arg(long, default_value_t = 1)]
    pub repeat: u32,
    /// The message or card spoken of. Default: a new number for each.
    #[arg(long)]
    pub reference: Option<String>,
    /// Who.
    #[arg(long, default_value = "zhangsan")]
    pub user: String,
    /// Which app.
    #[arg(long, env = "WECHAT_AGENT_ID", default_value = "1000002")]
    pub agent_id: String,
    /// Make it wrong in this way.
    #[arg(long, value_enum)]
    pub forge: Option<Forgery>,
}

/// Sends, and prints each answer.
pub async fn run(args: CallbackArgs) -> anyhow::Result<()> {
    if args.list {
        for sample in SAMPLES {
            say(sample.name)?;
        }
        return Ok(());
    }
    let entropy = Entropy::system();
    let caller = Caller::new(Clock::system())?;
    if args.kind == "verify" {
        return check_url(&args, &caller, &entropy).await;
    }
    let mut refused = 0_u64;
    for _ in 0..args.count {
        let request = request(&args, &caller, &entropy)?;
        for _ in 0..args.repeat {
            let answer = caller.post(&args.url, request.clone()).await?;
            let id = answer.request_id.as_deref().unwrap_or("-");
            say(&format!("{} {id} {}", answer.http_status, answer.body.trim_end()))?;
            refused += u64::from(answer.http_status != 200);
        }
    }
    if refused > 0 && args.forge.is_none() {
        bail!("{refused} callbacks were not taken");
    }
    Ok(())
}

fn request(args: &CallbackArgs, caller: &Caller, entropy: &Entropy) -> anyhow::Result<PlatformRequest> {
    let now_s = caller.now_s();
    let (plaintext, format) = if let Some(text) = &args.plaintext {
        (text.clone(), if text.starts_with('{') { Format::Json } else { Format::Xml })
    } else {
        let sample = samples::find(&args.kind)
            .with_context(|| format!("no such kind: {}; `--list` shows them", args.kind))?;
        (filled(args, sample, now_s, entropy), sample.format)
    };
    if format == Format::Opaque {
        return signed_json(&args.secret, &args.token, &plaintext, now_s, entropy);
    }
    let platform = Platform::new(&args.token, &args.encoding_aes_key, &args.receive_id)?;
    Ok(platform.callback(plaintext.as_bytes(), format, now_s, entropy, args.forge))
}

fn filled(args: &CallbackArgs, sample: &Sample, now_s: i64, entropy: &Entropy) -> String {
    // 19 digits, as the platform's own.
    let number = u64::from_le_bytes(entropy.bytes()) % 1_000_000_000_000_000_000 + 7_000_000_000_000_000_000;
    let reference = args.reference.clone().unwrap_or_else(|| number.to_string());
    sample.fill(&Filling {
        to: args.receive_id.clone(),
        user_id: args.user.clone(),
        agent_id: args.agent_id.clone(),
        reference,
        created_s: now_s,
    })
}

async fn check_url(args: &CallbackArgs, caller: &Caller, entropy: &Entropy) -> anyhow::Result<()> {
    let platform = Platform::new(&args.token, &args.encoding_aes_key, &args.receive_id)?;
    let echo = u64::from_le_bytes(entropy.bytes()).to_string();
    let answer = caller.get(&args.url, platform.url_check(&echo, caller.now_s(), entropy)).await?;
    if answer.http_status == 200 && answer.body == echo {
        return Ok(say("200 the URL is verified")?);
    }
    bail!("the platform would refuse this URL: {} {:?}", answer.http_status, answer.body)
}
