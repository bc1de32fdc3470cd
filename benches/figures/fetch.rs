//! The row `fetch`: download, verify and unpack from loopback, against `curl | tar x` and against `curl; sha256sum; tar x`.

use crate::{
    Bench,
    report::{Figure, Measured, median, ms},
};
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

/// One packing of the same files.
struct Packing {
    name: &'static str,
    pack: &'static [&'static str],
    unpack: &'static [&'static str],
    tar: &'static str,
}

const PACKINGS: [Packing; 2] = [
    Packing { name: "tar.gz", pack: &["gzip", "-1c"], unpack: &["gzip", "-dc"], tar: "xzf" },
    // one thread and one block, as vendors' files of this size have it from older versions of xz
    Packing { name: "tar.xz", pack: &["xz", "-0cT1"], unpack: &["xz", "-dc"], tar: "xJf" },
];

/// Real programs and libraries: noise would be stored as it is, and text packs better than they do.
const REAL: &str = "/usr/lib";

/// Figures for each packing.
pub fn figures(bench: &Bench) -> Measured<Vec<Figure>> {
    let (packed, piece) = if bench.short { (24, 24) } else { (500, 100) };
    let place = bench.file("fetch");
    fs::create_dir_all(&place).map_err(|e| e.to_string())?;
    let body = place.join("body");
    shell(&format!("tar cf - {REAL} 2>/dev/null | head -c {}M >'{}'", piece, body.display()))?;
    let mut figures = Vec::new();
    for packing in &PACKINGS {
        let archive = make(&place, packing, &body, packed << 20)?;
        figures.extend(rows(bench, &place, packing, &archive)?);
        let _ = fs::remove_file(archive);
    }
    Ok(figures)
}

fn shell(script: &str) -> Measured<()> {
    let status = Command::new("bash").args(["-c", script]).status().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{script} ended with {status}")) }
}

fn packed(packing: &Packing, input: &[u8]) -> Measured<Vec<u8>> {
    let [program, arguments @ ..] = packing.pack else { return Err("no packer".into()) };
    let failed = |e: std::io::Error| format!("{program}: {e}");
    let mut run = Command::new(program);
    let mut run = run.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut to = run.stdin.take().ok_or("the packer has no input")?;
    thread::scope(|scope| {
        // What it could not be given shows in its status.
        scope.spawn(move || to.write_all(input));
        let done = run.wait_with_output().map_err(failed)?;
        if done.status.success() { Ok(done.stdout) } else { Err(format!("{program} ended with {}", done.status)) }
    })
}

/// An archive of at least this size. Its jars have the same bytes, which are packed once: several members of gzip or streams
/// of xz one after the other are one file for every reader.
fn make(place: &Path, packing: &Packing, body: &Path, least: u64) -> Measured<PathBuf> {
    let path = place.join(format!("kafka.{}", packing.name));
    let body = fs::read(body).map_err(|e| e.to_string())?;
    let inside = packed(packing, &body)?;
    let mut out = File::create(&path).map_err(|e| e.to_string())?;
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|e| e.to_string());
    let names = ["kafka_2.13-3.5.2", "kafka-clients-3.5.2", "scala-library-2.13.10", "zookeeper-3.6.4"];
    let count = usize::try_from(least.div_ceil(inside.len().max(1) as u64)).map_err(|e| e.to_string())?;
    for number in 0..count.max(names.len()) {
        // At least these make a Kafka; beyond the size that is asked for they are empty.
        let whole = number < count;
        let name = names.get(number).map_or_else(|| format!("other-{number}"), |n| (*n).to_owned());
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("kafka/libs/{name}.jar")).map_err(|e| e.to_string())?;
        header.set_size(if whole { body.len() as u64 } else { 0 });
        header.set_mode(0o644);
        header.set_cksum();
        put(&packed(packing, header.as_bytes())?)?;
        if whole {
            put(&inside)?;
            put(&packed(packing, &vec![0; (512 - body.len() % 512) % 512])?)?;
        }
    }
    put(&packed(packing, &[0; 1024])?)?;
    Ok(path)
}

fn digest(path: &Path) -> Measured<String> {
    let done = Command::new("sha256sum").arg(path).output().map_err(|e| format!("sha256sum: {e}"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.split_whitespace().next().map(str::to_owned).ok_or_else(|| "sha256sum said nothing".into())
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

    // A round takes a minute and more, and its archive is in the page cache: none to warm up.
    let rounds = bench.rounds(1, 1);
    let (mut ours, mut piped, mut stepped, mut alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut most = 0.0_f64;
    for _ in 0..rounds {
        let (took, memory) = fetch(bench, &config, &root)?;
        ours.push(took);
        most = most.max(memory);
        let script = format!("curl -sf '{url}' | tar {} - -C OUT", packing.tar);
        piped.push(by_shell(place, &script)?);
        let script = format!("curl -sfo OUT/f '{url}' && sha256sum OUT/f >OUT/sum && tar {} OUT/f -C OUT", packing.tar);
        stepped.push(by_shell(place, &script)?);
        let script = format!("{} '{}' >/dev/null", packing.unpack.join(" "), archive.display());
        alone.push(by_shell(place, &script)?);
    }
    let _ = fs::remove_dir_all(&root);
    let what = format!("fetch of {} MB {}", size >> 20, packing.name);
    let figure = |against: &str, theirs: &[Duration], least: Option<f64>| {
        let faster = median(theirs).as_secs_f64() / median(&ours).as_secs_f64();
        Figure {
            what: what.clone(),
            ours: ms(median(&ours)),
            against: format!("{against} {}", ms(median(theirs))),
            // how long ours takes for each second of theirs, as in the other rows
            ratio: Some(1.0 / faster),
            reach: least.map_or_else(|| "-".into(), |least| format!("<= {:.2} x", 1.0 / least)),
            reached: least.map(|least| faster >= least),
            rounds,
            notes: vec![match least {
                Some(least) => format!(
                    "at least {least} x as fast: {faster:.2} x; ours verified, synced and renamed it; theirs did not sync"
                ),
                None => format!(
                    "decompression alone by the system's program, one thread; ours is another decompressor; {} is {:.2} of `curl; sha256sum; tar x`",
                    packing.unpack[0],
                    median(theirs).as_secs_f64() / median(&stepped).as_secs_f64()
                ),
            }],
        }
    };
    let memory = Figure {
        what: format!("{what}: peak memory"),
        ours: format!("{most:.0} MB"),
        reach: format!("< {MEMORY_MB:.0} MB"),
        reached: Some(most < MEMORY_MB),
        rounds,
        notes: vec!["VmHWM of the whole program (proc(5))".into()],
        ..Figure::default()
    };
    Ok(vec![
        figure("curl | tar x", &piped, Some(0.95)),
        figure("curl; sha256sum; tar x", &stepped, Some(1.5)),
        figure(packing.unpack[0], &alone, None),
        memory,
    ])
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
