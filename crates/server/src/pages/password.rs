//! Passwords: argon2id, off the threads that serve requests, a few at a time.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

/// Each takes 19 MiB and a core for some tens of milliseconds.
const AT_ONCE: usize = 2;

/// What an unknown address is compared with, so that it takes as long as a known one.
static NOBODY: LazyLock<Option<String>> =
    LazyLock::new(|| hash_now("nobody has this password").ok());

/// See the module.
pub(super) struct Passwords {
    slots: Semaphore,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords {
            slots: Semaphore::new(AT_ONCE),
        }
    }
}

/// A password could not be hashed: no random bytes, or no memory.
#[derive(Debug, thiserror::Error)]
#[error("cannot hash a password: {0}")]
pub(super) struct HashError(String);

impl Passwords {
    /// The hash to store, in PHC form.
    pub(super) async fn hash(&self, password: String) -> Result<String, HashError> {
        let _slot = self.slots.acquire().await;
        let hashed = tokio::task::spawn_blocking(move || hash_now(&password)).await;
        hashed.map_err(|error| HashError(error.to_string()))?
    }

    /// Whether it is the password of `hash`; takes as long where there is none.
    pub(super) async fn is(&self, password: String, hash: Option<String>) -> bool {
        let _slot = self.slots.acquire().await;
        let compared = tokio::task::spawn_blocking(move || {
            let known = hash.is_some();
            let Some(hash) = hash.or_else(|| NOBODY.clone()) else {
                return false;
            };
            let is_same = PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            });
            is_same && known
        });
        compared.await.unwrap_or(false)
    }
}

fn hash_now(password: &str) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| HashError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() {
        let passwords = Passwords::default();
        let hash = passwords
            .hash("correct horse battery".to_owned())
            .await
            .unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        for (password, hash, is_it) in [
            ("correct horse battery", Some(hash.clone()), true),
            ("correct horse", Some(hash), false),
            ("nobody has this password", None, false),
            ("x", Some("damaged".to_owned()), false),
        ] {
            assert_eq!(
                passwords.is(password.to_owned(), hash).await,
                is_it,
                "{password}"
            );
        }
    }
}
