//! What only the real disk has: permissions, errors of the kernel, a lock between processes'
//! descriptors, reads of pages that are not cached.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::{io::ErrorKind, os::unix::fs::PermissionsExt, path::Path};

use bytes::{Bytes, BytesMut};
use weir_runtime::disk::{OpenMode, os_code, real::RealDisk};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_our_user_may_look() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("home/data");
    let disk = RealDisk::open(&data).await.unwrap();
    disk.create_dir_all("a/b").await.unwrap();
    disk.open("a/b/c", OpenMode::CreateNew).await.unwrap();
    let _lock = disk.lock("lock").await.unwrap();
    for folder in ["", "a", "a/b"] {
        assert_eq!(mode(&data.join(folder)), 0o700, "{folder}");
    }
    for file in ["a/b/c", "lock"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn two_disks_over_one_folder_share_its_lock() {
    let root = tempfile::tempdir().unwrap();
    let one = RealDisk::open(root.path()).await.unwrap();
    let two = RealDisk::open(root.path()).await.unwrap();
    let guard = one.lock("lock").await.unwrap();
    let error = two.lock("lock").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.to_string().contains("lock"), "{error}");
    drop(guard);
    assert!(two.lock("lock").await.is_ok());
}

#[tokio::test]
async fn a_root_that_is_a_file_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let error = RealDisk::open(&path).await.err().unwrap();
    assert!(error.to_string().contains("file"), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_device_is_storage_full() {
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", root.path().join("full")).unwrap();
    let disk = RealDisk::open(root.path()).await.unwrap();
    let file = disk.open("full", OpenMode::Write).await.unwrap();
    for bytes in [10, 1 << 20] {
        let error = file.write_at(0, vec![Bytes::from(vec![1; bytes])]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(os_code(&error), Some(28));
        assert!(error.to_string().contains("full"), "{error}");
    }
}

/// Pages that were written and synced, then dropped from the cache, take the slow way.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn reads_do_not_need_the_page_cache() {
    let root = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(root.path()).await.unwrap();
    let file = disk.open("a", OpenMode::CreateNew).await.unwrap();
    let bytes: Vec<u8> = (0..500_000_u32).map(|i| (i / 3) as u8).collect();
    file.write_at(0, vec![bytes.clone().into()]).await.unwrap();
    file.sync_data().await.unwrap();
    let raw = std::fs::File::open(root.path().join("a")).unwrap();
    nix::fcntl::posix_fadvise(&raw, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .unwrap();
    // A part is cached again: the fast way serves it, the slow way the rest.
    file.read_at(0, BytesMut::with_capacity(4096)).await.unwrap();
    let read = file.read_at(0, BytesMut::with_capacity(600_000)).await.unwrap();
    assert_eq!(&read[..], bytes);
}
