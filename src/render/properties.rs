//! Java `.properties` text, as `java.util.Properties.load(InputStream)` reads it (ISO-8859-1 with `\u` escapes).

use std::{collections::BTreeMap, fmt::Write};

/// A `.properties` file in the making. Entries keep the order in which their keys first came.
///
/// The bytes depend on nothing but the entries: the same entries give the same file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    head: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: String,
    value: String,
    comment: Option<String>,
}

impl Properties {
    /// An empty file that starts with `head`, one comment line for each line of it.
    pub fn new(head: &str) -> Self {
        Self { head: head.lines().map(str::to_owned).collect(), entries: Vec::new() }
    }

    /// Sets `key`, in the place where it already stands or else at the end. An empty `comment` writes none.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>, comment: &str) {
        let key = key.into();
        let entry = Entry { key, value: value.into(), comment: (!comment.is_empty()).then(|| comment.to_owned()) };
        match self.entries.iter_mut().find(|e| e.key == entry.key) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// Takes `key` out again.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|e| e.key != key);
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|e| e.key == key).map(|e| e.value.as_str())
    }

    /// The file's text: ASCII, one entry a line, `\n` at every end.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            comment(&mut out, line);
        }
        for entry in &self.entries {
            for line in entry.comment.iter().flat_map(|c| c.lines()) {
                comment(&mut out, line);
            }
            escape(&mut out, &entry.key, true);
            out.push('=');
            escape(&mut out, &entry.value, false);
            out.push('\n');
        }
        out
    }
}

/// What Java reads from a file as [`Properties::render`] writes it: one entry a line, none goes on in the next. The last of several
/// of one key counts.
pub fn read(text: &str) -> BTreeMap<String, String> {
    let entry = |line: &str| {
        let (mut key, mut value, mut in_value) = (Vec::new(), Vec::new(), false);
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            let part = if in_value { &mut value } else { &mut key };
            match c {
                '=' if !in_value => in_value = true,
                '\\' => match chars.next() {
                    Some('t') => part.push(u16::from(b'\t')),
                    Some('n') => part.push(u16::from(b'\n')),
                    Some('r') => part.push(u16::from(b'\r')),
                    Some('f') => part.push(0x0c),
                    Some('u') => {
                        let hex: String = chars.by_ref().take(4).collect();
                        part.extend(u16::from_str_radix(&hex, 16).ok());
                    }
                    Some(other) => part.extend(other.encode_utf16(&mut [0; 2]).iter()),
                    None => {}
                },
                other => part.extend(other.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        (String::from_utf16_lossy(&key), String::from_utf16_lossy(&value))
    };
    text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).map(entry).collect()
}

/// A comment ends at its line's end whatever it holds; a trailing backslash does not continue it (java.util.Properties).
fn comment(out: &mut String, line: &str) {
    out.push('#');
    if !line.is_empty() {
        out.push(' ');
    }
    for c in line.chars() {
        match c {
            // a lone \r would end the comment
            ' '..='~' => out.push(c),
            _ => unicode(out, c),
        }
    }
    out.push('\n');
}

/// In a key every blank and separator must be escaped, in a value only leading blanks; `#` and `!` matter only at the
/// start of a line, which only a key can be.
fn escape(out: &mut String, text: &str, is_key: bool) {
    let mut leading = true;
    for c in text.chars() {
        match c {
            ' ' if is_key || leading => out.push_str("\\ "),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\x0c' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            '=' | ':' | '#' | '!' if is_key => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            _ => unicode(out, c),
        }
        leading = leading && c == ' ';
    }
}

/// `\uXXXX` for each UTF-16 unit: what Java calls a char.
fn unicode(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // writing into a String cannot fail
        let _ = write!(out, "\\u{unit:04X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `java.util.Properties.load`, by its documentation: logical lines, then key, separator, value, then escapes.
    fn parse(text: &str) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let mut lines = text.split(['\n', '\r']).map(str::to_owned);
        let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
        while let Some(line) = lines.next() {
            let mut line = line.trim_start_matches(blank).to_owned();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            while line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
                line.pop();
                line.push_str(lines.next().unwrap_or_default().trim_start_matches(blank));
            }
            let chars: Vec<char> = line.chars().collect();
            let mut end = 0;
            while end < chars.len() && !blank(chars[end]) && !matches!(chars[end], '=' | ':') {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            let end = end.min(chars.len());
            let mut rest = end;
            while rest < chars.len() && blank(chars[rest]) {
                rest += 1;
            }
            if rest < chars.len() && matches!(chars[rest], '=' | ':') {
                rest += 1;
                while rest < chars.len() && blank(chars[rest]) {
                    rest += 1;
                }
            }
            out.push((unescape(&chars[..end]), unescape(&chars[rest..])));
        }
        out
    }

    fn unescape(chars: &[char]) -> String {
        let mut units: Vec<u16> = Vec::new();
        let mut it = chars.iter();
        while let Some(&c) = it.next() {
            let c = match c {
                '\\' => match it.next() {
                    Some('u') => {
                        let hex: String = it.by_ref().take(4).collect();
                        units.push(u16::from_str_radix(&hex, 16).unwrap());
                        continue;
                    }
                    Some('t') => '\t',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('f') => '\x0c',
                    Some(&other) => other,
                    None => continue,
                },
                c => c,
            };
            units.extend(c.encode_utf16(&mut [0; 2]).iter());
        }
        String::from_utf16(&units).unwrap()
    }

    #[test]
    fn a_file_is_head_comments_and_entries_in_first_come_order() {
        let mut p = Properties::new("made by us");
        p.set("b", "2", "why b");
        p.set("a", "1", "");
        p.set("b", "3", "");
        assert_eq!(p.render(), "# made by us\nb=3\na=1\n");
        assert_eq!(p.get("b"), Some("3"));
        p.remove("b");
        assert_eq!(p.render(), "# made by us\na=1\n");
    }

    #[test]
    fn awkward_text_is_escaped_the_way_java_reads_it() {
        let mut p = Properties::new("");
        p.set("a key:=#", "  two blanks, C:\\dir, \u{1F600} and # = :", "한글\rreason");
        assert_eq!(
            p.render(),
            "# \\uD55C\\uAE00\\u000Dreason\na\\ key\\:\\=\\#=\\ \\ two blanks, C:\\\\dir, \\uD83D\\uDE00 and # = :\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entries in prop::collection::vec((any::<String>(), any::<String>(), any::<String>()), 0..8)) {
            let mut p = Properties::new("head\\");
            let mut wanted: Vec<(String, String)> = Vec::new();
            for (k, v, c) in entries {
                p.set(k.clone(), v.clone(), &c);
                match wanted.iter_mut().find(|(old, _)| *old == k) {
                    Some(old) => old.1 = v,
                    None => wanted.push((k, v)),
                }
            }
            let text = p.render();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(parse(&text), wanted.clone());
            prop_assert_eq!(read(&text), wanted.into_iter().collect::<BTreeMap<_, _>>());
        }
    }
}
