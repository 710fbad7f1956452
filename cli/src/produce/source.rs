//! Where lines come from: a file or standard input, read on a thread of its own.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd as _,
    path::Path,
};

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_client::ProducerConfig;
use weir_runtime::task;

use super::lines::{Lines, ReadError};
use crate::error::{self, CliError, Result, system};

/// Blocks of lines that may wait for the producer: bounds what is read ahead.
const AHEAD: usize = 4;

/// What the reader sends.
pub type Block = Result<Vec<Bytes>, CliError>;

/// Begins to read. The channel ends with the input, or after the first error.
///
/// # Errors
/// When the file cannot be opened.
pub fn begin(file: Option<&Path>, max_line_bytes: usize) -> Result<mpsc::Receiver<Block>> {
    Ok(match file {
        Some(path) => read(open(path)?, path.display().to_string(), max_line_bytes),
        None => read(io::stdin(), "standard input".to_owned(), max_line_bytes),
    })
}

/// Whether standard input is a regular file (`weir produce t < file`), which has an end.
pub fn stdin_is_file() -> bool {
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    stdin.and_then(|file| file.metadata()).is_ok_and(|about| about.is_file())
}

/// Begins to read any input; `name` is for messages.
pub fn read(
    input: impl Read + Send + 'static,
    name: String,
    max_line_bytes: usize,
) -> mpsc::Receiver<Block> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    // Not awaited: it ends by itself once the receiver is gone, and a read of a terminal
    // that nobody types on cannot be interrupted. The process does not wait for it.
    drop(task::spawn(task::blocking(move || {
        let mut lines = Lines::new(input, max_line_bytes);
        loop {
            let block = match lines.next_lines() {
                Ok(None) => return Ok(()),
                Ok(Some(lines)) => Ok(lines),
                Err(error) => Err(explain(&name, &error)),
            };
            if sender.blocking_send(block).is_err() {
                return Ok(());
            }
        }
    })));
    receiver
}

/// Begins to read the whole input as one piece.
///
/// # Errors
/// When the file cannot be opened.
pub fn begin_whole(file: Option<&Path>, max_bytes: usize) -> Result<mpsc::Receiver<Block>> {
    let (input, name): (Box<dyn Read + Send>, String) = match file {
        Some(path) => (Box::new(open(path)?), path.display().to_string()),
        None => (Box::new(io::stdin()), "standard input".to_owned()),
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    // As in `read`: not awaited.
    drop(task::spawn(task::blocking(move || {
        let _ = sender.blocking_send(whole(input, &name, max_bytes).map(|piece| vec![piece]));
        Ok::<(), io::Error>(())
    })));
    Ok(receiver)
}

fn whole(input: impl Read, name: &str, max_bytes: usize) -> Result<Bytes> {
    let mut bytes = Vec::new();
    // One more than fits: what is too long is told, not cut.
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    input.take(limit).read_to_end(&mut bytes).map_err(|e| {
        CliError::new(format!("cannot read {name}: {}", system(&e)), "nothing was sent")
    })?;
    if bytes.len() > max_bytes {
        return Err(CliError::new(
            format!("{name} is longer than {max_bytes} bytes; nothing was sent"),
            too_long_hint(max_bytes),
        ));
    }
    Ok(bytes.into())
}

/// Opens a file to read lines from.
///
/// # Errors
/// When there is none, or it is a folder, or it may not be read.
pub fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|e| error::io("read", path, &e))?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        let what = format!("cannot read {}: it is a folder", path.display());
        return Err(CliError::new(what, "name a file"));
    }
    Ok(file)
}

fn explain(name: &str, error: &ReadError) -> CliError {
    match error {
        ReadError::TooLong(error) => CliError::new(
            format!("{name}: {error}; the lines before it were sent"),
            too_long_hint(error.limit_bytes),
        ),
        ReadError::Io(error) => CliError::new(
            format!("cannot read {name}: {}", system(error)),
            "the lines read before were sent",
        ),
    }
}

/// Raising the limit for lines helps only below the one for batches.
fn too_long_hint(limit_bytes: usize) -> String {
    let batch_bytes_max = ProducerConfig::default().batch_bytes_max;
    if limit_bytes < batch_bytes_max {
        "split it, or raise --max-line-bytes".to_owned()
    } else {
        format!("split it: a record must fit in one batch, which has {batch_bytes_max} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_comes_as_blocks_of_lines() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("input");
        std::fs::write(&path, "a\n\nb").unwrap();
        let mut blocks = begin(Some(&path), 100).unwrap();
        let mut lines = Vec::new();
        while let Some(block) = blocks.recv().await {
            lines.extend(block.unwrap());
        }
        assert_eq!(lines, ["a", "", "b"]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        let base = tempfile::tempdir().unwrap();
        let error = begin(Some(&base.path().join("absent")), 100).unwrap_err();
        assert!(error.to_string().ends_with("no such file or directory"), "{error}");
        assert!(begin(Some(base.path()), 100).unwrap_err().to_string().ends_with("a folder"));
        let path = base.path().join("long");
        std::fs::write(&path, "ok\ntoo long\n").unwrap();
        let mut blocks = begin(Some(&path), 3).unwrap();
        assert_eq!(blocks.recv().await.unwrap().unwrap(), ["ok"]);
        let error = blocks.recv().await.unwrap().unwrap_err().to_string();
        assert!(error.contains("line 2 is longer than 3 bytes"), "{error}");
        assert!(blocks.recv().await.is_none());
    }

    #[test]
    fn a_whole_input_is_one_piece_or_too_long() {
        assert_eq!(whole(&b"a\nb\n"[..], "x", 4).unwrap(), "a\nb\n");
        assert!(whole(&b"a\nb\n"[..], "x", 3).unwrap_err().to_string().contains("longer than 3"));
    }

    #[test]
    fn a_larger_limit_for_lines_is_named_only_where_it_helps() {
        assert!(too_long_hint(10).contains("--max-line-bytes"));
        assert!(!too_long_hint(1 << 20).contains("--max-line-bytes"));
    }
}
