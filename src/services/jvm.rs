//! A JVM inside a memory cap: how much of it is heap, what bounds the rest, and the command line.

use super::class_data;
use crate::{
    base::{ByteSize, programs::JavaRuntime},
    config,
};
use std::path::Path;

/// One MiB.
const MIB: u64 = 1 << 20;

/// `-Xss`. HotSpot's default of 1 MB is reserved only, but half is enough for these programs (run with it).
const STACK_KIB: u64 = 512;

/// HotSpot's thresholds (Java 17) times three for its first compiler and times four for its second: what is called often is
/// still compiled by both, a little later, and not while four JVMs start at once on two cores. Processor time until started,
/// in turns on a busy machine, medians: a broker 3.8 s with the defaults, 2.5 s with the second line of four, 2.3 s with both;
/// ZooKeeper 1.25 s and 1.0 s. The first compiler alone (`-XX:TieredStopAtLevel=1`) needs 2.0 s, at a lower peak for good.
const START_FLAGS: [&str; 8] = [
    "-XX:Tier3InvocationThreshold=600",
    "-XX:Tier3MinInvocationThreshold=300",
    "-XX:Tier3CompileThreshold=6000",
    "-XX:Tier3BackEdgeThreshold=180000",
    "-XX:Tier4InvocationThreshold=20000",
    "-XX:Tier4MinInvocationThreshold=8000",
    "-XX:Tier4CompileThreshold=60000",
    "-XX:Tier4BackEdgeThreshold=160000",
];

/// The front of the flag that has every collection of garbage written down, one line each
/// (`GC(12) Pause Young (Allocation Failure) 138M->101M(155M) 6.2ms`): when the kernel has killed a JVM at its cap nothing is
/// left to ask what its heap was. Kafka's own start script has them written too (kafka-run-class.sh, `-loggc`: ten files of 100 MB).
pub(super) const GC_LOG: &str = "-Xlog:gc:file=";

/// Where and how much: beside the node's temporary files, which it can write to whoever it runs as, and not in its log, which an
/// idle broker would fill with nothing else. The file and an older one, 256 KiB each; a start makes the last run's the older one.
pub(super) fn gc_log(tmp: &str) -> String {
    format!("{GC_LOG}{tmp}/gc.log:utctime:filecount=1,filesize=256k")
}

/// What one kind of JVM program needs outside its heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Metaspace without a class-data archive, least and most useful limit, MiB.
    pub metaspace: (u64, u64),
    /// Compiled code, least and most useful limit, MiB.
    pub code_cache: (u64, u64),
    /// NIO direct buffers, least and most useful limit, MiB.
    pub direct: (u64, u64),
    /// Threads under load.
    pub threads: u64,
    /// The sum of the least parts, as the configuration reckons with it.
    pub native: ByteSize,
    /// The smallest heap worth a start.
    pub heap_min: ByteSize,
}

/// How a cap is divided. Every part but `own` is a limit that the JVM enforces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `-Xmx`.
    pub heap: ByteSize,
    /// `-XX:MaxDirectMemorySize`.
    pub direct: ByteSize,
    /// `-XX:MaxMetaspaceSize`.
    pub metaspace: ByteSize,
    /// `-XX:ReservedCodeCacheSize`.
    pub code_cache: ByteSize,
    /// Reckoned, not enforced: the JVM itself, the collector's tables, touched stacks.
    pub own: ByteSize,
    /// What is left of the cap for page cache and error.
    pub spare: ByteSize,
}

impl Limits {
    /// Everything that can be resident at once.
    pub fn sum(&self) -> ByteSize {
        ByteSize(self.heap.0 + self.direct.0 + self.metaspace.0 + self.code_cache.0 + self.own.0)
    }
}

/// A cap that its heap and the least of the rest do not fit in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The heap, as set or the smallest that would be derived.
    pub heap: ByteSize,
    /// The least of the rest.
    pub rest: ByteSize,
}

/// Divides `cap`. A heap that is given is kept; without one it is derived from the cap by the configuration's rule.
pub fn limits(cap: ByteSize, heap: Option<ByteSize>, needs: &Needs) -> Result<Limits, TooSmall> {
    divide(cap, heap.unwrap_or_else(|| config::derived_heap(cap, needs.native, needs.heap_min)), needs)
}

fn divide(cap: ByteSize, heap: ByteSize, needs: &Needs) -> Result<Limits, TooSmall> {
    // 24 MiB: libjvm's own data, symbol and string tables, malloc's slack with two arenas. heap/32: the collector's tables
    // (the serial collector's card table is heap/512, the rest is margin for a collector of the user's choice). 128 KiB of a
    // thread's stack are touched. Measured against these: 118-153 MB for an idle broker in all.
    let own = 24 * MIB + heap.0 / 32 + needs.threads * 128 * 1024;
    let floor = (needs.metaspace.0 + needs.code_cache.0 + needs.direct.0) * MIB;
    let too_small = TooSmall { heap, rest: ByteSize(own + floor) };
    let extra = cap.0.checked_sub(heap.0).and_then(|r| r.checked_sub(own + floor)).ok_or(too_small)?;
    // A quarter of what is over stays spare; the rest goes to the three parts as far as each has use for it.
    let give = extra / 4 * 3;
    let span: u64 = [needs.metaspace, needs.code_cache, needs.direct].iter().map(|(least, most)| most - least).sum();
    let part = |(least, most): (u64, u64)| {
        let share = (give / MIB * (most - least)).checked_div(span).unwrap_or(0);
        ByteSize::mib((least + share).min(most))
    };
    let mut limits = Limits {
        heap,
        direct: part(needs.direct),
        metaspace: part(needs.metaspace),
        code_cache: part(needs.code_cache),
        own: ByteSize(own),
        spare: ByteSize(0),
    };
    limits.spare = ByteSize(cap.0 - limits.sum().0);
    Ok(limits)
}

/// Everything a command line is made of.
pub(super) struct CommandLine<'a> {
    pub java: &'a JavaRuntime,
    pub limits: &'a Limits,
    pub tmp: &'a str,
    pub crash_dir: &'a str,
    pub log4j: &'a str,
    pub archive: &'a str,
    pub class_path: &'a str,
    pub extra_flags: &'a [String],
    pub main_class: &'a str,
    pub arguments: &'a [String],
}

impl CommandLine<'_> {
    /// `java` with everything, ready to execute.
    pub(super) fn argv(&self) -> Vec<String> {
        let mut argv = vec![path_text(&self.java.program)];
        argv.extend(memory_flags(self.limits));
        argv.extend(self.common());
        // An archive that is missing, stale, damaged or unreadable is passed over (tried with 17.0.15: at most one warning
        // line); only a truncated one kills the JVM, with SIGBUS, so it must be written in full before it gets its name.
        argv.push(format!("-XX:SharedArchiveFile={}", self.archive));
        argv.push("-Xshare:auto".into());
        argv.extend(START_FLAGS.map(str::to_owned));
        argv.push(gc_log(self.tmp));
        // the user's come last: the last of two holds
        argv.extend(self.extra_flags.iter().cloned());
        argv.extend(["-cp".into(), self.class_path.into(), self.main_class.into()]);
        argv.extend(self.arguments.iter().cloned());
        argv
    }

    /// The front of a training run: no heap, no archive, no configuration.
    pub(super) fn training(&self) -> Vec<String> {
        let mut argv = vec![path_text(&self.java.program)];
        argv.extend(self.common());
        argv.extend(["-cp".into(), self.class_path.into()]);
        argv
    }

    fn common(&self) -> Vec<String> {
        let mut flags = common_flags(self.tmp, self.crash_dir);
        flags.push(format!("-Dlog4j.configuration={}", file_url(self.log4j)));
        flags
    }
}

/// The flags that hold a JVM to its part of the cap.
pub(super) fn memory_flags(l: &Limits) -> Vec<String> {
    vec![
        format!("-Xmx{}", exact(l.heap)),
        // HotSpot starts with a 64th of the host's memory, 256 MB of 16 GB, and the serial collector fills what it has: a
        // quarter of the heap saved 25 MB of an idle broker's 165 and 50 MB of 265 under load (measured, PSS). It grows.
        format!("-Xms{}m", (l.heap.0 / 4).div_ceil(MIB)),
        format!("-XX:MaxDirectMemorySize={}", exact(l.direct)),
        format!("-XX:MaxMetaspaceSize={}", exact(l.metaspace)),
        format!("-XX:ReservedCodeCacheSize={}", exact(l.code_cache)),
    ]
}

/// What every JVM node is started with.
pub(super) fn common_flags(tmp: &str, crash_dir: &str) -> Vec<String> {
    vec![
        format!("-Xss{STACK_KIB}k"),
        class_data::COLLECTOR.into(),
        // per-thread direct buffers of NIO are kept without bound otherwise (sentry-kubernetes/charts#1733)
        "-Djdk.nio.maxCachedBufferSize=262144".into(),
        // a broker that lives on after an OutOfMemoryError is a zombie (strimzi#6579); does not see the kind that
        // java.nio throws itself for direct memory
        "-XX:+ExitOnOutOfMemoryError".into(),
        // no core file of the cap's size, one crash report that the next one replaces
        "-XX:-CreateCoredumpOnCrash".into(),
        format!("-XX:ErrorFile={crash_dir}/hs_err.log"),
        format!("-XX:HeapDumpPath={crash_dir}"),
        // performance counters live in /tmp/hsperfdata_USER: no node uses /tmp
        "-XX:-UsePerfData".into(),
        format!("-Djava.io.tmpdir={tmp}"),
        "-Djava.awt.headless=true".into(),
        "-Dfile.encoding=UTF-8".into(),
    ]
}

/// The environment of a JVM node. Children start from an empty one.
pub(super) fn environment(tmp: &str) -> Vec<(String, String)> {
    [
        ("LANG", "C.UTF-8"),
        // glibc's malloc makes 8 arenas of up to 64 MB per core otherwise (mallopt(3), M_ARENA_MAX)
        ("MALLOC_ARENA_MAX", "2"),
        ("TMPDIR", tmp),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .to_vec()
}

/// A log4j 1.x configuration (reload4j in both distributions): everything to stdout, where the shim rotates it. UTC with
/// milliseconds like mysqld's own log, so that logs of different nodes can be laid side by side.
pub(super) fn log4j(levels: &[(&str, &str, &str)]) -> String {
    let mut p = crate::render::Properties::new(super::FILE_HEAD);
    p.set("log4j.rootLogger", "INFO, stdout", "");
    p.set("log4j.appender.stdout", "org.apache.log4j.ConsoleAppender", "");
    // the plain PatternLayout knows no time zone but the host's
    p.set("log4j.appender.stdout.layout", "org.apache.log4j.EnhancedPatternLayout", "");
    let pattern = "%d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC} %p %m (%c)%n";
    p.set("log4j.appender.stdout.layout.ConversionPattern", pattern, "");
    for (logger, level, why) in levels {
        p.set(format!("log4j.logger.{logger}"), *level, why);
    }
    p.render()
}

/// A size the JVM reads back exactly.
fn exact(size: ByteSize) -> String {
    match size.0 {
        b if b.is_multiple_of(MIB) => format!("{}m", b / MIB),
        b if b.is_multiple_of(1024) => format!("{}k", b / 1024),
        b => b.to_string(),
    }
}

/// Programs of the artifact store; a path that is not UTF-8 was refused before (`ServiceError::Path`).
fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `file:` URL of an absolute path; log4j decodes `%` and cuts at `#`, Spring takes it as java.net.URL does.
pub(super) fn file_url(path: &str) -> String {
    use std::fmt::Write;
    let mut url = String::from("file:");
    for b in path.bytes() {
        if b.is_ascii_alphanumeric() || b"/-_.~+,@=".contains(&b) {
            url.push(char::from(b));
        } else {
            // writing into a String cannot fail
            let _ = write!(url, "%{b:02X}");
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::super::{kafka, kafka_ui, zookeeper};
    use super::*;

    fn mib(l: &Limits) -> [u64; 6] {
        [l.heap, l.direct, l.metaspace, l.code_cache, l.own, l.spare].map(ByteSize::whole_mib)
    }

    #[test]
    fn the_missions_heaps_fit_their_caps_with_everything_else() {
        let broker = limits(ByteSize::mib(768), Some(ByteSize::mib(512)), &kafka::NEEDS).unwrap();
        assert_eq!(mib(&broker), [512, 56, 80, 48, 50, 22]);
        let zookeeper = limits(ByteSize::mib(384), Some(ByteSize::mib(256)), &zookeeper::NEEDS).unwrap();
        assert_eq!(mib(&zookeeper), [256, 22, 34, 24, 37, 11]);
        let ui = limits(ByteSize::mib(384), Some(ByteSize::mib(128)), &kafka_ui::NEEDS).unwrap();
        assert_eq!(mib(&ui), [128, 27, 143, 39, 33, 14]);
    }

    #[test]
    fn without_a_heap_half_of_the_cap_is_taken() {
        let l = limits(ByteSize::mib(768), None, &kafka::NEEDS).unwrap();
        assert_eq!(l.heap, ByteSize::mib(384));
        let l = limits(ByteSize::mib(384), None, &zookeeper::NEEDS).unwrap();
        assert_eq!(l.heap, ByteSize::mib(192));
    }

    #[test]
    fn half_of_a_cap_always_leaves_room_for_the_rest_above_the_least() {
        for (needs, least) in [(kafka::NEEDS, 366), (zookeeper::NEEDS, 148), (kafka_ui::NEEDS, 273)] {
            for cap in least..2048 {
                assert!(limits(ByteSize::mib(cap), None, &needs).is_ok(), "{cap}");
            }
        }
    }

    #[test]
    fn a_cap_that_cannot_hold_the_least_is_refused_with_its_parts() {
        let e = limits(ByteSize::mib(640), Some(ByteSize::mib(512)), &kafka::NEEDS).unwrap_err();
        assert_eq!((e.heap.whole_mib(), e.rest.whole_mib()), (512, 178));
        assert!(limits(ByteSize::mib(256), None, &kafka::NEEDS).is_err());
    }

    #[test]
    fn a_heap_that_the_configuration_accepts_is_never_refused_here() {
        use crate::config::largest_heap;
        for needs in [kafka::NEEDS, zookeeper::NEEDS, kafka_ui::NEEDS] {
            let native = needs.native;
            for cap in (native.whole_mib() + 8)..4096 {
                let heap = largest_heap(ByteSize::mib(cap), native);
                assert!(limits(ByteSize::mib(cap), Some(heap), &needs).is_ok(), "{heap} of {cap}M");
            }
        }
    }

    #[test]
    fn no_sum_of_limits_is_over_its_cap() {
        for needs in [kafka::NEEDS, zookeeper::NEEDS, kafka_ui::NEEDS] {
            for cap in (64..4096).step_by(7) {
                for heap in [None, Some(ByteSize::mib(cap / 3)), Some(ByteSize::mib(cap)), Some(ByteSize(u64::MAX))] {
                    let Ok(l) = limits(ByteSize::mib(cap), heap, &needs) else { continue };
                    assert!(l.sum() <= ByteSize::mib(cap), "{cap}: {l:?}");
                    assert_eq!(l.sum().0 + l.spare.0, cap << 20, "{l:?}");
                }
            }
        }
    }

    #[test]
    fn log4j_urls_survive_blanks_hashes_and_percent_signs() {
        assert_eq!(file_url("/srv/my data/50%#1/log4j"), "file:/srv/my%20data/50%25%231/log4j");
    }
}
