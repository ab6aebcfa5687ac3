//! What holds of the whole: the result depends on the text alone, no secret comes through, nothing grows without bound.

mod budget;
mod keys;
mod sample;
mod secrets;
mod split;

use proptest::prelude::*;

use super::*;

/// A scrubber's result and the pieces that its sink got, for `data` in chunks.
fn scrub(secrets: &Secrets, budget: Budget, window: usize, chunks: &[&[u8]]) -> (Scrubbed, Vec<String>) {
    let mut pieces = vec![];
    let mut scrubber = Scrubber::with_window(secrets, budget, |piece: &str| pieces.push(piece.to_owned()), window);
    chunks.iter().for_each(|chunk| scrubber.push(chunk));
    let scrubbed = scrubber.finish();
    (scrubbed, pieces)
}

/// `data` in chunks that end at `cuts`.
fn split<'a>(data: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (data.len() + 1)).collect();
    ends.push(data.len());
    ends.sort_unstable();
    let mut start = 0;
    let chunk = |end| {
        let chunk = &data[start..end];
        start = end;
        chunk
    };
    ends.into_iter().map(chunk).collect()
}

/// Panics unless `data` gives the same result whole and in chunks that end at `cuts`, through large windows and small
/// ones, and unless that result is what it should be. A fuzz target calls this too.
pub(crate) fn check_split(data: &[u8], cuts: &[usize]) {
    let secrets = sample::secrets();
    let size = cuts
        .iter()
        .fold(data.len(), |sum, cut| sum.wrapping_mul(31).wrapping_add(*cut));
    let chars = [0, 1, 60, 150, 400, 3_000, usize::MAX][size % 7];
    let budget = Budget {
        chars,
        spill: [100, usize::MAX][size % 2],
        piece: 64,
    };
    let whole = scrub(&secrets, budget, redact::WINDOW, &[data]);
    for window in [0, size % 500] {
        let chunks = split(data, cuts);
        assert_eq!(
            scrub(&secrets, budget, window, &chunks),
            whole,
            "{cuts:?} with {budget:?}, window {window}"
        );
    }
    let (scrubbed, pieces) = whole;
    assert!(scrubbed.text.chars().count() <= chars);
    assert!(secrets.is_clean(&scrubbed.text), "{:?}", scrubbed.text);
    let (all, redactions) = secrets.redact_counted(&String::from_utf8_lossy(data), redact::WINDOW);
    assert!(secrets.is_clean(&all), "{all:?}");
    assert!(all.starts_with(&pieces.concat()), "{pieces:?}");
    assert_eq!(scrubbed.redactions, redactions);
    assert_eq!(scrubbed.total_chars, all.chars().count() as u64);
    assert_eq!(scrubbed.total_bytes, all.len() as u64);
    assert_eq!(scrubbed.spilled_bytes, pieces.concat().len() as u64);
    assert_eq!(scrubbed.shortened, scrubbed.total_chars > chars as u64);
    assert!(scrubbed.shortened || scrubbed.text == all);
}

/// Text of fewer than `size` pieces that do things to a scrubber.
fn nasty(size: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => proptest::sample::select(sample::PIECES).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9_ -]{1,40}",
        1 => "\\PC{0,12}",
        1 => (
            proptest::sample::select(&["A", "0", " ", "-", "68", "x:", "é", "\n"][..]),
            prop_oneof![1..20usize, 100..140usize, 500..520usize, 1_015..1_030usize],
        ).prop_map(|(piece, count)| piece.repeat(count)),
        1 => proptest::sample::select(sample::PIECES).prop_flat_map(|piece| {
            (0..=piece.len()).prop_map(move |end| crate::text::prefix(piece, end).to_owned())
        }),
    ];
    proptest::collection::vec(piece, 0..size).prop_map(|pieces| pieces.concat())
}

/// The one thread of the runtime is in the midst of a large text, and goes on only when another task has run.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_text_holds_up_no_other_task() {
    let (begins, mut began) = tokio::sync::mpsc::unbounded_channel();
    let (tell, heard) = std::sync::mpsc::channel();
    let other = tokio::spawn(async move {
        began.recv().await;
        tell.send(())
    });
    let scrubbing = tokio::spawn(async move {
        let mut heard = Some(heard);
        let budget = Budget {
            chars: 100,
            spill: 1024,
            piece: 1024,
        };
        let mut scrubber = Scrubber::new(&Secrets::none(), budget, |_: &str| {
            if let Some(heard) = heard.take() {
                begins.send(()).expect("it waits");
                heard
                    .recv_timeout(std::time::Duration::from_secs(60))
                    .expect("another task went on");
            }
        });
        scrubber.push("word ".repeat(1 << 18).as_bytes());
        scrubber.finish().total_bytes
    });
    assert_eq!(scrubbing.await.expect("it ends"), 5 << 18);
    other.await.expect("it ends").expect("it was heard");
}
