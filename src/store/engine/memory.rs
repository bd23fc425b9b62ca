//! Ordered trees in memory, written to one file on flush: for tests that open hundreds of databases.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;

use super::{Database, Engine, EngineError, Entries, Fanout, Visit};

type Trees = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Databases that live in memory between two flushes.
#[derive(Debug)]
pub(in crate::store) struct MemoryEngine;

#[derive(Debug)]
struct MemoryDatabase {
    file: PathBuf,
    trees: Arc<RwLock<Trees>>,
}

impl Engine for MemoryEngine {
    fn create(&self, dir: &Path, _: Fanout) -> Result<Box<dyn Database>, EngineError> {
        fs::create_dir_all(dir)?;
        Ok(Box::new(MemoryDatabase { file: dir.join("trees"), trees: Arc::default() }))
    }

    fn open(&self, dir: &Path, _: Fanout) -> Result<Box<dyn Database>, EngineError> {
        let file = dir.join("trees");
        let trees = decode(&fs::read(&file)?).ok_or(std::io::ErrorKind::InvalidData);
        let trees = Arc::new(RwLock::new(trees.map_err(std::io::Error::from)?));
        Ok(Box::new(MemoryDatabase { file, trees }))
    }
}

impl Database for MemoryDatabase {
    fn reader(&self) -> Box<dyn Database> {
        Box::new(Self { file: self.file.clone(), trees: Arc::clone(&self.trees) })
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.trees.read().get(tree).and_then(|tree| tree.get(key)).cloned())
    }

    fn range(
        &self,
        tree: &str,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), EngineError> {
        let trees = self.trees.read();
        let entries = trees.get(tree).into_iter().flat_map(|t| t.range(from.to_vec()..));
        for (key, value) in entries {
            if to.is_some_and(|to| key.as_slice() >= to) || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, tree: &str, entries: Entries) -> Result<(), EngineError> {
        self.trees.write().entry(tree.to_owned()).or_default().extend(entries);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let mut out = Vec::new();
        for (name, tree) in &*self.trees.read() {
            for (key, value) in tree {
                for part in [name.as_bytes(), key, value] {
                    out.extend((part.len() as u64).to_le_bytes());
                    out.extend(part);
                }
            }
        }
        let mut file = File::create(&self.file)?;
        file.write_all(&out)?;
        Ok(file.sync_all()?)
    }
}

fn decode(mut bytes: &[u8]) -> Option<Trees> {
    let mut trees = Trees::new();
    let next = |bytes: &mut &[u8]| -> Option<Vec<u8>> {
        let (len, rest) = bytes.split_first_chunk::<8>()?;
        let (part, rest) =
            rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        *bytes = rest;
        Some(part.to_vec())
    };
    while !bytes.is_empty() {
        let name = String::from_utf8(next(&mut bytes)?).ok()?;
        let (key, value) = (next(&mut bytes)?, next(&mut bytes)?);
        trees.entry(name).or_default().insert(key, value);
    }
    Some(trees)
}
