//! The preflight table as text: 100 columns, the worst rows first, why and what to do below each that is not as it should be.

use super::printer::Paint;
use crate::offline::doctor::{Check, Report, Severity};
use anstyle::{AnsiColor, Style};

/// Width of the whole table.
const WIDTH: usize = 100;
/// Widths of severity, condition and requirement; what was found has the rest.
const COLUMNS: [usize; 3] = [7, 22, 31];
/// Between columns.
const GAP: usize = 2;
/// Where the lines below a row begin.
const INDENT: usize = COLUMNS[0] + GAP;

/// The table, without a line end at its end. `all` shows the rows that are as they should be, too.
pub fn text(report: &Report, all: bool, paint: Paint) -> String {
    let mut lines = vec![format!("root {}", report.root), String::new()];
    lines.push(paint.heading(&row(["", "CONDITION", "REQUIRED", "FOUND"]).join("\n")));
    for check in report.checks.iter().filter(|c| all || c.severity != Severity::Ok) {
        lines.extend(drawn(check, paint));
    }
    lines.push(String::new());
    lines.push(summary(report, all));
    lines.join("\n")
}

fn drawn(check: &Check, paint: Paint) -> Vec<String> {
    let word = check.severity.as_str();
    let mut lines = row([word, &check.name, &check.required, &check.found]);
    if let Some(first) = lines.first_mut() {
        *first = first.replacen(word, &paint.with(style(check.severity), word), 1);
    }
    let mut below = |label: &str, text: &str| {
        let width = WIDTH - INDENT - label.len();
        for (i, part) in wrapped(text, width).iter().enumerate() {
            let label = if i == 0 { label } else { &"     "[..label.len()] };
            lines.push(format!("{:INDENT$}{label}{part}", ""));
        }
    };
    match check.severity {
        Severity::Ok => {}
        Severity::Fail | Severity::Warn | Severity::Unknown | Severity::Info => {
            below("why: ", &check.why);
            if let Some(remedy) = &check.remedy {
                below("fix: ", remedy);
            }
            if let Some(fix) = &check.fix {
                below("     ", &format!("(`doctor --fix {}` does it)", fix.name));
            }
            if check.severity == Severity::Fail && !check.stops_start {
                below("     ", "(a start goes on with this, and warns)");
            }
        }
    }
    lines
}

fn style(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Fail => AnsiColor::Red,
        Severity::Warn | Severity::Unknown => AnsiColor::Yellow,
        Severity::Info => AnsiColor::Cyan,
        Severity::Ok => AnsiColor::Green,
    };
    colour.on_default()
}

/// `1 fails, 3 warn, …`, and what is hidden.
fn summary(report: &Report, all: bool) -> String {
    let counts: Vec<String> = Severity::ALL
        .into_iter()
        .map(|severity| (report.count(severity), severity.as_str()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let hidden = report.count(Severity::Ok);
    let verdict = match report.verdict {
        Severity::Fail => "this host is not fit for this configuration",
        Severity::Warn => "fit, with reservations",
        Severity::Unknown | Severity::Info | Severity::Ok => "fit",
    };
    let rest = if all || hidden == 0 { String::new() } else { "; --all shows the ok rows".to_owned() };
    format!("{verdict}: {}{rest}", counts.join(", "))
}

/// One row, each cell wrapped within its column.
fn row(cells: [&str; 4]) -> Vec<String> {
    let [a, b, c] = COLUMNS;
    let widths = [a, b, c, WIDTH - a - b - c - 3 * GAP];
    let columns: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, width)| wrapped(cell, width)).collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let line = |i: usize| {
        let mut text = String::new();
        for (column, width) in columns.iter().zip(widths) {
            let cell = column.get(i).map_or("", String::as_str);
            text.push_str(&format!("{cell:<width$}{:GAP$}", ""));
        }
        text.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Words in lines of at most `width` characters; a word that is longer is cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint { on: false };

    fn report() -> Report {
        Report::new(
            "/srv/cdc",
            vec![
                Check::ok("cores", "4 or more", "4", "they start together"),
                Check::ok(
                    "swap",
                    "off, or vm.swappiness at most 1",
                    "8G, swappiness 60",
                    "a swapped-out heap makes pauses of seconds, and ZooKeeper ends sessions of brokers that pause",
                )
                .but(Severity::Warn, "sysctl -w vm.swappiness=1, and the same in /etc/sysctl.d/; or swapoff -a"),
                Check::ok(
                    "port 9092",
                    "free on 127.0.0.1",
                    "taken by python3 (pid 4711, `python3 -m http.server 9092`, since 14:02, user kim)",
                    "broker-1 needs it for its EXTERNAL listener (supervisor.toml line 31)",
                )
                .fails("port 9092 is taken", "stop that program, or set kafka.brokers.1.external_port"),
                Check::ok("file system of root", "a disk", "tmpfs on /run", "a reboot empties it")
                    .fails("x", "move it")
                    .and_starts(),
            ],
        )
    }

    #[test]
    fn the_table_fits_100_columns_with_the_worst_first() {
        let expected = "\
root /srv/cdc

         CONDITION               REQUIRED                         FOUND
fail     port 9092               free on 127.0.0.1                taken by python3 (pid 4711,
                                                                  `python3 -m http.server 9092`,
                                                                  since 14:02, user kim)
         why: broker-1 needs it for its EXTERNAL listener (supervisor.toml line 31)
         fix: stop that program, or set kafka.brokers.1.external_port
fail     file system of root     a disk                           tmpfs on /run
         why: a reboot empties it
         fix: move it
              (a start goes on with this, and warns)
warn     swap                    off, or vm.swappiness at most 1  8G, swappiness 60
         why: a swapped-out heap makes pauses of seconds, and ZooKeeper ends sessions of brokers
              that pause
         fix: sysctl -w vm.swappiness=1, and the same in /etc/sysctl.d/; or swapoff -a

this host is not fit for this configuration: 2 fail, 1 warn, 1 ok; --all shows the ok rows";
        let drawn = text(&report(), false, PLAIN);
        assert_eq!(drawn, expected);
        assert!(drawn.lines().all(|l| l.chars().count() <= WIDTH));
    }

    #[test]
    fn all_shows_what_is_as_it_should_be_in_one_line() {
        let drawn = text(&report(), true, PLAIN);
        assert!(drawn.contains("\nok       cores                   4 or more                        4\n"), "{drawn}");
        assert!(drawn.ends_with("2 fail, 1 warn, 1 ok"), "{drawn}");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let painted = text(&report(), true, Paint { on: true });
        assert!(painted.contains("\u{1b}["));
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), text(&report(), true, PLAIN));
    }

    #[test]
    fn words_longer_than_a_column_are_cut_and_nothing_is_lost() {
        assert_eq!(wrapped("ab cdefgh i", 4), ["ab", "cdef", "gh i"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("한글 한글", 3), ["한글", "한글"]);
    }
}
