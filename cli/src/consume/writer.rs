//! Writes chunks on a thread of its own: a reader may be slow, or stop reading, and meanwhile
//! what it has taken is committed, and Ctrl-C is heard.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use weir_client::Place;
use weir_protocol::ids::PartitionIndex;

use super::sink::{Chunk, Mark};

/// Chunks that wait to be written.
const WAITING_MAX: usize = 4;
/// What is written at once to a reader that is slow, or not known yet: what it took of a
/// larger write would not be known before it took the whole.
const PIECE_BYTES: usize = 512;
/// What is written at once to a quick one.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// So much has to go quickly before pieces get larger: a pipe takes this from us before anybody
/// reads it.
const PIPE_BYTES: usize = 64 << 10;
/// A reader that lets a write take so long is slow.
const SLOW: Duration = Duration::from_millis(20);

/// What the thread has done.
#[derive(Debug, Default)]
struct Done {
    /// The last record of each partition that was written since this was looked at.
    written: BTreeMap<PartitionIndex, Place>,
    /// Records written, in all.
    records: u64,
    error: Option<io::Error>,
}

impl Done {
    fn wrote(&mut self, mark: &Mark) {
        self.written.insert(mark.place.partition, mark.place);
        self.records += mark.records;
    }
}

/// The way to the thread.
pub struct Writer {
    chunks: mpsc::Sender<Chunk>,
    done: Arc<Mutex<Done>>,
    /// Closed when the thread has ended.
    running: watch::Receiver<()>,
}

impl Writer {
    /// Begins.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (chunks, mut from) = mpsc::channel(WAITING_MAX);
        let (alive, running) = watch::channel(());
        let done = Arc::<Mutex<Done>>::default();
        let told = done.clone();
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            let _alive = alive;
            let mut pieces = Pieces { to, piece_bytes: PIECE_BYTES, quick_bytes: 0 };
            while let Some(chunk) = from.blocking_recv() {
                if let Err(error) = pieces.write(&chunk, &told) {
                    lock(&told).error = Some(error);
                    return;
                }
            }
        })?;
        Ok(Self { chunks, done, running })
    }

    /// Hands a chunk over, when there is room. Cancel safe: then it is still there.
    ///
    /// # Errors
    /// Why nothing more can be written.
    pub async fn hand_over(&self, chunk: &mut Option<Chunk>) -> io::Result<()> {
        if chunk.is_some() {
            match self.chunks.reserve().await {
                Ok(room) => {
                    if let Some(chunk) = chunk.take() {
                        room.send(chunk);
                    }
                }
                Err(_) => return Err(self.error()),
            }
        }
        Ok(())
    }

    /// The last record of each partition that was written since the last look.
    pub fn written(&self) -> BTreeMap<PartitionIndex, Place> {
        std::mem::take(&mut lock(&self.done).written)
    }

    /// Records written, in all.
    pub fn records(&self) -> u64 {
        lock(&self.done).records
    }

    /// Waits until nothing more can be written: the reader may go while there is nothing to
    /// write. Cancel safe.
    pub async fn failed(&mut self) -> io::Error {
        while self.running.changed().await.is_ok() {}
        self.error()
    }

    /// Waits until everything that was handed over is written. Nothing more can be. Cancel
    /// safe.
    ///
    /// # Errors
    /// Why not everything was.
    pub async fn drained(&mut self) -> io::Result<()> {
        // The thread ends when the last sender has gone.
        self.chunks = mpsc::channel(1).0;
        while self.running.changed().await.is_ok() {}
        match lock(&self.done).error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn error(&self) -> io::Error {
        let told = lock(&self.done).error.take();
        told.unwrap_or_else(|| io::Error::other("what writes it has ended"))
    }
}

fn lock(done: &Mutex<Done>) -> std::sync::MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes in pieces, the larger the quicker they are taken.
struct Pieces<W> {
    to: W,
    piece_bytes: usize,
    /// What went quickly in pieces of this size.
    quick_bytes: usize,
}

impl<W: Write> Pieces<W> {
    fn write(&mut self, chunk: &Chunk, done: &Mutex<Done>) -> io::Result<()> {
        let mut marks = chunk.marks.iter().peekable();
        let mut written = 0;
        while written < chunk.bytes.len() {
            let began = Instant::now();
            let end = chunk.bytes.len().min(written + self.piece_bytes);
            self.to.write_all(&chunk.bytes[written..end])?;
            self.to.flush()?;
            self.learn(end - written, began.elapsed());
            written = end;
            let mut done = lock(done);
            while let Some(mark) = marks.next_if(|mark| mark.end <= written) {
                done.wrote(mark);
            }
        }
        // Records of no bytes are written when those before them are.
        let mut done = lock(done);
        marks.for_each(|mark| done.wrote(mark));
        Ok(())
    }

    fn learn(&mut self, bytes: usize, took: Duration) {
        if took >= SLOW {
            (self.piece_bytes, self.quick_bytes) = (PIECE_BYTES, 0);
            return;
        }
        self.quick_bytes += bytes;
        if self.quick_bytes >= PIPE_BYTES {
            self.piece_bytes = (self.piece_bytes * 2).min(PIECE_BYTES_MAX);
            self.quick_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as std_mpsc;

    use weir_client::ConsumerRecord;

    use super::*;
    use crate::consume::{
        render::{Newline, Render},
        sink::Sink,
        template::tests::record,
    };

    /// A reader that takes a write only when it is told to.
    struct Reader {
        takes: std_mpsc::Receiver<io::Result<()>>,
        taken: std_mpsc::Sender<usize>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.takes.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
            self.taken.send(bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn nth(n: u64) -> ConsumerRecord {
        let mut record = record(None, Some(b"0123456"));
        record.offset = weir_protocol::ids::Offset(n);
        record
    }

    fn chunk(records: std::ops::Range<u64>) -> Option<Chunk> {
        let mut sink = Sink::new(Render::Raw, Newline::After);
        records.for_each(|n| assert!(!sink.take(&nth(n)).unwrap()));
        sink.chunk()
    }

    fn place(writer: &Writer) -> Option<u64> {
        writer.written().into_values().map(|place| place.offset.get()).max()
    }

    #[tokio::test]
    async fn only_what_the_reader_took_is_written() {
        let (take, takes) = std_mpsc::channel();
        let (taken_to, taken) = std_mpsc::channel();
        let mut writer = Writer::new(Reader { takes, taken: taken_to }).unwrap();
        writer.hand_over(&mut chunk(0..1_000)).await.unwrap();
        assert_eq!(place(&writer), None);
        // The third write is begun when what the first two wrote is known.
        (0..2).for_each(|_| take.send(Ok(())).unwrap());
        let first: usize = (0..2).map(|_| taken.recv().unwrap()).sum();
        take.send(Ok(())).unwrap();
        let third = taken.recv().unwrap();
        let known = place(&writer).unwrap();
        let ends = |bytes: usize| u64::try_from(bytes / 8).unwrap();
        assert!((ends(first) - 64..=ends(first + third)).contains(&known), "{known}");
        // It reads no more: that is told, once.
        take.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        assert_eq!(writer.drained().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(place(&writer).is_none_or(|place| place < 999));
    }

    #[tokio::test]
    async fn a_reader_that_goes_is_told_without_another_record() {
        let (take, takes) = std_mpsc::channel();
        let (taken_to, _taken) = std_mpsc::channel();
        let mut writer = Writer::new(Reader { takes, taken: taken_to }).unwrap();
        writer.hand_over(&mut chunk(0..10)).await.unwrap();
        take.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert_eq!(writer.failed().await.kind(), io::ErrorKind::StorageFull);
        assert_eq!(place(&writer), None);
    }

    #[tokio::test]
    async fn all_is_written_when_it_is_drained() {
        let mut writer = Writer::new(io::sink()).unwrap();
        for n in 0..100 {
            let mut chunk = chunk(n * 1_000..(n + 1) * 1_000);
            writer.hand_over(&mut chunk).await.unwrap();
            assert!(chunk.is_none());
        }
        writer.drained().await.unwrap();
        assert_eq!((place(&writer), writer.records()), (Some(99_999), 100_000));
    }

    #[test]
    fn pieces_grow_for_a_quick_reader_only() {
        let mut pieces = Pieces { to: io::sink(), piece_bytes: PIECE_BYTES, quick_bytes: 0 };
        // What a pipe takes at once says nothing of who reads it.
        for _ in 0..PIPE_BYTES / PIECE_BYTES - 1 {
            pieces.learn(PIECE_BYTES, Duration::ZERO);
        }
        assert_eq!(pieces.piece_bytes, PIECE_BYTES);
        for _ in 0..2_000 {
            pieces.learn(pieces.piece_bytes, Duration::ZERO);
        }
        assert_eq!(pieces.piece_bytes, PIECE_BYTES_MAX);
        pieces.learn(PIECE_BYTES_MAX, SLOW);
        assert_eq!(pieces.piece_bytes, PIECE_BYTES);
    }
}
