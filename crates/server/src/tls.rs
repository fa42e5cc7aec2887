//! Our own TLS: files read at start, and again when they change, so that a renewed certificate needs no restart.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::config::TlsFiles;

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One cannot be read.
    #[error("cannot read {path} as {what} in PEM form: {source}")]
    File {
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not fit.
    #[error("the certificate and the key cannot be used together: {0}")]
    Mismatch(rustls::Error),
}

/// The certificate in use.
pub struct Tls {
    files: TlsFiles,
    acceptor: RwLock<TlsAcceptor>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        let acceptor = RwLock::new(read(&files)?);
        Ok(Tls { files, acceptor })
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Looks every ten seconds whether the files have changed; a pair that cannot be used leaves the former in use.
    pub(crate) async fn watch(&self, app: &App) {
        let mut known = self.changed_at();
        while !app.stop.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(10)) => {}
                () = app.stop.cancelled() => return,
            }
            let found = self.changed_at();
            if found == known {
                continue;
            }
            known = found;
            match read(&self.files) {
                Ok(acceptor) => {
                    *self
                        .acceptor
                        .write()
                        .unwrap_or_else(std::sync::PoisonError::into_inner) = acceptor;
                    tracing::info!("the TLS files have changed and were read again");
                }
                Err(error) => {
                    tracing::error!(%error, "the TLS files have changed and cannot be used; the former stay")
                }
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        let of = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|metadata| metadata.modified())
                .ok()
        };
        [of(&self.files.certificate), of(&self.files.key)]
    }
}

fn read(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let failed = |path: &Path, what| {
        let path = path.display().to_string();
        move |source| TlsError::File { path, what, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(&files.certificate, "a certificate chain"))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(failed(&files.key, "a private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
