//! The verb `fetch` with archives of the vendors' layouts: which source is asked, what is refused, what is remembered.

use crate::{
    archives::{self, List},
    hostile_http::{Answer, Authority, Server},
    support::{Client, Output, Root, VERB_LIMIT, until},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// A root that fetches a Kafka of the test's own list.
pub struct Place {
    pub root: Root,
}

impl Place {
    pub fn new() -> Self {
        Self { root: Root::raw("") }
    }

    /// The configuration: these lines below `[artifacts]`, ZooKeeper and brokers of this choice.
    pub fn configure(&self, artifacts: &str, choice: &str) {
        let list = self.root.file("list.toml");
        self.root.configure_raw(&format!(
            "[artifacts]\nlist = \"{list}\"\n{artifacts}\n[zookeeper]\n[kafka]\ndistribution = \"{choice}\"\n"
        ));
    }

    pub fn list(&self, list: &List) {
        fs::write(self.root.file("list.toml"), list.text()).unwrap();
    }

    pub fn store(&self) -> PathBuf {
        self.root.path().join("artifacts")
    }

    /// Directories of programs in the store.
    pub fn programs(&self) -> Vec<String> {
        let list = fs::read_dir(self.store()).into_iter().flatten().flatten();
        let mut names: Vec<String> = list
            .filter(|e| e.path().join(".manifest").exists())
            .map(|e| e.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn lock(&self) -> String {
        fs::read_to_string(self.store().join("lock.toml")).unwrap_or_default()
    }

    /// Files of half downloads.
    pub fn downloads(&self) -> Vec<PathBuf> {
        fs::read_dir(self.store().join("downloads")).into_iter().flatten().flatten().map(|e| e.path()).collect()
    }
}

pub fn says(output: &Output, words: &str) {
    assert!(output.stderr.contains(words), "{words:?} is not in\n{output}");
}

/// A server of one file.
fn serve(body: &Arc<Vec<u8>>) -> Server {
    let body = Arc::clone(body);
    Server::start(move |asked| Answer::file(&body, "\"a\"", asked))
}

const VENDOR: &str = "sources = [\"vendor\"]";

#[test]
fn a_vendors_archive_is_fetched_verified_and_found_again_without_the_network() {
    for (choice, layout, place) in
        [("apache-3.5.2", "apache-kafka", "libs"), ("confluent-7.5.3", "confluent", "share/java/kafka")]
    {
        let body = archives::kafka(layout, 1);
        let server = serve(&body);
        let at = Place::new();
        at.list(&List::of(choice, layout, &body, &[&server.url("a/kafka.tgz")]));
        at.configure(VENDOR, choice);
        let output = at.root.ok(&["fetch"]);
        assert!(output.stdout.contains("kafka 3.5.2 (4 jars"), "{output}");
        let [program] = &at.programs()[..] else { panic!("{:?}", at.programs()) };
        let tree = at.store().join(program);
        assert!(tree.join(place).join("zookeeper-3.6.4.jar").is_file());
        assert!(!tree.join("bin").exists(), "scripts are not kept");
        assert!(at.downloads().is_empty(), "{:?}", at.downloads());
        let lock = at.lock();
        for words in [format!("choice = \"{choice}\""), "origin = \"vendor\"".into(), server.url("a/kafka.tgz")] {
            assert!(lock.contains(&words), "{words}: {lock}");
        }
        let asked = server.seen().len();
        at.configure(&format!("{VENDOR}\noffline = true"), choice);
        at.root.ok(&["fetch"]);
        assert_eq!(server.seen().len(), asked);
    }
}

#[test]
fn other_bytes_than_pinned_leave_nothing_behind_and_are_exit_5() {
    let (right, wrong) = (archives::kafka("apache-kafka", 1), archives::kafka("apache-kafka", 2));
    let server = serve(&wrong);
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &right, &[&server.url("kafka.tgz")]));
    at.configure(VENDOR, "apache-3.5.2");
    let output = at.root.fails(5, &["fetch"]);
    says(&output, "is not what is known as test-apache-3.5.2: SHA-256 ");
    says(&output, "hint:");
    assert!(at.programs().is_empty() && at.downloads().is_empty());
    assert!(!at.store().join("tmp").exists(), "the unpacked tree is gone");
    assert!(!at.lock().contains("[kafka]"));
}

#[test]
fn the_next_address_is_asked_when_one_fails_and_all_failures_are_shown_when_all_do() {
    let body = archives::kafka("apache-kafka", 3);
    let server = serve(&body);
    let gone = Server::start(|_| Answer::status(404));
    let page = Arc::new(b"<html>".to_vec());
    let portal = Server::start(move |_| Answer::whole(&page).header("Content-Type", "text/html"));
    let urls = [gone.url("kafka.tgz"), portal.url("kafka.tgz"), server.url("kafka.tgz")];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &urls));
    at.configure(VENDOR, "apache-3.5.2");
    at.root.ok(&["fetch"]);

    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &urls[..2]));
    at.configure("sources = [\"file\", \"vendor\"]", "apache-3.5.2");
    let output = at.root.fails(5, &["fetch"]);
    says(&output, "no source could give kafka:");
    says(&output, "kafka.tgz is not there");
    says(&output, "answers 404 (there is no such file)");
    says(&output, "is not the file: it is a web page");
    says(&output, "hint: ");
}

#[test]
fn a_file_put_there_by_hand_serves_a_machine_without_a_network() {
    let body = archives::kafka("apache-kafka", 4);
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &["http://127.0.0.1:9/kafka.tgz"]));
    at.configure("offline = true", "apache-3.5.2");
    let output = at.root.fails(5, &["fetch"]);
    says(&output, "the network is not to be used and the store does not have kafka");
    let files = at.store().join("files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("kafka.tgz"), &body[..body.len() - 1]).unwrap();
    says(&at.root.fails(5, &["fetch"]), "SHA-256");
    fs::write(files.join("kafka.tgz"), &*body).unwrap();
    at.root.ok(&["fetch"]);
    assert!(at.lock().contains("origin = \"file\""), "{}", at.lock());
    assert_eq!(fs::read(files.join("kafka.tgz")).unwrap(), *body, "it stays where it is");
}

#[test]
fn a_mirror_is_asked_first_as_an_address_and_as_a_directory() {
    let body = archives::kafka("apache-kafka", 5);
    let (mirror, vendor) = (serve(&body), serve(&body));
    for named in [true, false] {
        let at = Place::new();
        at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&vendor.url("kafka.tgz")]));
        if named {
            at.configure("sources = [\"packages\"]", "apache-3.5.2");
            at.root.ok(&["fetch", "--mirror", &mirror.url("m/")]);
        } else {
            at.configure(&format!("{VENDOR}\nmirror = \"{}\"", mirror.url("m")), "apache-3.5.2");
            at.root.ok(&["fetch"]);
        }
    }
    assert!(mirror.seen().iter().all(|a| a.path == "/m/kafka.tgz") && mirror.seen().len() == 2);
    assert!(vendor.seen().is_empty());
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&vendor.url("kafka.tgz")]));
    at.configure(VENDOR, "apache-3.5.2");
    let directory = at.root.file("stick");
    fs::create_dir(&directory).unwrap();
    fs::write(Path::new(&directory).join("kafka.tgz"), &*body).unwrap();
    at.root.ok(&["fetch", "--mirror", &directory]);
    assert!(vendor.seen().is_empty());
}

#[test]
fn a_file_without_a_digest_needs_a_decision_which_is_said_aloud_and_holds() {
    let (first, second) = (archives::kafka("confluent", 6), archives::kafka("confluent", 7));
    let authority = Authority::new();
    let served = Arc::new(std::sync::Mutex::new(Arc::clone(&first)));
    let body = Arc::clone(&served);
    let server = Server::tls(authority.config, move |asked| {
        let body = body.lock().unwrap().clone();
        let tag = format!("\"{}\"", body.len());
        Answer::file(&body, &tag, asked)
    });
    let at = Place::new();
    fs::write(at.root.file("ca.pem"), &authority.pem).unwrap();
    at.list(&List::unpinned("confluent-7.5.3", "confluent", &[&server.url("kafka.tgz")]));
    at.configure(&format!("{VENDOR}\nca_file = \"{}\"", at.root.file("ca.pem")), "confluent-7.5.3");

    let output = at.root.fails(5, &["fetch"]);
    says(&output, "test-confluent-7.5.3 cannot be verified: nobody has looked");
    says(&output, "hint: `cdc-supervisor fetch --accept-unpinned`");
    assert!(server.seen().is_empty(), "nothing is downloaded that would not be used");

    let output = at.root.ok(&["fetch", "--accept-unpinned"]);
    says(&output, "kafka.tgz was NOT verified (nobody has looked)");
    assert!(at.lock().contains(&format!("sha256 = \"{}\"", archives::digest(&first))), "{}", at.lock());

    // Fetched again, the same is taken without a word and another one refused, decision or not.
    let tree = at.store().join(&at.programs()[0]);
    fs::remove_file(tree.join("share/java/kafka/zookeeper-3.6.4.jar")).unwrap();
    let output = at.root.ok(&["fetch"]);
    assert!(!output.stderr.contains("NOT verified"), "{output}");
    fs::remove_file(tree.join("share/java/kafka/zookeeper-3.6.4.jar")).unwrap();
    *served.lock().unwrap() = second;
    says(&at.root.fails(5, &["fetch", "--accept-unpinned"]), "is not what is known as test-confluent-7.5.3");
}

#[test]
fn a_digest_that_the_vendor_publishes_beside_its_file_is_held_against_it() {
    let (body, other) = (archives::kafka("confluent", 17), archives::kafka("confluent", 18));
    let authority = Authority::new();
    let grouped =
        |hex: &str| hex.as_bytes().chunks(8).map(|c| String::from_utf8_lossy(c).to_uppercase()).collect::<Vec<_>>();
    let sha512 = |of: &[u8]| grouped(&archives::sha512(of)).join(" ");
    let beside = Arc::new(std::sync::Mutex::new((404, String::new())));
    let (said, served) = (Arc::clone(&beside), Arc::clone(&body));
    let server = Server::tls(authority.config, move |asked| {
        if asked.path == "/kafka.tgz" {
            return Answer::file(&served, "\"a\"", asked);
        }
        match said.lock().unwrap().clone() {
            (200, text) => Answer::whole(&Arc::new(text.into_bytes())),
            (status, _) => Answer::status(status),
        }
    });
    let url = server.url("kafka.tgz");
    let asks = |suffix: &str, algorithm: &str| {
        let at = Place::new();
        fs::write(at.root.file("ca.pem"), &authority.pem).unwrap();
        at.list(&List::unpinned("confluent-7.5.3", "confluent", &[&url]).with_sidecar(suffix, algorithm));
        at.configure(&format!("{VENDOR}\nca_file = \"{}\"", at.root.file("ca.pem")), "confluent-7.5.3");
        at
    };
    let at = asks(".sha512", "sha512");
    let refused = |status: u16, text: String, words: &str| {
        *beside.lock().unwrap() = (status, text);
        let output = at.root.fails(5, &["fetch", "--accept-unpinned"]);
        says(&output, words);
        assert!(at.programs().is_empty() && !at.lock().contains("trusted"), "{output}");
    };
    refused(404, String::new(), "kafka.tgz.sha512 answers 404");
    refused(200, "<!DOCTYPE html>".into(), "what is published as SHA-512 of kafka.tgz holds none");
    refused(200, format!("other.tgz: {}\n", sha512(&body)), "holds none");
    assert!(!server.seen().iter().any(|a| a.path == "/kafka.tgz"), "nothing is downloaded that could not be compared");
    refused(200, format!("kafka.tgz: {}\n", sha512(&other)), "SHA-512");
    // Apache's way to write it, in groups over several lines.
    *beside.lock().unwrap() = (200, format!("kafka.tgz: {}\n", sha512(&body).replacen(' ', "\n    ", 3)));
    let output = at.root.ok(&["fetch", "--accept-unpinned"]);
    says(&output, "kafka.tgz was NOT verified");
    assert!(at.lock().contains(&archives::digest(&body)), "{}", at.lock());

    // MySQL's way.
    let at = asks(".md5", "md5");
    *beside.lock().unwrap() = (200, format!("{}  kafka.tgz\n", archives::md5(&other)));
    says(&at.root.fails(5, &["fetch", "--accept-unpinned"]), "MD5");
    *beside.lock().unwrap() = (200, format!("{}  kafka.tgz\n", archives::md5(&body)));
    at.root.ok(&["fetch", "--accept-unpinned"]);
    assert_eq!(at.programs().len(), 1);
}

#[test]
fn going_back_to_an_earlier_choice_needs_no_network() {
    let (apache, confluent) = (archives::kafka("apache-kafka", 8), archives::kafka("confluent", 9));
    let (a, c) = (serve(&apache), serve(&confluent));
    let at = Place::new();
    let mut list = List::of("apache-3.5.2", "apache-kafka", &apache, &[&a.url("kafka.tgz")]);
    list.add(&List::of("confluent-7.5.3", "confluent", &confluent, &[&c.url("kafka.tgz")]));
    at.list(&list);
    for choice in ["apache-3.5.2", "confluent-7.5.3"] {
        at.configure(VENDOR, choice);
        at.root.ok(&["fetch"]);
    }
    assert_eq!(at.programs().len(), 2, "{:?}", at.programs());
    at.configure("offline = true", "apache-3.5.2");
    at.root.ok(&["fetch"]);
}

#[test]
fn an_archive_that_is_none_of_its_kind_is_refused_although_its_digest_is_right() {
    let whole = archives::kafka("apache-kafka", 10);
    for body in [Arc::new(whole[..whole.len() / 2].to_vec()), archives::kafka("confluent", 10)] {
        let server = serve(&body);
        let at = Place::new();
        at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&server.url("kafka.tgz")]));
        at.configure(VENDOR, "apache-3.5.2");
        let output = at.root.fails(5, &["fetch"]);
        assert!(output.stderr.contains("could not be unpacked") || output.stderr.contains("lacks libs"), "{output}");
        assert!(at.programs().is_empty());
    }
}

#[test]
fn a_name_nobody_knows_costs_no_time_and_its_other_addresses_are_not_asked() {
    let body = archives::kafka("apache-kafka", 11);
    let at = Place::new();
    let urls = ["http://no-such-host.invalid/kafka.tgz", "http://no-such-host.invalid/old/kafka.tgz"];
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &urls));
    at.configure(VENDOR, "apache-3.5.2");
    let begun = Instant::now();
    let output = at.root.fails(5, &["fetch"]);
    says(&output, "the name of no-such-host.invalid could not be looked up");
    says(&output, "could not be reached a moment ago");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_killed_fetch_goes_on_where_it_stopped() {
    let body = archives::kafka("apache-kafka", 12);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| {
        let answer = Answer::file(&served, "\"a\"", asked);
        match asked.number {
            0 => Answer { drip: Some((served.len() / 40, Duration::from_millis(100))), ..answer },
            _ => answer,
        }
    });
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&server.url("kafka.tgz")]));
    at.configure(VENDOR, "apache-3.5.2");
    let run = at.root.spawn(&["fetch"]);
    let part = at.store().join("downloads/kafka.tgz.part");
    until(Duration::from_secs(30), "some of it is here", || {
        let len = fs::metadata(&part).map_or(0, |m| m.len());
        if len > body.len() as u64 / 8 { Ok(()) } else { Err(len.to_string()) }
    });
    run.signal(9);
    run.wait(Duration::from_secs(10));
    at.root.ok(&["fetch"]);
    let from = server.seen()[1].from;
    assert!(from.is_some_and(|from| from > body.len() as u64 / 8), "{from:?}");
}

#[test]
fn killed_at_random_points_the_next_run_always_ends_right() {
    let rounds = if std::env::var_os("CDC_TEST_LONG").is_some() { 100 } else { 10 };
    let body = archives::kafka("apache-kafka", 13);
    let served = Arc::clone(&body);
    let step = served.len() / 60;
    let server = Server::start(move |asked| Answer {
        drip: Some((step, Duration::from_millis(2))),
        ..Answer::file(&served, "\"a\"", asked)
    });
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&server.url("kafka.tgz")]));
    at.configure(VENDOR, "apache-3.5.2");
    // How long a whole run takes here, to spread the kills over it.
    let begun = Instant::now();
    at.root.ok(&["fetch"]);
    let whole = begun.elapsed();
    let mut killed = 0;
    for round in 0..rounds {
        let _ = fs::remove_dir_all(at.store());
        let run = at.root.spawn(&["fetch"]);
        std::thread::sleep(whole.mul_f64(rand::random::<f64>()));
        run.signal(9);
        killed += u32::from(run.wait(Duration::from_secs(30)).signal == Some(9));
        for program in at.programs() {
            assert!(program.starts_with("test-apache"), "round {round}: {program}");
        }
        at.root.ok(&["fetch"]);
        assert_eq!(at.programs().len(), 1, "round {round}");
        assert!(at.downloads().is_empty() && !at.store().join("tmp").exists(), "round {round}");
    }
    assert!(killed > 0, "every run was over before its kill");
}

#[test]
fn proxies_and_authorities_of_the_environment_are_used() {
    let body = archives::kafka("apache-kafka", 15);
    let proxy = serve(&body);
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &["http://vendor.invalid/kafka.tgz"]));
    at.configure(VENDOR, "apache-3.5.2");
    let address = format!("http_proxy={}", proxy.url(""));
    let run = Client::start(&at.root, &["env", &address], &["fetch"]).wait(VERB_LIMIT);
    assert_eq!(run.code, Some(0), "{run}");
    assert_eq!(proxy.seen()[0].path, "http://vendor.invalid/kafka.tgz");

    let authority = Authority::new();
    let server = Server::tls(authority.config, move |asked| Answer::file(&body, "\"a\"", asked));
    let at = Place::new();
    let pem = at.root.file("ca.pem");
    fs::write(&pem, &authority.pem).unwrap();
    let body = archives::kafka("apache-kafka", 15);
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&server.url("kafka.tgz")]));
    at.configure(VENDOR, "apache-3.5.2");
    says(&at.root.fails(5, &["fetch"]), "https");
    let variable = format!("SSL_CERT_FILE={pem}");
    let run = Client::start(&at.root, &["env", &variable], &["fetch"]).wait(VERB_LIMIT);
    assert_eq!(run.code, Some(0), "{run}");
}

#[test]
fn a_disk_that_fills_up_is_said_to_be_full_and_what_came_is_gone_on_with() {
    let at = Place::new();
    let store = at.store().display().to_string();
    fs::create_dir_all(&store).unwrap();
    // A mount of its own needs a right that not everybody has.
    let mount = |size: &str| format!("mount -t tmpfs -o size={size} none '{store}' && exec \"$@\"");
    let small = mount("500k");
    let inside = ["unshare", "--mount", "sh", "-c", small.as_str(), "sh"];
    let can = std::process::Command::new(inside[0]).args(&inside[1..]).arg("true").output();
    if !can.is_ok_and(|done| done.status.success()) {
        crate::support::skip("a disk that fills up is said to be full", "no right to mount a tmpfs");
        return;
    }
    let body = archives::kafka("apache-kafka", 16);
    // Of unknown length, so that it is begun at all.
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer { length: None, ..Answer::file(&served, "\"a\"", asked) });
    at.list(&List::of(
        "apache-3.5.2",
        "apache-kafka",
        &body,
        &[&server.url("kafka.tgz"), &server.url("again/kafka.tgz")],
    ));
    at.configure(VENDOR, "apache-3.5.2");
    let run = Client::start(&at.root, &inside, &["fetch"]).wait(VERB_LIMIT);
    assert_eq!(run.code, Some(5), "{run}");
    says(&run, "hint: the disk is full");
    assert_eq!(server.seen().len(), 1, "a full disk is full for the next address too");
    // Said beforehand where the length is known.
    let server = serve(&body);
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&server.url("kafka.tgz")]));
    let run = Client::start(&at.root, &inside, &["fetch"]).wait(VERB_LIMIT);
    says(&run, "kafka.tgz.part needs 64 MB more, 0 MB are free");
    assert_eq!(run.code, Some(5), "{run}");
}

#[test]
fn a_required_signature_must_be_of_the_known_key() {
    let at = Place::new();
    let Some(keys) = archives::Keys::make(at.root.home()) else {
        crate::support::skip("a required signature must be of the known key", "gpg or gpgv is not installed");
        return;
    };
    let body = archives::kafka("apache-kafka", 14);
    let files = at.root.file("files");
    fs::create_dir(&files).unwrap();
    let archive = Path::new(&files).join("kafka.tgz");
    fs::write(&archive, &*body).unwrap();
    fs::write(Path::new(&files).join("KEY"), &keys.public).unwrap();
    let list = List::of("apache-3.5.2", "apache-kafka", &body, &["https://127.0.0.1:9/kafka.tgz"]);
    let required = format!("sources = [\"file\"]\nfiles = \"{files}\"\nsignatures = true");
    at.configure(&required, "apache-3.5.2");

    at.list(&list.signed(&keys.fingerprint));
    let signature = Path::new(&files).join("kafka.tgz.asc");
    fs::write(&signature, keys.sign(b"other bytes")).unwrap();
    says(&at.root.fails(5, &["fetch"]), "the signature of kafka.tgz does not hold: gpgv says BADSIG");
    fs::write(&signature, "<html>").unwrap();
    says(&at.root.fails(5, &["fetch"]), "it is no OpenPGP data");

    fs::write(&signature, keys.sign(&body)).unwrap();
    at.list(&list.signed("BCA43417C3B485DD128EC6D4B7B3B788A8D3785C"));
    says(&at.root.fails(5, &["fetch"]), "which is not a known one");
    assert!(at.programs().is_empty());

    at.list(&list.signed(&keys.fingerprint));
    at.root.ok(&["fetch"]);
}
