//! `balefire series` and `balefire labels`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    client::{pages, take},
    wire::{to_wire, v1},
};

use super::{
    args::{Labels, Series},
    error::{CliError, Verdict},
    human, output,
    session::{Session, note_more},
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
    show(session, &series, human::series)?;
    note_more(more, args.limit);
    Ok(Verdict::Fine)
}

pub(super) async fn labels(session: &Session, args: Labels) -> Result<Verdict, CliError> {
    let limit = args.limit;
    let (texts, more) = match args.name.clone() {
        Some(name) => values(session, &args, name).await?,
        None => names(session, &args).await?,
    };
    show(session, &texts, String::clone)?;
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
    Ok(pages(args.limit, fetch).await?)
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
    Ok(pages(args.limit, fetch).await?)
}

/// A text on each line: what `grep` and `sort` like. That there is none is no line of it.
fn show<T: Serialize>(
    session: &Session,
    items: &Vec<T>,
    line: impl Fn(&T) -> String,
) -> Result<(), CliError> {
    if items.is_empty() && !session.is_json() {
        output::note("nothing matches");
        return Ok(());
    }
    session.show(items, |items, _| items.iter().map(line).collect::<Vec<_>>().join("\n"))
}
