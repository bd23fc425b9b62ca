//! Databases that hold still: sled writes its metadata anew, under other names, whenever it opens one,
//! so whoever links or copies a database's files keeps everybody from opening one meanwhile.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Read by who opens a database, written by who wants all of them to hold still.
static OPENING: RwLock<()> = RwLock::new(());

/// Held while a database is being opened.
pub(super) fn opening() -> RwLockReadGuard<'static, ()> {
    OPENING.read()
}

/// While this is held, no database of this process is being opened. Held for the files of one
/// database at a time: readers wait for it.
pub(in crate::store) fn holding_still() -> RwLockWriteGuard<'static, ()> {
    OPENING.write()
}
