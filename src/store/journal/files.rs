//! The little of a file system that a journal needs, so that tests can play a disk that forgets or fails.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A folder.
pub trait Files: Send {
    /// A file that is written.
    type File: Handle;

    /// The names of what is there.
    fn list(&self) -> io::Result<Vec<String>>;

    /// All of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// An empty file of this name, in place of one that is there.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// A file that is there, to be written.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Takes a file away.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Takes files away that nobody reads any more, perhaps in a while: a long one takes many milliseconds. What stays, since
    /// that failed or the process ended, a start takes away.
    fn discard(&self, names: Vec<String>);

    /// Makes what was created and removed durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file that is written.
pub trait Handle: Send {
    /// Writes all of these bytes from this place on.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts off what is behind this place.
    fn cut(&mut self, at: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder on a disk.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// This folder, which is made if it is not there.
    pub fn make(path: &Path) -> io::Result<Folder> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            if let Some(parent) = path.canonicalize()?.parent() {
                sync_all(parent)?;
            }
        }
        Ok(Folder(path.to_owned()))
    }
}

impl Files for Folder {
    type File = fs::File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name))
    }

    fn create(&self, name: &str) -> io::Result<fs::File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(self.0.join(name))
    }

    fn open(&self, name: &str) -> io::Result<fs::File> {
        OpenOptions::new().write(true).open(self.0.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn discard(&self, names: Vec<String>) {
        let folder = self.clone();
        let work = move || remove_all(&folder, &names);
        let _ = std::thread::Builder::new().name("remover".into()).spawn(work);
    }

    fn sync(&self) -> io::Result<()> {
        sync_all(&self.0)
    }
}

impl Handle for fs::File {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn cut(&mut self, at: u64) -> io::Result<()> {
        self.set_len(at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Takes files away, as far as that can be done.
pub fn remove_all(files: &impl Files, names: &[String]) {
    for name in names {
        let _ = files.remove(name);
    }
    let _ = files.sync();
}

/// Makes a file or the names in a folder durable, whoever wrote them.
pub fn sync_all(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}
