//! A program with bad habits, for tests: each argument is one habit, carried out in order; then it sleeps until told to end.
//!
//! `exit=N` end now with code N · `after=MS` wait · `crash=SIG` kill itself · `ignore=SIG` ignore a signal ·
//! `trace=FILE:NAME` append `start NAME` now and `stop NAME` at SIGTERM · `on-term=MS:CODE` how it ends at SIGTERM ·
//! `lingers=FILE` goes on after SIGTERM until FILE is there ·
//! `grandchild=FILE` a child in a session of its own that ignores SIGTERM, its pid in FILE · `daemonise=FILE` fork, the parent
//! exits 0, the child goes on, its pid in FILE · `listen=PORT` accept and drop connections · `http=PORT:STATUS` answer them ·
//! `silent=PORT` accept and say nothing · `serve=PORT:FILE` answer with that file · `late=PORT:MS:FILE` the same after so long ·
//! `zookeeper=PORT` answer as a standalone ZooKeeper does when it is asked `srvr` ·
//! `notify=TEXT` send sd_notify text · `touch=FILE` · `once=FILE:CODE` end with CODE unless FILE exists, then make it ·
//! `lines=N` write N numbered lines · `bytes=N` write N bytes without a newline · `tick=MS` a numbered line every MS ·
//! `counts=FILE` before it: how many of them each run has written, 20 bytes a run ·
//! `alone=FILE` hold a lock on FILE as long as it lives, or make FILE.twice and end with 99 ·
//! `eat=MIB` touch that much memory · `brood=N:MIB` N children that touch that much each and sleep ·
//! `leak=KIB` touch that much more each second · `fill=KIB:FILE` write that much into FILE each second ·
//! `meal=MIB` touch that much at SIGUSR1 and give it back at the next one ·
//! `hungry=MIB` touch that much at SIGUSR1, at SIGUSR2 in a child of its own; 0: without end · `close-output` · `print=TEXT` · `env` print its environment.

// A test program: it prints, and a panic is its way to say that the test is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, clippy::exit)]

use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction},
    unistd::{ForkResult, Pid, fork, setsid},
};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    net::TcpListener,
    os::unix::{fs::FileExt, net::UnixDatagram},
    path::Path,
    process::exit,
    thread,
    time::{Duration, Instant},
};

fn main() {
    // SIGTERM is blocked in every thread and waited for at the end, so that what happens at a stop is under control.
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    if std::env::args().any(|a| a.starts_with("hungry=") || a.starts_with("meal=")) {
        term.add(Signal::SIGUSR1);
        term.add(Signal::SIGUSR2);
    }
    term.thread_block().expect("block SIGTERM");
    let mut trace = None;
    let mut on_term = (0, 0);
    let mut lingers = None;
    let mut hunger = 0;
    let mut counts = None;
    let (mut meal, mut eaten) = (None, None);
    for argument in std::env::args().skip(1) {
        let (habit, value) = argument.split_once('=').unwrap_or((&argument, ""));
        match habit {
            "exit" => exit(number(value)),
            "after" => thread::sleep(Duration::from_millis(number(value))),
            "crash" => {
                // std has a handler for SIGSEGV and SIGBUS that returns when the fault was none of the stack's
                handle(signal(value), SigHandler::SigDfl);
                kill(Pid::this(), signal(value)).expect("kill");
                thread::sleep(Duration::from_secs(5));
            }
            "ignore" => ignore(signal(value)),
            "trace" => {
                let (file, name) = value.split_once(':').expect("trace=FILE:NAME");
                append(file, &format!("start {name}\n"));
                trace = Some((file.to_owned(), name.to_owned()));
            }
            "on-term" => {
                let (ms, code) = value.split_once(':').expect("on-term=MS:CODE");
                on_term = (number(ms), number(code));
            }
            "lingers" => lingers = Some(value.to_owned()),
            "grandchild" => grandchild(value),
            "daemonise" => daemonise(value),
            "listen" => listen(number(value), None),
            "http" => {
                let (port, status) = value.split_once(':').expect("http=PORT:STATUS");
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                listen(number(port), Some(answer.into_bytes()));
            }
            "silent" => listen_silently(number(value)),
            "serve" => {
                let (port, file) = value.split_once(':').expect("serve=PORT:FILE");
                listen(number(port), Some(answer_with(file)));
            }
            "late" => {
                let (port, rest) = value.split_once(':').expect("late=PORT:MS:FILE");
                let (ms, file) = rest.split_once(':').expect("late=PORT:MS:FILE");
                listen_late(number(port), Duration::from_millis(number(ms)), Some(answer_with(file)));
            }
            "zookeeper" => listen(number(value), Some(b"Zookeeper version: 3.6.4\nMode: standalone\n".to_vec())),
            "notify" => notify(value),
            "touch" => append(value, "x"),
            "once" => {
                let (file, code) = value.split_once(':').expect("once=FILE:CODE");
                if !Path::new(file).exists() {
                    append(file, "x");
                    exit(number(code));
                }
            }
            "lines" => write_lines(number(value)),
            "bytes" => write_bytes(number(value)),
            "counts" => counts = Some(counter(value)),
            "tick" => tick(Duration::from_millis(number(value)), counts.take()),
            "alone" => alone(value),
            "eat" => eat(number(value)),
            "leak" => leak(number(value)),
            "fill" => {
                let (kib, file) = value.split_once(':').expect("fill=KIB:FILE");
                fill(number(kib), file);
            }
            "hungry" => hunger = number(value),
            "meal" => meal = Some(number(value)),
            "brood" => {
                let (children, mib) = value.split_once(':').expect("brood=N:MIB");
                (0..number(children)).for_each(|_: u32| child_that_eats(number(mib)));
            }
            "close-output" => close_output(),
            "print" => println!("{value}"),
            "env" => std::env::vars().for_each(|(k, v)| println!("{k}={v}")),
            _ => panic!("no such habit: {argument}"),
        }
    }
    loop {
        match term.wait().expect("sigwait") {
            Signal::SIGUSR1 => match (meal, eaten.take()) {
                (Some(mib), None) => eaten = Some(touched(mib)),
                (Some(_), Some(memory)) => drop(memory),
                (None, _) => eat_on(hunger),
            },
            Signal::SIGUSR2 => child_that_eats(hunger),
            _ => break,
        }
    }
    if let Some((file, name)) = &trace {
        append(file, &format!("stop {name}\n"));
    }
    while lingers.as_ref().is_some_and(|file| !Path::new(file).exists()) {
        thread::sleep(Duration::from_millis(10));
    }
    // its end takes so long: the habit
    thread::sleep(Duration::from_millis(on_term.0));
    exit(on_term.1);
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("not a number here: {text}"))
}

fn signal(name: &str) -> Signal {
    format!("SIG{name}").parse().expect("a signal's name without SIG")
}

fn append(file: &str, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("open for append");
    file.write_all(text.as_bytes()).expect("append");
}

fn handle(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: only SIG_IGN and SIG_DFL are passed: no code of ours runs in a handler.
    unsafe { sigaction(signal, &action) }.expect("sigaction");
}

fn ignore(signal: Signal) {
    handle(signal, SigHandler::SigIgn);
    if signal == Signal::SIGTERM {
        // It was blocked to be waited for; ignored and unblocked it is dropped, as in a program that ignores it.
        let mut set = SigSet::empty();
        set.add(signal);
        set.thread_unblock().expect("unblock");
    }
}

fn grandchild(pid_file: &str) {
    // SAFETY: no thread has been started by the habits that tests put before this one; the child only sleeps.
    if let ForkResult::Child = unsafe { fork() }.expect("fork") {
        setsid().expect("setsid");
        ignore(Signal::SIGTERM);
        write_pid(pid_file);
        loop {
            // lives until it is killed
            thread::sleep(Duration::from_secs(3600));
        }
    }
}

fn daemonise(pid_file: &str) {
    // SAFETY: as in `grandchild`; the parent ends at once.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { .. } => exit(0),
        ForkResult::Child => {
            setsid().expect("setsid");
            write_pid(pid_file);
        }
    }
}

/// The file appears with its whole content: written under another name and renamed.
fn write_pid(file: &str) {
    let temporary = format!("{file}.{}", std::process::id());
    std::fs::write(&temporary, format!("{}\n", std::process::id())).expect("write pid");
    std::fs::rename(temporary, file).expect("rename pid file");
}

fn bound(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|e| {
        eprintln!("cannot bind {port}: {e}");
        exit(98)
    })
}

fn listen_silently(port: u16) {
    let listener = bound(port);
    thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
}

/// The answer of a server of that file.
fn answer_with(file: &str) -> Vec<u8> {
    let body = std::fs::read(file).expect("the file to serve");
    let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

fn listen(port: u16, answer: Option<Vec<u8>>) {
    listen_late(port, Duration::ZERO, answer);
}

fn listen_late(port: u16, pause: Duration, answer: Option<Vec<u8>>) {
    let listener = bound(port);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if let Some(answer) = &answer {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let _ = stream.read(&mut [0; 4096]);
                // the pace of this server
                thread::sleep(pause);
                let _ = stream.write_all(answer);
            }
        }
    });
}

fn notify(text: &str) {
    let path = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    UnixDatagram::unbound().expect("socket").send_to(text.as_bytes(), path).expect("notify");
}

fn write_lines(count: u64) {
    let mut out = std::io::stdout().lock();
    for n in 0..count {
        writeln!(out, "line {n}").expect("write a line");
    }
    out.flush().expect("flush");
}

fn write_bytes(count: usize) {
    let mut out = std::io::stdout().lock();
    out.write_all(&vec![b'x'; count]).expect("write bytes");
    out.flush().expect("flush");
}

/// A place for the number of this run, behind those of earlier ones.
fn counter(path: &str) -> (File, u64) {
    append(path, &format!("{:019}\n", 0));
    let file = File::options().write(true).open(path).expect("the file of counts");
    let at = file.metadata().expect("its length").len() - 20;
    (file, at)
}

fn tick(every: Duration, counts: Option<(File, u64)>) {
    thread::spawn(move || {
        for n in 0u64.. {
            // In one write: the end of the process must not cut a line in two.
            let line = format!("tick {n}\n");
            std::io::stdout().lock().write_all(line.as_bytes()).expect("write a tick");
            if let Some((file, at)) = &counts {
                file.write_all_at(format!("{:019}\n", n + 1).as_bytes(), *at).expect("count a tick");
            }
            thread::sleep(every);
        }
    });
}

/// A second copy of one node cannot have the lock while the first lives, and says so in a file.
fn alone(path: &str) {
    let file = File::options().write(true).create(true).truncate(false).open(path).expect("the lock's file");
    if file.try_lock().is_err() {
        append(&format!("{path}.twice"), &format!("{}\n", std::process::id()));
        exit(99);
    }
    std::mem::forget(file);
}

fn touched(mib: usize) -> Vec<u8> {
    let mut memory = vec![0u8; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|b| *b = 1);
    memory
}

fn eat(mib: usize) {
    let memory = touched(mib);
    println!("ate {mib} MiB, last byte {}", memory[memory.len() - 1]);
    std::mem::forget(memory);
}

/// Bit by bit, so that no single request is refused for its size; 0: without end.
fn eat_on(mib: usize) {
    for _ in 0..if mib == 0 { usize::MAX } else { mib } {
        let mut memory = vec![0u8; 1 << 20];
        memory.iter_mut().step_by(4096).for_each(|b| *b = 1);
        std::mem::forget(memory);
    }
}

/// Calls `more` each second with how many KiB there shall be by then.
fn every_second(kib: usize, mut more: impl FnMut(usize) + Send + 'static) {
    let began = Instant::now();
    thread::spawn(move || {
        loop {
            // the pace; what there shall be is told by the clock, so that no late wake-up adds up
            thread::sleep(Duration::from_secs(1));
            more(usize::try_from(began.elapsed().as_secs()).unwrap_or(usize::MAX).saturating_mul(kib));
        }
    });
}

/// One mapping, of which ever more is used: nothing is moved, and nothing is added to it by an allocator.
fn leak(kib: usize) {
    let mut memory = Vec::with_capacity(256 << 20);
    every_second(kib, move |now| memory.resize(now << 10, 1u8));
}

/// Page cache of its own, and no memory.
fn fill(kib: usize, path: &str) {
    let mut file = File::create(path).expect("the file to fill");
    let (block, mut written) = ([1u8; 1024], 0);
    every_second(kib, move |now| {
        while written < now {
            file.write_all(&block).expect("fill");
            written += 1;
        }
    });
}

fn child_that_eats(mib: usize) {
    // SAFETY: as in `grandchild`; the child only allocates and sleeps.
    if let ForkResult::Child = unsafe { fork() }.expect("fork") {
        eat_on(mib);
        loop {
            thread::sleep(Duration::from_secs(3600));
        }
    }
}

fn close_output() {
    let null = File::options().write(true).open("/dev/null").expect("/dev/null");
    nix::unistd::dup2_stdout(&null).expect("dup2");
    nix::unistd::dup2_stderr(&null).expect("dup2");
}
