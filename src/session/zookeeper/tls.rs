//! TLS: whom to believe, and who we are.

use std::fmt;
use std::net::IpAddr;

use zookeeper_client as zk;

/// Why texts are of no use for TLS, in terms of what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// No certificate of an authority.
    #[error("certificates in PEM are wanted: {0}")]
    Ca(String),
    /// No certificate of ours, or no private key.
    #[error("a certificate and its private key in PEM are wanted: {0}")]
    Identity(String),
}

/// What TLS needs, all of it in PEM. What is secret is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    ca: String,
    identity: Option<(String, String)>,
}

impl Tls {
    /// Believes servers with certificates of these authorities, and shows them this certificate, which has this key.
    ///
    /// # Errors
    /// When a text is not what it should be.
    pub fn new(ca: String, identity: Option<(String, String)>) -> Result<Tls, TlsError> {
        let tls = Tls { ca, identity };
        tls.options()?;
        Ok(tls)
    }

    /// Tells whether there is a certificate of ours, by which servers know us.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Tells whether a certificate can be for this host: the library panics over another name.
    pub fn can_name(host: &str) -> bool {
        let label = |label: &str| {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(inside)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
        host.parse::<IpAddr>().is_ok() || name.len() <= 253 && name.split('.').all(label) && !numeric
    }

    pub(super) fn options(&self) -> Result<zk::TlsOptions, TlsError> {
        let options = zk::TlsOptions::new().with_pem_ca(&self.ca).map_err(|error| TlsError::Ca(error.to_string()))?;
        match &self.identity {
            Some((certificate, key)) => {
                // A file without any certificate is taken by the library, and refused much later.
                if !certificate.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(TlsError::Identity("no certificate".to_owned()));
                }
                options.with_pem_identity(certificate, key).map_err(|error| TlsError::Identity(error.to_string()))
            }
            None => Ok(options),
        }
    }
}

impl fmt::Debug for Tls {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_certificate_can_have() {
        for host in ["zk1", "zk1.example.com", "zk1.example.com.", "a_b", "127.0.0.1", "::1", "1.example"] {
            assert!(Tls::can_name(host), "{host}");
        }
        for host in ["", ".", "a..b", "-a", "a-", "a b", "a/b", "é", "1.2.3", "300.1.1.1", &"a".repeat(64)] {
            assert!(!Tls::can_name(host), "{host}");
        }
    }

    #[test]
    fn texts_are_looked_at_early() {
        let nothing = Tls::new("nothing".to_owned(), None);
        assert!(matches!(nothing, Err(TlsError::Ca(_))), "{nothing:?}");
    }
}
