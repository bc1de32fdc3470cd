//! A line as it is shown: nothing in it can move the cursor, hide text or ring a bell; what is long or binary is cut and says so.

use crate::base::units::grouped;
use std::fmt::Write as _;

/// Most bytes of a line that are shown.
pub const SHOWN_MAX: usize = 8 << 10;

/// Most bytes of a binary line that are shown.
const BINARY_SHOWN: usize = 64;

/// The text of a line of which `bytes` is the beginning and `total` the whole length.
///
/// Colours (ANSI SGR sequences) are dropped, every other control character and byte that is no UTF-8 is written as `\x1b`.
pub fn display(bytes: &[u8], total: u64) -> String {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let head = &bytes[..bytes.len().min(SHOWN_MAX)];
    let cut = (head.len() as u64) < total.saturating_sub(1);
    let (mut text, strange) = clean(head, cut);
    // More than one byte in ten that no text has.
    if strange > 4 && strange * 10 > head.len() {
        text = clean(&head[..head.len().min(BINARY_SHOWN)], true).0;
        let _ = write!(text, " [binary, {} bytes; --raw shows them]", grouped(total));
    } else if cut {
        let _ = write!(text, " [cut, {} bytes; --raw shows all]", grouped(total));
    }
    text
}

/// The visible text, and how many bytes were none.
fn clean(bytes: &[u8], cut: bool) -> (String, usize) {
    let mut text = String::with_capacity(bytes.len());
    let mut strange = 0;
    let mut rest = bytes;
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().chars();
        while let Some(c) = chars.next() {
            match c {
                '\t' => text.push(c),
                '\u{1b}' => match colour_end(chars.as_str()) {
                    Some(after) => chars = after.chars(),
                    None => text.push_str("\\x1b"),
                },
                _ if c.is_control() => {
                    strange += 1;
                    let _ = write!(text, "\\x{:02x}", u32::from(c));
                }
                // They turn the direction of what follows: a line could show as another (Unicode, UAX #9).
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
                }
                _ => text.push(c),
            }
        }
        rest = &rest[chunk.valid().len() + chunk.invalid().len()..];
        // A character that is cut in the middle is no fault of the line.
        if !(cut && rest.is_empty() && chunk.invalid().len() < 4) {
            for byte in chunk.invalid() {
                strange += 1;
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    (text, strange)
}

/// What follows a colour sequence whose ESC was taken: `[`, parameters, `m` (ECMA-48, SGR).
fn colour_end(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix('[')?;
    parameters.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ';' | ':')).strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        display(bytes, bytes.len() as u64)
    }

    #[test]
    fn text_stays_as_it_is() {
        for line in ["", "plain", "\tat java.lang.Thread.run(Thread.java:840)", "삼성전자 005930 ✓", "C:\\x1b"] {
            assert_eq!(shown(line.as_bytes()), line);
        }
        assert_eq!(shown(b"dos\r"), "dos");
    }

    #[test]
    fn colours_go_and_other_controls_show() {
        assert_eq!(shown(b"\x1b[1;31mred\x1b[0m \x1b[38:5:1mx"), "red x");
        assert_eq!(shown(b"\x1b[2J\x1b]0;title\x07"), "\\x1b[2J\\x1b]0;title\\x07");
        assert_eq!(shown(b"a\rb\x00c"), "a\\x0db\\x00c");
        assert_eq!(shown("\u{202e}olleh \u{9b}1m".as_bytes()), "\\u{202e}olleh \\x9b1m");
        assert_eq!(shown(b"caf\xe9"), "caf\\xe9");
        assert_eq!(shown(b"\x1b"), "\\x1b");
    }

    #[test]
    fn long_and_binary_lines_are_cut_and_say_so() {
        let long = "x".repeat(SHOWN_MAX);
        assert_eq!(shown(long.as_bytes()), long);
        assert_eq!(display(long.as_bytes(), 104_857_600), format!("{long} [cut, 104,857,600 bytes; --raw shows all]"));
        let binary = display(&[0, 255, 1, 2, b'a'].repeat(100), 500);
        assert!(binary.starts_with("\\x00\\xff\\x01\\x02a") && binary.len() < 300, "{binary}");
        assert!(binary.ends_with(" [binary, 500 bytes; --raw shows them]"), "{binary}");
        // a character cut in two is dropped, not shown as broken
        let korean = "가".repeat(SHOWN_MAX);
        let text = display(korean.as_bytes(), korean.len() as u64);
        assert!(text.starts_with("가가") && !text.contains("\\x"), "{}", &text[text.len() - 60..]);
    }

    proptest! {
        #[test]
        fn no_control_character_and_nothing_endless_comes_out(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let text = shown(&bytes);
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\t'));
            prop_assert!(text.len() <= 4 * SHOWN_MAX + 100);
        }
    }
}
