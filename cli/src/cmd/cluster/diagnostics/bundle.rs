//! The file: a `tar` archive in `gzip`, for its owner only.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use super::redact::Redactor;
use crate::{
    error::{self, CliError, Result},
    home::files,
};

/// What is gathered, redacted as it comes in.
pub struct Bundle {
    redactor: Redactor,
    entries: Vec<(Entry, Vec<u8>)>,
    /// How many secrets were taken out.
    pub redacted: usize,
    /// What is not in it, and why.
    pub left_out: Vec<String>,
}

/// A file in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its path.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

impl Bundle {
    /// An empty one.
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor, entries: Vec::new(), redacted: 0, left_out: Vec::new() }
    }

    /// Takes a text in, without its secrets.
    pub fn text(&mut self, name: impl Into<String>, text: &str) {
        let (text, count) = self.redactor.text(text);
        self.redacted += count;
        let entry = Entry { name: name.into(), bytes: text.len() as u64 };
        self.entries.push((entry, text.into_bytes()));
    }

    /// The same of a value, as JSON.
    pub fn json<T: Serialize + ?Sized>(&mut self, name: impl Into<String>, value: &T) {
        let text = serde_json::to_string_pretty(value);
        let text = text.unwrap_or_else(|error| format!("it cannot be written as JSON: {error}"));
        self.text(name, &(text + "\n"));
    }

    /// What is missing and why, without its secrets.
    pub fn without(&mut self, what: &str, why: &str) {
        let (told, count) = self.redactor.text(&format!("{what}: {why}"));
        self.redacted += count;
        self.left_out.push(told);
    }

    /// What is in it.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.iter().map(|(entry, _)| entry.clone()).collect()
    }

    /// Writes the file; all of it lies below `folder`. Returns its length.
    ///
    /// # Errors
    /// When it cannot be written, or is there and must not be replaced.
    pub fn write(&self, path: &Path, folder: &str, modified_s: u64, force: bool) -> Result<u64> {
        let bytes = self.archive(folder, modified_s).map_err(|e| error::io("write", path, &e))?;
        let written = match force {
            true => files::replace(path, &bytes, 0o600),
            false => create(path, &bytes),
        };
        match written {
            Ok(()) => Ok(bytes.len() as u64),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(CliError::new(
                format!("{} is there already", path.display()),
                "choose another --file, or replace it with --force",
            )),
            Err(error) => Err(error::io("write", path, &error)),
        }
    }

    fn archive(&self, folder: &str, modified_s: u64) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (entry, bytes) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(entry.bytes);
            header.set_mode(0o600);
            header.set_mtime(modified_s);
            archive.append_data(
                &mut header,
                format!("{folder}/{}", entry.name),
                bytes.as_slice(),
            )?;
        }
        archive.into_inner()?.finish()
    }
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half of one helps nobody.
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_bundle_is_private_redacted_and_never_replaces_another() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("b.tar.gz");
        let mut bundle = Bundle::new(Redactor::new(vec!["s3cret-word".into()]).unwrap());
        bundle.text("logs/a.log", "one\ns3cret-word\n");
        bundle.json("x.json", &serde_json::json!({ "token": "t0k" }));
        bundle.without("y", "s3cret-word is away");
        assert_eq!(bundle.redacted, 3);
        assert_eq!(bundle.left_out, ["y: [redacted] is away"]);
        bundle.write(&path, "b", 1, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = bundle.write(&path, "b", 1, false).unwrap_err();
        assert!(error.to_string().contains("is there already"), "{error}");
        bundle.write(&path, "b", 1, true).unwrap();

        let file = flate2::read::GzDecoder::new(fs::File::open(&path).unwrap());
        let mut names = Vec::new();
        for entry in tar::Archive::new(file).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert!(!text.contains("s3cret") && !text.contains("t0k"), "{text}");
            names.push(entry.path().unwrap().display().to_string());
        }
        assert_eq!(names, ["b/logs/a.log", "b/x.json"]);
    }
}
