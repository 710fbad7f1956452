//! One command at a time starts or stops the home's control plane, and one writes the profiles.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use weir_runtime::clock::Clock;

use super::Home;
use crate::error::{self, CliError, Result};

const POLL: Duration = Duration::from_millis(25);
/// Profiles are read and written in a moment.
const PROFILES_TIMEOUT: Duration = Duration::from_secs(5);

/// Held while it lives; the system releases it when the process ends, however that ends.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl HomeLock {
    /// Waits up to `limit` for the lock.
    ///
    /// # Errors
    /// When another command holds it for longer, or the file cannot be made.
    pub async fn acquire(home: &Home, clock: Clock, limit: Duration) -> Result<Self> {
        let what = "starting or stopping the control plane";
        lock(home, &home.lock(), clock, limit, what).await.map(Self)
    }
}

/// Held from reading the profiles to writing them. Taken by itself or after [`HomeLock`],
/// never before it, and never while anything is waited for.
#[derive(Debug)]
pub struct ProfilesLock(
    #[expect(dead_code, reason = "the lock lives as long as the open file")] File,
);

impl ProfilesLock {
    /// Waits a little for the lock.
    ///
    /// # Errors
    /// As [`HomeLock::acquire`].
    pub async fn acquire(home: &Home, clock: Clock) -> Result<Self> {
        let what = "writing the profiles";
        lock(home, &home.profiles_lock(), clock, PROFILES_TIMEOUT, what).await.map(Self)
    }
}

async fn lock(home: &Home, path: &Path, clock: Clock, limit: Duration, what: &str) -> Result<File> {
    home.make(home.root())?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| error::io("open", path, &e))?;
    let begin = clock.now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(error::io("lock", path, &e)),
            Err(TryLockError::WouldBlock) if clock.now().since(begin) >= limit => {
                return Err(CliError::new(
                    format!(
                        "another weir command has been {what} of {} for {}",
                        home.root().display(),
                        crate::error::duration(limit)
                    ),
                    "wait for it, or end it, then run this again",
                ));
            }
            Err(TryLockError::WouldBlock) => clock.sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_and_gives_up() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().join("home"))).unwrap();
        let limit = Duration::from_millis(30);
        let first = HomeLock::acquire(&home, Clock, limit).await.unwrap();
        assert!(HomeLock::acquire(&home, Clock, limit).await.is_err());
        drop(first);
        HomeLock::acquire(&home, Clock, limit).await.unwrap();
    }
}
