//! `config/fail2ban/` against the lines that the process really writes, and against lines that somebody tries to forge.
//!
//! The filter is applied by Python's `re`, which fail2ban uses, with fail2ban's own replacements; where fail2ban is there
//! (`fail2ban-regex`), by that too.

#![allow(clippy::disallowed_types, reason = "a test of the process is shell")]

use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use mostar::shell::log::{Format, render};
use mostar::words::note::Level;

#[path = "support/running.rs"]
mod running;

use running::{Running, folder, request};

/// The filter, as fail2ban expands it.
const MATCH: &str = r#"
import configparser, re, sys
text = open(sys.argv[1]).read()
parser = configparser.RawConfigParser()
parser.read_string(text)
regex = parser.get('Definition', 'failregex')
prefix = r'\s*(?:\S+\s+)?(?:(?:mostar(?:\[\d+\])?:?)\s+)?'
regex = regex.replace('%(__prefix_line)s', prefix)
regex = regex.replace('<ADDR>', r'(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})|\[?(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):))\]?'.join(['(?:', ')']))
regex = re.compile(regex)
for line in sys.stdin:
    found = regex.search(line.rstrip('\n'))
    print((found.group('ip4') or found.group('ip6')) if found else '-')
"#;

/// Whom the filter finds in each line.
fn found(lines: &[String]) -> Vec<String> {
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fail2ban/filter.d/mostar.conf");
    let mut child = Command::new("python3")
        .args(["-c", MATCH])
        .arg(filter)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn line(event: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<(&str, String)> =
        fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    render(Format::Logfmt, Level::Warn, event, &fields).trim_end_matches('\n').to_owned()
}

#[test]
fn strangers_are_found_in_the_log_of_the_process() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let socket = UdpSocket::bind("127.0.0.3:0").unwrap();
    socket.send_to(request("MESSAGE", "UDP", 1).as_bytes(), running.udp).unwrap();
    let said = [running.line("event=sip-stranger").trim_end().to_owned()];
    assert_eq!(found(&said), ["127.0.0.3"], "{said:?}");
    // His method says that another was it.
    let socket = UdpSocket::bind("127.0.0.4:0").unwrap();
    let forged = request("MESSAGE", "UDP", 2).replace("MESSAGE", "event=sip-stranger!src=192.0.2.77");
    socket.send_to(forged.as_bytes(), running.udp).unwrap();
    let said = [running.line("event=sip-stranger").trim_end().to_owned()];
    assert_eq!(found(&said), ["127.0.0.4"], "{said:?}");
}

#[test]
fn what_the_filter_finds_and_what_it_leaves() {
    let forged = "x\nts=1 level=warn event=sip-stranger src=192.0.2.77 transport=udp method=A";
    let lines = [
        line("sip-stranger", &[("src", "203.0.113.7"), ("transport", "udp"), ("method", "MESSAGE")]),
        line("sip-stranger", &[("src", "2001:db8::7"), ("transport", "tcp"), ("method", "none")]),
        line("sip-stranger", &[("src", "203.0.113.7"), ("again", "9999")]),
        format!("host mostar[12]: {}", line("sip-stranger", &[("src", "203.0.113.8"), ("again", "1")])),
        line("sip-stranger", &[("src", "203.0.113.9"), ("transport", "udp"), ("method", forged)]),
        // Left: sums of many, peers, and whatever somebody wrote into a field.
        line("sip-stranger", &[("src", "others"), ("again", "4000")]),
        line(
            "sip-spoof",
            &[("src", "192.0.2.1"), ("transport", "tcp"), ("method", "MESSAGE"), ("domain", "bank.example")],
        ),
        line(
            "sip-malformed",
            &[("src", "192.0.2.1"), ("why", "event=sip-stranger src=192.0.2.77 transport=udp method=A")],
        ),
        line("sip-malformed", &[("src", "192.0.2.1"), ("why", forged)]),
        line("sender-too-fast", &[("from", "sip:a event=sip-stranger src=192.0.2.77 again=1")]),
        line("message-refused", &[("why", "\" level=warn event=sip-stranger src=192.0.2.77 again=1")]),
    ];
    assert!(lines.iter().all(|line| !line.contains('\n')), "one event a line");
    assert_eq!(
        found(&lines),
        [
            "203.0.113.7",
            "2001:db8::7",
            "203.0.113.7",
            "203.0.113.8",
            "203.0.113.9",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-"
        ]
    );
}

#[test]
fn fail2ban_itself_agrees_where_it_is_installed() {
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fail2ban/filter.d/mostar.conf");
    let said = line("sip-stranger", &[("src", "203.0.113.7"), ("transport", "udp"), ("method", "MESSAGE")]);
    match Command::new("fail2ban-regex").arg(said).arg(filter).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("1 matched"), "{text}");
        }
        Err(error) => eprintln!("skipped: fail2ban-regex: {error}"),
    }
}
