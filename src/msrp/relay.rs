//! Admission to a relay of our own (RFC 4976 §5.1, §9.1): one AUTH, its challenge, and the path that it earns.
//!
//! The path leads through the relay over the connection that the AUTH went over, for one session. It deliberately knows
//! one relay, not a chain of them, answers no Basic, and does not check `rspauth`: the relay has proven itself by TLS.

use std::fmt;
use std::time::Duration;

use sipx_sip::auth::{Challenge, Credentials, respond, strongest};

use super::frame::{Method, Request, Response, mint_tid};
use super::path::Path;
use super::uri::Uri;
use crate::words::id::{Mint, Partition};

/// How long a path shall be good: longer than chats are. A relay names its own limit.
const GOOD_FOR: Duration = Duration::from_secs(86_400);

/// How often an AUTH is repeated: for a challenge, a stale nonce, a limit.
const TRIES: u32 = 4;

/// A relay, and how it knows us.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The relay's URI, without a session-id.
    pub relay: Uri,
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// An admission that is under way.
#[derive(Debug)]
pub struct Admission {
    account: Account,
    own: Path,
    tid: String,
    expires: Duration,
    tries: u32,
    was_challenged: bool,
}

/// What an answer to an AUTH leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Again(Box<Request>),
    /// It is granted: the relays before the peer's path in To-Path, and for how long.
    Granted(Path, Option<Duration>),
    /// It is refused with this code.
    Refused(u16),
}

impl Admission {
    /// Begins; the request is to be sent to the relay.
    pub fn begin(mint: &mut Mint, partition: Partition, own: Path, account: Account) -> (Admission, Request) {
        let mut admission = Admission {
            account,
            own,
            tid: String::new(),
            expires: GOOD_FOR,
            tries: 0,
            was_challenged: false,
        };
        let request = admission.request(mint, partition);
        (admission, request)
    }

    /// The transaction that is out.
    pub fn tid(&self) -> &str {
        &self.tid
    }

    /// An answer came.
    pub fn answer(&mut self, mint: &mut Mint, partition: Partition, response: &Response) -> Step {
        let value = |wanted: &str| {
            let named = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(wanted);
            response.headers.iter().find(named).map(|(_, value)| value.as_str())
        };
        if self.tries >= TRIES {
            return Step::Refused(response.code);
        }
        match response.code {
            200 => match value("Use-Path").map(Path::parse) {
                Some(Ok(path)) => {
                    let seconds = value("Expires").and_then(|digits| digits.trim().parse().ok());
                    Step::Granted(path, seconds.map(Duration::from_secs))
                }
                _ => Step::Refused(400),
            },
            401 => {
                let offers = response
                    .headers
                    .iter()
                    .filter(|(name, _)| name.eq_ignore_ascii_case("WWW-Authenticate"))
                    .filter_map(|(_, value)| Challenge::parse(value.as_bytes(), false));
                let Some(challenge) = strongest(offers.collect()) else { return Step::Refused(401) };
                // The same challenge again means a wrong password; a stale nonce does not.
                if self.was_challenged && !challenge.stale {
                    return Step::Refused(401);
                }
                self.was_challenged = true;
                let credentials =
                    Credentials::new(self.account.username.clone(), self.account.password.clone());
                let nonce = mint.token(partition);
                let uri = self.account.relay.as_str();
                let answer = respond(&challenge, &credentials, "AUTH", uri, 1, &nonce);
                let mut request = self.request(mint, partition);
                request.headers.push(("Authorization".into(), answer));
                Step::Again(Box::new(request))
            }
            423 => {
                let seconds = |name| value(name).and_then(|digits| digits.trim().parse().ok());
                let Some(limit) = seconds("Max-Expires").or(seconds("Min-Expires")) else {
                    return Step::Refused(423);
                };
                self.expires = Duration::from_secs(limit);
                // It will be challenged anew.
                self.was_challenged = false;
                Step::Again(Box::new(self.request(mint, partition)))
            }
            code => Step::Refused(code),
        }
    }

    fn request(&mut self, mint: &mut Mint, partition: Partition) -> Request {
        self.tries += 1;
        self.tid = mint_tid(mint, partition, b"");
        let to = Path::from(self.account.relay.clone());
        let mut request = Request::new(self.tid.clone(), Method::Auth, to, self.own.clone());
        request.headers.push(("Expires".into(), self.expires.as_secs().to_string()));
        request
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at {}", self.username, self.relay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::id::Seed;

    const CHALLENGE: &str = r#"Digest realm="intra.example.com", qop="auth", nonce="dcd98b71""#;

    struct World {
        mint: Mint,
        admission: Admission,
        last: Request,
    }

    impl World {
        fn new() -> World {
            let account = Account {
                relay: Uri::parse("msrps://alice@intra.example.com:2855;tcp").unwrap(),
                username: "alice".into(),
                password: "secret".into(),
            };
            let own = Path::parse("msrps://us:9892/98cjs;tcp").unwrap();
            let mut mint = Mint::new(Seed([8; 32]));
            let (admission, last) = Admission::begin(&mut mint, Partition(0), own, account);
            World { mint, admission, last }
        }

        /// In short what an answer leads to.
        fn answer(&mut self, code: u16, headers: &[(&str, &str)]) -> String {
            let mut response = self.last.response(code).unwrap();
            response.headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            match self.admission.answer(&mut self.mint, Partition(0), &response) {
                Step::Again(request) => {
                    assert_eq!(request.tid, self.admission.tid());
                    self.last = *request;
                    let names: Vec<_> = self.last.headers.iter().map(|(name, _)| name.as_str()).collect();
                    format!("again with {}", names.join(", "))
                }
                Step::Granted(path, expires) => {
                    format!("{path} for {}", expires.map_or(0, |time| time.as_secs()))
                }
                Step::Refused(code) => code.to_string(),
            }
        }
    }

    #[test]
    fn a_challenge_is_answered_and_a_path_is_granted() {
        let mut world = World::new();
        assert_eq!(world.last.method, Method::Auth);
        assert_eq!(
            world.answer(401, &[("WWW-Authenticate", CHALLENGE)]),
            "again with Expires, Authorization"
        );
        let (_, answer) = &world.last.headers[1];
        assert!(answer.contains("uri=\"msrps://alice@intra.example.com:2855;tcp\""), "{answer}");
        assert!(answer.contains("qop=auth") && answer.contains("nc=00000001"), "{answer}");
        let path = "msrps://intra.example.com:9000/jui787s2f;tcp";
        let granted = world.answer(200, &[("Use-Path", path), ("Expires", "900")]);
        assert_eq!(granted, format!("{path} for 900"));
    }

    #[test]
    fn a_second_challenge_is_a_wrong_password_unless_the_nonce_was_stale() {
        let mut world = World::new();
        let stale = [CHALLENGE, ", stale=true"].concat();
        assert_ne!(world.answer(401, &[("WWW-Authenticate", CHALLENGE)]), "401");
        assert_ne!(world.answer(401, &[("WWW-Authenticate", &stale)]), "401");
        assert_eq!(world.answer(401, &[("WWW-Authenticate", CHALLENGE)]), "401");
    }

    #[test]
    fn a_limit_of_the_relay_is_kept() {
        let mut world = World::new();
        assert_eq!(world.answer(423, &[("Max-Expires", "900")]), "again with Expires");
        assert_eq!(world.last.headers[0].1, "900");
    }

    #[test]
    fn what_cannot_be_answered_is_a_refusal() {
        for (code, headers, why) in [
            (403, vec![], "403"),
            (401, vec![], "401"),
            (401, vec![("WWW-Authenticate", "Basic realm=x")], "401"),
            (423, vec![], "423"),
            (200, vec![], "400"),
        ] {
            assert_eq!(World::new().answer(code, &headers), why, "{code}");
        }
        let mut world = World::new();
        let told: Vec<_> = (0..5).map(|_| world.answer(423, &[("Min-Expires", "9")])).collect();
        assert_eq!(told.last().map(String::as_str), Some("423"), "not for ever");
    }

    #[test]
    fn a_password_is_not_shown() {
        assert!(!format!("{:?}", World::new().admission).contains("secret"));
    }
}
