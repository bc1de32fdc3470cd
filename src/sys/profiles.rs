//! The profiles that AppArmor has loaded, as its file system in securityfs lists them.

use std::{fs, io, path::Path};

/// A loaded profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The paths of programs it takes hold of, a pattern; a program must ask for one without.
    pub attach: String,
    /// `enforce`, `complain`, `kill`, `unconfined`, `user`.
    pub mode: String,
}

/// All of them, children of profiles not among them; none: this host has no AppArmor, or it is switched off.
pub fn apparmor() -> Option<Result<Vec<Profile>, String>> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").ok()?;
    if !enabled.starts_with('Y') {
        return None;
    }
    Some(listed(Path::new("/sys/kernel/security/apparmor/policy/profiles")).map_err(|e| e.to_string()))
}

/// One directory per profile, with a file per fact (security/apparmor/apparmorfs.c).
fn listed(dir: &Path) -> io::Result<Vec<Profile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?.path();
        let fact = |name: &str| fs::read_to_string(entry.join(name)).map(|text| text.trim().to_owned());
        // one that is unloaded meanwhile takes hold of nothing
        if let (Ok(name), Ok(attach), Ok(mode)) = (fact("name"), fact("attach"), fact("mode")) {
            found.push(Profile { name, attach, mode });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_a_directory_with_a_file_per_fact() {
        let dir = tempfile::tempdir().unwrap();
        let profile = dir.path().join("usr.sbin.mysqld.3");
        fs::create_dir(&profile).unwrap();
        for (name, text) in [("name", "/usr/sbin/mysqld\n"), ("attach", "/usr/sbin/mysqld\n")] {
            fs::write(profile.join(name), text).unwrap();
        }
        assert_eq!(listed(dir.path()).unwrap(), []);
        fs::write(profile.join("mode"), "enforce\n").unwrap();
        let name = "/usr/sbin/mysqld".to_owned();
        assert_eq!(listed(dir.path()).unwrap(), [Profile { attach: name.clone(), name, mode: "enforce".into() }]);
        assert!(listed(&dir.path().join("none")).is_err());
    }
}
