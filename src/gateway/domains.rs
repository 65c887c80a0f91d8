//! Which JID is which SIP address, for the configured pairs of domains, and who may be reached at all.
//!
//! Four directions: a *contact* lives in SIP and has a JID in a component's domain; a *user* lives in XMPP and has a
//! SIP address under the domain's `sip_alias`. A domain that is not listed maps to nothing.

use super::io::LinkId;
use crate::config::Config;
use crate::sip::uri::SipAddress;
use crate::words::address;
use crate::words::condition::{Condition, Kind};
use crate::xmpp::jid::Jid;

/// The pairs of domains of one configuration.
#[derive(Clone, Debug)]
pub struct Domains {
    components: Vec<crate::config::Component>,
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
        let mut sip = address::sip_of_jid(jid)?;
        if component.any_domain
            && let Some((user, host)) = sip.aor.user.as_deref().and_then(|user| user.rsplit_once('@'))
        {
            let (user, host) = (user.to_owned(), address::sip_domain(host)?);
            sip.aor.user = Some(user);
            sip.aor.host = host;
            return Ok(sip);
        }
        sip.aor.host.clone_from(&component.sip_domain);
        Ok(sip)
    }

    /// The JID of a contact's SIP address.
    pub fn contact_jid(&self, sip: &SipAddress) -> Result<Jid, Condition> {
        if let Some(component) = self.components.iter().find(|component| component.sip_domain == sip.aor.host)
        {
            return address::jid_of_sip(sip, &component.domain);
        }
        let Some(component) = self.components.iter().find(|component| component.any_domain) else {
            return Err(Condition::new(
                Kind::Forbidden,
                format!("{} has no name in XMPP here", sip.aor.host),
            ));
        };
        let mut spelled = sip.clone();
        spelled.aor.user = Some(match &sip.aor.user {
            Some(user) => format!("{user}@{}", sip.aor.host),
            None => sip.aor.host.clone(),
        });
        address::jid_of_sip(&spelled, &component.domain)
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
        let mut sip = address::sip_of_jid(jid)?;
        sip.aor.host.clone_from(&user.sip_alias);
        Ok(sip)
    }

    /// The JID of an XMPP user's SIP address.
    pub fn user_jid(&self, sip: &SipAddress) -> Result<Jid, Condition> {
        let Some(user) = self.users.iter().find(|user| user.sip_alias == sip.aor.host) else {
            return Err(Condition::new(Kind::ItemNotFound, format!("{} is not served here", sip.aor.host)));
        };
        address::jid_of_sip(sip, &user.domain)
    }
}
