//! The manual pages: one per verb out of the command line's own definition, and `supervisor.toml(5)` out of the default file.

use super::{args::command, exit::Exit};
use crate::config::DEFAULT_FILE;
use clap::Command;
use clap_mangen::Man;
use std::io;

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// `man1/cdc-supervisor-up.1`
    pub path: String,
    /// roff, for man(7).
    pub text: String,
}

/// Every page. The error is one of writing into memory: none.
pub fn pages() -> io::Result<Vec<Page>> {
    let mut command = command();
    // names like `cdc-supervisor-bundle-create`, and the global options with every verb
    command.build();
    let mut pages = vec![Page { path: "man5/supervisor.toml.5".into(), text: configuration() }];
    verbs(&command, &mut pages)?;
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pages)
}

fn verbs(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        verbs(verb, pages)?;
    }
    let top = command.get_display_name().is_none_or(|name| name == "cdc-supervisor");
    let source = format!("cdc-supervisor {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("cdc-supervisor");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if top {
        exit_codes(&mut text);
        text.push_str(FILES);
    } else if let Some(more) = command.get_after_long_help() {
        text.push_str(".SH NOTES\n");
        for paragraph in more.to_string().split("\n\n") {
            text.push_str(&format!(".PP\n{}\n", prose(paragraph)));
        }
    }
    let see = if top { "" } else { ".BR cdc\\-supervisor (1),\n" };
    text.push_str(&format!(".SH SEE ALSO\n{see}.BR supervisor.toml (5),\n.BR systemctl (1)\n"));
    pages.push(Page { path: format!("man1/{}", man.get_filename()), text });
    Ok(())
}

fn exit_codes(text: &mut String) {
    text.push_str(".SH EXIT STATUS\n");
    for exit in Exit::ALL {
        text.push_str(&format!(".TP\n.B {}\n{}\n", exit.code(), prose(exit.words())));
    }
}

const FILES: &str = r".SH FILES
.TP
.I /etc/cdc\-supervisor/supervisor.toml
The configuration of the unit, see
.BR supervisor.toml (5).
.TP
.I /var/lib/cdc\-supervisor
Everything else: programs, data, logs, state, secrets.
.TP
.I /var/lib/cdc\-supervisor/run/control.sock
Orders come in here; members of the group cdc\-supervisor may give them.
.TP
.I /usr/share/doc/cdc\-supervisor
README.md, and systemd.md with what
.BR systemctl (1)
does to the nodes.
";

/// `supervisor.toml(5)`: the default file, whose comments say what each key means, as a page.
fn configuration() -> String {
    let mut page = format!(
        ".TH supervisor.toml 5 \"\" \"cdc\\-supervisor {}\" \"cdc\\-supervisor\"\n.SH NAME\n\
         supervisor.toml \\- what cdc\\-supervisor runs, and how\n.SH DESCRIPTION\n",
        literal(env!("CARGO_PKG_VERSION"))
    );
    // its first line is the NAME
    let rest = DEFAULT_FILE.split_once('\n').map_or("", |(_, rest)| rest);
    let mut note: Vec<&str> = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    for line in rest.lines().chain([""]) {
        let kind = Line::of(line);
        if !keys.is_empty() && !matches!(kind, Line::Key(_)) {
            entry(&mut page, &std::mem::take(&mut keys), &std::mem::take(&mut note));
        }
        match kind {
            Line::Words(words) => note.push(words),
            Line::Key(key) => keys.push(key),
            Line::Table(name) => {
                page.push_str(&format!(".SH [{}]\n", literal(name)));
                paragraph(&mut page, &std::mem::take(&mut note));
            }
            Line::Blank => paragraph(&mut page, &std::mem::take(&mut note)),
        }
    }
    page.push_str(
        ".SH FILES\n\\-\\-config FILE, else\n.I ./supervisor.toml\nwhere it is the user's own, else\n\
         .I /etc/cdc\\-supervisor/supervisor.toml\n.SH SEE ALSO\n.BR cdc\\-supervisor (1),\n.BR cdc\\-supervisor\\-plan (1),\n\
         .BR cdc\\-supervisor\\-reload (1)\n",
    );
    page
}

/// What a line of the default file is.
enum Line<'a> {
    Blank,
    Words(&'a str),
    /// `heap = "256M"`, in force or commented out.
    Key(&'a str),
    /// The name of a table, of the commented example too.
    Table(&'a str),
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let bare = line.strip_prefix('#').map_or(line, str::trim_start);
        if bare.is_empty() {
            return Line::Blank;
        }
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return Line::Table(name);
        }
        match bare.split_once(" = ") {
            Some((key, _)) if !key.contains([' ', '"']) => Line::Key(bare),
            Some(_) | None => Line::Words(bare),
        }
    }
}

fn entry(page: &mut String, keys: &[&str], note: &[&str]) {
    for (i, key) in keys.iter().enumerate() {
        let (name, value) = key.split_once(" = ").unwrap_or((key, ""));
        let tag = if i == 0 { ".TP" } else { ".TQ" };
        page.push_str(&format!("{tag}\n\\fB{}\\fR = {}\n", literal(name), literal(value)));
    }
    if note.is_empty() {
        page.push_str("As above.\n");
    }
    for line in note {
        page.push_str(&format!("{}\n", prose(line)));
    }
}

fn paragraph(page: &mut String, note: &[&str]) {
    if !note.is_empty() {
        page.push_str(".PP\n");
    }
    for line in note {
        page.push_str(&format!("{}\n", prose(line)));
    }
}

/// Text that is shown as it stands: no dash becomes a hyphen, no quote a curved one (groff_char(7)).
fn literal(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq").replace('\'', "\\(aq").replace('~', "\\(ti")
}

/// Lines of text: none of them may be taken for a request.
fn prose(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = literal(line.trim_start());
        if line.starts_with('.') { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'p>(pages: &'p [Page], path: &str) -> &'p str {
        let names: Vec<&str> = pages.iter().map(|p| p.path.as_str()).collect();
        &pages.iter().find(|p| p.path == path).unwrap_or_else(|| panic!("no {path} in {names:?}")).text
    }

    /// What a reader sees of it, as far as a comparison of words needs.
    fn plain(text: &str) -> String {
        text.replace("\\-", "-")
            .replace("\\(dq", "\"")
            .replace("\\fB", "")
            .replace("\\fR", "")
            .replace("\\(ti", "~")
            .replace("\\(aq", "'")
            .replace("\\e", "\\")
    }

    fn check(command: &Command, name: &str, pages: &[Page]) {
        let text = plain(page(pages, &format!("man1/{name}.1")));
        for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
            if let Some(long) = argument.get_long() {
                assert!(text.contains(&format!("--{long}")), "{name}: --{long} is missing:\n{text}");
            }
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let word = help.split(' ').next().unwrap_or_default();
            assert!(text.contains(word), "{name}: {help:?} is missing:\n{text}");
        }
        for verb in command.get_subcommands().filter(|v| !v.is_hide_set()) {
            assert!(text.contains(verb.get_name()), "{name} does not name {}", verb.get_name());
            check(verb, &format!("{name}-{}", verb.get_name()), pages);
        }
    }

    #[test]
    fn every_verb_has_a_page_with_every_option() {
        let mut command = command();
        command.build();
        check(&command, "cdc-supervisor", &pages().unwrap());
    }

    #[test]
    fn the_page_of_the_program_has_every_exit_code() {
        let pages = pages().unwrap();
        let text = page(&pages, "man1/cdc-supervisor.1");
        for exit in Exit::ALL {
            assert!(text.contains(&format!(".B {}\n", exit.code())), "{exit:?}:\n{text}");
        }
    }

    /// That the default file has every key is a test of `config`.
    #[test]
    fn every_key_and_table_of_the_default_file_is_in_its_page() {
        let pages = pages().unwrap();
        let text = plain(page(&pages, "man5/supervisor.toml.5"));
        let mut keys = 0;
        // the first line is the NAME
        for line in DEFAULT_FILE.lines().skip(1) {
            match Line::of(line) {
                Line::Key(key) => {
                    keys += 1;
                    assert!(text.contains(key), "{key} is missing");
                }
                Line::Table(name) => assert!(text.contains(&format!(".SH [{name}]")), "[{name}] is missing"),
                Line::Words(words) => assert!(text.contains(words), "{words:?} is missing"),
                Line::Blank => {}
            }
        }
        assert!(keys > 100, "only {keys} keys were found");
    }

    #[test]
    fn no_line_of_text_is_a_request() {
        assert_eq!(prose(".so /etc/passwd\n'br\n--x"), "\\&.so /etc/passwd\n\\(aqbr\n\\-\\-x");
        for page in pages().unwrap() {
            for line in page.text.lines().filter(|l| l.starts_with('.')) {
                let request = line.split(' ').next().unwrap_or_default();
                let known =
                    [".TH", ".SH", ".TP", ".TQ", ".PP", ".B", ".I", ".BR", ".RS", ".RE", ".br", ".IP", ".ie", ".el"];
                assert!(known.contains(&request), "{}: {line}", page.path);
            }
        }
    }
}
