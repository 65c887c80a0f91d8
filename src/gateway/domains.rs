//! Which JID is which SIP address, for the configured pairs of domains, and who may be reached at all.
//!
//! Four directions: a *contact* lives in SIP and has a JID in a component's domain; a *user* lives in XMPP and has a
//! SIP address under the domain's `sip_alias`. A domain that is not listed maps to nothing.

use super::io::LinkId;
use crate::config::{Component, Config};
use crate::sip::uri::{Aor, SipAddress};
use crate::words::address;
use crate::words::condition::{Condition, Kind};
use crate::xmpp::jid::Jid;

/// The pairs of domains of one configuration.
#[derive(Clone, Debug)]
pub struct Domains {
    components: Vec<Component>,
    users: Vec<crate::config::XmppDomain>,
}

impl Domains {
    /// The pairs that `config` lists.
    pub fn new(config: &Config) -> Domains {
        Domains { components: config.xmpp.components.clone(), users: config.xmpp.domains.clone() }
    }

    /// The component link that serves this JID domain.
    pub fn link_of(&self, domain: &str) -> Option<LinkId> {
        self.components.iter().position(|component| component.domain == domain).map(LinkId)
    }

    /// True for an XMPP domain whose users are rooms.
    pub fn holds_xmpp_rooms(&self, domain: &str) -> bool {
        self.users.iter().any(|user| user.rooms && user.domain == domain)
    }

    /// True for a component whose SIP users are rooms.
    pub fn holds_sip_rooms(&self, domain: &str) -> bool {
        self.components.iter().any(|component| component.rooms && component.domain == domain)
    }

    /// True where there are SIP rooms at all.
    pub fn has_sip_rooms(&self) -> bool {
        self.components.iter().any(|component| component.rooms)
    }

    /// True for either.
    pub fn holds_rooms(&self, domain: &str) -> bool {
        self.holds_xmpp_rooms(domain) || self.holds_sip_rooms(domain)
    }

    /// Whether XMPP users of this JID domain may use the gateway.
    pub fn is_user_domain(&self, domain: &str) -> bool {
        self.users.iter().any(|user| user.domain == domain)
    }

    /// The SIP address of a contact's JID.
    pub fn contact_sip(&self, jid: &Jid) -> Result<SipAddress, Condition> {
        let Some(component) = self.components.iter().find(|component| component.domain == jid.domain())
        else {
            return Err(Condition::new(Kind::ItemNotFound, format!("{} is not served here", jid.domain())));
        };
        let mut sip = address::sip_at(jid, component.sip_domain.clone())?;
        if component.any_domain
            && let Some((user, host)) = sip.aor.user.as_deref().and_then(|user| user.rsplit_once('@'))
        {
            let user = Some(user).filter(|user| !user.is_empty()).map(str::to_owned);
            let domain = Jid::new(None, host, None)
                .map_err(|error| Condition::new(Kind::JidMalformed, format!("behind '\\40': {}", error.0)))?;
            sip.aor = Aor { user, host: address::sip_domain(domain.domain())? };
            // One contact, one JID: answers come from the spelling that we write, so no other is taken.
            let known = self.contact_jid(&sip)?;
            if known != *jid {
                let text = format!("the JID of this contact is {}", known.bare_str());
                return Err(Condition::new(Kind::JidMalformed, text));
            }
        }
        Ok(sip)
    }

    /// The JID of a contact's SIP address.
    pub fn contact_jid(&self, sip: &SipAddress) -> Result<Jid, Condition> {
        let host = &sip.aor.host;
        if let Some(user) = self.users.iter().find(|user| user.sip_alias == *host) {
            // An XMPP user who comes, or is looked for, in SIP: that would be a relay between two XMPP domains.
            let text =
                format!("users of {host} live in XMPP, at {}; no contact of SIP is there", user.domain);
            return Err(Condition::new(Kind::Forbidden, text));
        }
        if let Some(component) = self.components.iter().find(|component| component.sip_domain == *host) {
            let jid = address::jid_of_sip(sip, &component.domain)?;
            if component.any_domain && jid.local().is_some_and(|local| local.contains("\\40")) {
                // The same localpart says "a user of another domain" there: it must not become that person.
                let text = format!("'@' may not stand in a user of {host}");
                return Err(Condition::new(Kind::JidMalformed, text));
            }
            return Ok(jid);
        }
        let Some(component) = self.components.iter().find(|component| component.any_domain) else {
            return Err(Condition::new(Kind::Forbidden, format!("{host} has no name in XMPP here")));
        };
        // The domain as people write it; a localpart is prepared as one text, so it cannot be A-labels by chance.
        let domain =
            Jid::new(None, host, None).map_err(|error| Condition::new(Kind::JidMalformed, error.0))?;
        let user = sip.aor.user.as_deref().unwrap_or_default();
        let spelled = SipAddress {
            aor: Aor { user: Some(format!("{user}@{}", domain.domain())), host: host.clone() },
            gr: sip.gr.clone(),
        };
        address::jid_of_sip(&spelled, &component.domain)
    }

    /// The address under which a contact is known here: SIP tells upper case from lower, a JID does not. Nothing where
    /// it has no JID.
    pub fn known_as(&self, aor: &Aor) -> Option<Aor> {
        if self.plain(aor).is_some() {
            return Some(aor.clone());
        }
        let jid = self.contact_jid(&aor.address()).ok()?;
        Some(self.contact_sip(&jid).ok()?.aor)
    }

    /// The component link that speaks for a contact. Nothing where it has no JID.
    pub fn link_of_contact(&self, aor: &Aor) -> Option<LinkId> {
        if let Some(component) = self.plain(aor) {
            return self.link_of(&component.domain);
        }
        self.link_of(self.contact_jid(&aor.address()).ok()?.domain())
    }

    /// Whether this is the contact's address, and device, as its JID says it.
    pub fn is_contact(&self, jid: &Jid, sip: &SipAddress) -> bool {
        match self.plain(&sip.aor) {
            Some(component) if component.domain == jid.domain() => {
                jid.local() == sip.aor.user.as_deref() && jid.resource() == sip.gr.as_deref()
            }
            _ => self.contact_sip(jid).is_ok_and(|address| address == *sip),
        }
    }

    /// The component of a contact that is called as most are: its JID has its user part as it stands.
    fn plain(&self, aor: &Aor) -> Option<&Component> {
        let is_plain =
            |user: &str| user.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let component = self.components.iter().find(|component| component.sip_domain == aor.host);
        component.filter(|_| {
            aor.user.as_deref().is_some_and(|user| (1..=64).contains(&user.len()) && is_plain(user))
                && !self.users.iter().any(|user| user.sip_alias == aor.host)
        })
    }

    /// The SIP address of an XMPP user.
    pub fn user_sip(&self, jid: &Jid) -> Result<SipAddress, Condition> {
        let Some(user) = self.users.iter().find(|user| user.domain == jid.domain()) else {
            return Err(Condition::new(
                Kind::Forbidden,
                format!(
                    "users of {} may not use this gateway; ask its admin to list the domain",
                    jid.domain()
                ),
            ));
        };
        address::sip_at(jid, user.sip_alias.clone())
    }

    /// The JID of an XMPP user's SIP address.
    pub fn user_jid(&self, sip: &SipAddress) -> Result<Jid, Condition> {
        let Some(user) = self.users.iter().find(|user| user.sip_alias == sip.aor.host) else {
            return Err(Condition::new(Kind::ItemNotFound, format!("{} is not served here", sip.aor.host)));
        };
        address::jid_of_sip(sip, &user.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, XmppDomain};
    use proptest::prelude::*;

    fn domains(any_domain: bool) -> Domains {
        let component = |domain: &str, sip_domain: &str, any_domain| Component {
            domain: domain.into(),
            sip_domain: sip_domain.into(),
            secret: Secret::new("s"),
            any_domain,
            rooms: false,
        };
        let user = |domain: &str, sip_alias: &str| XmppDomain {
            domain: domain.into(),
            sip_alias: sip_alias.into(),
            rooms: false,
        };
        Domains {
            components: vec![
                component("sip.example.org", "example.org", any_domain),
                component("münchen.example", "xn--mnchen-3ya.example", false),
            ],
            users: vec![user("example.org", "xmpp.example.org"), user("例.example", "xn--fsq.example")],
        }
    }

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("a JID")
    }

    fn sip(text: &str) -> SipAddress {
        SipAddress::parse(text).expect("an address")
    }

    fn kind<T: std::fmt::Debug>(result: Result<T, Condition>) -> Kind {
        result.expect_err("a refusal").kind
    }

    #[test]
    fn contacts_and_users_are_mapped_by_their_pairs() {
        let domains = domains(false);
        for (contact, address) in [
            ("romeo@sip.example.org/desk", "sip:romeo@example.org;gr=desk"),
            ("j\\40corp@sip.example.org", "sip:j%40corp@example.org"),
            ("anna@münchen.example", "sip:anna@xn--mnchen-3ya.example"),
            ("sip.example.org", "sip:example.org"),
        ] {
            assert_eq!(domains.contact_sip(&jid(contact)), Ok(sip(address)));
            assert_eq!(domains.contact_jid(&sip(address)), Ok(jid(contact)));
        }
        for (user, address) in [
            ("juliet@example.org/balcony", "sip:juliet@xmpp.example.org;gr=balcony"),
            ("王@例.example", "sip:%E7%8E%8B@xn--fsq.example"),
        ] {
            assert_eq!(domains.user_sip(&jid(user)), Ok(sip(address)));
            assert_eq!(domains.user_jid(&sip(address)), Ok(jid(user)));
        }
    }

    #[test]
    fn what_is_not_listed_is_not_mapped() {
        let domains = domains(false);
        assert_eq!(kind(domains.contact_sip(&jid("romeo@example.net"))), Kind::ItemNotFound);
        assert_eq!(kind(domains.contact_jid(&sip("sip:romeo@example.net"))), Kind::Forbidden);
        assert_eq!(kind(domains.user_sip(&jid("juliet@example.net"))), Kind::Forbidden);
        assert_eq!(kind(domains.user_jid(&sip("sip:juliet@example.net"))), Kind::ItemNotFound);
        // Neither side may be played by the other: no relay between two domains of the same kind.
        assert_eq!(kind(domains.user_sip(&jid("romeo@sip.example.org"))), Kind::Forbidden);
        assert_eq!(kind(domains.contact_jid(&sip("sip:juliet@xmpp.example.org"))), Kind::Forbidden);
    }

    #[test]
    fn users_of_any_domain_are_spelled_with_their_domain() {
        let domains = domains(true);
        for (contact, address) in [
            ("romeo\\40example.net@sip.example.org/desk", "sip:romeo@example.net;gr=desk"),
            ("a\\40b\\40example.net@sip.example.org", "sip:a%40b@example.net"),
            ("王\\40例.test@sip.example.org", "sip:%E7%8E%8B@xn--fsq.test"),
            ("\\40example.net@sip.example.org", "sip:example.net"),
            ("romeo\\40[2001\\3adb8\\3a\\3a1]@sip.example.org", "sip:romeo@[2001:db8::1]"),
            ("romeo@sip.example.org", "sip:romeo@example.org"),
            ("anna@münchen.example", "sip:anna@xn--mnchen-3ya.example"),
        ] {
            assert_eq!(domains.contact_jid(&sip(address)), Ok(jid(contact)));
            assert_eq!(domains.contact_sip(&jid(contact)), Ok(sip(address)));
        }
    }

    #[test]
    fn a_contact_has_one_jid_and_nobody_else_s() {
        let domains = domains(true);
        let refused = |text: &str| domains.contact_sip(&jid(text)).expect_err("a refusal");
        let own = refused("romeo\\40example.org@sip.example.org");
        assert_eq!(own.text.as_deref(), Some("the JID of this contact is romeo@sip.example.org"));
        let labels = refused("romeo\\40xn--fsq.test@sip.example.org");
        assert_eq!(
            labels.text.as_deref(),
            Some("the JID of this contact is romeo\\40例.test@sip.example.org")
        );
        assert_eq!(refused("romeo\\40xmpp.example.org@sip.example.org").kind, Kind::Forbidden);
        assert_eq!(refused("romeo\\40no\\20name@sip.example.org").kind, Kind::JidMalformed);
        assert_eq!(refused("romeo\\40@sip.example.org").kind, Kind::JidMalformed);
        for at in ["@", "＠"] {
            let aor = Aor { user: Some(format!("j{at}corp.example")), host: "example.org".into() };
            assert_eq!(kind(domains.contact_jid(&aor.address())), Kind::JidMalformed);
        }
    }

    proptest! {
        #[test]
        fn whatever_maps_maps_back(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "a", "é", "@", "\\", "20", "5c", " ", ":", "%", "＠", "40", ".", "example", "xn--fsq", "例", "[", "]",
            ]), 1..8),
            host in prop::sample::select(vec!["example.org", "example.net", "xn--fsq.test", "xn--mnchen-3ya.example"]),
            any_domain: bool,
        ) {
            let domains = domains(any_domain);
            let user = pieces.concat();
            let aor = Aor { user: Some(user.clone()), host: host.into() };
            let found = domains.contact_jid(&aor.address()).ok();
            prop_assert_eq!(
                domains.link_of_contact(&aor), found.as_ref().and_then(|jid| domains.link_of(jid.domain()))
            );
            if let Some(found) = found {
                let back = domains.contact_sip(&found).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
                prop_assert_eq!(&back.aor.host, host);
                prop_assert!(domains.is_contact(&found, &back));
                prop_assert_eq!(domains.is_contact(&found, &aor.address()), back == aor.address());
                prop_assert_eq!(domains.contact_jid(&back).ok(), Some(found));
            }
            if let Ok(contact) = Jid::new(Some(&user), "sip.example.org", None)
                && let Ok(found) = domains.contact_sip(&contact)
            {
                prop_assert_eq!(domains.contact_jid(&found).ok(), Some(contact));
            }
        }
    }
}
