//! The source files as text: which room they are in, and their code with comments and strings blanked.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file.
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Its room: `engine`, `control::wire`, `main`.
    pub room: String,
    /// Everything.
    pub text: String,
    /// The same with comments and the contents of strings replaced by spaces; lines keep their numbers. Modules
    /// that are written out behind `#[cfg(test)]` are blanked too.
    pub code: String,
    /// A file that is only compiled for tests.
    pub is_test: bool,
}

impl Source {
    /// What the header says the file is for: its first sentence. Empty when the file does not start with `//! `.
    pub fn job(&self) -> String {
        let header = self.text.lines().map_while(|l| l.strip_prefix("//! "));
        let paragraph = header.map(str::trim).collect::<Vec<_>>().join(" ");
        match paragraph.find(". ") {
            Some(end) => paragraph[..end].to_owned(),
            None => paragraph.trim_end_matches(['.', ':']).to_owned(),
        }
    }
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of `src`, sorted by path.
pub fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&repository().join("src"), &mut paths);
    paths.sort();
    let mut for_tests = Vec::new();
    let mut files = Vec::new();
    for path in paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
        let blanked = blank(&text);
        for_tests.extend(declared_for_tests(&path, &blanked));
        files.push(Source { room: room(&path), path, text, code: without_tests(&blanked), is_test: false });
    }
    for file in &mut files {
        // a directory of tests is declared by its mod.rs
        let inside = |test: &String| test.strip_suffix("mod.rs").is_some_and(|dir| file.path.starts_with(dir));
        file.is_test = for_tests.iter().any(|test| *test == file.path || inside(test));
    }
    files
}

/// A text file of the repository.
pub struct Text {
    /// Path from the repository's root.
    pub path: String,
    /// Everything.
    pub text: String,
}

/// Every text file of the repository outside `target` and `.git`.
pub fn tracked_text() -> Vec<Text> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(repository()).unwrap().flatten() {
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        let path = entry.path();
        if path.is_dir() { walk(&path, &mut paths) } else { paths.push(path) }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        Some(Text { path: path.strip_prefix(repository()).ok()?.to_str()?.to_owned(), text })
    };
    paths.into_iter().filter_map(read).collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// The room of `src/ROOM/…`. `control` has three with rules of their own, `shim::wire` one.
fn room(path: &str) -> String {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts: Vec<&str> = inner.split('/').collect();
    match parts.as_slice() {
        ["main"] => "main".into(),
        ["bin", "cdc-shim"] => "shim-main".into(),
        ["control", part, ..] if !["mod", "tests"].contains(part) => format!("control::{part}"),
        ["shim", "wire", ..] => "shim::wire".into(),
        [room, ..] => (*room).into(),
        [] => String::new(),
    }
}

/// Whether `word` stands in `line` on its own.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let ends_in_name = is_name(word.chars().last());
        let goes_on = ends_in_name && is_name(line[at + word.len()..].chars().next());
        !is_name(line[..at].chars().next_back()) && !goes_on
    })
}

/// What stands in front of a module that exists for tests only.
const FOR_TESTS: &str = "#[cfg(test)]\nmod ";

/// Blanks the modules for tests that are written out in a file.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    for (at, _) in code.match_indices(FOR_TESTS) {
        let rest = &code[at + FOR_TESTS.len()..];
        let head = rest.find(['{', ';']).map_or("", |end| &rest[..=end]);
        if head.ends_with('{') {
            // rustfmt closes a top-level module at the start of a line
            let end = code[at..].find("\n}").map_or(code.len(), |n| at + n + 2);
            // byte for byte: the ranges of later modules keep their places
            let blanked: String = code[at..end].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
            out.replace_range(at..end, &blanked);
        }
    }
    out
}

/// Paths of the files that some file declares as modules for tests only.
fn declared_for_tests(path: &str, code: &str) -> Vec<String> {
    let dir = match path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix("/lib.rs")) {
        Some(dir) => dir.to_owned(),
        None => path.trim_end_matches(".rs").to_owned(),
    };
    let names = code.match_indices(FOR_TESTS).filter_map(|(at, _)| {
        let rest = &code[at + FOR_TESTS.len()..];
        let (name, _) = rest.split_once(';')?;
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| name.to_owned())
    });
    names.flat_map(|name| [format!("{dir}/{name}.rs"), format!("{dir}/{name}/mod.rs")]).collect()
}

/// Replaces comments and the inside of string and character literals by spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n)
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => text[at..].find("*/").map_or(bytes.len(), |n| at + n + 2),
            b'r' if raw_string(bytes, at).is_some() => raw_string(bytes, at).unwrap(),
            b'"' => quoted(bytes, at),
            // a character literal, not a lifetime: 'x' or '\…'
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => {
                bytes[at + 3..].iter().position(|b| *b == b'\'').map_or(bytes.len(), |n| at + n + 4)
            }
            b'\'' if text[at + 1..].chars().nth(1) == Some('\'') => {
                at + 2 + text[at + 1..].chars().next().unwrap().len_utf8()
            }
            _ => {
                at += 1;
                continue;
            }
        };
        out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at = end;
    }
    String::from_utf8(out).expect("whole literals and comments were blanked")
}

/// The end of the quoted string that opens at `at`.
fn quoted(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

/// The end of the raw string that opens at `at`, if one does.
fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b' {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = at + 2 + hashes;
    bytes[body..].windows(close.len()).position(|w| w == close).map(|n| body + n + close.len())
}

#[test]
fn comments_and_strings_are_blanked_and_lines_kept() {
    let code =
        "let a = \"unsafe \\\" x\"; // unsafe\nlet c = '\"'; let r = r#\"unsafe \" \"#; /* unsafe\n */ fn f<'a>() {}\n";
    let blanked = blank(code);
    assert!(!blanked.contains("unsafe"), "{blanked}");
    assert!(blanked.contains("let r =") && blanked.contains("fn f<'a>() {}"), "{blanked}");
    assert_eq!(blanked.lines().count(), code.lines().count());
}

#[test]
fn a_word_is_found_only_on_its_own() {
    assert!(has_word("x.todo!()", "todo!") && !has_word("unsafety", "unsafe") && !has_word("eprintln!(", "println!"));
}
