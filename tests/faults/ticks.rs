//! The log of a node that writes `tick 0`, `tick 1` and so on: how many lines each of its runs has in it, and whether what is missing is
//! where it says so, and no more than a shim holds.

/// What a shim that is killed takes along (`logs::pump`).
const BLOCK: u64 = 64 << 10;

/// The shortest line that may be missing: `tick 0` with its end.
const SHORTEST: u64 = 7;

/// Says so.
const MARK: &str = "] its shim was killed";

/// What may be missing right here.
#[derive(Default)]
struct Hole {
    /// As many blocks.
    blocks: u64,
    /// The rest of a line, of which the shim had the beginning, was seen.
    torn: bool,
}

/// How many lines each run has. `shim_killed`: behind a mark at most a block is missing; of the line before it the end may be, of the
/// line behind it the beginning. Without it any word of a loss is an error.
pub fn runs(text: &str, shim_killed: bool) -> Result<Vec<u64>, String> {
    let is_mark = |line: &str| shim_killed && line.contains(MARK);
    let (mut runs, mut expected, mut hole) = (Vec::<u64>::new(), 0, Hole::default());
    let mut lines = text.lines().enumerate().peekable();
    while let Some((nth, line)) = lines.next() {
        if let Some(ours) = line.strip_prefix("[cdc-supervisor] ") {
            hole.blocks += u64::from(is_mark(line));
            let told = ["missing", "lost", "removed"].iter().any(|word| ours.contains(word));
            if told && !shim_killed {
                return Err(format!("line {nth} tells of a loss: {ours}"));
            }
            continue;
        }
        let cut = lines.peek().is_some_and(|(_, next)| is_mark(next));
        let fits = |missing: u64| missing * SHORTEST <= hole.blocks * BLOCK;
        match line.strip_prefix("tick ").and_then(|n| n.parse::<u64>().ok()) {
            Some(number) if number == expected && !runs.is_empty() => *runs.last_mut().unwrap() += 1,
            Some(0) => runs.push(1),
            // half of a number is one
            Some(number) if cut && expected.to_string().starts_with(&number.to_string()) => continue,
            Some(number) if hole.blocks > 0 && number >= expected && fits(number - expected) => match runs.last_mut() {
                Some(run) => *run += 1,
                None => runs.push(1),
            },
            // of a run whose shim was killed before it had written the first line
            Some(number) if hole.blocks > 0 && number < expected && fits(number) => runs.push(1),
            Some(number) => return Err(format!("line {nth} is tick {number} where {expected} comes next")),
            None if cut => continue,
            None if hole.blocks > 0 && !hole.torn => {
                hole.torn = true;
                continue;
            }
            None => return Err(format!("line {nth} is torn: {line:?}")),
        }
        expected = line.strip_prefix("tick ").and_then(|n| n.parse::<u64>().ok()).map_or(0, |number| number + 1);
        hole = Hole::default();
    }
    if runs.is_empty() { Err("no line at all".into()) } else { Ok(runs) }
}

#[test]
fn what_is_missing_behind_a_mark_is_at_most_a_block_and_one_torn_line() {
    let ticks = |from: u64, to: u64| (from..to).map(|n| format!("tick {n}\n")).collect::<String>();
    let mark = "[cdc-supervisor] [x] its shim was killed: what that had read is missing here\n";
    let seen = |rest: &str| runs(&format!("{}{mark}{rest}", ticks(0, 5)), true);
    assert_eq!(seen(&ticks(5, 7)), Ok(vec![7]));
    assert_eq!(seen(&ticks(9_000, 9_002)), Ok(vec![7]));
    assert_eq!(seen(&format!("99\n{}", ticks(9_000, 9_002))), Ok(vec![7]));
    assert_eq!(seen(&format!("99\n{}", ticks(0, 2))), Ok(vec![5, 2]));
    assert!(seen(&format!("{}garbage\n{}", ticks(900_000, 900_050), ticks(0, 2))).is_err(), "more than a block");
    assert!(seen(&format!("99\ngarbage\n{}", ticks(0, 2))).is_err(), "two torn lines");
    assert!(seen(&format!("{}garbage\n{}", ticks(5, 7), ticks(0, 2))).is_err(), "a torn line elsewhere");
    // before it: the half of a line, which may read as a number
    let halves = |half: &str| runs(&format!("{}{half}\n{mark}{}", ticks(0, 124), ticks(130, 132)), true);
    assert_eq!(halves("tick 12"), Ok(vec![126]));
    assert_eq!(halves("ti"), Ok(vec![126]));
    assert!(halves("tick 77").is_err(), "not a half of what comes next");
    let whole = format!("{}{mark}{}", ticks(0, 5), ticks(9, 12));
    assert!(runs(&whole, false).is_err(), "no shim was killed");
}
