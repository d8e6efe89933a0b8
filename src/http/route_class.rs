//! Which rules a path is under, told by its text alone: before routing, before a key is asked for.

/// The three kinds of routes. What is none of the other two is `Api`: closed unless opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteClass {
    /// Requests of the platform, verified by their source.
    Callback,
    /// Everything that needs a key.
    Api,
    /// Health, the platform's proof of ownership, tracked links.
    Public,
}

impl RouteClass {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Callback, Self::Api, Self::Public];

    /// The class of a request's path.
    pub fn of(path: &str) -> Self {
        if path.strip_prefix("/api/v1/webhooks/").is_some_and(|rest| rest.contains('/')) {
            Self::Callback
        } else if path == "/health"
            || path.starts_with("/health/")
            || path.starts_with("/WW_verify_")
            || path.starts_with("/l/")
        {
            Self::Public
        } else {
            Self::Api
        }
    }

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Api => "api",
            Self::Public => "public",
        }
    }
}

/// Kind and handler of an address that a callback may be posted to, if nothing in it has to be decoded.
pub(crate) fn callback_address(path: &str) -> Option<(&str, &str)> {
    let (kind, handler) = path.strip_prefix("/api/v1/webhooks/")?.split_once('/')?;
    let is_plain = |part: &str| !part.is_empty() && !part.contains(['/', '%']);
    (is_plain(kind) && is_plain(handler)).then_some((kind, handler))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_parts_in_which_nothing_is_to_be_decoded() {
        assert_eq!(callback_address("/api/v1/webhooks/wechat/api"), Some(("wechat", "api")));
        for path in [
            "/api/v1/webhooks/wechat/",
            "/api/v1/webhooks/wechat",
            "/api/v1/webhooks//api",
            "/api/v1/webhooks/wechat/api/",
            "/api/v1/webhooks/wechat/api/verify",
            "/api/v1/webhooks/wechat/a%70i",
            "/api/v1/webhooks/we%63hat/api",
            "/api/v2/webhooks/wechat/api",
            "/",
        ] {
            assert_eq!(callback_address(path), None, "{path}");
        }
    }

    #[test]
    fn only_what_is_named_is_open() {
        for (path, class) in [
            ("/api/v1/webhooks/wechat/api", RouteClass::Callback),
            ("/api/v1/webhooks/wechat/api/verify", RouteClass::Callback),
            ("/api/v1/webhooks/wukongim/x", RouteClass::Callback),
            ("/api/v1/webhooks/handlers", RouteClass::Api),
            ("/api/v1/webhooks/", RouteClass::Api),
            ("/health", RouteClass::Public),
            ("/health/live", RouteClass::Public),
            ("/l/x", RouteClass::Public),
            ("/l", RouteClass::Api),
            ("/healthy", RouteClass::Api),
            ("/WW_verify_abc.txt", RouteClass::Public),
            ("/metrics", RouteClass::Api),
            ("/", RouteClass::Api),
            ("", RouteClass::Api),
            ("//health", RouteClass::Api),
        ] {
            assert_eq!(RouteClass::of(path), class, "{path}");
        }
    }
}
