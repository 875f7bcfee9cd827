//! The digest of a file: the function that runs three ways.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    pub(crate) bytes: u64,
    /// Runs of bytes that are not ASCII white space, as `wc -w` counts them.
    pub(crate) words: u64,
    pub(crate) sha256: [u8; 32],
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {} words, sha256 ", self.bytes, self.words)?;
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A file's digest, or the error of reading it, as text so that it can be compared.
pub(crate) type Outcome = Result<Digest, String>;

/// Reads and digests one file.
pub(crate) fn digest(path: OsString) -> Outcome {
    read(path).map_err(|error| error.to_string())
}

fn read(path: OsString) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    // On the heap: a coroutine's stack is small.
    let mut buffer = vec![0; 64 * 1024];
    let mut sha = Sha256::new();
    let (mut bytes, mut words, mut in_word) = (0, 0, false);
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = &buffer[..count];
        sha.update(part);
        bytes += count as u64;
        for byte in part {
            let was_in_word = in_word;
            in_word = !byte.is_ascii_whitespace();
            words += u64::from(in_word && !was_in_word);
        }
    }
    Ok(Digest { bytes, words, sha256: sha.finalize().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_are_counted_across_the_buffers_edge() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "word ".repeat(40_000);
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let found = digest(file.path().as_os_str().to_owned()).unwrap();
        assert_eq!((found.bytes, found.words), (200_000, 40_000));
    }

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = digest(file.path().as_os_str().to_owned()).unwrap();
        assert!(
            found.to_string().ends_with(
                "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            )
        );
        assert_eq!((found.bytes, found.words), (0, 0));
    }

    #[test]
    fn a_missing_file_is_an_error_with_a_text() {
        let outcome = digest("/nonexistent/file".into());
        assert_eq!(outcome, Err("No such file or directory (os error 2)".into()));
    }
}
