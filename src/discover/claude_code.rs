//! Claude Code: `~/.claude.json`, for the person and for each project, and the administrator's
//! `/etc/claude-code/managed-mcp.json`, which has the same shape.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Client, Places, Reading,
    declaration::{Dialect, read_servers},
};

pub(super) const CLIENT: Client = Client { name: "claude-code", files, read };

fn files(places: &Places) -> Vec<PathBuf> {
    vec![places.home.join(".claude.json"), places.etc.join("claude-code/managed-mcp.json")]
}

/// What matters of the file; the rest of it, megabytes of history, is passed over unread.
#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "mcpServers")]
    servers: Value,
    #[serde(default)]
    projects: BTreeMap<PathBuf, Project>,
}

#[derive(Deserialize)]
struct Project {
    #[serde(default, rename = "mcpServers")]
    servers: Value,
}

fn read(bytes: &[u8], reading: &mut Reading<'_>) -> Result<(), serde_json::Error> {
    let file: File = serde_json::from_slice(bytes)?;
    let dialect = Dialect { expands: true, project: None, path: "mcpServers".to_owned() };
    read_servers(&file.servers, &dialect, reading);
    for (project, entry) in file.projects {
        let path = format!("projects[\"{}\"].mcpServers", project.display());
        let dialect = Dialect { project: Some(project), path, ..dialect };
        read_servers(&entry.servers, &dialect, reading);
    }
    Ok(())
}
