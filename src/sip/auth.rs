//! Answers to digest challenges (RFC 3261 §22, RFC 7616, RFC 8760): the arithmetic is `sipx-sip`'s.
//!
//! Of several challenges for one realm the strongest that we know is answered (SHA-512-256, SHA-256, MD5), which
//! RFC 8760 §2.4 lets a local policy decide: the order of the challenges is not protected. Basic is never answered.
//! `auth-int` is not done.

use sipx_sip::auth::{Challenge, Credentials, respond, strongest};

use super::message::{HeaderName, Response};
use crate::config::Auth;

/// What challenges a response carries: one for each realm.
pub fn challenges(response: &Response) -> Vec<Challenge> {
    let mut all: Vec<Challenge> = Vec::new();
    for (name, from_proxy) in [(HeaderName::WwwAuthenticate, false), (HeaderName::ProxyAuthenticate, true)] {
        for header in response.headers.get_all(&name) {
            all.extend(split(&String::from_utf8_lossy(&header.value()), from_proxy));
        }
    }
    let mut out = Vec::new();
    while let Some(first) = all.first() {
        let (realm, from_proxy) = (first.realm.clone(), first.from_proxy);
        let same = |challenge: &Challenge| challenge.realm == realm && challenge.from_proxy == from_proxy;
        let offers = all.iter().filter(|challenge| same(challenge)).cloned().collect();
        all.retain(|challenge| !same(challenge));
        out.extend(strongest(offers));
    }
    out
}

/// One header line may carry several challenges: each begins with its scheme (RFC 7235 §4.1).
fn split(value: &str, from_proxy: bool) -> Vec<Challenge> {
    let lower = value.to_ascii_lowercase();
    let mut starts: Vec<usize> = Vec::new();
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in lower.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            'd' if !quoted && lower[at..].starts_with("digest ") => {
                let before = lower[..at].trim_end();
                if before.is_empty() || before.ends_with(',') {
                    starts.push(at);
                }
            }
            _ => {}
        }
    }
    let ends = starts.iter().skip(1).copied().chain([value.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(from, to)| Challenge::parse(&value.as_bytes()[*from..to], from_proxy))
        .collect()
}

/// The header that answers a challenge. `count` says how often its nonce was used, this time included.
pub fn answer(
    challenge: &Challenge,
    auth: &Auth,
    method: &str,
    uri: &str,
    count: u32,
    client_nonce: &str,
) -> (HeaderName, String) {
    let credentials = Credentials::new(auth.username.clone(), auth.password.reveal());
    (challenge.response_header(), respond(challenge, &credentials, method, uri, count, client_nonce))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use sipx_sip::{Header, StatusCode};

    fn challenged(rows: &[(HeaderName, &str)]) -> Response {
        let mut response = Response::new(StatusCode::new(401).expect("a status"), "Unauthorized");
        for (name, value) in rows {
            response.headers.push(Header::build(name.clone(), value.to_string()).expect("a header"));
        }
        response
    }

    #[test]
    fn the_strongest_challenge_of_each_realm_is_answered() {
        let response = challenged(&[
            (
                HeaderName::WwwAuthenticate,
                r#"Digest realm="a, Digest b", nonce="1", Digest realm="a, Digest b", nonce="2", algorithm=SHA-256"#,
            ),
            (HeaderName::WwwAuthenticate, r#"Basic realm="c""#),
            (HeaderName::ProxyAuthenticate, r#"Digest realm="p", nonce="3", algorithm=MD9"#),
            (HeaderName::ProxyAuthenticate, r#"Digest realm="p", nonce="4", qop="auth,auth-int""#),
        ]);
        let nonces: Vec<_> = challenges(&response).into_iter().map(|one| one.nonce).collect();
        assert_eq!(nonces, ["2", "4"]);
    }

    #[test]
    fn the_published_example_comes_out() {
        // RFC 7616 §3.9.1, for SHA-256.
        let challenge = Challenge::parse(
            br#"Digest realm="http-auth@example.org", qop="auth", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
            false,
        )
        .expect("a challenge");
        let auth = Auth { username: "Mufasa".into(), password: Secret::new("Circle of Life") };
        let nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let (name, value) = answer(&challenge, &auth, "GET", "/dir/index.html", 1, nonce);
        assert_eq!(name, HeaderName::Authorization);
        assert!(
            value.contains("753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            "{value}"
        );
    }
}
