//! Account: a user to run the command as, by what this machine's user database says.
//!
//! `getent` is asked, not this process's own C library: a static program would load the modules of the
//! system's (LDAP, systemd) into itself, and crashes where these are another build's.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    process::{Command, Stdio},
};

use nix::unistd::{Gid, Uid};

/// A user, with the groups that a login would give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    /// All groups, the first one of `gid` included.
    pub(super) groups: Vec<Gid>,
}

/// Where a machine without `getent` has them.
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

impl Account {
    /// The user of this name or number; `None` if there is none.
    ///
    /// # Errors
    /// If `getent` cannot be run, or, where there is none, /etc/passwd or /etc/group cannot be read.
    pub fn find(user: &str) -> io::Result<Option<Self>> {
        let Some(found) = getent("passwd", user)? else {
            let (passwd, group) = (fs::read_to_string(PASSWD)?, fs::read_to_string(GROUP)?);
            let of_user = |line: &&str| is_of(line, user);
            let account = passwd.lines().find(of_user).and_then(Self::parse);
            return Ok(account.map(|account| {
                let groups = listed(&group, &account.name);
                account.with_groups(groups)
            }));
        };
        let Some(account) = found.lines().next().and_then(Self::parse) else {
            return Ok(None);
        };
        // `NAME GID GID ...`; a C library that does not know this answers nothing.
        let groups = getent("initgroups", &account.name)?.unwrap_or_default();
        let groups = groups.split_whitespace().skip(1);
        let groups: Vec<u32> = groups.filter_map(|gid| gid.parse().ok()).collect();
        Ok(Some(account.with_groups(groups)))
    }

    /// From a line of passwd(5).
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = Gid::from_raw(fields.next()?.parse().ok()?);
        Some(Self {
            name,
            uid: Uid::from_raw(uid),
            gid,
            groups: vec![gid],
        })
    }

    fn with_groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        let others: BTreeSet<u32> = groups.into_iter().collect();
        let others = others.into_iter().map(Gid::from_raw);
        self.groups
            .extend(others.filter(|group| *group != self.gid));
        self
    }
}

/// What `getent` has of this key, which is nothing if there is none; `None` if there is no `getent`.
fn getent(database: &str, key: &str) -> io::Result<Option<String>> {
    let asked = Command::new("getent")
        .args([database, "--", key])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match asked {
        Ok(output) => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a line of passwd(5) is of the user of this name or number.
fn is_of(line: &str, user: &str) -> bool {
    let mut fields = line.split(':');
    let is_number = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit());
    match is_number {
        true => fields.nth(2) == Some(user),
        false => fields.next() == Some(user),
    }
}

/// The groups of group(5) that list this user.
fn listed(group: &str, name: &str) -> Vec<u32> {
    let of_line = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse().ok()?;
        let mut members = fields.next()?.split(',');
        members.any(|member| member == name).then_some(gid)
    };
    group.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let root = Account::find("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (Uid::from_raw(0), Gid::from_raw(0)));
        assert_eq!(root.groups.first(), Some(&root.gid));
        assert_eq!(Account::find("0").unwrap(), Some(root));
        for none in ["nobody-of-this-name", "4294967294", "", "-h"] {
            assert_eq!(Account::find(none).unwrap(), None, "{none}");
        }
    }

    #[test]
    fn without_getent_the_files_tell() {
        let line = "www:x:33:34:,,:/var/www:/bin/false";
        assert!(is_of(line, "www") && is_of(line, "33"));
        assert!(!is_of(line, "34") && !is_of(line, "ww") && !is_of(line, ""));
        let group = "www:x:34:\nadm:x:4:syslog,www\nssl:x:110:postgres,www2\n";
        let account = Account::parse(line).unwrap();
        let account = account.with_groups(listed(group, "www"));
        assert_eq!(account.groups, [34, 4].map(Gid::from_raw));
        assert_eq!(Account::parse("www:x:33"), None);
    }
}
