//! SIP URIs, JIDs and the ways between them.

use mostar::documents::cpim::Mailbox;
use mostar::documents::pidf;
use mostar::msrp::path::Path;
use mostar::sip::uri::SipAddress;
use mostar::words::address::{jid_of_sip, sip_domain, sip_of_jid};
use mostar::xmpp::jid::Jid;

/// An address of any kind: what is read prints as what reads the same, and what maps across maps back.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = SipAddress::parse(text) {
        of_sip(&address);
    }
    if let Ok(jid) = Jid::parse(text) {
        of_xmpp(&jid);
    }
    if let Some(address) = pidf::repair(text) {
        of_sip(&address);
    }
    if let Some(mailbox) = Mailbox::parse(text) {
        assert!(mailbox.uri.len() <= text.len());
        let _ = mailbox.address();
    }
    if let Ok(path) = Path::parse(text) {
        assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path));
        assert_eq!(path.is_written(&path.to_string()), path.uris().len() == 1);
        for uri in path.uris() {
            let _ = uri.hop().to_string();
        }
    }
}

fn of_sip(address: &SipAddress) {
    let printed = address.text();
    assert_eq!(SipAddress::parse(&printed).as_ref(), Ok(address), "{printed}");
    let _ = address.aor.to_pres();
    if let Ok(jid) = jid_of_sip(address, "example.com") {
        let back = sip_of_jid(&jid).unwrap_or_else(|why| panic!("{jid} of {printed}: {why:?}"));
        assert_eq!(jid_of_sip(&back, "example.com").ok(), Some(jid), "{printed}");
    }
}

fn of_xmpp(jid: &Jid) {
    assert_eq!(Jid::parse(jid.as_str()).as_ref(), Ok(jid), "{jid}");
    assert_eq!(Jid::new(jid.local(), jid.domain(), jid.resource()).as_ref(), Ok(jid), "{jid}");
    assert!(jid.bare().is_bare() && jid.as_str().starts_with(jid.bare_str()));
    if let Ok(domain) = sip_domain(jid.domain()) {
        assert!(domain.is_ascii(), "{domain}");
    }
    if let Ok(sip) = sip_of_jid(jid) {
        let printed = sip.text();
        assert_eq!(SipAddress::parse(&printed).as_ref(), Ok(&sip), "{jid}");
        let back = jid_of_sip(&sip, jid.domain()).unwrap_or_else(|why| panic!("{printed} of {jid}: {why:?}"));
        assert_eq!(&back, jid, "{printed}");
    }
}
