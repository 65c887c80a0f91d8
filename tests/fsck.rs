//! `mostar fsck`: each kind of damage is named, mended, and not found again; nothing that was there is lost.
#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mostar::shell::fsck::ASIDE;
use mostar::store::sled::SledStore;
use mostar::words::id::Partition;
use serde_json::{Value, json};

#[path = "support/running.rs"]
mod running;

use running::{Running, SECRET, answer, message};

/// The configuration that the records of `tests/stores` belong to; its secrets are nowhere.
fn configuration(folder: &Path) -> String {
    format!(
        "xmpp:\n  server: 127.0.0.1:1\n  components:\n    - {{ domain: example.net, secret: {{ file: /nonexistent/secret }} }}\n    \
         - {{ domain: conference.example.net, rooms: true, secret: {{ env: MOSTAR_NO_SUCH_SECRET }} }}\n  domains:\n    \
         - {{ domain: example.com }}\n    - {{ domain: rooms.example.com, rooms: true }}\nsip:\n  listen: [ {} ]\n  \
         peers:\n    - uri: \"sip:127.0.0.1:1\"\n      may_send_from: [ example.net, conference.example.net ]\n\
         msrp: {{ listen: [] }}\nstore: {}/store\nhttp: none\n",
        running::both(),
        folder.display()
    )
}

/// A store as the present version leaves one.
fn healthy(folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/format-2");
    let store = folder.join("store");
    fs::create_dir_all(store.join("sled")).unwrap();
    for name in ["journal.0000000000000001", "sled/conf", "sled/db"] {
        fs::copy(source.join(name), store.join(name)).unwrap();
    }
    fs::OpenOptions::new().write(true).open(store.join("sled/db")).unwrap().set_len(512 * 1024).unwrap();
    fs::write(folder.join("mostar.yaml"), configuration(folder)).unwrap();
}

fn fsck(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(["fsck", "-c"])
        .arg(folder.join("mostar.yaml"))
        .args(more)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn open(folder: &Path) -> SledStore {
    SledStore::open(&folder.join("store")).unwrap()
}

type Pairs = Vec<(String, Vec<u8>)>;

fn pairs(store: &SledStore) -> Pairs {
    store
        .pairs()
        .map(|pair| pair.map(|(name, value)| (String::from_utf8(name).unwrap(), value)).unwrap())
        .collect()
}

/// The first record whose name and text are like that.
fn find(pairs: &Pairs, kind: &str, text: &str) -> (String, Value) {
    let like = |name: &String, value: &Vec<u8>| {
        name.starts_with(&format!("{kind}/")) && String::from_utf8_lossy(value).contains(text)
    };
    let (name, value) = pairs.iter().find(|(name, value)| like(name, value)).unwrap();
    (name.clone(), serde_json::from_slice(value).unwrap())
}

/// Changes that damage a store: names, and what stands there then.
type Damage = Vec<(String, Vec<u8>)>;

fn one(name: impl Into<String>, value: &Value) -> Damage {
    vec![(name.into(), serde_json::to_vec(value).unwrap())]
}

/// Every kind of damage: what `fsck` says of it, how it is done, and how many records it takes out of the store.
fn damages(all: &Pairs) -> Vec<(&'static str, Damage, usize)> {
    let (watch, mut consent) = find(all, "watch", "granted");
    consent["consent"] = json!({ "refused": { "until": 1 } });
    let (dialog, mut long_dialog) = find(all, "watch-dialog", "");
    long_dialog["subscription"]["until"] = json!(9_999_999_999_999_u64);
    let (contact, mut long_contact) = find(all, "contact", "dialog");
    let mut refused_contact = long_contact.clone();
    long_contact["dialog"]["expires"] = json!(9_999_999_999_999_u64);
    refused_contact["refused"] = json!(true);
    let mut stranger = refused_contact.clone();
    stranger["refused"] = json!(false);
    stranger["user"] = json!("nurse@elsewhere.example");
    let nurse = format!(
        "contact/{:02x}/nurse@elsewhere.example sip:romeo@example.net",
        Partition::of("nurse@elsewhere.example").0
    );
    let (page, pending) = find(all, "page", "pending");
    let mut refused = pending.clone();
    refused["pending"]["said"] = json!({ "status": 404 });
    let other_page = format!("{}{}", &page[..8], "0123456789".repeat(4));
    let done = json!({ "done": { "id": pending["pending"]["id"], "said": { "status": 202 }, "hops": 9, "until": 1 } });
    let (done_name, mut long_done) = find(all, "page", "done");
    long_done["done"]["until"] = json!(9_999_999_999_999_u64);
    let (post, posted) = find(all, "post", "");
    let verdict = json!({
        "post": posted,
        "condition": { "kind": "item-not-found", "scope": "Bare", "text": "no", "redirect": null }
    });
    let mut crowded = posted.clone();
    crowded["tag"] = json!("b6aaaaaaaaaaaaaaaa");
    let misplaced = post.replace("post/b6/", "post/b6/x");
    vec![
        ("its name is none of ours", vec![("odd".into(), b"1".to_vec())], 1),
        ("its kind is unknown", vec![("weird/0a/x".into(), b"\xff\xfe".to_vec())], 1),
        ("it is of a newer version", vec![("page.2/0a/x".into(), b"{}".to_vec())], 1),
        ("it cannot be read", vec![(watch.clone(), b"{\"user\":".to_vec())], 2),
        ("its name belongs to something else", one(misplaced, &posted), 1),
        ("of a domain that is not configured", one(nurse, &stranger), 1),
        ("was refused and waits all the same", one(page.clone(), &refused), 1),
        ("has met its fate and waits all the same", one(other_page.clone(), &done), 1),
        ("has met its fate and waits all the same", one(post.replace("post/", "verdict/"), &verdict), 1),
        ("waits under two names", one(other_page, &pending), 1),
        ("has the place of another one", one("post/b6/b6aaaaaaaaaaaaaaaa", &crowded), 0),
        ("would last longer than anything may", one(dialog, &long_dialog), 0),
        ("would last longer than anything may", one(contact.clone(), &long_contact), 0),
        ("would last longer than anything may", one(done_name, &long_done), 0),
        ("was let in and nobody has consented", one(watch, &consent), 1),
        ("has refused and is watched all the same", one(contact, &refused_contact), 1),
    ]
}

#[test]
fn every_damage_is_named_mended_and_nothing_is_lost() {
    let pristine = tempfile::tempdir().unwrap();
    healthy(pristine.path());
    let all = pairs(&open(pristine.path()));
    let mut runs = 0;
    for (words, damage, gone) in damages(&all) {
        let folder = tempfile::tempdir().unwrap();
        healthy(folder.path());
        let mut store = open(folder.path());
        store.amend(damage.into_iter().map(|(name, value)| (name, Some(value))).collect()).unwrap();
        let before = pairs(&store);
        drop(store);
        let (status, said) = fsck(folder.path(), &[]);
        assert_eq!(status, Some(1), "{words}: {said}");
        assert!(said.lines().next().unwrap().contains(words), "{words}: {said}");
        assert_eq!(pairs(&open(folder.path())), before, "{words}: a look changes nothing");
        let (status, said) = fsck(folder.path(), &["--repair"]);
        assert_eq!(status, Some(0), "{words}: {said}");
        assert!(said.contains("is in order") && said.contains("repaired: "), "{words}: {said}");
        let after = pairs(&open(folder.path()));
        assert_eq!(after.len() + gone, before.len(), "{words}: {said}");
        let aside = fs::read_to_string(folder.path().join("store").join(ASIDE)).unwrap();
        for (name, value) in before.iter().filter(|pair| !after.contains(pair)) {
            let line = aside.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let text = String::from_utf8(value.clone());
            let is_it = |line: &Value| {
                line["record"] == **name
                    && match &text {
                        Ok(text) => line["value"] == **text,
                        Err(_) => line["bytes"] == "fffe",
                    }
            };
            assert_eq!(line.filter(is_it).count(), 1, "{words}: {name} is set aside: {aside}");
        }
        let (status, said) = fsck(folder.path(), &["--repair"]);
        assert_eq!((status, said.contains("repaired")), (Some(0), false), "{words}: {said}");
        runs += 1;
    }
    result("invariant\t1, 9: fsck finds and mends damage\tdamaged records\t", runs);
}

#[test]
fn a_gateway_starts_after_a_repair_of_everything_at_once() {
    let folder = tempfile::tempdir().unwrap();
    healthy(folder.path());
    let mut store = open(folder.path());
    let all = pairs(&store);
    let damage = damages(&all).into_iter().flat_map(|(_, damage, _)| damage);
    store.amend(damage.map(|(name, value)| (name, Some(value))).collect()).unwrap();
    drop(store);
    assert_eq!(fsck(folder.path(), &["--repair"]).0, Some(0));
    let text = configuration(folder.path())
        .replace("file: /nonexistent/secret", "env: MOSTAR_TEST_SECRET")
        .replace("MOSTAR_NO_SUCH_SECRET", "MOSTAR_TEST_SECRET");
    let running = Running::of(folder.path(), &text);
    assert!(running.records > 10, "{}", running.records);
    let (status, said) = fsck(folder.path(), &[]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("is in use: stop the gateway"), "{said}");
    assert!(!said.contains(SECRET));
}

#[test]
fn a_store_of_a_killed_gateway_is_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::new(folder.path());
    let mut stream = running.connect();
    for number in 0..30 {
        stream.write_all(&message(number, b"hello")).unwrap();
        assert!(answer(&mut stream).starts_with("SIP/2.0 202 "));
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    // The secret of this configuration is in no variable of ours.
    let (status, said) = fsck(folder.path(), &[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("messages to XMPP: 30 wait; of late 0 were delivered, 0 failed"), "{said}");
    assert!(said.contains("is in order"), "{said}");
}

/// Who is there, and whose it is.
fn owners(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(owners(&path));
        }
        found.push((path, meta.uid()));
    }
    found.sort();
    found
}

#[test]
fn root_opens_no_store_of_another_user() {
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    healthy(folder.path());
    let store = folder.path().join("store");
    let paths = owners(&store).into_iter().map(|(path, _)| path);
    for path in paths.chain([store.clone()]) {
        if let Err(error) = chown(&path, Some(NOBODY), Some(NOBODY)) {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            println!("NOT TRIED: only root can give a store to another user");
            return;
        }
    }
    let before = owners(&store);
    let names = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let instead = match names.lines().any(|line| line.starts_with("nobody:x:65534:")) {
        true => "runuser -u nobody -- mostar",
        false => "setpriv --reuid 65534 --regid 65534 --clear-groups -- mostar",
    };
    for more in [&[][..], &["--repair"]] {
        let (status, said) = fsck(folder.path(), more);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(&format!("{instead} fsck")), "{said}");
    }
    let text = configuration(folder.path())
        .replace("file: /nonexistent/secret", "env: MOSTAR_TEST_SECRET")
        .replace("MOSTAR_NO_SUCH_SECRET", "MOSTAR_TEST_SECRET");
    fs::write(folder.path().join("mostar.yaml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(["run", "-c"])
        .arg(folder.path().join("mostar.yaml"))
        .env("MOSTAR_TEST_SECRET", SECRET)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{instead} run")), "{said}");
    assert_eq!(owners(&store), before, "nothing was made and nothing has changed hands");
}

#[test]
fn what_is_no_store_is_said_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mostar.yaml"), configuration(folder.path())).unwrap();
    let (status, said) = fsck(folder.path(), &[]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("there is no store in"), "{said}");
    assert!(!folder.path().join("store").exists());
    healthy(folder.path());
    let db = sled::open(folder.path().join("store/sled")).unwrap();
    db.insert("format", b"7").unwrap();
    drop(db);
    let (status, said) = fsck(folder.path(), &["--repair"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("written by a newer Mostar"), "{said}");
    fs::write(folder.path().join("mostar.yaml"), "xmpp: 1\n").unwrap();
    assert_eq!(fsck(folder.path(), &[]).0, Some(2));
}

/// How long a look at a large store takes: `MOSTAR_RECORDS=1000000` for as many messages that wait and as
/// many subscriptions.
#[test]
#[ignore = "it takes long; it is for figures"]
fn a_large_store_is_looked_at_in_bounded_time() {
    let count: usize =
        std::env::var("MOSTAR_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let folder = tempfile::tempdir().unwrap();
    healthy(folder.path());
    let mut store = open(folder.path());
    let all = pairs(&store);
    let (_, mut post) = find(&all, "post", "");
    let (_, mut contact) = find(&all, "contact", "dialog");
    let partition = format!("{:02x}", Partition::of("juliet@example.com").0);
    for first in (0..count).step_by(500) {
        let mut changes = Vec::new();
        for number in first..count.min(first + 500) {
            post["tag"] = json!(format!("b6{number:016}"));
            post["order"] = json!((1_u64 << 40) + number as u64);
            let name = format!("post/{partition}/b6{number:016}");
            changes.push((name, Some(serde_json::to_vec(&post).unwrap())));
            contact["contact"]["user"] = json!(format!("r{number}"));
            let name = format!("contact/{partition}/juliet@example.com sip:r{number}@example.net");
            changes.push((name, Some(serde_json::to_vec(&contact).unwrap())));
        }
        store.amend(changes).unwrap();
        while mostar::store::Store::tidy(&mut store).unwrap() {}
    }
    drop(store);
    let began = std::time::Instant::now();
    let (status, said) = fsck(folder.path(), &[]);
    println!("{} records: {:.1} s; {said}", 2 * count, began.elapsed().as_secs_f64());
    assert_eq!(status, Some(0), "{said}");
}

/// A line for the table of results, where one is made.
fn result(line: &str, runs: usize) {
    let Some(path) = std::env::var_os("MOSTAR_RESULTS") else { return };
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}{runs}\t0\n").as_bytes()).unwrap();
}
