//! What the operating system lends to a test: a compiler, mounted file systems.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::session::TestError;

/// Runs a tool to its end.
///
/// # Errors
/// It is not there, or fails; with what it said.
pub fn run(program: &str, args: &[&str]) -> Result<(), TestError> {
    let what = format!("{program} {}", args.join(" "));
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            Err(TestError::Tool { what, said: format!("{}: {said}", output.status) })
        }
        Err(error) => Err(TestError::Tool { what, said: error.to_string() }),
    }
}

/// Compiles one C file into `folder`.
///
/// # Errors
/// There is no compiler, or it refuses.
pub fn compile(
    folder: &Path,
    name: &str,
    source: &str,
    options: &[&str],
) -> Result<PathBuf, TestError> {
    let file = folder.join(format!("{name}.c"));
    std::fs::write(&file, source).map_err(TestError::io("cannot write a C file"))?;
    let made = folder.join(name);
    let mut args = vec!["-O1", "-Wall"];
    let (out, from) = (made.to_string_lossy(), file.to_string_lossy());
    args.extend(["-o", &*out, &*from]);
    args.extend(options);
    run("cc", &args)?;
    Ok(made)
}

/// A file system of a test. Unmounted when it is dropped, also by a panic.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    in_place: bool,
    image: Option<PathBuf>,
}

impl Mounted {
    /// A new ext4 in an image file of `folder`, on a loop device.
    ///
    /// # Errors
    /// No loop device, no `mkfs.ext4`, no right to mount.
    pub fn ext4(folder: &Path, mebibytes: u64) -> Result<Self, TestError> {
        let image = folder.join("disk.img");
        let file = std::fs::File::create(&image).map_err(TestError::io("cannot make an image"))?;
        file.set_len(mebibytes << 20).map_err(TestError::io("cannot size an image"))?;
        run("mkfs.ext4", &["-q", "-F", &image.to_string_lossy()])?;
        let mut mounted = Self::at(folder, Some(image))?;
        mounted.mount()?;
        Ok(mounted)
    }

    /// A new tmpfs of so many bytes.
    ///
    /// # Errors
    /// No right to mount.
    pub fn tmpfs(folder: &Path, bytes: u64) -> Result<Self, TestError> {
        let mut mounted = Self::at(folder, None)?;
        let at = mounted.at.to_string_lossy().into_owned();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "tmpfs", &at])?;
        mounted.in_place = true;
        Ok(mounted)
    }

    fn at(folder: &Path, image: Option<PathBuf>) -> Result<Self, TestError> {
        let at = folder.join("mounted");
        std::fs::create_dir(&at).map_err(TestError::io("cannot make a folder"))?;
        Ok(Self { at, in_place: false, image })
    }

    /// Gives a tmpfs another size.
    ///
    /// # Errors
    /// It is refused.
    pub fn resize(&self, bytes: u64) -> Result<(), TestError> {
        run("mount", &["-o", &format!("remount,size={bytes}"), &self.at.to_string_lossy()])
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Mounts it again.
    ///
    /// # Errors
    /// It is refused.
    pub fn mount(&mut self) -> Result<(), TestError> {
        if let Some(image) = &self.image {
            run("mount", &["-o", "loop", &image.to_string_lossy(), &self.at.to_string_lossy()])?;
            self.in_place = true;
        }
        Ok(())
    }

    /// Unmounts it, and lets go of the loop device.
    ///
    /// # Errors
    /// It is in use.
    pub fn unmount(&mut self) -> Result<(), TestError> {
        run("umount", &[&self.at.to_string_lossy()])?;
        self.in_place = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.in_place && self.unmount().is_err() {
            // Somebody has a file of it open: it goes when they do.
            drop(run("umount", &["-l", &self.at.to_string_lossy()]));
        }
    }
}
