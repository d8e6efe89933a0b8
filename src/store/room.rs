//! Whether a file's disk takes what is written: asked after a write failed, until it does again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::StoreError;
use crate::sabotage::{self, Protection};

/// How much has to fit: a largest callback.
const ROOM_BYTES: usize = 1 << 20;

/// The disk below one file. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// `None`: the server's disk, not ours.
    path: Option<PathBuf>,
    missing: Arc<AtomicBool>,
}

impl Room {
    /// The room beside the file at `path`.
    pub(super) fn new(path: Option<&Path>) -> Self {
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".room");
            PathBuf::from(name)
        };
        Self { path: path.map(beside), missing: Arc::default() }
    }

    /// Notes how a write ended.
    pub(super) fn note<T>(&self, written: &Result<T, StoreError>) {
        let failed =
            matches!(written, Err(StoreError::Unavailable(_))) && !sabotage::off(Protection::DiskCheck);
        if failed && self.path.is_some() && !self.missing.swap(true, Ordering::Relaxed) {
            tracing::error!("the database's disk takes no writes");
        }
    }

    /// Whether there is room, as far as is known; looks if there was none.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        let Some(path) = self.path.clone().filter(|_| self.missing.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let tried = tokio::task::spawn_blocking(move || {
            let tried = fill(&path);
            // It may not have come to be.
            let _missing = fs::remove_file(&path);
            tried
        });
        match tried.await {
            Ok(Ok(())) => {
                tracing::warn!("the database's disk takes writes again");
                self.missing.store(false, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(error)) => Err(StoreError::Unavailable(format!("the disk: {error}"))),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; ROOM_BYTES])?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_refused_is_asked_until_it_takes_again() {
        let folder = std::env::temp_dir().join(format!("wecom-gateway-room-{}", std::process::id()));
        let room = Room::new(Some(&folder.join("gateway.db")));
        room.note::<()>(&Err(StoreError::Busy));
        assert!(room.look().await.is_ok(), "not a matter of room");
        room.note::<()>(&Err(StoreError::Unavailable("full".to_owned())));
        assert!(matches!(room.look().await, Err(StoreError::Unavailable(_))), "there is no such folder");
        fs::create_dir(&folder).unwrap();
        assert!(room.look().await.is_ok());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left behind");
        fs::remove_dir(&folder).unwrap();
        assert!(room.look().await.is_ok(), "not asked any more");
    }
}
