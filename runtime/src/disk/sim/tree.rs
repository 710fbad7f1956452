//! The folders of one disk: the names that are seen, the names that are durable, and the
//! journal of changes between the two (see `journal` for what a crash leaves of it).

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::inode::Inode;
use crate::disk::{DirEntry, OpenMode, path};

/// A file, shared by names, journal and open handles.
pub(super) type FileRef = Arc<Mutex<Inode>>;

pub(super) type FolderId = u64;

pub(super) const ROOT: FolderId = 0;

/// Everything runs on one thread, so this never waits.
pub(super) fn inode(file: &FileRef) -> MutexGuard<'_, Inode> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Debug)]
pub(super) enum Entry {
    File(FileRef),
    Folder(FolderId),
}

pub(super) type Names = BTreeMap<String, Entry>;

#[derive(Debug, Default)]
pub(super) struct Folder {
    pub live: Names,
    pub durable: Names,
}

/// One name set or, without an entry, removed.
#[derive(Debug)]
pub(super) struct Change {
    pub folder: FolderId,
    pub name: String,
    pub entry: Option<Entry>,
}

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) folders: BTreeMap<FolderId, Folder>,
    /// Changes that are not durable yet, oldest first. Each is one atomic step.
    pub(super) journal: Vec<Vec<Change>>,
    next_id: u64,
    pub(super) used_bytes: u64,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            folders: BTreeMap::from([(ROOT, Folder::default())]),
            journal: Vec::new(),
            next_id: ROOT + 1,
            used_bytes: 0,
        }
    }

    /// Bytes that files take: those with a name and those still open.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// To be called after anything that changes a file's size, name or number of handles.
    pub(super) fn settle(&mut self, inode: &mut Inode) {
        let now = if inode.linked || inode.open > 0 { inode.allocated() } else { 0 };
        self.used_bytes = (self.used_bytes + now).saturating_sub(inode.counted);
        inode.counted = now;
    }

    fn live(&self, folder: FolderId) -> io::Result<&Names> {
        self.folders.get(&folder).map(|f| &f.live).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn folder(&self, path: &str) -> io::Result<FolderId> {
        let mut at = ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = match self.live(at)?.get(part) {
                Some(Entry::Folder(id)) => *id,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(at)
    }

    /// The folder that holds a path, the name in it, and what stands there.
    fn place<'p>(&self, path: &'p str) -> io::Result<(FolderId, &'p str, Option<Entry>)> {
        let (parent, name) = path::split(path);
        let folder = self.folder(parent)?;
        let entry = self.live(folder)?.get(name).cloned();
        Ok((folder, name, entry))
    }

    /// Does one atomic step, and journals it.
    fn apply(&mut self, changes: Vec<Change>) {
        for change in &changes {
            let Some(folder) = self.folders.get_mut(&change.folder) else { continue };
            let replaced = set(&mut folder.live, change);
            if let Some(Entry::File(file)) = replaced {
                let mut gone = inode(&file);
                gone.linked = false;
                self.settle(&mut gone);
            }
            if let Some(Entry::File(file)) = &change.entry {
                let mut placed = inode(file);
                placed.linked = true;
                self.settle(&mut placed);
            }
        }
        self.journal.push(changes);
    }

    fn apply_one(&mut self, folder: FolderId, name: &str, entry: Option<Entry>) {
        self.apply(vec![Change { folder, name: name.to_owned(), entry }]);
    }

    pub(super) fn open(&mut self, path: &str, mode: OpenMode) -> io::Result<FileRef> {
        let (folder, name, entry) = self.place(path)?;
        match (entry, mode) {
            (Some(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Entry::Folder(_)), _) => Err(io::ErrorKind::IsADirectory.into()),
            (Some(Entry::File(file)), _) => Ok(file),
            (None, OpenMode::Read | OpenMode::Write) => Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::CreateNew | OpenMode::CreateOrOpen) => {
                let file = Arc::new(Mutex::new(Inode::new(self.id())));
                self.apply_one(folder, name, Some(Entry::File(Arc::clone(&file))));
                Ok(file)
            }
        }
    }

    fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(super) fn create_dir_all(&mut self, path: &str) -> io::Result<()> {
        let mut at = ROOT;
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            at = match self.live(at)?.get(part) {
                Some(Entry::Folder(id)) => *id,
                Some(Entry::File(_)) if parts.peek().is_none() => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let id = self.id();
                    self.folders.insert(id, Folder::default());
                    self.apply_one(at, part, Some(Entry::Folder(id)));
                    id
                }
            };
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (source, source_name, moved) = self.place(from)?;
        let moved = moved.ok_or(io::ErrorKind::NotFound)?;
        let (target, target_name, replaced) = self.place(to)?;
        if (source, source_name) == (target, target_name) {
            return Ok(());
        }
        if matches!(moved, Entry::Folder(_)) && to.starts_with(&format!("{from}/")) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match (&moved, &replaced) {
            (_, None) | (Entry::File(_), Some(Entry::File(_))) => {}
            (Entry::File(_), Some(Entry::Folder(_))) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Entry::Folder(_), Some(Entry::File(_))) => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            (Entry::Folder(_), Some(Entry::Folder(id))) => {
                if !self.live(*id)?.is_empty() {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
        }
        self.apply(vec![
            Change { folder: source, name: source_name.to_owned(), entry: None },
            Change { folder: target, name: target_name.to_owned(), entry: Some(moved) },
        ]);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &str) -> io::Result<()> {
        let (folder, name, entry) = self.place(path)?;
        match entry {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Entry::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::File(_)) => {
                self.apply_one(folder, name, None);
                Ok(())
            }
        }
    }

    /// Removes name by name, as the real thing does: a crash can leave a part.
    pub(super) fn remove_dir_all(&mut self, path: &str) -> io::Result<()> {
        let (folder, name, entry) = match self.place(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            place => place?,
        };
        match entry {
            None => return Ok(()),
            Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(Entry::Folder(id)) => self.clear(id)?,
        }
        self.apply_one(folder, name, None);
        Ok(())
    }

    fn clear(&mut self, folder: FolderId) -> io::Result<()> {
        for (name, entry) in self.live(folder)?.clone() {
            if let Entry::Folder(id) = entry {
                self.clear(id)?;
            }
            self.apply_one(folder, &name, None);
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let names = self.live(self.folder(path)?)?;
        let entry = |(name, entry): (&String, &Entry)| DirEntry {
            name: name.clone(),
            is_dir: matches!(entry, Entry::Folder(_)),
            bytes: match entry {
                Entry::File(file) => inode(file).len() as u64,
                Entry::Folder(_) => 0,
            },
        };
        Ok(names.iter().map(entry).collect())
    }

    /// Paths of all files, sorted.
    pub(super) fn files(&self) -> Vec<String> {
        let (mut found, mut todo) = (Vec::new(), vec![(ROOT, String::new())]);
        while let Some((id, prefix)) = todo.pop() {
            for (name, entry) in self.live(id).into_iter().flatten() {
                match entry {
                    Entry::File(_) => found.push(format!("{prefix}{name}")),
                    Entry::Folder(id) => todo.push((*id, format!("{prefix}{name}/"))),
                }
            }
        }
        found.sort_unstable();
        found
    }

    pub(super) fn file(&self, path: &str) -> Option<FileRef> {
        match self.place(path).ok()?.2? {
            Entry::File(file) => Some(file),
            Entry::Folder(_) => None,
        }
    }
}

/// Does one change; gives what stood there.
pub(super) fn set(names: &mut Names, change: &Change) -> Option<Entry> {
    match &change.entry {
        Some(entry) => names.insert(change.name.clone(), entry.clone()),
        None => names.remove(&change.name),
    }
}
