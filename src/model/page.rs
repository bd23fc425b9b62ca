//! Long lists, a piece at a time.

use crate::limits;

/// What the tokens of lists in the order of a key begin with, so that others are told apart.
const AFTER: &str = "after:";

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
    ) -> Result<Page<T>, InvalidPage> {
        let after = self.after()?;
        let mut items =
            items.into_iter().filter(|item| after.is_none_or(|after| key(item).as_str() > after));
        let page: Vec<T> = items.by_ref().take(self.size()).collect();
        let last = page.last().filter(|_| items.next().is_some());
        let next = last.map(|item| format!("{AFTER}{}", key(item))).unwrap_or_default();
        Ok(Page { items: page, next })
    }

    /// The key after which the page begins; `None` for the first page.
    fn after(&self) -> Result<Option<&str>, InvalidPage> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let invalid = || InvalidPage(self.token.clone());
        self.token.strip_prefix(AFTER).map(Some).ok_or_else(invalid)
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
            let page = request.cut(names, |name| (*name).to_owned()).unwrap();
            seen.extend(page.items);
            if page.next.is_empty() {
                break;
            }
            request.token = page.next;
        }
        assert_eq!(seen, names);
    }

    #[test]
    fn a_made_up_token_is_refused() {
        let request = PageRequest { size: 2, token: "b".to_owned() };
        assert_eq!(request.cut(["a"], |name| (*name).to_owned()), Err(InvalidPage("b".to_owned())));
        assert_eq!(request.before(), Err(InvalidPage("b".to_owned())));
    }
}
