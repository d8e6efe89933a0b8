//! TLS to brokers: the system's authorities, and those of `outbound.ca_file`.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Settings for a connection that trusts the system and `extra_roots` (PEM).
pub(super) fn config(extra_roots: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(extra_roots) {
        let certificate = certificate.map_err(|error| format!("outbound.ca_file: {error}"))?;
        roots.add(certificate).map_err(|error| format!("outbound.ca_file: {error}"))?;
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
