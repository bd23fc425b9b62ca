//! Who is at the other end of a connection, and whether they may come in.
//!
//! The kernel says who connected (`SO_PEERCRED`: user, primary group, process). Its supplementary
//! groups are read from `/proc/<pid>/status`, which has them as they are in force; where that is
//! hidden from us (`ProtectProc=`), `/etc/group` says who belongs to the socket's group. The file
//! mode of the socket keeps strangers out before all this; the check here holds where a mode or a
//! folder was opened wider than it should be.

use std::fs;

use tokio::net::{UnixStream, unix::UCred};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its user.
    pub(super) uid: u32,
    /// Whether it may ask anything.
    pub(super) admitted: bool,
}

/// Says who may come in: `uid`, root, and members of the group `gid`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Gate {
    /// Who is at the other end of `stream`; nobody is admitted whom the kernel does not name.
    pub(super) fn peer(self, stream: &UnixStream) -> Peer {
        match stream.peer_cred() {
            Ok(credentials) => {
                let admitted = self.admits(&credentials);
                Peer { uid: credentials.uid(), admitted }
            }
            Err(_) => Peer { uid: u32::MAX, admitted: false },
        }
    }

    fn admits(self, peer: &UCred) -> bool {
        peer.uid() == 0 || peer.uid() == self.uid || peer.gid() == self.gid || self.is_member(peer)
    }

    fn is_member(self, peer: &UCred) -> bool {
        let status =
            peer.pid().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        match status {
            Some(status) => supplementary_groups(&status).any(|gid| gid == self.gid),
            None => is_listed(peer.uid(), self.gid),
        }
    }
}

/// The line `Groups:` of `/proc/<pid>/status` (proc(5)).
fn supplementary_groups(status: &str) -> impl Iterator<Item = u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|gid| gid.parse().ok())
}

fn is_listed(uid: u32, gid: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    user_name(&read("/etc/passwd"), uid)
        .is_some_and(|user| members(&read("/etc/group"), gid).any(|member| member == user))
}

/// The name of a user in the format of passwd(5).
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields.get(2).and_then(|f| f.parse().ok()) == Some(uid))?;
    user.first().map(|name| (*name).to_owned())
}

/// The members of a group in the format of group(5).
fn members(groups: &str, gid: u32) -> impl Iterator<Item = &str> {
    let group = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let group = group.filter(move |f| f.get(2).and_then(|f| f.parse().ok()) == Some(gid));
    group.filter_map(|f| f.get(3).copied()).flat_map(|list| list.split(','))
}

/// The number of a group: its name in `/etc/group`, or the number itself.
pub(super) fn group_id(groups: &str, group: &str) -> Option<u32> {
    if let Ok(gid) = group.parse() {
        return Some(gid);
    }
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&group))?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nbalefire:x:998:ada,grace\nempty:x:997:\n";

    #[test]
    fn reads_the_groups_of_a_process() {
        let status = "Name:\tx\nGroups:\t4 27 998 \nNStgid:\t5\n";
        assert_eq!(supplementary_groups(status).collect::<Vec<_>>(), [4, 27, 998]);
        assert_eq!(supplementary_groups("Name:\tx\n").count(), 0);
    }

    #[test]
    fn reads_the_group_file() {
        assert_eq!(group_id(GROUPS, "balefire"), Some(998));
        assert_eq!(group_id(GROUPS, "12"), Some(12));
        assert_eq!(group_id(GROUPS, "nobody"), None);
        assert_eq!(members(GROUPS, 998).collect::<Vec<_>>(), ["ada", "grace"]);
        let passwd = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(user_name(passwd, 1001), None);
    }

    #[tokio::test]
    async fn admits_the_own_user() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let uid = rustix::process::getuid().as_raw();
        let peer = Gate { uid, gid: u32::MAX }.peer(&ours);
        assert_eq!(peer, Peer { uid, admitted: true });
    }
}
