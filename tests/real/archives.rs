//! The real programs in the vendors' layouts: fetched from a server of the test's own, started, carried to another root as a
//! bundle, and started there.
//!
//! The vendors' own files cannot be had here. The jars and mysqld are those of the test's store, packed as the vendors pack
//! theirs. That mysqld was built for another libc than this host's, so `bin/mysqld` is a small program that runs it with the
//! loader beside it; a vendor's own finds its libraries by itself. It is what is asked for when no version is configured,
//! and says its own version.

use crate::{
    hostile_http::{Answer, Server},
    stack::Stack,
    support::VERB_LIMIT,
};
use cdc_supervisor::artifact::{Settings, Wanted, resolve};
use flate2::{Compression, write::GzEncoder};
use liblzma::write::XzEncoder;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

const MYSQL_TOP: &str = "mysql-8.0.46-linux-glibc2.17-x86_64-minimal";

pub struct Packed {
    pub body: Arc<Vec<u8>>,
    pub sha256: String,
}

impl Packed {
    fn of(bytes: Vec<u8>) -> Self {
        let sha256 = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        Self { body: Arc::new(bytes), sha256 }
    }
}

fn add(tar: &mut tar::Builder<impl Write>, name: &str, mode: u32, bytes: impl Read, size: u64) {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_cksum();
    tar.append_data(&mut header, name, bytes).unwrap();
}

fn text(tar: &mut tar::Builder<impl Write>, name: &str, text: &str) {
    add(tar, name, 0o644, text.as_bytes(), text.len() as u64);
}

/// Kafka's jars with what a vendor has around them.
pub fn kafka(top: &str, place: &str, jars: &[PathBuf]) -> Packed {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    text(&mut tar, &format!("{top}/LICENSE"), "free");
    text(&mut tar, &format!("{top}/bin/kafka-server-start"), "#!/bin/sh\nexit 1\n");
    text(&mut tar, &format!("{top}/etc/kafka/server.properties"), "broker.id=0\n");
    for jar in jars {
        let file = fs::File::open(jar).unwrap();
        let size = file.metadata().unwrap().len();
        add(&mut tar, &format!("{top}/{place}/{}", jar.file_name().unwrap().to_str().unwrap()), 0o644, file, size);
    }
    Packed::of(tar.into_inner().unwrap().finish().unwrap())
}

/// `bin/mysqld`: runs the one in `lib/private` with the loader beside it.
fn launcher(dir: &Path) -> PathBuf {
    let source = dir.join("mysqld.c");
    fs::write(
        &source,
        "#include <libgen.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         int main(int n, char **a) {\n  static char self[4096], top[8192], lib[8300], ld[8300], real[8300];\n\
         if (readlink(\"/proc/self/exe\", self, sizeof self - 1) < 0) return 99;\n\
         snprintf(top, sizeof top, \"%s/..\", dirname(self));\n\
         snprintf(lib, sizeof lib, \"%s/lib/private\", top);\n\
         snprintf(ld, sizeof ld, \"%s/loader.so\", lib);\n  snprintf(real, sizeof real, \"%s/mysqld.so\", lib);\n\
         char **v = calloc(n + 6, sizeof *v);\n\
         int i = 0; v[i++] = ld; v[i++] = \"--inhibit-cache\"; v[i++] = \"--library-path\"; v[i++] = lib; v[i++] = real;\n\
         for (int k = 1; k < n; k++) v[i++] = a[k];\n  execv(ld, v);\n  return 98;\n}\n",
    )
    .unwrap();
    let program = dir.join("mysqld");
    let done = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(&source).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

fn mysql(dir: &Path, tree: &cdc_supervisor::base::programs::MysqlTree) -> Packed {
    let mut tar = tar::Builder::new(XzEncoder::new(Vec::new(), 0));
    let mut file = |name: &str, mode: u32, from: &Path| {
        let opened = fs::File::open(from).unwrap();
        let size = opened.metadata().unwrap().len();
        add(&mut tar, &format!("{MYSQL_TOP}/{name}"), mode, opened, size);
    };
    file("bin/mysqld", 0o755, &launcher(dir));
    file("bin/mysqld-debug", 0o755, Path::new("/dev/null"));
    file("mysql-test/t/huge.test", 0o644, Path::new("/dev/null"));
    file("lib/mecab/dic/sys.dic", 0o644, Path::new("/dev/null"));
    file("lib/private/mysqld.so", 0o755, &tree.mysqld);
    file("lib/private/loader.so", 0o755, Path::new(&tree.launcher[0]));
    for libraries in tree.launcher[3].split(':') {
        for entry in fs::read_dir(libraries).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            // links are followed: each name gets its bytes
            if name.contains(".so") && entry.path().is_file() {
                file(&format!("lib/private/{name}"), 0o644, &entry.path());
            }
        }
    }
    for (place, from) in [("lib/plugin", &tree.plugin_dir), ("share", &tree.messages_dir)] {
        each(from, "", &mut |name, path| file(&format!("{place}/{name}"), 0o644, path));
    }
    Packed::of(tar.into_inner().unwrap().finish().unwrap())
}

fn each(directory: &Path, prefix: &str, found: &mut impl FnMut(&str, &Path)) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        let path = entry.path();
        if path.is_dir() {
            each(&path, &format!("{name}/"), found);
        } else {
            found(&name, &path);
        }
    }
}

pub fn row(part: &str, choice: &str, layout: &str, packing: &str, top: &str, url: &str, sha256: &str) -> String {
    let version = if part == "kafka" { choice.strip_prefix("apache-").unwrap_or("3.5.2") } else { choice };
    let file = url.rsplit('/').next().unwrap();
    format!(
        "[[artifact]]\nid = \"test-{choice}\"\npart = \"{part}\"\nchoice = \"{choice}\"\nversion = \"{version}\"\nplatform = \"any\"\n\
         licence = \"none\"\nlayout = \"{layout}\"\narchive = \"{packing}\"\nfile = \"{file}\"\ntop = \"{top}\"\n\
         urls = [\"{url}\"]\nsha256 = \"{sha256}\"\n"
    )
}

fn is_proven(output: &crate::support::Output) {
    for line in ["3 brokers, every replica in sync", "binlog ROW/FULL, GTID on", "3 rows in trading.orders"] {
        assert!(output.stderr.contains(line), "{line:?}\n{output}");
    }
}

/// Data that newer programs have written stop the way back before anything starts, each with the way out. The marks are what
/// such programs would have left.
fn older_programs_are_refused(stack: &Stack, configure: &dyn Fn(&str)) {
    let marks: [(&str, &str, &[&str]); 3] = [
        (
            "zookeeper",
            r#"{"schema":1,"product":"ZooKeeper","version":"3.8.3","protocol":null}"#,
            &[
                "written by ZooKeeper 3.8.3",
                "this is ZooKeeper 3.6.4",
                "restore ZooKeeper's and the brokers' data from a snapshot",
            ],
        ),
        (
            "broker-1",
            r#"{"schema":1,"product":"Kafka","version":"3.5.2","protocol":"3.9"}"#,
            &[
                "inter.broker.protocol.version 3.9, and 3.5 is set now",
                "set inter.broker.protocol.version to 3.9 or newer",
            ],
        ),
        (
            "mysql",
            r#"{"schema":1,"product":"MySQL","version":"99.1.0","protocol":null}"#,
            &["written by MySQL 99.1.0", "load a dump into it"],
        ),
    ];
    configure("[kafka.properties]\n\"inter.broker.protocol.version\" = \"3.5\"");
    let file = |node: &str| stack.path().join("nodes").join(node).join("data/cdc-supervisor.json");
    // Brokers are looked at when their ZooKeeper is up, so its own turn comes apart.
    let [zookeeper, broker, mysql] = marks;
    for marks in [vec![zookeeper, mysql], vec![broker]] {
        let mut kept = Vec::new();
        for (node, mark, _) in &marks {
            stack.expect_log(&format!("node={node}"));
            kept.push(fs::read(file(node)).unwrap());
            fs::write(file(node), mark).unwrap();
        }
        let up = stack.fails(8, &["up", "--detach"]);
        for (node, _, words) in &marks {
            let failure = stack.await_state(node, "failed")["failure"].clone();
            assert_eq!(failure["cause"], "newer-data", "{failure}");
            for words in *words {
                assert!(failure.to_string().contains(words), "{words}: {failure}\n{up}");
            }
        }
        stack.down();
        for ((node, ..), bytes) in marks.iter().zip(kept) {
            fs::write(file(node), bytes).unwrap();
        }
    }
}

#[test]
fn the_stack_runs_from_archives_in_the_vendors_layouts_and_from_a_bundle_of_them() {
    let stack = Stack::new();
    let settings = Settings::new(std::env::var("CDC_TEST_STORE").unwrap());
    let programs = resolve(Wanted { kafka: true, mysql: true, ..Wanted::default() }, &settings).unwrap().unwrap();
    let jars = programs.kafka.unwrap().class_path;
    let confluent = kafka("confluent-7.5.3", "share/java/kafka", &jars);
    let apache = kafka("kafka_2.13-3.5.2", "libs", &jars);
    let mysql = mysql(stack.home(), &programs.mysql.unwrap());
    let bodies =
        [("/c.tgz", &confluent), ("/a.tgz", &apache), ("/m.tar.xz", &mysql)].map(|(p, b)| (p, Arc::clone(&b.body)));
    let server = Server::start(move |asked| match bodies.iter().find(|(path, _)| *path == asked.path) {
        Some((_, body)) => Answer::file(body, "\"1\"", asked),
        None => Answer::status(404),
    });
    let list = [
        row(
            "kafka",
            "confluent-7.5.3",
            "confluent",
            "tar.gz",
            "confluent-7.5.3",
            &server.url("c.tgz"),
            &confluent.sha256,
        ),
        row(
            "kafka",
            "apache-3.5.2",
            "apache-kafka",
            "tar.gz",
            "kafka_2.13-3.5.2",
            &server.url("a.tgz"),
            &apache.sha256,
        ),
        row("mysql", "8.0.46", "mysql", "tar.xz", MYSQL_TOP, &server.url("m.tar.xz"), &mysql.sha256),
    ];
    fs::write(stack.file("list.toml"), format!("schema = 1\n{}", list.concat())).unwrap();
    let configure = |artifacts: &str, kafka: &str| {
        let list = stack.file("list.toml");
        stack.configure_raw(&format!(
            "[artifacts]\nlist = \"{list}\"\n{artifacts}\n[zookeeper]\n[kafka]\ndistribution = \"{kafka}\"\n[mysql]\n"
        ));
    };
    configure("sources = [\"vendor\"]", "confluent-7.5.3");
    is_proven(&stack.up());
    let listed = stack.ok(&["artifacts", "list"]).stdout;
    assert!(listed.contains("processes") && listed.contains("c.tgz") && listed.contains("m.tar.xz"), "{listed}");
    let kept = stack.ok(&["artifacts", "gc", "--earlier"]).stdout;
    assert!(kept.contains("nothing to remove"), "{kept}");
    let bundle = stack.file("stack.bundle");
    let made = stack.ok(&["bundle", "create", &bundle]).stdout;
    let sha256 = made.lines().find_map(|l| l.strip_prefix("sha256 ")).unwrap().to_owned();

    // Apache's layout, in the same store, one broker after the other: their protocol is that of the same Kafka.
    let ids = stack.pids();
    configure("sources = [\"vendor\"]", "apache-3.5.2");
    stack.ok(&["fetch"]);
    let plan = stack.run(&["plan"]);
    assert!(plan.stdout.contains("broker-1  restart: "), "{plan}");
    let reload = stack.spawn(&["reload"]).wait(VERB_LIMIT * 3);
    assert_eq!(reload.code, Some(0), "{reload}");
    for (name, old) in crate::stack::NODES.iter().zip(&ids) {
        assert_eq!(stack.pid(name) != *old, *name != "mysql", "{name}: {reload}");
    }
    let listed = stack.ok(&["artifacts", "list"]).stdout;
    assert!(listed.contains("earlier") && listed.contains("a.tgz"), "{listed}");
    stack.down();
    older_programs_are_refused(&stack, &|more| {
        configure(&format!("sources = [\"vendor\"]\n{more}"), "confluent-7.5.3");
    });

    // Back to the first, without the network: the programs are there, and the data are of no newer ones.
    configure("offline = true", "confluent-7.5.3");
    is_proven(&stack.up());
    let listed = stack.ok(&["artifacts", "list"]).stdout;
    let confluent = listed.lines().find(|l| l.contains("c.tgz")).unwrap_or_else(|| panic!("{listed}"));
    assert!(confluent.contains("current"), "{listed}");
    stack.down();
    configure("sources = [\"vendor\"]", "apache-3.5.2");
    stack.ok(&["fetch"]);
    let gone = stack.ok(&["artifacts", "gc", "--earlier"]).stdout;
    assert!(gone.contains("confluent") && gone.contains("freed"), "{gone}");

    // Another store, no server, no network.
    drop(server);
    let other = stack.file("other-store");
    configure(&format!("sources = [\"vendor\"]\noffline = true\nstore = \"{other}\""), "confluent-7.5.3");
    let refused = stack.fails(5, &["up", "--detach"]);
    assert!(refused.stderr.contains("network is not to be used"), "{refused}");
    stack.fails(5, &["bundle", "install", &bundle, "--sha256", &"0".repeat(64)]);
    stack.ok(&["bundle", "verify", &bundle, "--sha256", &sha256]);
    stack.ok(&["bundle", "install", &bundle, "--sha256", &sha256]);
    assert!(stack.ok(&["artifacts", "verify"]).stdout.lines().all(|l| l.starts_with("whole")));
    is_proven(&stack.up());
    stack.down();
}
