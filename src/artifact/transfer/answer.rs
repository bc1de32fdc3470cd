//! What the head of an answer means for a download that has `offset` bytes already. Pure.
//!
//! A range is gone on with only when the server names the version of its file by a strong ETag and says that it is still
//! that one (RFC 9110, 13.1.5 and 15.3.7): two files stuck together would cost a whole download to find out.

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Bytes that are there.
    pub offset: u64,
    /// The strong ETag they belong to; always there when `offset` is not 0.
    pub validator: Option<String>,
    /// How long the file is, as the server said it.
    pub total: Option<u64>,
}

/// The parts of an answer's head that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    length: Option<u64>,
    range: Option<String>,
    etag: Option<String>,
    retry_after: Option<String>,
    kind: Option<String>,
    encoding: Option<String>,
}

impl Head {
    /// Reads them.
    pub fn of(status: u16, header: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            status,
            length: header("content-length").and_then(|v| v.trim().parse().ok()),
            range: header("content-range"),
            etag: header("etag"),
            retry_after: header("retry-after"),
            kind: header("content-type"),
            encoding: header("content-encoding"),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The body is the file from its first byte.
    Whole {
        /// Its length, when the server says it.
        total: Option<u64>,
        /// Its strong ETag.
        validator: Option<String>,
    },
    /// The body goes on where we are.
    Rest {
        /// How long the whole file is, when the server says it.
        total: Option<u64>,
    },
    /// Everything is here already.
    Complete,
    /// What is here is of no use; ask for the whole file.
    Restart(String),
    /// Ask again, after this many seconds if it says so.
    Later {
        /// Its status.
        status: u16,
        /// `Retry-After`.
        wait: Option<u64>,
    },
    /// It will not give it.
    Refused(u16),
    /// It gives something else.
    NotTheFile(String),
}

/// Judges an answer. `size` is what the file must have, where that is known.
pub fn judge(asked: &Asked, head: &Head, size: Option<u64>) -> Judgement {
    match head.status {
        200 => whole(head, size),
        206 => rest(asked, head),
        416 if asked.offset > 0 => {
            match head.range.as_deref().and_then(|r| r.strip_prefix("bytes */")?.parse::<u64>().ok()) {
                Some(total) if asked.offset == total => Judgement::Complete,
                _ => Judgement::Restart("the server has no bytes behind those that are here".into()),
            }
        }
        // Timed out, too early, too many requests, and what servers say when they are in trouble.
        408 | 425 | 429 | 500 | 502..=504 => Judgement::Later { status: head.status, wait: wait(head) },
        status => Judgement::Refused(status),
    }
}

fn other_thing(head: &Head) -> Option<String> {
    if let Some(encoding) = head.encoding.as_deref().filter(|e| !e.eq_ignore_ascii_case("identity")) {
        return Some(format!("it comes in the encoding {encoding:?}, which was not asked for"));
    }
    let kind = head.kind.as_deref().unwrap_or_default().to_ascii_lowercase();
    let page = ["text/html", "application/xhtml"].iter().any(|p| kind.starts_with(p));
    page.then(|| "it is a web page: a proxy or a login stands in between, or the file has moved".to_owned())
}

fn whole(head: &Head, size: Option<u64>) -> Judgement {
    if let Some(why) = other_thing(head) {
        return Judgement::NotTheFile(why);
    }
    if let (Some(size), Some(length)) = (size, head.length)
        && size != length
    {
        return Judgement::NotTheFile(format!("it has {length} bytes, {size} are known to be right"));
    }
    let validator = head.etag.as_deref().filter(|tag| is_strong(tag)).map(str::to_owned);
    Judgement::Whole { total: head.length, validator }
}

fn rest(asked: &Asked, head: &Head) -> Judgement {
    if asked.offset == 0 {
        return Judgement::NotTheFile("it sends a part of the file although all of it was asked for".into());
    }
    if let Some(why) = other_thing(head) {
        return Judgement::NotTheFile(why);
    }
    let Some((first, total)) = head.range.as_deref().and_then(content_range) else {
        return Judgement::Restart("the server does not say which part of the file it sends".into());
    };
    if first != asked.offset {
        return Judgement::Restart(format!("the server goes on at byte {first}, {} was asked for", asked.offset));
    }
    if let (Some(now), Some(then)) = (total, asked.total)
        && now != then
    {
        return Judgement::Restart(format!("the file has {now} bytes now, it had {then}"));
    }
    if let (Some(now), Some(then)) = (&head.etag, &asked.validator)
        && now != then
    {
        return Judgement::Restart("the file has changed on the server".into());
    }
    Judgement::Rest { total }
}

/// First byte and length of the whole in `bytes 100-199/200` (RFC 9110, 14.4).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|t: u64| last < t)).then_some((first, total))
}

/// A strong entity tag: in quotes and without `W/` (RFC 9110, 8.8.3).
fn is_strong(tag: &str) -> bool {
    tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')
}

/// Seconds in `Retry-After`. The other form, a date, would need two clocks that agree; then our own pauses hold.
fn wait(head: &Head) -> Option<u64> {
    head.retry_after.as_deref()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> Head {
        Head::of(status, |name| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    fn going_on() -> Asked {
        Asked { offset: 100, validator: Some("\"a\"".into()), total: Some(200) }
    }

    #[test]
    fn a_whole_answer_is_taken_with_its_strong_etag_only() {
        let strong = head(200, &[("content-length", "7"), ("etag", "\"a\"")]);
        assert_eq!(
            judge(&Asked::default(), &strong, None),
            Judgement::Whole { total: Some(7), validator: Some("\"a\"".into()) }
        );
        for etag in ["W/\"a\"", "a", "\""] {
            let weak = head(200, &[("etag", etag)]);
            assert_eq!(judge(&Asked::default(), &weak, None), Judgement::Whole { total: None, validator: None });
        }
        // A range was asked for and all of it comes: the server does not know ranges, or the file has changed.
        assert!(matches!(judge(&going_on(), &strong, None), Judgement::Whole { .. }));
    }

    #[test]
    fn a_rest_is_taken_only_where_it_was_asked_for_and_of_the_same_file() {
        let range = |range: &str, etag: &str| head(206, &[("content-range", range), ("etag", etag)]);
        let rest = |total| Judgement::Rest { total };
        assert_eq!(judge(&going_on(), &range("bytes 100-199/200", "\"a\""), None), rest(Some(200)));
        assert_eq!(judge(&going_on(), &range("bytes 100-149/200", "\"a\""), None), rest(Some(200)), "a short one");
        assert_eq!(judge(&going_on(), &range("bytes 100-199/*", "\"a\""), None), rest(None));
        for (content_range, etag, words) in [
            ("bytes 0-199/200", "\"a\"", "goes on at byte 0"),
            ("bytes 100-199/300", "\"a\"", "300 bytes now"),
            ("bytes 100-199/200", "\"b\"", "has changed"),
            ("bytes 100-250/200", "\"a\"", "does not say"),
            ("lines 100-199/200", "\"a\"", "does not say"),
        ] {
            match judge(&going_on(), &range(content_range, etag), None) {
                Judgement::Restart(why) => assert!(why.contains(words), "{why}"),
                other => panic!("{content_range} {etag}: {other:?}"),
            }
        }
        assert!(matches!(judge(&Asked::default(), &range("bytes 0-9/10", "\"a\""), None), Judgement::NotTheFile(_)));
    }

    #[test]
    fn no_bytes_behind_ours_is_the_end_when_the_length_is_ours() {
        assert_eq!(judge(&going_on(), &head(416, &[("content-range", "bytes */100")]), None), Judgement::Complete);
        for range in ["bytes */200", "bytes */99", "*"] {
            assert!(matches!(judge(&going_on(), &head(416, &[("content-range", range)]), None), Judgement::Restart(_)));
        }
        assert_eq!(judge(&Asked::default(), &head(416, &[]), None), Judgement::Refused(416));
    }

    #[test]
    fn a_page_an_encoding_and_a_wrong_length_are_not_the_file() {
        for headers in
            [[("content-type", "Text/HTML; charset=utf-8")], [("content-encoding", "gzip")], [("content-length", "6")]]
        {
            let judged = judge(&Asked::default(), &head(200, &headers), Some(7));
            assert!(matches!(judged, Judgement::NotTheFile(_)), "{headers:?}: {judged:?}");
        }
    }

    #[test]
    fn trouble_is_asked_again_and_a_refusal_is_one() {
        assert_eq!(
            judge(&Asked::default(), &head(429, &[("retry-after", "7")]), None),
            Judgement::Later { status: 429, wait: Some(7) }
        );
        let date = head(503, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]);
        assert_eq!(judge(&Asked::default(), &date, None), Judgement::Later { status: 503, wait: None });
        for status in [401, 403, 404, 410, 451, 501, 204, 302] {
            assert_eq!(judge(&Asked::default(), &head(status, &[]), None), Judgement::Refused(status));
        }
    }
}
