//! Signatures of webhooks, as a receiver reads them: secret, id, timestamp, signatures, a line for each, then the body.

use http::{HeaderMap, HeaderValue};
use systole_server::channels::signature::{
    ID, SIGNATURE, Secret, TIMESTAMP, TOLERANCE, VerifyError, verify,
};

use super::{NOW, is_said, is_told_apart, parts};

pub fn run(input: &[u8]) {
    let Some([secret, id, timestamp, signatures, body]) = parts(input) else {
        return;
    };
    let ours = Secret::parse(&Secret::encode(&[7; 32])).unwrap();
    if let Ok(text) = std::str::from_utf8(secret) {
        match Secret::parse(text) {
            Ok(read) => signs(&read, body),
            Err(why) => {
                is_said(&why, 500);
                let hidden = text.strip_prefix("whsec_").unwrap_or(text);
                assert!(
                    !is_told_apart(hidden) || !why.contains(hidden),
                    "{why} repeats the secret"
                );
            }
        }
    }
    let mut headers = HeaderMap::new();
    for (name, value) in [(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signatures)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    // Nobody who does not know the secret makes a signature that fits.
    let verdict = verify(&ours, &headers, body, NOW, TOLERANCE).unwrap_err();
    is_said(&verdict.to_string(), 500);
}

/// What is signed is believed; the same with another body, another id or later is not.
fn signs(secret: &Secret, body: &[u8]) {
    let at = NOW.as_seconds();
    let mut headers = HeaderMap::new();
    headers.insert(ID, HeaderValue::from_static("dlv_1"));
    headers.insert(TIMESTAMP, at.into());
    headers.insert(SIGNATURE, secret.sign("dlv_1", at, body).parse().unwrap());
    assert_eq!(verify(secret, &headers, body, NOW, TOLERANCE), Ok(()));
    let longer = [body, b"."].concat();
    assert_eq!(
        verify(secret, &headers, &longer, NOW, TOLERANCE),
        Err(VerifyError::Mismatch)
    );
    let late = NOW + TOLERANCE + TOLERANCE;
    assert!(matches!(
        verify(secret, &headers, body, late, TOLERANCE),
        Err(VerifyError::TooOld(_))
    ));
    headers.insert(ID, HeaderValue::from_static("dlv_2"));
    assert_eq!(
        verify(secret, &headers, body, NOW, TOLERANCE),
        Err(VerifyError::Mismatch)
    );
}
