//! What somebody is told who may not.

use super::{
    role::{Need, Role, Roles},
    rules::{Peer, Rules, Surroundings},
    token::InvalidToken,
};

/// Why a call was refused, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The call: `SystemService.Reload`.
    pub call: String,
    /// The role that it needs.
    pub needed: Role,
    /// Those that the caller has.
    pub had: Roles,
    /// The line of `[access]` that grants it.
    pub grant: String,
    /// All of it in words.
    pub message: String,
}

impl Rules {
    /// Why `peer` may not make a call (its name, and its need, which is not met). `file` is the configuration, empty where
    /// there is none.
    pub fn refusal(
        &self,
        peer: &Peer,
        around: &Surroundings,
        (name, need): (&str, Need),
        file: &str,
    ) -> Refusal {
        let (needed, had) = (need.least(), self.roles(peer, around));
        let grant = self.line_with(needed, &peer.subject());
        let place = if file.is_empty() { "balefire.toml" } else { file };
        let has = if had.is_empty() { "no role".to_owned() } else { had.to_string() };
        let mut message = format!(
            "{name} needs the role {needed}, and {peer} has {has}: an administrator grants it with \
             `{grant}` under [access] in {place}"
        );
        if had.is_empty() && self.group_helps(peer, around) {
            message.push_str(&membership(&around.group.name, &peer.subject()));
        }
        Refusal { call: name.to_owned(), needed, had, grant, message }
    }
}

impl Refusal {
    /// Why a call that a peer makes for somebody else is refused: what they show, `token`'s name or nothing,
    /// does not allow it.
    pub fn on_behalf(call: &str, needed: Role, token: Option<&str>, had: Roles) -> Self {
        let grant = format!("balefire token create NAME --scope {needed}");
        let who = match token {
            Some(name) => format!("the token {name:?} has {had}"),
            None => format!("who shows no token has {had}"),
        };
        let message = format!(
            "{call} needs the scope {needed}, and {who}: an administrator makes a token that has it with \
             `{grant}`, which goes into the header `Authorization: Bearer`"
        );
        Self { call: call.to_owned(), needed, had, grant, message }
    }

    /// … what they show is no token that counts.
    pub fn invalid_token(call: &str, needed: Role, invalid: &InvalidToken) -> Self {
        let message = format!("{call} is not for this token: {invalid}");
        Self { message, ..Self::on_behalf(call, needed, None, Roles::NONE) }
    }
}

fn membership(group: &str, user: &str) -> String {
    format!(
        ", or with membership of the group: `sudo usermod -aG {group} {user}`, then log in again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{
        call,
        rules::tests::{around, peer, rules},
    };

    #[track_caller]
    fn check(text: &str, path: &str, peer: &Peer, message: &str) {
        let call = call(path).unwrap();
        let refusal =
            rules(text).refusal(peer, &around(), (&call.name(), call.need), "/etc/b.toml");
        assert_eq!(refusal.message, message);
    }

    #[test]
    fn a_refusal_says_what_mends_it() {
        check(
            "viewer:ada admin:root admin:@sudo",
            "/balefire.v1.SystemService/Reload",
            &peer(1000, "ada", &[998]),
            "SystemService.Reload needs the role admin, and ada (uid 1000) has viewer: an administrator \
             grants it with `admin = [\"root\", \"@sudo\", \"ada\"]` under [access] in /etc/b.toml",
        );
        check(
            "",
            "/grpc.health.v1.Health/Check",
            &peer(1001, "", &[5]),
            "Health.Check needs the role viewer, and uid 1001 has no role: an administrator grants it with \
             `viewer = [\"1001\"]` under [access] in /etc/b.toml, or with membership of the group: `sudo \
             usermod -aG g998 1001`, then log in again",
        );
    }
}
