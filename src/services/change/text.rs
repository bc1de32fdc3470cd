//! Differences as text: unified form for files, and the hiding of what looks like a secret.

use similar::TextDiff;
use std::path::Path;

/// Parts of a name that make its value a secret. Lower case, without separators. Sources: Kafka's own password-typed keys
/// (`ssl.keystore.password`, `ssl.keystore.key`, `sasl.jaas.config`), MySQL's `…_password`, and what programs call theirs.
const SECRET_WORDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "jaasconfig",
    "apikey",
    "accesskey",
    "privatekey",
    "keystorekey",
];

/// What stands in the place of a hidden value.
const HIDDEN: &str = "(hidden)";
/// The same where the value is another one than before.
const HIDDEN_OTHER: &str = "(hidden, another)";

/// Whether a key, option or variable of this name holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SECRET_WORDS.iter().any(|word| plain.contains(word))
}

/// Key and value of a line whose key, or what stands before any of its `=`, names a secret.
fn secret(line: &str) -> Option<(&str, &str)> {
    line.match_indices('=').map(|(at, _)| (&line[..at], &line[at + 1..])).find(|(key, _)| is_secret(key))
}

/// The line `key=value` without its value when the key names a secret, and without the password of a URL.
pub fn hide(line: &str) -> String {
    match secret(line) {
        Some((key, value)) if !value.is_empty() => format!("{key}={HIDDEN}"),
        Some(_) | None => hide_userinfo(line),
    }
}

/// `mysql://user:pass@host` is `mysql://(hidden)@host`.
fn hide_userinfo(text: &str) -> String {
    let Some(at) = text.find("://") else { return text.to_owned() };
    let (scheme, rest) = text.split_at(at + 3);
    let end = rest.find(['/', ' ', '"', '\'', ',']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(sign) if rest[..sign].contains(':') => format!("{scheme}{HIDDEN}{}", &rest[sign..]),
        Some(_) | None => text.to_owned(),
    }
}

/// A whole text with its secrets hidden. Where `other` holds another value for the same key, that is said: a diff of two
/// hidden values would show nothing.
fn hidden(text: &str, other: Option<&str>) -> String {
    let value_of = |text: &str, key: &str| {
        text.lines().find_map(|l| l.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v.to_owned()))
    };
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut shown = hide(line);
        if let (Some((key, value)), Some(other)) = (secret(line), other)
            && value_of(other, key).is_some_and(|before| before != value)
        {
            shown = format!("{key}={HIDDEN_OTHER}");
        }
        out.push_str(&shown);
        out.push('\n');
    }
    out
}

/// The difference of two texts in unified form, three lines of context, secrets hidden. Empty when they are equal.
pub fn unified(path: &Path, from: &str, to: &str) -> String {
    if from == to {
        return String::new();
    }
    let (old, new) = (hidden(from, None), hidden(to, Some(from)));
    let name = path.display().to_string();
    TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).header(&name, &name).to_string()
}

/// Arguments that go and come, each with its sign; order within the line is kept. Secrets are hidden, also one that stands
/// alone behind its option (`--password X`).
pub(super) fn argv(from: &[String], to: &[String]) -> Vec<String> {
    let shown = |list: &[String]| -> Vec<String> {
        let mut after_secret = false;
        list.iter()
            .map(|argument| {
                let hide_this = after_secret && !argument.starts_with('-');
                after_secret = argument.starts_with('-') && !argument.contains('=') && is_secret(argument);
                if hide_this { HIDDEN.to_owned() } else { shortened(&hide(argument)) }
            })
            .collect()
    };
    let (old, new) = (shown(from), shown(to));
    let mut lines = Vec::new();
    for op in similar::capture_diff_slices(similar::Algorithm::Myers, from, to) {
        let (_, gone, come) = op.as_tag_tuple();
        if from[gone.clone()] == to[come.clone()] {
            continue;
        }
        lines.extend(old[gone].iter().map(|a| format!("-{a}")));
        lines.extend(new[come].iter().map(|a| format!("+{a}")));
    }
    lines
}

/// Variables that go, come or change. `shown`: with their values (ours, which hold no secret).
pub(super) fn env(from: &[(String, String)], to: &[(String, String)], shown: bool) -> Vec<String> {
    let value = |list: &[(String, String)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let with = |name: &str, value: &str| if shown { hide(&format!("{name}={value}")) } else { name.to_owned() };
    let mut lines = Vec::new();
    for (name, old) in from {
        match value(to, name) {
            None => lines.push(format!("-{}", with(name, old))),
            Some(new) if new != *old && shown => {
                lines.extend([format!("-{}", with(name, old)), format!("+{}", with(name, &new))]);
            }
            Some(new) if new != *old => lines.push(format!("~{name} (another value, not shown)")),
            Some(_) => {}
        }
    }
    for (name, new) in to.iter().filter(|(name, _)| value(from, name).is_none()) {
        lines.push(format!("+{}", with(name, new)));
    }
    lines
}

/// A class path has thousands of characters; its beginning and its length say enough.
fn shortened(argument: &str) -> String {
    const MAX: usize = 160;
    let length = argument.chars().count();
    if length <= MAX {
        return argument.to_owned();
    }
    let head: String = argument.chars().take(MAX).collect();
    format!("{head}… ({length} characters)")
}
