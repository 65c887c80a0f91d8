//! Whose a store is. Who opens one as another user leaves files in it that its owner cannot open: root may do that
//! without a word from the system, and the next start of the gateway would fail.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses root a store in a folder of another user, and says what to type instead. `command` is ours: `run`, `fsck`.
pub fn judge(folder: &Path, command: &str) -> Result<(), String> {
    let Ok(meta) = std::fs::metadata(folder) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() || meta.uid() == 0 {
        return Ok(());
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    Err(refusal(folder, command, (meta.uid(), meta.gid()), name(&users, meta.uid())))
}

fn refusal(folder: &Path, command: &str, (user, group): (u32, u32), name: Option<&str>) -> String {
    let (who, instead) = match name {
        Some(name) => (name.to_owned(), format!("runuser -u {name} --")),
        None => (format!("user {user}"), format!("setpriv --reuid {user} --regid {group} --clear-groups --")),
    };
    format!(
        "the store {} belongs to {who}, and root would leave files in it that {who} cannot open: \
         {instead} mostar {command} …",
        folder.display()
    )
}

/// The name of a user, by `/etc/passwd`.
fn name(users: &str, user: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse::<u32>().ok()?;
        (number == user && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\n\n# odd\n+::::::\nmostar:x:998:997::/var/lib/mostar:/usr/sbin/nologin\n";

    #[test]
    fn the_owner_has_a_name_or_a_number() {
        assert_eq!(name(USERS, 998), Some("mostar"));
        assert_eq!(name(USERS, 997), None);
        let said = |user| refusal(Path::new("/s"), "fsck", (user, 997), name(USERS, user));
        assert_eq!(
            said(998),
            "the store /s belongs to mostar, and root would leave files in it that mostar cannot open: \
             runuser -u mostar -- mostar fsck …"
        );
        assert!(said(5).ends_with("setpriv --reuid 5 --regid 997 --clear-groups -- mostar fsck …"));
    }
}
