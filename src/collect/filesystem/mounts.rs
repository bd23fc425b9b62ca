//! Which mounts count.

use std::collections::HashSet;

/// Kinds that hold no files of anybody's, or only files that are elsewhere too (`node_exporter`'s list).
const FS_TYPES_LEFT_OUT: [&str; 27] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "fuse.portal",
];
/// Places below which nothing is of interest (`node_exporter`'s list).
const PLACES_LEFT_OUT: [&str; 6] =
    ["/dev", "/proc", "/sys", "/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"];
/// Kinds behind which a server may hang; those of FUSE are known by their prefix.
const FS_TYPES_REMOTE: [&str; 14] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
    "virtiofs",
];

/// A mounted file system.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) fs_type: String,
    /// Its mount point.
    pub(super) place: String,
    /// Of the file system itself: a service's own mounts are read-only by its confinement.
    pub(super) read_only: bool,
    /// `major:minor`.
    number: String,
}

impl Mount {
    pub(super) fn labels(&self) -> [(&str, &str); 3] {
        [("device", &self.device), ("fstype", &self.fs_type), ("mountpoint", &self.place)]
    }

    /// Whether asking for its space may never return.
    pub(super) fn may_hang(&self) -> bool {
        self.fs_type.starts_with("fuse.") || FS_TYPES_REMOTE.contains(&self.fs_type.as_str())
    }

    fn is_wanted(&self) -> bool {
        // In a container the root is an overlay, and the only disk there is.
        let kind = !FS_TYPES_LEFT_OUT.contains(&self.fs_type.as_str()) || self.place == "/";
        let below = |place: &str| {
            let rest = self.place.strip_prefix(place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        kind && !PLACES_LEFT_OUT.into_iter().any(below)
    }

    /// What makes two mounts one file system: the device where there is one (all subvolumes of
    /// btrfs share theirs), else the kernel's number.
    fn identity(&self) -> String {
        if self.device.starts_with('/') { self.device.clone() } else { self.number.clone() }
    }
}

/// The file systems of `/proc/self/mountinfo`, each once, at its shortest mount point; sorted by it.
pub(super) fn wanted(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<_> = mountinfo.lines().filter_map(mount).filter(Mount::is_wanted).collect();
    mounts.sort_by(|a, b| {
        let key = |mount: &Mount| (mount.place.len(), mount.place.clone());
        key(a).cmp(&key(b))
    });
    let mut seen = HashSet::new();
    let mut places = HashSet::new();
    mounts.retain(|m| seen.insert(m.identity()) && places.insert(m.place.clone()));
    mounts.sort_by(|a, b| a.place.cmp(&b.place));
    mounts
}

/// `36 35 98:0 /root /mount/point options optional… - type source super-options`
fn mount(line: &str) -> Option<Mount> {
    let (mine, theirs) = line.split_once(" - ")?;
    let mut mine = mine.split(' ').skip(2);
    let (number, place) = (mine.next()?, mine.nth(1)?);
    let mut theirs = theirs.split(' ');
    let (fs_type, device, options) = (theirs.next()?, theirs.next()?, theirs.next()?);
    Some(Mount {
        device: unescaped(device),
        fs_type: fs_type.to_owned(),
        place: unescaped(place),
        read_only: options.split(',').any(|option| option == "ro"),
        number: number.to_owned(),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            plain.push(char::from(code));
            plain.push_str(&part[3..]);
        } else {
            plain.push('\\');
            plain.push_str(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mountinfo: &str, places: &[&str]) {
        let found: Vec<_> = wanted(mountinfo).into_iter().map(|m| m.place).collect();
        assert_eq!(found, places);
    }

    #[test]
    fn leaves_out_what_is_no_disk() {
        check(
            "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
             2 1 0:5 / /proc rw - proc proc rw\n\
             3 1 0:6 / /dev/shm rw - tmpfs tmpfs rw\n\
             4 1 0:7 / /run rw - tmpfs tmpfs rw\n\
             5 1 0:8 / /mnt/over rw - overlay overlay rw\n",
            &["/", "/run"],
        );
    }

    #[test]
    fn counts_a_device_once_at_its_shortest_place() {
        check(
            "1 0 8:1 /sub /srv/bind rw - ext4 /dev/sda1 rw\n\
             2 0 8:1 / /srv rw - ext4 /dev/sda1 rw\n",
            &["/srv"],
        );
    }

    #[test]
    fn a_containers_root_counts() {
        check("1 0 0:9 / / rw - overlay overlay rw\n", &["/"]);
    }

    #[test]
    fn reads_escapes_optional_fields_and_flags() {
        let mounts =
            wanted("1 0 8:1 / /a\\040b ro,nosuid shared:1 master:2 - nfs4 host:/x rw,vers=4\n");
        assert_eq!(mounts[0].place, "/a b");
        assert!(mounts[0].may_hang() && !mounts[0].read_only);
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        check("garbage\n1 2 3 - x\n - \n\n", &[]);
    }
}
