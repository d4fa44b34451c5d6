//! Whose certificates are accepted, and what is said about the others.

use std::net::SocketAddr;
use std::sync::Arc;

use ftp_pooler::config::{CertificatePin, CertificateTrust};
use ftp_pooler::failure::{Code, Remedy};
use ftp_pooler::transfer::TransferError;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::rig::Rig;
use crate::support::certificate::Certificate;
use crate::support::ftp_server::{FtpServer, Make, Security, Settings};
use crate::support::scratch::Scratch;

fn vsftpd_for(names: &[&str], until: i32) -> Rig {
    let scratch = Scratch::new("certificate");
    let certificate = Certificate::new(scratch.path(), names, until);
    let settings = Settings::new(Security::Explicit);
    let server = FtpServer::with(Make::Vsftpd, settings, certificate, scratch).unwrap();
    Rig::on(Make::Vsftpd, Security::Explicit, server)
}

impl Rig {
    async fn refusal(&self) -> String {
        let error = self.try_session().await.expect_err("must be refused");
        assert_eq!((error.failure.code, error.remedy), (Code::TlsFailed, Remedy::OpenBreaker), "{error}");
        error.failure.message
    }

    fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.server.as_ref().unwrap().certificate.der).into()
    }
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn a_certificate_that_has_expired_is_refused_with_its_date() {
    let said = vsftpd_for(&["127.0.0.1"], 2020).refusal().await;
    assert!(said.contains("the server's certificate expired at 2020-01-01T00:00:00Z"), "{said}");
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn a_certificate_for_another_name_is_refused_with_both_names() {
    let said = vsftpd_for(&["ftp.example.com", "other.example.com"], 2096).refusal().await;
    assert!(said.contains("is for ftp.example.com, other.example.com, not for 127.0.0.1"), "{said}");
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn an_issuer_that_nobody_trusts_is_refused_with_what_to_do_about_it() {
    let mut rig = vsftpd_for(&["127.0.0.1"], 2096);
    rig.connection.tls.trust = CertificateTrust::System;
    let said = rig.refusal().await;
    // A machine without any authorities cannot even say that much.
    assert!(said.contains("an issuer that is not trusted") || said.contains("trusts no authority"), "{said}");
    assert!(said.contains("tls_ca") && said.contains("tls_pin"), "{said}");
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn a_pinned_certificate_is_trusted_whatever_else_is_wrong_with_it_and_no_other_is() {
    let mut rig = vsftpd_for(&["ftp.example.com"], 2020);
    rig.connection.tls.trust = CertificateTrust::Pinned(vec![
        CertificatePin::Certificate([7; 32]),
        CertificatePin::Certificate(rig.fingerprint()),
    ]);
    rig.session().await.close().await;

    let mut rig = vsftpd_for(&["127.0.0.1"], 2096);
    rig.connection.tls.trust = CertificateTrust::Pinned(vec![
        CertificatePin::Certificate([7; 32]),
        CertificatePin::PublicKey([7; 32]),
    ]);
    let said = rig.refusal().await;
    let print = rig.fingerprint().map(|byte| format!("{byte:02X}")).join(":");
    assert!(said.contains("not the one of tls_pin") && said.contains(&print), "{said}");
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn any_certificate_will_do_where_none_is_checked() {
    let mut rig = vsftpd_for(&["ftp.example.com"], 2020);
    rig.connection.tls.trust = CertificateTrust::Anything;
    rig.session().await.close().await;
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn a_server_without_tls_is_refused_before_the_password_goes_out() {
    let mut rig = Rig::start(Make::Vsftpd, Settings::new(Security::Plain)).unwrap();
    rig.connection.tls.mode = ftp_pooler::config::TlsMode::Explicit;
    let said = rig.refusal().await;
    assert!(said.contains("AUTH TLS") && !rig.log().contains("\"PASS"), "{said}");
}

/// One session on implicit TLS, whose data connection ends without `close_notify`; SIZE only where it is given.
async fn cuts_off(size: Option<u64>) -> (SocketAddr, Certificate, Scratch) {
    let scratch = Scratch::new("cut-off");
    let certificate = Certificate::good(scratch.path());
    let pem = std::fs::read(&certificate.server).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&pem).unwrap()],
            PrivateKeyDer::from_pem_slice(&pem).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = control.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = control.accept().await.unwrap();
        let mut stream = BufReader::new(acceptor.accept(socket).await.unwrap());
        let data = TcpListener::bind("127.0.0.1:0").await.unwrap();
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut line = String::new();
        while matches!(stream.read_line(&mut line).await, Ok(1..)) {
            let reply = match (line.split_ascii_whitespace().next().unwrap_or_default(), size) {
                ("USER", _) => "331 password?".to_owned(),
                ("PASS", _) => "230 in".to_owned(),
                ("EPSV", _) => format!("229 here (|||{}|)", data.local_addr().unwrap().port()),
                ("SIZE", Some(size)) => format!("213 {size}"),
                ("RETR", _) => {
                    stream.write_all(b"150 here it comes\r\n").await.unwrap();
                    let (socket, _) = data.accept().await.unwrap();
                    let mut secured = acceptor.accept(socket).await.unwrap();
                    secured.write_all(b"half").await.unwrap();
                    secured.flush().await.unwrap();
                    // The socket alone: TLS says nothing of the end.
                    secured.get_mut().0.shutdown().await.unwrap();
                    "226 done".to_owned()
                }
                ("PBSZ" | "PROT" | "TYPE" | "QUIT", _) => "200 ok".to_owned(),
                _ => "502 what?".to_owned(),
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            line.clear();
        }
    });
    (addr, certificate, scratch)
}

#[tokio::test]
async fn a_data_connection_that_was_cut_off_is_a_finished_file_only_where_its_size_says_so() {
    for (size, whole) in [(Some(4), true), (Some(8), false), (None, false)] {
        let (addr, certificate, _scratch) = cuts_off(size).await;
        let rig = Rig::at(addr, Security::Implicit, &certificate);
        let mut session = rig.session().await;
        let ended = rig.once(&mut session, &rig.download("file")).await;
        match ended {
            Ok(done) => assert!(whole && done.bytes == 4, "{size:?}"),
            Err(TransferError::Failed(error)) => {
                assert!(!whole && error.failure.code == Code::IntegrityMismatch, "{size:?}: {error}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}
