//! Who is at the other end of a connection.
//!
//! The kernel says who connected (`SO_PEERCRED`: user, primary group, process). Its supplementary
//! groups are read from `/proc/<pid>/status`, which has them as they are in force; the kernel's own
//! word on them (`SO_PEERGROUPS`) can be had by unsafe code only. A process may have ended meanwhile
//! and its number be another's: what is read counts only where it is of the same user. Where it is not,
//! or is hidden from us (`ProtectProc=`, another namespace), `/etc/group` says what the user belongs to.
//! The file mode of the socket keeps strangers out before all this.

use std::fs;

use tokio::net::{UnixStream, unix::UCred};

use crate::access::{Group, Peer};

/// Who is at the other end of `stream`; nobody is known whom the kernel does not name.
pub(super) fn peer_of(stream: &UnixStream) -> Peer {
    stream.peer_cred().map_or_else(|_| Peer::unknown(), |peer| known(&peer))
}

fn known(peer: &UCred) -> Peer {
    let accounts = Accounts::read();
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
    let user = accounts.user_name(peer.uid()).unwrap_or_default();
    let beside = pid
        .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok())
        .and_then(|status| groups_in_force(&status, peer.uid()))
        .unwrap_or_else(|| accounts.groups_of(user));
    let mut gids = vec![peer.gid()];
    gids.extend(beside);
    gids.sort_unstable();
    gids.dedup();
    let groups = gids.into_iter().map(|gid| accounts.group(gid)).collect();
    Peer { uid: peer.uid(), user: user.into(), pid, groups }
}

/// The line `Groups:` of `/proc/<pid>/status` (proc(5)), where the process is that user's.
fn groups_in_force(status: &str, uid: u32) -> Option<Vec<u32>> {
    let line = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let numbers = |line: &str| -> Vec<u32> {
        line.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect()
    };
    // Real, effective, saved, of the file system.
    let effective = line("Uid:").and_then(|uids| numbers(uids).get(1).copied());
    (effective == Some(uid)).then(|| numbers(line("Groups:").unwrap_or_default()))
}

/// The files of accounts, passwd(5) and group(5).
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: String,
    groups: String,
}

impl Accounts {
    /// As they are now: a user that joins a group has it at the next connection.
    pub(super) fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// The group with this number, which may have no name.
    pub(super) fn group(&self, gid: u32) -> Group {
        let found = rows(&self.groups).find(|row| number(row) == Some(gid));
        let name = found.and_then(|row| row.first().map(|name| (*name).to_owned()));
        Group { gid, name: name.unwrap_or_default() }
    }

    /// The number of a group: its name, or the number itself.
    pub(super) fn group_id(&self, group: &str) -> Option<u32> {
        if let Ok(gid) = group.parse() {
            return Some(gid);
        }
        number(&rows(&self.groups).find(|row| row.first() == Some(&group))?)
    }

    fn user_name(&self, uid: u32) -> Option<&str> {
        rows(&self.users).find(|row| number(row) == Some(uid))?.first().copied()
    }

    /// The groups that list a user.
    fn groups_of(&self, user: &str) -> Vec<u32> {
        let lists = |row: &Vec<&str>| {
            row.get(3).is_some_and(|members| members.split(',').any(|member| member == user))
        };
        if user.is_empty() {
            return Vec::new();
        }
        rows(&self.groups).filter(lists).filter_map(|row| number(&row)).collect()
    }
}

fn rows(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.split(':').collect())
}

/// The number of a user or group: the third field.
fn number(row: &[&str]) -> Option<u32> {
    row.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t0\t1000\t0\t0\nGroups:\t4 27 998 \nNStgid:\t5\n";

    fn accounts() -> Accounts {
        Accounts {
            users: "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n".to_owned(),
            groups: "root:x:0:\nbalefire:x:998:ada,grace\nempty:x:997:\nops:x:27:ada\n".to_owned(),
        }
    }

    #[test]
    fn reads_the_groups_of_a_process() {
        assert_eq!(groups_in_force(STATUS, 1000), Some(vec![4, 27, 998]));
        assert_eq!(groups_in_force("Uid:\t1\t1\t1\t1\n", 1), Some(Vec::new()));
        assert_eq!(groups_in_force(STATUS, 0), None, "the number is another process' by now");
        assert_eq!(groups_in_force("", 0), None);
    }

    #[test]
    fn reads_the_files_of_accounts() {
        let accounts = accounts();
        assert_eq!(accounts.group_id("balefire"), Some(998));
        assert_eq!(accounts.group_id("12"), Some(12));
        assert_eq!(accounts.group_id("nobody"), None);
        assert_eq!(accounts.group(27), Group { gid: 27, name: "ops".to_owned() });
        assert_eq!(accounts.group(28).name, "");
        assert_eq!(accounts.groups_of("ada"), [998, 27]);
        assert_eq!(accounts.groups_of(""), [0; 0], "whose list is empty has no member");
        assert_eq!(accounts.user_name(1000), Some("ada"));
        assert_eq!(accounts.user_name(1001), None);
    }

    #[tokio::test]
    async fn knows_the_own_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = peer_of(&ours);
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.pid, Some(std::process::id()));
        let mut expected: Vec<u32> = rustix::process::getgroups()
            .unwrap()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        expected.push(rustix::process::getegid().as_raw());
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(peer.groups.iter().map(|group| group.gid).collect::<Vec<_>>(), expected);
    }
}
