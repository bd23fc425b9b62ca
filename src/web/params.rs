//! Parameters of a request: from the URL, and from the form of a POST, which goes first.

use std::time::Duration;

use axum::{
    Form, RequestExt,
    extract::{FromRequest, Query, Request},
};
use http::header;

use crate::{
    limits,
    monitor::{QueryOptions, TimeRange},
    time::{InvalidTime, Timestamp, parse_duration, parse_time},
};

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
        let time = self.get(name).map(|text| instant(text, now)).transpose();
        time.map_err(|error| ApiError::bad_parameter(name, error))
    }

    /// `start` to `end`: all of the past, and what lies ahead of our clock, where they are not given.
    pub(super) fn range(&self, now: Timestamp) -> Result<TimeRange, ApiError> {
        let start = self.time("start", now)?.unwrap_or(Timestamp::from_millis(0));
        let end = self.time("end", now)?.unwrap_or(now.plus(limits::SAMPLE_FUTURE_MAX));
        Ok(TimeRange { start, end })
    }

    /// A duration: PromQL's form, or seconds.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        self.get(name).map(|text| duration(name, text)).transpose()
    }

    /// From one point of a range to the next.
    pub(super) fn step(&self) -> Result<Duration, ApiError> {
        let text = self.required("step")?;
        if text.parse::<f64>().is_ok_and(|seconds| seconds <= 0.0) {
            let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::bad_parameter("step", reason));
        }
        let step = duration("step", text)?;
        // Prometheus' grid is one of milliseconds, too.
        Ok(step.max(Duration::from_millis(1)))
    }

    /// How a query departs from the others.
    pub(super) fn query_options(&self) -> Result<QueryOptions, ApiError> {
        let timeout = self.duration("timeout")?;
        Ok(QueryOptions { timeout, lookback: self.duration("lookback_delta")? })
    }

    /// A whole number; 0 is no limit, as in Prometheus.
    pub(super) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let limit = self.get("limit").map(str::parse::<usize>).transpose();
        let limit = limit.map_err(|_| {
            ApiError::bad_parameter("limit", "limit must be non-negative, and a whole number")
        })?;
        Ok(limit.filter(|limit| *limit > 0))
    }

    /// A whole number; none where it is negative, as metadata has it.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let count = self.get(name).map(str::parse::<i64>).transpose();
        let count = count.map_err(|_| ApiError::bad_data(format!("{name} must be a number")))?;
        Ok(count.and_then(|count| usize::try_from(count).ok()))
    }

    /// Yes or no, as Go reads them; no, where nothing is said.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name).unwrap_or("false").to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Ok(true),
            "0" | "f" | "false" => Ok(false),
            _ => Err(ApiError::bad_parameter(name, "write true or false")),
        }
    }
}

/// Unix seconds with a fraction, RFC 3339, and what Balefire reads elsewhere, too (`now`, `-1h`).
fn instant(text: &str, now: Timestamp) -> Result<Timestamp, InvalidTime> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Ok(from_seconds(seconds)),
        // What Prometheus' own client sends for "whenever".
        Err(_) if text == "-292273086-05-16T16:47:06Z" => Ok(Timestamp::from_millis(0)),
        Err(_) if text == "292277025-08-18T07:12:54.999999999Z" => {
            Ok(Timestamp::from_millis(i64::MAX / 2))
        }
        _ => parse_time(text, now),
    }
}

/// To the millisecond; beyond some 146 million years it makes no difference any more.
#[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
fn from_seconds(seconds: f64) -> Timestamp {
    let most = (i64::MAX / 2) as f64;
    Timestamp::from_millis((seconds * 1000.0).round().clamp(-most, most) as i64)
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

    #[tokio::test]
    async fn times_are_what_clients_send() {
        let url = "/q?a=1435781451.781&b=2015-07-01T20:10:51.781Z&c=-1.5&d=-292273086-05-16T16:47:06Z\
                   &e=292277025-08-18T07:12:54.999999999Z&f=-1h&g=NaN&h=1e300";
        let params = read(Request::get(url), "").await.unwrap();
        let millis = |name| params.time(name, NOW).unwrap().map(Timestamp::as_millis);
        assert_eq!((millis("a"), millis("b")), (Some(1_435_781_451_781), Some(1_435_781_451_781)));
        assert_eq!((millis("c"), millis("d")), (Some(-1500), Some(0)));
        assert!(millis("e") > millis("a") && millis("h") >= millis("e"));
        assert_eq!(millis("f"), Some(NOW.as_millis() - 3_600_000));
        assert_eq!(millis("nothing"), None);
        assert!(params.time("g", NOW).is_err());
        let range = read(Request::get("/q?start=5"), "").await.unwrap().range(NOW).unwrap();
        assert_eq!(range.start, Timestamp::from_secs(5));
        assert!(range.end > NOW);
    }

    #[tokio::test]
    async fn a_step_is_above_zero() {
        for (step, wanted) in [("15", 15_000), ("0.0001", 1), ("1m30s", 90_000)] {
            let params = read(Request::get(format!("/q?step={step}")), "").await.unwrap();
            assert_eq!(params.step().unwrap(), Duration::from_millis(wanted), "{step}");
        }
        for step in ["0", "-3", "", "x", "NaN", "1e40"] {
            let params = read(Request::get(format!("/q?step={step}")), "").await.unwrap();
            assert!(params.step().is_err(), "{step}");
        }
    }

    #[tokio::test]
    async fn counts_and_flags_are_as_in_go() {
        let params = read(Request::get("/q?a=-1&b=0&c=x&d=T&e=no"), "").await.unwrap();
        assert_eq!((params.count("a").unwrap(), params.count("b").unwrap()), (None, Some(0)));
        assert!(params.count("c").is_err() && params.flag("e").is_err());
        assert!(params.flag("d").unwrap() && !params.flag("nothing").unwrap());
    }
}
