//! A YAML file of dotted names: one `"name": "value"` a line, both in double quotes.
//!
//! Spring flattens nested YAML into dotted names before it binds anything (`YamlProcessor.buildFlattenedMap`), so one line per
//! name says the same as a tree does, keeps every setting in its place when a user overrules it, and makes differences readable.
//! Everything is a string in quotes: no `no`, `1e3` or `010` changes its type on the way, and Spring converts from text.

/// A file of settings. They keep the order in which they first came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yaml {
    head: Vec<String>,
    settings: Vec<(String, String, Option<String>)>,
}

impl Yaml {
    /// An empty file below a head of comment lines.
    pub fn new(head: &str) -> Self {
        Self { head: head.lines().map(str::to_owned).collect(), settings: Vec::new() }
    }

    /// Sets `name`, in the place where it already stands or else at the end. An empty `comment` writes none.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>, comment: &str) {
        let setting = (name.into(), value.into(), (!comment.is_empty()).then(|| comment.to_owned()));
        match self.settings.iter_mut().find(|(name, ..)| *name == setting.0) {
            Some(old) => *old = setting,
            None => self.settings.push(setting),
        }
    }

    /// The file's text, `\n` at every end.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            comment(&mut out, line);
        }
        for (name, value, why) in &self.settings {
            for line in why.iter().flat_map(|c| c.lines()) {
                comment(&mut out, line);
            }
            out.push_str(&format!("{}: {}\n", quote(name), quote(value)));
        }
        out
    }
}

fn comment(out: &mut String, line: &str) {
    out.push_str(if line.is_empty() { "#" } else { "# " });
    out.push_str(&line.replace(['\r', '\0', '\u{85}', '\u{2028}', '\u{2029}'], " "));
    out.push('\n');
}

/// The double-quoted style of YAML 1.1 (5.7, "Escape Sequences"). What is not plain ASCII text and might end a line, vanish or
/// be refused by a reader (SnakeYAML before 1.18 took nothing beyond 16 bits) is written as its number.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            '\u{a0}'..='\u{d7ff}' if !matches!(c, '\u{2028}' | '\u{2029}') => out.push(c),
            c => match u32::from(c) {
                code @ ..0x100 => out.push_str(&format!("\\x{code:02X}")),
                code @ ..0x1_0000 => out.push_str(&format!("\\u{code:04X}")),
                code => out.push_str(&format!("\\U{code:08X}")),
            },
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A double-quoted scalar as a YAML reader takes it.
    fn unquote(text: &str) -> String {
        let inner = text.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        let mut out = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            assert_ne!(c, '"', "a quote inside ends the scalar");
            if c != '\\' {
                out.push(c);
                continue;
            }
            let digits = match chars.next().unwrap() {
                'n' => {
                    out.push('\n');
                    continue;
                }
                't' => {
                    out.push('\t');
                    continue;
                }
                c @ ('"' | '\\') => {
                    out.push(c);
                    continue;
                }
                'x' => 2,
                'u' => 4,
                'U' => 8,
                other => panic!("no escape of YAML: {other:?}"),
            };
            let code: String = chars.by_ref().take(digits).collect();
            out.push(char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap());
        }
        out
    }

    #[test]
    fn one_setting_a_line_in_the_order_of_the_first() {
        let mut f = Yaml::new("head\n");
        f.set("kafka.clusters[0].name", "cdc", "");
        f.set("a", "no", "why\ntwice");
        f.set("kafka.clusters[0].name", "mine", "set");
        assert_eq!(f.render(), "# head\n# set\n\"kafka.clusters[0].name\": \"mine\"\n# why\n# twice\n\"a\": \"no\"\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_from_one_line(name in ".*", value in "(?s).*") {
            let mut f = Yaml::new("");
            f.set(name.clone(), value.clone(), "");
            let text = f.render();
            let line = text.strip_suffix('\n').unwrap();
            let ends_or_vanishes = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}', '\0', '\u{7f}'];
            prop_assert_eq!(line.find(ends_or_vanishes), None);
            let (key, rest) = (quote(&name), line);
            prop_assert_eq!(unquote(&key), name);
            prop_assert_eq!(unquote(rest.strip_prefix(&key).unwrap().strip_prefix(": ").unwrap()), value);
        }
    }
}
