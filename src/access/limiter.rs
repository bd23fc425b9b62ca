//! How much one identity may ask for: requests a second, with a burst, and requests under way.
//!
//! The rate is GCRA, a leaky bucket that is one instant for each identity: when it will have worked off
//! what it asked for. Who has worked off everything and has nothing under way is as if never seen, and
//! makes room for others; so many are known at once and no more ([`limits::IDENTITIES_MAX`]).

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::limits;

/// How often it is news that an identity asks for too much.
const NEWS_PAUSE: Duration = Duration::from_mins(1);
/// When to try again where that hangs on others.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Who asks, as far as limits tell people apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A user of this host.
    User(u32),
    /// The bearer of a token, by its id.
    Token(String),
    /// Whoever comes from an address elsewhere without one.
    Address(IpAddr),
    /// Whoever is on this host, without one.
    Local,
    /// … and asks no more than whether we are well: that is to be answered when all else is too much.
    Watcher,
    /// Whoever a proxy on this host lets in, without one.
    Forwarded,
}

impl Who {
    /// Whoever comes from there.
    pub fn from_address(address: IpAddr) -> Self {
        Self::Address(network(address))
    }
}

/// As much of an address as tells hosts apart. Of IPv6, the network: one host has 2^64 addresses.
pub fn network(address: IpAddr) -> IpAddr {
    const HOST_BITS: u128 = u64::MAX as u128;
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6((v6.to_bits() & !HOST_BITS).into()),
        same => same,
    }
}

/// How much one identity may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run; one at least.
    pub per_second: u32,
    /// Requests at once after a pause; one at least.
    pub burst: u32,
    /// Requests that are not yet answered to their end.
    pub under_way: u32,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Over HTTP, for each token, and for each address without one.
    pub http: Rate,
    /// On the control socket, for each user.
    pub socket: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            http: Rate { per_second: 100, burst: 500, under_way: 100 },
            socket: Rate { per_second: 2000, burst: 4000, under_way: 2000 },
        }
    }
}

/// What was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The rate.
    Rate,
    /// Requests under way.
    UnderWay,
    /// Identities, all of them busy.
    Identities,
}

impl Bound {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::UnderWay => "under_way",
            Self::Identities => "identities",
        }
    }
}

/// Why a request may not be made now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: try again in {} s{advice}", self.retry_after_secs())]
pub struct Excess {
    /// What is exceeded.
    pub bound: Bound,
    /// When it may be made.
    pub retry_after: Duration,
    /// Whether this identity was not refused within the last minute.
    pub is_news: bool,
    what: String,
    advice: String,
}

impl Excess {
    /// When it may be made, in whole seconds.
    pub fn retry_after_secs(&self) -> u64 {
        let begun = u64::from(self.retry_after.subsec_nanos() > 0);
        (self.retry_after.as_secs() + begun).max(1)
    }
}

/// What is known of an identity.
#[derive(Debug)]
struct Seen {
    /// When it will have worked off what it asked for.
    due: Instant,
    under_way: u32,
    refused: Option<Instant>,
}

#[derive(Debug)]
struct Inner {
    /// What its settings begin with: `http`.
    name: &'static str,
    rate: RwLock<Rate>,
    known: Mutex<HashMap<Who, Seen>>,
}

/// Lets requests of one kind in, so many of each identity; cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<Inner>);

/// A request under way, until it is dropped.
#[derive(Debug)]
pub struct Admission {
    limiter: Limiter,
    who: Who,
}

impl Limiter {
    /// A limiter; its settings begin with `name`.
    pub fn new(name: &'static str, rate: Rate) -> Self {
        let inner = Inner { name, rate: RwLock::new(rate), known: Mutex::default() };
        Self(Arc::new(inner))
    }

    /// Another rate from the next request on; what was asked for before counts as worked off.
    pub fn set(&self, rate: Rate, now: Instant) {
        let mut known = self.0.known.lock();
        *self.0.rate.write() = rate;
        known.values_mut().for_each(|seen| seen.due = now);
    }

    /// Lets a request in, or says what is too much.
    pub fn admit(&self, who: &Who, now: Instant) -> Result<Admission, Excess> {
        let mut known = self.0.known.lock();
        let rate = *self.0.rate.read();
        if !known.contains_key(who) && known.len() >= limits::IDENTITIES_MAX {
            known.retain(|_, seen| seen.under_way > 0 || seen.due > now);
            if known.len() >= limits::IDENTITIES_MAX {
                return Err(self.excess(Bound::Identities, TRY_AGAIN, None));
            }
        }
        let seen =
            known.entry(who.clone()).or_insert(Seen { due: now, under_way: 0, refused: None });
        match seen.ask(rate, now) {
            Ok(()) => Ok(Admission { limiter: self.clone(), who: who.clone() }),
            Err((bound, wait)) => {
                let before = seen.refused.replace(now).map(|at| now.duration_since(at));
                Err(self.excess(bound, wait, before))
            }
        }
    }

    /// `refused`: how long ago this one was refused before.
    fn excess(&self, bound: Bound, retry_after: Duration, refused: Option<Duration>) -> Excess {
        let (rate, name) = (*self.0.rate.read(), self.0.name);
        let raise = |key| format!(", or have {name}_{key} under [limits] raised");
        let (what, advice) = match bound {
            Bound::Rate => (
                format!("more than {} requests a second", rate.per_second),
                raise("requests_per_second"),
            ),
            Bound::UnderWay => (
                format!("more than {} requests under way", rate.under_way),
                raise("requests_under_way"),
            ),
            Bound::Identities => ("too many others ask".to_owned(), String::new()),
        };
        let is_news = refused.is_none_or(|ago| ago >= NEWS_PAUSE);
        Excess { bound, retry_after, is_news, what, advice }
    }
}

impl Seen {
    fn ask(&mut self, rate: Rate, now: Instant) -> Result<(), (Bound, Duration)> {
        if self.under_way >= rate.under_way {
            return Err((Bound::UnderWay, TRY_AGAIN));
        }
        let each = Duration::from_secs(1) / rate.per_second.max(1);
        let due = self.due.max(now) + each;
        let (debt, most) = (due.duration_since(now), each * rate.burst.max(1));
        if debt > most {
            return Err((Bound::Rate, debt.saturating_sub(most)));
        }
        self.due = due;
        self.under_way += 1;
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(seen) = self.limiter.0.known.lock().get_mut(&self.who) {
            seen.under_way = seen.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3, under_way: 2 };

    fn limiter() -> Limiter {
        Limiter::new("http", RATE)
    }

    /// Asks, and lets the request end at once.
    fn ask(limiter: &Limiter, who: &Who, now: Instant) -> Result<(), Excess> {
        limiter.admit(who, now).map(drop)
    }

    #[test]
    fn a_burst_is_let_in_and_then_the_rate() {
        let (limiter, ada, start) = (limiter(), Who::User(1000), Instant::now());
        let told = |now| ask(&limiter, &ada, now).map_err(|e| (e.bound, e.retry_after, e.is_news));
        for _ in 0..3 {
            assert_eq!(told(start), Ok(()));
        }
        let tenth = Duration::from_millis(100);
        assert_eq!(told(start), Err((Bound::Rate, tenth, true)));
        assert_eq!(told(start), Err((Bound::Rate, tenth, false)), "no news for a minute");
        assert_eq!(ask(&limiter, &Who::User(1001), start), Ok(()), "others are let in");
        assert_eq!(told(start + tenth), Ok(()));
        assert!(told(start + tenth).is_err());
        let rested = start + Duration::from_secs(61);
        assert_eq!([told(rested), told(rested), told(rested)], [Ok(()); 3]);
        assert_eq!(told(rested), Err((Bound::Rate, tenth, true)));
    }

    #[test]
    fn what_is_under_way_counts_until_it_ends() {
        let (limiter, ada, now) = (limiter(), Who::User(1000), Instant::now());
        let first = limiter.admit(&ada, now).unwrap();
        let _second = limiter.admit(&ada, now).unwrap();
        let excess = limiter.admit(&ada, now).unwrap_err();
        assert_eq!(excess.bound, Bound::UnderWay);
        assert!(excess.to_string().contains("http_requests_under_way"), "{excess}");
        drop(first);
        assert!(limiter.admit(&ada, now).is_ok(), "a refused request costs nothing");
    }

    #[test]
    fn a_new_rate_holds_from_the_next_request_on() {
        let (limiter, ada, now) = (limiter(), Who::User(1000), Instant::now());
        while ask(&limiter, &ada, now).is_ok() {}
        limiter.set(Rate { per_second: 100, burst: 4, ..RATE }, now);
        let let_in = (0..9).filter(|_| ask(&limiter, &ada, now).is_ok()).count();
        assert_eq!(let_in, 4);
    }

    #[test]
    fn so_many_identities_are_known_and_no_more() {
        let (limiter, start) = (limiter(), Instant::now());
        let bound = u32::try_from(limits::IDENTITIES_MAX).unwrap();
        for uid in 0..bound {
            assert_eq!(ask(&limiter, &Who::User(uid), start), Ok(()));
        }
        let excess = ask(&limiter, &Who::User(bound), start).unwrap_err();
        assert_eq!(excess.bound, Bound::Identities);
        assert_eq!(ask(&limiter, &Who::User(0), start), Ok(()), "who is known is let in");
        let later = start + Duration::from_secs(1);
        assert_eq!(ask(&limiter, &Who::User(bound), later), Ok(()));
        assert_eq!(limiter.0.known.lock().len(), 1, "the others have worked off everything");
    }

    #[test]
    fn a_network_is_one_identity() {
        let who = |text: &str| Who::from_address(text.parse().unwrap());
        assert_eq!(who("2001:db8::1"), who("2001:db8::ffff:1"));
        assert_ne!(who("2001:db8::1"), who("2001:db8:0:1::1"));
        assert_eq!(who("::ffff:192.0.2.7"), who("192.0.2.7"));
        assert_ne!(who("192.0.2.8"), who("192.0.2.7"));
    }
}
