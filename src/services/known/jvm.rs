//! Known lines of the JVM, in all that run in one. Texts are those of OpenJDK 17 unless a comment says else.

use super::{FIX_OPTION, consequence, fatal, harmless};
use crate::base::Cause;
use crate::services::catalogue::{Known, Product};

/// Lines that explain an end, the more specific before the less.
pub(super) const FATAL: &[Known] = &[
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["java.lang.OutOfMemoryError: Java heap space"],
        "the Java heap is full (this is not the memory cap)",
        "raise heap, and memory_max with it",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["OutOfMemoryError: Metaspace"],
        "the limit on class metadata was reached",
        "raise memory_max, or -XX:MaxMetaspaceSize in jvm_flags",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["OutOfMemoryError", "direct buffer memory"],
        "the limit on direct buffers was reached",
        "raise memory_max, or -XX:MaxDirectMemorySize in jvm_flags",
    ),
    // Java 11
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["OutOfMemoryError: Direct buffer memory"],
        "the limit on direct buffers was reached",
        "raise memory_max, or -XX:MaxDirectMemorySize in jvm_flags",
    ),
    // "new native thread" in Java 8
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["OutOfMemoryError: unable to create ", "native thread"],
        "the limit on threads was reached",
        "raise tasks_max",
    ),
    // FileChannelImpl.map (OpenJDK 17): "java.io.IOException: Map failed", caused by an OutOfMemoryError of the same words
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["java.", "Map failed"],
        "the kernel refused to map another file: the process has as many mappings as it may (vm.max_map_count), or its address space is bounded",
        "raise vm.max_map_count: `cdc-supervisor doctor` says to what, `doctor --fix max-map-count` does it",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["There is insufficient memory for the Java Runtime Environment to continue"],
        "the host had no memory for the JVM",
        "free memory on the host, or lower heaps",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["#  SIGBUS (0x7)"],
        "the JVM read past the end of a mapped file: a truncated class-data archive, or the disk was full",
        "remove the .jsa files of artifacts/class-data, they are made again, and see how full the disk is",
    ),
    // the same where the JVM can go on; a Kafka that starts on a full disk meets it (tried)
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["java.lang.InternalError: a fault occurred in", "unsafe memory access operation"],
        "a mapped file had no page where one was needed: the disk is full, or somebody cut the file",
        "see how full the disk is, and free space",
    ),
    fatal(Product::Jvm, Cause::BadOption, &["Unrecognized VM option"], "the JVM does not know a flag", FIX_OPTION),
    fatal(Product::Jvm, Cause::BadOption, &["Unrecognized option:"], "the JVM does not know a flag", FIX_OPTION),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Invalid maximum heap size"],
        "the JVM refuses the heap's size",
        FIX_OPTION,
    ),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Initial heap size set to a larger value than the maximum heap size"],
        "a flag asks for more heap at the start than the heap may have",
        "take -Xms out of jvm_flags, or raise heap",
    ),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Multiple garbage collectors selected"],
        "a flag chooses a second garbage collector",
        "put -XX:-UseSerialGC before it in jvm_flags",
    ),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Improperly specified VM option"],
        "the JVM refuses a flag's value",
        FIX_OPTION,
    ),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Error: VM option '", "must be enabled via -XX:+Unlock"],
        "a flag needs another one before it",
        "put the flag that the line names before it in jvm_flags",
    ),
    fatal(Product::Jvm, Cause::BadOption, &["Too small maximum heap"], "the JVM refuses the heap's size", FIX_OPTION),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["The Java thread stack size specified is too small"],
        "the JVM refuses the size of its stacks",
        "raise -Xss in jvm_flags",
    ),
    fatal(
        Product::Jvm,
        Cause::BadOption,
        &["Error opening zip file or JAR manifest missing"],
        "the jar of an agent (-javaagent) is not there",
        "correct jvm_flags in supervisor.toml, then reload",
    ),
    fatal(
        Product::Jvm,
        Cause::Crashed,
        &["Could not reserve enough space for", "object heap"],
        "the host has no room for the Java heap, or a limit on address space is lower than it",
        "free memory on the host, or lower heap",
    ),
    consequence(
        Product::Jvm,
        Cause::Crashed,
        &["Error occurred during initialization of VM"],
        "the JVM could not start, and says why in the next lines",
        "read on with `cdc-supervisor logs`",
    ),
    consequence(
        Product::Jvm,
        Cause::BadOption,
        &["Error: Could not create the Java Virtual Machine"],
        "the JVM refuses its flags",
        FIX_OPTION,
    ),
    fatal(
        Product::Jvm,
        Cause::CouldNotStart,
        &["java.lang.UnsupportedClassVersionError"],
        "the jars need a newer Java",
        "install the Java version that doctor asks for",
    ),
    fatal(
        Product::Jvm,
        Cause::CouldNotStart,
        &["Error: Could not find or load main class"],
        "the program's jars are not all there",
        "fetch the artifacts again",
    ),
];

/// Lines that look bad and are not.
pub(super) const HARMLESS: &[Known] = &[
    harmless(
        Product::Jvm,
        &["[warning][cds"],
        "a class-data archive does not fit and is not used: the start is slower, nothing else",
    ),
    harmless(
        Product::Jvm,
        &["Sharing is only supported for boot loader classes"],
        "a flag switches class-data archives off",
    ),
];
