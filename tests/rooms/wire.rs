//! MSRP connections between the gateway and the phones, one for each call, and what the shell tells of them. Each way of
//! each keeps its order; what is on its way when one dies is lost, in both directions.

use bytes::Bytes;
use mostar::gateway::Input;
use mostar::msrp::frame::Frame;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::uri::Hop;
use mostar::msrp::{AttemptId, ConnId, Link, MsrpIn, MsrpOut};

use super::support::process::Host;
use super::world::{Event, World};

/// Where call number 0 listens for MSRP; the others behind it.
pub const PORT: u16 = 7000;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    pub call: usize,
    pub alive: bool,
    /// The gateway uses it.
    pub kept: bool,
    /// Who reads here takes long.
    slow: bool,
}

impl World {
    /// A connection for a call.
    pub fn wire(&mut self, call: usize, by_gateway: bool) -> u64 {
        let slow = !self.peace && self.course.chance(10);
        self.wires.push(Wire { call, alive: true, kept: by_gateway, slow });
        self.wires.len() as u64 - 1
    }

    /// What the gateway wants done with connections.
    pub fn msrp_out(&mut self, out: MsrpOut) {
        match out {
            MsrpOut::Connect { attempt, hop, .. } => {
                let (life, wait) = (self.process.life, 1 + self.course.below(100));
                self.course.after(wait, Event::Connects(life, attempt, hop));
            }
            MsrpOut::Send { conn, bytes } => self.hand_to_phone(conn.0, &bytes),
            MsrpOut::Keep(conn) => match self.wires.get_mut(conn.0 as usize) {
                Some(wire) if wire.alive => wire.kept = true,
                _ => self.course.after(0, Event::Lost(conn.0)),
            },
            MsrpOut::Release(conn) => {
                if let Some(wire) = self.wires.get_mut(conn.0 as usize) {
                    wire.kept = false;
                    let delay = self.course.micros(1);
                    self.course.in_order("to-phone", conn.0, delay, Event::Closes(conn.0));
                }
            }
        }
    }

    /// A connection of the gateway's comes about, or not.
    pub fn connects(&mut self, life: u64, attempt: AttemptId, hop: &Hop) {
        if life != self.process.life {
            return;
        }
        let call = hop.port.and_then(|port| port.checked_sub(PORT)).map(usize::from);
        let told = match call.filter(|call| *call < self.calls.len()) {
            Some(call) if self.peace || !self.course.chance(6) => {
                let conn = self.wire(call, true);
                self.calls[call].conn = Some(conn);
                self.calls[call].open = true;
                MsrpIn::Connected { attempt, link: Link { conn: ConnId(conn), secure: false } }
            }
            _ => MsrpIn::NotConnected { attempt, why: "connection refused".into() },
        };
        self.course.note(&format!("shell -> gateway {told:?}"));
        self.apply(Input::Msrp(told));
    }

    fn hand_to_phone(&mut self, conn: u64, bytes: &Bytes) {
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(bytes);
        let mut frames = Vec::new();
        while let Some(Ok(frame)) = decoder.next_frame() {
            frames.push(frame);
        }
        let Some(wire) = self.wires.get(conn as usize).filter(|wire| wire.alive) else { return };
        let (slow, count) = (wire.slow && !self.peace, frames.len());
        for (place, frame) in frames.into_iter().enumerate() {
            let spread = if slow && self.course.chance(20) { 20_000 } else { 20 };
            let delay = self.course.micros(spread);
            let drained = if place + 1 == count { bytes.len() } else { 0 };
            self.course.in_order("to-phone", conn, delay, Event::ToPhone(conn, Box::new(frame), drained));
        }
    }

    /// A phone sends a frame.
    pub fn frame_out(&mut self, conn: u64, frame: Frame) {
        self.sends("to-gateway", conn, Event::ToGateway(conn, Box::new(frame)));
    }

    /// A frame comes to the gateway.
    pub fn gateway_reads(&mut self, conn: u64, frame: Box<Frame>) {
        if !self.wires[conn as usize].alive {
            return;
        }
        self.course.note(&format!("msrp {conn} -> gateway {}", line_of(&frame)));
        let link = Link { conn: ConnId(conn), secure: false };
        self.cause = Some(self.wires[conn as usize].call);
        self.apply(Input::Msrp(MsrpIn::Frame { link, frame }));
        self.cause = None;
    }

    /// A frame comes to a phone.
    pub fn phone_reads(&mut self, conn: u64, frame: &Frame, drained: usize) {
        if !self.wires[conn as usize].alive {
            return;
        }
        self.course.note(&format!("gateway -> msrp {conn} {}", line_of(frame)));
        self.phone_takes(conn, frame);
        if drained > 0 && self.wires[conn as usize].kept {
            self.apply(Input::Msrp(MsrpIn::Drained { conn: ConnId(conn), bytes: drained }));
        }
    }

    /// One of the connections that are in use dies.
    pub fn break_a_wire(&mut self) {
        let alive: Vec<u64> =
            (0..self.wires.len() as u64).filter(|conn| self.wires[*conn as usize].alive).collect();
        if !alive.is_empty() {
            let conn = alive[self.course.below(alive.len() as u64) as usize];
            self.dies(conn);
        }
    }

    /// A connection dies: both ends hear of it, sooner or later.
    pub fn dies(&mut self, conn: u64) {
        if !std::mem::replace(&mut self.wires[conn as usize].alive, false) {
            return;
        }
        self.course.note(&format!("connection {conn} dies"));
        self.tally.cut += 1;
        for event in [Event::Lost(conn), Event::Hears(conn)] {
            let wait = if self.course.chance(50) { self.course.below(100) } else { self.course.below(8_000) };
            self.course.after(wait, event);
        }
    }

    /// The gateway hears that a connection is gone, if it still cares.
    pub fn lost(&mut self, conn: u64) {
        if std::mem::replace(&mut self.wires[conn as usize].kept, false) {
            self.course.note(&format!("shell -> gateway connection {conn} is lost"));
            self.apply(Input::Msrp(MsrpIn::Lost { conn: ConnId(conn), why: "connection reset".into() }));
        }
    }

    /// The gateway has let go of a connection.
    pub fn closes(&mut self, conn: u64) {
        if std::mem::replace(&mut self.wires[conn as usize].alive, false) {
            self.course.note(&format!("connection {conn} is closed"));
            self.course.after(1, Event::Hears(conn));
        }
    }

    /// The process has died: so have its connections.
    pub fn wires_die(&mut self) {
        for number in 0..self.wires.len() {
            self.wires[number].kept = false;
            if std::mem::replace(&mut self.wires[number].alive, false) {
                let wait = self.course.below(2_000);
                self.course.after(wait, Event::Hears(number as u64));
            }
        }
    }
}

fn line_of(frame: &Frame) -> String {
    match frame {
        Frame::Response(response) => format!("{} {}", response.tid, response.code),
        Frame::Request(request) => format!(
            "{} {:?} {} {:?} {:?} {}",
            request.tid,
            request.method,
            request.message_id.as_deref().unwrap_or_default(),
            request.range.map(|range| (range.start, range.end, range.total)),
            request.status.as_ref().map(|status| status.code),
            request.body.as_ref().map_or(String::new(), |body| {
                String::from_utf8_lossy(&body[..body.len().min(300)]).replace("\r\n", "|")
            }),
        ),
    }
}
