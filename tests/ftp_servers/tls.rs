//! Whose certificates are accepted, and what is said about the others.

use ftp_pooler::config::{Pin, Trust};
use ftp_pooler::failure::{Code, Remedy};
use sha2::{Digest, Sha256};

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
    rig.connection.tls.trust = Trust::System;
    let said = rig.refusal().await;
    // A machine without any authorities cannot even say that much.
    assert!(said.contains("an issuer that is not trusted") || said.contains("trusts no authority"), "{said}");
    assert!(said.contains("tls_ca") && said.contains("tls_pin"), "{said}");
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn a_pinned_certificate_is_trusted_whatever_else_is_wrong_with_it_and_no_other_is() {
    let mut rig = vsftpd_for(&["ftp.example.com"], 2020);
    rig.connection.tls.trust =
        Trust::Pinned(vec![Pin::Certificate([7; 32]), Pin::Certificate(rig.fingerprint())]);
    rig.session().await.close().await;

    let mut rig = vsftpd_for(&["127.0.0.1"], 2096);
    rig.connection.tls.trust = Trust::Pinned(vec![Pin::Certificate([7; 32]), Pin::PublicKey([7; 32])]);
    let said = rig.refusal().await;
    let print = rig.fingerprint().map(|byte| format!("{byte:02X}")).join(":");
    assert!(said.contains("not the one of tls_pin") && said.contains(&print), "{said}");
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn any_certificate_will_do_where_none_is_checked() {
    let mut rig = vsftpd_for(&["ftp.example.com"], 2020);
    rig.connection.tls.trust = Trust::Anything;
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
