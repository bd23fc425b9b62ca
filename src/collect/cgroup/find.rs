//! Which control groups are containers or services.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// How deep a group may lie: Kubernetes' lie at five.
const DEPTH_MAX: usize = 8;
/// Directories that are looked into at most in one hierarchy.
const DIRECTORIES_MAX: usize = 2048;
/// The length of a container's id, in hexadecimal digits.
const CONTAINER_ID_LEN: usize = 64;

/// The paths of the groups below `roots`, sorted, at most `max`; and how many more there were.
pub(super) fn groups(roots: &[&PathBuf], max: usize) -> (Vec<String>, u64) {
    let mut found = BTreeSet::new();
    for root in roots {
        let mut walk = Walk { found: &mut found, left: DIRECTORIES_MAX };
        walk.below(root, "", 0);
    }
    let left_out = found.len().saturating_sub(max);
    (found.into_iter().take(max).collect(), left_out as u64)
}

struct Walk<'a> {
    found: &'a mut BTreeSet<String>,
    left: usize,
}

impl Walk<'_> {
    fn below(&mut self, directory: &Path, id: &str, depth: usize) {
        if depth == DEPTH_MAX || self.left == 0 {
            return;
        }
        self.left -= 1;
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            let id = format!("{id}/{name}");
            let is_container = is_container(&name);
            if is_container || name.ends_with(".service") {
                self.found.insert(id.clone());
            }
            // What is below a container is its own business.
            if !is_container {
                self.below(&entry.path(), &id, depth + 1);
            }
        }
    }
}

/// `docker-<id>.scope`, `<id>`, `cri-containerd-<id>.scope`, `libpod-<id>.scope`; LXC's and
/// systemd-machined's by their names.
fn is_container(name: &str) -> bool {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let id = stem.rsplit(['-', ':']).next().unwrap_or(stem);
    let has_id = id.len() == CONTAINER_ID_LEN && id.bytes().all(|c| c.is_ascii_hexdigit());
    has_id || name.starts_with("lxc.payload.") || name.starts_with("machine-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_containers_by_their_names() {
        let id = "0123456789abcdef".repeat(4);
        for name in [
            id.clone(),
            format!("docker-{id}.scope"),
            format!("libpod-{id}.scope"),
            format!("cri-containerd:{id}"),
            "lxc.payload.web".into(),
            "machine-web.scope".into(),
        ] {
            assert!(is_container(&name), "{name}");
        }
        for name in ["user.slice", "session-3.scope", "init.scope", "kubepods.slice", "0123"] {
            assert!(!is_container(name), "{name}");
        }
    }

    #[test]
    fn finds_services_below_slices_and_counts_what_is_too_much() {
        let root = tempfile::tempdir().unwrap();
        for name in ["system.slice/a.service", "system.slice/b.service", "user.slice/c.scope"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let path = root.path().to_owned();
        let all = ["/system.slice/a.service", "/system.slice/b.service"].map(str::to_owned);
        assert_eq!(groups(&[&path, &path], 9), (all.to_vec(), 0));
        assert_eq!(groups(&[&path], 1), (all[..1].to_vec(), 1));
    }
}
