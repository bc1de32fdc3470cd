//! The closest known word to a mistyped one.

/// The candidate nearest to `word`, when it is near enough to be meant: at most a third of the letters differ.
pub(super) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    closest_within(word, candidates, (word.chars().count() / 3).max(1))
}

/// The candidate nearest to `word` of which at most `limit` letters differ.
pub(super) fn closest_within<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
    limit: usize,
) -> Option<&'c str> {
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

/// `Memory-Max` and `memory_max` are the same word to a reader.
fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// Optimal string alignment distance: insert, delete, replace, swap of neighbours cost 1 each.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // A word far longer than any key is never meant; the bound keeps hostile text cheap.
    if a.len().abs_diff(b.len()) > 16 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_finds_its_key_and_nonsense_finds_none() {
        let keys = ["client_port", "heap", "memory_max", "properties"];
        for (word, wanted) in [
            ("client_prot", Some("client_port")),
            ("clientPort", Some("client_port")),
            ("memory-max", Some("memory_max")),
            ("Heap", Some("heap")),
            ("heep", Some("heap")),
            ("propertys", Some("properties")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(closest(word, keys), wanted, "{word}");
        }
    }
}
