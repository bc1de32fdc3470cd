//! Where the root is when neither `--root` nor the file says so.

use std::path::{Path, PathBuf};

/// The system's root directory.
pub const SYSTEM_ROOT: &str = "/var/lib/cdc-supervisor";
/// The system's configuration file.
pub const SYSTEM_FILE: &str = "/etc/cdc-supervisor/supervisor.toml";

/// `/var/lib/cdc-supervisor` for uid 0 and for the `/etc` file; else `$XDG_DATA_HOME/cdc-supervisor`, else
/// `HOME/.local/share/cdc-supervisor` (XDG Base Directory Specification: a relative variable counts as unset).
///
/// The facts are handed in: who runs, which file was read (none: no file), `XDG_DATA_HOME`, the home directory.
pub fn default_root(
    is_uid_0: bool,
    file: Option<&Path>,
    xdg_data_home: Option<&Path>,
    home: Option<&Path>,
) -> Result<PathBuf, String> {
    if is_uid_0 || file == Some(Path::new(SYSTEM_FILE)) {
        return Ok(PathBuf::from(SYSTEM_ROOT));
    }
    let absolute = |p: &&Path| p.is_absolute();
    match (xdg_data_home.filter(absolute), home.filter(absolute)) {
        (Some(data), _) => Ok(data.join("cdc-supervisor")),
        (None, Some(home)) => Ok(home.join(".local/share/cdc-supervisor")),
        (None, None) => {
            Err("no root is given and this user has no home directory; write root = \"/…\" or use --root".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_root_is_the_systems_for_uid_0_and_the_etc_file_and_the_users_otherwise() {
        let home = Some(Path::new("/home/kim"));
        let of = |uid0, file: Option<&str>, xdg: Option<&str>, home| {
            default_root(uid0, file.map(Path::new), xdg.map(Path::new), home)
        };
        assert_eq!(of(true, None, None, home), Ok(PathBuf::from("/var/lib/cdc-supervisor")));
        assert_eq!(of(false, Some(SYSTEM_FILE), None, home), Ok(PathBuf::from("/var/lib/cdc-supervisor")));
        let users = Ok(PathBuf::from("/home/kim/.local/share/cdc-supervisor"));
        assert_eq!(of(false, Some("./supervisor.toml"), None, home), users);
        assert_eq!(of(false, None, Some("relative"), home), users);
        assert_eq!(of(false, None, Some("/data"), home), Ok(PathBuf::from("/data/cdc-supervisor")));
        assert!(of(false, None, None, None).unwrap_err().contains("--root"));
    }
}
