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
    let packed = share.join("packed");
    fs::create_dir_all(&packed)?;
    let (supervisor, shim) = (share.join("bin/cdc-supervisor"), share.join("bin/cdc-shim"));
    let later = packed.join("cdc-supervisor");
    fs::write(&later, with_later_version(fs::read(&supervisor)?))?;
    fs::set_permissions(&later, fs::Permissions::from_mode(0o755))?;
    for (name, program) in [("now", &supervisor), ("later", &later)] {
        let tree = packed.join(name);
        succeed(Command::new(dist.join("tree.sh")).arg(&tree).arg(program).arg(&shim))?;
    }
    fs::remove_file(later)
}

/// The trees, their packages beside them, and bundles.
pub fn pack(share: &Path, dist: &Path) -> Result<()> {
    trees(share, dist)?;
    let (packed, supervisor) = (share.join("packed"), share.join("bin/cdc-supervisor"));
    for name in ["now", "later"] {
        let tree = packed.join(name);
        let mut build = Command::new(dist.join("build-deb.sh"));
        // dpkg-deb(1): the usual xz takes half a minute for what is thrown away at once
        build.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
        succeed(build.arg(&packed).arg(&tree))?;
    }
    // a bundle of a stack that needs no programs, and the same cut short
    let config = packed.join("empty.toml");
    fs::write(&config, "[command.x]\nargv = [\"/bin/true\"]\n")?;
    let bundle = packed.join("empty.bundle");
    let mut create = Command::new(&supervisor);
    create.arg("--config").arg(&config).arg("--root").arg(packed.join("root"));
    succeed(create.args(["bundle", "create"]).arg(&bundle))?;
    let whole = fs::read(&bundle)?;
    fs::write(packed.join("torn.bundle"), &whole[..whole.len() / 2])
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
