//! What guests install: release trees and packages of these programs, in two versions, and bundles, of nothing or of the real products.

use std::{
    fs,
    io::{Error, Result},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

/// `packed/later`: a release tree of these programs with a later version in them.
pub fn later(share: &Path, dist: &Path) -> Result<()> {
    let packed = share.join("packed");
    let (supervisor, shim) = (share.join("bin/cdc-supervisor"), share.join("bin/cdc-shim"));
    let later = packed.join("cdc-supervisor");
    fs::write(&later, with_later_version(fs::read(&supervisor)?))?;
    fs::set_permissions(&later, fs::Permissions::from_mode(0o755))?;
    succeed(Command::new(dist.join("tree.sh")).arg(packed.join("later")).arg(&later).arg(&shim))?;
    fs::remove_file(later)
}

/// The trees and `packed/unfit`, the later one with a program that cannot be the daemon; their packages, and bundles.
pub fn pack(share: &Path, dist: &Path) -> Result<()> {
    tree(share, dist)?;
    later(share, dist)?;
    let packed = share.join("packed");
    unfit(&packed)?;
    for (name, out) in [("now", "."), ("later", "."), ("unfit", "of-unfit")] {
        package(&packed, name, out, dist)?;
    }
    let whole = fs::read(packed.join("empty.bundle"))?;
    fs::write(packed.join("torn.bundle"), &whole[..whole.len() / 2])
}

/// The package of the release tree `name`, in the directory `out`.
pub fn package(packed: &Path, name: &str, out: &str, dist: &Path) -> Result<()> {
    let mut build = Command::new(dist.join("build-deb.sh"));
    // dpkg-deb(1): the usual xz takes half a minute for what is thrown away at once
    build.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    succeed(build.arg(packed.join(out)).arg(packed.join(name)))
}

/// `packed/now`, and a bundle of a stack that needs no programs.
pub fn tree(share: &Path, dist: &Path) -> Result<()> {
    let packed = share.join("packed");
    fs::create_dir_all(&packed)?;
    let (supervisor, shim) = (share.join("bin/cdc-supervisor"), share.join("bin/cdc-shim"));
    succeed(Command::new(dist.join("tree.sh")).arg(packed.join("now")).arg(&supervisor).arg(&shim))?;
    let config = packed.join("empty.toml");
    fs::write(&config, "[command.x]\nargv = [\"/bin/true\"]\n")?;
    let mut create = Command::new(&supervisor);
    create.arg("--config").arg(&config).arg("--root").arg(packed.join("root"));
    succeed(create.args(["bundle", "create"]).arg(packed.join("empty.bundle")))
}

/// `packed/now`, and what `install_products` of `head.sh` needs besides it: `stack.bundle` with the real products of this store, its
/// digest, what `bundle create` said of it, and where this machine's Java is.
pub fn products(share: &Path, dist: &Path, store: &str) -> Result<()> {
    let lock = fs::read_to_string(Path::new(store).join("lock.toml"))?;
    let java = lock.lines().find_map(|l| l.strip_prefix("home = \"")?.strip_suffix('"'));
    let java = java.ok_or_else(|| Error::other(format!("{store} has no Java")))?;
    tree(share, dist)?;
    // as on a machine with a network: its configuration, and what it has fetched
    let config = share.join("bundle.toml");
    fs::write(&config, format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka]\n[mysql]\n"))?;
    let mut create = Command::new(share.join("bin/cdc-supervisor"));
    create.arg("--config").arg(&config).arg("--root").arg(share.join("bundle-root"));
    let made = create.args(["bundle", "create"]).arg(share.join("stack.bundle")).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let digest = text.lines().find_map(|l| l.strip_prefix("sha256 "));
    let digest = digest.ok_or_else(|| Error::other(format!("{text}{}", String::from_utf8_lossy(&made.stderr))))?;
    let words = [("java", java), ("digest", digest), ("bundle.text", &text)];
    words.iter().try_for_each(|(name, text)| fs::write(share.join(name), text))
}

/// A program that says all is well, and ends at once whenever it is to be the daemon; with which code is said beside the real one,
/// where the guest puts that. Its unit tells of it, too.
fn unfit(packed: &Path) -> Result<()> {
    let tree = packed.join("unfit");
    succeed(Command::new("cp").arg("-r").arg(packed.join("later")).arg(&tree))?;
    let script = "#!/bin/sh\ncase \" $* \" in *\" --check \"*) ;; *\" run \"*) exit $(cat /usr/local/lib/real/code) ;; esac\n\
        exec /usr/local/lib/real/cdc-supervisor \"$@\"\n";
    fs::write(tree.join("bin/cdc-supervisor"), script)?;
    let unit = tree.join("systemd/cdc-supervisor.service");
    fs::write(&unit, fs::read_to_string(&unit)? + "# of the unfit version\n")?;
    seal(&tree)
}

/// The sums of a tree that was changed.
fn seal(tree: &Path) -> Result<()> {
    let sums =
        "find . -type f ! -name SHA256SUMS -printf '%P\\n' | sort | xargs sha256sum >../sums && mv ../sums SHA256SUMS";
    succeed(Command::new("sh").args(["-c", sums]).current_dir(tree))
}

/// Another shim and other units, too, in a tree of another version.
pub fn differ(tree: &Path) -> Result<()> {
    let add = "for file in bin/cdc-shim systemd/*.service; do echo '# later' >>$file; done";
    succeed(Command::new("sh").args(["-ec", add]).current_dir(tree))?;
    seal(tree)
}

/// Of `now` what takes no time: few manual pages, programs that hand over to those of the shared directory. `later`: with another program and
/// other units. `riscv`: said to be for another machine; `foreign`: with a program of another machine.
pub fn small(packed: &Path) -> Result<()> {
    let shrink = "find now/man -type f ! -name '*-up.1.gz' -delete
        printf '#!/bin/sh\\nexec /mnt/share/bin/cdc-supervisor \"$@\"\\n' >now/bin/cdc-supervisor
        printf '#!/bin/sh\\n' >now/bin/cdc-shim
        for other in later riscv foreign; do cp -r now $other; done
        sed -i 's/^version=.*/version=9.9.9/' later/RELEASE
        echo '# later' >>later/bin/cdc-supervisor
        sed -i 's/^machine=.*/machine=riscv64/' riscv/RELEASE
        # ELF, 64 bits, little endian; machine 243 is RISC-V (elf(5))
        printf '\\177ELF\\2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\363\\0' >foreign/bin/cdc-supervisor";
    succeed(Command::new("sh").args(["-ec", shrink]).current_dir(packed))?;
    differ(&packed.join("later"))?;
    ["now", "riscv", "foreign"].iter().try_for_each(|tree| seal(&packed.join(tree)))
}

/// The version that `later` has.
pub const LATER: &str = "9.9.9";

/// Every `0.1.0` of ours becomes the later version, of the same length.
fn with_later_version(mut program: Vec<u8>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    assert_eq!(version.len(), LATER.len(), "choose a later version as long as {}", env!("CARGO_PKG_VERSION"));
    let mut at = 0;
    while let Some(found) = program[at..].windows(version.len()).position(|w| w == version) {
        at += found;
        program[at..at + version.len()].copy_from_slice(LATER.as_bytes());
    }
    program
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}
