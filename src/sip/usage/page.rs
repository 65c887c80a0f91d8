//! MESSAGE outside dialogs (RFC 3428), as the sender's side.
//!
//! A lane is a sender's and a recipient's address of record. Per lane one request is outstanding and the order is kept,
//! also across retries (§8: "A UAC MUST NOT initiate a new out-of-dialog MESSAGE transaction to a given URI if there is a
//! previous out-of-dialog transaction pending for the same URI"). 408, 503
//! and a lost transport are tried again with back-off until the page's time is over; a retry has the same Call-ID, From
//! tag and CSeq, so that a 482 to it means that an earlier attempt arrived (RFC 3261 §8.2.2.2). A device that answers
//! 404 or 480 is tried once as its address of record.
//!
//! What becomes of a page in the end is told as an [`Event`]; the owner may put a failed page back for later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::sabotage::{self, Fault as Mistake};
use crate::sip::message::{Answer, Failure, HeaderName, Method, OutRequest, Response, text};
use crate::sip::uri::{Aor, SipAddress};
use crate::words::id::{Mint, Partition};
use crate::words::index::Index;
use crate::words::time::Tick;
use crate::words::timers::Timers;

/// Between two attempts: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The lane: whose user agent we are, and the person in `to`.
    pub lane: LaneKey,
    /// The value of From without its tag.
    pub from: String,
    /// The Request-URI and To.
    pub to: SipAddress,
    /// Call-ID.
    pub call_id: String,
    /// The tag of From.
    pub tag: String,
    /// The number of CSeq.
    pub cseq: u32,
    /// Further headers, Content-Type among them.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Bytes,
    /// The partition that the branches shall name.
    pub partition: Partition,
    /// Max-Forwards.
    pub max_forwards: u8,
    /// It is tried again until then.
    pub until: Tick,
    /// It was sent before and may have arrived.
    pub tried: bool,
}

/// What became of a page, or what is to be done for it.
#[derive(Debug)]
pub enum Event {
    /// Send this request; its answer goes to [`Pages::answer`] with the same number.
    Send(u64, Box<OutRequest>),
    /// An attempt failed, the next one comes later.
    Waits(u64),
    /// This device was unknown or away; its address of record is tried next.
    NoDevice(SipAddress),
    /// A 2xx, or a 482 that says the same, by its status; and what the other side calls itself, where it says that.
    Arrived(u64, u16, Option<String>),
    /// It will not arrive, unless the owner puts it back.
    Failed(u64, Box<Page>, Fault),
}

/// Why a page did not arrive.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A final answer other than a 2xx.
    Refused(Box<Response>),
    /// No answer.
    Silent(Failure),
}

/// A sender and a recipient. Shared, since a page is known by it in several places.
pub type LaneKey = Arc<(Aor, Aor)>;

/// Which lane, in the order of their making: two names are long to compare.
type LaneId = u64;

/// All lanes of one owner.
#[derive(Debug, Default)]
pub struct Pages {
    by_name: Index<LaneKey, LaneId>,
    lanes: BTreeMap<LaneId, Lane>,
    /// How many lanes there ever were.
    made: LaneId,
    /// The lane of each page that is out, by its number.
    out: BTreeMap<u64, LaneId>,
    /// Lanes that may have something to send.
    ready: BTreeSet<LaneId>,
    /// Lanes that wait before the next attempt.
    waiting: Timers<LaneId>,
    events: VecDeque<Event>,
    halted: bool,
}

#[derive(Debug)]
struct Lane {
    name: LaneKey,
    queue: VecDeque<(u64, Page)>,
    /// How often the first page was sent.
    attempts: u32,
    /// The first page is out.
    busy: bool,
    /// Why the page before did not get through, if it was given up: those behind it that have waited as long are too.
    fault: Option<Fault>,
}

impl Lane {
    fn of(name: LaneKey) -> Lane {
        Lane { name, queue: VecDeque::new(), attempts: 0, busy: false, fault: None }
    }

    /// The place of a page that was never sent.
    fn unsent(&self, number: u64) -> Option<usize> {
        let first_was_sent = self.busy || self.attempts > 0;
        let place = self.queue.iter().position(|(known, _)| *known == number)?;
        let was_sent =
            place == 0 && first_was_sent || self.queue.get(place).is_some_and(|(_, page)| page.tried);
        (!was_sent).then_some(place)
    }

    /// Takes the first page out.
    fn take(&mut self) -> Option<(u64, Page)> {
        self.attempts = 0;
        self.queue.pop_front()
    }
}

impl Pages {
    /// Takes a page in, behind all others of its lane. `number` is the owner's.
    pub fn push(&mut self, number: u64, page: Page) {
        let id = self.lane_of(&page);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.queue.push_back((number, page));
            lane.busy &= !sabotage::is(Mistake::SentTwice);
        }
        self.ready.insert(id);
    }

    /// Puts a failed page back at the head of its lane, which then waits until `at` or [`Pages::wake`].
    pub fn put_back(&mut self, number: u64, page: Page, at: Tick) {
        let id = self.lane_of(&page);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.attempts = 0;
            lane.fault = None;
            lane.queue.push_front((number, page));
        }
        self.waiting.set(id, at);
    }

    /// Lets a lane begin not before `at` or [`Pages::wake`].
    pub fn delay(&mut self, lane: &LaneKey, at: Tick) {
        if let Some(id) = self.by_name.get(lane) {
            self.waiting.set(*id, at);
        }
    }

    /// Lets a lane that waits try at once.
    pub fn wake(&mut self, sender: &Aor, to: &Aor) {
        if let Some(id) = self.by_name.get(&(sender.clone(), to.clone()))
            && self.waiting.stop(id)
        {
            self.ready.insert(*id);
        }
    }

    /// What became of a request.
    pub fn answer(&mut self, now: Tick, mint: &mut Mint, number: u64, answer: &Answer) {
        match answer {
            Answer::Provisional(_) => return,
            Answer::Repeated => {
                let lane = self.out.get(&number).and_then(|id| self.lanes.get_mut(id));
                if let Some((_, page)) = lane.and_then(|lane| lane.queue.front_mut()) {
                    page.tried = true;
                }
                return;
            }
            Answer::Final { .. } | Answer::Failed(_) => {}
        }
        let Some(id) = self.out.remove(&number) else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.busy = false;
        self.ready.insert(id);
        let Some((_, page)) = lane.queue.front_mut() else { return };
        match answer {
            Answer::Provisional(_) | Answer::Repeated => {}
            Answer::Final { response, cseq } => {
                let status = response.status.code();
                match status {
                    200..=299 => return self.done(id, number, status, agent(response)),
                    482 if page.tried => return self.done(id, number, status, None),
                    404 | 480 if page.to.gr.is_some() => {
                        let person = page.to.aor.address();
                        let device = std::mem::replace(&mut page.to, person);
                        // A new request, so a new number; not where an attempt may have arrived under the old one.
                        page.cseq = if page.tried { *cseq } else { cseq.wrapping_add(1) };
                        self.events.push_back(Event::NoDevice(device));
                        self.events.push_back(Event::Waits(number));
                        return;
                    }
                    408 | 503 => {
                        page.cseq = *cseq;
                        let fault = Fault::Refused(Box::new(response.clone()));
                        return self.again(now, mint, id, fault, retry_after(response));
                    }
                    _ => {}
                }
                lane.fault = None;
                self.fail(id, Fault::Refused(Box::new(response.clone())));
            }
            Answer::Failed(failure @ (Failure::Timeout | Failure::Transport(_))) => {
                self.again(now, mint, id, Fault::Silent(failure.clone()), None);
            }
            Answer::Failed(failure) => self.fail(id, Fault::Silent(failure.clone())),
        }
    }

    /// Time has come.
    pub fn timeout(&mut self, now: Tick) {
        while let Some(id) = self.waiting.pop(now) {
            self.ready.insert(id);
        }
    }

    /// When [`Pages::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.waiting.next().map(|(at, _)| at)
    }

    /// What is to be done next. Handle it before asking again: what is put back comes before what is behind it.
    pub fn poll(&mut self, now: Tick) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        while let Some(id) = self.ready.first().copied() {
            if let Some(event) = self.advance(now, id) {
                return Some(event);
            }
            self.ready.remove(&id);
        }
        None
    }

    /// Nothing more is begun: the process stops.
    pub fn halt(&mut self) {
        self.halted = true;
    }

    /// Puts another page in the place of one that was never sent. False when there is no such page.
    pub fn replace(&mut self, number: u64, page: Page) -> bool {
        let id = self.by_name.get(&page.lane);
        let Some(lane) = id.and_then(|id| self.lanes.get_mut(id)) else { return false };
        let place = lane.unsent(number);
        let Some((_, old)) = place.and_then(|place| lane.queue.get_mut(place)) else { return false };
        *old = page;
        true
    }

    /// Takes out a page that was never sent. False when there is no such page.
    pub fn remove(&mut self, number: u64, lane: &(Aor, Aor)) -> bool {
        let Some(id) = self.by_name.get(lane).copied() else { return false };
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        let Some(place) = lane.unsent(number) else { return false };
        lane.queue.remove(place);
        if lane.queue.is_empty() {
            self.waiting.stop(&id);
        }
        self.ready.insert(id);
        true
    }

    /// Whether anything of a lane waits or is out.
    pub fn has(&self, lane: &LaneKey) -> bool {
        let id = self.by_name.get(lane);
        id.and_then(|id| self.lanes.get(id)).is_some_and(|lane| !lane.queue.is_empty())
    }

    /// How many requests are out.
    pub fn outstanding(&self) -> usize {
        self.out.len()
    }

    /// How many lanes hold pages.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// True when no lane holds a page.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The lane of a page, which is there afterwards.
    fn lane_of(&mut self, page: &Page) -> LaneId {
        if let Some(id) = self.by_name.get(&page.lane) {
            return *id;
        }
        self.made += 1;
        self.by_name.insert(page.lane.clone(), self.made);
        self.lanes.insert(self.made, Lane::of(page.lane.clone()));
        self.made
    }

    fn advance(&mut self, now: Tick, id: LaneId) -> Option<Event> {
        let lane = self.lanes.get_mut(&id)?;
        if self.halted || lane.busy || self.waiting.at(&id).is_some() {
            return None;
        }
        let Some((number, page)) = lane.queue.front() else {
            self.by_name.remove(&lane.name);
            self.lanes.remove(&id);
            return None;
        };
        let number = *number;
        if let Some(fault) = &lane.fault
            && lane.attempts == 0
            && page.until < now
        {
            let fault = fault.clone();
            return lane.take().map(|(number, page)| Event::Failed(number, Box::new(page), fault));
        }
        let request = request(page);
        lane.busy = true;
        lane.attempts = lane.attempts.saturating_add(1);
        self.out.insert(number, id);
        Some(Event::Send(number, Box::new(request)))
    }

    fn again(&mut self, now: Tick, mint: &mut Mint, id: LaneId, fault: Fault, not_before: Option<Duration>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some((number, page)) = lane.queue.front_mut() else { return };
        page.tried = true;
        if sabotage::is(Mistake::RetryRenamed) {
            page.call_id.push('x');
        }
        let (first, most) = BACK_OFF;
        let step = first.saturating_mul(1 << lane.attempts.saturating_sub(1).min(10)).min(most);
        let delay = mint.between(step, step + step / 4);
        let at = (now + delay).min(page.until).max(now + not_before.unwrap_or_default());
        if now >= page.until || at > page.until {
            lane.fault = Some(fault.clone());
            return self.fail(id, fault);
        }
        let number = *number;
        if sabotage::is(Mistake::RetryOvertaken) {
            lane.queue.rotate_left(1);
        }
        self.waiting.set(id, at);
        self.events.push_back(Event::Waits(number));
    }

    fn done(&mut self, id: LaneId, number: u64, status: u16, agent: Option<String>) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.fault = None;
            lane.take();
        }
        self.events.push_back(Event::Arrived(number, status, agent));
    }

    fn fail(&mut self, id: LaneId, fault: Fault) {
        if let Some((number, page)) = self.lanes.get_mut(&id).and_then(Lane::take) {
            self.events.push_back(Event::Failed(number, Box::new(page), fault));
        }
    }
}

fn request(page: &Page) -> OutRequest {
    let uri = page.to.text();
    OutRequest {
        method: Method::Message,
        from: [&page.from, ";tag=", &page.tag].concat(),
        to: ["<", &uri, ">"].concat(),
        uri,
        call_id: page.call_id.clone(),
        cseq: page.cseq,
        max_forwards: page.max_forwards,
        routes: Vec::new(),
        headers: page.headers.clone(),
        body: page.body.clone(),
        partition: page.partition,
        domain: page.to.aor.host.clone(),
        over: None,
    }
}

/// What a device calls itself in an answer (RFC 3261 §20.35); some write the header of requests.
fn agent(response: &Response) -> Option<String> {
    let named = |name| text(&response.headers, &name).filter(|agent| !agent.is_empty());
    named(HeaderName::Server).or_else(|| named(HeaderName::UserAgent))
}

/// Retry-After of a 503 (RFC 3261 §20.33): seconds, perhaps with a comment or parameters behind.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let value = text(&response.headers, &HeaderName::RetryAfter)?;
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Header, StatusCode};
    use crate::words::id::Seed;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    fn page(to: &str, body: &str) -> Page {
        let (sender, to) =
            (SipAddress::parse("sip:juliet@example.com").unwrap(), SipAddress::parse(to).unwrap());
        Page {
            lane: Arc::new((sender.aor, to.aor.clone())),
            from: "<sip:juliet@example.com>".into(),
            to,
            call_id: "c".into(),
            tag: "t".into(),
            cseq: 1,
            headers: vec![],
            body: Bytes::from(body.to_owned()),
            partition: Partition(0),
            max_forwards: 70,
            until: at(60),
            tried: false,
        }
    }

    fn answered(status: u16) -> Answer {
        Answer::Final { response: Response::new(StatusCode::new(status).unwrap(), "x"), cseq: 1 }
    }

    fn mint() -> Mint {
        Mint::new(Seed([0; 32]))
    }

    /// What happens at once, in short: `1>uri`, `1 waits`, `1 ok`, `1 failed`.
    fn events(pages: &mut Pages, now: Tick) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(event) = pages.poll(now) {
            told.push(match event {
                Event::Send(number, request) => format!("{number}>{} {}", request.uri, request.cseq),
                Event::Waits(number) => format!("{number} waits"),
                Event::NoDevice(device) => format!("no {device}"),
                Event::Arrived(number, ..) => format!("{number} ok"),
                Event::Failed(number, ..) => format!("{number} failed"),
            });
        }
        told
    }

    const ROMEO: &str = "sip:romeo@example.net";

    #[test]
    fn one_at_a_time_and_in_order() {
        let mut pages = Pages::default();
        pages.push(1, page(ROMEO, "a"));
        pages.push(2, page(ROMEO, "b"));
        pages.push(3, page("sip:nurse@example.net", "c"));
        assert_eq!(events(&mut pages, at(0)), ["1>sip:romeo@example.net 1", "3>sip:nurse@example.net 1"]);
        pages.answer(at(0), &mut mint(), 1, &answered(200));
        assert_eq!(events(&mut pages, at(0)), ["1 ok", "2>sip:romeo@example.net 1"]);
        pages.answer(at(0), &mut mint(), 2, &answered(403));
        pages.answer(at(0), &mut mint(), 3, &answered(202));
        assert_eq!(events(&mut pages, at(0)), ["2 failed", "3 ok"]);
        assert!(pages.is_empty() && pages.outstanding() == 0);
    }

    #[test]
    fn a_retry_never_overtakes_and_482_to_it_means_arrived() {
        let mut pages = Pages::default();
        pages.push(1, page(ROMEO, "a"));
        pages.push(2, page(ROMEO, "b"));
        events(&mut pages, at(0));
        pages.answer(at(32), &mut mint(), 1, &Answer::Failed(Failure::Timeout));
        assert_eq!(events(&mut pages, at(32)), ["1 waits"]);
        pages.timeout(at(34));
        assert_eq!(events(&mut pages, at(34)), ["1>sip:romeo@example.net 1"]);
        pages.answer(at(34), &mut mint(), 1, &answered(482));
        assert_eq!(events(&mut pages, at(34)), ["1 ok", "2>sip:romeo@example.net 1"]);
        pages.answer(at(34), &mut mint(), 2, &answered(482));
        assert_eq!(events(&mut pages, at(34)), ["2 failed"]);
    }

    #[test]
    fn a_482_from_the_second_address_means_that_it_arrived_by_the_first() {
        let mut pages = Pages::default();
        pages.push(1, page(ROMEO, "a"));
        events(&mut pages, at(0));
        pages.answer(at(32), &mut mint(), 1, &Answer::Repeated);
        assert_eq!(events(&mut pages, at(32)), Vec::<String>::new());
        pages.answer(at(33), &mut mint(), 1, &answered(482));
        assert_eq!(events(&mut pages, at(33)), ["1 ok"]);
    }

    #[test]
    fn what_fails_for_a_minute_fails_with_all_that_waited_as_long() {
        let mut pages = Pages::default();
        pages.push(1, page(ROMEO, "a"));
        pages.push(2, page(ROMEO, "b"));
        let mut late = page(ROMEO, "c");
        late.until = at(100);
        pages.push(3, late);
        let mut seen = Vec::new();
        for second in 0..=61 {
            pages.timeout(at(second));
            for event in events(&mut pages, at(second)) {
                if event.starts_with("1>") {
                    pages.answer(at(second), &mut mint(), 1, &Answer::Failed(Failure::Transport("x".into())));
                }
                seen.push(event);
            }
        }
        let sent = seen.iter().filter(|event| event.starts_with("1>")).count();
        assert!((6..=8).contains(&sent), "{seen:?}");
        assert_eq!(seen[seen.len() - 3..], ["1 failed", "2 failed", "3>sip:romeo@example.net 1"]);
    }

    #[test]
    fn a_long_retry_after_ends_the_attempts() {
        let mut pages = Pages::default();
        pages.push(1, page(ROMEO, "a"));
        events(&mut pages, at(0));
        let mut response = Response::new(StatusCode::new(503).unwrap(), "x");
        response.headers.push(Header::build(HeaderName::RetryAfter, "120 (soon)").unwrap());
        pages.answer(at(0), &mut mint(), 1, &Answer::Final { response, cseq: 1 });
        assert_eq!(events(&mut pages, at(0)), ["1 failed"]);
    }

    #[test]
    fn an_unknown_device_is_tried_once_as_the_person() {
        let mut pages = Pages::default();
        pages.push(1, page("sip:romeo@example.net;gr=x", "a"));
        assert_eq!(events(&mut pages, at(0)), ["1>sip:romeo@example.net;gr=x 1"]);
        pages.answer(at(0), &mut mint(), 1, &answered(404));
        let told = events(&mut pages, at(0));
        assert_eq!(told, ["no sip:romeo@example.net;gr=x", "1 waits", "1>sip:romeo@example.net 2"]);
        pages.answer(at(0), &mut mint(), 1, &answered(404));
        assert_eq!(events(&mut pages, at(0)), ["1 failed"]);
    }

    #[test]
    fn a_page_that_is_put_back_is_sent_again_however_old_it_is() {
        let mut pages = Pages::default();
        pages.push(1, page(ROMEO, "a"));
        for second in [0, 61, 300] {
            pages.timeout(at(second));
            assert_eq!(events(&mut pages, at(second)), ["1>sip:romeo@example.net 1"]);
            pages.answer(at(second + 60), &mut mint(), 1, &Answer::Failed(Failure::Timeout));
            let Some(Event::Failed(1, page, _)) = pages.poll(at(second + 60)) else {
                panic!("1 has not failed")
            };
            pages.put_back(1, *page, at(second + 60));
        }
    }

    #[test]
    fn a_page_that_is_put_back_goes_first_when_its_lane_wakes() {
        let mut pages = Pages::default();
        pages.push(1, page(ROMEO, "a"));
        pages.push(2, page(ROMEO, "b"));
        events(&mut pages, at(0));
        pages.answer(at(0), &mut mint(), 1, &answered(480));
        let Some(Event::Failed(1, page, _)) = pages.poll(at(0)) else { panic!("1 has not failed") };
        let (sender, to) = (*page.lane).clone();
        pages.put_back(1, *page, at(300));
        assert_eq!(events(&mut pages, at(1)), Vec::<String>::new());
        pages.wake(&sender, &to);
        assert_eq!(events(&mut pages, at(2)), ["1>sip:romeo@example.net 1"]);
    }
}
