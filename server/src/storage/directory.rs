//! Who may look into a data directory: the user that the node runs as, and nobody else.
//!
//! What a node creates is private, the directory by [`create`], what is in it by the process's umask
//! (`cli/start.rs`). What was there before is left as it is, since only an operator knows who needs it, and
//! said at each start.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Permissions of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Names that are looked at: a directory has a few hundred.
const ENTRIES_MAX: usize = 10_000;

/// Makes a directory that only its owner may enter, and what is missing above it in the usual way.
pub fn create(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above)?;
    }
    DirBuilder::new().mode(0o700).recursive(true).create(directory)
}

/// Says what of a data directory others than its owner have a right to. A directory that they may not enter
/// keeps them from everything in it.
pub fn open_to_others(directory: &Path) -> Option<String> {
    let mode = mode_of(directory)?;
    if mode & OTHERS == 0 {
        return None;
    }
    let mut looked_at = 0;
    let inside = first_open_inside(directory, &mut looked_at);
    let inside = inside.map(|path| format!(", and so are files in it, such as {}", path.display()));
    Some(format!(
        "the data directory {} is open to other users of the machine (mode {:04o}){}: `chmod -R go= {}`",
        directory.display(),
        mode & 0o7777,
        inside.unwrap_or_default(),
        directory.display()
    ))
}

fn first_open_inside(directory: &Path, looked_at: &mut usize) -> Option<PathBuf> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        *looked_at += 1;
        if *looked_at > ENTRIES_MAX {
            return None;
        }
        let (path, is_dir) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let found = match is_dir {
            true => first_open_inside(&path, looked_at),
            false => mode_of(&path).filter(|mode| mode & OTHERS != 0).map(|_| path),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn mode_of(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.mode())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn a_data_directory_that_others_may_read_is_named() {
        let temp = tempfile::tempdir().expect("a directory");
        let directory = temp.path().join("above/data");
        create(&directory).expect("created");
        assert_eq!(mode_of(&directory).map(|mode| mode & 0o777), Some(0o700));
        let file = directory.join("000004.sst");
        fs::write(&file, "x").expect("written");
        set(&file, 0o644);
        assert_eq!(open_to_others(&directory), None, "nobody gets at the file");

        set(&directory, 0o755);
        let why = open_to_others(&directory).expect("others may enter");
        assert!(why.contains("(mode 0755)") && why.contains("000004.sst"), "{why}");
        set(&file, 0o600);
        let why = open_to_others(&directory).expect("others see names and sizes");
        assert!(!why.contains("000004.sst"), "{why}");
        // What is there is left as it is.
        create(&directory).expect("there");
        assert_eq!(mode_of(&directory).map(|mode| mode & 0o777), Some(0o755));
        set(&directory, 0o700);
        assert_eq!(open_to_others(&directory), None);
    }
}
