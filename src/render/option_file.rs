//! MySQL option file text: `[mysqld]` and one `name=value` a line, quoted as `mysys/my_default.cc` reads it.
//!
//! Tried against `my_print_defaults` 9.7.4: quotes, `#`, blanks at the ends, backslashes, lines over 4096 bytes.

/// An option file with one group. Options keep the order in which they first came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionFile {
    group: String,
    head: Vec<String>,
    options: Vec<(String, String, Option<String>)>,
}

impl OptionFile {
    /// An empty `[group]` below a head of comment lines.
    pub fn new(group: &str, head: &str) -> Self {
        Self { group: group.to_owned(), head: head.lines().map(str::to_owned).collect(), options: Vec::new() }
    }

    /// Sets `name`, in the place where it already stands or else at the end. An empty `comment` writes none.
    /// Dashes and underscores in names mean the same to the server; callers use underscores.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>, comment: &str) {
        let option = (name.into(), value.into(), (!comment.is_empty()).then(|| comment.to_owned()));
        match self.options.iter_mut().find(|(name, ..)| *name == option.0) {
            Some(old) => *old = option,
            None => self.options.push(option),
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(n, ..)| n == name).map(|(_, v, _)| v.as_str())
    }

    /// The file's text, `\n` at every end.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            comment(&mut out, line);
        }
        out.push_str(&format!("[{}]\n", self.group));
        for (name, value, why) in &self.options {
            for line in why.iter().flat_map(|c| c.lines()) {
                comment(&mut out, line);
            }
            out.push_str(&format!("{name}={}\n", quote(value)));
        }
        out
    }
}

fn comment(out: &mut String, line: &str) {
    out.push_str(if line.is_empty() { "#" } else { "# " });
    out.push_str(&line.replace(['\r', '\0'], " "));
    out.push('\n');
}

/// Plain when nothing in it can be misread; otherwise in double quotes, where `#` starts no comment and blanks at the ends
/// stay, with the escapes the reader knows (`\b \t \n \r \\ \s \"`).
fn quote(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:,+@%=*".contains(&b);
    if value.bytes().all(plain) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            // a NUL cannot be in an argument at all; without it the rest still says what was meant
            '\0' => {}
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One option line as `search_default_file_with_ext` and `remove_end_comment` read it.
    fn parse(line: &str) -> (String, String) {
        let mut kept = String::new();
        let (mut quote, mut escape) = (None, false);
        for c in line.chars() {
            if matches!(c, '\'' | '"') && !escape {
                match quote {
                    None => quote = Some(c),
                    Some(q) if q == c => quote = None,
                    Some(_) => {}
                }
            }
            if quote.is_none() && c == '#' {
                break;
            }
            escape = quote.is_some() && c == '\\' && !escape;
            kept.push(c);
        }
        let space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
        let (name, value) = kept.split_once('=').unwrap();
        let mut value = value.trim_matches(space);
        for q in ['\'', '"'] {
            if value.len() >= 2 && value.starts_with(q) && value.ends_with(q) {
                value = &value[1..value.len() - 1];
                break;
            }
        }
        let mut out = String::new();
        let mut chars = value.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some('b') => out.push('\x08'),
                    Some('s') => out.push(' '),
                    Some(c @ ('"' | '\'' | '\\')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => {}
                },
                c => out.push(c),
            }
        }
        (name.trim_matches(space).to_owned(), out)
    }

    #[test]
    fn plain_values_stay_plain_and_the_rest_is_quoted() {
        let mut f = OptionFile::new("mysqld", "head");
        f.set("port", "3306", "");
        f.set("datadir", "/srv/my data/#1", "why");
        f.set("port", "3307", "");
        assert_eq!(f.render(), "# head\n[mysqld]\nport=3307\n# why\ndatadir=\"/srv/my data/#1\"\n");
        assert_eq!(f.get("port"), Some("3307"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in "[^\0]*") {
            let mut f = OptionFile::new("mysqld", "");
            f.set("init_connect", value.clone(), "");
            let text = f.render();
            let line = text.strip_prefix("[mysqld]\n").unwrap().strip_suffix('\n').unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(parse(line), ("init_connect".to_owned(), value));
        }
    }
}
