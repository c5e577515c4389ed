//! Bearer tokens of clients, kept in files.
//!
//! A file holds one token a line; blank lines and lines that begin with `#` are skipped. Files are
//! looked at again at most once a second, so that a token can be added or withdrawn without a
//! restart.
//!
//! Invariant: comparing takes as long for a wrong token as for a right one of its length, and
//! without a readable token nobody is let in.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::Stamp;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A shorter one can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// Who may come in: clients with one of these tokens.
#[derive(Debug)]
pub struct Bearer {
    files: Vec<PathBuf>,
    current: RwLock<Current>,
}

struct Current {
    stamps: Vec<Stamp>,
    tokens: Arc<Vec<Vec<u8>>>,
}

impl std::fmt::Debug for Current {
    /// Tokens are told to nobody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl Bearer {
    /// Reads the tokens in `files`. Blocks for as long as the file system does.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn read(files: Vec<PathBuf>) -> Result<Self, String> {
        let stamps = files.iter().map(|path| Stamp::of(path)).collect();
        let tokens = Arc::new(read(&files)?);
        Ok(Self { files, current: RwLock::new(Current { stamps, tokens }) })
    }

    /// Whether a request with these headers may come in.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(offered) = headers.get(AUTHORIZATION).and_then(|value| token(value.as_bytes()))
        else {
            return false;
        };
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let tokens = Arc::clone(&current.tokens);
        drop(current);
        // All are looked at, so that the time does not tell which one it was.
        tokens.iter().fold(false, |found, known| found | bool::from(known.ct_eq(offered)))
    }

    /// Looks at the files again and again, for as long as anybody asks `bearer`.
    pub async fn keep_fresh(bearer: Weak<Self>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let Some(bearer) = bearer.upgrade() else { return };
            // A thread that panicked has changed nothing.
            let _ = spawn_blocking(move || bearer.renew()).await;
        }
    }

    fn renew(&self) {
        let stamps: Vec<_> = self.files.iter().map(|path| Stamp::of(path)).collect();
        if stamps == self.current.read().unwrap_or_else(PoisonError::into_inner).stamps {
            return;
        }
        // Nobody who is asked for a token waits for the disk.
        let read = read(&self.files);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.stamps = stamps;
        match read {
            Ok(tokens) => {
                info!(tokens = tokens.len(), "read the tokens of clients again");
                current.tokens = Arc::new(tokens);
            }
            Err(why) => warn!(why, "the last tokens of clients stay in force"),
        }
    }
}

/// The token in the value of an `Authorization` header.
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let mut tokens = Vec::new();
    for path in files {
        let wrong = |why: String| format!("read tokens from {}: {why}", path.display());
        let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let before = tokens.len();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
            if line.len() < TOKEN_BYTES_MIN {
                let text = format!("a token has fewer than {TOKEN_BYTES_MIN} characters");
                return Err(wrong(text));
            }
            tokens.push(line.to_vec());
        }
        if tokens.len() == before {
            return Err(wrong("there is none in it".to_owned()));
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, http::HeaderValue::from_static(value))])
    }

    #[test]
    fn a_token_of_any_file_is_admitted_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "# of the shop\nfirst-token-of-shop\n\n").expect("written");
        fs::write(&two, "second-token-of-it").expect("written");
        let bearer = Bearer::read(vec![one, two.clone()]).expect("two tokens");
        assert!(bearer.admits(&asking("Bearer first-token-of-shop")));
        assert!(bearer.admits(&asking("bearer second-token-of-it")));
        for wrong in ["Bearer first-token-of-sho", "Basic first-token-of-shop", "Bearer", "Bearer "]
        {
            assert!(!bearer.admits(&asking(wrong)), "{wrong}");
        }
        assert!(!bearer.admits(&HeaderMap::new()));
        fs::write(&two, "another-token-of-it").expect("written");
        bearer.renew();
        assert!(bearer.admits(&asking("Bearer another-token-of-it")));
        assert!(!bearer.admits(&asking("Bearer second-token-of-it")));
        fs::write(&two, "").expect("written");
        bearer.renew();
        assert!(bearer.admits(&asking("Bearer another-token-of-it")), "the last ones stay");
    }

    #[test]
    fn a_file_without_a_good_token_is_told_by_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tokens");
        for (text, why) in [("# none\n", "there is none in it"), ("short", "fewer than 16")] {
            fs::write(&path, text).expect("written");
            let wrong = Bearer::read(vec![path.clone()]).expect_err("no good token");
            assert!(wrong.contains(why) && wrong.contains("tokens"), "{wrong}");
        }
    }
}
