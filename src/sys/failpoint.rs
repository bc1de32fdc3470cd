//! Failpoints: places between two durable effects where a test may kill this process, make an operation fail, or make it wait.
//! Only with the cargo feature `failpoints`; without it a point is nothing at all, not even its name.
//!
//! What is armed stands in the file `failpoints` beside the program, because shims have no environment. One rule a line,
//! `POINT ACTION` or `POINT@PATH-ENDING ACTION`: `kill` (SIGKILL to this process, once: the file becomes `failpoints.hit`),
//! `panic` (of the task that comes there, once), `error-once=ERRNO`, `error=ERRNO` (as long as the line is there), `delay=MS` (and `failpoints.at` has
//! the name; whoever takes that file away ends the delay); and `clock offset=MS` for the wall clock.

/// A place where a test may kill or delay this process. With a path only where the rule names its ending, or none.
#[cfg(feature = "failpoints")]
macro_rules! fail_point {
    ($name:literal) => {
        // an error cannot be had here
        let _ = $crate::sys::failpoint::reach($name, None);
    };
}

/// A place where a test may also make an operation fail: an `io::Result<()>`.
#[cfg(feature = "failpoints")]
macro_rules! fail_io {
    ($name:literal) => {
        $crate::sys::failpoint::reach($name, None)
    };
    ($name:literal, $path:expr) => {
        $crate::sys::failpoint::reach($name, Some($path))
    };
}

#[cfg(not(feature = "failpoints"))]
macro_rules! fail_point {
    ($name:literal) => {};
}

#[cfg(not(feature = "failpoints"))]
macro_rules! fail_io {
    ($name:literal $(, $path:expr)?) => {
        Ok::<(), std::io::Error>(())
    };
}

pub(crate) use {fail_io, fail_point};

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        fs, io,
        path::{Path, PathBuf},
        sync::OnceLock,
        thread,
        time::{Duration, Instant},
    };

    fn file() -> Option<&'static PathBuf> {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        FILE.get_or_init(|| Some(std::env::current_exe().ok()?.with_file_name("failpoints"))).as_ref()
    }

    fn rules() -> Vec<(String, String)> {
        let text = file().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        text.lines().filter_map(|l| l.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))).collect()
    }

    /// Takes the rules away; true for the one process that did.
    fn disarm() -> bool {
        file().is_some_and(|file| fs::rename(file, file.with_extension("hit")).is_ok())
    }

    /// What is armed at this point is done.
    pub fn reach(name: &str, path: Option<&Path>) -> io::Result<()> {
        let ends_as = |ending: &str| path.is_some_and(|p| p.to_string_lossy().ends_with(ending));
        for (at, action) in rules() {
            let (point, ending) = at.split_once('@').unwrap_or((&at, ""));
            if point != name || !(ending.is_empty() || ends_as(ending)) {
                continue;
            }
            let (verb, value) = action.split_once('=').unwrap_or((&action, "0"));
            let number: i32 = value.parse().unwrap_or_default();
            match verb {
                "kill" if disarm() => {
                    // It cannot fail for ourselves, and then nothing comes after it.
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
                    thread::sleep(Duration::from_secs(60));
                }
                // What a bug would do: the task or thread ends, and the process does not.
                "panic" if disarm() => panic!("the failpoint {name} is armed with a panic"),
                "error-once" if disarm() => return Err(io::Error::from_raw_os_error(number)),
                "error" => return Err(io::Error::from_raw_os_error(number)),
                "delay" => {
                    // Who waits for this moment sees it there.
                    let at = file().map(|file| file.with_extension("at"));
                    let _ = at.as_ref().map(|at| fs::write(at, name));
                    let (began, longest) = (Instant::now(), Duration::from_millis(number.unsigned_abs().into()));
                    while began.elapsed() < longest && at.as_ref().is_none_or(|at| at.exists()) {
                        thread::sleep(Duration::from_millis(10).min(longest));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How far the wall clock is set off, milliseconds.
    pub fn clock_offset() -> i64 {
        let offset = |(at, action): (String, String)| {
            (at == "clock").then(|| action.strip_prefix("offset=")?.parse().ok()).flatten()
        };
        rules().into_iter().find_map(offset).unwrap_or(0)
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{clock_offset, reach};
