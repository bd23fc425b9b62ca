//! Claude Desktop: `~/.config/Claude/claude_desktop_config.json`. It fills in no placeholders.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Client, Places, Reading,
    declaration::{Dialect, read_servers},
};

pub(super) const CLIENT: Client = Client { name: "claude-desktop", files, read };

fn files(places: &Places) -> Vec<PathBuf> {
    vec![places.home.join(".config/Claude/claude_desktop_config.json")]
}

#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "mcpServers")]
    servers: Value,
}

fn read(bytes: &[u8], reading: &mut Reading<'_>) -> Result<(), serde_json::Error> {
    let file: File = serde_json::from_slice(bytes)?;
    let dialect = Dialect { expands: false, project: None, path: "mcpServers".to_owned() };
    read_servers(&file.servers, &dialect, reading);
    Ok(())
}
