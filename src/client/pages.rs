//! Long lists, fetched page by page.

use std::future::Future;

use crate::limits;

use super::ClientError;

/// The entries of all pages, `limit` at most, and whether there are more. `fetch` takes a page size
/// and a token, and gives a page with the token of the next.
pub async fn pages<T, F>(
    limit: usize,
    fetch: impl Fn(i32, String) -> F,
) -> Result<(Vec<T>, bool), ClientError>
where
    F: Future<Output = Result<(Vec<T>, String), ClientError>>,
{
    let mut entries = Vec::new();
    let mut token = String::new();
    loop {
        let wanted = (limit - entries.len()).min(limits::PAGE_SIZE_MAX);
        let (page, next) = fetch(i32::try_from(wanted).unwrap_or(i32::MAX), token).await?;
        entries.extend(page);
        if next.is_empty() || entries.len() >= limit {
            let more = !next.is_empty() || entries.len() > limit;
            entries.truncate(limit);
            return Ok((entries, more));
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetch(size: i32, token: String) -> Result<(Vec<usize>, String), ClientError> {
        let start: usize = token.parse().unwrap_or(0);
        let end = (start + usize::try_from(size).unwrap().min(4)).min(10);
        let next = if end < 10 { end.to_string() } else { String::new() };
        Ok(((start..end).collect(), next))
    }

    #[tokio::test]
    async fn pages_are_joined_up_to_the_limit() {
        let (all, more) = pages(100, fetch).await.unwrap();
        assert_eq!((all.len(), more), (10, false));
        let (some, more) = pages(6, fetch).await.unwrap();
        assert_eq!((some, more), ((0..6).collect(), true));
    }
}
