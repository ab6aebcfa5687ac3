//! The result depends on the text alone.

use proptest::prelude::*;

use super::*;

#[test]
fn each_split_of_a_nasty_text_gives_the_same() {
    let data = sample::bytes();
    let secrets = sample::few();
    for chars in [900, usize::MAX] {
        let budget = Budget {
            chars,
            spill: 2_000,
            piece: 100,
        };
        let whole = scrub(&secrets, budget, 0, &[&data]);
        for cut in 0..=data.len() {
            let halves = [&data[..cut], &data[cut..]];
            assert_eq!(
                scrub(&secrets, budget, 0, &halves),
                whole,
                "cut at {cut} of {}",
                data.len()
            );
        }
        let single: Vec<&[u8]> = data.chunks(1).collect();
        assert_eq!(scrub(&secrets, budget, 0, &single), whole, "byte by byte");
    }
}

#[test]
fn each_window_gives_the_same() {
    let data = sample::bytes().repeat(4);
    let text = String::from_utf8_lossy(&data);
    let secrets = sample::few();
    let whole = secrets.redact_counted(&text, 1 << 20);
    for window in 2_000..2_300 {
        assert_eq!(secrets.redact_counted(&text, window), whole, "window {window}");
    }
}

proptest! {
    #[test]
    fn random_splits_give_the_same(text in nasty(400), cuts in proptest::collection::vec(any::<usize>(), 0..12)) {
        check_split(text.as_bytes(), &cuts);
    }

    #[test]
    fn random_bytes_give_the_same(
        texts in proptest::collection::vec((nasty(60), proptest::collection::vec(any::<u8>(), 0..6)), 0..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let data: Vec<u8> = texts.into_iter().flat_map(|(text, junk)| [text.into_bytes(), junk].concat()).collect();
        check_split(&data, &cuts);
    }

    #[test]
    fn redacting_twice_changes_nothing(text in nasty(100)) {
        let secrets = sample::secrets();
        let once = secrets.redact(&text).into_owned();
        prop_assert_eq!(&*secrets.redact(&once), &once);
        prop_assert!(secrets.is_clean(&once));
    }
}
