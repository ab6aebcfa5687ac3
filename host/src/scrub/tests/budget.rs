//! The result fits its budget, and memory is bounded.

use proptest::prelude::*;

use super::*;

fn shorten(text: &str, chars: usize) -> Scrubbed {
    let budget = Budget {
        chars,
        spill: 0,
        piece: 100,
    };
    scrub(&Secrets::none(), budget, 0, &[text.as_bytes()]).0
}

/// A report of numbered lines, with these in its middle.
fn report(lines: usize, middle: &[&str]) -> String {
    let line = |n: usize| match middle.get(n.wrapping_sub(lines / 2)) {
        Some(line) => format!("{line}\n"),
        None => format!("line {n} says nothing of note, as do the others\n"),
    };
    (0..lines).map(line).collect()
}

#[test]
fn a_text_of_the_budgets_size_is_whole() {
    for text in [report(50, &[]), "é".repeat(3_000), String::new()] {
        let chars = text.chars().count();
        let whole = shorten(&text, chars);
        assert_eq!(
            (whole.text.as_str(), whole.shortened, whole.left_out_chars),
            (text.as_str(), false, 0)
        );
        if chars > 0 {
            let cut = shorten(&text, chars - 1);
            assert!(cut.shortened && cut.left_out_chars > 0 && cut.text.chars().count() < chars);
        }
    }
}

#[test]
fn what_matters_of_the_middle_is_kept_in_order() {
    let middle = [
        "## Second heading",
        "error: the build failed at src/main.rs:12",
        "- in total 40 % of 12 ms",
    ];
    let shortened = shorten(&report(2_000, &middle), 2_000);
    let at: Vec<usize> = middle
        .iter()
        .map(|line| shortened.text.find(line).expect("it is kept"))
        .collect();
    assert!(at.is_sorted() && shortened.text.starts_with("line 0 ") && shortened.text.ends_with("others\n"));
    assert!(shortened.text.contains("line 1999 "));
    let kept: usize = shortened
        .text
        .lines()
        .filter(|line| !line.starts_with("[…"))
        .map(|line| line.len() + 1)
        .sum();
    assert_eq!(kept as u64 + shortened.left_out_chars, shortened.total_chars);
    let marked = |unit: &str| -> u64 {
        let markers = shortened.text.lines().filter(|line| line.starts_with("[… "));
        let words = markers.map(|line| line.split([' ', ',']).collect::<Vec<_>>());
        words
            .filter_map(|words| words[words.iter().position(|w| *w == unit)? - 1].parse::<u64>().ok())
            .sum()
    };
    assert_eq!(marked("characters"), shortened.left_out_chars);
    let lines = shortened.text.lines().filter(|line| !line.starts_with("[…")).count() as u64;
    assert_eq!(marked("lines") + lines, 2_000);
}

#[test]
fn a_repeated_line_is_picked_once() {
    let same = ["error: the same"; 500];
    let shortened = shorten(&report(3_000, &same), 3_000);
    assert_eq!(
        shortened.text.matches("error: the same").count(),
        1,
        "{}",
        shortened.text
    );
}

#[test]
fn parts_have_their_shares() {
    let text = report(20_000, &[]);
    let shortened = shorten(&text, 10_000).text;
    let same = |pair: &(char, char)| pair.0 == pair.1;
    let head = shortened.chars().zip(text.chars()).take_while(same).count();
    let tail = shortened.chars().rev().zip(text.chars().rev()).take_while(same).count();
    assert!((4_400..=4_500).contains(&head), "{head}");
    assert!((3_400..=3_501).contains(&tail), "{tail}");
    for text in [
        text,
        "word ".repeat(100_000),
        "é".repeat(300_000),
        "a b\n".repeat(50_000),
    ] {
        let chars = shorten(&text, 10_000).text.chars().count();
        assert!((8_000..=10_000).contains(&chars), "{chars}");
    }
}

#[test]
fn no_letter_loses_its_accents() {
    let text = "e\u{301}\u{302}".repeat(5_000);
    for chars in 200..260 {
        let shortened = shorten(&text, chars);
        let parts = shortened.text.split('\n').filter(|part| !part.starts_with('['));
        for part in parts.filter(|part| !part.is_empty()) {
            assert_eq!(part.replace("e\u{301}\u{302}", ""), "", "{chars}");
        }
    }
}

#[test]
fn memory_is_bounded() {
    const CHARS: usize = 20_000;
    let secrets = sample::secrets();
    let sources = [
        report(2_000, &["# x"]),
        "\n".repeat(100_000),
        "x".repeat(100_000),
        "é😀 ".repeat(10_000),
        "hunter2hunter2".repeat(7_000),
        "a".repeat(100_000),
        "eyJ sk-0123456789abcdef0123456789[redacted jwt]".repeat(2_000),
        "- -".repeat(30_000),
    ];
    for (index, source) in sources.iter().enumerate() {
        let budget = Budget {
            chars: CHARS,
            spill: 1 << 20,
            piece: 64 << 10,
        };
        let mut scrubber = Scrubber::new(&secrets, budget, |_: &str| {});
        let (mut pushed, mut most) = (0, 0);
        let size = if index == 0 { 50 << 20 } else { 2 << 20 };
        while pushed < size {
            scrubber.push(source.as_bytes());
            pushed += source.len();
            most = most.max(scrubber.held());
        }
        scrubber.finish();
        assert!(most < (3 << 20) + 16 * CHARS, "{most} bytes for source {index}");
    }
}

proptest! {
    #[test]
    fn no_result_is_longer_than_its_budget(
        texts in proptest::collection::vec(prop_oneof![nasty(100), "(\\PC{0,80}\n){0,30}", "[a-zé ]{0,5000}"], 0..8),
        chars in prop_oneof![0..200usize, 0..5_000usize],
    ) {
        let text = texts.concat();
        let secrets = sample::secrets();
        let budget = Budget { chars, spill: usize::MAX, piece: 1_000 };
        let (scrubbed, pieces) = scrub(&secrets, budget, 0, &[text.as_bytes()]);
        prop_assert!(scrubbed.text.chars().count() <= chars);
        prop_assert!(secrets.is_clean(&scrubbed.text));
        prop_assert_eq!(pieces.concat().chars().count() as u64, scrubbed.total_chars);
    }
}
