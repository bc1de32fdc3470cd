//! Which root the unit's daemon serves, written down where its configuration cannot change it: nodes that run below one root are
//! looked after and stopped there, whatever the file has come to say since.

use super::status;
use crate::{
    base::Layout,
    config::{SYSTEM_ROOT, plain_path},
    sys::{
        error::SysError,
        fs::{self, Durability},
    },
};
use std::path::{Path, PathBuf};

/// The file's name. In the unit's `StateDirectory=`, which is its user's, and the same for every root.
const FILE: &str = "served-root";

/// Where it is.
pub fn place() -> PathBuf {
    SYSTEM_ROOT.into()
}

/// The daemon of the unit serves this root from now on.
pub fn note(place: &Path, root: &Path) -> Result<(), SysError> {
    let text = format!("{}\n", root.display());
    // What lives below it does not outlive a loss of power either.
    fs::write_if_different(&place.join(FILE), text.as_bytes(), 0o640, Durability::ProcessCrash).map(drop)
}

/// The root that is served, where it is another one than `wanted` and nodes of it live.
pub fn elsewhere(place: &Path, wanted: &Path) -> Option<Layout> {
    noted(place).filter(|layout| layout.root() != wanted && !status::nodes_that_live(layout).is_empty())
}

/// The root that the unit's daemon has served last.
pub fn noted(place: &Path) -> Option<Layout> {
    // Who may not read it has no business there.
    let text = fs::read_plain_optional(&place.join(FILE)).ok()??;
    // Root reads it too, and it belongs to the unit's user: nothing else than what a configuration could have named.
    plain_path(text.strip_suffix('\n')?).ok().map(Layout::new)
}

/// What is said of it, with what to do. `has_plan`: the plan applied last is there.
pub fn words(served: &Layout, wanted: &Path, has_plan: bool) -> String {
    let (served, wanted) = (served.root().display(), wanted.display());
    let by = if has_plan { "the plan applied last" } else { "the rest of the file (the plan applied last is lost)" };
    format!(
        "the configuration names the root {wanted}, and nodes run below {served}: they go on there by {by}. To move: \
         `systemctl stop cdc-supervisor`, bring the data to {wanted}, `cdc-supervisor unit-paths --write`, `systemctl start cdc-supervisor`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::NodeName, sys::fs::Lock};

    #[test]
    fn a_root_that_the_file_names_no_more_is_served_as_long_as_something_of_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("old"));
        std::fs::create_dir_all(layout.node_run(&NodeName::mysql())).unwrap();
        let asked = |wanted: &str| elsewhere(dir.path(), Path::new(wanted)).map(|l| l.root().to_owned());
        assert_eq!(asked("/new"), None, "nothing was noted");
        note(dir.path(), layout.root()).unwrap();
        assert_eq!(asked("/new"), None, "nothing of it lives");
        let held = Lock::try_take(&layout.node_lock(&NodeName::mysql())).unwrap();
        assert_eq!(asked("/new"), Some(layout.root().to_owned()));
        assert_eq!(elsewhere(dir.path(), layout.root()).map(|l| l.root().to_owned()), None, "the same");
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(dir.path().join(FILE), &whole[..cut]).unwrap();
            assert_eq!(asked("/new"), None, "torn at {cut}");
        }
        drop(held);
    }

    #[test]
    fn a_root_that_no_configuration_could_name_is_not_served() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("x")).unwrap();
        for name in ["x\nUser=root\n#", "x\r", "x/../x", "a:b", "\u{85}"] {
            let layout = Layout::new(dir.path().join(name));
            std::fs::create_dir_all(layout.node_run(&NodeName::mysql())).unwrap();
            note(dir.path(), layout.root()).unwrap();
            let _held = Lock::try_take(&layout.node_lock(&NodeName::mysql())).unwrap();
            assert!(!status::nodes_that_live(&layout).is_empty());
            assert_eq!(elsewhere(dir.path(), Path::new("/new")).map(|l| l.root().to_owned()), None, "{name:?}");
        }
    }
}
