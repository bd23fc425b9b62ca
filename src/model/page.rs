//! Long lists, a piece at a time.

use crate::limits;

/// Which piece of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Entries at most; 0 means the default.
    pub size: usize,
    /// What the piece before gave as `next`; empty for the first.
    pub token: String,
}

/// A piece of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Asks for the next piece; empty where this is the last.
    pub next: String,
}

/// A page token that no list gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid page_token {0:?}: pass on the next_page_token of the page before, unchanged")]
pub struct InvalidPage(String);

impl PageRequest {
    /// Everything that fits on the largest page.
    pub fn largest() -> Self {
        Self { size: limits::PAGE_SIZE_MAX, token: String::new() }
    }

    /// The entries of this page: those whose key comes after the token's, in the order of their keys.
    /// `items` is sorted by `key` already.
    pub fn cut<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> Page<T> {
        let size = self.size();
        let mut items =
            items.into_iter().filter(|item| self.token.is_empty() || key(item) > self.token);
        let page: Vec<T> = items.by_ref().take(size).collect();
        let more = items.next().is_some();
        let next = if more { page.last().map(&key).unwrap_or_default() } else { String::new() };
        Page { items: page, next }
    }

    /// How many entries the page holds at most.
    pub fn size(&self) -> usize {
        if self.size == 0 {
            limits::PAGE_SIZE_DEFAULT
        } else {
            self.size.min(limits::PAGE_SIZE_MAX)
        }
    }

    /// The token as the sequence number below which the page begins, for lists from new to old;
    /// `None` for the first page.
    pub fn before(&self) -> Result<Option<u64>, InvalidPage> {
        if self.token.is_empty() {
            return Ok(None);
        }
        self.token.parse().map(Some).map_err(|_| InvalidPage(self.token.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole() {
        let names = ["a", "b", "c", "d", "e"];
        let mut request = PageRequest { size: 2, token: String::new() };
        let mut seen = Vec::new();
        loop {
            let page = request.cut(names, |name| (*name).to_owned());
            seen.extend(page.items);
            if page.next.is_empty() {
                break;
            }
            request.token = page.next;
        }
        assert_eq!(seen, names);
    }
}
