//! What the guest of `life` installs: release trees and packages of these programs, in two versions, and bundles.

use std::{
    fs,
    io::{Error, Result},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

/// `packed/now` and `packed/later`: release trees of these programs and of the same with a later version in them.
pub fn trees(share: &Path, dist: &Path) -> Result<()> {
    tree(share, dist)?;
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
    trees(share, dist)?;
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
    let seal = "for file in bin/cdc-supervisor systemd/cdc-supervisor.service; do \
        sed -i \"s#^[0-9a-f]*  $file\\$#$(sha256sum $file)#\" SHA256SUMS; done";
    succeed(Command::new("sh").args(["-c", seal]).current_dir(tree))
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
