//! One suite over both disks: the real one in a production build, the simulated one in a
//! simulation build. What passes here behaves the same in both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::{future::Future, io, io::ErrorKind, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use weir_runtime::disk::{
    self, Disk, File, OpenMode,
    counting::{CountingDisk, Event},
};

type Case = Pin<Box<dyn Future<Output = ()> + Send>>;

#[cfg(not(madsim))]
fn run(case: impl Fn(Arc<dyn Disk>) -> Case + Send + 'static) {
    let root = tempfile::tempdir().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let path = root.path().join("data");
        case(disk::real::RealDisk::open(path).await.unwrap()).await;
    });
}

#[cfg(madsim)]
fn run(case: impl Fn(Arc<dyn Disk>) -> Case + Send + 'static) {
    use disk::sim::{DiskSim, SimDisk};
    // madsim keeps the seed of the standard hash maps per thread: one thread per seed.
    let seeds = move || {
        for seed in 0..20 {
            let runtime =
                madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
            runtime.add_simulator::<DiskSim>();
            runtime.block_on(async { case(SimDisk::of_this_node()).await });
        }
    };
    std::thread::spawn(seeds).join().unwrap();
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                run(|disk| Box::pin(cases::$case(disk)));
            }
        )*
    };
}

conformance!(
    open_modes,
    errors_say_path_and_kind,
    writes_land_where_they_should,
    a_write_of_more_buffers_than_the_kernel_takes,
    large_writes_and_reads,
    reads_end_with_the_file,
    a_handle_to_read_does_not_write,
    truncate_cuts_and_extends_with_zeros,
    preallocate_keeps_the_length,
    rename_replaces,
    rename_respects_folders,
    removed_files_stay_readable,
    lists_are_sorted,
    folders_are_removed_with_all_they_hold,
    locks_exclude,
    small_files_are_replaced,
    folders_are_made_durable,
    paths_do_not_escape,
    free_space_is_known,
    the_counting_disk_keeps_order,
);

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.kind(),
    }
}

async fn file(disk: &Arc<dyn Disk>, path: &str, content: &[u8]) -> Arc<dyn File> {
    let file = disk.open(path, OpenMode::CreateNew).await.unwrap();
    file.write_at(0, vec![Bytes::copy_from_slice(content)]).await.unwrap();
    file
}

async fn read(file: &Arc<dyn File>, offset: u64, bytes: usize) -> Vec<u8> {
    let buffer = BytesMut::with_capacity(bytes);
    assert_eq!(buffer.capacity(), bytes);
    file.read_at(offset, buffer).await.unwrap().to_vec()
}

async fn content(disk: &Arc<dyn Disk>, path: &str) -> Vec<u8> {
    disk::read_all(&**disk, path, 1 << 20).await.unwrap().to_vec()
}

mod cases {
    use super::*;

    pub async fn open_modes(disk: Arc<dyn Disk>) {
        assert_eq!(kind(disk.open("a", OpenMode::Read).await), ErrorKind::NotFound);
        assert_eq!(kind(disk.open("a", OpenMode::Write).await), ErrorKind::NotFound);
        file(&disk, "a", b"one").await;
        assert_eq!(kind(disk.open("a", OpenMode::CreateNew).await), ErrorKind::AlreadyExists);
        for mode in [OpenMode::Read, OpenMode::Write, OpenMode::CreateOrOpen] {
            let file = disk.open("a", mode).await.unwrap();
            assert_eq!(read(&file, 0, 10).await, b"one", "{mode:?} keeps the content");
        }
        let made = disk.open("b", OpenMode::CreateOrOpen).await.unwrap();
        assert_eq!(made.len().await.unwrap(), 0);
    }

    pub async fn errors_say_path_and_kind(disk: Arc<dyn Disk>) {
        disk.create_dir_all("folder").await.unwrap();
        file(&disk, "plain", b"x").await;
        let error = match disk.open("folder/missing", OpenMode::Read).await {
            Ok(_) => panic!("an error was expected"),
            Err(error) => error,
        };
        assert!(error.to_string().contains("folder/missing"), "{error}");
        for mode in [OpenMode::Read, OpenMode::Write, OpenMode::CreateOrOpen] {
            assert_eq!(kind(disk.open("folder", mode).await), ErrorKind::IsADirectory, "{mode:?}");
        }
        let new = OpenMode::CreateNew;
        assert_eq!(kind(disk.open("folder", new).await), ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.open("no/file", new).await), ErrorKind::NotFound);
        assert_eq!(kind(disk.open("plain/file", new).await), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.create_dir_all("plain").await), ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.create_dir_all("plain/x").await), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.list("missing").await), ErrorKind::NotFound);
        assert_eq!(kind(disk.list("plain").await), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.sync_dir("missing").await), ErrorKind::NotFound);
        assert_eq!(kind(disk.sync_dir("plain").await), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.remove_file("missing").await), ErrorKind::NotFound);
        assert_eq!(kind(disk.rename("missing", "x").await), ErrorKind::NotFound);
        assert_eq!(kind(disk.rename("plain", "no/x").await), ErrorKind::NotFound);
        assert_eq!(kind(disk.remove_dir_all("plain").await), ErrorKind::NotADirectory);
        assert_eq!(
            kind(disk::read_all(&*disk, "plain", 0).await),
            ErrorKind::InvalidData,
            "larger than allowed"
        );
    }

    pub async fn writes_land_where_they_should(disk: Arc<dyn Disk>) {
        let file = file(&disk, "a", b"0123456789").await;
        let parts = vec![Bytes::from_static(b"AB"), Bytes::new(), Bytes::from_static(b"CDE")];
        file.write_at(2, parts).await.unwrap();
        assert_eq!(read(&file, 0, 100).await, b"01ABCDE789");
        file.write_at(8, vec![Bytes::from_static(b"xyz")]).await.unwrap();
        assert_eq!(read(&file, 0, 100).await, b"01ABCDE7xyz", "overlaps the end");
        file.write_at(15, vec![Bytes::from_static(b"!")]).await.unwrap();
        assert_eq!(read(&file, 0, 100).await, b"01ABCDE7xyz\0\0\0\0!", "leaves a hole");
        file.write_at(100, vec![]).await.unwrap();
        file.write_at(100, vec![Bytes::new()]).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 16, "nothing written, nothing extended");
        let one = || vec![Bytes::from_static(b"1")];
        assert_eq!(kind(file.write_at(u64::MAX, one()).await), ErrorKind::InvalidInput);
        assert_eq!(kind(file.write_at(i64::MAX as u64, one()).await), ErrorKind::InvalidInput);
    }

    pub async fn a_write_of_more_buffers_than_the_kernel_takes(disk: Arc<dyn Disk>) {
        let buffers: Vec<Bytes> =
            (0..5000_u32).map(|i| Bytes::from(vec![i as u8; i as usize % 7])).collect();
        let expected: Vec<u8> = buffers.concat();
        let file = file(&disk, "a", b"").await;
        file.write_at(3, buffers).await.unwrap();
        assert_eq!(read(&file, 3, expected.len() + 1).await, expected);
    }

    pub async fn large_writes_and_reads(disk: Arc<dyn Disk>) {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 7) as u8).collect();
        let file = file(&disk, "a", &bytes).await;
        file.sync_data().await.unwrap();
        assert_eq!(read(&file, 0, bytes.len()).await, bytes);
        assert_eq!(read(&file, 1, 1024 * 1024).await, bytes[1..=1024 * 1024]);
        assert_eq!(read(&file, 2_999_000, 1024 * 1024).await, bytes[2_999_000..]);
        assert_eq!(read(&file, 2_999_000, 2 * 1024 * 1024).await, bytes[2_999_000..]);
    }

    pub async fn reads_end_with_the_file(disk: Arc<dyn Disk>) {
        let file = file(&disk, "a", b"abc").await;
        assert_eq!(read(&file, 1, 1).await, b"b");
        assert_eq!(read(&file, 1, 100).await, b"bc");
        assert_eq!(read(&file, 3, 100).await, b"");
        assert_eq!(read(&file, 1000, 100).await, b"");
        assert_eq!(read(&file, 0, 0).await, b"");
        let far = file.read_at(u64::MAX - 1, BytesMut::with_capacity(8)).await;
        assert_eq!(kind(far), ErrorKind::InvalidInput);

        let mut buffer = BytesMut::with_capacity(8);
        buffer.extend_from_slice(b">>");
        let buffer = file.read_at(0, buffer).await.unwrap();
        assert_eq!(&buffer[..], b">>abc", "appends to what the buffer has");
    }

    pub async fn a_handle_to_read_does_not_write(disk: Arc<dyn Disk>) {
        file(&disk, "a", b"abc").await;
        let file = disk.open("a", OpenMode::Read).await.unwrap();
        let write = file.write_at(0, vec![Bytes::from_static(b"x")]).await;
        assert_eq!(kind(write), ErrorKind::PermissionDenied);
        assert_eq!(kind(file.truncate(0).await), ErrorKind::PermissionDenied);
        assert_eq!(kind(file.preallocate(10).await), ErrorKind::PermissionDenied);
        file.sync_data().await.unwrap();
        assert_eq!(read(&file, 0, 10).await, b"abc");
    }

    pub async fn truncate_cuts_and_extends_with_zeros(disk: Arc<dyn Disk>) {
        let file = file(&disk, "a", b"abcdef").await;
        file.truncate(2).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 2);
        file.truncate(5).await.unwrap();
        assert_eq!(read(&file, 0, 10).await, b"ab\0\0\0");
        file.truncate(0).await.unwrap();
        assert_eq!(read(&file, 0, 10).await, b"");
        assert_eq!(kind(file.truncate(u64::MAX).await), ErrorKind::InvalidInput);
    }

    pub async fn preallocate_keeps_the_length(disk: Arc<dyn Disk>) {
        let file = file(&disk, "a", b"abc").await;
        file.preallocate(0).await.unwrap();
        file.preallocate(1 << 20).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 3);
        assert_eq!(read(&file, 0, 100).await, b"abc");
        file.write_at(3, vec![Bytes::from_static(b"def")]).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 6);
        // Which kind of refusal depends on the file system; the length stays.
        assert!(file.preallocate(1 << 50).await.is_err());
        assert_eq!(file.len().await.unwrap(), 6);
    }

    pub async fn rename_replaces(disk: Arc<dyn Disk>) {
        file(&disk, "new", b"new").await;
        let old = file(&disk, "old", b"old").await;
        disk.rename("new", "old").await.unwrap();
        assert_eq!(content(&disk, "old").await, b"new");
        assert_eq!(kind(disk.open("new", OpenMode::Read).await), ErrorKind::NotFound);
        assert_eq!(read(&old, 0, 10).await, b"old", "the handle keeps what was replaced");
        disk.rename("old", "old").await.unwrap();
        disk.create_dir_all("folder").await.unwrap();
        disk.rename("old", "folder/moved").await.unwrap();
        assert_eq!(content(&disk, "folder/moved").await, b"new");
    }

    pub async fn rename_respects_folders(disk: Arc<dyn Disk>) {
        disk.create_dir_all("full/below").await.unwrap();
        disk.create_dir_all("empty").await.unwrap();
        file(&disk, "full/file", b"x").await;
        file(&disk, "plain", b"y").await;
        assert_eq!(kind(disk.rename("plain", "empty").await), ErrorKind::IsADirectory);
        assert_eq!(kind(disk.rename("empty", "plain").await), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.rename("empty", "full").await), ErrorKind::DirectoryNotEmpty);
        assert_eq!(kind(disk.rename("full", "full/below/x").await), ErrorKind::InvalidInput);
        disk.rename("full", "empty").await.unwrap();
        assert_eq!(content(&disk, "empty/file").await, b"x");
        assert_eq!(kind(disk.list("full").await), ErrorKind::NotFound);
    }

    pub async fn removed_files_stay_readable(disk: Arc<dyn Disk>) {
        let file = file(&disk, "a", b"abc").await;
        disk.remove_file("a").await.unwrap();
        assert_eq!(kind(disk.open("a", OpenMode::Read).await), ErrorKind::NotFound);
        assert_eq!(read(&file, 0, 10).await, b"abc");
        file.write_at(3, vec![Bytes::from_static(b"d")]).await.unwrap();
        file.sync_data().await.unwrap();
        assert_eq!(read(&file, 0, 10).await, b"abcd");
        disk.create_dir_all("folder").await.unwrap();
        assert!(disk.remove_file("folder").await.is_err(), "not for folders");
    }

    pub async fn lists_are_sorted(disk: Arc<dyn Disk>) {
        disk.create_dir_all("folder/b/deep").await.unwrap();
        for name in ["folder/c", "folder/a", "folder/10", "folder/9"] {
            file(&disk, name, b"").await;
        }
        let entries = disk.list("folder").await.unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        let expected = [("10", false), ("9", false), ("a", false), ("b", true), ("c", false)];
        assert_eq!(seen, expected);
        let root = disk.list("").await.unwrap();
        assert_eq!(root.len(), 1);
        assert_eq!((root[0].name.as_str(), root[0].is_dir), ("folder", true));
        assert_eq!(disk.list("folder/b/deep").await.unwrap(), []);
    }

    pub async fn folders_are_removed_with_all_they_hold(disk: Arc<dyn Disk>) {
        disk.create_dir_all("a/b/c").await.unwrap();
        disk.create_dir_all("a/b/c").await.unwrap();
        file(&disk, "a/b/file", b"x").await;
        disk.remove_dir_all("a").await.unwrap();
        assert_eq!(disk.list("").await.unwrap(), []);
        disk.remove_dir_all("a").await.unwrap();
        disk.remove_dir_all("no/such").await.unwrap();
        disk.sync_dir("").await.unwrap();
    }

    pub async fn locks_exclude(disk: Arc<dyn Disk>) {
        let guard = disk.lock("lock").await.unwrap();
        assert_eq!(kind(disk.lock("lock").await), ErrorKind::WouldBlock);
        let other = disk.lock("other").await.unwrap();
        drop(guard);
        let _guard = disk.lock("lock").await.unwrap();
        drop(other);
        assert_eq!(disk.list("").await.unwrap().len(), 2, "the files stay");
    }

    pub async fn small_files_are_replaced(disk: Arc<dyn Disk>) {
        disk.create_dir_all("folder").await.unwrap();
        for path in ["folder/a", "a"] {
            for text in ["first, and longer", "second"] {
                disk::replace(&*disk, path, Bytes::from_static(text.as_bytes())).await.unwrap();
                assert_eq!(content(&disk, path).await, text.as_bytes());
            }
        }
        assert_eq!(disk.list("folder").await.unwrap().len(), 1, "no temporary file is left");
        disk::replace(&*disk, "empty", Bytes::new()).await.unwrap();
        assert_eq!(content(&disk, "empty").await, b"");
    }

    pub async fn folders_are_made_durable(disk: Arc<dyn Disk>) {
        let (counting, journal) = CountingDisk::new(disk);
        disk::create_dir_durable(&*counting, "a/b").await.unwrap();
        let synced = ["a", ""].map(|path| Event::FolderSynced { path: path.into() });
        assert_eq!(journal.events(), synced);
        assert!(counting.list("").await.unwrap()[0].is_dir);
    }

    pub async fn paths_do_not_escape(disk: Arc<dyn Disk>) {
        for bad in ["/etc/passwd", "..", "../x", "a/../../x", "a//b", "./a", "a/", "a\0"] {
            let invalid = ErrorKind::InvalidInput;
            assert_eq!(kind(disk.open(bad, OpenMode::CreateOrOpen).await), invalid, "{bad:?}");
            assert_eq!(kind(disk.create_dir_all(bad).await), invalid, "{bad:?}");
            assert_eq!(kind(disk.rename(bad, "x").await), invalid, "{bad:?}");
            assert_eq!(kind(disk.rename("x", bad).await), invalid, "{bad:?}");
            assert_eq!(kind(disk.remove_file(bad).await), invalid, "{bad:?}");
            assert_eq!(kind(disk.remove_dir_all(bad).await), invalid, "{bad:?}");
            assert_eq!(kind(disk.list(bad).await), invalid, "{bad:?}");
            assert_eq!(kind(disk.sync_dir(bad).await), invalid, "{bad:?}");
            assert_eq!(kind(disk.lock(bad).await), invalid, "{bad:?}");
        }
        assert_eq!(kind(disk.remove_dir_all("").await), ErrorKind::InvalidInput);
        assert_eq!(kind(disk.open("", OpenMode::Read).await), ErrorKind::InvalidInput);
        disk.create_dir_all("").await.unwrap();
    }

    pub async fn free_space_is_known(disk: Arc<dyn Disk>) {
        assert!(disk.free_space_bytes().await.unwrap() > 0);
    }

    pub async fn the_counting_disk_keeps_order(disk: Arc<dyn Disk>) {
        let (counting, journal) = CountingDisk::new(disk);
        let file = counting.open("a", OpenMode::CreateNew).await.unwrap();
        file.write_at(0, vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]).await.unwrap();
        journal.hold_syncs();
        let (syncing, late) = (Arc::clone(&file), journal.clone());
        let sync = weir_runtime::task::spawn(async move {
            syncing.sync_data().await.unwrap();
            late.mark("acknowledged");
        });
        let begun = Event::SyncBegun { path: "a".into() };
        while !journal.events().contains(&begun) {
            tokio::task::yield_now().await;
        }
        file.write_at(3, vec![Bytes::from_static(b"d")]).await.unwrap();
        journal.release_syncs();
        sync.await.unwrap();
        let written = |offset, bytes| Event::Written { path: "a".into(), offset, bytes };
        let synced = Event::Synced { path: "a".into() };
        let mark = Event::Mark("acknowledged".into());
        assert_eq!(journal.events(), [written(0, 3), begun, written(3, 1), synced, mark]);
        let counts = journal.counts()["a"];
        assert_eq!((counts.writes, counts.written_bytes, counts.syncs), (2, 4, 1));
    }
}
