//! Who has which role: what `[access]` says, and what holds where it says nothing.

use std::{fmt, sync::Arc};

use super::role::{Role, Roles};

/// Who is at the other end of a connection, as the kernel and the files of accounts tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user; `u32::MAX`, which is nobody's, where the kernel does not say.
    pub uid: u32,
    /// The name of that user; empty where there is none.
    pub user: Arc<str>,
    /// Its process, as long as that lives; `None` where that is not in sight.
    pub pid: Option<u32>,
    /// Its groups: the primary one and those beside it.
    pub groups: Arc<[Group]>,
}

/// A group of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// Its name; empty where there is none.
    pub name: String,
}

impl Peer {
    /// One of whom nothing is known.
    pub fn unknown() -> Self {
        Self { uid: u32::MAX, user: "".into(), pid: None, groups: Arc::default() }
    }

    /// The name, or else the number: what a line in `[access]` would hold.
    pub fn subject(&self) -> String {
        if self.user.is_empty() { self.uid.to_string() } else { self.user.to_string() }
    }

    fn has_group(&self, gid: u32) -> bool {
        self.groups.iter().any(|group| group.gid == gid)
    }
}

/// `ada (uid 1000)`
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, &*self.user) {
            (u32::MAX, _) => f.write_str("somebody whom the kernel does not name"),
            (uid, "") => write!(f, "uid {uid}"),
            (uid, user) => write!(f, "{user} (uid {uid})"),
        }
    }
}

/// Whose daemon it is, and whose its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The user that the daemon runs as.
    pub uid: u32,
    /// The group of the socket.
    pub group: Group,
}

/// Somebody, as the configuration names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user, by name or number.
    User(String),
    /// A group, by name or number.
    Group(String),
}

/// A text that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names nobody; write a user (\"ada\", \"1000\") or a group (\"@wheel\", \"@998\")")]
pub struct InvalidSubject;

impl Subject {
    /// `ada` and `1000` are users, `@wheel` and `@998` groups.
    pub fn parse(text: &str) -> Result<Self, InvalidSubject> {
        let (name, group) = match text.strip_prefix('@') {
            Some(group) => (group, true),
            None => (text, false),
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '@');
        // The highest number stands for nobody in the kernel.
        let nobody = name.parse() == Ok(u32::MAX);
        if name.is_empty() || nobody || name.contains(odd) {
            return Err(InvalidSubject);
        }
        Ok(if group { Self::Group(name.to_owned()) } else { Self::User(name.to_owned()) })
    }

    fn is_user(&self, peer: &Peer) -> bool {
        matches!(self, Self::User(name) if is_named(name, peer.uid, &peer.user))
    }

    fn is_group(&self, group: &Group) -> bool {
        matches!(self, Self::Group(name) if is_named(name, group.gid, &group.name))
    }
}

/// A name that is a number is one: no user can have another's number for a name here.
fn is_named(wanted: &str, id: u32, name: &str) -> bool {
    match wanted.parse::<u32>() {
        Ok(number) => number == id,
        Err(_) => wanted == name,
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

/// `[access]`: whom each list names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<(Option<Role>, Subject)>);

impl Rules {
    /// Names `subject` in the list of `role`, or in `none`.
    pub fn grant(&mut self, role: Option<Role>, subject: Subject) {
        self.0.push((role, subject));
    }

    /// The roles of a peer. A user that a list names has just what it is named for. Else root and the
    /// daemon's own user are admins. Anybody else has what the groups have that they are in: what those
    /// are named for; and the group of the socket, where no list names it, operates and writes.
    pub fn roles(&self, peer: &Peer, around: &Surroundings) -> Roles {
        if peer.uid == u32::MAX {
            return Roles::NONE;
        }
        let named = self.named(|subject| subject.is_user(peer));
        named.unwrap_or_else(|| match peer.uid {
            0 => Role::Admin.into(),
            uid if uid == around.uid => Role::Admin.into(),
            _ => self.of_groups(peer, around),
        })
    }

    fn of_groups(&self, peer: &Peer, around: &Surroundings) -> Roles {
        let usual = |group: &Group| {
            let own = group.gid == around.group.gid;
            if own { Roles::from(Role::Operator).with(Role::Ingest) } else { Roles::NONE }
        };
        let of_group = |group: &Group| {
            let named = self.named(|subject| subject.is_group(group));
            named.unwrap_or_else(|| usual(group))
        };
        peer.groups.iter().map(of_group).fold(Roles::NONE, Roles::and)
    }

    /// What the lists say of those whom `wanted` takes; `None` where none names them.
    fn named(&self, wanted: impl Fn(&Subject) -> bool) -> Option<Roles> {
        let named = self.0.iter().filter(|(_, subject)| wanted(subject)).map(|(role, _)| *role);
        named.fold(None, |all: Option<Roles>, role| {
            let all = all.unwrap_or_default();
            Some(role.map_or(all, |role| all.with(role)))
        })
    }

    /// Whether membership of the socket's group would give this peer a role.
    pub(super) fn group_helps(&self, peer: &Peer, around: &Surroundings) -> bool {
        // Nobody is told to join root's group.
        around.group.gid != 0
            && !around.group.name.is_empty()
            && !peer.has_group(around.group.gid)
            && self.named(|subject| subject.is_user(peer)).is_none()
            && self.named(|subject| subject.is_group(&around.group)).is_none()
    }

    /// The line of `[access]` that gives `role` to `subject` as well: `viewer = ["@wheel", "ada"]`.
    pub(super) fn line_with(&self, role: Role, subject: &str) -> String {
        let known = self.0.iter().filter(|(of, _)| *of == Some(role));
        let all = known.map(|(_, known)| known.to_string()).chain([subject.to_owned()]);
        let all: Vec<String> = all.map(|subject| format!("{subject:?}")).collect();
        format!("{role} = [{}]", all.join(", "))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A peer with these groups; a group's name is `g` and its number.
    pub(in crate::access) fn peer(uid: u32, user: &str, gids: &[u32]) -> Peer {
        let group = |gid: &u32| Group { gid: *gid, name: format!("g{gid}") };
        let groups = gids.iter().map(group).collect();
        Peer { uid, user: user.into(), pid: Some(7), groups }
    }

    /// The daemon of user 990 with a socket of group 998.
    pub(in crate::access) fn around() -> Surroundings {
        Surroundings { uid: 990, group: Group { gid: 998, name: "g998".to_owned() } }
    }

    /// Rules as `viewer:ada viewer:@g4 none:bob`.
    pub(in crate::access) fn rules(text: &str) -> Rules {
        let mut rules = Rules::default();
        for (list, subject) in text.split_whitespace().map(|pair| pair.split_once(':').unwrap()) {
            let role = Role::ALL.into_iter().find(|role| role.name() == list);
            assert!(role.is_some() || list == "none", "{list}");
            rules.grant(role, Subject::parse(subject).unwrap());
        }
        rules
    }

    #[track_caller]
    fn check(text: &str, peer: &Peer, roles: &str) {
        assert_eq!(rules(text).roles(peer, &around()).to_string(), roles, "{text}: {peer}");
    }

    #[test]
    fn without_rules_the_owner_administers_and_the_group_operates() {
        check("", &peer(0, "root", &[0]), "admin");
        check("", &peer(990, "balefire", &[990]), "admin");
        check("", &peer(1000, "ada", &[1000, 998]), "operator, ingest");
        check("", &peer(1000, "ada", &[1000]), "none");
        check("", &Peer::unknown(), "none");
    }

    #[test]
    fn a_user_that_is_named_has_just_that() {
        check("viewer:ada", &peer(1000, "ada", &[998]), "viewer");
        check("viewer:1000 ingest:ada", &peer(1000, "ada", &[]), "viewer, ingest");
        check("viewer:0 viewer:990", &peer(0, "root", &[0]), "viewer");
        check("viewer:0 viewer:990", &peer(990, "", &[]), "viewer");
        check("none:ada admin:@g27", &peer(1000, "ada", &[27, 998]), "none");
        check("admin:1001", &peer(1000, "1001", &[]), "none");
    }

    #[test]
    fn groups_add_up() {
        check("admin:@27", &peer(1000, "ada", &[27]), "admin");
        check("viewer:@g4", &peer(1000, "ada", &[4, 998]), "viewer, operator, ingest");
        check("viewer:@g998", &peer(1000, "ada", &[998]), "viewer");
        check("none:@g998", &peer(1000, "ada", &[998]), "none");
        check("none:@g998 admin:@g27", &peer(1000, "ada", &[998, 27]), "admin");
        check("viewer:@g0", &peer(0, "root", &[0]), "admin");
        check("admin:g27", &peer(1000, "ada", &[27]), "none");
    }

    #[test]
    fn subjects_are_users_and_groups() {
        assert_eq!(Subject::parse("ada"), Ok(Subject::User("ada".into())));
        assert_eq!(Subject::parse("@sudo"), Ok(Subject::Group("sudo".into())));
        for wrong in ["", "@", "two words", "a:b", "@@x", "4294967295", "@4294967295"] {
            assert_eq!(Subject::parse(wrong), Err(InvalidSubject), "{wrong}");
        }
    }
}
