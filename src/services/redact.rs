//! Blanks secrets in lines that leave the place where they were written: log lines in incidents, texts of events.

const BLANK: &str = "***";

/// Words behind which a value is a secret, in any case.
const WORDS: [&str; 8] = ["password", "passwd", "pwd", "secret", "token", "api_key", "apikey", "authorization"];

/// A known secret that is shorter is not looked for: it would blank what is none.
const KNOWN_MIN: usize = 6;

/// `line` with every one of `secrets` blanked, and with every value that is written as one: `password=…`, `token: …`,
/// `IDENTIFIED BY '…'`, `scheme://user:…@host`.
pub fn redact(line: &str, secrets: &[String]) -> String {
    let mut text = line.to_owned();
    for secret in secrets.iter().filter(|s| s.len() >= KNOWN_MIN) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), BLANK);
        }
    }
    let text = behind_words(&text);
    in_addresses(&text)
}

fn behind_words(text: &str) -> String {
    // ASCII only, so that places in both are the same.
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let found = WORDS.iter().filter_map(|w| lower[at..].find(w).map(|i| (at + i, at + i + w.len()))).min();
        let by = lower[at..].find("identified by").map(|i| (at + i, at + i + "identified by".len()));
        let Some((start, end)) = found.into_iter().chain(by).min() else { break };
        let Some((from, to)) = value_behind(text, end, by == Some((start, end))) else {
            out.push_str(&text[at..end]);
            at = end;
            continue;
        };
        out.push_str(&text[at..from]);
        out.push_str(BLANK);
        at = to;
    }
    out.push_str(&text[at..]);
    out
}

/// The value behind a word that ends at `end`: after `=` or `:` (or just space, when `loose`), in quotes or up to the next
/// space, comma, semicolon, `&` or closing bracket. A scheme before the value (`Bearer abc`) belongs to it.
fn value_behind(text: &str, end: usize, loose: bool) -> Option<(usize, usize)> {
    let rest = &text[end..];
    // the rest of the word (`password_file`), and a quote that closes a JSON key
    let rest_of_word =
        rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(rest.len());
    let after = rest[rest_of_word..].trim_start_matches(['"', '\'']).trim_start();
    let value = match after.strip_prefix(['=', ':']) {
        Some(value) => value.trim_start(),
        None if loose => after,
        None => return None,
    };
    let from = text.len() - value.len();
    let quoted = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (from, length) = match quoted {
        Some(quote) => {
            let inner = &value[1..];
            (from + 1, inner.find(quote).unwrap_or(inner.len()))
        }
        None => {
            let stop = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | ')' | ']' | '}');
            let scheme = ["bearer ", "basic "]
                .iter()
                .find(|s| value.get(..s.len()).is_some_and(|head| head.eq_ignore_ascii_case(s)));
            let skip = scheme.map_or(0, |s| s.len());
            (from, skip + value[skip..].find(stop).unwrap_or(value.len() - skip))
        }
    };
    (length > 0).then_some((from, from + length))
}

fn in_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'')).unwrap_or(tail.len());
        let authority = &tail[..end];
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => out.push_str(&format!("{user}:{BLANK}@{host}")),
            None => out.push_str(authority),
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_blanked_however_they_are_written() {
        for (line, wanted) in [
            ("connect with password=hunter22 now", "connect with password=*** now"),
            ("{\"Password\": \"hunter 22\", \"a\": 1}", "{\"Password\": \"***\", \"a\": 1}"),
            ("ssl.keystore.password = abc", "ssl.keystore.password = ***"),
            ("CREATE USER 'x' IDENTIFIED BY 'hunter22'", "CREATE USER 'x' IDENTIFIED BY '***'"),
            ("GET jdbc:mysql://root:hunter22@db:3306/x", "GET jdbc:mysql://root:***@db:3306/x"),
            ("Authorization: Bearer abc.def", "Authorization: ***"),
            ("?token=abc&x=1", "?token=***&x=1"),
            ("the value Zq81_mark is known", "the value *** is known"),
            ("password=", "password="),
            (
                "Access denied for user 'root'@'localhost' (using password: YES)",
                "Access denied for user 'root'@'localhost' (using password: ***)",
            ),
            ("http://127.0.0.1:8080/x and nothing else", "http://127.0.0.1:8080/x and nothing else"),
            ("no secret here", "no secret here"),
        ] {
            assert_eq!(redact(line, &["Zq81_mark".to_owned(), "no".to_owned()]), wanted);
        }
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line in "\\PC*(password[=:] ?)?\\PC*") {
            redact(&line, &["secret value".to_owned()]);
        }

        #[test]
        fn a_known_secret_never_stays(head in "\\PC{0,20}", tail in "\\PC{0,20}") {
            let blanked = redact(&format!("{head}S3cr3t-value{tail}"), &["S3cr3t-value".to_owned()]);
            prop_assert!(!blanked.contains("S3cr3t-value"));
        }
    }
}
