//! Finding where a SIP URI leads: RFC 3263 as questions and answers, asked and answered by the shell.

use std::net::IpAddr;

/// A question to DNS (RFC 3263): the records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Query {
    /// A and AAAA.
    Address(String),
    /// NAPTR.
    Naptr(String),
    /// SRV.
    Srv(String),
}

/// One record of an answer from DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// A or AAAA.
    Address(IpAddr),
    /// NAPTR: order, preference, service (`SIP+D2T`), replacement.
    Naptr(u16, u16, String, String),
    /// SRV: priority, weight, port, target.
    Srv(u16, u16, u16, String),
}
