//! The verbs about programs as they are written: `fetch`, `artifacts`, `bundle`; and the long help of `unit-paths`.

use crate::{base::ByteSize, offline::programs::Mirror};
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

/// `fetch`.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_long_help = FETCH_HELP)]
pub struct Fetch {
    /// Ask here first: the address or the directory of a copy of the vendors' files, each under its own name
    #[arg(long, value_name = "URL|DIR", value_parser = mirror)]
    pub mirror: Option<Mirror>,
    /// Take files for which nobody publishes a digest, and hold to the digest they have now from then on
    #[arg(long)]
    pub accept_unpinned: bool,
    /// At most so many bytes per second over all downloads: 500K, 10M
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub rate_limit: Option<u64>,
    /// Fetch nothing, only say what is there and what is missing; exit code 5 when something is
    #[arg(long, conflicts_with_all = ["mirror", "accept_unpinned", "rate_limit"])]
    pub look: bool,
    /// Have this unit of systemd do it, and wait for it. Of a unit that runs this, the time-out moves
    #[arg(long, value_name = "UNIT", hide = true, conflicts_with_all = ["mirror", "accept_unpinned", "rate_limit", "look"])]
    pub by_unit: Option<String>,
}

const FETCH_HELP: &str = "\
Sources are asked in the order of artifacts.sources: \"file\" looks into artifacts.files (STORE/files), \"vendor\" asks the \
mirror and then the vendors' own addresses, \"packages\" the machine's mvn and apt-get. What the store has once had comes from \
the same kind of source again, and never in an older version.

Everything is verified before it can be run: vendors' files by digests that are compiled in, packages by their \
distribution's signature. A fetch that is killed or cut goes on where it stopped when it is run again.

Proxies are taken from https_proxy, http_proxy and no_proxy; authorities besides the system's from artifacts.ca_file, or \
SSL_CERT_FILE for other ones in their place.";

pub(super) const UNIT_PATHS_HELP: &str = "\
The units may write below /var/lib/cdc-supervisor only (ProtectSystem=strict). What lies elsewhere is named to them in a drop-in: \
the root, the directory above each data_dir (a restore renames there, and the ballast lies there) or the data_dir itself where that \
one is shared with others (/srv, /mnt and the like), the store of programs, and where ROOT/snapshots leads to. Takes force with \
the next start of the unit. What a program of [command.NAME] writes elsewhere is yours to add: `systemctl edit`.";

/// `artifacts`.
#[derive(Clone, Debug, Subcommand)]
pub enum Artifacts {
    /// Programs with their versions and sources, class-data archives, unfinished downloads; and who runs from them
    List {
        /// As JSON (schema 1)
        #[arg(long)]
        json: bool,
    },
    /// Remove what no record names and nobody runs from, and class-data archives that no node starts with any more
    Gc(Gc),
    /// Read every byte of every program again
    Verify {
        /// As JSON (schema 1)
        #[arg(long)]
        json: bool,
    },
}

/// `artifacts gc`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Gc {
    /// Only say what would go, with sizes
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Also the versions that this store has had before: going back to one needs its source again then
    #[arg(long)]
    pub earlier: bool,
    /// As JSON (schema 1)
    #[arg(long)]
    pub json: bool,
}

/// `bundle`.
#[derive(Clone, Debug, Subcommand)]
pub enum Bundle {
    /// Write what the store has for this configuration into FILE; prints its digest
    Create {
        /// The file to write
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Look whether FILE is whole and could be installed here; nothing of it stays
    Verify(BundleFile),
    /// Put the programs of FILE into the store; needs no network
    Install(BundleInstall),
}

/// A bundle to read.
#[derive(Clone, Debug, ClapArgs)]
pub struct BundleFile {
    /// The bundle
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The digest that `bundle create` printed; another file is refused
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<String>,
}

/// `bundle install`.
#[derive(Clone, Debug, ClapArgs)]
pub struct BundleInstall {
    /// Which.
    #[command(flatten)]
    pub file: BundleFile,
    /// Take a bundle that no digest proves
    #[arg(long, conflicts_with = "sha256")]
    pub accept_unpinned: bool,
}

pub(super) const BUNDLE_HELP: &str = "\
On a machine with a network: `cdc-supervisor fetch`, then `cdc-supervisor bundle create FILE`. Carry FILE and its digest over. On \
the other machine, with the same supervisor.toml and `artifacts.offline = true`: `cdc-supervisor bundle install FILE --sha256 HEX`, \
then `cdc-supervisor up`.

A bundle proves itself whole; that it is the one that was made is proven by the digest alone, so `install` wants it; \
--accept-unpinned does without, for a file that came a way you trust. A Java runtime of the machine's own is \
not in it.";

fn sha256(text: &str) -> Result<String, String> {
    let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { Ok(text.to_ascii_lowercase()) } else { Err("a SHA-256 has 64 hex digits".into()) }
}

/// Reads `--mirror`: what has a scheme is an address.
fn mirror(text: &str) -> Result<Mirror, String> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() && !host.starts_with('/') && !host.contains('@') => {
            Ok(Mirror::Url(text.trim_end_matches('/').to_owned()))
        }
        Some(_) => Err("an address begins with http:// or https:// and a host, and has no password in it".into()),
        None if std::path::Path::new(text).is_dir() => Ok(Mirror::Directory(text.into())),
        None => Err("it is no directory, and no address: those begin with http:// or https://".into()),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    match ByteSize::parse(text)? {
        ByteSize(rate) if rate >= 4_096 => Ok(rate),
        ByteSize(_) => Err("less than 4K a second would take weeks".into()),
    }
}
