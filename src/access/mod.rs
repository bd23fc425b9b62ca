//! Who may do what: the roles, the least role of every call and route, and who has which role.
//!
//! Start with [`Role`] for their order, `calls` for the tables, [`Rules::roles`] for how a peer comes
//! to its roles, and [`Token`] for who comes over HTTP. Transports say who asks, and for what; this
//! module must not know them, and reads no file.

mod calls;
mod forwarded;
mod limiter;
mod refusal;
mod role;
mod rules;
mod token;

use std::sync::Arc;

use parking_lot::RwLock;

pub use calls::{CALLS, Call, ROUTES, call, route};
pub use forwarded::is_forwarded;
pub use limiter::{Admission, Bound, Excess, Limiter, Rate, Rates, Who, network};
pub use refusal::Refusal;
pub use role::{Need, Role, Roles};
pub use rules::{Group, InvalidSubject, Peer, Rules, Subject, Surroundings};
pub use token::{InvalidToken, SecretHash, TOKEN_ID_DIGITS, TOKEN_SECRET_DIGITS, Token, bearer};

/// The rules in force, shared by whoever asks and whoever changes them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<RwLock<Arc<Rules>>>);

impl Access {
    /// Access by these rules.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    /// Other rules from the next call on.
    pub fn set(&self, rules: Rules) {
        *self.0.write() = Arc::new(rules);
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read())
    }
}
