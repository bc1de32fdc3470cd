//! Known lines of mysqld. Texts are those of 9.7.4 unless a comment says else; the codes in brackets are the same in all series.
//!
//! Long because it is a list: an entry is looked up, not read through.

use super::{
    FIX_OPTION, FREE_PORT, FREE_SPACE, OWN_FILES, RAISE_AIO, RESTORE_MYSQL, consequence, fatal, harmless, noted,
};
use crate::base::Cause;
use crate::services::catalogue::{Known, Product};

/// Lines that explain an end, the more specific before the less.
pub(super) const FATAL: &[Known] = &[
    fatal(Product::Mysql, Cause::BadOption, &["[MY-000067]"], "mysqld does not know an option", FIX_OPTION),
    fatal(Product::Mysql, Cause::BadOption, &["[MY-000068]"], "mysqld does not know an option", FIX_OPTION),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["Error while setting value"],
        "mysqld refuses an option's value",
        FIX_OPTION,
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["option '--", "requires an argument"],
        "an option of mysqld lacks its value",
        FIX_OPTION,
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["[MY-011087]"],
        "lower_case_table_names differs from what the data directory was made with",
        "set it back in mysql.options: it cannot be changed later",
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["[MY-010123]"],
        "mysqld does not run as root unless told to",
        "set mysql.user, or leave user out of mysql.options",
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["Bind on TCP/IP port: Cannot assign requested address"],
        "the host does not have the address mysqld should listen on",
        "set mysql.bind to an address of this host",
    ),
    fatal(
        Product::Mysql,
        Cause::PortTaken,
        &["Bind on TCP/IP port: Address already in use"],
        "mysqld's port is taken",
        FREE_PORT,
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["Bind on TCP/IP port: Permission denied"],
        "mysqld's user may not take a port below 1024",
        "set mysql.port to one from 1024 on",
    ),
    // MY-010257 behind it ("Do you already have another mysqld …") is a guess that it makes for every bind error. A socket that is in
    // the way is replaced, even if somebody listens (9.7.4, tried); a directory is not.
    fatal(
        Product::Mysql,
        Cause::PortTaken,
        &["Bind on unix socket: Address already in use"],
        "something that mysqld cannot remove lies where its socket shall be",
        "see what that is; stop the program that uses it, or move it away, then start the node",
    ),
    fatal(
        Product::Mysql,
        Cause::PortTaken,
        &["Another process with pid", "is using unix socket file"],
        "another mysqld listens on the socket",
        "stop the mysqld that was started outside the supervisor",
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["[InnoDB] Unable to lock ./", "error: 11"],
        "another mysqld is using the data directory",
        "stop the mysqld that was started outside the supervisor",
    ),
    fatal(
        Product::Mysql,
        Cause::NewerData,
        &["Invalid MySQL server downgrade"],
        "the data directory was written by a newer MySQL",
        "install that version again, or restore a dump",
    ),
    fatal(
        Product::Mysql,
        Cause::NewerData,
        &["Cannot boot server version", "on data directory built by version"],
        "the data directory was written by a newer MySQL",
        "install that version again, or restore a dump",
    ),
    fatal(
        Product::Mysql,
        Cause::NewerData,
        &["Invalid MySQL server upgrade"],
        "the data directory's version cannot be upgraded to this MySQL in one step",
        "install the long-term series between the two first",
    ),
    // ER_IB_MSG_446 (MY-012271) of a data file that is there and may only be read
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["[InnoDB]", "data file", "must be writable"],
        "mysqld may not write to a file of its data",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["mysqld does not have the access rights to"],
        "mysqld may not use its files",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["Failed to set datadir to", "No such file or directory"],
        "the data directory is gone",
        "restore it, or reset mysql to make a new one",
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["Failed to set datadir to"],
        "mysqld cannot enter its data directory",
        OWN_FILES,
    ),
    // Of the binlog's list alone: mysqld says the same of a slow or general log, and serves without it.
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &[".index' not found (OS errno 13 - Permission denied)"],
        "mysqld may not use the list of its binlog's files",
        OWN_FILES,
    ),
    // of `--initialize`
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["Can't create directory", "(OS errno 13 - Permission denied)"],
        "mysqld may not make its data directory",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["[MY-010092]", "create PID file: Permission denied"],
        "mysqld may not write its pid file",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["[MY-010187]", "for error logging: Permission denied"],
        "mysqld may not write its log of errors",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["Unable to create temporary file inside", "errno: 13"],
        "mysqld may not write to its directory for temporary files",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongOwner,
        &["[MY-010273]", "Could not create unix socket lock file"],
        "mysqld cannot write beside its socket: the directory is not there, or not its own",
        OWN_FILES,
    ),
    fatal(
        Product::Mysql,
        Cause::WrongIdentity,
        &["[MY-010076]"],
        "auto.cnf, which holds the server's uuid, cannot be read",
        "restore auto.cnf from a backup; without it the server makes a new uuid, and its next transactions have other GTIDs",
    ),
    fatal(
        Product::Mysql,
        Cause::CouldNotStart,
        &["error while loading shared libraries"],
        "the host lacks a library that mysqld needs",
        "see what doctor says of the MySQL tree",
    ),
    // LinuxAIOHandler in storage/innobase/os/os0file.cc: io_setup(2) was refused five times
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["io_setup() failed with EAGAIN after"],
        "the host's asynchronous I/O is used up (fs.aio-max-nr)",
        RAISE_AIO,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        // 8.0.22 writes "AIOsub-system"
        &["Cannot initialize AIO", "sub-system"],
        "mysqld got no asynchronous I/O from the host",
        RAISE_AIO,
    ),
    // ---- its data ----
    fatal(
        Product::Mysql,
        Cause::NewerData,
        &["[MY-012526]", "This redo log was created with"],
        "the data directory was written by another series of MySQL that did not stop in order, and only that series can read what is left to do",
        "start the version that the line names once, and stop it; then start this one",
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["uses page size", "but the innodb_page_size start-up parameter is"],
        "innodb_page_size differs from what the data directory was made with",
        "set it back in mysql.options: it cannot be changed later",
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &["[MY-010912]", "GTID_MODE = ON requires ENFORCE_GTID_CONSISTENCY = ON"],
        "gtid_mode = ON needs enforce_gtid_consistency = ON",
        FIX_OPTION,
    ),
    fatal(
        Product::Mysql,
        Cause::CouldNotStart,
        &["[MY-010457]", "--initialize specified but the data directory has files in it"],
        "the data directory is to be made, and something is in it already",
        "move away what lies in mysql.data_dir, then start the node",
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["[MY-010958]", "Could not open log file"],
        "a file of the binlog that binlog.index names is gone, or cannot be opened (the line before names it)",
        "put that file back, or take its line out of binlog.index in mysql.data_dir; a reader of changes that had not read it needs a new snapshot",
    ),
    fatal(
        Product::Mysql,
        Cause::BadOption,
        &[".index' not found (OS errno 2"],
        "the directory of the binlog is not there",
        "make it, or correct log_bin in mysql.options",
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["[InnoDB]", "Database page corruption on disk or a failed file read"],
        "a page of MySQL's data is damaged",
        RESTORE_MYSQL,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["[MY-011904]", "stored in the page read in are"],
        "a page of MySQL's data is damaged",
        RESTORE_MYSQL,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["Neither found #innodb_redo subdirectory, nor ib_logfile* files"],
        "InnoDB's redo log is gone",
        RESTORE_MYSQL,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["Failed to read header of the redo log file"],
        "InnoDB's redo log is damaged",
        RESTORE_MYSQL,
    ),
    // 71 and 81 are InnoDB's own numbers, OS_FILE_NOT_FOUND and OS_FILE_ACCESS_VIOLATION (os0file.h)
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["File ./ibdata1: 'open' returned OS error 71"],
        "InnoDB's system tablespace (ibdata1) is gone",
        RESTORE_MYSQL,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["Cannot open datafile for read-only: 'mysql.ibd' OS error: 71"],
        "the data dictionary (mysql.ibd) is gone",
        RESTORE_MYSQL,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["[MY-012263]", "is of a different size"],
        "InnoDB's system tablespace (ibdata1) was cut, or is of another data directory",
        RESTORE_MYSQL,
    ),
    fatal(
        Product::Mysql,
        Cause::Crashed,
        &["[MY-012956]", "Cannot allocate memory for the buffer pool"],
        "there is no memory for the buffer pool",
        "lower innodb_buffer_pool_size in mysql.options, or give the machine more",
    ),
    fatal(
        Product::Mysql,
        Cause::DiskFull,
        &["[InnoDB]", "Operating system error number 28"],
        "the file system is full",
        FREE_SPACE,
    ),
    fatal(Product::Mysql, Cause::DiskFull, &["[InnoDB]", "Out of disk space"], "the file system is full", FREE_SPACE),
    consequence(
        Product::Mysql,
        Cause::Crashed,
        &["[MY-011011]", "Failed to find valid data directory"],
        "there is no data of MySQL's in the data directory",
        "restore it, or reset mysql to make a new one",
    ),
    consequence(
        Product::Mysql,
        Cause::Crashed,
        &["UTC - mysqld got signal"],
        "mysqld was ended by a fault of its own",
        "read the lines before it with `cdc-supervisor logs mysql`: they say what was wrong; the trace behind it is for a report to MySQL",
    ),
];

/// Lines that say more than they look, and end nothing.
pub(super) const NOTED: &[Known] = &[
    // ER_SERVER_NO_UUID… (MY-010075): auto.cnf is made with the data directory, so a later start has it
    noted(
        Product::Mysql,
        &["[MY-010075]", "Generating a new UUID"],
        "auto.cnf was not there, so the server has a new uuid, and its next transactions have GTIDs of a new source",
        "if these are not new data, stop the node and put auto.cnf back into mysql.data_dir",
    ),
    noted(
        Product::Mysql,
        &["[MY-013132]", "is full!"],
        "a table could not grow: its file system is full, or (a name with #sql) a temporary table has met its limit",
        "see how full the file systems of mysql.data_dir and its temporary files are",
    ),
    // MY-011263 of the slow or the general log
    noted(
        Product::Mysql,
        &["Could not use", "for logging (error", "Turning logging off for the server process"],
        "mysqld cannot write its slow or general log (the line names it), and serves without it",
        "correct slow_query_log_file or general_log_file in mysql.options, or let mysqld's user write there, then restart mysql",
    ),
    // up to 8.4; later ones say that it is "normal and expected"
    noted(
        Product::Mysql,
        &["found a zombie dump thread with the same"],
        "a reader of changes came back before its last connection was gone; again and again, two readers have one server id",
        "give each reader a database.server.id of its own",
    ),
];

/// Lines that look bad and are not.
pub(super) const HARMLESS: &[Known] = &[
    harmless(Product::Mysql, &["[MY-010068]"], "the server made its own certificate at initialisation"),
    harmless(Product::Mysql, &["[MY-010453]"], "root gets its password before the server is reachable"),
    harmless(
        Product::Mysql,
        &["'binlog_format' is deprecated"],
        "ROW is the only format left, and named because change readers depend on it",
    ),
    harmless(Product::Mysql, &["[MY-011810]"], "the pid file's directory can be read by others"),
    harmless(
        Product::Mysql,
        &["Linux Native AIO disabled"],
        "the file system has no asynchronous I/O; the server uses its own threads",
    ),
    harmless(
        Product::Mysql,
        &["[MY-012585]", "Linux Native AIO interface is not supported on this platform"],
        "the file system or the kernel has no asynchronous I/O; the server uses its own threads",
    ),
    harmless(
        Product::Mysql,
        &["[MY-010161]", "You need to use --log-bin to make --binlog-format work"],
        "there is no binlog while the data directory is made",
    ),
];
