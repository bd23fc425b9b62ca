//! `balefire series` and `balefire labels`.

use std::collections::BTreeMap;

use crate::{
    client::take,
    model,
    wire::{to_wire, v1},
};

use super::{
    args::{Labels, Series},
    error::{CliError, Verdict},
    session::{Session, note_more, pages},
};

pub(super) async fn series(session: &Session, args: Series) -> Result<Verdict, CliError> {
    let fetch = |page_size, page_token| {
        let request = v1::ListSeriesRequest {
            matchers: args.selectors.clone(),
            start: args.span.start.map(to_wire::time),
            end: args.span.end.map(to_wire::time),
            page_size,
            page_token,
        };
        async move {
            let page = take(session.connection.metrics().list_series(request).await)?;
            Ok((page.series, page.next_page_token))
        }
    };
    let (series, more) = pages(args.limit, fetch).await?;
    let series: Vec<BTreeMap<String, String>> =
        series.into_iter().map(|series| series.labels.into_iter().collect()).collect();
    session.show(&series, |series, _| lines(series.iter().map(name), "no series"))?;
    note_more(more, args.limit);
    Ok(Verdict::Fine)
}

pub(super) async fn labels(session: &Session, args: Labels) -> Result<Verdict, CliError> {
    let limit = args.limit;
    let (texts, more) = match args.name.clone() {
        Some(name) => values(session, &args, name).await?,
        None => names(session, &args).await?,
    };
    session.show(&texts, |texts, _| lines(texts.iter().cloned(), "none"))?;
    note_more(more, limit);
    Ok(Verdict::Fine)
}

async fn names(session: &Session, args: &Labels) -> Result<(Vec<String>, bool), CliError> {
    let fetch = |page_size, page_token| {
        let request = v1::ListLabelNamesRequest {
            matchers: args.selectors.clone(),
            start: args.span.start.map(to_wire::time),
            end: args.span.end.map(to_wire::time),
            page_size,
            page_token,
        };
        async move {
            let page = take(session.connection.metrics().list_label_names(request).await)?;
            Ok((page.names, page.next_page_token))
        }
    };
    pages(args.limit, fetch).await
}

async fn values(
    session: &Session,
    args: &Labels,
    name: String,
) -> Result<(Vec<String>, bool), CliError> {
    let fetch = |page_size, page_token| {
        let request = v1::ListLabelValuesRequest {
            name: name.clone(),
            matchers: args.selectors.clone(),
            start: args.span.start.map(to_wire::time),
            end: args.span.end.map(to_wire::time),
            page_size,
            page_token,
        };
        async move {
            let page = take(session.connection.metrics().list_label_values(request).await)?;
            Ok((page.values, page.next_page_token))
        }
    };
    pages(args.limit, fetch).await
}

fn name(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    model::Labels::from_sorted(&pairs).to_string()
}

/// A text on each line: what `grep` and `sort` like.
fn lines(texts: impl Iterator<Item = String>, empty: &str) -> String {
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { empty.to_owned() } else { texts.join("\n") }
}
