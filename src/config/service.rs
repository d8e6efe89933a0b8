//! `service:` — what this gateway calls itself, and how strict it is.

use super::section::Section;

/// Name, version and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Shown by `/api/v1/status` and the console.
    pub name: String,
    /// The operator's version of this set-up; the program's own is `--version`.
    pub version: String,
    /// How strict the gateway is with outbound addresses.
    pub environment: Deployment,
}

/// Where the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// For people: outbound addresses are https and public.
    Production,
    /// For the last trial before production, and as strict.
    Staging,
    /// On a developer's machine: http and loopback are allowed.
    Development,
}

impl Deployment {
    /// The text of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Production, Self::Staging, Self::Development].into_iter().find(|it| it.as_str() == text)
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> ServiceConfig {
    ServiceConfig {
        name: section.text("name", "PMC通知服务"),
        version: section.text("version", "1.0.0"),
        environment: section
            .parsed(
                "environment",
                "${GATEWAY_ENV:-production}",
                "production, staging or development",
                Deployment::parse,
            )
            .unwrap_or(Deployment::Production),
    }
}
