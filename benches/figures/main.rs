//! The figures of DESIGN.md and README.md, each against the best of the field in the same run: `dist/bench.sh` runs them all
//! with the programs as they are released and prints one table. benches/README.md says what each row means.
//!
//! Nothing here fails because something is slow. A row that could not be measured at all says why and makes the exit code 1.

// A program that measures and prints; a panic is its way to say that the machine is not fit for it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub
)]

mod adoption;
mod child;
mod drill;
mod durability;
mod fetch;
mod flood;
mod guest;
mod idle;
mod ours;
mod peers;
mod proc;
mod real;
mod report;
mod respawn;
mod roll;
mod script;
mod start_stop;

use clap::Parser;
use report::{Figure, Measured};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Measures cdc-supervisor against its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these rows: respawn, start-9, start-200, flood, idle, adoption, fetch, real, durability, drill; and guest, controller
    /// and roll, which are measured only when they are named (the last two are parts of drill).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of every row, instead of each row's own number.
    #[arg(long)]
    rounds: Option<usize>,
    /// One short round of each row, for CI: shows that it can be measured, the values mean little.
    #[arg(long)]
    short: bool,
    /// One JSON object per row instead of the table.
    #[arg(long)]
    json: bool,
    /// The directory with cdc-supervisor and cdc-shim; default: those that cargo has built beside this program.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// A filled artifact store for the rows with the real products; without one they are left out, aloud.
    #[arg(long, env = "CDC_TEST_STORE")]
    store: Option<String>,
    /// What cargo adds; no effect.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What every row needs.
struct Bench {
    programs: PathBuf,
    child: PathBuf,
    work: tempfile::TempDir,
    short: bool,
    rounds: Option<usize>,
}

impl Bench {
    /// How many rounds: as ordered, else the row's own number.
    fn rounds(&self, long: usize, short: usize) -> usize {
        self.rounds.unwrap_or(if self.short { short } else { long }).max(1)
    }

    /// A file of this run.
    fn file(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }
}

const ROWS: [&str; 13] = [
    "respawn",
    "start-9",
    "start-200",
    "flood",
    "idle",
    "adoption",
    "fetch",
    "real",
    "durability",
    "drill",
    "controller",
    "roll",
    GUEST,
];

/// Takes an hour, needs root, and is about another kernel than this one.
const GUEST: &str = "guest";

/// Measured when they are named: the guest, and what is in another row.
const WHEN_NAMED: [&str; 3] = ["controller", "roll", GUEST];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Measured<bool> {
    if let Some(stranger) = arguments.only.iter().find(|o| !ROWS.contains(&o.as_str())) {
        return Err(format!("there is no row {stranger}; rows are {}", ROWS.join(", ")));
    }
    let work = tempfile::Builder::new().prefix("cdcw").tempdir().map_err(|e| e.to_string())?;
    let programs = arguments.programs.clone().unwrap_or_else(built_beside);
    let programs = programs.canonicalize().map_err(|e| format!("{}: {e}", programs.display()))?;
    let bench =
        Bench { child: child::build(work.path())?, programs, work, short: arguments.short, rounds: arguments.rounds };
    let machine = report::machine();
    let mut figures = Vec::new();
    let mut complete = true;
    let named = |row: &&&str| arguments.only.iter().any(|o| o == **row);
    for row in ROWS.iter().filter(|row| (arguments.only.is_empty() && !WHEN_NAMED.contains(row)) || named(row)) {
        let measured = match *row {
            "respawn" => respawn::figure(&bench).map(|f| vec![f]),
            "start-9" => start_stop::figures(&bench, 9),
            "start-200" => start_stop::figures(&bench, if bench.short { 40 } else { 200 }),
            "flood" => flood::figure(&bench).map(|f| vec![f]),
            "idle" => idle::figures(&bench),
            "adoption" => adoption::figure(&bench).map(|f| vec![f]),
            "fetch" => fetch::figures(&bench),
            _ => match &arguments.store {
                Some(store) if *row == "durability" => durability::figures(&bench, store),
                Some(store) if *row == GUEST => guest::figures(&bench, store),
                Some(store) => match drill::Parts::of(row) {
                    Some(parts) => drill::figures(&bench, store, parts),
                    None => real::figures(&bench, store),
                },
                None => Ok(vec![Figure::failed(row, "left out: CDC_TEST_STORE names no filled artifact store")]),
            },
        };
        let measured = measured.unwrap_or_else(|why| {
            complete = false;
            vec![Figure::failed(row, &why)]
        });
        for figure in &measured {
            eprintln!("{}: {} (against {}) {}", figure.what, figure.ours, figure.against, figure.notes.join("; "));
        }
        figures.extend(measured);
    }
    report::print(&figures, &machine, arguments.json);
    Ok(complete)
}

/// target/PROFILE of target/PROFILE/deps/figures-HASH.
fn built_beside() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_owned()
}
