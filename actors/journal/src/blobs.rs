//! Content-addressed files beside the journal.

use std::io;
use std::path::{Path, PathBuf};

use kimera_runtime::files::{self, File};

/// A folder of blobs named by their BLAKE3.
pub struct Blobs {
    folder: PathBuf,
}

/// Why a blob could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("blob {hash} is missing from {folder}; copy it there, a replay needs the very bytes")]
    Missing {
        /// Its hash.
        hash: String,
        /// Where it should be.
        folder: PathBuf,
    },
    /// The file's content is not what its name says.
    #[error("blob {hash} in {folder} has been changed")]
    Changed {
        /// Its hash.
        hash: String,
        /// Where it lies.
        folder: PathBuf,
    },
    /// It cannot be read.
    #[error("blob {hash}: {source}")]
    Io {
        /// Its hash.
        hash: String,
        /// Why.
        source: io::Error,
    },
}

impl Blobs {
    /// The blobs of a state directory.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self { folder: state.join("blobs") }
    }

    /// Keeps `content`, durably, and returns its hash.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn put(&self, content: &[u8]) -> io::Result<[u8; 32]> {
        files::create_dir_all(&self.folder)?;
        let hash = blake3::hash(content);
        let path = self.folder.join(hash.to_hex().as_str());
        // One that is there and is not what its name says is written anew.
        if files::read(&path).is_ok_and(|there| there == content) {
            return Ok(*hash.as_bytes());
        }
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        files::rename(&partial, &path)?;
        files::sync_folder(&self.folder)?;
        Ok(*hash.as_bytes())
    }

    /// The content of a hash, checked.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn get(&self, hash: &[u8; 32]) -> Result<Vec<u8>, BlobError> {
        let name = blake3::Hash::from_bytes(*hash).to_hex().to_string();
        let content = match files::read(&self.folder.join(&name)) {
            Ok(content) => content,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing { hash: name, folder: self.folder.clone() });
            }
            Err(source) => return Err(BlobError::Io { hash: name, source }),
        };
        if blake3::hash(&content).as_bytes() != hash {
            return Err(BlobError::Changed { hash: name, folder: self.folder.clone() });
        }
        Ok(content)
    }
}
