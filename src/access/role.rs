//! The roles and their order.
//!
//! ```text
//!             admin             everything
//!            /     \
//!       operator    \           changes what is watched and alerted on
//!          |         \
//!        viewer     ingest      reads; writes samples and reads nothing
//! ```
//!
//! A role includes those below it that a line leads to: an operator reads, but does not write samples
//! unless it has `ingest` beside it.

use std::fmt;

/// What somebody is to Balefire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes what is watched and alerted on; reads.
    Operator,
    /// Does everything.
    Admin,
    /// Writes samples, and nothing else.
    Ingest,
}

impl Role {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Admin, Self::Ingest];

    /// Its name in the configuration and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Ingest => "ingest",
        }
    }

    /// Whether who has this role may do what `other` may.
    pub fn includes(self, other: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Operator => matches!(other, Self::Operator | Self::Viewer),
            Self::Viewer | Self::Ingest => self == other,
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The roles of somebody: none, one or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Of whom nothing is known.
    pub const NONE: Self = Self(0);

    /// These, and `role`.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }

    /// These and those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether one of them includes `role`.
    pub fn include(self, role: Role) -> bool {
        self.iter().any(|own| own.includes(role))
    }

    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.0 & role.bit() != 0)
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self::NONE.with(role)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::NONE, Self::with)
    }
}

/// `none`, or the names with commas.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<&str> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// What somebody must have to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: everybody may.
    Nothing,
    /// A role, whichever: what a client asks before it asks for something.
    AnyRole,
    /// This role, or one that includes it.
    Role(Role),
}

impl Need {
    /// Whether who has these roles may.
    pub fn is_met_by(self, roles: Roles) -> bool {
        match self {
            Self::Nothing => true,
            Self::AnyRole => !roles.is_empty(),
            Self::Role(role) => roles.include(role),
        }
    }

    /// The role to ask for, where one is missing.
    pub fn least(self) -> Role {
        match self {
            Self::Nothing | Self::AnyRole => Role::Viewer,
            Self::Role(role) => role,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each role includes, by the first letters of the names.
    #[track_caller]
    fn check(role: Role, included: &str) {
        let letters: String = Role::ALL
            .into_iter()
            .filter(|other| role.includes(*other))
            .map(|other| &other.name()[..1])
            .collect();
        assert_eq!(letters, included, "{role}");
    }

    #[test]
    fn each_includes_those_below_it() {
        check(Role::Viewer, "v");
        check(Role::Operator, "vo");
        check(Role::Admin, "voai");
        check(Role::Ingest, "i");
    }

    #[test]
    fn several_roles_do_what_any_of_them_does() {
        let both = Roles::from(Role::Viewer).with(Role::Ingest);
        assert_eq!(both.to_string(), "viewer, ingest");
        assert!(both.include(Role::Ingest) && both.include(Role::Viewer));
        assert!(!both.include(Role::Operator) && !both.include(Role::Admin));
        assert_eq!(Roles::NONE.to_string(), "none");
    }

    #[test]
    fn needs_are_met_or_not() {
        assert!(Need::Nothing.is_met_by(Roles::NONE));
        assert!(!Need::AnyRole.is_met_by(Roles::NONE));
        assert!(Need::AnyRole.is_met_by(Role::Ingest.into()));
        assert!(!Need::Role(Role::Viewer).is_met_by(Role::Ingest.into()));
        assert!(Need::Role(Role::Viewer).is_met_by(Role::Admin.into()));
    }
}
