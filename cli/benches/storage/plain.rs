//! The plain programs: the same volume, in the same blocks, into a fresh file, or through a
//! loopback connection.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::Instant,
};

use crate::{BLOCK_BYTES, stats::percentile};

/// An fdatasync after so many bytes, where there is one.
const SYNC_BYTES: usize = 1 << 20;

/// Writes; gives MB/s.
pub fn write(dir: &Path, bytes: usize, fsync: bool) -> f64 {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let mut file = File::create(folder.path().join("plain")).unwrap();
    let block = crate::payload(BLOCK_BYTES);
    let began = Instant::now();
    for block_number in 1..=bytes / BLOCK_BYTES {
        file.write_all(&block).unwrap();
        if fsync && (block_number * BLOCK_BYTES).is_multiple_of(SYNC_BYTES) {
            file.sync_data().unwrap();
        }
    }
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// Writes and fdatasyncs block after block; gives the median time of one, in ms.
pub fn write_each(dir: &Path, blocks: usize) -> f64 {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let file = File::create(folder.path().join("plain")).unwrap();
    let block = crate::payload(BLOCK_BYTES);
    let mut times: Vec<f64> = (0..blocks)
        .map(|n| {
            let began = Instant::now();
            file.write_all_at(&block, (n * BLOCK_BYTES) as u64).unwrap();
            file.sync_data().unwrap();
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    percentile(&mut times, 50)
}

/// The same behind a socket: one thread sends a block and waits for a byte, another receives it,
/// writes, fdatasyncs and answers. What any server must take at least.
pub fn write_each_behind_socket(dir: &Path, blocks: usize) -> f64 {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let file = File::create(folder.path().join("plain")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut block = vec![0; BLOCK_BYTES];
        for n in 0..blocks {
            stream.read_exact(&mut block).unwrap();
            file.write_all_at(&block, (n * BLOCK_BYTES) as u64).unwrap();
            file.sync_data().unwrap();
            stream.write_all(&[1]).unwrap();
        }
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (block, mut answer) = (crate::payload(BLOCK_BYTES), [0]);
    let mut times: Vec<f64> = (0..blocks)
        .map(|_| {
            let began = Instant::now();
            stream.write_all(&block).unwrap();
            stream.read_exact(&mut answer).unwrap();
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    server.join().unwrap();
    percentile(&mut times, 50)
}

/// Sends blocks from one thread to another; gives MB/s.
pub fn loopback(bytes: usize) -> f64 {
    relay(bytes, |_| {})
}

/// The writer behind a socket: what any server that keeps what it is sent must do at least.
pub fn write_behind_socket(dir: &Path, bytes: usize) -> f64 {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let mut file = File::create(folder.path().join("plain")).unwrap();
    relay(bytes, |block| file.write_all(block).unwrap())
}

fn relay(bytes: usize, mut take: impl FnMut(&[u8])) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sender = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let block = crate::payload(BLOCK_BYTES);
        for _ in 0..bytes / BLOCK_BYTES {
            stream.write_all(&block).unwrap();
        }
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = vec![0; BLOCK_BYTES];
    let began = Instant::now();
    let mut received = 0;
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read => {
                take(&buffer[..read]);
                received += read;
            }
        }
    }
    sender.join().unwrap();
    received as f64 / 1e6 / began.elapsed().as_secs_f64()
}
