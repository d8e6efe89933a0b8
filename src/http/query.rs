//! Query parameters: each known, each once, each checked by name.
//!
//! A misspelt parameter that is silently ignored shows somebody the wrong list, so an unknown one is refused.

use axum::extract::{FromRequestParts, Query as AxumQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::clock::parse_time_ms;
use crate::http::problem::Problem;

/// Longest value of a parameter, in bytes.
const VALUE_BYTES_MAX: usize = 512;

/// The parameters `T`, all of them optional text.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + IntoParams,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let AxumQuery(pairs) = AxumQuery::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_unreadable| Problem::bad_request("query", "the query cannot be read"))?;
        let known: Vec<String> =
            T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect();
        for (at, (name, value)) in pairs.iter().enumerate() {
            if !known.contains(name) {
                return Err(Problem::parameter(
                    "unknown_parameter",
                    name,
                    "is not a parameter of this route",
                ));
            }
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter("doubled_parameter", name, "stands more than once"));
            }
            if value.len() > VALUE_BYTES_MAX {
                return Err(Problem::parameter("parameter_too_long", name, "is too long"));
            }
        }
        AxumQuery::<T>::try_from_uri(&parts.uri)
            .map(|AxumQuery(parameters)| Self(parameters))
            .map_err(|_unreadable| Problem::bad_request("query", "the query cannot be read"))
    }
}

/// How long the pages of lists are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimits {
    /// Rows in one page when nobody says.
    pub(crate) rows_default: usize,
    /// Most rows in one page.
    pub(crate) rows_max: usize,
}

impl PageLimits {
    /// `limit`: rows in a page, from 1 on; the usual number where nobody says.
    pub(crate) fn rows(self, asked: Option<&str>) -> Result<usize, Problem> {
        self.rows_or(asked, self.rows_default)
    }

    /// The same, where `usual` is another number.
    pub(crate) fn rows_or(self, asked: Option<&str>, usual: usize) -> Result<usize, Problem> {
        let Some(text) = asked else { return Ok(usual.min(self.rows_max)) };
        let number = text.parse().ok().filter(|number| (1..=self.rows_max).contains(number));
        number.ok_or_else(|| {
            let what = format!("must be a whole number from 1 to {}", self.rows_max);
            Problem::parameter("parameter", "limit", &what)
        })
    }
}

/// A time as RFC 3339, or as seconds or milliseconds since 1970.
pub(crate) fn time_ms(name: &'static str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let read = |text: &str| {
        parse_time_ms(text).ok_or_else(|| {
            Problem::parameter(
                "parameter",
                name,
                "must be a time as RFC 3339, or seconds or milliseconds since 1970",
            )
        })
    };
    text.map(read).transpose()
}

/// One word of a closed set.
pub(crate) fn word<T>(
    name: &'static str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let read = |text| {
        parse(text).ok_or_else(|| Problem::parameter("parameter", name, "is not one of the known words"))
    };
    text.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, IntoParams)]
    struct Both {
        kind: Option<String>,
        limit: Option<String>,
    }

    async fn read(query: &str) -> Result<Both, String> {
        let request = axum::http::Request::get(format!("/x?{query}")).body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        let read = Query::<Both>::from_request_parts(&mut parts, &()).await;
        read.map(|Query(both)| both).map_err(|problem| problem.detail().to_owned())
    }

    #[tokio::test]
    async fn parameters_are_known_and_stand_once() {
        let both = read("kind=message.%2A&limit=5").await.unwrap();
        assert_eq!((both.kind.as_deref(), both.limit.as_deref()), (Some("message.*"), Some("5")));
        assert!(read("").await.unwrap().kind.is_none());
        assert_eq!(read("kin=a").await.unwrap_err(), "`kin` is not a parameter of this route");
        assert_eq!(read("%0d%0aX:%201=a").await.unwrap_err(), "`??X??1` is not a parameter of this route");
        assert_eq!(read("kind=a&kind=b").await.unwrap_err(), "`kind` stands more than once");
        assert!(read(&format!("kind={}", "x".repeat(512))).await.is_ok());
        assert_eq!(read(&format!("kind={}", "x".repeat(513))).await.unwrap_err(), "`kind` is too long");
    }

    #[test]
    fn a_page_has_one_to_so_many_rows() {
        for (rows_default, rows_max) in [(100, 1_000), (5, 7), (9, 3)] {
            let pages = PageLimits { rows_default, rows_max };
            assert_eq!(pages.rows(None).unwrap(), rows_default.min(rows_max));
            assert_eq!(pages.rows_or(None, 1_000).unwrap(), rows_max);
            assert_eq!(pages.rows(Some("1")).unwrap(), 1);
            assert_eq!(pages.rows(Some(&rows_max.to_string())).unwrap(), rows_max);
            let over = (rows_max + 1).to_string();
            for text in ["0", &over, "-1", "x", "", "1.0", "99999999999999999999"] {
                assert!(pages.rows(Some(text)).is_err(), "{text}");
            }
        }
    }
}
