//! What came in, in the form in which it came: bytes, where it was bytes.

use bytes::BytesMut;
use mostar::gateway::{Input, LinkChange, StoreChange};
use mostar::msrp::MsrpIn;
use mostar::sip::flow::{Flow, Transport};

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A SIP message, and by which transport from which address.
    Sip(Transport, String, Vec<u8>),
    /// A stanza, and on which link.
    Stanza(usize, Vec<u8>),
    /// A frame of MSRP.
    Msrp(Vec<u8>),
    /// A connection for MSRP stands, or not.
    Connected(bool),
    /// It is lost.
    Lost,
    /// A link is up, or down.
    Link(usize, bool),
    /// The store.
    Store(StoreChange),
    /// What was sent last could not be sent.
    SendFailed,
    /// All records are there.
    Begun,
    /// It shall stop.
    Stop,
}

impl Heard {
    /// What an input is; nothing for alarms, records and what the runner says by itself.
    pub fn of(input: &Input) -> Option<Heard> {
        let sip = |flow: &Flow, bytes: &[u8]| {
            Heard::Sip(flow.transport, flow.remote.ip().to_string(), bytes.to_vec())
        };
        Some(match input {
            Input::Sip(flow, message) => sip(flow, &message.to_bytes()),
            Input::BadSip(flow, bad) => sip(flow, &bad.bytes),
            Input::Stanza(link, stanza) => Heard::Stanza(link.0, stanza.to_xml().into_bytes()),
            Input::Msrp(MsrpIn::Frame { frame, .. }) => {
                let mut bytes = BytesMut::new();
                frame.write(&mut bytes);
                Heard::Msrp(bytes.to_vec())
            }
            Input::Msrp(MsrpIn::Connected { .. }) => Heard::Connected(true),
            Input::Msrp(MsrpIn::NotConnected { .. }) => Heard::Connected(false),
            Input::Msrp(MsrpIn::Lost { .. }) => Heard::Lost,
            Input::Link(link, change) => Heard::Link(link.0, *change == LinkChange::Up),
            Input::Store(change) => Heard::Store(*change),
            Input::SendFailed(..) => Heard::SendFailed,
            Input::RestoreDone => Heard::Begun,
            Input::Stop => Heard::Stop,
            _ => return None,
        })
    }
}
