//! How `scripts/try` and `scripts/test` install packages: nothing is started or left enabled, what was there stays.
//!
//! Run against stand-ins for `apt-get`, `dpkg`, `dpkg-query` and `systemctl`, since a test may not install anything and
//! a build machine has no running systemd.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A machine made of files: `installed` and `enabled` are lists, `log` is what was asked of systemctl and apt-get.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().expect("a folder"));
        machine.write("installed", "old-server\n");
        machine.write("enabled", "old-server.service\n");
        machine.write("active", "old-server.service\n");
        machine.write("log", "");
        machine.tool("dpkg-query", r#"sed 's/^/installed /' "$M/installed""#);
        machine
            .tool("dpkg", r#"[ "$1" = -L ] && echo "/lib/systemd/system/$2.service" && echo /etc/init.d/$2"#);
        // Installing brings a dependency along; what is installed gets enabled, as postinst scripts do.
        machine.tool(
            "apt-get",
            r#"echo "apt-get $*" >>"$M/log"
               [ "$1" = install ] || exit 0
               [ ! -e "$M/fail" ] || exit 100
               cat "$POLICY" >"$M/policy-seen"
               for package in new-server dependency; do
                   echo $package >>"$M/installed"; echo $package.service >>"$M/enabled"
               done"#,
        );
        machine.tool(
            "systemctl",
            r#"verb=$1; for unit; do :; done
               case $verb in
                   is-enabled) grep -qx "$unit" "$M/enabled" && echo enabled ;;
                   is-active) grep -qx "$unit" "$M/active" ;;
                   *) echo "systemctl $*" >>"$M/log"; sed -i "/^$unit$/d" "$M/enabled" ;;
               esac"#,
        );
        machine.tool("id", "echo 0");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn tool(&self, name: &str, script: &str) {
        self.write(name, &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn install(&self) -> Output {
        let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/packages.sh");
        let path = std::env::var("PATH").expect("a path");
        Command::new("bash")
            .args(["-euc", ". \"$1\"; install_packages new-server", "test"])
            .arg(library)
            .env("PATH", format!("{}:{path}", self.0.path().display()))
            .env("M", self.0.path())
            .env("POLICY", self.path("policy"))
            .output()
            .expect("bash runs")
    }
}

#[test]
fn what_packages_bring_is_disabled_and_what_was_there_stays() {
    let machine = Machine::new();
    let output = machine.install();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(machine.read("enabled"), "old-server.service\n");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("disabled new-server.service") && told.contains("disabled dependency.service"),
        "{told}"
    );
    assert!(!machine.read("log").contains("old-server"), "{}", machine.read("log"));
}

#[test]
fn nothing_starts_while_packages_are_installed() {
    let machine = Machine::new();
    assert!(machine.install().status.success());
    assert!(machine.read("policy-seen").ends_with("exit 101\n"));
    assert!(!machine.path("policy").exists(), "the policy of the installation is left behind");
}

#[test]
fn a_policy_that_is_there_is_kept() {
    let machine = Machine::new();
    machine.write("policy", "of the admin\n");
    assert!(machine.install().status.success());
    assert_eq!(machine.read("policy-seen"), "of the admin\n");
    assert_eq!(machine.read("policy"), "of the admin\n");
}

#[test]
fn a_service_that_was_started_nevertheless_is_stopped() {
    let machine = Machine::new();
    machine.write("active", "new-server.service\n");
    assert!(machine.install().status.success());
    assert!(machine.read("log").contains("systemctl stop new-server.service"));
}

#[test]
fn a_failed_installation_cleans_up_and_says_so() {
    let machine = Machine::new();
    machine.write("fail", "");
    let output = machine.install();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("could not install: new-server"));
    assert!(!machine.path("policy").exists());
}
