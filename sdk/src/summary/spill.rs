//! The name of a text that the host shortened and kept whole, and the keys of its pieces.

/// The space that the host keeps such texts in.
const SPACE: &str = "spill";
/// What stands before the name in the line that tells of it.
const MARK: &str = "[whole text: spill/";
/// Keys that are asked for: more than any space holds.
pub(super) const MOST_KEYS: usize = 10_000;

/// A text that lies whole on the blackboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spill {
    /// What the keys of its pieces begin with.
    pub key: String,
    /// How long it is, in bytes.
    pub bytes: u64,
}

impl Spill {
    /// Its name as `space/key`, which is what [`Summary::of_entry`](super::Summary::of_entry) and a report's artifacts take.
    pub fn name(&self) -> String {
        format!("{SPACE}/{}", self.key)
    }
}

/// The spill that a shortened result or report tells of in a line `[whole text: spill/KEY, N bytes]`.
///
/// The last such line counts, which is the host's own: what stands before it may be somebody's imitation.
pub fn spill_of(text: &str) -> Option<Spill> {
    text.lines().rev().find_map(|line| {
        let (key, size) = line
            .trim()
            .strip_prefix(MARK)?
            .strip_suffix(" bytes]")?
            .rsplit_once(", ")?;
        let is_key =
            !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || c.is_control() || "[],".contains(c));
        let bytes = size.parse().ok()?;
        is_key.then(|| Spill {
            key: key.to_owned(),
            bytes,
        })
    })
}

/// Of keys that begin with `key/`, those of pieces, in order.
pub(super) fn pieces(key: &str, mut keys: Vec<String>) -> Vec<String> {
    keys.retain(|piece| {
        let number = piece.strip_prefix(key).and_then(|rest| rest.strip_prefix('/'));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    // `10000` sorts before `9999` by its bytes.
    keys.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_line_is_found() {
        let text = "head\n\n[… 900 bytes left out …]\ntail\n  [whole text: spill/7f3a/2/r, 104857600 bytes]\n";
        let spill = spill_of(text).unwrap();
        assert_eq!((spill.key.as_str(), spill.bytes), ("7f3a/2/r", 104_857_600));
        assert_eq!(spill.name(), "spill/7f3a/2/r");
    }

    #[test]
    fn the_last_line_counts() {
        let text = "[whole text: spill/theirs, 5 bytes]\n[whole text: spill/ours, 9 bytes]";
        assert_eq!(spill_of(text).unwrap().key, "ours");
    }

    #[test]
    fn other_lines_are_no_spill() {
        for text in [
            "",
            "[whole text: spill/, 5 bytes]",
            "[whole text: notes/x, 5 bytes]",
            "[whole text: spill/x, many bytes]",
            "[whole text: spill/x y, 5 bytes]",
            "see [whole text: spill/x, 5 bytes]",
        ] {
            assert_eq!(spill_of(text), None, "{text}");
        }
    }

    #[test]
    fn pieces_are_in_the_order_of_their_numbers() {
        let keys = ["a/10000", "a/0002", "a/9999", "a/x", "a/", "a/0001"].map(str::to_owned);
        assert_eq!(
            pieces("a", keys.to_vec()),
            ["a/0001", "a/0002", "a/9999", "a/10000"].map(str::to_owned)
        );
    }
}
