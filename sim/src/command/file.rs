//! Files that commands write.

use std::{io::Write, path::Path};

use anyhow::Context;

/// Writes a file, its directory too.
pub(super) fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot = || format!("can't write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(cannot)?;
    }
    let file = std::fs::File::create(path).with_context(cannot)?;
    let mut out = std::io::BufWriter::new(file);
    fill(&mut out).with_context(cannot)?;
    out.flush().with_context(cannot)
}
