//! A filesystem whose power can be cut: ext4 in a file, shut down in the middle of the work.
//!
//! `kill -9` leaves the kernel its cache, so it cannot show that a sync was forgotten. Here what
//! was not synced never reaches the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// EXT4_IOC_SHUTDOWN without flushing the journal.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

#[derive(Debug)]
pub struct Filesystem {
    image: PathBuf,
    path: PathBuf,
}

impl Filesystem {
    /// A new one at `path`, kept in `image`; `None` without the permission to mount it.
    pub fn mount(image: PathBuf, path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).expect("it can be made");
        let file = fs::File::create(&image).expect("it can be made");
        file.set_len(128 << 20).expect("it is sparse");
        let filesystem = Self { image, path };
        let made = works(Command::new("mkfs.ext4").arg("-q").arg(&filesystem.image));
        (made && filesystem.on()).then_some(filesystem)
    }

    pub fn on(&self) -> bool {
        works(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.path))
    }

    /// From here on nothing reaches the image, and every write fails.
    pub fn cut(&self) {
        assert!(
            works(Command::new("python3").args(["-c", CUT]).arg(&self.path)),
            "the power is cut"
        );
    }

    pub fn off(&self) {
        assert!(unmount(&self.path), "{} is unmounted", self.path.display());
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        if !unmount(&self.path) {
            works(Command::new("umount").arg("-l").arg(&self.path));
        }
    }
}

fn unmount(path: &Path) -> bool {
    // Not lazily: what is mounted again must not be the old one.
    (0..100).any(|_| {
        let done = works(Command::new("umount").arg(path));
        if !done {
            std::thread::sleep(Duration::from_millis(20));
        }
        done
    })
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|ended| ended.status.success())
}
