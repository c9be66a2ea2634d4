//! The token: who may look and act. A new one for each start, in a file of its user's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// 256 random bits, as hex digits.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// A new one.
    pub(crate) fn random() -> io::Result<Self> {
        Ok(Self(random_hex::<TOKEN_BYTES>()?))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this one. Takes the same time wherever they differ.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// `N` random bytes of the system's, as hex digits.
pub(crate) fn random_hex<const N: usize>() -> io::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")))
}

/// The file that a token is in, for as long as this is held.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    token: Token,
}

impl TokenFile {
    /// Writes the token into a file that only its user can read, whatever was there before.
    pub(crate) fn write(path: &Path, token: &Token) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_folder(folder)?;
        }
        // Written beside it and renamed: nobody reads half of it, and a link in its place is replaced,
        // not followed.
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", random_hex::<8>()?));
        let beside = PathBuf::from(beside);
        let written = write_new(&beside, token).and_then(|()| fs::rename(&beside, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        Ok(Self { path: path.to_owned(), token: token.clone() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    /// Removes it, unless another console has put its own token there.
    fn drop(&mut self) {
        let ours = fs::read(&self.path).is_ok_and(|bytes| self.token.is(bytes.trim_ascii_end()));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the token file cannot be removed");
        }
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn write_new(path: &Path, token: &Token) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{}", token.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_alone() {
        let token = Token::random().unwrap();
        assert_eq!(token.as_str().len(), 64);
        assert!(token.is(token.as_str().as_bytes()));
        let other = Token::random().unwrap();
        assert!(!token.is(other.as_str().as_bytes()));
        assert!(!token.is(&token.as_str().as_bytes()[..63]) && !token.is(b""));
        assert!(!token.is(format!("{}0", token.as_str()).as_bytes()));
        assert!(!format!("{token:?}").contains(token.as_str()), "it is in no log");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_user_s_own_and_goes_with_its_holder() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made").join("console.token");
        let token = Token::random().unwrap();
        let file = TokenFile::write(&path, &token).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), token.as_str());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let made = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o700);
        // One that others can read, from elsewhere, is replaced and not written through.
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let other = Token::random().unwrap();
        let second = TokenFile::write(&path, &other).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(path.exists(), "it is another's by now");
        drop(second);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "nothing is left");
    }
}
