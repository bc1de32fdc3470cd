//! The row `fetch`: download, verify and unpack from loopback, against `curl | tar x` and against `curl; sha256sum; tar x`.

use crate::{
    Bench,
    report::{Figure, Measured, median, ms},
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Most resident memory of ours, MB.
const MEMORY_MB: f64 = 64.0;

/// One packing of the same jars.
struct Packing {
    name: &'static str,
    pack: &'static [&'static str],
    tar: &'static str,
}

const PACKINGS: [Packing; 2] = [
    Packing { name: "tar.gz", pack: &["gzip", "-1"], tar: "xzf" },
    // -T1: one block, as vendors' files of this size have it with older versions of xz
    Packing { name: "tar.xz", pack: &["xz", "-0", "-T1"], tar: "xJf" },
];

/// Two figures for each packing.
pub fn figures(bench: &Bench) -> Measured<Vec<Figure>> {
    let megabytes = if bench.short { 24 } else { 500 };
    let place = bench.file("fetch");
    fs::create_dir_all(&place).map_err(|e| e.to_string())?;
    let mut figures = Vec::new();
    for packing in &PACKINGS {
        let archive = make(&place, packing, megabytes)?;
        figures.extend(rows(bench, &place, packing, &archive)?);
        let _ = fs::remove_file(archive);
    }
    Ok(figures)
}

/// An archive of about this size: jars that are noise by two thirds, as jars are packed already, and text by one.
fn make(place: &Path, packing: &Packing, megabytes: usize) -> Measured<PathBuf> {
    let path = place.join(format!("kafka.{}", packing.name));
    let out = File::create(&path).map_err(|e| e.to_string())?;
    let mut packer = Command::new(packing.pack[0])
        .args(&packing.pack[1..])
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(out)
        .spawn()
        .map_err(|e| format!("{}: {e}", packing.pack[0]))?;
    let input = packer.stdin.take().ok_or("the packer has no input")?;
    let mut tar = tar::Builder::new(input);
    let mut state = 1_u64;
    let jar = |state: &mut u64| -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..(2 << 20))
            .map(|_| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        bytes
            .extend(b"a line of text as class files have it, with names and signatures\n".iter().cycle().take(1 << 20));
        bytes
    };
    let names = ["kafka_2.13-3.5.2", "kafka-clients-3.5.2", "scala-library-2.13.10", "zookeeper-3.6.4"];
    for number in 0..(megabytes / 2).max(names.len()) {
        let name = names.get(number).map_or_else(|| format!("other-{number}"), |n| (*n).to_owned());
        let bytes = jar(&mut state);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, format!("kafka/libs/{name}.jar"), &bytes[..]).map_err(|e| e.to_string())?;
    }
    drop(tar.into_inner().map_err(|e| e.to_string())?);
    let status = packer.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(path) } else { Err(format!("{} ended with {status}", packing.pack[0])) }
}

fn digest(path: &Path) -> Measured<String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let mut sum = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).map_err(|e| e.to_string())? {
            0 => return Ok(sum.finalize().iter().map(|b| format!("{b:02x}")).collect()),
            n => sum.update(&block[..n]),
        }
    }
}

/// Serves one file to whoever asks, a thread each.
fn serve(path: &Path) -> Measured<String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let url = format!("http://{}/kafka.tgz", listener.local_addr().map_err(|e| e.to_string())?);
    let path = path.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let path = path.clone();
            // A client that goes away is its own affair.
            thread::spawn(move || drop(answer(stream, &path)));
        }
    });
    Ok(url)
}

fn answer(mut stream: TcpStream, path: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    // sendfile(2) inside, for ours and for curl alike
    std::io::copy(&mut file, &mut stream).map(drop)
}

/// What one run took, and the most memory it had, MB.
type Run = (Duration, f64);

fn rows(bench: &Bench, place: &Path, packing: &Packing, archive: &Path) -> Measured<Vec<Figure>> {
    let url = serve(archive)?;
    let size = fs::metadata(archive).map_err(|e| e.to_string())?.len();
    let root = place.join(format!("root-{}", packing.name));
    let list = place.join("list.toml");
    let row = format!(
        "schema = 1\n[[artifact]]\nid = \"bench\"\npart = \"kafka\"\nchoice = \"apache-3.5.2\"\nversion = \"3.5.2\"\nplatform = \"any\"\n\
         licence = \"none\"\nlayout = \"apache-kafka\"\narchive = \"{}\"\nfile = \"kafka.tgz\"\ntop = \"kafka\"\nurls = [\"{url}\"]\n\
         sha256 = \"{}\"\n",
        packing.name,
        digest(archive)?
    );
    fs::write(&list, row).map_err(|e| e.to_string())?;
    let config = place.join("supervisor.toml");
    let text = format!(
        "root = \"{}\"\n[artifacts]\nsources = [\"vendor\"]\nlist = \"{}\"\n[zookeeper]\n[kafka]\n",
        root.display(),
        list.display()
    );
    fs::write(&config, text).map_err(|e| e.to_string())?;

    let rounds = bench.rounds(5, 1);
    let (mut ours, mut piped, mut stepped) = (Vec::new(), Vec::new(), Vec::new());
    let mut most = 0.0_f64;
    // The first round warms up: it finds Java, and fills the page cache with the archive.
    for round in 0..=rounds {
        let (took, memory) = fetch(bench, &config, &root)?;
        let script = format!("curl -sf '{url}' | tar {} - -C OUT", packing.tar);
        let one = by_shell(place, &script)?;
        let script = format!("curl -sfo OUT/f '{url}' && sha256sum OUT/f >OUT/sum && tar {} OUT/f -C OUT", packing.tar);
        let two = by_shell(place, &script)?;
        if round > 0 {
            ours.push(took);
            piped.push(one);
            stepped.push(two);
            most = most.max(memory);
        }
    }
    let _ = fs::remove_dir_all(&root);
    let what = format!("fetch of {} MB {}", size >> 20, packing.name);
    let speed = |theirs: &[Duration]| median(theirs).as_secs_f64() / median(&ours).as_secs_f64();
    let figure = |against: &str, theirs: &[Duration], least: f64| {
        let faster = speed(theirs);
        Figure {
            what: what.clone(),
            ours: ms(median(&ours)),
            against: format!("{against} {}", ms(median(theirs))),
            // how long ours takes for each second of theirs, as in the other rows
            ratio: Some(1.0 / faster),
            reach: format!("<= {:.2} x", 1.0 / least),
            reached: Some(faster >= least && most < MEMORY_MB),
            rounds,
            notes: vec![format!(
                "at least {least} x as fast: {faster:.2} x; ours had {most:.0} MB resident at most (under {MEMORY_MB:.0} wanted), \
                 verified, read every file again, synced and renamed it; theirs did not sync"
            )],
        }
    };
    Ok(vec![figure("curl | tar x", &piped, 0.95), figure("curl; sha256sum; tar x", &stepped, 1.5)])
}

/// The verb `fetch` with everything there but Kafka.
fn fetch(bench: &Bench, config: &Path, root: &Path) -> Measured<Run> {
    for entry in fs::read_dir(root.join("artifacts")).into_iter().flatten().flatten() {
        if entry.path().join(".manifest").exists() {
            fs::remove_dir_all(entry.path()).map_err(|e| e.to_string())?;
        }
    }
    let began = Instant::now();
    let mut child = Command::new(bench.programs.join("cdc-supervisor"))
        .args(["--config", &config.display().to_string(), "fetch"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0.0_f64;
    let ended = loop {
        // The kernel's own high-water mark (proc(5), VmHWM): a look now and then misses nothing but the very end.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok());
        most = most.max(mark.unwrap_or(0.0) / 1024.0);
        if let Some(ended) = child.try_wait().map_err(|e| e.to_string())? {
            break ended;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let took = began.elapsed();
    if ended.success() {
        return Ok((took, most));
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    Err(format!("fetch ended with {ended}: {said}"))
}

fn by_shell(place: &Path, script: &str) -> Measured<Duration> {
    let out = place.join("out");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).map_err(|e| e.to_string())?;
    let script = script.replace("OUT", &out.display().to_string());
    let began = Instant::now();
    let status = Command::new("bash").args(["-o", "pipefail", "-c", &script]).status().map_err(|e| e.to_string())?;
    let took = began.elapsed();
    let _ = fs::remove_dir_all(&out);
    if status.success() { Ok(took) } else { Err(format!("{script} ended with {status}")) }
}
