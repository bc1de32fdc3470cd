//! Which archives the host's own apt is configured for, and which of them a private root uses. Pure: works on the text
//! of `apt-get indextargets` and of `/etc/os-release`. No host name of an archive is known here.

/// What `apt-get indextargets` is asked to print, one line per index. A field apt does not know stays as it is written.
pub const FORMAT: &str = "$(ORIGIN)|$(LABEL)|$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)";

/// The two families of distributions whose archives are known to have what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Debian: MySQL only in `sid` (looked up in Debian 12, 13 and sid, November 2026).
    Debian,
    /// Ubuntu: MySQL in every release.
    Ubuntu,
}

impl Family {
    /// Its `Origin:` in Release files.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Debian => "Debian",
            Family::Ubuntu => "Ubuntu",
        }
    }

    /// File name of its keys under `/usr/share/keyrings` (packages debian-archive-keyring and ubuntu-keyring).
    pub fn keyring(self) -> &'static str {
        match self {
            Family::Debian => "debian-archive-keyring.gpg",
            Family::Ubuntu => "ubuntu-archive-keyring.gpg",
        }
    }

    /// The packages that may hold the server, best first. Ubuntu puts the series into the name.
    pub fn mysql_packages(self) -> &'static [&'static str] {
        match self {
            Family::Debian => &["mysql-server-core"],
            Family::Ubuntu => &["mysql-server-core-8.0", "mysql-server-core", "mysql-server-core-8.4"],
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        [Family::Debian, Family::Ubuntu].into_iter().find(|f| f.as_str().eq_ignore_ascii_case(name))
    }
}

/// One suite of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// The archive's address, as the host's apt has it.
    pub uri: String,
    /// The suite's name in the archive.
    pub name: String,
    /// Its components that are used.
    pub components: Vec<String>,
}

/// The archives of one distribution as the host uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostArchive {
    /// Whose.
    pub family: Family,
    /// The release's own suite first, then its updates and security suites.
    pub suites: Vec<Suite>,
}

impl HostArchive {
    /// The suites MySQL is taken from.
    pub fn for_mysql(&self, wanted: Option<&str>) -> Vec<Suite> {
        let named = match (self.family, wanted) {
            (_, Some(name)) => name,
            (Family::Debian, None) => "sid",
            (Family::Ubuntu, None) => return self.suites.clone(),
        };
        match self.suites.first() {
            // the host's own release, asked for by name: with its updates
            Some(own) if own.name == named => self.suites.clone(),
            Some(own) => vec![Suite { name: named.to_owned(), ..own.clone() }],
            None => Vec::new(),
        }
    }
}

/// The archives to try, best first. With downloaded indexes apt knows whose an archive is and there is one; on a host
/// where `apt-get update` never ran, every archive that has the release's name is a candidate, and the signature decides.
pub fn host_archives(indextargets: &str, os_release: &str) -> Vec<HostArchive> {
    let lines: Vec<[&str; 6]> =
        indextargets.lines().filter_map(|l| l.split('|').collect::<Vec<_>>().try_into().ok()).collect();
    let known: Vec<_> = lines
        .iter()
        .filter_map(|&[origin, label, codename, release, component, uri]| {
            let family = Family::by_name(origin)?;
            // Backports and the like have labels of their own.
            let plain = label == origin || label == "Debian-Security";
            plain.then_some((family, codename, release, component, uri))
        })
        .collect();
    let own = own_release(os_release);
    // A host may name several releases (pinning); the running one is meant, or else the first.
    let running = |codename: &str| own.as_ref().is_some_and(|(_, name)| name == codename);
    let base = known.iter().find(|k| running(k.1)).or_else(|| known.iter().find(|k| is_base(k.1)));
    if let Some(&(family, codename, ..)) = base {
        let mut suites = Vec::new();
        for &(f, c, release, component, uri) in &known {
            // Ubuntu's updates have the release's code name (so has its backports), Debian's have their own.
            if f == family && of_release(c, codename) && (is_base(release) || is_fixes(release)) {
                add(&mut suites, family, release, component, uri);
            }
        }
        return sorted(family, suites).into_iter().collect();
    }
    let Some((family, codename)) = own else { return Vec::new() };
    let mut archives: Vec<HostArchive> = Vec::new();
    let mut uris: Vec<&str> = Vec::new();
    for &[_, _, _, release, component, uri] in &lines {
        if release == codename && component == "main" && !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    for candidate in uris {
        let mut suites = Vec::new();
        for &[_, _, _, release, component, uri] in &lines {
            if (release == codename && uri == candidate) || (release != codename && of_release(release, &codename)) {
                add(&mut suites, family, release, component, uri);
            }
        }
        archives.extend(sorted(family, suites));
    }
    archives
}

/// Whether a suite's name is that of a release itself.
fn is_base(suite: &str) -> bool {
    !suite.contains('-')
}

/// Whether a suite's name is that of a release's fixes.
fn is_fixes(suite: &str) -> bool {
    suite.ends_with("-updates") || suite.ends_with("-security")
}

/// Whether a suite is the release itself, its updates or its security fixes.
fn of_release(suite: &str, codename: &str) -> bool {
    suite.strip_prefix(codename).is_some_and(|rest| matches!(rest, "" | "-updates" | "-security"))
}

fn add(suites: &mut Vec<Suite>, family: Family, release: &str, component: &str, uri: &str) {
    // openjdk-17 is in universe on Ubuntu 24.04
    let used = component == "main" || (family == Family::Ubuntu && component == "universe");
    if !used {
        return;
    }
    match suites.iter_mut().find(|s| s.uri == uri && s.name == release) {
        Some(suite) if suite.components.iter().any(|c| c == component) => {}
        Some(suite) => suite.components.push(component.to_owned()),
        None => {
            let components = vec![component.to_owned()];
            suites.push(Suite { uri: uri.to_owned(), name: release.to_owned(), components });
        }
    }
}

fn sorted(family: Family, mut suites: Vec<Suite>) -> Option<HostArchive> {
    // stable: the release's own suite first, the others as they came
    suites.sort_by_key(|s| !is_base(&s.name));
    (!suites.is_empty()).then_some(HostArchive { family, suites })
}

/// Family and code name of the running system; a derivative names the Ubuntu release it is made of.
fn own_release(os_release: &str) -> Option<(Family, String)> {
    let value = |key: &str| {
        os_release.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).map(|v| v.trim_matches(['"', '\'']))
    };
    if let Some(codename) = value("UBUNTU_CODENAME").filter(|c| !c.is_empty()) {
        return Some((Family::Ubuntu, codename.to_owned()));
    }
    let family = Family::by_name(value("ID")?)?;
    Some((family, value("VERSION_CODENAME").filter(|c| !c.is_empty())?.to_owned()))
}

/// The `sources.list` of a private root (sources.list(5)): only package indexes, only what `keyring` signed.
pub fn sources_list(suites: &[Suite], keyring: &str) -> String {
    suites.iter().fold(String::new(), |text, s| {
        let components = s.components.join(" ");
        format!("{text}deb [signed-by={keyring} target=Packages lang=none] {} {} {components}\n", s.uri, s.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "\
Debian|Debian|bookworm|bookworm|main|http://mirror.test/debian/
Debian|Debian|bookworm-updates|bookworm-updates|main|http://mirror.test/debian/
Debian|Debian-Security|bookworm-security|bookworm-security|main|http://mirror.test/debian-security/
Debian|Debian Backports|bookworm-backports|bookworm-backports|main|http://mirror.test/debian/
Other|Other|bookworm|bookworm|main|http://other.test/
";
    const UBUNTU: &str = "\
Ubuntu|Ubuntu|noble|noble-security|main|http://security.test/ubuntu/
Ubuntu|Ubuntu|noble|noble|main|http://archive.test/ubuntu/
Ubuntu|Ubuntu|noble|noble|universe|http://archive.test/ubuntu/
Ubuntu|Ubuntu|noble|noble|multiverse|http://archive.test/ubuntu/
Ubuntu|Ubuntu|noble|noble-updates|main|http://archive.test/ubuntu/
Ubuntu|Ubuntu|noble|noble-backports|main|http://archive.test/ubuntu/
";

    fn names(suites: &[Suite]) -> Vec<&str> {
        suites.iter().map(|s| s.name.as_str()).collect()
    }

    #[test]
    fn on_debian_mysql_comes_from_sid_of_the_hosts_own_archive_and_java_from_the_release() {
        let [host] = &host_archives(DEBIAN, "")[..] else { panic!() };
        assert_eq!(names(&host.suites), ["bookworm", "bookworm-updates", "bookworm-security"]);
        let suites = host.for_mysql(None);
        assert_eq!(
            sources_list(&suites, "/k.gpg"),
            "deb [signed-by=/k.gpg target=Packages lang=none] http://mirror.test/debian/ sid main\n"
        );
        assert_eq!(names(&host.for_mysql(Some("bookworm"))).len(), 3);
        assert_eq!(names(&host.for_mysql(Some("forky"))), ["forky"]);
    }

    #[test]
    fn on_ubuntu_everything_comes_from_the_release_with_updates_and_security() {
        let [host] = &host_archives(UBUNTU, "")[..] else { panic!() };
        assert_eq!(host.family, Family::Ubuntu);
        assert_eq!(names(&host.suites), ["noble", "noble-security", "noble-updates"]);
        assert_eq!(host.suites[0].components, ["main", "universe"]);
        assert_eq!(host.suites[1].uri, "http://security.test/ubuntu/");
        assert_eq!(host.for_mysql(None), host.suites);
    }

    #[test]
    fn without_downloaded_indexes_every_archive_of_the_release_is_a_candidate() {
        let blank = |text: &str| {
            text.lines()
                .map(|l| {
                    l.splitn(4, '|').last().map(|rest| format!("$(ORIGIN)|$(LABEL)|$(CODENAME)|{rest}\n")).unwrap()
                })
                .collect::<String>()
        };
        let os = "ID=debian\nVERSION_CODENAME=bookworm\n";
        let archives = host_archives(&blank(DEBIAN), os);
        assert_eq!(archives.len(), 2);
        assert_eq!(archives[0].suites[0].uri, "http://mirror.test/debian/");
        assert_eq!(archives[1].suites[0].uri, "http://other.test/");
        let mint = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n";
        let archives = host_archives(&blank(UBUNTU), mint);
        assert_eq!(names(&archives[0].suites), ["noble", "noble-security", "noble-updates"]);
    }

    #[test]
    fn another_distribution_has_no_archive() {
        assert!(host_archives("", "ID=fedora\n").is_empty());
        assert!(host_archives("garbage\na|b\n", "ID=debian\nVERSION_CODENAME=bookworm\n").is_empty());
    }
}
