//! Parameters of a request: from the URL, and from the form of a POST, which goes first.

use std::time::Duration;

use axum::{
    Form, RequestExt,
    extract::{FromRequest, Query, Request},
};
use http::header;

use crate::time::{Timestamp, parse_duration, parse_time};

use super::failure::ApiError;

type Pairs = Vec<(String, String)>;

/// The parameters, those of the form first.
#[derive(Debug, Default)]
pub(super) struct Params(Pairs);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, _state: &S) -> Result<Self, ApiError> {
        let Query(url) = request
            .extract_parts::<Query<Pairs>>()
            .await
            .map_err(|error| ApiError::bad_parameter("query string", error))?;
        let mut pairs = Pairs::new();
        // A POST with its parameters in the URL alone has no form, which is fine.
        if request.method() == http::Method::POST
            && request.headers().contains_key(header::CONTENT_TYPE)
        {
            let Form(form) = Form::<Pairs>::from_request(request, &()).await.map_err(|error| {
                let reason = format!("{error}: send application/x-www-form-urlencoded");
                ApiError { status: error.status(), ..ApiError::bad_parameter("body", reason) }
            })?;
            pairs = form;
        }
        pairs.extend(url);
        Ok(Self(pairs))
    }
}

impl Params {
    /// The first parameter of this name that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Every parameter of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::bad_parameter(name, "it is missing or empty"))
    }

    /// An instant.
    pub(super) fn time(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        let time = self.get(name).map(|text| parse_time(text, now)).transpose();
        time.map_err(|error| ApiError::bad_parameter(name, error))
    }

    /// A duration: PromQL's form, or seconds.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        self.get(name).map(|text| duration(name, text)).transpose()
    }

    /// A whole number; 0 is no limit, as in Prometheus.
    pub(super) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let limit = self.get("limit").map(str::parse::<usize>).transpose();
        let limit = limit.map_err(|_| ApiError::bad_parameter("limit", "write a whole number"))?;
        Ok(limit.filter(|limit| *limit > 0))
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, ApiError> {
    if let Ok(seconds) = text.parse::<f64>() {
        let reason = "write seconds above 0, or a duration such as \"30s\"";
        return Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| ApiError::bad_parameter(name, reason));
    }
    parse_duration(text).map_err(|error| ApiError::bad_parameter(name, error))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    async fn read(request: http::request::Builder, body: &str) -> Result<Params, ApiError> {
        Params::from_request(request.body(Body::from(body.to_owned())).unwrap(), &()).await
    }

    fn form() -> http::request::Builder {
        Request::post("/q?query=url&time=5")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    #[tokio::test]
    async fn the_form_goes_before_the_url() {
        let params = read(form(), "query=up%7Ba%3D%22b+c%22%7D").await.unwrap();
        assert_eq!(params.get("query"), Some("up{a=\"b c\"}"));
        assert_eq!(params.time("time", NOW).unwrap(), Some(Timestamp::from_secs(5)));
    }

    #[tokio::test]
    async fn a_post_may_have_all_in_its_url() {
        let params = read(Request::post("/q?query=up"), "").await.unwrap();
        assert_eq!(params.required("query").unwrap(), "up");
    }

    #[tokio::test]
    async fn a_wrong_body_is_refused_with_the_way_out() {
        let json = Request::post("/q").header(header::CONTENT_TYPE, "application/json");
        let error = read(json, "{}").await.unwrap_err();
        assert_eq!(error.status, 415);
        assert!(error.message.contains("x-www-form-urlencoded"), "{error:?}");
    }

    #[tokio::test]
    async fn wrong_parameters_are_named() {
        let params =
            read(Request::get("/q?time=later&timeout=-1&limit=x&query="), "").await.unwrap();
        let message = |error: ApiError| error.message;
        let time = params.time("time", NOW).map_err(message).unwrap_err();
        assert!(time.contains("\"time\"") && time.contains("later"), "{time}");
        assert!(params.duration("timeout").map_err(message).unwrap_err().contains("\"timeout\""));
        assert!(params.limit().is_err() && params.required("query").is_err());
    }

    #[tokio::test]
    async fn durations_are_promql_or_seconds() {
        let params = read(Request::get("/q?a=1m&b=2.5&limit=0"), "").await.unwrap();
        assert_eq!(params.duration("a").unwrap(), Some(Duration::from_mins(1)));
        assert_eq!(params.duration("b").unwrap(), Some(Duration::from_millis(2500)));
        assert_eq!(params.limit().unwrap(), None);
    }
}
