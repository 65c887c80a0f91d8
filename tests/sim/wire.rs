//! MSRP connections between the gateway and the phones, and what the shell tells of them. Each way of each keeps its
//! order, connections overtake each other; what is on its way when one dies is lost, in both directions.

use bytes::Bytes;
use mostar::gateway::Input;
use mostar::msrp::frame::Frame;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::uri::Hop;
use mostar::msrp::{AttemptId, ConnId, Link, MsrpIn, MsrpOut};
use std::time::Duration;

use super::phone::Stage;
use super::support::process::Host;
use super::world::{Event, PEACE, World};

/// Where phone number 0 listens for MSRP; the others behind it.
pub const PORT: u16 = 7000;
/// A connection that nobody keeps is closed after so long.
const STRANGER: u64 = 30_000;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    pub romeo: u8,
    /// The gateway opened it.
    pub by_gateway: bool,
    alive: bool,
    kept: bool,
    /// Who reads here takes long.
    slow: bool,
    /// It dies when so many frames have passed.
    fuse: Option<u64>,
    passed: u64,
}

impl World {
    fn wire(&mut self, romeo: u8, by_gateway: bool) -> u64 {
        let number = self.wires.len() as u64;
        let cuts = self.course.now < PEACE && self.course.chance(self.cuts);
        let fuse = cuts.then(|| 1 + self.course.below(24));
        let slow = self.course.now < PEACE && self.course.chance(6);
        let wire = Wire { romeo, by_gateway, alive: true, kept: by_gateway, slow, fuse, passed: 0 };
        self.wires.push(wire);
        number
    }

    /// What the gateway wants done with connections.
    pub fn msrp_out(&mut self, out: MsrpOut) {
        match out {
            MsrpOut::Connect { attempt, hop, .. } => {
                self.course.note(&format!("gateway connects to {hop}"));
                let slow = self.course.chance(4);
                let wait = if slow { 60_000 + self.course.below(8_000) } else { 1 + self.course.below(100) };
                let life = self.life();
                self.course.after(wait, Event::Connects(life, attempt, hop));
            }
            MsrpOut::Send { conn, bytes } => self.hand_to_phone(conn, &bytes),
            MsrpOut::Keep(conn) => match self.wires.get_mut(conn.0 as usize) {
                Some(wire) if wire.alive => wire.kept = true,
                _ => self.course.after(0, Event::Lost(conn.0)),
            },
            MsrpOut::Release(conn) => {
                if let Some(wire) = self.wires.get_mut(conn.0 as usize) {
                    wire.kept = false;
                    self.course.in_order("to-phone", conn.0, Duration::ZERO, Event::Closes(conn.0));
                }
            }
        }
    }

    /// A connection of the gateway's comes about, or not.
    pub fn connects(&mut self, life: u64, attempt: AttemptId, hop: &Hop) {
        if life != self.life() {
            return;
        }
        let romeo = hop.port.and_then(|port| port.checked_sub(PORT)).filter(|number| *number < 10);
        let told = match romeo {
            Some(romeo) if self.course.now >= PEACE || !self.course.chance(6) => {
                let conn = self.wire(romeo as u8, true);
                MsrpIn::Connected { attempt, link: Link { conn: ConnId(conn), secure: false } }
            }
            _ => MsrpIn::NotConnected { attempt, why: "connection refused".into() },
        };
        self.course.note(&format!("shell -> gateway {told:?}"));
        self.apply(Input::Msrp(told));
    }

    /// A phone opens a connection to the gateway, or has one that may be shared.
    pub fn dial(&mut self, romeo: u8) -> u64 {
        let fits = |wire: &Wire| wire.alive && !wire.by_gateway && wire.romeo == romeo;
        let known = self.wires.iter().rposition(fits);
        if let Some(known) = known.filter(|_| self.course.chance(60)) {
            return known as u64;
        }
        let number = self.wire(romeo, false);
        self.course.after(STRANGER, Event::Unkept(number));
        number
    }

    fn hand_to_phone(&mut self, conn: ConnId, bytes: &Bytes) {
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(bytes);
        let mut frames = Vec::new();
        while let Some(Ok(frame)) = decoder.next_frame() {
            self.leaves(&frame);
            frames.push(frame);
        }
        let Some(wire) = self.wires.get(conn.0 as usize).filter(|wire| wire.alive) else { return };
        let slow = wire.slow;
        let count = frames.len();
        for (place, frame) in frames.into_iter().enumerate() {
            let spread = if slow && self.course.chance(20) { 25_000 } else { 20 };
            let delay = self.course.millis(spread);
            let drained = if place + 1 == count { bytes.len() } else { 0 };
            let event = Event::ToPhone(conn.0, Box::new(frame), drained);
            self.course.in_order("to-phone", conn.0, delay, event);
        }
    }

    /// A phone sends a frame.
    pub fn frame_out(&mut self, conn: u64, frame: Frame) {
        let delay = self.course.millis(20);
        self.course.in_order("to-gateway", conn, delay, Event::ToGateway(conn, Box::new(frame)));
    }

    /// A frame has come to the other end, or the connection dies over it. False when it has not.
    fn passes(&mut self, conn: u64) -> bool {
        let wire = &mut self.wires[conn as usize];
        if !wire.alive {
            return false;
        }
        wire.passed += 1;
        if wire.fuse == Some(wire.passed) {
            self.dies(conn);
            return false;
        }
        true
    }

    /// A frame comes to the gateway.
    pub fn gateway_reads(&mut self, conn: u64, frame: Box<Frame>) {
        if !self.passes(conn) {
            return;
        }
        self.course.note(&format!("msrp {conn} -> gateway {}", line_of(&frame)));
        let tid = match &*frame {
            Frame::Request(request) => {
                self.arrives_at_gateway(&request.tid);
                None
            }
            Frame::Response(response) => Some((response.tid.clone(), response.code)),
        };
        let life = self.life();
        let link = Link { conn: ConnId(conn), secure: false };
        self.apply(Input::Msrp(MsrpIn::Frame { link, frame }));
        if let Some((tid, 200)) = tid
            && self.life() == life
        {
            self.confirm(&tid);
        }
    }

    /// A frame comes to a phone.
    pub fn phone_reads(&mut self, conn: u64, frame: &Frame, drained: usize) {
        if !self.passes(conn) {
            return;
        }
        self.course.note(&format!("gateway -> msrp {conn} {}", line_of(frame)));
        self.phone_takes(conn, frame);
        if drained > 0 && self.wires[conn as usize].kept {
            self.apply(Input::Msrp(MsrpIn::Drained { conn: ConnId(conn), bytes: drained }));
        }
    }

    /// A connection dies: both ends hear of it, sooner or later.
    pub fn dies(&mut self, conn: u64) {
        let wire = &mut self.wires[conn as usize];
        if !std::mem::replace(&mut wire.alive, false) {
            return;
        }
        self.course.note(&format!("connection {conn} dies"));
        self.ledger.totals.cut += 1;
        let sooner = if self.course.chance(50) { self.course.below(100) } else { self.course.below(8_000) };
        self.course.after(sooner, Event::Lost(conn));
        let later = if self.course.chance(50) { self.course.below(100) } else { self.course.below(8_000) };
        self.course.after(later, Event::Hears(conn));
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

    /// Nobody has taken a connection: the shell closes it.
    pub fn unkept(&mut self, conn: u64) {
        if !self.wires[conn as usize].kept {
            self.closes(conn);
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

    /// Whether the gateway still holds a connection.
    pub fn has_wires(&self) -> bool {
        self.wires.iter().any(|wire| wire.kept)
    }

    /// Whether somebody at a phone's end could still speak over it.
    pub fn is_alive(&self, conn: u64) -> bool {
        self.wires[conn as usize].alive
    }

    /// A phone that needs a connection no more closes it.
    pub fn hang_wire(&mut self, conn: u64) {
        let in_use = |stage: Stage| matches!(stage, Stage::Up | Stage::Calling | Stage::Ringing);
        let used = self.calls.iter().any(|call| call.conn == Some(conn) && in_use(call.stage));
        if !used && !self.wires[conn as usize].by_gateway {
            self.course.after(3_000, Event::Leaves(conn));
        }
    }

    /// A phone closes a connection over which it has no session any more.
    pub fn leaves_wire(&mut self, conn: u64) {
        let used = self.calls.iter().any(|call| call.conn == Some(conn) && call.stage == Stage::Up);
        if !used {
            self.dies(conn);
        }
    }
}

fn line_of(frame: &Frame) -> String {
    match frame {
        Frame::Response(response) => format!("{} {} to {}", response.tid, response.code, response.to),
        Frame::Request(request) => format!(
            "{} {:?} {} {:?} {:?} {} to {}",
            request.tid,
            request.method,
            request.message_id.as_deref().unwrap_or_default(),
            request.range.map(|range| (range.start, range.end, range.total)),
            request.flag,
            request.body.as_ref().map_or(String::new(), |body| {
                String::from_utf8_lossy(&body[..body.len().min(160)]).replace("\r\n", "|")
            }),
            request.to,
        ),
    }
}
