//! The installation's key: secrets are encrypted with it, tokens are found by hashes keyed with it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// What went wrong with the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("cannot read the key file {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not 32 bytes in base64.
    #[error(
        "{origin} does not hold a key: 32 bytes in base64 are expected (make one with: head -c 32 /dev/urandom | base64)"
    )]
    Malformed {
        /// The file, or the variable.
        origin: String,
    },
    /// The database was made with another key.
    #[error(
        "the key ({given}) is not the one that this database was made with ({expected}); give that one with --key-file or SYSTOLE_KEY"
    )]
    Wrong {
        /// The id of the key given.
        given: String,
        /// The id of the key needed.
        expected: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// A stored secret cannot be decrypted.
    #[error("a stored secret cannot be decrypted: it was encrypted with another key, or damaged")]
    Sealed,
}

/// The key, ready for use.
pub struct Keys {
    id: String,
    cipher: XChaCha20Poly1305,
    token_key: [u8; 32],
    unsubscribe_key: [u8; 32],
    check: [u8; 32],
}

impl Keys {
    /// The given one, from the named file, or `<data_dir>/key`, which is made where it is missing.
    ///
    /// # Errors
    /// [`KeyError`], each in one line.
    pub fn load(
        given: Option<&[u8; 32]>,
        file: Option<&Path>,
        data_dir: &Path,
    ) -> Result<Keys, KeyError> {
        if let Some(secret) = given {
            return Ok(Keys::new(secret));
        }
        let path = file.map_or_else(|| data_dir.join("key"), Path::to_owned);
        let failed = |source| KeyError::File {
            path: path.display().to_string(),
            source,
        };
        if file.is_none() && !path.exists() {
            let secret = random::<32>()?;
            let mut made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            made.write_all(format!("{}\n", STANDARD.encode(secret)).as_bytes())
                .map_err(failed)?;
            made.sync_all().map_err(failed)?;
        }
        Keys::read(given, file, data_dir)
    }

    /// The same, but none is made where it is missing.
    ///
    /// # Errors
    /// [`KeyError`], each in one line.
    pub fn read(
        given: Option<&[u8; 32]>,
        file: Option<&Path>,
        data_dir: &Path,
    ) -> Result<Keys, KeyError> {
        if let Some(secret) = given {
            return Ok(Keys::new(secret));
        }
        let path = file.map_or_else(|| data_dir.join("key"), Path::to_owned);
        let text = std::fs::read_to_string(&path).map_err(|source| KeyError::File {
            path: path.display().to_string(),
            source,
        })?;
        Keys::from_text(&text, &path.display().to_string())
    }

    fn from_text(text: &str, origin: &str) -> Result<Keys, KeyError> {
        let malformed = || KeyError::Malformed {
            origin: origin.to_owned(),
        };
        let bytes = STANDARD.decode(text.trim()).map_err(|_| malformed())?;
        let secret: [u8; 32] = bytes.try_into().map_err(|_| malformed())?;
        Ok(Keys::new(&secret))
    }

    /// From the secret itself.
    pub fn new(secret: &[u8; 32]) -> Keys {
        let derive = |purpose: &str| blake3::derive_key(purpose, secret);
        let check = derive("systole 2026 check value");
        Keys {
            id: hex(&derive("systole 2026 key id")[..4]),
            cipher: XChaCha20Poly1305::new((&derive("systole 2026 secrets at rest")).into()),
            token_key: derive("systole 2026 token hashes"),
            unsubscribe_key: derive("systole 2026 unsubscribe links"),
            check,
        }
    }

    /// A short public name of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the database keeps to refuse a wrong key.
    pub const fn check(&self) -> &[u8; 32] {
        &self.check
    }

    /// Refuses a database of another key.
    ///
    /// # Errors
    /// [`KeyError::Wrong`].
    pub fn verify(&self, id: &str, check: &[u8]) -> Result<(), KeyError> {
        if constant_time_eq(&self.check, check) {
            return Ok(());
        }
        Err(KeyError::Wrong {
            given: self.id.clone(),
            expected: id.to_owned(),
        })
    }

    /// Encrypts a secret: key id, nonce, ciphertext. `purpose` binds it to its place, so that one cannot be moved to
    /// another.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        let nonce = random::<24>()?;
        let payload = Payload {
            msg: secret,
            aad: purpose.as_bytes(),
        };
        let ciphertext = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| KeyError::Sealed)?;
        let mut sealed = self.id.as_bytes().to_vec();
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Decrypts what [`Keys::seal`] made.
    ///
    /// # Errors
    /// [`KeyError::Sealed`].
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let rest = sealed
            .strip_prefix(self.id.as_bytes())
            .ok_or(KeyError::Sealed)?;
        let (nonce, ciphertext) = rest.split_at_checked(24).ok_or(KeyError::Sealed)?;
        let nonce: [u8; 24] = nonce.try_into().map_err(|_| KeyError::Sealed)?;
        let payload = Payload {
            msg: ciphertext,
            aad: purpose.as_bytes(),
        };
        self.cipher
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| KeyError::Sealed)
    }

    /// The keyed hash under which a token is found.
    pub fn hash(&self, token: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.token_key, token.as_bytes()).as_bytes()
    }

    /// What stands in the unsubscribe link of a channel: its number, and proof that the link is ours. It holds as long as the
    /// channel does, since letters are kept.
    pub fn unsubscribe_token(&self, channel: i64) -> String {
        let proof = blake3::keyed_hash(&self.unsubscribe_key, &channel.to_be_bytes());
        format!("{channel}-{}", URL_SAFE_NO_PAD.encode(proof.as_bytes()))
    }

    /// The channel whose unsubscribe link holds this.
    pub fn unsubscribed_channel(&self, token: &str) -> Option<i64> {
        let channel = token.split('-').next()?.parse().ok()?;
        let right = self.unsubscribe_token(channel);
        constant_time_eq(right.as_bytes(), token.as_bytes()).then_some(channel)
    }

    /// Its first 16 bytes: what memory keeps of ping tokens.
    pub fn short_hash(&self, token: &str) -> u128 {
        let hash = self.hash(token);
        hash[..16]
            .iter()
            .fold(0, |short, byte| short << 8 | u128::from(*byte))
    }
}

/// Random bytes.
///
/// # Errors
/// [`KeyError::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
    Ok(bytes)
}

/// A random text of 256 bits for URLs, with a prefix that says what it is.
///
/// # Errors
/// [`KeyError::Random`].
pub fn random_text(prefix: &str) -> Result<String, KeyError> {
    Ok(format!(
        "{prefix}{}",
        URL_SAFE_NO_PAD.encode(random::<32>()?)
    ))
}

/// A random UUID of version 4: a ping token.
///
/// # Errors
/// [`KeyError::Random`].
pub fn random_uuid() -> Result<uuid::Uuid, KeyError> {
    Ok(uuid::Builder::from_random_bytes(random::<16>()?).into_uuid())
}

/// Compares in a time that does not depend on where they differ.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_opened_only_with_its_key_and_at_its_place() {
        let keys = Keys::new(&[1; 32]);
        let sealed = keys.seal("channel", b"whsec").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"whsec"));
        assert_eq!(keys.open("channel", &sealed).unwrap(), b"whsec");
        assert!(keys.open("token", &sealed).is_err());
        assert!(Keys::new(&[2; 32]).open("channel", &sealed).is_err());
        assert!(keys.open("channel", &sealed[..20]).is_err());
    }

    #[test]
    fn a_wrong_key_is_refused_by_name() {
        let (right, wrong) = (Keys::new(&[1; 32]), Keys::new(&[2; 32]));
        assert!(right.verify(right.id(), right.check()).is_ok());
        let error = wrong
            .verify(right.id(), right.check())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(right.id()) && error.contains(wrong.id()),
            "{error}"
        );
    }

    #[test]
    fn an_unsubscribe_link_is_of_one_channel_and_one_installation() {
        let keys = Keys::new(&[1; 32]);
        let token = keys.unsubscribe_token(12);
        assert_eq!(keys.unsubscribed_channel(&token), Some(12));
        assert_eq!(Keys::new(&[2; 32]).unsubscribed_channel(&token), None);
        let (_, proof) = token.split_once('-').unwrap();
        for wrong in [
            format!("13-{proof}"),
            format!("012-{proof}"),
            format!("+12-{proof}"),
            format!("{token}A"),
            token[..token.len() - 1].to_owned(),
            "12".to_owned(),
            "12-".to_owned(),
            String::new(),
        ] {
            assert_eq!(keys.unsubscribed_channel(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::load(None, None, dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join("key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Keys::load(None, None, dir.path()).unwrap().id(), first.id());
        std::fs::write(dir.path().join("key"), "c2hvcnQ=").unwrap();
        assert!(matches!(
            Keys::load(None, None, dir.path()),
            Err(KeyError::Malformed { .. })
        ));
    }
}
