//! TLS, from the files that the options name.

use super::secret::Named;
use super::{Ensemble, Surroundings};
use crate::cli::Args;
use crate::session::zookeeper::{Tls, TlsError};

/// TLS as the options want it; none when they do not.
pub(super) fn tls(args: &Args, ensemble: &Ensemble, here: &Surroundings) -> Result<Option<Tls>, String> {
    let Some(ca) = &args.tls_ca else {
        return match (&args.tls_cert, &args.tls_key) {
            (None, None) => Ok(None),
            _ => Err("tls_cert and tls_key need tls_ca=FILE, the certificates of those who sign servers".to_owned()),
        };
    };
    let Ensemble::ZooKeeper(connect) = ensemble else {
        return Err("a tree in memory needs no TLS; tls_ca is for a ZooKeeper ensemble".to_owned());
    };
    if let Some((host, _)) = connect.servers.iter().find(|(host, _)| !Tls::can_name(host)) {
        return Err(format!("ENSEMBLE: {host:?} is no name that a certificate can have"));
    }
    let ca = Named::new("tls_ca", ca, here);
    let certificate = args.tls_cert.as_ref().map(|file| Named::new("tls_cert", file, here));
    let key = args.tls_key.as_ref().map(|file| Named::new("tls_key", file, here));
    let identity = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some((certificate.text()?, key.secret()?)),
        // One file with both is a secret as a whole.
        (Some(both), None) => Some((both.secret()?, both.secret()?)),
        (None, Some(_)) => return Err("tls_key needs tls_cert=FILE, the certificate that has this key".to_owned()),
        (None, None) => None,
    };
    match Tls::new(ca.text()?, identity) {
        Ok(tls) => Ok(Some(tls)),
        Err(TlsError::Ca(why)) => Err(ca.wrong(format_args!("certificates in PEM are wanted ({why})"))),
        Err(TlsError::Identity(why)) => {
            let file = key.or(certificate).unwrap_or(ca);
            Err(file.wrong(format_args!("a certificate and its private key in PEM are wanted ({why})")))
        }
    }
}
