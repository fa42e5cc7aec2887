//! Signatures as Standard Webhooks has them: made for every webhook we send, checked by whoever receives one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use systole_core::time::{Span, Time};

/// The header that holds the delivery's id.
pub const ID: &str = "webhook-id";
/// The header that holds the time of the attempt, in seconds since the epoch.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header that holds the signatures, separated by spaces.
pub const SIGNATURE: &str = "webhook-signature";

/// How far a receiver lets the timestamp be from its own clock.
pub const TOLERANCE: Span = Span::from_seconds(300);

const PREFIX: &str = "whsec_";
/// The longest secret that the standard has; also SHA-256's block, which [`Secret::mac`] relies on.
const KEY_MOST: usize = 64;

/// A signing secret. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads `whsec_` and base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// A sentence that does not repeat the secret.
    pub fn parse(text: &str) -> Result<Secret, String> {
        let advice =
            "it is whsec_ and the base64 of 24 to 64 random bytes; leave it out to have one made";
        let encoded = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| format!("it does not begin with whsec_: {advice}"))?;
        let bytes = STANDARD_NO_PAD
            .decode(encoded.trim_end_matches('='))
            .map_err(|_| format!("what follows whsec_ is not base64: {advice}"))?;
        if !(24..=KEY_MOST).contains(&bytes.len()) {
            return Err(format!("it holds {} bytes: {advice}", bytes.len()));
        }
        Ok(Secret(bytes))
    }

    /// The text form of secret bytes.
    pub fn encode(bytes: &[u8]) -> String {
        format!("{PREFIX}{}", STANDARD.encode(bytes))
    }

    /// The value of [`SIGNATURE`]: `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        format!(
            "v1,{}",
            STANDARD.encode(self.mac(id, &timestamp.to_string(), body))
        )
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
        // A key of at most a block, padded with zeros to a block, is what HMAC makes of it anyway.
        let mut key = [0; KEY_MOST];
        key[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Why a received webhook is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is absent, or not text.
    #[error("the header {0} is missing or unreadable")]
    Missing(&'static str),
    /// The timestamp is not a number of seconds.
    #[error("the header webhook-timestamp is not a number of seconds since 1970")]
    Timestamp,
    /// It was signed too long ago: perhaps a replay.
    #[error("the webhook was signed {0} ago, which is too long; compare the two clocks")]
    TooOld(Span),
    /// It was signed in the future.
    #[error("the webhook was signed {0} in the future; compare the two clocks")]
    TooNew(Span),
    /// No signature fits.
    #[error("no signature of version v1 fits the secret and the body")]
    Mismatch,
}

/// Checks a received webhook: present headers, a timestamp within `tolerance` of `now`, a signature that fits. The comparison
/// takes the same time whatever the signature holds.
///
/// # Errors
/// [`VerifyError`] says which of the three it was.
pub fn verify(
    secret: &Secret,
    headers: &http::HeaderMap,
    body: &[u8],
    now: Time,
    tolerance: Span,
) -> Result<(), VerifyError> {
    let text = |name: &'static str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or(VerifyError::Missing(name))
    };
    let (id, timestamp, signatures) = (text(ID)?, text(TIMESTAMP)?, text(SIGNATURE)?);
    let signed_at = Time::from_seconds(timestamp.parse().map_err(|_| VerifyError::Timestamp)?);
    if now.since(signed_at) > tolerance {
        return Err(VerifyError::TooOld(now.since(signed_at)));
    }
    if signed_at.since(now) > tolerance {
        return Err(VerifyError::TooNew(signed_at.since(now)));
    }
    let expected = secret.mac(id, timestamp, body);
    let fits = signatures
        .split_ascii_whitespace()
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|given| bool::from(given.ct_eq(&expected)));
    if fits {
        Ok(())
    } else {
        Err(VerifyError::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNED_AT: i64 = 1_614_265_330;

    fn headers(id: &str, timestamp: &str, signature: &str) -> http::HeaderMap {
        [(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signature)]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn signatures_equal_those_of_the_reference_library() {
        for (secret, id, body) in [
            (
                SECRET.to_owned(),
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                r#"{"test": 2432232314}"#,
            ),
            (Secret::encode(&[0; 24]), "", ""),
            (
                Secret::encode(&[255; 64]),
                "0190b7e2-0000-7000-8000-000000000000",
                "ü.\n\"}",
            ),
        ] {
            let oracle = standardwebhooks::Webhook::new(&secret).unwrap();
            let expected = oracle.sign(id, SIGNED_AT, body.as_bytes()).unwrap();
            let ours = Secret::parse(&secret)
                .unwrap()
                .sign(id, SIGNED_AT, body.as_bytes());
            assert_eq!(ours, expected, "{id}");
        }
    }

    #[test]
    fn the_published_example_is_reproduced() {
        let ours = Secret::parse(SECRET).unwrap().sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            SIGNED_AT,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(ours, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_webhook_is_believed_only_whole_and_fresh() {
        let secret = Secret::parse(SECRET).unwrap();
        let good = secret.sign("d1", SIGNED_AT, b"{}");
        let other = Secret::parse(&Secret::encode(&[1; 32]))
            .unwrap()
            .sign("d1", SIGNED_AT, b"{}");
        let at = SIGNED_AT.to_string();
        let several = format!("v1a,AAAA {other} nonsense {good}");
        let seconds = Span::from_seconds;
        for (name, id, timestamp, signature, body, late, expected) in [
            ("good", "d1", at.as_str(), good.as_str(), "{}", 0, Ok(())),
            ("at the edge", "d1", &at, &good, "{}", 300, Ok(())),
            ("one of several", "d1", &at, &several, "{}", 0, Ok(())),
            (
                "old",
                "d1",
                &at,
                &good,
                "{}",
                301,
                Err(VerifyError::TooOld(seconds(301))),
            ),
            (
                "early",
                "d1",
                &at,
                &good,
                "{}",
                -301,
                Err(VerifyError::TooNew(seconds(301))),
            ),
            (
                "another body",
                "d1",
                &at,
                &good,
                "{ }",
                0,
                Err(VerifyError::Mismatch),
            ),
            (
                "another id",
                "d2",
                &at,
                &good,
                "{}",
                0,
                Err(VerifyError::Mismatch),
            ),
            (
                "another secret",
                "d1",
                &at,
                &other,
                "{}",
                0,
                Err(VerifyError::Mismatch),
            ),
            (
                "another version",
                "d1",
                &at,
                &good.replace("v1", "v2"),
                "{}",
                0,
                Err(VerifyError::Mismatch),
            ),
            (
                "cut short",
                "d1",
                &at,
                &good[..good.len() - 8],
                "{}",
                0,
                Err(VerifyError::Mismatch),
            ),
            (
                "no signature",
                "d1",
                &at,
                "",
                "{}",
                0,
                Err(VerifyError::Mismatch),
            ),
            (
                "a date",
                "d1",
                "2021-02-25",
                &good,
                "{}",
                0,
                Err(VerifyError::Timestamp),
            ),
        ] {
            let now = Time::from_seconds(SIGNED_AT + late);
            let headers = headers(id, timestamp, signature);
            let result = verify(&secret, &headers, body.as_bytes(), now, TOLERANCE);
            assert_eq!(result, expected, "{name}");
        }
    }

    #[test]
    fn each_header_is_missed() {
        let secret = Secret::parse(SECRET).unwrap();
        for name in [ID, TIMESTAMP, SIGNATURE] {
            let mut headers = headers("d1", &SIGNED_AT.to_string(), "v1,AAAA");
            headers.remove(name);
            let result = verify(
                &secret,
                &headers,
                b"",
                Time::from_seconds(SIGNED_AT),
                TOLERANCE,
            );
            assert_eq!(result, Err(VerifyError::Missing(name)));
        }
    }

    #[test]
    fn a_wrong_secret_is_refused_without_repeating_it() {
        for (text, why) in [
            ("c2VjcmV0", "does not begin with whsec_"),
            ("whsec_c2VjcmV0!", "not base64"),
            ("whsec_c2VjcmV0", "it holds 6 bytes"),
            (&Secret::encode(&[1; 65]), "it holds 65 bytes"),
        ] {
            let error = Secret::parse(text).unwrap_err();
            assert!(
                error.contains(why) && !error.contains("c2VjcmV0"),
                "{error}"
            );
        }
        assert_eq!(format!("{:?}", Secret::parse(SECRET).unwrap()), "Secret(…)");
    }
}
