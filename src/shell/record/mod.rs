//! The recorder: what one shard hears and says, as a vector that `tests/vectors.rs` plays again.
//!
//! A gateway is a function of (now, input), so a recording of its inputs is the whole of what happened: an admin turns
//! `record` on, lets a mistake happen, and the file is its test. Each shard writes a file of its own, from its start up
//! to a limit; what comes after that is left out and counted, since a recording without its beginning cannot be played.
//! The file is made when somebody says something for the first time.
//!
//! What people write and what proves who they are is not told (`conceal`), ids have names (`names`). Records of before
//! the start are not there either, only their number; and a fresh gateway draws other random shares of its waiting
//! times. So a recording that began with an empty store, and is not about such a share, goes as it went.

mod conceal;
pub mod frames;
pub mod names;

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use time::OffsetDateTime;
use time::macros::format_description;

use self::conceal::{Conceal, Way};
use self::names::Names;
use crate::config::Record;
use crate::gateway::io::{Forward, Input, LinkChange, LinkId, Output, StoreChange};
use crate::msrp::{Link, MsrpIn, MsrpOut};
use crate::sip::flow::{Flow, SipOut};
use crate::sip::locate::{Located, Query};
use crate::words::id::Partition;
use crate::words::note::{Level, Note};
use crate::words::time::Now;
use crate::xmpp::ns;

/// Which shard is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Its number.
    pub number: usize,
    /// Its first partition.
    pub home: Partition,
}

/// A process that starts again and again must not fill the disk: the most files of the folder.
const FILES: usize = 256;

/// Writes down one shard's steps.
#[derive(Debug)]
pub struct Recorder {
    settings: Record,
    share: Share,
    file: Place,
    /// Bytes that may still be written.
    room: usize,
    /// Steps that are not written yet.
    text: String,
    /// The time of the latest step, in milliseconds as written.
    at: String,
    /// The calendar at tick zero.
    began: u64,
    conceal: Conceal,
    names: Names,
}

#[derive(Debug)]
enum Place {
    /// Nobody has said anything yet.
    ExpectWords,
    /// Somebody just has: the file is to be made.
    ExpectFile,
    Open(File),
    /// The limit is reached, or the file could not be written.
    Over,
}

impl Recorder {
    /// A recorder that has written nothing yet.
    pub fn new(settings: Record, share: Share) -> Recorder {
        Recorder {
            share,
            file: Place::ExpectWords,
            room: usize::try_from(settings.limit).unwrap_or(usize::MAX),
            text: String::new(),
            at: String::new(),
            began: 0,
            conceal: Conceal::new(settings.bodies),
            names: Names::default(),
            settings,
        }
    }

    /// What the gateway is about to be given; `why` is what an alarm would ring for.
    pub fn input(&mut self, now: Now, input: &Input, why: Option<&'static str>) {
        if matches!(self.file, Place::Over) {
            return;
        }
        self.at = milliseconds(now.tick.0);
        self.began = now.wall.0.saturating_sub(now.tick.0 / 1000);
        match input {
            Input::Stanza(link, stanza) => self.xmpp_in(*link, &stanza.to_xml()),
            Input::BadStanza(link, element) => {
                let mut text = String::new();
                element.write(ns::COMPONENT, &mut text);
                self.xmpp_in(*link, &text);
            }
            Input::Sip(flow, message) => {
                let bytes = message.to_bytes();
                let text = self.conceal.message(Way::In, &String::from_utf8_lossy(&bytes));
                self.sip_in(flow, &text);
            }
            Input::BadSip(flow, bad) => {
                let text = self.conceal.noise(&String::from_utf8_lossy(&bad.bytes));
                self.sip_in(flow, &text);
            }
            Input::Msrp(input) => self.msrp_in(input),
            Input::Timeout => self.step(&format!("ring {}", why.unwrap_or("nothing")), ""),
            Input::Link(link, LinkChange::Up) => self.step(&format!("xmpp up{}", over(*link)), ""),
            Input::Link(link, LinkChange::Down) => self.step(&format!("xmpp down{}", over(*link)), ""),
            Input::SendFailed(id, _) => self.step(&format!("send failed {}", id.0), ""),
            Input::Resolved(query, found) => {
                let (kind, name) = match query {
                    Query::Address(name) => ("address", name),
                    Query::Naptr(name) => ("naptr", name),
                    Query::Srv(name) => ("srv", name),
                };
                let lines: Vec<String> = found.iter().map(located).collect();
                self.step(&format!("resolved {kind} {name}"), &lines.join("\n"));
            }
            Input::Store(StoreChange::Ok) => self.step("store ok", ""),
            Input::Store(StoreChange::Low) => self.step("store low", ""),
            Input::Store(StoreChange::Down) => self.step("store down", ""),
            Input::Restoring => self.step("begin", ""),
            Input::Restored(_) | Input::Whole(_) | Input::RestoreDone => {}
            Input::Forwarded(Forward::PeerBack(peer)) => self.step(&format!("peer back {peer}"), ""),
            // It changes nothing.
            Input::Explain(..) => {}
            Input::Stop => self.step("stop", ""),
        }
    }

    /// What the gateway has just answered.
    pub fn output(&mut self, output: &Output) {
        match output {
            _ if matches!(self.file, Place::Over) => {}
            Output::Stanza(_, stanza) => {
                let text = self.conceal.xml(Way::Out, &stanza.to_xml());
                let text = self.names.going_out(&text);
                self.said("xmpp out", &text);
            }
            Output::Sip(SipOut { bytes, target, .. }) => {
                let text = self.conceal.message(Way::Out, &String::from_utf8_lossy(bytes));
                let text = self.names.going_out(&text);
                self.said(&format!("sip out {}", target.transport), &text);
            }
            Output::Msrp(MsrpOut::Connect { hop, .. }) => self.said("msrp out", &format!("CONNECT {hop}")),
            Output::Msrp(MsrpOut::Send { bytes, .. }) => {
                for text in frames::texts(bytes) {
                    let text = self.conceal.message(Way::Out, &text);
                    let text = self.names.going_out(&text);
                    self.said("msrp out", &text);
                }
            }
            Output::Now(output) => self.output(output),
            Output::Msrp(MsrpOut::Keep(_) | MsrpOut::Release(_))
            | Output::Close(_)
            | Output::Resolve(_)
            | Output::Save(_)
            | Output::Forget(_)
            | Output::Fetch(_)
            | Output::Forward(_)
            | Output::Note(_)
            | Output::Explained(..)
            | Output::Stopped => {}
        }
    }

    /// An input and all that came of it is over: writes it down. What is to be told, if anything.
    pub fn end_of_step(&mut self) -> Option<Note> {
        let told = match self.file {
            Place::Over => {
                return Some(Note::Count { name: "record_left_out_total", labels: Vec::new(), by: 1 });
            }
            _ if self.text.len() > self.room => {
                self.finish();
                (Level::Warn, "record-full", ("bytes", self.settings.limit.to_string()))
            }
            Place::ExpectWords => return None,
            Place::ExpectFile => match self.open() {
                Ok(path) => (Level::Info, "record-began", ("file", path.display().to_string())),
                Err(error) => self.failed(&error),
            },
            Place::Open(_) => match self.write() {
                Ok(()) => return None,
                Err(error) => self.failed(&error),
            },
        };
        let (level, event, field) = told;
        Some(Note::Log { level, event, fields: vec![field] })
    }

    fn open(&mut self) -> std::io::Result<PathBuf> {
        let folder = &self.settings.folder;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if std::fs::read_dir(folder)?.count() >= FILES {
            return Err(std::io::Error::other(format!("it holds {FILES} files already: take them away")));
        }
        let began = OffsetDateTime::from_unix_timestamp((self.began / 1000).cast_signed())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let stamp = began.format(format_description!("[year][month][day]T[hour][minute][second]Z"));
        let (number, process) = (self.share.number, std::process::id());
        let path = folder.join(format!("mostar-{}-{process}-{number}.vec", stamp.unwrap_or_default()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        self.file = Place::Open(file);
        self.text.insert_str(0, &self.head());
        self.write()?;
        Ok(path)
    }

    /// What a runner must know, and what a reader should.
    fn head(&self) -> String {
        let Recorder { settings, share, began, .. } = self;
        let concealed =
            if settings.bodies { "What people wrote is here" } else { "What people wrote is not here" };
        format!(
            "# Recorded by Mostar {}, shard {}; records of before the start are not here. {concealed}.\nconfig {}\nconfig recorded.home={}\nconfig recorded.watch={}\nconfig recorded.wall={began}\n",
            env!("CARGO_PKG_VERSION"),
            share.number,
            settings.config,
            share.home.0,
            share.number == 0,
        )
    }

    fn write(&mut self) -> std::io::Result<()> {
        if let Place::Open(file) = &mut self.file {
            file.write_all(self.text.as_bytes())?;
        }
        self.room = self.room.saturating_sub(self.text.len());
        self.text.clear();
        Ok(())
    }

    fn failed(&mut self, error: &std::io::Error) -> Told {
        self.finish();
        (Level::Warn, "record-failed", ("reason", format!("{}: {error}", self.settings.folder.display())))
    }

    /// Lets go of everything.
    fn finish(&mut self) {
        self.file = Place::Over;
        self.text = String::new();
        self.names = Names::default();
    }

    fn xmpp_in(&mut self, link: LinkId, text: &str) {
        let text = self.conceal.xml(Way::In, text);
        let text = self.names.coming_in(&text);
        self.said(&format!("xmpp in{}", over(link)), &text);
    }

    fn sip_in(&mut self, flow: &Flow, text: &str) {
        let text = self.names.coming_in(text);
        self.said(&format!("sip in {} from {}", flow.transport, flow.remote), &text);
    }

    fn msrp_in(&mut self, input: &MsrpIn) {
        let tls = |link: &Link| if link.secure { " tls" } else { "" };
        match input {
            MsrpIn::Frame { link, frame } => {
                let text = self.conceal.message(Way::In, &frames::text(frame));
                let text = self.names.coming_in(&text);
                self.said(&format!("msrp in conn {}{}", link.conn.0, tls(link)), &text);
            }
            MsrpIn::Connected { link, .. } => {
                self.step(&format!("msrp connected conn {}{}", link.conn.0, tls(link)), "");
            }
            MsrpIn::NotConnected { .. } => self.step("msrp refused", ""),
            MsrpIn::Lost { conn, .. } => self.step(&format!("msrp lost conn {}", conn.0), ""),
            // The runner plays a connection that takes everything at once.
            MsrpIn::Drained { .. } => {}
        }
    }

    /// A step with which there is something to record.
    fn said(&mut self, what: &str, body: &str) {
        self.step(what, body);
        if matches!(self.file, Place::ExpectWords) {
            self.file = Place::ExpectFile;
        }
    }

    fn step(&mut self, what: &str, body: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "@{} {what}", self.at);
        if body.is_empty() {
            return;
        }
        for line in body.split('\n') {
            if !line.is_empty() {
                self.text.push_str("    ");
                self.text.push_str(line);
            }
            self.text.push('\n');
        }
    }
}

/// A line for the log.
type Told = (Level, &'static str, (&'static str, String));

/// As many as are needed of the three digits behind the point.
fn milliseconds(microseconds: u64) -> String {
    let text = format!("{}.{:03}", microseconds / 1000, microseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Which link, where it is not the first.
fn over(link: LinkId) -> String {
    if link.0 == 0 { String::new() } else { format!(" link {}", link.0) }
}

fn located(found: &Located) -> String {
    match found {
        Located::Address(address) => address.to_string(),
        Located::Naptr(order, preference, service, replacement) => {
            format!("{order} {preference} {service} {replacement}")
        }
        Located::Srv(priority, weight, port, target) => format!("{priority} {weight} {port} {target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::time::{Tick, Wall};

    fn recorder(folder: PathBuf, limit: u64) -> Recorder {
        let settings = Record { folder, bodies: false, limit, config: "{}".into() };
        Recorder::new(settings, Share { number: 0, home: Partition(0) })
    }

    fn at(tick: u64) -> Now {
        Now { tick: Tick(tick), wall: Wall(1_795_219_200_000) }
    }

    fn noise() -> Input {
        let address = "192.0.2.1:5060".parse().unwrap();
        let flow =
            Flow { transport: crate::sip::flow::Transport::Udp, local: address, remote: address, conn: None };
        let bytes = bytes::Bytes::from_static(b"noise");
        Input::BadSip(flow, crate::sip::flow::BadSip { bytes, reason: String::new(), fatal: false })
    }

    #[test]
    fn a_file_is_made_when_somebody_says_something() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = recorder(folder.path().join("a/b"), 1000);
        recorder.input(at(1_250), &Input::Restoring, None);
        recorder.input(at(2_000), &Input::Timeout, Some("why"));
        assert_eq!(recorder.end_of_step(), None);
        assert!(!folder.path().join("a").exists());
        recorder.input(at(2_010), &noise(), None);
        let Some(Note::Log { event: "record-began", fields, .. }) = recorder.end_of_step() else {
            panic!("no file")
        };
        let text = std::fs::read_to_string(&fields[0].1).unwrap();
        let (_, steps) = text.split_once("recorded.wall=1795219199998\n").unwrap();
        assert_eq!(steps, "@1.25 begin\n@2 ring why\n@2.01 sip in udp from 192.0.2.1:5060\n    xxxxx\n");
    }

    #[test]
    fn what_has_no_room_is_left_out_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = recorder(folder.path().into(), 60);
        recorder.input(at(0), &noise(), None);
        assert!(recorder.end_of_step().is_some());
        recorder.input(at(0), &noise(), None);
        assert!(matches!(recorder.end_of_step(), Some(Note::Log { event: "record-full", .. })));
        recorder.input(at(0), &noise(), None);
        assert!(matches!(
            recorder.end_of_step(),
            Some(Note::Count { name: "record_left_out_total", by: 1, .. })
        ));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut recorder = recorder(file.path().join("x"), 1000);
        recorder.input(at(0), &noise(), None);
        assert!(matches!(recorder.end_of_step(), Some(Note::Log { event: "record-failed", .. })));
        recorder.input(at(0), &noise(), None);
        assert!(matches!(recorder.end_of_step(), Some(Note::Count { .. })));
    }
}
