//! Finds and reads `supervisor.toml`, and the root that goes with it.
//!
//! A little past 500 lines: half of it are the words of its errors and its tests, and which file and which root go together is one matter.

use super::served;
use crate::{
    base::Layout,
    config::{self, ConfigErrors, Plan, Source},
    sys::host,
};
use std::{
    env, fmt, fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The file looked for first, in the current directory.
const LOCAL_FILE: &str = "supervisor.toml";

/// Largest file that is read, bytes. The commented default has a hundredth of it.
const FILE_MAX: u64 = 1 << 20;

/// A configuration that was found and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub plan: Plan,
    /// Its text; empty for the built-in default stack.
    pub text: String,
    /// Where it was found, absolute; none: no file anywhere, the default stack is meant.
    pub path: Option<PathBuf>,
}

/// The configuration cannot be used.
#[derive(Debug)]
pub enum ConfigFileError {
    /// The file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something of that name which is no file: a directory, a fifo, a device.
    NoFile {
        /// Which.
        path: PathBuf,
        /// It is a directory.
        directory: bool,
    },
    /// The file is larger than any configuration.
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// Root would take orders from a file of somebody else that happens to lie in the current directory.
    NotOwnedByRoot {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// It is root's, and others may write into it.
    WritableByOthers {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Neither the command line nor the file nor the environment tells a root.
    NoRoot(String),
    /// The text is wrong. Draws itself with its own `error:`.
    Wrong(ConfigErrors),
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read the configuration {}", path.display()),
            Self::NoFile { path, directory: true } => write!(f, "the configuration {} is a directory", path.display()),
            Self::NoFile { path, directory: false } => write!(f, "the configuration {} is not a file", path.display()),
            Self::TooLong { path } => {
                write!(f, "{} has more than {FILE_MAX} bytes, which is no configuration", path.display())
            }
            Self::NotOwnedByRoot { path, uid } => {
                write!(f, "{} belongs to uid {uid}, and root does not take orders from it", path.display())
            }
            Self::WritableByOthers { path, mode } => {
                write!(
                    f,
                    "{} can be written by others (mode {mode:04o}), and root does not take orders from it",
                    path.display()
                )
            }
            Self::NoRoot(why) => f.write_str(why),
            Self::Wrong(errors) => errors.fmt(f),
        }
    }
}

impl std::error::Error for ConfigFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            // Wrong shows itself whole
            Self::NoFile { .. }
            | Self::TooLong { .. }
            | Self::NotOwnedByRoot { .. }
            | Self::WritableByOthers { .. }
            | Self::NoRoot(_)
            | Self::Wrong(_) => None,
        }
    }
}

impl ConfigFileError {
    /// What to do about it, when the text does not say so itself.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOwnedByRoot { path, .. } => {
                Some(format!("name it with --config {} if you trust it, or chown it to root", path.display()))
            }
            Self::WritableByOthers { path, .. } => {
                Some(format!("chmod go-w {}, or name it with --config if you trust it", path.display()))
            }
            Self::Read { path, source } => match source.kind() {
                io::ErrorKind::PermissionDenied if path == Path::new(config::SYSTEM_FILE) => Some(format!(
                    "it is the unit's, whose root is {} where it names no other: `sudo cdc-supervisor …`, or after `sudo usermod -aG \
                     cdc-supervisor $USER` and a new login without sudo; for a stack of your own name its file with --config",
                    config::SYSTEM_ROOT
                )),
                io::ErrorKind::PermissionDenied => Some(format!(
                    "run this as a user who may read it, or let this one: a group of its own on {}, with chmod g+r \
                     (what is set for a program in it, such as command.NAME.env, may be secret)",
                    path.display()
                )),
                io::ErrorKind::NotFound => Some("name one that exists with --config FILE".into()),
                _ => None,
            },
            Self::NoFile { .. } | Self::TooLong { .. } => Some("name the file itself with --config FILE".into()),
            Self::NoRoot(_) | Self::Wrong(_) => None,
        }
    }
}

/// A configuration file, opened once: what was looked at is what is read.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    file: io::Result<fs::File>,
}

impl Found {
    /// A pipe is not waited for.
    fn open(path: PathBuf) -> Self {
        let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(&path);
        Self { path, file }
    }

    fn is_missing(&self) -> bool {
        self.file.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    }
}

/// What of the machine decides which file and which root: handed in, so that tests can be anybody anywhere.
#[derive(Clone, Debug)]
struct Surroundings {
    is_root: bool,
    here: PathBuf,
    system_file: PathBuf,
    /// Where the unit notes what it serves.
    unit_state: PathBuf,
    data_home: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Surroundings {
    fn detect() -> Result<Self, ConfigFileError> {
        let here = env::current_dir().map_err(|source| ConfigFileError::Read { path: PathBuf::from("."), source })?;
        Ok(Self {
            is_root: host::is_root(),
            here,
            system_file: config::SYSTEM_FILE.into(),
            unit_state: served::place(),
            data_home: env::var_os("XDG_DATA_HOME").map(PathBuf::from),
            home: env::var_os("HOME").map(PathBuf::from),
        })
    }

    /// The system's directory is the current one. By what it is, not by its name: the kernel names it without links, and an editor that
    /// saves the file in this moment has another one in its place.
    fn is_systems_place(&self) -> bool {
        let of = |dir: &Path| fs::metadata(dir).ok().map(|meta| (meta.dev(), meta.ino()));
        let same = self.system_file.parent().and_then(of).is_some_and(|system| of(&self.here) == Some(system));
        same && self.system_file.file_name().is_some_and(|name| name == LOCAL_FILE)
    }

    /// Nobody with this user's rights can have a file in the current directory, as where somebody types `sudo -u` at home (0700).
    fn is_closed(&self) -> bool {
        let looked = fs::symlink_metadata(self.here.join(LOCAL_FILE));
        looked.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The file that holds: `--config`, else the one here, else the system's; none when there is none. The system's is found under its own
    /// name everywhere: that name decides which root it means where it names none, and whether it is the unit's.
    fn find(&self, named: Option<&Path>) -> Result<Option<Found>, ConfigFileError> {
        if let Some(named) = named {
            return Ok(Some(Found::open(self.here.join(named))));
        }
        let local = Found::open(self.here.join(LOCAL_FILE));
        let system = || Found::open(self.system_file.clone());
        if local.is_missing() || self.is_systems_place() {
            let system = system();
            return Ok((!system.is_missing()).then_some(system));
        }
        // Only where the system has one: nobody gets the stack of no file for one that they may not read.
        if self.is_closed()
            && let system = system()
            && system.file.is_ok()
        {
            return Ok(Some(system));
        }
        if self.is_root
            && let Ok(file) = &local.file
        {
            // The rule of the contract: what lies in a directory where somebody ran sudo must not become root's orders.
            let path = local.path.clone();
            let meta = file.metadata().map_err(|source| ConfigFileError::Read { path: path.clone(), source })?;
            match (meta.uid(), meta.mode() & 0o7777) {
                (0, mode) if mode & 0o022 != 0 => return Err(ConfigFileError::WritableByOthers { path, mode }),
                (0, _) => {}
                (uid, _) => return Err(ConfigFileError::NotOwnedByRoot { path, uid }),
            }
        }
        Ok(Some(local))
    }

    /// As messages name it: `supervisor.toml` for the one in the current directory, the path otherwise. The system's always in whole: what
    /// the unit says is read elsewhere.
    fn shown(&self, path: &Path) -> String {
        let local = path.parent() == Some(&self.here) && path != self.system_file;
        match path.file_name() {
            Some(name) if local => name.to_string_lossy().into_owned(),
            Some(_) | None => path.display().to_string(),
        }
    }

    fn default_root(&self, file: Option<&Path>) -> Result<PathBuf, ConfigFileError> {
        config::default_root(self.is_root, file, self.data_home.as_deref(), self.home.as_deref())
            .map_err(ConfigFileError::NoRoot)
    }

    fn load(&self, named: Option<&Path>, root: Option<&Path>) -> Result<Loaded, ConfigFileError> {
        let found = self.find(named)?;
        let path = found.as_ref().map(|found| found.path.clone());
        let name = path.as_deref().map_or_else(|| "the built-in defaults".to_owned(), |path| self.shown(path));
        let text = match found {
            Some(found) => read(found, &name)?,
            None => String::new(),
        };
        let root_override = root.map(|root| self.here.join(root));
        let default_root = match (&root_override, self.default_root(path.as_deref())) {
            (_, Ok(root)) => root,
            // Only looked at when neither the command line nor the file has one; then the config room refuses it.
            (Some(root), Err(_)) => root.clone(),
            (None, Err(e)) if root_in(&text).is_none() => return Err(e),
            (None, Err(_)) => PathBuf::from(config::SYSTEM_ROOT),
        };
        let source = Source { text: &text, name: &name, root_override, default_root };
        let plan = config::load(&source).map_err(ConfigFileError::Wrong)?;
        Ok(Loaded { plan, text, path })
    }

    fn root(&self, named: Option<&Path>, root: Option<&Path>) -> Result<PathBuf, ConfigFileError> {
        if let Some(root) = root {
            return Ok(self.here.join(root));
        }
        let found = self.find(named)?;
        let path = found.as_ref().map(|found| found.path.clone());
        let written = match found {
            Some(found) => {
                let name = self.shown(&found.path);
                root_in(&read(found, &name)?)
            }
            None => None,
        };
        let root = match written {
            Some(root) => root,
            None => self.default_root(path.as_deref())?,
        };
        // Of the unit's file: what runs is asked and stopped where it runs.
        let served =
            path.filter(|path| *path == self.system_file).and_then(|_| served::elsewhere(&self.unit_state, &root));
        Ok(served.map_or(root, |layout| layout.root().to_owned()))
    }

    fn noted_by_unit(&self, named: Option<&Path>, root: Option<&Path>) -> Option<PathBuf> {
        let path = self.find(named).ok()??.path;
        (root.is_none() && path == self.system_file).then(|| self.unit_state.clone())
    }
}

/// Where the unit notes which root it serves, if the file that would be read is the unit's and no root is named.
pub fn noted_by_unit(config: Option<&Path>, root: Option<&Path>) -> Option<PathBuf> {
    Surroundings::detect().ok()?.noted_by_unit(config, root)
}

/// Finds and checks the configuration. `config` and `root` are `--config` and `--root`.
pub fn load(config: Option<&Path>, root: Option<&Path>) -> Result<Loaded, ConfigFileError> {
    Surroundings::detect()?.load(config, root)
}

/// The file that would be read; none: there is none anywhere, the built-in stack is meant.
pub fn path(config: Option<&Path>) -> Result<Option<PathBuf>, ConfigFileError> {
    Ok(Surroundings::detect()?.find(config)?.map(|found| found.path))
}

/// The root alone, for verbs that only talk to what runs: found also when the rest of the file is wrong.
pub fn root(config: Option<&Path>, root: Option<&Path>) -> Result<Layout, ConfigFileError> {
    Surroundings::detect()?.root(config, root).map(Layout::new)
}

/// The root that a configuration which cannot be used would most likely have: what its text says, else the default.
pub fn default_root(config: Option<&Path>) -> PathBuf {
    Surroundings::detect()
        .and_then(|s| s.root(config, None).or_else(|_| s.default_root(config)))
        .unwrap_or_else(|_| PathBuf::from(config::SYSTEM_ROOT))
}

fn read(Found { path, file }: Found, name: &str) -> Result<String, ConfigFileError> {
    let failed = |source| ConfigFileError::Read { path: path.clone(), source };
    let file = file.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    // a device has no end
    if !meta.is_file() {
        return Err(ConfigFileError::NoFile { path: path.clone(), directory: meta.is_dir() });
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(ConfigFileError::TooLong { path });
    }
    String::from_utf8(bytes)
        .map_err(|e| ConfigFileError::Wrong(ConfigErrors::not_utf8(name, e.utf8_error().valid_up_to())))
}

/// The absolute `root` of a text, whatever else is wrong in it.
fn root_in(text: &str) -> Option<PathBuf> {
    let (document, _) = toml::de::DeTable::parse_recoverable(text);
    let root = document.get_ref().iter().find(|(key, _)| key.get_ref() == "root")?.1;
    root.get_ref().as_str().map(PathBuf::from).filter(|root| root.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _dir: tempfile::TempDir,
        s: Surroundings,
    }

    /// An ordinary user in a directory of their own, with nothing anywhere.
    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let s = Surroundings {
            is_root: false,
            here: dir.path().to_owned(),
            system_file: dir.path().join("etc.toml"),
            unit_state: dir.path().join("unit"),
            data_home: None,
            home: Some("/home/kim".into()),
        };
        Place { _dir: dir, s }
    }

    #[test]
    fn without_a_file_the_default_stack_is_meant_and_the_root_is_the_users() {
        let p = place();
        let loaded = p.s.load(None, None).unwrap();
        assert_eq!(loaded.path, None);
        assert_eq!(loaded.plan.root, Path::new("/home/kim/.local/share/cdc-supervisor"));
        assert_eq!(loaded.plan.nodes().len(), 5);
    }

    #[test]
    fn the_file_here_comes_before_the_systems_and_the_named_one_before_both() {
        let p = place();
        for (name, root) in [("etc.toml", "/etc-root"), ("supervisor.toml", "/here"), ("other.toml", "/named")] {
            fs::write(p.s.here.join(name), format!("root = {root:?}\n[mysql]\n")).unwrap();
        }
        let root = |named: Option<&str>| p.s.load(named.map(Path::new), None).unwrap().plan.root;
        assert_eq!(root(None), Path::new("/here"));
        assert_eq!(root(Some("other.toml")), Path::new("/named"));
        fs::remove_file(p.s.here.join("supervisor.toml")).unwrap();
        assert_eq!(root(None), Path::new("/etc-root"));
    }

    #[test]
    fn the_root_of_the_command_line_wins_and_is_made_absolute() {
        let p = place();
        fs::write(p.s.here.join("supervisor.toml"), "root = \"/file\"\n").unwrap();
        assert_eq!(p.s.load(None, Some(Path::new("sub"))).unwrap().plan.root, p.s.here.join("sub"));
        assert_eq!(p.s.root(None, Some(Path::new("/x"))).unwrap(), Path::new("/x"));
    }

    #[test]
    fn root_does_not_take_orders_from_a_file_of_somebody_else_that_lies_here() {
        let mut p = place();
        p.s.is_root = true;
        let file = p.s.here.join("supervisor.toml");
        fs::write(&file, "").unwrap();
        let own = nix::unistd::getuid().as_raw();
        if own == 0 {
            assert!(p.s.load(None, None).is_ok(), "root's own file");
            nix::unistd::chown(&file, Some(nix::unistd::Uid::from_raw(12_345)), None).unwrap();
        }
        let e = p.s.load(None, None).unwrap_err();
        assert!(e.to_string().contains("root does not take orders from it"), "{e}");
        assert!(e.hint().unwrap().contains("--config"));
        assert!(p.s.load(Some(&file), None).is_ok(), "named, it is trusted");
        p.s.is_root = false;
        assert!(p.s.load(None, None).is_ok(), "an ordinary user is not root");
    }

    #[test]
    fn root_does_not_take_orders_from_a_file_here_that_others_may_write() {
        use std::os::unix::fs::PermissionsExt;
        let mut p = place();
        p.s.is_root = true;
        let file = p.s.here.join("supervisor.toml");
        fs::write(&file, "").unwrap();
        if nix::unistd::getuid().as_raw() != 0 {
            return;
        }
        for (mode, good) in [(0o664, false), (0o646, false), (0o600, true), (0o644, true)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(p.s.load(None, None).is_ok(), good, "{mode:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let e = p.s.load(None, None).unwrap_err();
        assert!(
            e.to_string().ends_with("can be written by others (mode 0666), and root does not take orders from it"),
            "{e}"
        );
        assert!(e.hint().unwrap().starts_with("chmod go-w "));
        assert!(p.s.load(Some(&file), None).is_ok(), "named, it is trusted");
    }

    #[test]
    fn a_named_file_that_is_missing_or_no_text_is_an_error_with_its_path() {
        let p = place();
        let e = p.s.load(Some(Path::new("none.toml")), None).unwrap_err();
        assert!(e.to_string().ends_with("none.toml") && std::error::Error::source(&e).is_some(), "{e}");
        fs::write(p.s.here.join("bad.toml"), b"root = \"\xff\"").unwrap();
        let e = p.s.load(Some(Path::new("bad.toml")), None).unwrap_err();
        assert!(e.to_string().contains("not UTF-8"), "{e}");
        let long = fs::File::create(p.s.here.join("long.toml")).unwrap();
        long.set_len(FILE_MAX + 1).unwrap();
        assert!(matches!(p.s.load(Some(Path::new("long.toml")), None), Err(ConfigFileError::TooLong { .. })));
    }

    #[test]
    fn the_root_is_found_in_a_file_that_is_wrong_otherwise() {
        let p = place();
        fs::write(p.s.here.join("supervisor.toml"), "root = \"/r\"\n[mysql]\nport = \"no\"\nbogus = ]\n").unwrap();
        assert!(p.s.load(None, None).is_err());
        assert_eq!(p.s.root(None, None).unwrap(), Path::new("/r"));
    }

    #[test]
    fn what_runs_is_found_where_the_unit_serves_it_though_its_file_names_another_root() {
        use crate::{base::NodeName, sys::fs::Lock};
        let p = place();
        let old = Layout::new(p.s.here.join("old"));
        fs::create_dir_all(old.node_run(&NodeName::mysql())).unwrap();
        fs::create_dir_all(&p.s.unit_state).unwrap();
        served::note(&p.s.unit_state, old.root()).unwrap();
        let held = Lock::try_take(&old.node_lock(&NodeName::mysql())).unwrap();
        fs::write(&p.s.system_file, "root = \"/new\"\n").unwrap();
        assert_eq!(p.s.root(None, None).unwrap(), old.root());
        assert_eq!(p.s.root(Some(&p.s.system_file), None).unwrap(), old.root());
        assert_eq!(p.s.root(None, Some(Path::new("/named"))).unwrap(), Path::new("/named"));
        // `run --check` of an installer, which is no process of the unit's
        assert_eq!(p.s.noted_by_unit(Some(&p.s.system_file), None), Some(p.s.unit_state.clone()));
        assert_eq!(p.s.noted_by_unit(None, Some(Path::new("/named"))), None);
        fs::write(p.s.here.join("other.toml"), "").unwrap();
        assert_eq!(p.s.noted_by_unit(Some(Path::new("other.toml")), None), None);
        drop(held);
        assert_eq!(p.s.root(None, None).unwrap(), Path::new("/new"));
    }

    #[test]
    fn the_systems_file_is_the_systems_where_its_directory_is_a_link_and_is_named_in_whole() {
        use crate::{base::NodeName, sys::fs::Lock};
        let mut p = place();
        let (etc, conf) = (p.s.here.join("etc"), p.s.here.join("conf"));
        fs::create_dir(&conf).unwrap();
        std::os::unix::fs::symlink(&conf, &etc).unwrap();
        p.s.system_file = etc.join("supervisor.toml");
        let served = Layout::new(p.s.here.join("old"));
        fs::create_dir_all(served.node_run(&NodeName::mysql())).unwrap();
        fs::create_dir_all(&p.s.unit_state).unwrap();
        served::note(&p.s.unit_state, served.root()).unwrap();
        let _held = Lock::try_take(&served.node_lock(&NodeName::mysql())).unwrap();
        // as the kernel names the current directory
        p.s.here = conf.canonicalize().unwrap();
        assert_eq!(p.s.load(None, None).unwrap().path, None, "there is none in it");
        fs::write(conf.join("supervisor.toml"), "[mysql]\n").unwrap();
        assert_eq!(p.s.load(None, None).unwrap().path, Some(p.s.system_file.clone()));
        assert_eq!(p.s.root(None, None).unwrap(), served.root());
        assert_eq!(p.s.noted_by_unit(None, None), Some(p.s.unit_state.clone()));
        fs::write(conf.join("supervisor.toml"), "nonsense = 1\n").unwrap();
        let named = |s: &Surroundings| s.load(None, None).unwrap_err().to_string();
        let whole = etc.join("supervisor.toml").display().to_string();
        assert!(named(&p.s).contains(&whole), "{}", named(&p.s));
        // without a link
        p.s.system_file = p.s.here.join("supervisor.toml");
        assert!(named(&p.s).contains(&p.s.system_file.display().to_string()), "{}", named(&p.s));
        // another one's
        p.s.system_file = "/none/supervisor.toml".into();
        assert!(!named(&p.s).contains(&p.s.here.display().to_string()), "{}", named(&p.s));
    }

    #[test]
    fn who_may_not_read_the_units_file_is_told_of_its_group_and_its_root() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let e = ConfigFileError::Read { path: config::SYSTEM_FILE.into(), source };
        let hint = e.hint().unwrap();
        assert!(hint.contains("usermod -aG cdc-supervisor") && hint.contains("/var/lib/cdc-supervisor"), "{hint}");
    }

    #[test]
    fn nobody_without_a_home_is_told_to_name_a_root() {
        let mut p = place();
        p.s.home = None;
        assert!(matches!(p.s.load(None, None), Err(ConfigFileError::NoRoot(_))));
        assert!(p.s.load(None, Some(Path::new("/r"))).is_ok());
        fs::write(p.s.here.join("supervisor.toml"), "root = \"/r\"\n").unwrap();
        assert!(p.s.load(None, None).is_ok());
    }
}
