//! Text from outside made fit for a terminal and for one line: no control character of it gets through.

/// `text` on one line, at most `max` characters of it. Control characters (ANSI escapes begin with one), line ends and the
/// characters that turn the direction of writing are spelled out (`\u{1b}`); tabs become spaces; what is left out is counted.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max.saturating_mul(4)));
    let mut chars = text.chars();
    for c in chars.by_ref().take(max) {
        match c {
            '\t' => out.push_str("    "),
            c if c.is_control() || turns_direction(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    match chars.count() {
        0 => {}
        more => out.push_str(&format!("… ({more} more characters)")),
    }
    out
}

/// The same for bytes: what is not UTF-8 becomes U+FFFD.
pub fn printable_bytes(bytes: &[u8], max: usize) -> String {
    printable(&String::from_utf8_lossy(bytes), max)
}

/// Bidirectional controls (Unicode Standard Annex 9, table 3-4): they reorder what stands around them on the screen.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_spelled_out_and_length_is_bounded() {
        assert_eq!(printable("\u{1b}[2Jgone\r\n", 99), "\\u{1b}[2Jgone\\r\\n");
        assert_eq!(printable("\tat Main", 99), "    at Main");
        assert_eq!(printable("abcdef", 3), "abc… (3 more characters)");
        assert_eq!(printable("주문 ok", 99), "주문 ok");
        assert_eq!(printable("a\u{202e}b", 9), "a\\u{202e}b");
        assert_eq!(printable_bytes(b"a\xff\x9bz", 9), "a\u{fffd}\u{fffd}z");
    }

    proptest! {
        #[test]
        fn whatever_goes_in_no_control_character_comes_out(bytes: Vec<u8>, max in 0usize..200) {
            let out = printable_bytes(&bytes, max);
            prop_assert!(!out.chars().any(char::is_control), "{out:?}");
        }
    }
}
