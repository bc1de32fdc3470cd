//! Maven for a guest without a network: the host's own, and what the host's repository has, served by the guest as a mirror of all others.

use super::{
    guest::Guest,
    node,
    programs::{contains, ended, programs},
    support,
};
use std::{
    fs,
    io::{Error, Result},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Where the guest's server is told to be in Maven's settings; everything comes from there.
const SETTINGS: &str = "<settings><mirrors><mirror><id>guest</id><mirrorOf>*</mirrorOf><url>http://127.0.0.1:8002/</url></mirror></mirrors></settings>\n";

/// Why nothing could be provided: a registry that is away, say.
static WHY_NOT: OnceLock<String> = OnceLock::new();

/// Does what [`provide`] does, whatever becomes of it.
pub fn provide_or_note(share: &Path) {
    if let Err(why) = provide(share) {
        WHY_NOT.get_or_init(|| why.to_string());
    }
}

/// Says in the guest's directory where Maven, its repository and Java are, with settings beside; nothing where this host has no Maven as
/// Debian packs it. The product itself fills the repository, so the host's has exactly what the guest will ask for.
fn provide(share: &Path) -> Result<()> {
    let Some(home) = home() else { return Ok(()) };
    let user =
        nix::unistd::User::from_uid(nix::unistd::Uid::effective())?.ok_or_else(|| Error::other("no such user"))?;
    let (store, config) = (share.join("maven-store"), share.join("maven.toml"));
    fs::write(
        &config,
        format!("[artifacts]\nstore = \"{}\"\nsources = [\"packages\"]\n[zookeeper]\n", store.display()),
    )?;
    let mut fetch = Command::new(share.join("bin/cdc-supervisor"));
    fetch.arg("--config").arg(&config).arg("--root").arg(share.join("maven-root")).arg("fetch").env("HOME", &user.dir);
    let done = fetch.stdin(Stdio::null()).output()?;
    if !done.status.success() {
        return Err(Error::other(format!("Maven's repository: {}", String::from_utf8_lossy(&done.stderr))));
    }
    let lock = fs::read_to_string(store.join("lock.toml"))?;
    let java = lock.lines().find_map(|line| line.strip_prefix("home = \"")?.strip_suffix('"'));
    fs::write(share.join("java"), java.ok_or_else(|| Error::other("no Java was found"))?)?;
    fs::remove_dir_all(store)?;
    let copied = Command::new("cp").arg("-rL").arg(home.join("conf")).arg(share.join("maven-conf")).status()?;
    if !copied.success() {
        return Err(Error::other("Maven's settings cannot be copied"));
    }
    fs::write(share.join("maven-conf/settings.xml"), SETTINGS)?;
    fs::write(share.join("maven-repository"), user.dir.join(".m2/repository").display().to_string())?;
    fs::write(share.join("maven-home"), home.display().to_string())
}

/// Of the `mvn` on the path, where its settings lie in `/etc`.
fn home() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&path).map(|dir| dir.join("mvn")).find_map(|file| file.canonicalize().ok())?;
    let home = program.parent()?.parent()?;
    (fs::read_link(home.join("conf")).ok()? == Path::new("/etc/maven")).then(|| home.to_owned())
}

#[test]
fn maven_fetches_kafka_in_the_sandbox_of_the_fetch_unit_and_zookeeper_runs_from_it() {
    const NAME: &str = "maven_fetches_kafka_in_the_sandbox_of_the_fetch_unit_and_zookeeper_runs_from_it";
    let guest: &Guest =
        or_skip!(programs(), "maven_fetches_kafka_in_the_sandbox_of_the_fetch_unit_and_zookeeper_runs_from_it");
    if home().is_none() {
        return support::skip(NAME, "this machine has no Maven as Debian packs it");
    }
    if let Some(why) = WHY_NOT.get() {
        return support::skip(NAME, why);
    }
    ended(guest, "maven-install", 0, &[]);
    ended(guest, "maven", 0, &[]);
    contains(&guest.saw("maven.fetch"), &["kafka 3.5.2 (52 jars"]);
    contains(&guest.saw("maven.lock"), &["source = \"mvn\""]);
    assert_eq!(guest.saw("maven.jars"), "52", "{}", guest.saw("maven.fetch"));
    let status = guest.json("maven");
    assert_eq!(node(&status, "zookeeper")["state"], "ready", "{status}\n{}", guest.journal());
    // its files are with the artifacts, nowhere else, and nobody else's
    let root = "/var/lib/cdc-supervisor";
    let places = guest.saw("maven.home");
    assert_eq!(places.lines().next(), Some(format!("{root}/artifacts/home/.m2").as_str()), "{places}");
    contains(&places, &["/org/apache/zookeeper/zookeeper/3.6.4/zookeeper-3.6.4.jar"]);
    assert_eq!(guest.saw("maven.theirs"), "");
}
