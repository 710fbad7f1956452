//! The text that the quickstart writes: a file of the user's, or one that is there anyway.

use std::{
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::{
    error::{self, CliError, Result},
    produce::source,
};

/// Word lists that many machines have: a hundred thousand short lines.
const DICTIONARIES: [&str; 2] = ["/usr/share/dict/words", "/usr/share/dict/american-english"];
/// What every weir has.
const LICENSE: &str = include_str!("../../../LICENSE");

/// Something to read twice: once to send it, once to compare.
pub trait Input: Read + Seek + Send {}
impl<T: Read + Seek + Send> Input for T {}

/// The text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A file.
    File(PathBuf),
    /// Weir's own license.
    License,
}

impl Text {
    /// The file that was asked for, else a word list, else the license.
    pub fn choose(asked: Option<PathBuf>) -> Self {
        let dictionary = || DICTIONARIES.iter().map(PathBuf::from).find(|path| path.is_file());
        asked.or_else(dictionary).map_or(Self::License, Self::File)
    }

    /// What to call it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::License => "weir's license".to_owned(),
        }
    }

    /// Opens it, from its beginning.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(&self) -> Result<Box<dyn Input>> {
        Ok(match self {
            Self::File(path) => {
                let file: File = source::open(path)?;
                if file.metadata().is_ok_and(|about| !about.is_file()) {
                    return Err(CliError::new(
                        format!("{} is no regular file", path.display()),
                        "name a file: it is read twice, once to send it and once to compare",
                    ));
                }
                Box::new(file)
            }
            Self::License => Box::new(Cursor::new(LICENSE.as_bytes())),
        })
    }

    /// Whether its last line ends with a newline.
    ///
    /// # Errors
    /// When it cannot be read, or is empty.
    pub fn ends_with_newline(&self) -> Result<bool> {
        let mut input = self.open()?;
        let mut last = [0_u8];
        let read = match input.seek(SeekFrom::End(0)) {
            Ok(0) => {
                return Err(CliError::new(
                    format!("{} is empty", self.name()),
                    "name a file with at least one line",
                ));
            }
            Ok(_) => input.seek(SeekFrom::End(-1)).and_then(|_| input.read_exact(&mut last)),
            Err(error) => Err(error),
        };
        read.map_err(|e| error::io("read", Path::new(&self.name()), &e))?;
        Ok(last == *b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_text() {
        let mut text = String::new();
        Text::License.open().unwrap().read_to_string(&mut text).unwrap();
        assert!(text.lines().count() > 100);
        assert!(Text::License.ends_with_newline().unwrap());
        assert!(Text::choose(None).open().is_ok());
    }

    #[test]
    fn files_are_looked_at_before_anything_starts() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("f");
        let text = Text::choose(Some(path.clone()));
        assert!(text.ends_with_newline().is_err());
        std::fs::write(&path, "").unwrap();
        assert!(text.ends_with_newline().unwrap_err().to_string().ends_with("is empty"));
        std::fs::write(&path, "a\nb").unwrap();
        assert!(!text.ends_with_newline().unwrap());
        assert!(Text::File(base.path().to_owned()).open().is_err());
    }
}
