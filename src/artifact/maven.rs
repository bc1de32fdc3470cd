//! Source: Kafka's jars from Maven's repositories, fetched by the host's own `mvn` (with its mirrors and proxies).

use super::{
    ArtifactError, Host,
    apt::{Helper, utf8},
    pins::{Others, Pins},
    store::Work,
};
use crate::sys::{
    command::Cancel,
    fs::{self as sysfs, Durability},
};
use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

/// Longest time for the whole download: 38 MB of jars and the plugin's own 10 MB at 50 kB/s.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What to resolve. Brokers and ZooKeeper need `kafka_2.13`; `kafka-tools` has the tools; `slf4j-reload4j` the logging
/// that the archive of Apache puts beside them and the published pom leaves out.
///
/// The managed versions are those of Apache's own archive (LICENSE-binary at tag 3.5.2): Gradle takes netty from Kafka,
/// Maven would take ZooKeeper's older one with its known holes.
const POM: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>cdc-supervisor</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencyManagement>
    <dependencies>
      <dependency><groupId>io.netty</groupId><artifactId>netty-handler</artifactId><version>4.1.94.Final</version></dependency>
      <dependency><groupId>io.netty</groupId><artifactId>netty-transport-native-epoll</artifactId><version>4.1.94.Final</version></dependency>
      <dependency><groupId>jakarta.activation</groupId><artifactId>jakarta.activation-api</artifactId><version>1.2.2</version></dependency>
    </dependencies>
  </dependencyManagement>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>3.5.2</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>3.5.2</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#;

/// The plugin with its version: every Maven resolves alike then, and a failed download is told as one.
const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// Fetches the jars into `work` and proves them. Returns a tree with exactly the pinned jars under `libs/`.
pub fn fetch(host: &Host, work: &Work, pins: &Pins, cancel: &Cancel) -> Result<PathBuf, ArtifactError> {
    let program = host.mvn.as_deref().ok_or(ArtifactError::NoTool { program: "mvn", to: "fetch Kafka's jars" })?;
    let project = work.sub("maven")?;
    let tree = work.sub("kafka")?;
    let libs = tree.join("libs");
    sysfs::write_atomic(&project.join("pom.xml"), POM.as_bytes(), 0o644, Durability::ProcessCrash)?;
    let output = format!("-DoutputDirectory={}", utf8(&libs)?);
    let mut args = vec!["-q", "-B", "-Dstyle.color=never", GOAL, &output];
    let own = match repository(host, work) {
        Some(place) => Some(format!("-Dmaven.repo.local={}", utf8(&place)?)),
        None => None,
    };
    if let Some(own) = &own {
        args.insert(0, own);
    }
    let mvn = Helper { name: "mvn", program, env: host.helper_environment(work.path()), dir: &project };
    mvn.run(&args, "fetch Kafka's jars", LIMIT, cancel)?;
    sysfs::make_dir(&libs, 0o755)?;
    pins.compare(&libs, "mvn", Others::Refused)?;
    Ok(tree)
}

/// Where Maven is told to keep its files; none: where it always does. Its home is that of the user table, whatever HOME says (Java's
/// `user.home`), so whoever gives a service user another one in HOME, as the fetch unit does, is heard here.
fn repository(host: &Host, work: &Work) -> Option<PathBuf> {
    let usual = home(&host.passwd, host.uid);
    let named = host.environment.iter().find(|(key, _)| key == "HOME").map(|(_, home)| PathBuf::from(home));
    let named = named.filter(|home| home.is_absolute() && usual.as_ref() != Some(home));
    // Never into somebody else's: sudo(8) may leave HOME as it was.
    let is_own = |home: &PathBuf| {
        home.ancestors().find_map(|dir| dir.metadata().ok()).is_some_and(|dir| dir.is_dir() && dir.uid() == host.uid)
    };
    let place = named.filter(is_own).map(|home| home.join(".m2/repository"));
    if let Some(place) = place.filter(|place| fs::create_dir_all(place).is_ok()) {
        return Some(place);
    }
    (!has_repository(host)).then(|| work.path().join("repository"))
}

/// Whether Maven can keep its files where it always does, `~/.m2`. A service user often has no home to write to.
fn has_repository(host: &Host) -> bool {
    let Some(home) = home(&host.passwd, host.uid).filter(|h| h.is_dir()) else { return false };
    let place = home.join(".m2");
    let probe = place.join(format!(".cdc-supervisor-{}", std::process::id()));
    let writable = (place.is_dir() || fs::create_dir(&place).is_ok()) && fs::write(&probe, "").is_ok();
    // Left over only if it was never made.
    let _ = fs::remove_file(&probe);
    writable
}

/// The home directory of a user in the text of `/etc/passwd` (passwd(5)): Java's `user.home`, whatever HOME says.
fn home(passwd: &str, uid: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.get(5).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_home_is_the_one_of_the_user_table() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nsvc:x:997:997::/var/lib/svc:/usr/sbin/nologin\nodd\n";
        assert_eq!(home(passwd, 997).as_deref(), Some(Path::new("/var/lib/svc")));
        assert_eq!(home(passwd, 0).as_deref(), Some(Path::new("/root")));
        assert_eq!(home(passwd, 1), None);
    }
}
